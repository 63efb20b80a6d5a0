"""The life of a session, told by a whole headend and a whole client on loopback, in mock time.

Every timer has the length that an ASA gives it: an hour costs a few hundredths of a second here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from OpenSSL import SSL

import asa_emu.app.headend
from asa_emu.app import Running
from asa_emu.session.events import SessionCreated, SessionEnded, SessionEvent, SessionResumed, TunnelDown
from asa_emu.session.model import DownReason, EndReason, Session, TunnelKind
from asa_emu.syslog.facts import LoginAccepted, LoginRejected
from asa_emu.transport.contexts import server_context
from asa_emu.wire.frames import PacketType, disconnect_payload
from client_emu.client import Client
from client_emu.connection import ConnectFailed
from client_emu.events import Disconnected, Dtls, Reconnected, Reconnecting
from client_emu.lifecycle import Phase
from tests.headend_lab import (
    CONFIG,
    INSIDE,
    PSK_HEADERS,
    RawClient,
    RawDtls,
    client,
    headend,
    psk_secret,
    record_events,
    session_of,
    tunnel,
)

MINUTE = 60.0
DPD = 30.0  # seconds, an ASA's default on both sides (S36)
PROBES = 4  # the first and three retries
EventT = TypeVar("EventT", bound=SessionEvent)
Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start(mock_time: None, state: Path, log: object) -> Start:
    """Runs a headend whose group-policy has some more lines."""

    def with_lines(*lines: str) -> AbstractAsyncContextManager[Running]:
        last = " ipv6-address-pools value POOL6\n"
        return headend(state, CONFIG.replace(last, last + "".join(f" {line}\n" for line in lines)))

    return with_lines


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The newest version of TLS that the headend speaks."""
    newest = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}[request.param]

    def limited(*arguments: object, **options: object) -> SSL.Context:
        context = server_context(*arguments, **options)  # type: ignore[arg-type]
        context.set_max_proto_version(newest)
        return context

    monkeypatch.setattr(asa_emu.app.headend, "server_context", limited)
    version: str = request.param
    return version


def told(events: list[SessionEvent], kind: type[EventT], user: str = "user001") -> list[EventT]:
    """What of this kind was told about a user."""
    return [event for event in events if isinstance(event, kind) and event.username == user]


async def dtls_up(vpn: Client) -> str | None:
    """Wait until data goes over DTLS; the suite."""
    while not (event := await vpn.next_event(Dtls)).up:
        pass
    return event.cipher


async def dtls_down(vpn: Client) -> None:
    """Wait until data goes over TLS."""
    while (await vpn.next_event(Dtls)).up:
        pass


def inactive(session: Session) -> bool:
    """Whether it waits to be resumed."""
    return session.inactive


def dead_at(last_heard: float) -> float:
    """When gateway DPD gives a silent peer up: probes an interval apart, on whole seconds, and one more."""
    return math.ceil(last_heard + DPD) + PROBES * DPD


async def until(condition: Callable[[], bool], limit: float = 10 * MINUTE) -> None:
    """Let time pass until something is so."""
    with trio.fail_after(limit):
        while not condition():  # noqa: ASYNC110 -- in mock time nobody waits
            await trio.sleep(0.5)


