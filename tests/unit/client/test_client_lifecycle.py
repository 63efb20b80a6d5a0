"""Reaching, losses, retries, sleep and ends of one connection, with literal time."""

import ipaddress
import math
from dataclasses import replace
from typing import Any

import pytest

from client_emu.events import Disconnected, Dtls, Failed, Reconnected, Reconnecting
from client_emu.lifecycle import (
    ESTABLISHING_PACKETS,
    IKEV2_DPD_PACKETS,
    Action,
    Do,
    Emit,
    End,
    Level,
    Lifecycle,
    Phase,
    Reach,
    Rebuild,
    Rules,
)
from client_emu.terms import Terms

TERMS = Terms(
    ip4=ipaddress.IPv4Interface("10.1.1.5/24"), ip6=None, mtu=1390, idle_timeout=1800.0, dtls_offered=True
)
NEVER = 9e9
RECONNECTS = Rules(reconnects_after_resume=True)


def connected(terms: Terms = TERMS, now: float = 100.0, rules: Rules | None = None) -> Lifecycle:
    machine = Lifecycle(rules)
    machine.begin(now, has_token=True)
    machine.opened(terms, now)
    return machine


def attempts_until(machine: Lifecycle, end: float) -> list[float]:
    """Fail every attempt at once until `end`; when they were made."""
    made = []
    while (at := machine.next_deadline()) <= end:
        actions = machine.on_deadline(at)
        while Do.ATTEMPT in actions:
            made.append(at)
            actions = machine.attempt_failed("no", at)
    return made


def packets_until_the_end(machine: Lifecycle, *, silent: bool) -> list[Action]:
    """Leave every packet of the establishing phase unanswered; all actions."""
    done: list[Action] = list(machine.begin(0.0))
    while isinstance(done[-1], Reach):
        done += machine.unanswered("nothing", 0.0, silent=silent)
    return done


# Establishing


@pytest.mark.statement("S80")
@pytest.mark.statement("S81")
def test_four_packets_to_each_server_then_the_next() -> None:
    assert ESTABLISHING_PACKETS == 4
    done = packets_until_the_end(Lifecycle(Rules(servers=3)), silent=True)
    assert done == [*[Reach(0)] * 4, *[Reach(1)] * 4, *[Reach(2)] * 4, End(Failed("nothing"), 1)]
    assert packets_until_the_end(Lifecycle(), silent=True) == [*[Reach(0)] * 4, End(Failed("nothing"), 1)]


@pytest.mark.statement("S84")
def test_ikev2_has_seven_packets() -> None:
    assert IKEV2_DPD_PACKETS == 7


def test_a_server_that_says_no_is_not_asked_again() -> None:
    done = packets_until_the_end(Lifecycle(Rules(servers=2)), silent=False)
    assert done == [Reach(0), Reach(1), End(Failed("nothing"), 1)]


def test_a_backup_that_answers_is_the_headend_from_then_on() -> None:
    machine = Lifecycle(Rules(servers=2))
    assert machine.begin(0.0) == (Reach(0),)
    assert machine.unanswered("refused", 0.0, silent=False) == (Reach(1),)
    assert machine.answered(1.0) == (Do.LOG_IN,)
    assert machine.logged_in(2.0) == (Do.ATTEMPT,)
    assert machine.opened(TERMS, 3.0) == (Do.DROP_DTLS, Do.ANNOUNCE, Do.START_DTLS)
    assert machine.phase is Phase.CONNECTED


def test_after_the_login_no_other_server_is_turned_to() -> None:
    machine = Lifecycle(Rules(servers=2))
    machine.begin(0.0)
    machine.answered(0.0)
    assert machine.refused("wrong password", 1.0) == (End(Failed("wrong password"), 1),)
    machine = Lifecycle(Rules(servers=2))
    machine.begin(0.0)
    machine.answered(0.0)
    machine.logged_in(0.0)
    for _ in range(3):
        assert machine.attempt_failed("silence", 1.0, silent=True) == (Do.ATTEMPT,)
    assert machine.attempt_failed("silence", 1.0, silent=True) == (End(Failed("silence"), 1),)


def test_a_token_goes_to_the_server_that_it_is_from() -> None:
    machine = Lifecycle(Rules(servers=2))
    assert machine.begin(0.0, has_token=True) == (Do.ATTEMPT,)
    assert machine.session_gone("401", 1.0) == (End(Failed("401"), 1),)


def test_dtls_is_started_only_when_it_is_offered() -> None:
    machine = Lifecycle()
    machine.begin(0.0, has_token=True)
    assert Do.START_DTLS not in machine.opened(replace(TERMS, dtls_offered=False), 0.0)


