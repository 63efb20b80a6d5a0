"""Logins, tunnels, losses, resumes and ends: what each does to the table."""

import gc
import weakref
from ipaddress import IPv4Address, IPv6Interface
from typing import Any

import pytest

from asa_emu.session import (
    Counters,
    DownReason,
    EndReason,
    Gone,
    Peer,
    PoolExhausted,
    Refusal,
    Refused,
    SessionEnded,
    SessionInactive,
    SessionResumed,
    TunnelDown,
    TunnelKind,
    TunnelMoved,
    TunnelUp,
)
from asa_emu.wire.frames import DisconnectCode
from tests.session_lab import CAFE, HOME, MINUTE, Lab, facts, pool


@pytest.mark.statement("S5a")
@pytest.mark.statement("S7")
def test_login_alone_makes_a_session_that_only_its_token_finds() -> None:
    lab = Lab(first_index=1436)
    walter = lab.login("walter", token="walter's", now=0)
    maria = lab.login("maria", token="maria's", now=0)
    assert lab.protocol(walter) == "AnyConnect-Parent"
    assert (walter.index, maria.index, len(lab.db)) == (1436, 1437, 2)
    assert lab.db.by_token("walter's") is walter
    assert lab.db.by_token("maria's") is maria
    assert lab.db.by_token("nobody's") is None
    assert lab.db.by_index(1437) is maria
    assert lab.db.by_index(1) is None
    assert list(lab.db.sessions()) == [walter, maria]


@pytest.mark.parametrize("token", ["", "\x00", "\udcff\ud800", "ü" * 10_000])
def test_any_text_may_be_asked_for_as_a_token(token: str) -> None:
    assert Lab().db.by_token(token) is None


def test_a_token_is_kept_as_a_digest_only() -> None:
    lab = Lab()
    session = lab.login(token="very secret", now=0)
    assert b"very secret" not in session.token_digest
    assert "very secret" not in repr(lab.events)
    assert session.token_digest.hex() not in repr(lab.events)


def test_two_sessions_cannot_share_a_token() -> None:
    lab = Lab()
    lab.login(token="same", now=0)
    with pytest.raises(ValueError, match="token"):
        lab.login("maria", token="same", now=0)
    assert len(lab.db) == 1


@pytest.mark.statement("S4a")
@pytest.mark.statement("S13")
def test_a_portal_session_becomes_an_anyconnect_session_with_its_first_tunnel() -> None:
    lab = Lab()
    session = lab.login(clientless=True, now=0)
    assert lab.protocol(session) == "Clientless"
    assert not session.is_anyconnect
    assert not session.inactive
    lab.ssl(session, now=1)
    lab.dtls(session, now=1)
    assert lab.protocol(session) == "Clientless SSL-Tunnel DTLS-Tunnel"
    assert session.is_anyconnect


@pytest.mark.statement("S30")
def test_losing_dtls_alone_does_not_make_a_session_inactive() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.dtls is not None
    lab.db.tunnel_lost(session.dtls, DownReason.LOST, 10)
    assert lab.protocol(session) == "AnyConnect-Parent SSL-Tunnel"
    assert not session.inactive
    assert session.inactivity(100) == 0


@pytest.mark.statement("S30")
@pytest.mark.statement("S31")
def test_losing_ssl_makes_it_inactive_though_dtls_lives() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 10.25)
    assert lab.protocol(session) == "AnyConnect-Parent DTLS-Tunnel"
    assert session.inactive
    assert session.inactive_since == 10.25
    assert session.inactivity(550.25) == 540
    assert lab.told(SessionInactive)[0].reason is DownReason.LOST


def test_a_parent_that_never_had_a_tunnel_has_no_ssl_tunnel_but_no_stamp_either() -> None:
    session = Lab().login(now=0)
    assert session.inactive
    assert session.inactive_since is None
    assert session.inactivity(100) == 0