@pytest.mark.statement("S5", "S5b", "S5c", "S30", "S31", "S32", "S39", "S47", "S53", "S123", "S134", "S136")
async def test_the_whole_story(start: Start, tls: str) -> None:
    async with start() as asa:
        events = record_events(asa)
        verdicts: list[object] = []
        asa.gateway.headend.listeners.append(verdicts.append)
        now = asa.gateway.now
        vpn = client(asa, "user001")
        async with vpn:
            # three tunnels, and data over the newest
            cipher = await dtls_up(vpn)
            assert (vpn.tls_cipher or "").startswith(tls)
            assert cipher is not None
            assert "GCM" in cipher
            session = session_of(asa, "user001")
            address = session.ip4
            assert [tunnel.number for tunnel in session.tunnels] == [1, 2, 3]
            assert (await vpn.ping(INSIDE, count=3)).received == 3
            assert session.dtls is not None and session.dtls.pkts_rx == 3
            assert session.ssl is not None and session.ssl.pkts_rx == 0

            # the cable is lost; the gateway finds out by itself, tells nobody, and keeps the address
            heard = session.ssl.liveness.last_received_at if session.ssl.liveness is not None else 0.0
            vpn.lose_cable()
            await until(lambda: session.ssl is None)
            assert session.inactive_since == dead_at(heard)
            await until(lambda: session.dtls is None)
            assert {event.reason for event in told(events, TunnelDown)} == {DownReason.DPD}
            assert session.tunnels == (session.parent,)
            assert inactive(session)
            assert session.ip4 == address
            assert (await vpn.next_event(Reconnecting)).level == "tunnel"
            async with tunnel(asa, "user002") as other:
                assert ".".join(map(str, other.ip4)) != address

            # five minutes later it comes back from elsewhere, with nothing but its token
            await trio.sleep(5 * MINUTE)
            assert session.inactivity(now()) == pytest.approx(now() - dead_at(heard))
            vpn.reconnect("127.0.0.2")
            assert (await vpn.next_event(Reconnected)).ip4 == address
            await dtls_up(vpn)
            assert [tunnel.number for tunnel in session.tunnels] == [1, 4, 5]
            assert not inactive(session)
            assert session.inactivity(now()) == 0
            assert session.duration(now()) > 7 * MINUTE
            assert session.public_ip == "127.0.0.2"
            assert len(told(events, SessionCreated)) == 1
            assert len(told(events, SessionResumed)) == 1
            assert sum(isinstance(verdict, LoginAccepted | LoginRejected) for verdict in verdicts) == 2
            assert (await vpn.ping(INSIDE)).received == 1

            # UDP is blocked: DTLS falls, the session does not notice, TLS carries
            vpn.block_udp()
            await dtls_down(vpn)
            await until(lambda: session.dtls is None)
            assert not inactive(session)
            before = session.ssl.pkts_rx
            assert (await vpn.ping(INSIDE, count=2)).received == 2
            assert session.ssl.pkts_rx == before + 2

            # and back again
            vpn.unblock_udp()
            await dtls_up(vpn)
            assert (await vpn.ping(INSIDE, count=2)).received == 2
            assert session.ssl.pkts_rx == before + 2
            assert session.dtls is not None
            assert session.totals.pkts_rx == 8

        # logged off: the token is dead
        await until(lambda: session.ended)
        (ended,) = told(events, SessionEnded)
        assert ended.reason is EndReason.USER_REQUESTED
        with pytest.raises(ConnectFailed, match="log in again"):
            await client(asa, "user001", token=vpn.token).__aenter__()


@pytest.mark.statement("S5a")
async def test_a_login_alone_is_a_parent(start: Start) -> None:
    async with start() as asa, await RawClient.open(asa) as raw:
        token = await raw.log_in("user001")
        session = session_of(asa, "user001")
        assert session.tunnels == (session.parent,)
        assert session.inactive
        assert session.inactivity(asa.gateway.now()) == 0
        assert session.ip4 is None
        assert (await raw.connect(token)).status == 200
        assert [tunnel.kind for tunnel in session.tunnels] == [TunnelKind.PARENT, TunnelKind.SSL]


@pytest.mark.statement("S30", "S115")
async def test_losing_dtls_alone_makes_nothing_inactive(start: Start) -> None:
    async with start() as asa, client(asa, "user001") as vpn:
        await dtls_up(vpn)
        session = session_of(asa, "user001")
        vpn.block_udp()
        await until(lambda: session.dtls is None)
        await trio.sleep(5 * MINUTE)
        assert not session.inactive
        assert session.inactivity(asa.gateway.now()) == 0


@pytest.mark.statement("S30")
async def test_losing_tls_alone_makes_the_session_inactive(start: Start) -> None:
    async with start() as asa, await RawClient.open(asa) as raw:
        answer = await raw.connect(await raw.log_in("user001"), *PSK_HEADERS)
        async with RawDtls(asa, psk_secret(raw, answer)) as dtls:
            await dtls.shake_hands()
            raw.stream.abort()
            session = session_of(asa, "user001")
            await until(lambda: session.ssl is None)
            await trio.sleep(20)
            await dtls.drain()
            await dtls.ping(raw)
            assert session.inactive
            assert session.inactivity(asa.gateway.now()) == pytest.approx(20, abs=1)
            assert [tunnel.kind for tunnel in session.tunnels] == [TunnelKind.PARENT, TunnelKind.DTLS]


