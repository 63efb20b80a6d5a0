"""What time does: dead-peer detection, keepalive, idle, disconnected and session timeouts, alerts."""

import math
from dataclasses import replace

import pytest

from asa_emu.session import (
    DownReason,
    EndReason,
    Gone,
    PolicyChanged,
    SessionEnded,
    SessionInactive,
    Timeout,
    TimeoutAlert,
    TunnelDown,
)
from asa_emu.wire.frames import DisconnectCode
from asa_emu.wire.liveness import Action
from tests.session_lab import MINUTE, Lab, facts


def downs(lab: Lab) -> list[tuple[float, str, DownReason]]:
    return [(event.at, event.tunnel, event.reason) for event in lab.told(TunnelDown)]


def ends(lab: Lab) -> list[tuple[float, EndReason]]:
    return [(event.at, event.reason) for event in lab.told(SessionEnded)]


def test_an_empty_database_has_no_deadline() -> None:
    lab = Lab()
    assert lab.db.next_deadline() == math.inf
    assert lab.db.on_deadline(1e9) == []


@pytest.mark.statement("S34a")
@pytest.mark.statement("S36")
@pytest.mark.statement("S38")
@pytest.mark.statement("S39")
def test_gateway_dpd_probes_each_tunnel_and_then_ends_tunnels_but_never_the_session() -> None:
    lab = Lab()
    session = lab.connected(now=0, dpd_gateway=30.0)
    sent = lab.run_until(200)
    probes = [30.0, 60.0, 90.0, 120.0]
    assert sent == [(at, tunnel, Action.SEND_DPD) for at in probes for tunnel in ("1.2", "1.3")]
    assert downs(lab) == [(150, "1.2", DownReason.DPD), (150, "1.3", DownReason.DPD)]
    assert not session.ended
    assert session.inactive_since == 150
    assert lab.protocol(session) == "AnyConnect-Parent"
    lab.ssl(session, now=200)
    assert [tunnel.id for tunnel in session.tunnels] == ["1.1", "1.4"]


def test_an_answering_client_is_only_probed() -> None:
    lab = Lab()
    session = lab.connected(now=0, dpd_gateway=30.0, idle_timeout=2 * 60 * MINUTE)
    now = 0.0
    while now < 3600:
        now = lab.db.next_deadline()
        for tunnel, action in lab.db.on_deadline(now):
            assert action is Action.SEND_DPD
            assert tunnel.liveness is not None
            tunnel.liveness.last_received_at = now + 0.125
    assert lab.protocol(session) == "AnyConnect-Parent SSL-Tunnel DTLS-Tunnel"


@pytest.mark.statement("S5c")
def test_dpd_that_ends_only_dtls_leaves_the_session_active() -> None:
    lab = Lab()
    session = lab.connected(now=0, dpd_gateway=30.0)
    ssl = session.ssl
    assert ssl is not None
    assert ssl.liveness is not None
    for at in range(10, 160, 10):
        ssl.liveness.last_received_at = at
        lab.run_until(at)
    assert downs(lab) == [(150, "1.3", DownReason.DPD)]
    assert session.inactivity(160) == 0


@pytest.mark.statement("S37")
def test_with_csts66926_dpd_leaves_dtls_lingering_until_it_is_idle() -> None:
    lab = Lab(quirks={"CSCts66926"})
    session = lab.connected(now=0, dpd_gateway=30.0, idle_timeout=10 * MINUTE)
    lab.run_until(500)
    assert downs(lab) == [(150, "1.2", DownReason.DPD)]
    assert lab.protocol(session) == "AnyConnect-Parent DTLS-Tunnel"
    assert session.inactivity(500) == 350
    lab.run_until(600)
    assert downs(lab)[1:] == [(600, "1.3", DownReason.IDLE)]
    lab.run_until(750)
    assert ends(lab) == [(750, EndReason.IDLE_TIMEOUT)]


@pytest.mark.statement("S42")
@pytest.mark.statement("S44")
def test_keepalives_go_out_on_each_tunnel_that_is_silent_and_are_no_use() -> None:
    lab = Lab()
    session = lab.connected(now=0, keepalive=20.0, idle_timeout=2 * MINUTE)
    sent = lab.run_until(60)
    assert sent == [
        (at, tunnel, Action.SEND_KEEPALIVE) for at in (20.0, 40.0, 60.0) for tunnel in ("1.2", "1.3")
    ]
    assert session.ssl is not None
    assert session.ssl.idle_left(60) == 60


