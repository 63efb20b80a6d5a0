"""Dead-peer detection, keepalive, inactivity and the timeouts (S30-S44, S57-S67, S91-S96, S104-S110)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from OpenSSL import SSL

from asa_emu.session.events import (
    SessionEnded,
    SessionEvent,
    SessionInactive,
    Timeout,
    TimeoutAlert,
    TunnelDown,
)
from asa_emu.session.model import DownReason, EndReason, TunnelKind
from asa_emu.transport.contexts import client_context
from asa_emu.wire.frames import Frame, PacketType, parse_disconnect_untrusted
from tests.headend_lab import headend, record_events
from tests.statement_lab import (
    MINUTE,
    SILENT,
    Laptop,
    Shown,
    configure,
    configured,
    console,
    one_way_nat,
    told_to_end,
)

pytestmark = pytest.mark.usefixtures("mock_time", "log")

ALL = "AnyConnect-Parent SSL-Tunnel DTLS-Tunnel"
PARENT = "AnyConnect-Parent"
TWO_MINUTES = configured("vpn-idle-timeout 2", webvpn=SILENT)


def downs(told: list[SessionEvent]) -> list[tuple[TunnelKind, DownReason]]:
    return [(event.kind, event.reason) for event in told if isinstance(event, TunnelDown)]


def ends(told: list[SessionEvent]) -> list[tuple[EndReason, object]]:
    return [(event.reason, event.duration) for event in told if isinstance(event, SessionEnded)]


@asynccontextmanager
async def meanwhile(*tasks: object) -> AsyncIterator[None]:
    """Run these beside the block."""
    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(task)  # type: ignore[arg-type]
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.statement("S30")
async def test_losing_dtls_alone_is_no_inactivity(state: Path) -> None:
    async with headend(state, configured(webvpn=SILENT)) as running, Laptop(running) as laptop:
        await laptop.connect()
        await laptop.cut_dtls()
        await trio.sleep(100)
        shown = await Shown.of(running)
        assert shown.session["Protocol"] == "AnyConnect-Parent SSL-Tunnel"
        assert shown.session["Inactivity"] == "0h:00m:00s"
        assert "no active sessions" in await console(running, "show vpn-sessiondb anyconnect filter inactive")


@pytest.mark.statement("S30", "S31")
async def test_losing_tls_counts_as_inactive_even_while_dtls_lives(state: Path) -> None:
    async with headend(state, configured(webvpn=SILENT)) as running, Laptop(running) as laptop:
        await laptop.connect()
        await trio.sleep(60)
        await laptop.cut_tls()
        lost_at = running.gateway.now()
        for _ in range(9):
            await trio.sleep(60)
            await laptop.udp.ping(laptop.tls)
        shown = await Shown.of(running)
        assert shown.session["Protocol"] == "AnyConnect-Parent DTLS-Tunnel"
        assert shown.session["Inactivity"] == "0h:09m:00s"
        assert laptop.session.inactive_since == pytest.approx(lost_at, abs=0.1)


@pytest.mark.statement("S32")
async def test_an_inactive_session_shows_its_parent_and_its_history(state: Path) -> None:
    async with headend(state, configured(webvpn=SILENT)) as running, Laptop(running) as laptop:
        await laptop.connect()
        for sequence in range(4):
            await laptop.ping(sequence)
        await trio.sleep(8 * MINUTE)
        before = await Shown.of(running)
        await laptop.cut_dtls()
        await laptop.cut_tls()
        await trio.sleep(66)
        await console(running, "emulator display 8.x")
        shown = await Shown.of(running)
        assert shown.session["Protocol"] == PARENT
        assert shown.session["Encryption"] == shown.session["Hashing"] == "AnyConnect-Parent: (1)none"
        assert "Assigned IP" not in shown.session
        for label in ("Bytes Tx", "Bytes Rx", "Pkts Tx", "Pkts Rx"):
            assert shown.session[label] == before.session[label] != "0"
        assert (shown.session["Duration"], shown.session["Inactivity"]) == ("0h:09m:06s", "0h:01m:06s")


@pytest.mark.statement("S34", "S34a", "S38", "S96")
async def test_dead_peer_detection_takes_the_tunnels_and_leaves_the_session(state: Path) -> None:
    config = configured("vpn-simultaneous-logins 1")
    async with headend(state, config) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        began = running.gateway.now()
        await trio.sleep(149)
        assert laptop.protocol == ALL
        await trio.sleep(1.1)
        shown = await Shown.of(running)
        assert shown.session["Protocol"] == PARENT
        assert set(downs(told)) == {(kind, DownReason.DPD) for kind in (TunnelKind.SSL, TunnelKind.DTLS)}
        (waiting,) = [event for event in told if isinstance(event, SessionInactive)]
        assert waiting.at - began == pytest.approx(150, abs=0.1)
        # closed without a word, or the client would give the session up
        assert await told_to_end(laptop.tls) is None
        assert "Total Active and Inactive    :      1 " in await console(running, "show vpn-sessiondb")
        # it still counts: the user's next login has to make room
        async with Laptop(running) as another:
            await another.log_in()
            assert not laptop.alive()
        assert [reason for reason, _ in ends(told)] == [EndReason.PORT_PREEMPTED]


@pytest.mark.statement("S34a", "S36")
async def test_by_default_the_gateway_probes_every_30_seconds_four_times(state: Path) -> None:
    config = configured(webvpn=("anyconnect ssl keepalive none",))
    async with headend(state, config) as running, Laptop(running) as laptop:
        await laptop.connect(dtls=False)
        assert laptop.header("X-CSTP-DPD") == "30"
        began = trio.current_time()
        for at in (30, 60, 90, 120):
            await laptop.tls.expect(PacketType.DPD_REQUEST)
            assert trio.current_time() - began == pytest.approx(at, abs=0.1)
        assert await told_to_end(laptop.tls, 31) is None
        assert trio.current_time() - began == pytest.approx(150, abs=0.1)


@pytest.mark.statement("S34a", "S36")
async def test_dtls_is_probed_like_tls(state: Path) -> None:
    config = configured(webvpn=("anyconnect ssl keepalive none",))
    async with headend(state, config) as running, Laptop(running) as laptop:
        await laptop.connect()
        assert laptop.header("X-DTLS-DPD") == "30"
        began = trio.current_time()
        for at in (30, 60, 90, 120):
            assert await laptop.udp.receive(31) == bytes([PacketType.DPD_REQUEST])
            assert trio.current_time() - began == pytest.approx(at, abs=0.1)
        assert await laptop.udp.receive(100) is None


@pytest.mark.statement("S34a")
async def test_an_answer_is_all_that_it_takes(state: Path) -> None:
    async with headend(state, configured("vpn-idle-timeout 60")) as running, Laptop(running) as laptop:
        await laptop.connect()
        async with meanwhile(laptop.answer_tls, laptop.answer_dtls):
            await trio.sleep(50 * MINUTE)
            assert laptop.protocol == ALL


@pytest.mark.statement("S34", "S34b")
async def test_tls_is_not_idle_while_dtls_is_busy(state: Path) -> None:
    async with headend(state, TWO_MINUTES) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        for sequence in range(10):
            await trio.sleep(60)
            await laptop.udp.ping(laptop.tls, sequence)
        assert laptop.protocol == ALL
        await trio.sleep(119)
        assert laptop.protocol == ALL
        await trio.sleep(1.1)
        assert laptop.protocol == PARENT
        assert downs(told) == [(TunnelKind.DTLS, DownReason.IDLE), (TunnelKind.SSL, DownReason.IDLE)]


@pytest.mark.statement("S34b", "S104a")
async def test_only_data_is_use(state: Path) -> None:
    async with headend(state, configured("vpn-idle-timeout 5")) as running, Laptop(running) as laptop:
        await laptop.connect()
        frames: list[Frame] = []
        async with meanwhile(lambda: laptop.answer_tls(frames), laptop.answer_dtls):
            # keepalives and dead-peer detection pass in both directions all the time
            for _ in range(29):
                await laptop.tls.send(PacketType.KEEPALIVE)
                await laptop.tls.send(PacketType.DPD_REQUEST)
                await trio.sleep(10)
            assert laptop.protocol == ALL
            await trio.sleep(11)
            assert laptop.protocol == PARENT
        (goodbye,) = [frame for frame in frames if frame.kind == PacketType.DISCONNECT]
        assert parse_disconnect_untrusted(goodbye.payload).text == "Idle Timeout"


@pytest.mark.statement("S35")
async def test_dpd_is_configured_live_in_the_group_policys_webvpn(state: Path) -> None:
    async with headend(state, configured()) as running, Laptop(running) as laptop:
        await laptop.connect()
        assert laptop.header("X-CSTP-DPD") == laptop.header("X-DTLS-DPD") == "30"
        await configure(
            running,
            "group-policy STAFF attributes",
            "webvpn",
            "anyconnect dpd-interval client 45",
            "anyconnect dpd-interval gateway 10",
        )
        async with Laptop(running, "user001") as another:
            await another.connect()
            assert another.header("X-CSTP-DPD") == another.header("X-DTLS-DPD") == "45"
            await trio.sleep(51)
            assert another.protocol == PARENT
        await laptop.connect()
        assert laptop.header("X-CSTP-DPD") == "45"
        off = "anyconnect dpd-interval client none"
        await configure(running, "group-policy STAFF attributes", "webvpn", off)
        await laptop.connect()
        assert "x-cstp-dpd" not in laptop.answer.headers


@pytest.mark.statement("S37")
@pytest.mark.parametrize("quirk", [False, True])
async def test_cscts66926_leaves_the_dtls_tunnel_of_a_lost_client(state: Path, quirk: bool) -> None:
    lines = "!emu quirk CSCts66926\n" if quirk else ""
    config = configured("vpn-idle-timeout 10", lines=lines)
    async with headend(state, config) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        await trio.sleep(151)
        assert laptop.protocol == ("AnyConnect-Parent DTLS-Tunnel" if quirk else PARENT)
        assert (await Shown.of(running)).session["Inactivity"] == "0h:00m:01s"
        await trio.sleep(10 * MINUTE - 151 + 1)
        assert laptop.protocol == PARENT
        assert ((TunnelKind.DTLS, DownReason.IDLE) in downs(told)) == quirk


@pytest.mark.statement("S37")
async def test_cscts66926_is_switched_while_it_runs(state: Path) -> None:
    async with headend(state, configured()) as running, Laptop(running) as laptop:
        await laptop.connect()
        await console(running, "emulator quirk CSCts66926")
        await trio.sleep(200)
        assert laptop.protocol == "AnyConnect-Parent DTLS-Tunnel"
        await console(running, "no emulator quirk CSCts66926")
        await trio.sleep(200)
        assert laptop.protocol == PARENT


@pytest.mark.statement("S38", "S39", "S96")
async def test_after_dead_peer_detection_the_client_builds_a_new_tunnel(state: Path) -> None:
    async with headend(state, configured()) as running, Laptop(running) as laptop:
        await laptop.connect()
        address = laptop.session.ip4
        await trio.sleep(200)
        assert laptop.protocol == PARENT
        await laptop.connect()
        assert laptop.protocol == ALL
        assert [tunnel.id for tunnel in laptop.session.tunnels] == ["1.1", "1.4", "1.5"]
        assert laptop.session.ip4 == address
        await laptop.ping()


@pytest.mark.statement("S40", "S93", "S94", "S96", "S108")
async def test_a_client_that_does_not_return_loses_its_session_after_the_idle_timeout(state: Path) -> None:
    async with headend(state, configured("vpn-idle-timeout 5")) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        await trio.sleep(150 + 5 * MINUTE - 1)
        assert laptop.alive()
        await trio.sleep(2)
        assert not laptop.alive()
        assert ends(told) == [(EndReason.IDLE_TIMEOUT, pytest.approx(450, abs=0.1))]
        assert (await laptop.try_connect()).status == 401


@pytest.mark.statement("S41", "S42")
@pytest.mark.parametrize("keepalive", ["none", "20"])
async def test_a_device_that_forgets_one_direction_needs_keepalives(state: Path, keepalive: str) -> None:
    config = configured("vpn-idle-timeout 60", webvpn=(f"anyconnect ssl keepalive {keepalive}",))
    async with headend(state, config) as running, one_way_nat(running, 25) as port, Laptop(running) as laptop:
        await laptop.connect(dtls=False, port=port)
        async with meanwhile(laptop.answer_tls):
            await trio.sleep(149)
            assert laptop.protocol == "AnyConnect-Parent SSL-Tunnel"
            await trio.sleep(2)
            if keepalive == "none":
                # the gateway's probes were lost on the way, so the client that is alive never answered
                assert laptop.protocol == PARENT
                return
            await trio.sleep(30 * MINUTE)
            assert laptop.protocol == "AnyConnect-Parent SSL-Tunnel"


@pytest.mark.statement("S43", "S44")
async def test_keepalive_is_20_seconds_and_set_in_one_group_policy(state: Path) -> None:
    config = configured(webvpn=("anyconnect dpd-interval gateway none",))
    async with headend(state, config) as running, Laptop(running) as laptop:
        await laptop.connect()
        assert laptop.header("X-CSTP-Keepalive") == laptop.header("X-DTLS-Keepalive") == "20"
        began = trio.current_time()
        for at in (20, 40):
            assert await laptop.tls.expect(PacketType.KEEPALIVE) == b""
            assert trio.current_time() - began == pytest.approx(at, abs=0.1)
        await configure(
            running,
            "group-policy FIELD internal",
            "tunnel-group OTHERS general-attributes",
            "default-group-policy FIELD",
            "group-policy FIELD attributes",
            "webvpn",
            "anyconnect ssl keepalive 120",
        )
        async with Laptop(running, "user001") as staff, Laptop(running, "user002") as other:
            await staff.connect()
            assert staff.header("X-CSTP-Keepalive") == "20"
            other.group = "others"
            await other.connect()
            assert other.header("X-CSTP-Keepalive") == other.header("X-DTLS-Keepalive") == "120"


@pytest.mark.statement("S49", "S57", "S59", "S104", "S104b", "S105")
@pytest.mark.parametrize(
    ("policy", "idle", "disconnected"),
    [
        ((), "1800", "1800"),
        (("vpn-idle-timeout 2",), "120", "120"),
        (("vpn-idle-timeout 5", "vpn-session-timeout 3"), "300", "180"),
        (("vpn-idle-timeout 3", "vpn-session-timeout 5"), "180", "180"),
    ],
)
async def test_the_disconnected_timeout_told_is_the_smaller_of_both(
    state: Path, policy: tuple[str, ...], idle: str, disconnected: str
) -> None:
    async with headend(state, configured(*policy, webvpn=SILENT)) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        assert laptop.header("X-CSTP-Idle-Timeout") == idle
        assert laptop.header("X-CSTP-Disconnected-Timeout") == disconnected
        # the headend itself counts it from the loss of the tunnel, and no longer than the session may last
        await trio.sleep(60)
        await laptop.cut_tls()
        await laptop.cut_dtls()
        await trio.sleep(3600)
        limit = min(60 + float(disconnected), laptop_limit(policy))
        assert [duration for _, duration in ends(told)] == [pytest.approx(limit, abs=0.1)]


def laptop_limit(policy: tuple[str, ...]) -> float:
    said = dict(line.rsplit(" ", 1) for line in policy)
    return float(said.get("vpn-session-timeout", "inf")) * MINUTE


@pytest.mark.statement("S67")
async def test_an_asa_has_no_command_for_a_disconnected_timeout(state: Path) -> None:
    async with headend(state, configured("vpn-idle-timeout 2", webvpn=SILENT)) as running:
        for line in (
            "disconnected-timeout 10",
            "vpn-disconnected-timeout 10",
            "anyconnect disconnected-timeout 5",
        ):
            said = await configure(running, "group-policy STAFF attributes", line)
            assert "% Invalid input detected at '^' marker." in said
        async with Laptop(running) as laptop:
            await laptop.connect()
            assert laptop.header("X-CSTP-Disconnected-Timeout") == "120"


@pytest.mark.statement("S67", "S110")
async def test_csccsl52873_gives_it_a_value_of_its_own(state: Path) -> None:
    async with headend(state, TWO_MINUTES) as running, Laptop(running) as laptop:
        told = record_events(running)
        await configure(running, "group-policy STAFF attributes", "!emu disconnected-timeout 600s")
        await laptop.connect(dtls=False)
        assert laptop.header("X-CSTP-Idle-Timeout") == "120"
        assert laptop.header("X-CSTP-Disconnected-Timeout") == "600"
        await laptop.cut_tls()
        assert (await Shown.of(running)).blocks[PARENT]["Idle TO Left"] == "9 Minutes"
        await trio.sleep(599)
        assert laptop.alive()
        await trio.sleep(2)
        assert ends(told) == [(EndReason.IDLE_TIMEOUT, pytest.approx(600, abs=0.2))]


@pytest.mark.statement("S91", "S92", "S93", "S94", "S109")
async def test_a_tunnel_that_idles_out_leaves_its_client_the_idle_timeout_again(state: Path) -> None:
    async with headend(state, TWO_MINUTES) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        await trio.sleep(119)
        assert (await Shown.of(running)).blocks[PARENT]["Idle TO Left"] == "0 Minutes"
        await trio.sleep(1.1)
        shown = await Shown.of(running)
        assert list(shown.blocks) == [PARENT]
        assert shown.blocks[PARENT]["Idle TO Left"] == "1 Minutes"
        assert laptop.session.parent.idle_left(running.gateway.now()) == pytest.approx(120, abs=0.2)
        await trio.sleep(118)
        assert laptop.alive()
        await trio.sleep(2)
        # idle as a tunnel, then idle as a parent
        assert ends(told) == [(EndReason.IDLE_TIMEOUT, pytest.approx(240, abs=0.2))]


@pytest.mark.statement("S91")
async def test_losing_dtls_too_resets_the_parents_timer(state: Path) -> None:
    async with headend(state, TWO_MINUTES) as running, Laptop(running) as laptop:
        await laptop.connect()
        await trio.sleep(90)
        await laptop.ping()
        await laptop.cut_dtls()
        parent = laptop.session.parent
        assert parent.idle_left(running.gateway.now()) == pytest.approx(120, abs=0.2)


@pytest.mark.statement("S91")
async def test_a_client_that_answers_the_idle_timeout_is_gone(state: Path) -> None:
    async with headend(state, TWO_MINUTES) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        goodbye = await told_to_end(laptop.tls, 121)
        assert goodbye is not None
        assert parse_disconnect_untrusted(goodbye.payload).text == "Idle Timeout"
        await laptop.tls.send(PacketType.DISCONNECT, b"\xb0idle timeout")
        await trio.sleep(1)
        assert ends(told) == [(EndReason.IDLE_TIMEOUT, pytest.approx(120, abs=0.2))]


@pytest.mark.statement("S95")
async def test_the_address_of_a_lost_client_is_given_to_nobody(state: Path) -> None:
    async with headend(state, configured("vpn-idle-timeout 5")) as running, Laptop(running) as laptop:
        await laptop.connect()
        address = laptop.session.ip4
        await trio.sleep(151)
        assert laptop.protocol == PARENT
        assert (await Shown.of(running)).session["Assigned IP"] == address
        async with Laptop(running, "user001") as other, Laptop(running, "user002") as third:
            await trio.sleep(4 * MINUTE)
            await other.connect()
            assert other.session.ip4 != address
            await trio.sleep(MINUTE)
            assert not laptop.alive()
            await third.connect()
            assert third.session.ip4 == address


@pytest.mark.statement("S8", "S71")
async def test_the_session_timeout_goes_on_over_reconnects(state: Path) -> None:
    config = configured("vpn-session-timeout 10", webvpn=SILENT)
    async with headend(state, config) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        for left in (600, 420, 240):
            # an alert of one minute before the end, in seconds, and what is left of the whole
            assert laptop.header("X-CSTP-Session-Timeout") == "600"
            assert laptop.header("X-CSTP-Session-Timeout-Remaining") == str(left)
            assert laptop.header("X-CSTP-Session-Timeout-Alert-Interval") == "60"
            await trio.sleep(60)
            await laptop.cut_tls()
            await trio.sleep(120)
            if left > 240:
                await laptop.connect()
        await laptop.connect()
        goodbye = await told_to_end(laptop.tls, 61)
        assert goodbye is not None
        assert parse_disconnect_untrusted(goodbye.payload).text == "Max time exceeded"
        assert ends(told) == [(EndReason.SESSION_TIMEOUT, pytest.approx(600, abs=0.2))]
        assert (await laptop.try_connect()).status == 401


async def test_timeouts_are_announced_by_their_alert_intervals(state: Path) -> None:
    config = configured(
        "vpn-idle-timeout 10",
        "vpn-idle-timeout alert-interval 3",
        "vpn-session-timeout 15",
        "vpn-session-timeout alert-interval 2",
        webvpn=SILENT,
    )
    async with headend(state, config) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        began = running.gateway.now()
        assert laptop.header("X-CSTP-Session-Timeout-Alert-Interval") == "120"
        await trio.sleep(5 * MINUTE)
        await laptop.ping()
        await trio.sleep(9 * MINUTE)
        alerts = [
            (e.timeout, round(e.at - began), round(e.left)) for e in told if isinstance(e, TimeoutAlert)
        ]
        assert alerts == [(Timeout.IDLE, 12 * 60, 180), (Timeout.SESSION, 13 * 60, 120)]


@pytest.mark.parametrize(
    ("version", "method", "told"),
    [
        (SSL.TLS1_3_VERSION, "ssl", "ssl"),
        # OpenSSL refuses a client's renegotiation, so a new tunnel is what the client is told
        (SSL.TLS1_2_VERSION, "ssl", "new-tunnel"),
        (SSL.TLS1_3_VERSION, "new-tunnel", "new-tunnel"),
        (SSL.TLS1_3_VERSION, "none", None),
    ],
)
async def test_the_rekey_method_told_is_one_that_works(
    state: Path, version: int, method: str, told: str | None
) -> None:
    webvpn = (*SILENT, "anyconnect ssl rekey time 30", f"anyconnect ssl rekey method {method}")
    async with headend(state, configured(webvpn=webvpn)) as running, Laptop(running) as laptop:
        laptop.context = client_context()
        laptop.context.set_max_proto_version(version)
        await laptop.connect()
        headers = laptop.answer.headers
        assert headers.get("x-cstp-rekey-method") in ((told,) if told else (None, "none"))
        assert headers.get("x-cstp-rekey-time") in (("1800",) if told else (None, "0"))
        assert headers.get("x-dtls-rekey-method") in (("new-tunnel",) if told else (None, "none"))
        old = laptop.session.dtls
        await trio.sleep(1000)
        await laptop.open_dtls()
        # new keys are no use: the idle timer goes on
        assert laptop.session.dtls is not old
        assert laptop.session.dtls is not None
        assert laptop.session.dtls.idle_left(running.gateway.now()) == pytest.approx(800, abs=1)
