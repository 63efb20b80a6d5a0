"""What a session and its tunnels say about themselves."""

import pytest

from asa_emu.session import Counters, DownReason, EndReason
from tests.session_lab import HOME, MINUTE, Lab


def test_session_and_tunnels_show_themselves() -> None:
    lab = Lab(first_index=1436)
    session = lab.connected(now=0)
    ssl = session.ssl
    assert repr(session) == "<Session 1436 'walter' AnyConnect-Parent SSL-Tunnel DTLS-Tunnel>"
    assert repr(ssl) == "<Tunnel 1436.2 SSL-Tunnel up>"
    lab.db.end(session, EndReason.ADMIN_RESET, 1)
    assert repr(session) == "<Session 1436 'walter' AnyConnect-Parent ended:'Administrator Reset'>"
    assert repr(ssl) == "<Tunnel 1436.2 SSL-Tunnel down:session-ended>"


@pytest.mark.statement("S5")
@pytest.mark.statement("S20")
@pytest.mark.statement("S28")
def test_three_tunnels_with_ids_and_ports_of_their_own() -> None:
    lab = Lab(first_index=1436)
    session = lab.connected(now=0)
    assert [tunnel.id for tunnel in session.tunnels] == ["1436.1", "1436.2", "1436.3"]
    assert [tunnel.facts.peer.port for tunnel in session.tunnels] == [50_001, 50_002, 50_003]
    assert lab.protocol(session) == "AnyConnect-Parent SSL-Tunnel DTLS-Tunnel"


@pytest.mark.statement("S15")
@pytest.mark.statement("S24")
def test_counters_of_a_session_are_the_sums_over_its_tunnels() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    assert session.ssl is not None
    assert session.dtls is not None
    session.parent.bytes_tx = 6122
    session.ssl.bytes_tx, session.ssl.pkts_tx, session.ssl.drops_rx = 6122, 4, 1
    session.dtls.bytes_rx, session.dtls.pkts_rx = 777, 1
    assert session.totals == Counters(bytes_tx=12244, bytes_rx=777, pkts_tx=4, pkts_rx=1, drops_rx=1)


@pytest.mark.statement("S32")
def test_counters_keep_what_tunnels_that_are_gone_have_carried() -> None:
    lab = Lab()
    session = lab.connected(now=0)
    ssl, dtls = session.ssl, session.dtls
    assert ssl is not None
    assert dtls is not None
    ssl.bytes_tx, dtls.bytes_rx = 12_917, 1187
    lab.db.tunnel_lost(ssl, DownReason.LOST, 10)
    lab.db.tunnel_lost(dtls, DownReason.LOST, 10)
    assert session.totals == Counters(bytes_tx=12_917, bytes_rx=1187)
    again = lab.ssl(session, now=20)
    again.bytes_tx = 83
    assert session.totals.bytes_tx == 13_000
    lab.db.end(session, EndReason.USER_REQUESTED, 30)
    assert session.totals == Counters(bytes_tx=13_000, bytes_rx=1187)


@pytest.mark.statement("S29")
def test_idle_time_left_counts_down_from_the_last_use_of_each_tunnel() -> None:
    lab = Lab()
    session = lab.connected(now=0, idle_timeout=2 * MINUTE)
    assert session.ssl is not None
    assert session.dtls is not None
    session.dtls.last_use_at = 50
    assert session.parent.idle_left(60) == 60
    assert session.ssl.idle_left(60) == 60
    assert session.dtls.idle_left(60) == 110
    assert session.ssl.idle_left(1000) == 0


@pytest.mark.statement("S59")
@pytest.mark.parametrize(
    ("idle", "limit", "disconnected"), [(300, 180, 180), (180, 300, 180), (300, None, 300)]
)
def test_disconnected_timeout_is_the_smaller_of_idle_and_session_timeout(
    idle: float, limit: float | None, disconnected: float
) -> None:
    session = Lab().login(now=0, idle_timeout=idle, session_timeout=limit)
    assert session.disconnected_timeout == disconnected


@pytest.mark.statement("S67")
@pytest.mark.statement("S110")
def test_a_disconnected_timeout_of_its_own_wins_over_both() -> None:
    session = Lab().login(now=0, idle_timeout=120, session_timeout=300, disconnected_timeout=600)
    assert session.disconnected_timeout == 600


def test_session_timeout_left_counts_from_login_and_stops_at_zero() -> None:
    lab = Lab()
    assert lab.login(now=0).session_timeout_left(5) is None
    session = lab.login(now=100, session_timeout=60)
    assert session.session_timeout_left(130) == 30
    assert session.session_timeout_left(200) == 0


def test_who_is_where() -> None:
    lab = Lab()
    session = lab.connected(now=7)
    assert (session.group_policy, session.tunnel_group, session.public_ip) == ("staff", "Staff", HOME)
    assert (session.ip4, session.ip6) == ("192.168.1.4", "2001:db8::4")
    assert session.login_at == 7