@pytest.mark.statement("S5c")
async def test_answers_follow_a_client_that_has_given_up_udp(start: Start) -> None:
    """The client notices first. Its data comes over TLS, and so do the answers, long before gateway DPD."""
    async with start() as asa, client(asa, "user001", dpd=5.0) as vpn:
        await dtls_up(vpn)
        await trio.sleep(MINUTE)
        session = session_of(asa, "user001")
        vpn.block_udp()
        begun = trio.current_time()
        await dtls_down(vpn)
        assert trio.current_time() - begun < 40
        assert session.dtls is not None
        assert (await vpn.ping(INSIDE)).received == 1
        assert session.dtls is not None
        vpn.unblock_udp()
        await dtls_up(vpn)
        received = session.dtls.pkts_rx
        assert (await vpn.ping(INSIDE)).received == 1
        assert session.dtls is None or session.dtls.pkts_rx == received + 1


# idle


@pytest.mark.statement("S34b", "S91")
async def test_both_tunnels_idle_out_together_and_the_client_is_told(start: Start) -> None:
    async with start("vpn-idle-timeout 10") as asa:
        events = record_events(asa)
        async with client(asa, "user001") as vpn:
            await dtls_up(vpn)
            await vpn.ping(INSIDE)
            session = session_of(asa, "user001")
            used = session.last_use_at
            assert (await vpn.next_event(Disconnected)).reason == "Idle Timeout"
        await until(lambda: session.ended, 1.0)
        downs = told(events, TunnelDown)
        assert {(down.kind, down.reason) for down in downs} == {
            (TunnelKind.SSL, DownReason.IDLE),
            (TunnelKind.DTLS, DownReason.IDLE),
        }
        assert {down.at for down in downs} == {used + 10 * MINUTE}
        (ended,) = told(events, SessionEnded)
        assert ended.reason is EndReason.IDLE_TIMEOUT
        assert ended.at == pytest.approx(used + 10 * MINUTE, abs=1)  # the client's answer comes as it comes


@pytest.mark.statement("S34b")
async def test_a_busy_dtls_tunnel_keeps_the_silent_ssl_tunnel(start: Start) -> None:
    async with start("vpn-idle-timeout 10") as asa, client(asa, "user001") as vpn:
        await dtls_up(vpn)
        session = session_of(asa, "user001")
        for _ in range(12):
            await trio.sleep(5 * MINUTE)
            assert (await vpn.ping(INSIDE)).received == 1
        assert [tunnel.number for tunnel in session.tunnels] == [1, 2, 3]
        assert session.ssl is not None and session.ssl.pkts_rx == 0


@pytest.mark.statement("S91", "S92", "S93", "S94", "S108")
async def test_a_client_that_does_not_answer_idle_timeout_may_resume_within_another(start: Start) -> None:
    async with start("vpn-idle-timeout 10", "!emu anyconnect dpd-interval gateway none") as asa:
        events = record_events(asa)
        async with tunnel(asa, "user001") as raw:
            await raw.ping()
            session = session_of(asa, "user001")
            used = session.last_use_at
            assert (await _next_said(raw))[1:] == b"Idle Timeout"
            assert await raw.ended(5)
        assert session.inactive
        assert session.inactive_since == used + 10 * MINUTE
        assert session.parent.idle_left(session.inactive_since) == 10 * MINUTE
        await until(lambda: session.ended, 11 * MINUTE)
        (ended,) = told(events, SessionEnded)
        assert (ended.reason, ended.at) == (EndReason.IDLE_TIMEOUT, used + 20 * MINUTE)


async def _next_said(raw: RawClient) -> bytes:
    """The payload of the next DISCONNECT, whatever the gateway asks before."""
    while (frame := await raw.receive(40 * MINUTE)).kind != PacketType.DISCONNECT:
        pass
    return frame.payload


# the other timeouts


