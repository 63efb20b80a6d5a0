"""The frequently asked questions about the headend: who is logged off, who makes room (S87-S97)."""

from pathlib import Path

import pytest
import trio

from asa_emu.session.events import AddressReleased, SessionCreated, SessionEnded
from asa_emu.session.model import EndReason
from asa_emu.wire.frames import PacketType, parse_disconnect_untrusted
from tests.headend_lab import RawClient, headend, record_events
from tests.statement_lab import (
    MINUTE,
    SILENT,
    Laptop,
    Receiver,
    Shown,
    configure,
    configured,
    console,
    told_to_end,
)

pytestmark = pytest.mark.usefixtures("mock_time", "log")

QUIET = configured(webvpn=SILENT)
INVALID = "% Invalid input detected at '^' marker."


@pytest.mark.statement("S85", "S86")
async def test_a_client_fetches_its_upgrade_with_its_token_before_it_connects(tmp_path: Path) -> None:
    name = "anyconnect-win-4.10.08029-webdeploy-k9.pkg"
    package = bytes(200_000)
    (tmp_path / name).write_bytes(package)
    config = QUIET.replace(" anyconnect enable\n", f" anyconnect enable\n anyconnect image disk0:/{name} 1\n")
    async with headend(tmp_path, config) as running, Laptop(running) as laptop:
        laptop.agent = "AnyConnect Windows 4.10.07061"
        await laptop.log_in()
        async with await RawClient.open(running) as raw:
            cookie = ("Cookie", f"webvpn={laptop.token}")
            manifest = await raw.request("GET", "/CACHE/stc/1/VPNManifest.xml", headers=[cookie])
            assert name.encode() in manifest.body
            image = await raw.request("GET", f"/CACHE/stc/1/binaries/{name}", headers=[cookie])
            assert image.body == package
            refused = await raw.request("GET", f"/CACHE/stc/1/binaries/{name}")
            assert refused.status == 401
        shown = await Shown.of(running)
        assert shown.session["Protocol"] == "AnyConnect-Parent"
        carried = len(manifest.body) + len(package)
        assert int(shown.blocks["AnyConnect-Parent"]["Bytes Tx"]) == carried
        await laptop.connect()
        assert (await Shown.of(running)).session["Protocol"] == "AnyConnect-Parent SSL-Tunnel DTLS-Tunnel"


@pytest.mark.statement("S87")
async def test_the_inactive_sessions_can_be_filtered(state: Path) -> None:
    async with (
        headend(state, QUIET) as running,
        Laptop(running, "user001") as one,
        Laptop(running, "user002") as two,
        Laptop(running, "user003") as three,
    ):
        for laptop in (one, two, three):
            await laptop.connect()
        await two.cut_tls()
        shown = await console(running, "show vpn-sessiondb anyconnect filter inactive")
        assert shown.count("Username     : ") == 1
        assert "Username     : user002 " in shown
        assert (await console(running, "show vpn-sessiondb anyconnect")).count("Username     : ") == 3


