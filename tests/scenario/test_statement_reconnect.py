"""Losing a tunnel and building it again: what stays, what is new, who may (S45-S66, S104-S107, S136-S138)."""

import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from asa_emu.session.events import (
    AddressAssigned,
    SessionCreated,
    SessionEnded,
    SessionInactive,
    SessionResumed,
    TunnelDown,
    TunnelUp,
)
from asa_emu.session.model import DownReason, EndReason
from asa_emu.wire.frames import PacketType
from asa_emu.wire.timeline import Timeline
from client_emu import Disconnected, Reconnected, Reconnecting
from client_emu.client import Client
from client_emu.gateway import Gateway
from client_emu.options import ClientOptions
from tests.headend_lab import EPOCH, client, headend, record_events
from tests.statement_lab import (
    CAFE,
    HOME,
    MINUTE,
    SILENT,
    Laptop,
    Receiver,
    Shown,
    configured,
    console,
    manage,
    until,
)

pytestmark = pytest.mark.usefixtures("mock_time")

ALL = "AnyConnect-Parent SSL-Tunnel DTLS-Tunnel"
PARENT = "AnyConnect-Parent"
QUIET = configured(webvpn=SILENT)


@pytest.mark.statement("S45", "S46", "S47", "S123")
async def test_a_client_that_loses_its_connection_is_back_in_the_same_session(state: Path) -> None:
    async with headend(state, configured()) as running, client(running, "user000") as vpn:
        (session,) = running.gateway.headend.db.sessions()
        vpn.drop_tcp()
        assert await vpn.next_event(Reconnecting)
        assert (await vpn.next_event(Reconnected)).ip4 == session.ip4
        assert list(running.gateway.headend.db.sessions()) == [session]
        assert not session.inactive


@pytest.mark.statement("S53", "S65")
@pytest.mark.parametrize("quirk", [False, True])
async def test_a_resume_from_another_address_moves_the_public_ip_unless_csctg33110(
    state: Path, quirk: bool
) -> None:
    config = configured(webvpn=SILENT, lines="!emu quirk CSCtg33110\n" if quirk else "")
    with Receiver() as receiver:
        async with headend(state, config, syslog=receiver.host) as running, Laptop(running) as laptop:
            await laptop.connect()
            await laptop.cut_tls()
            await laptop.cut_dtls()
            laptop.source = CAFE
            await laptop.connect()
            shown = await Shown.of(running)
            public = HOME if quirk else CAFE
            assert shown.session["Public IP"] == public
            assert {block["Public IP"] for block in shown.blocks.values()} == {public}
            # the message about it names the new address either way
            (line,) = receiver.about(716059)
            assert f"resumed connection from IP <{CAFE}>" in line
            await laptop.ping()