@pytest.mark.statement("S48", "S122")
async def test_the_session_timeout_survives_a_resume(start: Start) -> None:
    async with start("vpn-session-timeout 60") as asa:
        events = record_events(asa)
        async with client(asa, "user001") as vpn:
            session = session_of(asa, "user001")
            assert vpn.answer is not None
            assert vpn.answer.session_timeout == 60 * MINUTE
            await trio.sleep(30 * MINUTE - 200)
            vpn.lose_cable()
            await until(lambda: session.inactive)
            await trio.sleep(MINUTE)
            vpn.reconnect()
            await vpn.next_event(Reconnected)
            left = vpn.answer.session_timeout_remaining
            assert left is not None
            assert left == pytest.approx(session.session_ends_at - asa.gateway.now(), abs=1)
            assert left < 31 * MINUTE
            async with trio.open_nursery() as nursery:

                async def keep_busy() -> None:
                    while True:
                        await vpn.ping(INSIDE)
                        await trio.sleep(MINUTE)

                nursery.start_soon(keep_busy)
                assert (await vpn.next_event(Disconnected)).reason == "Max time exceeded"
                nursery.cancel_scope.cancel()
        (ended,) = told(events, SessionEnded)
        assert ended.reason is EndReason.SESSION_TIMEOUT
        assert ended.duration == 60 * MINUTE


@pytest.mark.statement("S40", "S50", "S58")
async def test_the_disconnected_timeout_ends_a_session_that_nobody_resumes(start: Start) -> None:
    async with start("!emu disconnected-timeout 120s") as asa:
        events = record_events(asa)
        async with client(asa, "user001") as vpn:
            session = session_of(asa, "user001")
            assert vpn.answer is not None
            assert vpn.answer.disconnected_timeout == 120
            vpn.lose_cable()
            await until(lambda: session.ended)
            vpn.restore_cable()
            await vpn.wait_ended()
        (ended,) = told(events, SessionEnded)
        assert ended.reason is EndReason.IDLE_TIMEOUT
        assert session.inactive_since is not None
        assert ended.at == session.inactive_since + 120


@pytest.mark.statement("S49", "S59", "S104", "S105", "S107")
async def test_without_timeouts_of_its_own_a_session_waits_half_an_hour(start: Start) -> None:
    async with start() as asa, client(asa, "user001") as vpn:
        session = session_of(asa, "user001")
        assert vpn.answer is not None
        assert vpn.answer.idle_timeout == vpn.answer.disconnected_timeout == 30 * MINUTE
        vpn.lose_cable()
        await until(lambda: session.inactive)
        lost_at = session.inactive_since
        assert lost_at is not None
        await until(lambda: session.ended, 31 * MINUTE)
        assert asa.gateway.now() - lost_at == pytest.approx(30 * MINUTE, abs=1)


@pytest.mark.statement("S51")
async def test_a_session_cleared_meanwhile_stops_the_client_at_its_first_try(start: Start) -> None:
    async with start() as asa, client(asa, "user001") as vpn:
        session = session_of(asa, "user001")
        vpn.lose_cable()
        await until(lambda: session.inactive)
        asa.gateway.headend.db.end(session, EndReason.ADMIN_RESET, asa.gateway.now())
        vpn.reconnect()
        begun = trio.current_time()
        assert "log in again" in (await vpn.next_event(Disconnected)).reason
        assert trio.current_time() - begun < 1


# resuming


@pytest.mark.statement("S7", "S9", "S136")
async def test_who_detaches_resumes_with_the_cookie(start: Start) -> None:
    async with start() as asa:
        first = client(asa, "user001")
        async with first:
            await dtls_up(first)
            session = session_of(asa, "user001")
            address = first.ip4
            await first.detach()
        await until(lambda: session.inactive)
        assert not session.ended
        await trio.sleep(10 * MINUTE)
        async with client(asa, "user001", token=first.token, password=None) as second:
            assert second.ip4 == address
            assert session_of(asa, "user001") is session
            assert (await second.ping(INSIDE)).received == 1
        assert session.ended