@pytest.mark.statement("S6")
@pytest.mark.statement("S32")
def test_a_session_that_lost_both_is_its_parent_and_its_duration_runs_on() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    for tunnel in session.tunnels[1:]:
        lab.db.tunnel_lost(tunnel, DownReason.LOST, 488)
    assert lab.protocol(session) == "AnyConnect-Parent"
    assert session.duration(554) == 554
    assert session.inactivity(554) == 66


@pytest.mark.statement("S47")
@pytest.mark.statement("S64a")
@pytest.mark.statement("S64b")
@pytest.mark.statement("S64c")
@pytest.mark.statement("S64d")
@pytest.mark.statement("S123")
def test_resume_keeps_parent_and_address_and_makes_new_tunnels() -> None:
    lab = Lab()
    session = lab.login(token="t", now=0)
    lab.ssl(session, now=0)
    lab.dtls(session, now=0)
    address = session.addresses
    for tunnel in session.tunnels[1:]:
        lab.db.tunnel_lost(tunnel, DownReason.LOST, 100)
    resumed = lab.db.by_token("t")
    assert resumed is session
    lab.ssl(session, now=400, port=50_900)
    lab.dtls(session, now=401, port=50_901)
    assert [tunnel.number for tunnel in session.tunnels] == [1, 4, 5]
    assert [tunnel.facts.peer.port for tunnel in session.tunnels] == [50_001, 50_900, 50_901]
    assert session.addresses == address
    assert session.inactivity(500) == 0
    assert [tunnel.idle_left(401) for tunnel in session.tunnels] == [1799, 1799, 1800]
    (told,) = lab.told(SessionResumed)
    assert (told.inactive_for, told.peer) == (300, Peer(HOME, 50_900))


@pytest.mark.statement("S55")
def test_levels_are_independent_dtls_outlives_a_new_ssl_tunnel_and_is_replaced_later() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    ssl, dtls = session.ssl, session.dtls
    assert ssl is not None
    lab.db.tunnel_lost(ssl, DownReason.LOST, 5)
    lab.ssl(session, now=6)
    assert session.dtls is dtls
    lab.dtls(session, now=7)
    assert [tunnel.number for tunnel in session.tunnels] == [1, 4, 5]
    assert dtls is not None
    assert dtls.down_reason is DownReason.REPLACED


@pytest.mark.statement("S53")
def test_public_ip_follows_the_client_on_resume() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 5)
    lab.ssl(session, ip=CAFE, now=6)
    assert session.public_ip == CAFE


@pytest.mark.statement("S65")
def test_with_csctg33110_public_ip_stays_where_the_client_first_was() -> None:
    lab = Lab(quirks={"CSCtg33110"})
    session = lab.connected(now=0)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.LOST, 5)
    tunnel = lab.ssl(session, ip=CAFE, now=6)
    assert session.public_ip == HOME
    assert tunnel.facts.peer.ip == CAFE
    assert lab.told(SessionResumed)[0].peer.ip == CAFE


def test_with_csctg33110_the_first_connect_still_sets_it() -> None:
    lab = Lab(quirks={"CSCtg33110"})
    session = lab.login(now=0, ip=HOME)
    lab.ssl(session, ip=CAFE, now=1)
    assert session.public_ip == CAFE


def test_connect_with_a_live_token_replaces_the_tunnel_and_nothing_is_inactive() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    old = session.ssl
    assert old is not None
    new = lab.ssl(session, now=50, ip=CAFE)
    assert old.down_reason is DownReason.REPLACED
    assert session.ssl is new
    assert session.inactive_since is None
    assert not lab.told(SessionInactive)
    assert not lab.told(SessionResumed)
    assert lab.told(TunnelUp)[-1].replaces == 2
    assert [link for link, _ in lab.closed] == ["ssl 2"]


def test_whatever_arrives_on_a_replaced_tunnel_no_longer_touches_the_session() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    old = session.ssl
    assert old is not None
    lab.ssl(session, now=50)
    before = len(lab.events)
    lab.db.client_disconnected(old, DisconnectCode.USER, 51)
    lab.db.tunnel_lost(old, DownReason.LOST, 52)
    lab.db.client_disconnected(old, None, 53)
    assert len(lab.events) == before
    assert not session.ended