@pytest.mark.statement("S34b")
@pytest.mark.statement("S91")
@pytest.mark.statement("S92")
@pytest.mark.statement("S93")
@pytest.mark.statement("S94")
@pytest.mark.statement("S108")
def test_ssl_and_dtls_idle_out_together_and_the_parent_starts_afresh() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    assert session.dtls is not None
    session.dtls.last_use_at = 100
    lab.run_until(219)
    assert downs(lab) == []
    lab.run_until(220)
    assert downs(lab) == [(220, "1.3", DownReason.IDLE), (220, "1.2", DownReason.IDLE)]
    assert session.parent.idle_left(220) == 120
    assert session.inactive_since == 220
    lab.run_until(339)
    assert not session.ended
    lab.run_until(340)
    assert ends(lab) == [(340, EndReason.IDLE_TIMEOUT)]


@pytest.mark.statement("S34b")
def test_a_busy_ssl_tunnel_keeps_an_idle_dtls_tunnel() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    for at in range(60, 600, 60):
        assert session.ssl is not None
        session.ssl.last_use_at = at
        lab.run_until(at)
    assert downs(lab) == []


def test_new_keys_for_dtls_are_no_use() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    for at in (50, 100):
        lab.db.open_dtls(session, facts(), None, at, replacing=DownReason.REKEY)
    lab.run_until(120)
    assert lab.protocol(session) == "AnyConnect-Parent"


def test_a_client_that_answers_its_idle_timeout_ends_the_session_with_that_reason() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    ssl = session.ssl
    assert ssl is not None
    lab.run_until(120)
    lab.db.client_disconnected(ssl, DisconnectCode.USER, 121)
    assert ends(lab) == [(121, EndReason.IDLE_TIMEOUT)]


@pytest.mark.parametrize("code", [None, DisconnectCode.PAUSED])
def test_an_idled_out_client_that_answers_otherwise_may_still_resume(code: int | None) -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    ssl = session.ssl
    assert ssl is not None
    lab.run_until(120)
    lab.db.client_disconnected(ssl, code, 121)
    assert not session.ended


def test_a_late_answer_to_an_idle_timeout_does_not_touch_the_resumed_session() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    idled = session.ssl
    assert idled is not None
    lab.run_until(120)
    resumed = lab.ssl(session, now=121)
    lab.db.client_disconnected(idled, DisconnectCode.USER, 122)
    assert not session.ended
    lab.db.tunnel_lost(resumed, DownReason.LOST, 123)
    lab.db.client_disconnected(idled, DisconnectCode.USER, 124)
    assert not session.ended


def test_an_answer_after_the_session_ended_changes_nothing() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    idled = session.ssl
    assert idled is not None
    lab.run_until(240)
    lab.db.client_disconnected(idled, DisconnectCode.USER, 241)
    assert ends(lab) == [(240, EndReason.IDLE_TIMEOUT)]


@pytest.mark.statement("S8")
@pytest.mark.statement("S40")
@pytest.mark.statement("S57")
@pytest.mark.statement("S61")
def test_a_lost_session_ends_after_the_disconnected_timeout() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    for tunnel in session.tunnels[1:]:
        lab.db.tunnel_lost(tunnel, DownReason.LOST, 100)
    assert lab.told(SessionInactive)[0].ends_at == 220
    assert session.parent.idle_left(100) == 120
    lab.run_until(219)
    assert not session.ended
    lab.run_until(220)
    assert ends(lab) == [(220, EndReason.IDLE_TIMEOUT)]


@pytest.mark.statement("S48")
@pytest.mark.statement("S58")
@pytest.mark.statement("S59")
def test_the_smaller_of_idle_and_session_timeout_ends_a_lost_session() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=5 * MINUTE, session_timeout=3 * MINUTE)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 10)
    assert session.disconnected_timeout == 180
    assert lab.told(SessionInactive)[0].ends_at == 180
    lab.run_until(180)
    assert ends(lab) == [(180, EndReason.SESSION_TIMEOUT)]


@pytest.mark.statement("S49")
def test_thirty_minutes_when_only_the_default_idle_timeout_is_set() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 0)
    lab.run_until(1800)
    assert ends(lab) == [(1800, EndReason.IDLE_TIMEOUT)]