async def test_a_second_client_with_the_token_replaces_the_first(start: Start) -> None:
    async with start() as asa, client(asa, "user001") as first:
        await dtls_up(first)
        session = session_of(asa, "user001")
        async with client(asa, "user001", token=first.token, password=None) as second:
            assert "Replaced" in (await first.next_event(Disconnected)).reason
            assert first.phase is Phase.ENDED
            # the first has said its own b0 by now, which meant nothing
            await dtls_up(second)
            assert session_of(asa, "user001") is session
            assert second.ip4 == first.ip4
            assert (await second.ping(INSIDE, count=2)).received == 2


@pytest.mark.statement("S54a", "S55")
async def test_a_killed_tcp_connection_comes_back_at_once(start: Start) -> None:
    async with start() as asa, client(asa, "user001") as vpn:
        await dtls_up(vpn)
        address, token = vpn.ip4, vpn.token
        begun = trio.current_time()
        for _ in range(5):
            vpn.drop_tcp()
            assert (await vpn.next_event(Reconnected)).ip4 == address
            await dtls_up(vpn)
        assert trio.current_time() - begun < 1
        assert vpn.token == token
        assert session_of(asa, "user001").next_number == 14
        assert (await vpn.ping(INSIDE)).received == 1


async def test_a_cable_that_comes_back_in_time_is_no_event(start: Start) -> None:
    async with start() as asa, client(asa, "user001") as vpn:
        await dtls_up(vpn)
        session = session_of(asa, "user001")
        vpn.lose_cable()
        await trio.sleep(2 * DPD)
        vpn.restore_cable()
        await trio.sleep(5 * MINUTE)
        assert [tunnel.number for tunnel in session.tunnels] == [1, 2, 3]
        assert (await vpn.ping(INSIDE)).received == 1


@pytest.mark.statement("S97")
async def test_a_login_too_many_evicts_the_longest_idle(start: Start) -> None:
    async with start("vpn-simultaneous-logins 1") as asa, client(asa, "user001") as first:
        session = session_of(asa, "user001")
        async with client(asa, "user001") as second:
            assert (await first.next_event(Disconnected)).reason == "Port Preempted"
            assert session.ended
            assert (await second.ping(INSIDE)).received == 1


@pytest.mark.statement("S22")
async def test_the_next_login_gets_the_address_freed_last(start: Start) -> None:
    async with start() as asa:
        addresses = []
        for _ in range(3):
            async with client(asa, "user001") as vpn:
                addresses.append(vpn.ip4)
        assert len(set(addresses)) == 1


@pytest.mark.statement("S36", "S42", "S44")
async def test_an_idle_day_of_keepalives_loses_nothing(start: Start) -> None:
    async with start("vpn-idle-timeout 1440") as asa, client(asa, "user001") as vpn:
        await dtls_up(vpn)
        session: Session = session_of(asa, "user001")
        assert vpn.answer is not None
        assert (vpn.answer.dpd, vpn.answer.keepalive) == (30, 20)
        await trio.sleep(6 * 60 * MINUTE)
        assert [tunnel.number for tunnel in session.tunnels] == [1, 2, 3]
        assert session.last_use_at < asa.gateway.now() - 5 * 60 * MINUTE
        assert (await vpn.ping(INSIDE)).received == 1


async def test_two_clients_reach_each_other(start: Start) -> None:
    async with start() as asa, client(asa, "user001") as first, client(asa, "user002", dtls=False) as second:
        await dtls_up(first)
        for one, other in ((first, second), (second, first)):
            assert (await one.ping(other.ip4 or "", count=2)).received == 2
            assert (await one.ping(other.ip6 or "", count=2)).received == 2


@pytest.mark.parametrize("code", [0xB0, 0xD1, None])
async def test_what_a_farewell_says_decides_about_the_session(start: Start, code: int | None) -> None:
    async with start() as asa, tunnel(asa, "user001") as raw:
        session = session_of(asa, "user001")
        await raw.send(PacketType.DISCONNECT, b"" if code is None else disconnect_payload("bye", code))
        assert await raw.ended(5)
        assert session.ended is (code == 0xB0)


async def test_the_headend_says_goodbye_when_it_stops(start: Start) -> None:
    async with start() as asa, client(asa, "user001") as vpn:
        await dtls_up(vpn)
        begun = trio.current_time()
        asa.stopping.set()
        assert (await vpn.next_event(Disconnected)).reason == "Administrator Reset"
        assert trio.current_time() - begun < 3