@pytest.mark.statement("S54", "S54a", "S55")
async def test_a_lost_tcp_connection_is_one_level_and_no_more(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        token, dtls = laptop.token, laptop.session.dtls
        await laptop.cut_tls()
        assert laptop.protocol == "AnyConnect-Parent DTLS-Tunnel"
        await laptop.udp.ping(laptop.tls)
        assert laptop.session.dtls is dtls
        await laptop.connect()
        assert (laptop.protocol, laptop.token) == (ALL, token)


@pytest.mark.statement("S55")
async def test_dtls_is_built_anew_without_touching_tls(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        ssl_tunnel, first = laptop.session.ssl, laptop.session.dtls
        await laptop.open_dtls()
        assert laptop.session.ssl is ssl_tunnel
        assert laptop.session.dtls is not first
        assert laptop.protocol == ALL
        await laptop.udp.ping(laptop.tls)
        await laptop.tls.send(PacketType.DPD_REQUEST)
        await laptop.tls.expect(PacketType.DPD_RESPONSE)


@pytest.mark.statement("S54b")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_tls_session_is_never_resumed(state: Path, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    async with headend(state, QUIET) as running:
        former: Any = None
        for _ in range(3):
            tcp = await trio.open_tcp_stream(HOME, running.https.port)
            async with trio.SSLStream(tcp, context, server_hostname=None, https_compatible=True) as tls:
                if former is not None:
                    tls.session = former
                await tls.do_handshake()
                await tls.send_all(b"GET / HTTP/1.1\r\nHost: vpn\r\n\r\n")
                assert await tls.receive_some(1) == b"H"
                former = tls.session
                assert tls.session_reused is False


@pytest.mark.statement("S54c", "S136")
async def test_a_token_is_unique_and_as_mortal_as_its_session(state: Path) -> None:
    async with headend(state, QUIET) as running:
        tokens: list[str] = []
        for _ in range(20):
            async with Laptop(running) as laptop:
                await laptop.connect(dtls=False)
                tokens.append(laptop.token)
                await laptop.cut_tls()
                await laptop.connect(dtls=False)
                await console(running, "vpn-sessiondb logoff all noconfirm")
                assert (await laptop.try_connect()).status == 401
        assert len(set(tokens)) == 20
        assert {len(token) for token in tokens} == {64}
        # 256 random bits, so that no two tokens agree in more places than chance has it
        agreeing = [sum(a == b for a, b in zip(tokens[0], other, strict=True)) for other in tokens[1:]]
        assert max(agreeing) < 20


@pytest.mark.statement("S54c")
async def test_a_token_is_in_no_log_and_on_no_disk(
    tmp_path: Path, log: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(webvpn=SILENT, lines="logging enable\nlogging buffered debugging\n")
    with Receiver() as receiver:
        options: dict[str, Any] = {"syslog": receiver.host, "ready_file": tmp_path / "ready.json"}
        async with headend(tmp_path, config, **options) as running, Laptop(running) as laptop:
            told = record_events(running)
            await laptop.connect()
            await laptop.ping()
            await laptop.cut_tls()
            await laptop.connect()
            lines = ("show logging", "show running-config all", "show vpn-sessiondb detail anyconnect")
            shown = [await console(running, line) for line in lines]
            shown.append(repr(await manage(running, "GET", "/v1/sessions")))
            files = files_below(tmp_path)
            await laptop.tls.send(PacketType.DISCONNECT, b"\xb0bye")
            await until(lambda: not laptop.alive())
            wrong = laptop.token[:-1] + "x"
            laptop.token, token = wrong, laptop.token
            assert (await laptop.try_connect()).status == 401
        captured = capfd.readouterr()
        said = repr([log, told, shown, receiver.lines, captured.out, captured.err])
        assert receiver.lines
        for secret in (token, wrong):
            assert secret not in said
            assert not [file for file in files if secret.encode() in file]


def files_below(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("*") if path.is_file()]


@pytest.mark.statement("S56")
@pytest.mark.parametrize(
    ("release", "characters"), [("9.1(3)", 64), ("8.4(7.1)", 64), ("8.4(6)", 32), ("9.1(2)", 32)]
)
async def test_the_release_of_the_configuration_sets_the_tokens_strength(
    state: Path, release: str, characters: int
) -> None:
    config = configured(webvpn=SILENT, lines=f"ASA Version {release}\n")
    async with headend(state, config) as running, Laptop(running) as laptop:
        await laptop.connect()
        assert len(laptop.token) == characters
        await laptop.cut_tls()
        await laptop.connect()
        assert laptop.protocol == ALL


@pytest.mark.statement("S62", "S51")
async def test_without_its_parent_a_returning_client_is_refused_and_stops(state: Path) -> None:
    async with headend(state, configured()) as running, client(running, "user000") as vpn:
        vpn.lose_cable()
        await trio.sleep(60)
        assert "logged off : 1" in await console(running, "vpn-sessiondb logoff name user000 noconfirm")
        vpn.restore_cable()
        end = await vpn.wait_ended()
        assert isinstance(end.event, Disconnected)
        assert list(running.gateway.headend.db.sessions()) == []


@pytest.mark.statement("S64", "S64a", "S64b", "S64c", "S64d")
async def test_what_a_successful_reconnect_keeps_and_renews(state: Path) -> None:
    config = configured("vpn-idle-timeout 5", webvpn=SILENT)
    async with headend(state, config) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        token, login_port = laptop.token, laptop.login_port
        old_ports = {laptop.tls_port, laptop.udp_port}
        await laptop.ping()
        await trio.sleep(2 * MINUTE)
        await laptop.cut_dtls()
        await laptop.cut_tls()
        await trio.sleep(2 * MINUTE)
        waiting = await Shown.of(running)
        assert waiting.session["Inactivity"] == "0h:02m:00s"
        assert waiting.blocks[PARENT]["Idle TO Left"] == "2 Minutes"
        await laptop.connect()
        shown = await Shown.of(running)
        parent, tls, dtls = (shown.blocks[kind] for kind in ALL.split())
        # the parent is the one of the login
        assert (parent["Tunnel ID"], parent["TCP Src Port"]) == ("1.1", str(login_port))
        assert laptop.token == token
        # the others are new
        assert (tls["Tunnel ID"], dtls["Tunnel ID"]) == ("1.4", "1.5")
        assert {int(tls["TCP Src Port"]), int(dtls["UDP Src Port"])} == {laptop.tls_port, laptop.udp_port}
        assert not {laptop.tls_port, laptop.udp_port} & old_ports
        # what the old ones carried stays with the session
        assert (shown.session["Pkts Rx"], tls["Pkts Rx"], dtls["Pkts Rx"]) == ("1", "0", "0")
        # and every clock begins again
        assert {block["Idle TO Left"] for block in shown.blocks.values()} == {"4 Minutes"}
        assert shown.session["Inactivity"] == "0h:00m:00s"
        assert shown.session["Duration"] == "0h:04m:00s"
        (resumed,) = [event for event in told if isinstance(event, SessionResumed)]
        assert resumed.inactive_for == pytest.approx(120, abs=0.1)


@pytest.mark.statement("S64b")
async def test_a_reconnect_over_a_living_tunnel_replaces_it(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        old, old_udp = laptop.tls, laptop.udp
        await laptop.connect()
        assert laptop.protocol == ALL
        frame = await old.receive()
        assert frame.kind == PacketType.DISCONNECT
        # whatever the old connection still says, its logging off too, is no longer heard
        await old.send(PacketType.DISCONNECT, b"\xb0bye")
        await old_udp.send(PacketType.DISCONNECT, b"\xb0bye")
        await trio.sleep(1)
        assert laptop.protocol == ALL
        await laptop.ping()
        assert {event.reason for event in told if isinstance(event, TunnelDown)} == {DownReason.REPLACED}
        assert not [event for event in told if isinstance(event, SessionInactive | SessionEnded)]


@pytest.mark.statement("S57", "S58", "S61", "S66", "S107")
async def test_the_client_gives_up_when_the_disconnected_timeout_is_over(state: Path) -> None:
    config = configured("vpn-idle-timeout 2", webvpn=SILENT)
    async with headend(state, config) as running, client(running, "user000", dtls=False) as vpn:
        (session,) = running.gateway.headend.db.sessions()
        vpn.lose_cable()
        vpn.drop_tcp()
        lost_at = trio.current_time()
        end = await vpn.wait_ended()
        assert trio.current_time() - lost_at == pytest.approx(120, abs=1)
        assert end.exit_code == 1
        assert isinstance(end.event, Disconnected)
        assert end.event.reason
        await trio.sleep(5)
        assert session.end_reason is EndReason.IDLE_TIMEOUT


@pytest.mark.statement("S60")
async def test_the_client_knows_the_negotiated_disconnected_timeout(state: Path) -> None:
    config = configured("vpn-idle-timeout 5", "vpn-session-timeout 3")
    async with headend(state, config) as running, client(running, "user000") as vpn:
        assert vpn.answer is not None
        assert vpn.answer.disconnected_timeout == 180
        assert vpn.answer.idle_timeout == 300


@pytest.mark.statement("S106")
async def test_the_client_does_nothing_about_the_idle_timeout(state: Path) -> None:
    async with headend(state, configured("vpn-idle-timeout 2")) as running:
        # this client's clock runs sixty times as fast: it sees an hour pass while the headend sees a minute
        fast = Timeline(trio.current_time(), EPOCH, 60.0)
        options = ClientOptions(
            Gateway(HOME, running.https.port), "user000", "pw", group="staff", pin=running.pin, dpd=0
        )
        async with Client(options, timeline=fast) as vpn:
            assert vpn.answer is not None
            assert vpn.answer.idle_timeout == 120
            await trio.sleep(60)
            assert [event.name for event in vpn.events] == ["connected", "dtls"]


@pytest.mark.statement("S136", "S137", "S138")
async def test_a_resume_asks_nobody_but_the_token(state: Path) -> None:
    with Receiver() as receiver:
        async with headend(state, QUIET, syslog=receiver.host) as running, Laptop(running) as laptop:
            await laptop.connect()
            assert len(receiver.about(113012)) == len(receiver.about(113039)) == 1
            counted = repr(running.gateway.headend.counters)
            told = record_events(running)
            seen = len(receiver.lines)
            await laptop.cut_tls()
            await laptop.cut_dtls()
            await laptop.connect()
            assert repr(running.gateway.headend.counters) == counted
            kinds = Counter(type(event) for event in told)
            assert kinds[TunnelUp] == 2
            assert not kinds[SessionCreated] + kinds[AddressAssigned]
            numbers = [line.partition("%ASA-")[2][2:8] for line in receiver.lines[seen:]]
            assert not [number for number in numbers if number.startswith(("113", "716001", "734"))]
            assert "716059" in numbers
