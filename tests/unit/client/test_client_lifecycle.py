"""Losses, retries and ends of one connection, with literal time."""

import ipaddress
import math
from dataclasses import replace

import pytest

from client_emu.events import Disconnected, Dtls, Failed, Reconnected, Reconnecting
from client_emu.lifecycle import (
    Attempt,
    DropDtls,
    DropTunnel,
    Emit,
    End,
    Level,
    Lifecycle,
    Phase,
    StartDtls,
    Terms,
)

TERMS = Terms(
    ip4=ipaddress.IPv4Interface("10.1.1.5/24"), ip6=None, mtu=1390, idle_timeout=1800.0, dtls_offered=True
)
NEVER = 9e9


def connected(terms: Terms = TERMS, now: float = 100.0) -> Lifecycle:
    machine = Lifecycle()
    machine.connected(terms, now)
    return machine


def attempts_until(machine: Lifecycle, end: float) -> list[float]:
    """Fail every attempt at once until `end`; when they were made."""
    made = []
    while (at := machine.next_deadline()) <= end:
        actions = machine.on_deadline(at)
        while any(isinstance(action, Attempt) for action in actions):
            made.append(at)
            actions = machine.attempt_failed(at)
    return made


def test_connected_starts_dtls_when_it_is_offered() -> None:
    assert Lifecycle().connected(TERMS, 0.0) == (StartDtls(),)
    assert Lifecycle().connected(replace(TERMS, dtls_offered=False), 0.0) == ()


@pytest.mark.statement("S113")
def test_lost_tunnel_is_resumed_at_tunnel_level_at_once() -> None:
    machine = connected()
    machine.dtls_up("suite", 101.0)
    assert machine.tunnel_lost(110.0) == (
        DropTunnel(),
        DropDtls(),
        Emit(Dtls(up=False, cipher=None)),
        Emit(Reconnecting("tunnel")),
        Attempt(Level.TUNNEL),
    )
    assert machine.resumed(TERMS, 111.0) == (Emit(Reconnected("tunnel", "10.1.1.5")), StartDtls())
    assert machine.phase is Phase.CONNECTED


@pytest.mark.statement("S116")
def test_after_thirty_seconds_the_session_level_begins() -> None:
    machine = connected()
    machine.tunnel_lost(100.0)
    machine.attempt_failed(100.0)
    actions = []
    while machine.next_deadline() <= 131.0:
        at = machine.next_deadline()
        due = machine.on_deadline(at)
        if any(isinstance(action, Attempt) for action in due):
            machine.attempt_failed(at)
        actions += [(at, action) for action in due if isinstance(action, Emit)]
    assert actions == [(130.0, Emit(Reconnecting("session")))]
    assert machine.level is Level.SESSION
    machine.on_deadline(machine.next_deadline())
    assert machine.resumed(TERMS, 140.0)[0] == Emit(Reconnected("session", "10.1.1.5"))


def test_attempts_are_paced_up_to_ten_seconds() -> None:
    machine = connected(now=0.0)
    machine.tunnel_lost(0.0)
    machine.attempt_failed(0.0)
    assert attempts_until(machine, 50.0) == [1.0, 3.0, 7.0, 15.0, 25.0, 35.0, 45.0]


@pytest.mark.statement("S58")
@pytest.mark.parametrize(
    ("idle", "session", "disconnected", "limit"),
    [
        (300.0, 180.0, None, 180.0),
        (300.0, 600.0, None, 300.0),
        (300.0, None, None, 300.0),
        (None, None, None, 1800.0),
        (300.0, None, 120.0, 120.0),
        (120.0, None, 600.0, 600.0),
    ],
)
def test_attempts_stop_at_the_disconnected_timeout(
    idle: float | None, session: float | None, disconnected: float | None, limit: float
) -> None:
    terms = replace(TERMS, idle_timeout=idle, session_timeout=session, disconnected_timeout=disconnected)
    machine = connected(terms, 0.0)
    machine.tunnel_lost(50.0)
    machine.attempt_failed(50.0)
    made = attempts_until(machine, NEVER)
    assert limit + 50.0 - 10.0 <= made[-1] < limit + 50.0
    assert machine.phase is Phase.ENDED
    assert machine.end is not None
    assert machine.end.exit_code == 1
    assert "disconnected timeout" in machine.end.event.reason
    assert machine.next_deadline() == math.inf


def test_an_attempt_that_hangs_does_not_outlive_the_timeout() -> None:
    machine = connected(replace(TERMS, disconnected_timeout=20.0), 0.0)
    machine.tunnel_lost(0.0)
    assert machine.next_deadline() == 20.0
    (end,) = machine.on_deadline(20.0)
    assert isinstance(end, End)
    assert machine.resumed(TERMS, 21.0) == ()
    assert machine.attempt_failed(21.0) == ()


@pytest.mark.statement("S51")
def test_refused_token_ends_without_another_try() -> None:
    machine = connected()
    machine.tunnel_lost(100.0)
    assert machine.session_gone("401", 101.0) == (End(Disconnected("401"), 1),)
    assert machine.next_deadline() == math.inf


def test_changed_address_ends_with_the_reason() -> None:
    machine = connected()
    machine.tunnel_lost(100.0)
    other = replace(TERMS, ip4=ipaddress.IPv4Interface("10.1.1.6/24"))
    (end,) = machine.resumed(other, 101.0)
    assert isinstance(end, End)
    assert (
        end.event.reason == "the headend changed the address of the session from 10.1.1.5/24 to 10.1.1.6/24"
    )
    assert end.exit_code == 1


@pytest.mark.statement("S115")
def test_lost_dtls_is_tried_at_once_then_every_minute() -> None:
    machine = connected(now=0.0)
    assert machine.dtls_up("suite", 1.0) == (Emit(Dtls(up=True, cipher="suite")),)
    assert machine.dtls_lost(50.0) == (Emit(Dtls(up=False, cipher=None)), StartDtls())
    assert machine.dtls_lost(62.0) == ()
    assert machine.next_deadline() == 122.0
    assert machine.on_deadline(121.0) == ()
    assert machine.on_deadline(122.0) == (StartDtls(),)
    assert machine.next_deadline() == math.inf
    assert machine.phase is Phase.CONNECTED


def test_late_news_of_dtls_means_nothing_while_reconnecting() -> None:
    machine = connected()
    machine.tunnel_lost(100.0)
    assert machine.dtls_up("suite", 101.0) == ()
    assert machine.dtls_lost(101.0) == ()


def test_headend_and_user_end_it_cleanly() -> None:
    machine = connected()
    assert machine.told_to_end("Idle Timeout", 1.0) == (End(Disconnected("Idle Timeout"), 0),)
    assert machine.leave("later", 2.0) == ()
    machine = connected()
    assert machine.leave("bye", 1.0) == (End(Disconnected("bye"), 0),)
    machine = connected()
    assert machine.peer_broke_protocol("bad frame", 1.0) == (End(Failed("bad frame"), 1),)


def test_reconnect_on_demand_cuts_the_pause_short() -> None:
    machine = connected()
    assert Attempt(Level.TUNNEL) in machine.reconnect(100.0)
    assert machine.reconnect(100.5) == ()
    machine.attempt_failed(101.0)
    assert machine.reconnect(101.1) == (Attempt(Level.TUNNEL),)
    machine.leave("bye", 102.0)
    assert machine.reconnect(103.0) == ()