def test_a_rekey_by_a_new_tunnel_says_so() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    lab.db.open_ssl(session, facts(), None, 10, replacing=DownReason.REKEY)
    lab.db.open_dtls(session, facts(), None, 10, replacing=DownReason.REKEY)
    assert [event.reason for event in lab.told(TunnelDown)] == [DownReason.REKEY, DownReason.REKEY]


def test_losing_a_tunnel_twice_changes_nothing() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    ssl = session.ssl
    assert ssl is not None
    lab.db.tunnel_lost(ssl, DownReason.LOST, 5)
    before = len(lab.events)
    lab.db.tunnel_lost(ssl, DownReason.DPD, 9)
    assert len(lab.events) == before
    assert session.inactive_since == 5


def test_the_parent_cannot_be_lost() -> None:
    lab = Lab()
    session = lab.login(now=0)
    with pytest.raises(ValueError, match="lives and dies"):
        lab.db.tunnel_lost(session.parent, DownReason.LOST, 5)


def test_dtls_needs_an_ssl_tunnel_first() -> None:
    lab = Lab()
    session = lab.login(now=0)
    with pytest.raises(ValueError, match="DTLS before SSL"):
        lab.dtls(session, now=1)


def test_dtls_may_come_up_after_its_ssl_tunnel_was_lost() -> None:
    lab = Lab()
    session = lab.login(now=0)
    ssl = lab.ssl(session, now=0)
    lab.db.tunnel_lost(ssl, DownReason.LOST, 1)
    lab.dtls(session, now=2)
    assert lab.protocol(session) == "AnyConnect-Parent DTLS-Tunnel"
    assert session.inactive_since == 1


def test_a_roaming_dtls_client_keeps_its_tunnel() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    dtls = session.dtls
    assert dtls is not None
    lab.db.move_dtls(dtls, Peer(CAFE, 7), 10)
    lab.db.move_dtls(dtls, Peer(CAFE, 7), 11)
    assert dtls.facts.peer == Peer(CAFE, 7)
    assert [(event.tunnel, event.facts.peer) for event in lab.told(TunnelMoved)] == [("1.3", Peer(CAFE, 7))]
    lab.db.tunnel_lost(dtls, DownReason.LOST, 12)
    lab.db.move_dtls(dtls, Peer(HOME, 7), 13)
    assert len(lab.told(TunnelMoved)) == 1


@pytest.mark.statement("S54c")
@pytest.mark.statement("S62")
def test_b0_logs_off_and_the_token_is_dead() -> None:
    lab = Lab()
    session = lab.login(token="t", now=0)
    ssl = lab.ssl(session, now=0)
    lab.dtls(session, now=0)
    lab.db.client_disconnected(ssl, DisconnectCode.USER, 60)
    assert session.ended
    assert lab.db.by_token("t") is None
    (ended,) = lab.told(SessionEnded)
    assert (ended.reason, ended.duration) == (EndReason.USER_REQUESTED, 60)
    assert [(event.tunnel, event.reason) for event in lab.told(TunnelDown)] == [
        ("1.3", DownReason.SESSION_ENDED),
        ("1.2", DownReason.CLIENT),
    ]


@pytest.mark.parametrize(
    "code", [None, DisconnectCode.LOCAL_ERROR, DisconnectCode.RECONNECTING, DisconnectCode.PAUSED, 0]
)
def test_any_other_disconnect_closes_its_connection_and_keeps_the_session(code: int | None) -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.ssl is not None
    lab.db.client_disconnected(session.ssl, code, 60)
    assert not session.ended
    assert lab.protocol(session) == "AnyConnect-Parent DTLS-Tunnel"
    assert session.inactive_since == 60
    assert [event.reason for event in lab.told(TunnelDown)] == [DownReason.CLIENT]