@pytest.mark.statement("S67")
@pytest.mark.statement("S110")
def test_a_disconnected_timeout_of_its_own_runs_apart_from_the_idle_timeout() -> None:
    lab = Lab()
    lab.connected("long", now=0, idle_timeout=2 * MINUTE, disconnected_timeout=10 * MINUTE)
    lab.run_until(120)
    assert len(downs(lab)) == 2
    lab.run_until(719)
    assert not lab.told(SessionEnded)
    lab.run_until(720)
    assert ends(lab) == [(720, EndReason.IDLE_TIMEOUT)]


def test_a_short_disconnected_timeout_is_not_slept_through() -> None:
    lab = Lab()
    session = lab.connected(now=0, disconnected_timeout=6.0)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 10)
    assert lab.db.next_deadline() == 16
    lab.run_until(16)
    assert ends(lab) == [(16, EndReason.IDLE_TIMEOUT)]


def test_the_later_end_of_dtls_does_not_restart_the_disconnected_timeout() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    assert session.ssl is not None
    assert session.dtls is not None
    session.dtls.last_use_at = 100
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 10)
    lab.db.tunnel_lost(session.dtls, DownReason.LOST, 101)
    assert session.parent.idle_left(101) == 29
    lab.run_until(130)
    assert ends(lab) == [(130, EndReason.IDLE_TIMEOUT)]


def test_when_the_disconnected_timeout_runs_out_a_busy_dtls_tunnel_goes_too() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    assert session.ssl is not None
    assert session.dtls is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 10)
    session.dtls.last_use_at = 129
    lab.run_until(130)
    assert ends(lab) == [(130, EndReason.IDLE_TIMEOUT)]
    assert downs(lab)[1:] == [(130, "1.3", DownReason.SESSION_ENDED)]


@pytest.mark.statement("S91")
def test_losing_dtls_resets_the_parents_timer_while_ssl_lives() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    assert session.dtls is not None
    assert session.parent.idle_left(90) == 30
    lab.db.tunnel_lost(session.dtls, DownReason.LOST, 90)
    assert session.parent.idle_left(90) == 120


def test_a_parent_that_never_got_a_tunnel_has_the_idle_timeout() -> None:
    lab = Lab()
    lab.login(now=5, idle_timeout=2 * MINUTE, disconnected_timeout=5.0)
    lab.run_until(124)
    assert not lab.told(SessionEnded)
    lab.run_until(125)
    assert ends(lab) == [(125, EndReason.IDLE_TIMEOUT)]


def test_a_parents_timer_ends_nothing_while_an_ssl_tunnel_is_used() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    for at in range(100, 1000, 100):
        assert session.ssl is not None
        session.ssl.last_use_at = at
        lab.run_until(at)
    assert session.parent.idle_left(900) == 0
    assert not session.ended


@pytest.mark.statement("S8")
@pytest.mark.statement("S71")
def test_the_session_timeout_counts_from_login_and_survives_a_resume() -> None:
    lab = Lab()
    session = lab.connected(now=0, session_timeout=10 * MINUTE)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 300)
    lab.ssl(session, now=599)
    lab.run_until(599.5)
    assert not session.ended
    lab.run_until(600)
    assert ends(lab) == [(600, EndReason.SESSION_TIMEOUT)]
    assert {reason for _, _, reason in downs(lab)} == {DownReason.LOST, DownReason.SESSION_ENDED}


def test_session_timeout_wins_over_an_idle_timeout_at_the_same_instant() -> None:
    lab = Lab()
    lab.connected(now=0, session_timeout=2 * MINUTE, idle_timeout=2 * MINUTE)
    lab.run_until(120)
    assert ends(lab) == [(120, EndReason.SESSION_TIMEOUT)]


@pytest.mark.statement("S64c")
def test_a_resume_may_bring_a_deadline_forward() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE, disconnected_timeout=60 * MINUTE)
    for tunnel in session.tunnels[1:]:
        lab.db.tunnel_lost(tunnel, DownReason.LOST, 10)
    lab.run_until(130)
    assert lab.db.next_deadline() == 3610
    lab.ssl(session, now=130)
    assert lab.db.next_deadline() == 250