# Losses


@pytest.mark.statement("S113")
def test_lost_tunnel_is_resumed_at_tunnel_level_at_once() -> None:
    machine = connected()
    assert machine.tunnel_lost(110.0) == (
        Do.DROP_TUNNEL,
        Do.DROP_DTLS,
        Emit(Reconnecting("tunnel")),
        Do.ATTEMPT,
    )
    assert machine.rebuild_for(TERMS) is Rebuild.NOTHING
    assert machine.opened(TERMS, 111.0) == (
        Do.DROP_DTLS,
        Emit(Reconnected("tunnel", "10.1.1.5")),
        Do.START_DTLS,
    )
    assert machine.phase is Phase.CONNECTED


@pytest.mark.statement("S55")
def test_dtls_that_works_outlives_the_tls_tunnel() -> None:
    machine = connected()
    machine.dtls_up("suite", 101.0)
    assert machine.tunnel_lost(110.0) == (Do.DROP_TUNNEL, Emit(Reconnecting("tunnel")), Do.ATTEMPT)
    assert machine.opened(TERMS, 111.0)[:2] == (Do.DROP_DTLS, Emit(Dtls(up=False, cipher=None)))


def test_dtls_that_fails_meanwhile_waits_for_the_new_tunnel() -> None:
    machine = connected()
    machine.dtls_up("suite", 101.0)
    machine.tunnel_lost(110.0)
    assert machine.dtls_lost(111.0) == (Emit(Dtls(up=False, cipher=None)),)
    assert machine.dtls_lost(111.0) == ()
    assert machine.dtls_up("suite", 112.0) == ()
    assert Do.START_DTLS in machine.opened(TERMS, 113.0)


@pytest.mark.statement("S133")
def test_a_lost_interface_takes_dtls_with_it() -> None:
    machine = connected()
    machine.dtls_up("suite", 101.0)
    assert machine.network_lost(110.0) == (
        Do.DROP_TUNNEL,
        Do.DROP_DTLS,
        Emit(Dtls(up=False, cipher=None)),
        Emit(Reconnecting("tunnel")),
        Do.ATTEMPT,
    )
    assert machine.network_lost(111.0) == (Do.DROP_DTLS, Do.DROP_ATTEMPT, Do.ATTEMPT)


@pytest.mark.statement("S114")
@pytest.mark.statement("S116")
@pytest.mark.statement("S117")
def test_after_thirty_seconds_the_session_level_begins() -> None:
    machine = connected()
    machine.tunnel_lost(100.0)
    machine.attempt_failed("no", 100.0)
    actions = []
    while machine.next_deadline() <= 131.0:
        at = machine.next_deadline()
        due = machine.on_deadline(at)
        if Do.ATTEMPT in due:
            machine.attempt_failed("no", at)
        actions += [(at, action) for action in due if isinstance(action, Emit)]
    assert actions == [(130.0, Emit(Reconnecting("session")))]
    assert machine.level is Level.SESSION
    machine.on_deadline(machine.next_deadline())
    assert machine.rebuild_for(TERMS) is Rebuild.ROUTES
    assert Emit(Reconnected("session", "10.1.1.5")) in machine.opened(TERMS, 140.0)


@pytest.mark.statement("S118")
@pytest.mark.statement("S120")
@pytest.mark.parametrize(
    ("change", "rebuild"),
    [
        ({}, Rebuild.NOTHING),
        ({"idle_timeout": 60.0}, Rebuild.NOTHING),
        ({"mtu": 1300}, Rebuild.ADAPTER),
        ({"ip4": ipaddress.IPv4Interface("10.1.1.5/16")}, Rebuild.ADAPTER),
    ],
)
def test_only_what_concerns_the_adapter_restarts_it(change: dict[str, Any], rebuild: Rebuild) -> None:
    machine = connected()
    machine.tunnel_lost(100.0)
    terms = replace(TERMS, **change)
    assert machine.rebuild_for(terms) is rebuild
    (told,) = [action for action in machine.opened(terms, 101.0) if isinstance(action, Emit)]
    assert told.event == Reconnected("session" if rebuild is Rebuild.ADAPTER else "tunnel", "10.1.1.5")


def test_attempts_are_paced_up_to_ten_seconds() -> None:
    machine = connected(now=0.0)
    machine.tunnel_lost(0.0)
    machine.attempt_failed("no", 0.0)
    assert attempts_until(machine, 50.0) == [1.0, 3.0, 7.0, 15.0, 25.0, 35.0, 45.0]


