"""What the document says of reconnects, by this client at this headend: levels, budgets, adapter, queue.

Outages are made where the client cannot see them: the headend's port refuses, swallows, or works.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from asa_emu.app import Running
from asa_emu.session.events import SessionResumed
from asa_emu.session.model import EndReason
from client_emu import AdapterChanged, Client, ClientOptions, Disconnected, Dtls, Reconnected, Reconnecting
from client_emu.connection import BACKLOG
from client_emu.gateway import Gateway
from client_emu.lifecycle import GAVE_UP, Phase
from tests.client_lab import MINUTE, USER, lab, names_of
from tests.headend_lab import INSIDE, PASSWORD, client, record_events, session_of

pytestmark = pytest.mark.usefixtures("mock_time", "log")


@dataclass(slots=True)
class FrontDoor:
    """A TCP relay before the headend that can be shut; it keeps the first bytes of each connection."""

    gateway: Gateway
    open: bool = True
    hellos: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def front_door(asa: Running) -> AsyncIterator[FrontDoor]:
    """Stand before the TCP port of the headend."""

    async def relay(ours: trio.SocketStream) -> None:
        if not door.open:
            return
        onward = await trio.open_tcp_stream("127.0.0.1", asa.https.port)
        async with onward, trio.open_nursery() as both:
            door.hellos.append(await ours.receive_some())
            await onward.send_all(door.hellos[-1])
            both.start_soon(copy, onward, ours)
            await copy(ours, onward)
            both.cancel_scope.cancel()

    async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some():
                await target.send_all(data)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, relay, [listener])
        door = FrontDoor(Gateway("127.0.0.1", listener.socket.getsockname()[1]))
        yield door
        nursery.cancel_scope.cancel()


async def outage(vpn: Client, seconds: float) -> None:
    """The TCP connection dies, and nothing gets through for a while."""
    vpn.lose_cable()
    vpn.drop_tcp()
    await trio.sleep(seconds)
    vpn.restore_cable()


@pytest.mark.statement("S45", "S46", "S47", "S54", "S54a", "S113", "S123", "S134")
async def test_a_killed_connection_is_resumed_at_tunnel_level(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, dtls=False) as vpn:
        told, session, address = record_events(asa), session_of(asa, USER), vpn.ip4
        vpn.drop_tcp()
        assert (await vpn.next_event(Reconnecting)).level == "tunnel"
        assert await vpn.next_event(Reconnected) == Reconnected("tunnel", address)
        assert (await vpn.ping(INSIDE)).received == 1
        assert sum(isinstance(event, SessionResumed) for event in told) == 1
        assert session_of(asa, USER) is session
        # nothing configured it, and neither adapter nor routes were touched
        assert names_of(vpn) == ["connected", "reconnecting", "reconnected"]


@pytest.mark.statement("S55")
async def test_dtls_carries_the_data_while_tls_is_built_anew(state: Path) -> None:
    async with lab(state) as asa, front_door(asa) as door, client(asa, USER, gateway=door.gateway) as vpn:
        await vpn.next_event(Dtls)
        token, port = vpn.token, vpn.udp_source_port
        door.open = False
        vpn.drop_tcp()
        assert (await vpn.ping(INSIDE, count=3)).received == 3
        assert vpn.tcp_source is None
        assert vpn.udp_source_port == port
        door.open = True
        await vpn.next_event(Reconnected)
        assert (await vpn.next_event(Dtls)).up
        assert vpn.udp_source_port != port
        assert vpn.token == token


@pytest.mark.statement("S55", "S115")
async def test_dtls_is_built_anew_without_touching_tls(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER) as vpn:
        await vpn.next_event(Dtls)
        source = vpn.tcp_source
        vpn.block_udp()
        assert not (await vpn.next_event(Dtls)).up
        assert (await vpn.ping(INSIDE)).received == 1
        vpn.unblock_udp()
        assert (await vpn.next_event(Dtls)).up
        assert vpn.tcp_source == source
        assert vpn.phase is Phase.CONNECTED


@pytest.mark.statement("S114", "S116", "S117", "S118", "S124")
async def test_after_thirty_seconds_the_routes_are_set_anew_and_the_adapter_stays(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, dtls=False) as vpn:
        address, lost_at = vpn.ip4, trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outage, vpn, 40.0)
            assert (await vpn.next_event(Reconnecting)).level == "tunnel"
            assert (await vpn.next_event(Reconnecting)).level == "session"
            assert trio.current_time() - lost_at == 30
            assert vpn.ip4 == address
            assert await vpn.next_event(AdapterChanged) == AdapterChanged("routes", vpn.mtu)
            assert await vpn.next_event(Reconnected) == Reconnected("session", address)
        assert names_of(vpn) == ["connected", "reconnecting", "reconnecting", "adapter", "reconnected"]
        assert "The routing table is being updated." in [record.text for record in vpn.journal.records]


@pytest.mark.statement("S57", "S58", "S61", "S66", "S107")
async def test_two_minutes_of_idle_timeout_are_two_minutes_of_trying(state: Path) -> None:
    async with lab(state, "vpn-idle-timeout 2") as asa, client(asa, USER, dtls=False) as vpn:
        lost_at = trio.current_time()
        vpn.lose_cable()
        vpn.drop_tcp()
        end = await vpn.wait_ended()
        assert trio.current_time() - lost_at == 120
        assert (end.event, end.exit_code) == (Disconnected(GAVE_UP), 1)
        assert [line[11:] for line in vpn.journal.history[-4:]] == [
            "Reconnecting to 127.0.0.1...",
            "Reconnecting to 127.0.0.1...",
            "The VPN client failed to reconnect.",
            "Ready to connect.",
        ]


@pytest.mark.statement("S48", "S49")
async def test_half_an_hour_without_any_timeout(state: Path) -> None:
    # a headend that has a value never says none; an old one may
    async with lab(state, "vpn-idle-timeout none") as asa, client(asa, USER, dtls=False) as vpn:
        assert vpn.answer is not None
        lost_at = trio.current_time()
        vpn.lose_cable()
        vpn.drop_tcp()
        await vpn.wait_ended()
        assert trio.current_time() - lost_at == (vpn.answer.disconnected_timeout or 30 * MINUTE)


@pytest.mark.statement("S48")
async def test_the_session_timeout_ends_the_trying_too(state: Path) -> None:
    async with lab(state, "vpn-session-timeout 10") as asa, client(asa, USER, dtls=False) as vpn:
        logged_in = trio.current_time()
        await trio.sleep(8 * MINUTE)
        vpn.lose_cable()
        vpn.drop_tcp()
        await vpn.wait_ended()
        assert trio.current_time() - logged_in == pytest.approx(10 * MINUTE, abs=1)


@pytest.mark.statement("S50", "S51")
async def test_a_session_that_was_logged_off_meanwhile_ends_at_first_contact(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, dtls=False) as vpn:
        vpn.lose_cable()
        vpn.drop_tcp()
        await trio.sleep(60)
        assert vpn.phase is Phase.RECONNECTING
        asa.gateway.headend.db.end(session_of(asa, USER), EndReason.ADMIN_RESET, asa.gateway.now())
        vpn.restore_cable()
        event = await vpn.next_event(Disconnected)
        assert "the headend refused the session" in event.reason


@pytest.mark.statement("S122")
async def test_the_tunnel_is_back_shortly_after_the_network(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, dtls=False) as vpn:
        await outage(vpn, 5 * MINUTE)
        back_at = trio.current_time()
        await vpn.next_event(Reconnected)
        assert trio.current_time() - back_at <= 10


@pytest.mark.statement("S124", "S125")
async def test_applications_wait_for_a_short_outage_and_notice_a_long_one(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, dtls=False) as vpn:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outage, vpn, 3.0)
            await trio.sleep(1)
            assert await vpn.udp(INSIDE, 7, b"patient", limit=10.0) == b"patient"
        await vpn.next_event(Reconnected)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outage, vpn, 10.0)
            await trio.sleep(1)
            assert await vpn.udp(INSIDE, 7, b"impatient", limit=5.0) is None
        await vpn.next_event(Reconnected)
        assert await vpn.udp(INSIDE, 7, b"again") == b"again"


async def test_the_queue_of_a_lost_tunnel_is_bounded_and_its_oldest_packets_go(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, dtls=False) as vpn:
        vpn.lose_cable()
        vpn.drop_tcp()
        for _ in range(BACKLOG + 50):
            vpn.send_packet(b"\x45" + bytes(99))
        assert vpn.dropped == 50
        vpn.restore_cable()
        await vpn.next_event(Reconnected)
        await trio.sleep(1)
        assert vpn.tls_traffic.packets_out == BACKLOG


@pytest.mark.statement("S63", "S82", "S83")
@pytest.mark.parametrize("dtls", [False, True])
async def test_missed_dpds_end_no_session_and_turn_to_no_backup(state: Path, dtls: bool) -> None:
    webvpn = ("webvpn", " anyconnect dpd-interval client 10", " anyconnect dpd-interval gateway none")
    async with lab(state, *webvpn) as asa:
        backup = Gateway("127.0.0.1", 1)
        async with client(asa, USER, dtls=dtls, backups=(backup,)) as vpn:
            if dtls:
                await vpn.next_event(Dtls)
            vpn.lose_cable()
            started = trio.current_time()
            assert (await vpn.next_event(Reconnecting)).level == "tunnel"
            assert trio.current_time() - started == pytest.approx(50, abs=2)
            await trio.sleep(5 * MINUTE)
            assert vpn.phase is Phase.RECONNECTING
            vpn.restore_cable()
            await vpn.next_event(Reconnected)
            assert (await vpn.ping(INSIDE)).received == 1


@pytest.mark.statement("S63")
async def test_without_client_dpd_a_dead_headend_is_never_noticed(state: Path) -> None:
    webvpn = ("webvpn", " anyconnect dpd-interval client none", " anyconnect dpd-interval gateway none")
    async with lab(state, "vpn-idle-timeout none", *webvpn) as asa, client(asa, USER) as vpn:
        await vpn.next_event(Dtls)
        vpn.lose_cable()
        await trio.sleep(24 * 60 * MINUTE)
        assert vpn.phase is Phase.CONNECTED
        assert names_of(vpn) == ["connected", "dtls"]


@pytest.mark.statement("S54b")
async def test_no_tls_session_is_offered_again(state: Path) -> None:
    async with lab(state) as asa, front_door(asa) as door:
        gateway = door.gateway
        async with client(asa, USER, dtls=False, gateway=gateway) as vpn:
            for _ in range(2):
                vpn.drop_tcp()
                await vpn.next_event(Reconnected)
    assert len(door.hellos) >= 3
    for hello in door.hellos:
        assert _extensions(hello).isdisjoint({41, 35})  # pre_shared_key, session_ticket


def _extensions(record: bytes) -> set[int]:
    """The extensions of a ClientHello, which has to fit one record."""
    at = 5 + 4 + 2 + 32
    at += 1 + record[at]
    at += 2 + int.from_bytes(record[at : at + 2])
    at += 1 + record[at]
    end = at + 2 + int.from_bytes(record[at : at + 2])
    at += 2
    found = set()
    while at < end:
        found.add(int.from_bytes(record[at : at + 2]))
        at += 4 + int.from_bytes(record[at + 2 : at + 4])
    return found


@pytest.mark.statement("S54c")
async def test_the_token_is_in_nothing_that_is_told(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER) as vpn:
        vpn.drop_tcp()
        await vpn.next_event(Reconnected)
        token = vpn.token
        assert token is not None
        assert len(token) >= 32
        told = [repr(vpn.options), repr(vpn.events), repr(vpn.journal.messages), repr(vpn.journal.records)]
        assert token not in "".join(told)
        options = ClientOptions(Gateway("127.0.0.1"), token=token, password=PASSWORD)
        assert token not in repr(options)
        assert PASSWORD not in repr(options).replace("passwd", "")


@pytest.mark.statement("S46")
async def test_a_profile_may_switch_reconnecting_off(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, preferences={"AutoReconnect": "false"}) as vpn:
        vpn.drop_tcp()
        end = await vpn.wait_ended()
        assert end.exit_code == 1
        assert "AutoReconnect is off" in end.event.reason


@pytest.mark.statement("S60")
async def test_the_negotiated_disconnected_timeout_is_in_the_event_viewer(state: Path) -> None:
    async with lab(state, "vpn-idle-timeout 2") as asa, client(asa, USER) as vpn:
        (record,) = [str(record) for record in vpn.journal.records if "settings received" in record.text]
        assert "Source      : acvpnagent" in record
        assert "Disconnected Timeout: 120 seconds" in record


async def test_tcp_through_the_tunnel(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER) as vpn:
        assert await vpn.tcp(INSIDE, 7, b"hello") == b"hello"
        assert await vpn.tcp("fd00:77::1", 7, b"hello") == b"hello"
        assert await vpn.tcp(INSIDE, 7) == b""
        with pytest.raises(ConnectionRefusedError):
            await vpn.tcp(INSIDE, 4444, b"hello")
        vpn.lose_cable()
        assert await vpn.tcp(INSIDE, 7, b"hello", limit=5.0) is None