def test_b0_over_dtls_logs_off_too() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.dtls is not None
    lab.db.client_disconnected(session.dtls, DisconnectCode.USER, 60)
    assert session.end_reason is EndReason.USER_REQUESTED


@pytest.mark.statement("S95")
def test_an_address_is_held_while_the_session_lives_connected_or_not() -> None:
    lab = Lab()
    walter = lab.connected("walter", now=0)
    for tunnel in walter.tunnels[1:]:
        lab.db.tunnel_lost(tunnel, DownReason.DPD, 10)
    maria = lab.connected("maria", now=20)
    assert (walter.ip4, maria.ip4) == ("192.168.1.4", "192.168.1.5")
    assert set(walter.addresses.held) == {"192.168.1.4", "2001:db8::4"}
    lab.db.end(walter, EndReason.ADMIN_RESET, 30)
    assert "192.168.1.4" not in lab.db.pools
    assert lab.connected("otto", now=40).ip4 == "192.168.1.4"


@pytest.mark.statement("S22")
def test_the_same_user_gets_the_address_back_with_the_next_index() -> None:
    lab = Lab(first_index=1435)
    lab.connected("maria", now=0)
    first = lab.connected("walter", now=0)
    assert (first.index, first.ip4) == (1436, "192.168.1.5")
    lab.db.end(first, EndReason.USER_REQUESTED, 10)
    again = lab.connected("walter", now=110)
    assert (again.index, again.ip4) == (1437, "192.168.1.5")


def test_only_the_wanted_families_are_assigned_and_a_second_may_follow() -> None:
    lab = Lab()
    session = lab.login(now=0)
    first = lab.db.assign_addresses(session, True, False, 0)
    assert (first.ip4, first.ip4_netmask, first.ip4_pool, first.ip6) == (
        "192.168.1.4",
        "255.255.255.0",
        "inside",
        None,
    )
    both = lab.db.assign_addresses(session, True, True, 1)
    assert (both.ip4, both.ip6, both.ip6_prefixlen, both.ip6_pool) == (
        "192.168.1.4",
        "2001:db8::4",
        64,
        "inside6",
    )
    assert lab.db.assign_addresses(session, False, False, 2) == both


def test_a_full_pool_refuses_one_and_harms_nobody() -> None:
    lab = Lab()
    held = [lab.connected(f"user{n}", now=0).ip4 for n in range(3)]
    late = lab.login("late", now=1)
    with pytest.raises(PoolExhausted, match="no IPv4 address free in inside"):
        lab.db.assign_addresses(late, True, True, 1)
    assert late.addresses.held == ()
    assert "2001:db8::7" not in lab.db.pools
    assert held == ["192.168.1.4", "192.168.1.5", "192.168.1.6"]


def test_ipv6_alone_missing_is_no_reason_to_refuse() -> None:
    lab = Lab(pools=[pool("inside", "192.168.1.4", "192.168.1.6", 24)])
    session = lab.login(now=0)
    assert lab.db.assign_addresses(session, True, True, 0).held == ("192.168.1.4",)


def test_no_address_at_all_is_refused() -> None:
    lab = Lab(pools=[])
    session = lab.login(now=0, address_pools=(), ipv6_address_pools=())
    with pytest.raises(PoolExhausted, match="no address"):
        lab.db.assign_addresses(session, True, True, 0)


def test_an_ipv6_only_policy_serves_a_client_that_wants_both() -> None:
    lab = Lab()
    session = lab.login(now=0, address_pools=())
    assert lab.db.assign_addresses(session, True, True, 0).held == ("2001:db8::4",)