@pytest.mark.statement("S48")
@pytest.mark.statement("S49")
@pytest.mark.statement("S57")
@pytest.mark.statement("S58")
@pytest.mark.statement("S59")
@pytest.mark.parametrize(
    ("idle", "session", "disconnected", "limit"),
    [
        (300.0, 180.0, None, 130.0),  # of the session's 180 s, 50 had passed
        (300.0, 600.0, None, 300.0),
        (300.0, None, None, 300.0),
        (None, None, None, 1800.0),
        (300.0, None, 120.0, 120.0),
        (120.0, None, 600.0, 600.0),
    ],
)
def test_attempts_stop_at_the_disconnected_timeout_or_the_sessions_end(
    idle: float | None, session: float | None, disconnected: float | None, limit: float
) -> None:
    terms = replace(TERMS, idle_timeout=idle, session_timeout=session, disconnected_timeout=disconnected)
    machine = connected(terms, 0.0)
    machine.tunnel_lost(50.0)
    machine.attempt_failed("no", 50.0)
    made = attempts_until(machine, NEVER)
    assert limit + 50.0 - 10.0 <= made[-1] < limit + 50.0
    assert machine.phase is Phase.ENDED
    assert machine.end is not None
    assert machine.end.exit_code == 1
    assert "disconnected timeout" in machine.end.event.reason
    assert machine.next_deadline() == math.inf


def test_a_resume_does_not_prolong_the_session() -> None:
    machine = connected(replace(TERMS, session_timeout=600.0), 0.0)
    machine.tunnel_lost(100.0)
    machine.opened(replace(TERMS, session_timeout=600.0), 101.0)
    machine.tunnel_lost(200.0)
    assert machine.give_up_at == 600.0
    machine.opened(replace(TERMS, session_timeout=600.0, session_timeout_left=5.0), 201.0)
    machine.tunnel_lost(202.0)
    assert machine.give_up_at == 206.0


def test_an_attempt_that_hangs_does_not_outlive_the_timeout() -> None:
    machine = connected(replace(TERMS, disconnected_timeout=20.0), 0.0)
    machine.tunnel_lost(0.0)
    assert machine.next_deadline() == 20.0
    (end,) = machine.on_deadline(20.0)
    assert isinstance(end, End)
    assert machine.opened(TERMS, 21.0) == ()
    assert machine.attempt_failed("no", 21.0) == ()


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
    assert machine.rebuild_for(other) is Rebuild.NOTHING
    (end,) = machine.opened(other, 101.0)
    assert isinstance(end, End)
    assert (
        end.event.reason == "the headend changed the address of the session from 10.1.1.5/24 to 10.1.1.6/24"
    )
    assert end.exit_code == 1


@pytest.mark.statement("S119", "S132")
def test_ipv6_goes_with_an_mtu_that_is_too_small_for_it_and_comes_back() -> None:
    both = replace(TERMS, ip6=ipaddress.IPv6Interface("2001:db8::5/128"))
    machine = connected(both)
    for now, terms in ((101.0, replace(TERMS, mtu=1230)), (102.0, both)):
        machine.renew(now)
        assert machine.rebuild_for(terms) is Rebuild.ADAPTER
        assert Emit(Reconnected("session", "10.1.1.5")) in machine.opened(terms, now)
        assert machine.terms == terms


@pytest.mark.parametrize("ip6", [None, "2001:db8::6/128"])
def test_no_address_in_common_or_another_one_ends_the_session(ip6: str | None) -> None:
    machine = connected(replace(TERMS, ip4=None, ip6=ipaddress.IPv6Interface("2001:db8::5/128")))
    machine.renew(101.0)
    (end,) = machine.opened(replace(TERMS, ip6=ipaddress.IPv6Interface(ip6) if ip6 else None), 101.0)
    assert isinstance(end, End)


@pytest.mark.statement("S46")
def test_only_the_profile_switches_reconnecting_off() -> None:
    machine = connected(rules=Rules(auto_reconnect=False))
    (end,) = machine.tunnel_lost(100.0)
    assert end == End(Disconnected("the connection was lost, and AutoReconnect is off"), 1)
    machine = connected(rules=Rules(auto_reconnect=False))
    assert Do.ATTEMPT in machine.renew(100.0)  # a rekey is no loss


# DTLS


@pytest.mark.statement("S115")
def test_lost_dtls_is_tried_at_once_then_every_minute() -> None:
    machine = connected(now=0.0)
    assert machine.dtls_up("suite", 1.0) == (Emit(Dtls(up=True, cipher="suite")),)
    assert machine.dtls_lost(50.0) == (Emit(Dtls(up=False, cipher=None)), Do.START_DTLS)
    assert machine.dtls_lost(62.0) == ()
    assert machine.next_deadline() == 122.0
    assert machine.on_deadline(121.0) == ()
    assert machine.on_deadline(122.0) == (Do.START_DTLS,)
    assert machine.next_deadline() == math.inf
    assert machine.phase is Phase.CONNECTED