def test_alerts_come_once_each_and_the_idle_alert_again_after_use() -> None:
    lab = Lab()
    session = lab.connected(
        now=0,
        idle_timeout=5 * MINUTE,
        idle_alert_interval=MINUTE,
        session_timeout=20 * MINUTE,
        session_alert_interval=2 * MINUTE,
    )
    lab.run_until(250)
    assert session.ssl is not None
    session.ssl.last_use_at = 260
    lab.run_until(550)
    session.ssl.last_use_at = 555
    lab.run_until(840)
    session.ssl.last_use_at = 850
    lab.run_until(1140)
    assert session.ssl is not None
    session.ssl.last_use_at = 1145
    lab.run_until(1200)
    alerts = [(event.at, event.timeout, event.left) for event in lab.told(TimeoutAlert)]
    assert alerts == [
        (240, Timeout.IDLE, 60),
        (500, Timeout.IDLE, 60),
        (795, Timeout.IDLE, 60),
        (1080, Timeout.SESSION, 120),
        (1090, Timeout.IDLE, 60),
    ]
    assert ends(lab) == [(1200, EndReason.SESSION_TIMEOUT)]


def test_an_alert_interval_as_long_as_its_timeout_never_alerts() -> None:
    lab = Lab()
    lab.connected(
        now=0,
        idle_timeout=8.0,
        idle_alert_interval=MINUTE,
        session_timeout=60.0,
        session_alert_interval=MINUTE,
    )
    lab.run_until(100)
    assert not lab.told(TimeoutAlert)


@pytest.mark.statement("S95")
def test_time_frees_the_address_only_with_the_session() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    lab.run_until(239)
    assert session.ip4 is not None
    assert session.ip4 in lab.db.pools
    lab.run_until(240)
    assert session.ip4 not in lab.db.pools


def test_a_clock_that_jumps_over_several_deadlines_takes_one_step_and_stamps_it_now() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE, dpd_gateway=30.0)
    assert lab.db.on_deadline(10_000) == []
    assert downs(lab) == [(10_000, "1.3", DownReason.IDLE), (10_000, "1.2", DownReason.IDLE)]
    assert session.inactivity(10_000) == 0
    assert lab.db.next_deadline() > 10_000


def test_a_jump_probes_clients_rather_than_burying_them() -> None:
    lab = Lab()
    lab.connected(now=0, dpd_gateway=30.0)
    assert [(tunnel.id, action) for tunnel, action in lab.db.on_deadline(1000)] == [
        ("1.2", Action.SEND_DPD),
        ("1.3", Action.SEND_DPD),
    ]
    assert downs(lab) == []


@pytest.mark.statement("S35")
def test_a_changed_policy_moves_the_deadlines_both_ways_and_is_told() -> None:
    lab = Lab()
    session = lab.login(now=0, idle_timeout=30 * MINUTE, session_timeout=60 * MINUTE)
    lab.ssl(session, now=0)
    lab.db.change_policy(session, session.policy, 10)
    assert lab.told(PolicyChanged) == []
    shorter = replace(session.policy, idle_timeout=2 * MINUTE, dpd_gateway=5.0)
    lab.db.change_policy(session, shorter, 60)
    (told,) = lab.told(PolicyChanged)
    assert (told.at, told.policy) == (60, shorter)
    assert lab.run_until(119) == []
    assert session.ssl is not None
    lab.db.change_policy(session, replace(shorter, idle_timeout=3 * MINUTE), 119)
    lab.run_until(179)
    assert session.ssl is not None
    lab.run_until(180)
    assert downs(lab) == [(180, "1.2", DownReason.IDLE)]
    lab.db.change_policy(session, replace(shorter, session_timeout=MINUTE), 200)
    assert lab.db.next_deadline() <= 200
    lab.db.on_deadline(200)
    assert ends(lab) == [(200, EndReason.SESSION_TIMEOUT)]
    with pytest.raises(Gone):
        lab.db.change_policy(session, shorter, 201)


def test_a_longer_session_timeout_is_announced_anew() -> None:
    lab = Lab()
    session = lab.login(now=0, session_timeout=10 * MINUTE, session_alert_interval=MINUTE)
    lab.ssl(session, now=0)
    lab.run_until(9 * MINUTE)
    lab.db.change_policy(session, replace(session.policy, session_timeout=20 * MINUTE), 9 * MINUTE)
    lab.run_until(20 * MINUTE)
    assert [event.at for event in lab.told(TimeoutAlert)] == [9 * MINUTE, 19 * MINUTE]