def test_a_framed_address_goes_before_any_pool_and_belongs_to_one_session() -> None:
    lab = Lab()
    framed: dict[str, Any] = {
        "framed_ip": IPv4Address("192.168.1.5"),
        "framed_netmask": IPv4Address("255.255.255.0"),
    }
    session = lab.login(now=0, **framed)
    held = lab.db.assign_addresses(session, True, False, 0)
    assert (held.ip4, held.ip4_netmask, held.ip4_pool) == ("192.168.1.5", "255.255.255.0", None)
    second = lab.login(now=1, **framed)
    with pytest.raises(PoolExhausted, match=r"192\.168\.1\.5 is in use"):
        lab.db.assign_addresses(second, True, False, 1)
    assert [lab.connected(f"user{n}", now=2).ip4 for n in range(2)] == ["192.168.1.4", "192.168.1.6"]


def test_a_framed_ipv6_address_goes_before_any_pool_too() -> None:
    lab = Lab()
    framed = IPv6Interface("2001:db8::5/48")
    held = lab.db.assign_addresses(lab.login(now=0, framed_ip6=framed), False, True, 0)
    assert (held.ip6, held.ip6_prefixlen, held.ip6_pool) == ("2001:db8::5", 48, None)
    second = lab.login(now=0, framed_ip6=framed)
    assert lab.db.assign_addresses(second, True, True, 0).held == ("192.168.1.4",)
    assert [lab.connected("user", now=2).ip6 for _ in range(2)] == ["2001:db8::4", "2001:db8::6"]


@pytest.mark.statement("S97")
def test_with_one_simultaneous_login_the_new_session_removes_the_old() -> None:
    lab = Lab()
    old = lab.connected(now=0, simultaneous_logins=1)
    assert old.ssl is not None
    old.ssl.last_use_at = 99
    new = lab.login(now=100, simultaneous_logins=1)
    assert old.end_reason is EndReason.PORT_PREEMPTED
    assert list(lab.db.sessions()) == [new]


@pytest.mark.statement("S97")
@pytest.mark.statement("S34a")
def test_over_the_limit_the_session_idle_longest_goes_inactive_ones_count() -> None:
    lab = Lab()
    first, second, third = (lab.connected(now=now, simultaneous_logins=3) for now in (0, 10, 20))
    assert first.ssl is not None
    assert second.ssl is not None
    first.ssl.last_use_at = 500
    lab.db.tunnel_lost(second.ssl, DownReason.DPD, 300)
    assert second.dtls is not None
    lab.db.tunnel_lost(second.dtls, DownReason.DPD, 300)
    fourth = lab.login(now=600, simultaneous_logins=3)
    assert third.end_reason is EndReason.PORT_PREEMPTED
    fifth = lab.login(now=601, simultaneous_logins=3)
    assert second.end_reason is EndReason.PORT_PREEMPTED
    assert list(lab.db.sessions()) == [first, fourth, fifth]


def test_of_sessions_idle_equally_long_the_oldest_goes() -> None:
    lab = Lab()
    sessions = [lab.login(now=0, simultaneous_logins=2) for _ in range(2)]
    lab.login(now=5, simultaneous_logins=2)
    assert [session.ended for session in sessions] == [True, False]


def test_data_over_dtls_counts_as_use_when_the_idlest_is_sought() -> None:
    lab = Lab()
    first = lab.connected(now=0, simultaneous_logins=2)
    second = lab.connected(now=1, simultaneous_logins=2)
    assert first.dtls is not None
    first.dtls.last_use_at = 50
    lab.login(now=60, simultaneous_logins=2)
    assert second.ended
    assert not first.ended


def test_a_limit_that_was_lowered_removes_several() -> None:
    lab = Lab()
    for now in range(4):
        lab.login(now=now, simultaneous_logins=9)
    lab.login(now=5, simultaneous_logins=2)
    assert [session.login_at for session in lab.db.by_user("walter")] == [3, 5]


def test_other_users_are_not_counted() -> None:
    lab = Lab()
    lab.login("maria", now=0, simultaneous_logins=1)
    lab.login("walter", now=0, simultaneous_logins=1)
    assert len(lab.db) == 2