def test_a_headend_that_drops_dtls_at_once_gets_no_storm_of_handshakes() -> None:
    machine = connected(now=0.0)
    machine.dtls_up("suite", 1.0)
    assert machine.dtls_lost(1.5) == (Emit(Dtls(up=False, cipher=None)),)
    assert machine.next_deadline() == 61.5


# Orders and ends


def test_headend_and_user_end_it_cleanly() -> None:
    machine = connected()
    assert machine.told_to_end("Idle Timeout", 1.0) == (End(Disconnected("Idle Timeout"), 0),)
    assert machine.leave("later", 2.0) == ()
    machine = connected()
    assert machine.leave("bye", 1.0) == (End(Disconnected("bye"), 0),)
    machine = connected()
    assert machine.peer_broke_protocol("bad frame", 1.0) == (End(Failed("bad frame"), 1),)


@pytest.mark.statement("S122")
def test_a_network_that_comes_back_cuts_the_pause_short() -> None:
    machine = connected()
    assert Do.ATTEMPT in machine.renew(100.0)
    assert machine.renew(100.5) == ()
    assert machine.network_found(100.6) == ()
    machine.attempt_failed("no", 101.0)
    assert machine.network_found(101.1) == (Do.ATTEMPT,)
    machine.leave("bye", 102.0)
    assert machine.renew(103.0) == ()


# Sleep


@pytest.mark.statement("S70")
def test_suspend_tears_nothing_down_and_stops_all_timers() -> None:
    machine = connected()
    machine.dtls_lost(100.0)
    assert machine.suspend(110.0) == ()
    assert machine.suspend(111.0) == ()
    assert machine.phase is Phase.CONNECTED
    assert machine.next_deadline() == math.inf
    assert machine.on_deadline(NEVER) == ()


@pytest.mark.statement("S75")
@pytest.mark.statement("S78")
@pytest.mark.statement("S129b")
def test_resume_goes_straight_to_the_session_level() -> None:
    machine = connected(rules=RECONNECTS)
    machine.suspend(110.0)
    assert machine.resume(200.0) == (
        Do.DROP_TUNNEL,
        Do.DROP_DTLS,
        Emit(Reconnecting("session")),
        Do.ATTEMPT,
    )
    assert machine.rebuild_for(TERMS) is Rebuild.ROUTES
    assert Emit(Reconnected("session", "10.1.1.5")) in machine.opened(TERMS, 201.0)


@pytest.mark.statement("S76")
@pytest.mark.statement("S112")
def test_by_default_a_resumed_machine_is_disconnected() -> None:
    machine = connected()
    machine.suspend(110.0)
    assert machine.resume(200.0) == (End(Disconnected("the system was suspended"), 0),)


@pytest.mark.statement("S129")
def test_a_resume_that_is_not_noticed_changes_nothing() -> None:
    machine = connected(rules=Rules(notices_resume=False))
    machine.suspend(110.0)
    assert machine.resume(200.0) == ()
    assert machine.phase is Phase.CONNECTED
    assert machine.tunnel_lost(201.0)[2] == Emit(Reconnecting("tunnel"))


@pytest.mark.statement("S69")
def test_a_machine_that_slept_too_long_does_not_even_try() -> None:
    machine = connected(replace(TERMS, disconnected_timeout=600.0), rules=RECONNECTS)
    machine.suspend(110.0)
    (end,) = machine.resume(710.0)
    assert isinstance(end, End)
    assert "disconnected timeout" in end.event.reason


@pytest.mark.parametrize("notices", [True, False])
def test_sleep_in_the_middle_of_an_attempt(notices: bool) -> None:
    machine = connected(rules=Rules(notices_resume=notices, reconnects_after_resume=True))
    machine.tunnel_lost(100.0)
    assert machine.suspend(105.0) == (Do.DROP_ATTEMPT,)
    assert machine.opened(TERMS, 106.0) == ()
    actions = machine.resume(110.0)
    assert actions[-1] is Do.ATTEMPT
    assert machine.level is (Level.SESSION if notices else Level.TUNNEL)
    assert machine.give_up_at == 1900.0


def test_nobody_sleeps_before_there_is_a_session() -> None:
    machine = Lifecycle()
    machine.begin(0.0)
    assert machine.suspend(1.0) == ()
    assert machine.resume(2.0) == ()
    assert machine.answered(3.0) == (Do.LOG_IN,)