@pytest.mark.statement("S88", "S90")
async def test_only_the_inactive_sessions_cannot_be_logged_off(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        await laptop.cut_tls()
        for line in ("vpn-sessiondb logoff inactive", "vpn-sessiondb logoff inactive noconfirm"):
            assert INVALID in await console(running, line)
        assert laptop.alive()


@pytest.mark.statement("S90")
async def test_cscuh55707_logs_the_inactive_ones_off(state: Path) -> None:
    config = configured(webvpn=SILENT, lines="!emu feature CSCuh55707\n")
    async with (
        headend(state, config) as running,
        Laptop(running, "user001") as active,
        Laptop(running, "user002") as inactive,
    ):
        await active.connect()
        await inactive.connect()
        await inactive.cut_tls()
        assert "logged off : 1" in await console(running, "vpn-sessiondb logoff inactive noconfirm")
        assert active.alive()
        assert not inactive.alive()
        await console(running, "no emulator feature CSCuh55707")
        assert INVALID in await console(running, "vpn-sessiondb logoff inactive noconfirm")


@pytest.mark.statement("S89")
@pytest.mark.parametrize(
    ("selector", "goes"),
    [
        ("index 2", {2}),
        ("name user001", {1, 4}),
        ("ipaddress 10.77.0.12", {3}),
        ("protocol dtls-tunnel", {1, 2}),
        ("protocol anyconnect-parent", {1, 2, 3, 4}),
        ("tunnel-group OTHERS", {3}),
        ("anyconnect", {1, 2, 3, 4}),
        ("all", {1, 2, 3, 4}),
        ("name nobody", set()),
    ],
)
async def test_sessions_are_logged_off_by_every_selector(state: Path, selector: str, goes: set[int]) -> None:
    with Receiver() as receiver:
        async with (
            headend(state, QUIET, syslog=receiver.host) as running,
            Laptop(running, "user001") as one,
            Laptop(running, "user002") as two,
            Laptop(running, "user003") as three,
            Laptop(running, "user001") as again,
        ):
            three.group = "others"
            await one.connect()
            await two.connect()
            await three.connect(dtls=False)
            await again.connect(dtls=False)
            told = record_events(running)
            said = await console(running, f"vpn-sessiondb logoff {selector} noconfirm")
            assert f" logged off : {len(goes)}\n" in said
            ends = [event for event in told if isinstance(event, SessionEnded)]
            assert {end.index for end in ends} == goes
            assert {end.reason for end in ends} <= {EndReason.ADMIN_RESET}
            assert len(receiver.about(113019)) == len(goes)
            for laptop, index in ((one, 1), (two, 2), (three, 3), (again, 4)):
                assert laptop.alive() == (index not in goes)
                if index in goes:
                    goodbye = await told_to_end(laptop.tls)
                    assert goodbye is not None
                    assert parse_disconnect_untrusted(goodbye.payload).text == "Administrator Reset"


@pytest.mark.statement("S94", "S95")
async def test_the_parents_end_is_told_and_frees_the_address(state: Path) -> None:
    config = configured("vpn-idle-timeout 5")
    with Receiver() as receiver:
        async with headend(state, config, syslog=receiver.host) as running, Laptop(running) as laptop:
            told = record_events(running)
            await laptop.connect()
            address = laptop.session.ip4
            await trio.sleep(151)
            # the loss is told, and nothing is freed
            assert [line for line in receiver.about(722037) if "DPD failure" in line]
            assert len(receiver.about(716058)) == 1
            assert not receiver.about(737016, 113019)
            assert not [event for event in told if isinstance(event, AddressReleased)]
            await trio.sleep(5 * MINUTE)
            (freed,) = receiver.about(737016)
            assert f" {address}" in freed
            (end,) = receiver.about(113019)
            assert "Session Type: AnyConnect-Parent, Duration: 0h:07m:30s," in end
            assert end.endswith("Reason: Idle Timeout")


@pytest.mark.statement("S97")
@pytest.mark.parametrize("lost", [False, True], ids=["live", "stale"])
async def test_with_one_login_allowed_the_next_one_removes_the_old(state: Path, lost: bool) -> None:
    config = configured("vpn-simultaneous-logins 1", webvpn=SILENT)
    with Receiver() as receiver:
        async with (
            headend(state, config, syslog=receiver.host) as running,
            Laptop(running) as old,
            Laptop(running) as new,
            Laptop(running, "user001") as other,
        ):
            told = record_events(running)
            await other.connect()
            await old.connect()
            if lost:
                await old.cut_tls()
            await new.connect()
            assert (old.alive(), new.alive(), other.alive()) == (False, True, True)
            (end,) = [event for event in told if isinstance(event, SessionEnded)]
            assert end.reason is EndReason.PORT_PREEMPTED
            numbers = [line.partition("%ASA-")[2][2:8] for line in receiver.lines]
            # the new parent is told first
            assert numbers.count("113039") == 3
            assert numbers.index("113019") > [i for i, n in enumerate(numbers) if n == "113039"][2]
            assert receiver.about(113019)[0].endswith("Reason: Port Preempted")
            assert (await old.try_connect()).status == 401


@pytest.mark.statement("S97")
async def test_with_more_allowed_the_one_idle_longest_goes(state: Path) -> None:
    config = configured("vpn-simultaneous-logins 2", webvpn=SILENT)
    async with (
        headend(state, config) as running,
        Laptop(running) as first,
        Laptop(running) as second,
        Laptop(running) as third,
    ):
        await first.connect()
        await trio.sleep(10)
        await second.connect()
        await trio.sleep(10)
        await first.ping()
        await third.connect()
        assert (first.alive(), second.alive(), third.alive()) == (True, False, True)


@pytest.mark.statement("S97")
async def test_of_equals_the_oldest_goes_and_without_any_allowed_nobody_comes_in(state: Path) -> None:
    config = configured("vpn-simultaneous-logins 2", webvpn=SILENT)
    async with (
        headend(state, config) as running,
        Laptop(running) as first,
        Laptop(running) as second,
        Laptop(running) as third,
    ):
        await first.log_in()
        await second.log_in()
        await third.log_in()
        assert (first.alive(), second.alive(), third.alive()) == (False, True, True)
        await configure(running, "group-policy STAFF attributes", "vpn-simultaneous-logins 0")
        async with Laptop(running) as refused:
            await refused.log_in()
            assert not refused.token
        assert (second.alive(), third.alive()) == (True, True)


async def test_inactive_sessions_count_against_the_session_limit(state: Path) -> None:
    config = configured(webvpn=SILENT, lines="vpn-sessiondb max-anyconnect-premium-or-essentials-limit 2\n")
    with Receiver() as receiver:
        async with (
            headend(state, config, syslog=receiver.host) as running,
            Laptop(running, "user001") as one,
            Laptop(running, "user002") as two,
            Laptop(running, "user003") as three,
        ):
            told = record_events(running)
            await one.connect()
            await two.connect()
            await one.cut_tls()
            await three.log_in()
            assert not three.token
            (line,) = receiver.about(113029)
            assert "session limit of 2 reached" in line
            assert len([event for event in told if isinstance(event, SessionCreated)]) == 2
            # one who comes back is no new session
            await one.connect()
            await configure(running, "vpn-sessiondb max-anyconnect-premium-or-essentials-limit 3")
            await three.connect()
            assert "Device Total VPN Capacity    :      3\n" in await console(running, "show vpn-sessiondb")


async def test_without_a_free_address_connect_is_refused_and_the_parent_stays(state: Path) -> None:
    config = QUIET.replace("10.77.0.10-10.77.0.250", "10.77.0.10-10.77.0.11")
    with Receiver() as receiver:
        async with (
            headend(state, config, syslog=receiver.host) as running,
            Laptop(running, "user001") as one,
            Laptop(running, "user002") as two,
            Laptop(running, "user003") as three,
        ):
            await one.connect()
            await two.connect()
            await three.log_in()
            answer = await three.try_connect()
            assert answer.status == 503
            assert "address" in answer.reason
            assert three.protocol == "AnyConnect-Parent"
            assert receiver.about(722020)
            address = one.session.ip4
            await one.tls.send(PacketType.DISCONNECT, b"\xb0bye")
            await three.connect()
            assert (await Shown.of(running, "detail anyconnect filter name user003")).session[
                "Assigned IP"
            ] == address