def test_limit_zero_refuses_and_removes_nobody() -> None:
    lab = Lab()
    lab.login(now=0)
    with pytest.raises(Refused, match="no simultaneous logins") as refused:
        lab.login(now=1, simultaneous_logins=0)
    assert refused.value.reason is Refusal.FORBIDDEN
    assert len(lab.db) == 1


def test_a_full_database_refuses_counting_inactive_sessions() -> None:
    lab = Lab(capacity=2)
    lab.login("a", now=0)
    lab.connected("b", now=0)
    with pytest.raises(Refused, match="session limit of 2 reached") as refused:
        lab.login("c", now=1)
    assert refused.value.reason is Refusal.CAPACITY
    assert len(lab.db) == 2


def test_in_a_full_database_a_user_may_still_take_the_place_of_his_own_session() -> None:
    lab = Lab(capacity=2)
    lab.login("a", now=0)
    lab.login("b", now=0, simultaneous_logins=1)
    new = lab.login("b", now=1, simultaneous_logins=1)
    assert len(lab.db) == 2
    assert lab.db.by_user("b") == (new,)
    assert lab.db.anyconnect.peak == 2


def test_after_the_end_nothing_can_be_opened() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    lab.db.end(session, EndReason.ADMIN_RESET, 1)
    lab.db.end(session, EndReason.IDLE_TIMEOUT, 2)
    assert session.end_reason is EndReason.ADMIN_RESET
    with pytest.raises(Gone):
        lab.db.open_ssl(session, facts(), None, 3)
    with pytest.raises(Gone):
        lab.db.open_dtls(session, facts(), None, 3)
    with pytest.raises(Gone):
        lab.db.assign_addresses(session, True, True, 3)


def test_tallies_for_the_summary() -> None:
    lab = Lab()
    portal = lab.login("portal", now=0, clientless=True)
    walter = lab.connected("walter", now=0)
    maria = lab.connected("maria", now=0)
    assert maria.ssl is not None
    lab.db.tunnel_lost(maria.ssl, DownReason.LOST, 1)
    lab.db.end(walter, EndReason.ADMIN_RESET, 2)
    db = lab.db
    assert (db.anyconnect.active, db.anyconnect.cumulative, db.anyconnect.peak) == (1, 2, 2)
    assert (db.webvpn.active, db.webvpn.cumulative, db.webvpn.peak) == (1, 1, 1)
    counts = {kind: (tally.active, tally.cumulative, tally.peak) for kind, tally in db.tunnels.items()}
    assert counts == {
        TunnelKind.PARENT: (1, 2, 2),
        TunnelKind.CLIENTLESS: (1, 1, 1),
        TunnelKind.SSL: (0, 2, 2),
        TunnelKind.DTLS: (1, 2, 2),
    }
    lab.ssl(portal, now=3)
    assert (db.anyconnect.active, db.webvpn.active) == (2, 0)
    lab.db.end(portal, EndReason.ADMIN_RESET, 4)
    assert (db.anyconnect.active, db.webvpn.active) == (1, 0)


def test_an_ended_session_is_free_at_once_without_the_garbage_collector() -> None:
    class Trace(str):
        """A user name that can be referred to weakly: a slotted session cannot."""

    lab = Lab()
    name = Trace("walter")
    trace = weakref.ref(name)
    session = lab.connected(name, now=0)
    del name
    gc.disable()
    try:
        lab.db.end(session, EndReason.ADMIN_RESET, 1)
        lab.events.clear()
        lab.closed.clear()
        assert trace() is not None
        del session
        assert trace() is None
    finally:
        gc.enable()


def test_counters_of_an_ended_session_travel_with_its_end() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.ssl is not None
    session.ssl.bytes_tx = 5
    session.parent.bytes_rx = 3
    lab.db.end(session, EndReason.ADMIN_RESET, 2 * MINUTE)
    (ended,) = lab.told(SessionEnded)
    assert ended.totals == Counters(bytes_tx=5, bytes_rx=3)
    assert ended.kind is TunnelKind.PARENT
    assert ended.is_anyconnect
