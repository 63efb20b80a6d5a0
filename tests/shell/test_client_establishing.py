"""Reaching a headend: packets, backup servers, names, redirects, and what a reconnect does not ask again."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from asa_emu.wire.auth_xml import auth_complete
from asa_emu.wire.client_package import ClientPackage, manifest, update_text
from client_emu import Client, ClientOptions, ConnectFailed, Failed, Reconnected, parse_gateway
from client_emu.gateway import Gateway
from client_emu.profile import parse_profile_untrusted
from tests.fake_headend import PLAIN, TOKEN, FakeHeadend, Peer, fake_headend

Clock = trio.testing.MockClock


def options_for(headend: FakeHeadend, **changes: Any) -> ClientOptions:
    gateway = parse_gateway(f"127.0.0.1:{headend.port}")
    return replace(ClientOptions(gateway, user="walter", password="secret", pin=headend.pin), **changes)


def address_of(headend: FakeHeadend) -> Gateway:
    return parse_gateway(f"127.0.0.1:{headend.port}")


async def honest(peer: Peer) -> None:
    if peer.number == 0:
        await peer.log_in()
    await peer.grant()
    await trio.sleep_forever()


async def silent(peer: Peer) -> None:
    """Accepts connections, and says nothing any more."""
    await peer.request()
    await trio.sleep_forever()


async def expect_failure(options: ClientOptions, **arguments: Any) -> str:
    with pytest.raises(ConnectFailed) as caught:
        async with Client(options, **arguments):
            pass
    return str(caught.value)


@pytest.mark.statement("S80", "S81")
@pytest.mark.parametrize(("dpd", "interval"), [(None, 30.0), (10.0, 10.0), (0.0, 30.0)])
async def test_four_packets_of_one_dpd_interval_then_the_backup(
    tmp_path: Path, autojump_clock: Clock, dpd: float | None, interval: float
) -> None:
    async with fake_headend(tmp_path, silent) as primary, fake_headend(tmp_path, honest) as backup:
        started = trio.current_time()
        options = options_for(primary, dpd=dpd, backups=(address_of(backup),))
        async with Client(options) as vpn:
            assert primary.connections == 4
            assert trio.current_time() - started == pytest.approx(4 * interval, abs=1)
            assert vpn.server is not None
            assert backup.connections == 1


@pytest.mark.statement("S81")
async def test_without_a_backup_four_packets_are_all(tmp_path: Path, autojump_clock: Clock) -> None:
    async with fake_headend(tmp_path, silent) as primary:
        assert "took more than 30 s" in await expect_failure(options_for(primary))
        assert primary.connections == 4


async def test_a_network_that_swallows_packets_is_silence_too(tmp_path: Path, autojump_clock: Clock) -> None:
    async with fake_headend(tmp_path, honest) as headend:
        vpn = Client(options_for(headend))
        vpn.lose_cable()
        started = trio.current_time()

        async def repair() -> None:
            await trio.sleep(75)
            vpn.restore_cable()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(repair)
            async with vpn:
                assert trio.current_time() - started == pytest.approx(75, abs=1)
        assert headend.connections == 1


async def test_a_closed_port_is_an_answer_and_the_backup_is_next_at_once(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        closed = Gateway("127.0.0.1", held.getsockname()[1])
        async with fake_headend(tmp_path, honest) as backup:
            started = trio.current_time()
            options = options_for(backup, gateway=closed, backups=(closed, address_of(backup)))
            async with Client(options):
                assert trio.current_time() - started < 1
        assert "Connection refused" in await expect_failure(replace(options, backups=()))


async def test_the_profiles_hosts_and_backups_are_used_in_their_order(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async def tell(peer: Peer) -> None:
        asked.append((await peer.request()).split(b" ")[1].decode())
        await trio.sleep_forever()

    asked: list[str] = []
    async with (
        fake_headend(tmp_path, tell) as primary,
        fake_headend(tmp_path, tell) as own,
        fake_headend(tmp_path, honest) as everybodys,
    ):
        profile = parse_profile_untrusted(
            f"""<AnyConnectProfile><ClientInitialization><BackupServerList>
            <HostAddress>127.0.0.1:{everybodys.port}</HostAddress></BackupServerList></ClientInitialization>
            <ServerList><HostEntry><HostName>Lab</HostName><HostAddress>127.0.0.1:{primary.port}</HostAddress>
            <UserGroup>staff</UserGroup><BackupServerList><HostAddress>127.0.0.1:{own.port}</HostAddress>
            </BackupServerList></HostEntry></ServerList></AnyConnectProfile>""".encode()
        )
        async with Client(profile, user="walter", password="secret", pin=primary.pin, dpd=5.0) as vpn:
            assert vpn.ip4 == "10.1.1.5"
        assert (primary.connections, own.connections, everybodys.connections) == (4, 4, 1)
        assert asked == ["/staff"] * 8


async def test_a_password_that_went_out_goes_to_no_backup(tmp_path: Path, autojump_clock: Clock) -> None:
    async def dies_after_the_login(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
        await peer.request()
        await trio.sleep_forever()

    async with (
        fake_headend(tmp_path, dies_after_the_login) as primary,
        fake_headend(tmp_path, honest) as backup,
    ):
        reason = await expect_failure(options_for(primary, backups=(address_of(backup),)))
        assert "waiting for the answer to CONNECT took more than 30 s" in reason
        assert backup.connections == 0
        # CONNECT is a packet as well; the first one goes over the connection of the login
        assert primary.connections == 4


async def test_an_untrusted_server_is_no_reason_for_a_backup(tmp_path: Path, autojump_clock: Clock) -> None:
    pin = "pin-sha256:" + "A" * 43 + "="
    async with fake_headend(tmp_path, honest) as primary, fake_headend(tmp_path, honest) as backup:
        reason = await expect_failure(options_for(primary, pin=pin, backups=(address_of(backup),)))
        assert "not the pinned one" in reason
        assert backup.connections == 0


async def test_nothing_plugged_in_is_a_failure_with_its_name(tmp_path: Path, autojump_clock: Clock) -> None:
    async with fake_headend(tmp_path, honest) as headend:
        vpn = Client(options_for(headend))
        vpn.unplug()
        with pytest.raises(ConnectFailed, match="no network interface is plugged in"):
            async with vpn:
                pass
        assert headend.connections == 0


@pytest.mark.statement("S85")
@pytest.mark.parametrize(("version", "looks"), [("9.9.9", True), ("1.0.0", True), ("9.9.9", False)])
async def test_between_login_and_tunnel_it_looks_for_a_newer_client(
    tmp_path: Path, autojump_clock: Clock, version: str, looks: bool
) -> None:
    package = ClientPackage("/CACHE/stc/1", "binaries/client.pkg", version)
    asked: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(auth_complete(TOKEN, package=package))
        while not (request := await peer.request()).startswith(b"CONNECT"):
            asked.append(request.split(b" ")[1].decode())
            assert f"Cookie: webvpn={TOKEN}\r\n".encode() in request
            files = {"update.txt": update_text(package), "VPNManifest.xml": manifest(package)}
            await peer.answer(files.get(asked[-1].rpartition("/")[2], b"<html/>"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in PLAIN.items())
        await peer.say(f"HTTP/1.1 200 CONNECTED\r\n{lines}\r\n".encode())
        await trio.sleep_forever()

    async with fake_headend(tmp_path, script) as headend:
        options = options_for(headend, preferences={} if looks else {"AutoUpdate": "false"})
        async with Client(options) as vpn:
            told = [line for line in vpn.journal.history if "A newer client, version 9.9.9" in line]
            assert len(told) == (looks and version == "9.9.9")
    assert ("/CACHE/stc/1/binaries/update.txt" in asked) is looks
    assert not any(path.endswith(".pkg") for path in asked)


# Names


class Names:
    """A resolver that counts."""

    def __init__(self, **found: list[str]) -> None:
        self.found = {name.replace("_", "."): addresses for name, addresses in found.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.found:
            raise socket.gaierror(-2, "Name or service not known")
        return self.found[host]


@pytest.mark.statement("S139")
async def test_reconnects_ask_no_name_again(tmp_path: Path, autojump_clock: Clock) -> None:
    names = Names(vpn_test=["127.0.0.1"])
    async with fake_headend(tmp_path, honest) as headend:
        options = options_for(headend, gateway=Gateway("vpn.test", headend.port))
        async with Client(options, resolver=names) as vpn:
            names.found.clear()
            for _ in range(3):
                vpn.drop_tcp()
                await vpn.next_event(Reconnected)
            vpn.lose_cable()
            await trio.sleep(100)
            vpn.reconnect()
            await vpn.next_event(Reconnected)
    assert names.asked == ["vpn.test"]
    assert headend.connections == 5


@pytest.mark.statement("S139")
async def test_a_resume_goes_to_the_member_and_not_to_the_director(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async def director(peer: Peer) -> None:
        await peer.request()
        where = f"Location: https://member.test:{member.port}/"
        await peer.answer(b"", where, status="302 Found")
        await trio.sleep_forever()

    names = Names(cluster_test=["127.0.0.1"], member_test=["127.0.0.1"])
    async with fake_headend(tmp_path, honest) as member, fake_headend(tmp_path, director) as front:
        options = options_for(front, gateway=Gateway("cluster.test", front.port))
        async with Client(options, resolver=names) as vpn:
            for _ in range(3):
                vpn.drop_tcp()
                await vpn.next_event(Reconnected)
        assert (front.connections, member.connections) == (1, 4)
    assert names.asked == ["cluster.test", "member.test"]


async def test_a_name_has_several_addresses(tmp_path: Path, autojump_clock: Clock) -> None:
    # nobody listens at the first two; the profile's default prefers IPv4
    names = Names(vpn_test=["::1", "127.0.0.9", "127.0.0.1"])
    async with fake_headend(tmp_path, honest) as headend:
        options = options_for(headend, gateway=Gateway("vpn.test", headend.port))
        async with Client(options, resolver=names) as vpn:
            assert vpn.server == "127.0.0.1"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([], "vpn.test has no address that this client may use"),
        (["::1"], "vpn.test has no address that this client may use"),
        (None, "Name or service not known"),
    ],
)
async def test_a_name_without_a_usable_address(
    tmp_path: Path, autojump_clock: Clock, found: list[str] | None, reason: str
) -> None:
    names = Names() if found is None else Names(vpn_test=found)
    async with fake_headend(tmp_path, honest) as headend:
        gateway, only4 = Gateway("vpn.test", headend.port), {"IPProtocolSupport": "IPv4"}
        options = options_for(headend, gateway=gateway, preferences=only4)
        assert reason in await expect_failure(options, resolver=names)


async def test_redirects_in_a_circle_end(tmp_path: Path, autojump_clock: Clock) -> None:
    async def circle(peer: Peer) -> None:
        await peer.request()
        where = f"Location: https://127.0.0.{peer.number + 2}:{headend.port}/"
        await peer.answer(b"", where, status="302 Found")
        await trio.sleep_forever()

    async with fake_headend(tmp_path, circle, address="0.0.0.0") as headend:
        events: list[Any] = []
        assert "more than 3 redirects" in await expect_failure(options_for(headend), on_event=events.append)
        assert [type(event) for event in events] == [Failed]
        assert headend.connections == 4
