"""The order of messages at each step of a session's life, as reference tables and field logs have it."""

from dataclasses import replace

import pytest

from asa_emu.session import DownReason, EndReason
from asa_emu.session.db import Refused
from asa_emu.session.selection import Logoff
from asa_emu.syslog.facts import Bar, ClientMessage, Farewell, LoginBarred, NoAddress, TokenRefused, whose
from asa_emu.wire.frames import DisconnectCode
from tests.session_lab import CAFE, HOME, MINUTE, facts
from tests.syslog_lab import AT, SyslogLab, accepted, rejected, tls_down, tls_up

ADDRESSES = [737026, 737006, 737026, 737006]
TUNNELS = [722055, 722051, 722033, 722022, 722033, 722022]
END = [722037, 722023, 722023, 737016, 737016, 113019]


def test_a_login_from_the_first_handshake_to_dtls() -> None:
    lab = SyslogLab()
    lab.hear(tls_up())
    lab.hear(accepted())
    session = lab.login(now=AT)
    assert lab.numbers() == [725001, 725016, 725002, 113012, 113009, 113008, 734001, 113039]
    lab.hear(tls_up())
    lab.ssl(session, now=AT)
    lab.hear(tls_up("DTLSv1.2"))
    lab.dtls(session, now=AT)
    over_tls = [725001, 725016, 725002, *ADDRESSES, 722055, 722051, 722033, 722022]
    assert lab.numbers() == [*over_tls, 725001, 725002, 722033, 722022]


def test_a_client_without_ipv6_is_told_so_once() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT, ipv6_address_pools=())
    lab.numbers()
    lab.ssl(session, now=AT)
    assert lab.numbers() == [737026, 737006, 722055, 722051, 722041, 722033, 722022]
    lab.ssl(session, now=AT + 1)
    assert 722041 not in lab.numbers()


def test_a_client_that_wants_no_ipv6_is_told_nothing() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT, ipv6_address_pools=())
    lab.db.assign_addresses(session, True, False, AT)
    lab.db.open_ssl(session, facts(), "ssl", AT)
    assert 722041 not in lab.numbers()


def test_an_address_that_comes_later_is_told_alone() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT)
    lab.db.assign_addresses(session, True, False, AT)
    lab.db.open_ssl(session, facts(), "ssl", AT)
    lab.numbers()
    lab.db.assign_addresses(session, True, True, AT + 1)
    lab.db.open_ssl(session, facts(), "ssl", AT + 1)
    records = lab.take()
    assert [r.number for r in records if r.severity < 7] == [737026, 737006, 722051, 722032, 722028, 722022]
    assert "Client assigned 2001:db8::4 from" in records[1].text


def test_a_rejected_login_and_its_connection() -> None:
    lab = SyslogLab()
    lab.hear(tls_up())
    lab.hear(rejected())
    lab.hear(tls_down())
    assert lab.numbers() == [725001, 725016, 725002, 113015, 716039, 725007]
    lab.hear(rejected(server="192.0.2.9", reason="AAA failure"))
    assert lab.numbers() == [113005, 716039]


def test_a_portal_login_is_webvpns_own() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT, clientless=True)
    assert lab.numbers() == [716038, 716001]
    lab.db.end(session, EndReason.ADMIN_RESET, AT + 1)
    portal, end = lab.take()
    assert portal.text.endswith("WebVPN session terminated: Administrator reset.")
    assert "Session Type: WebVPN, " in end.text


def test_a_launched_session_ends_as_ssl() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT, clientless=True)
    lab.ssl(session, now=AT)
    lab.take()
    lab.db.end(session, EndReason.USER_REQUESTED, AT + 1)
    *_, portal, end = lab.take()
    assert portal.number == 716002
    assert "Session Type: SSL, " in end.text


def test_dtls_is_lost_and_the_session_stays() -> None:
    lab = SyslogLab()
    session = lab.connected(now=AT)
    lab.numbers()
    assert session.dtls is not None
    lab.db.tunnel_lost(session.dtls, DownReason.DPD, AT + 1)
    lab.hear(tls_down())
    closing, terminated, down = lab.take()
    assert (closing.number, terminated.number, down.number) == (722037, 722023, 725007)
    assert closing.text.endswith("SVC closing connection: DPD failure.")
    assert "UDP SVC connection terminated" in terminated.text


@pytest.mark.statement("S34a")
def test_dead_peers_wait_to_resume() -> None:
    lab = SyslogLab()
    lab.connected(now=AT, dpd_gateway=10.0)
    lab.numbers()
    lab.run_until(AT + MINUTE)
    records = lab.take()
    assert [r.number for r in records] == [722037, 722023, 716058, 722037, 722023]
    assert [r.text[-12:] for r in records if r.number == 722037] == ["DPD failure."] * 2


def test_a_lost_connection_waits_to_resume() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT)
    tunnel = lab.ssl(session, now=AT)
    lab.numbers()
    lab.db.tunnel_lost(tunnel, DownReason.LOST, AT + 1)
    closing, terminated, inactive = lab.take()
    assert (closing.number, terminated.number, inactive.number) == (722037, 722023, 716058)
    assert closing.text.endswith("SVC closing connection: Transport closing.")


@pytest.mark.statement("S9", "S136")
def test_a_resume_asks_nobody_again() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT)
    lab.db.tunnel_lost(lab.ssl(session, now=AT), DownReason.LOST, AT + 1)
    lab.numbers()
    lab.hear(tls_up())
    lab.ssl(session, now=AT + 2, ip=CAFE)
    records = lab.take()
    assert [r.number for r in records if r.severity < 7] == [725001, 725016, 725002, 716059, 722034, 722022]
    resumed = records[4].text
    assert resumed == (
        f"Group <staff> User <walter> IP <{HOME}> AnyConnect session resumed connection from IP <{CAFE}>."
    )


def test_a_second_connection_replaces_the_first() -> None:
    lab = SyslogLab()
    session = lab.connected(now=AT)
    lab.numbers()
    lab.ssl(session, now=AT + 1)
    assert lab.numbers() == [722032, 722028, 722022]
    lab.dtls(session, now=AT + 2)
    assert lab.numbers() == [722023, 722032, 722028, 722022]


def test_the_user_logs_off() -> None:
    lab = SyslogLab()
    session = lab.connected(now=AT)
    lab.take()
    said = ClientMessage(
        **whose(session, AT + 16), farewell=Farewell.LOGOUT, text="User requested: disconnect."
    )
    lab.hear(said)
    assert session.ssl is not None
    lab.db.client_disconnected(session.ssl, DisconnectCode.USER, AT + 16)
    lab.hear(tls_down())
    records = lab.take()
    numbers = [r.number for r in records if r.number != 737201]
    statistics = [722029, 722030, 722031]
    assert numbers == [722012, *END[:3], *statistics, *END[3:], 725007]
    assert records[0].text.endswith("SVC Message: 16/NOTICE: User requested: disconnect..")
    assert records[1].text.endswith("SVC closing connection: User Requested.")


def test_the_client_suspends() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT)
    tunnel = lab.ssl(session, now=AT)
    lab.take()
    lab.hear(
        ClientMessage(**whose(session, AT), farewell=Farewell.ERROR, text="Reconnecting the VPN tunnel.")
    )
    lab.db.client_disconnected(tunnel, DisconnectCode.PAUSED, AT)
    records = lab.take()
    assert [r.number for r in records] == [722011, 722037, 722023, 716058]
    assert records[0].text.endswith("SVC Message: 17/WARNING: Reconnecting the VPN tunnel..")


@pytest.mark.statement("S94", "S95")
def test_the_address_goes_with_the_idle_parent_and_not_before() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT)
    lab.db.tunnel_lost(lab.ssl(session, now=AT), DownReason.LOST, AT + 1)
    lab.numbers()
    lab.run_until(AT + 30 * MINUTE)
    assert lab.numbers() == []
    lab.run_until(AT + 30 * MINUTE + 1)
    *freed, end = (record for record in lab.take() if record.severity < 7)
    assert [record.number for record in freed] == [737016, 737016]
    assert end.number == 113019
    assert end.text.endswith("Duration: 0h:30m:01s, Bytes xmt: 0, Bytes rcv: 0, Reason: Idle Timeout")


def test_idle_tunnels_close_first() -> None:
    lab = SyslogLab()
    lab.connected(now=AT)
    lab.numbers()
    lab.run_until(AT + 30 * MINUTE)
    assert lab.numbers() == [722037, 722023, 722037, 722023, 716058]


def test_the_session_timeout_ends_it() -> None:
    lab = SyslogLab()
    lab.connected(now=AT, session_timeout=MINUTE)
    lab.numbers()
    lab.run_until(AT + MINUTE)
    records = [record for record in lab.take() if record.severity < 7]
    assert [record.number for record in records] == END
    assert records[-1].text.endswith("Reason: Max time exceeded")


def test_an_administrator_ends_it() -> None:
    lab = SyslogLab()
    lab.connected(now=AT)
    lab.numbers()
    lab.db.logoff(Logoff("all"), AT + 90_061)
    records = [record for record in lab.take() if record.severity < 7]
    assert [record.number for record in records] == END
    assert "Duration: 1d 1h:01m:01s, " in records[-1].text
    assert records[-1].text.endswith("Reason: Administrator Reset")


@pytest.mark.statement("S97")
def test_a_newer_login_preempts_the_older() -> None:
    lab = SyslogLab()
    lab.connected(now=AT, simultaneous_logins=1)
    lab.numbers()
    lab.login(now=AT + 1, simultaneous_logins=1)
    records = [record for record in lab.take() if record.severity < 7]
    assert [record.number for record in records] == [113039, *END]
    assert records[-1].text.endswith("Reason: Port Preempted")


def test_who_gets_no_session_is_told_why() -> None:
    lab = SyslogLab(capacity=1)
    lab.login(now=AT)
    lab.numbers()
    with pytest.raises(Refused):
        lab.login("jesse", now=AT)
    assert lab.numbers() == []
    for bar, number in (
        (Bar.CAPACITY, 113029),
        (Bar.GROUP_LOCK, 113040),
        (Bar.PROTOCOL, 722050),
        (Bar.FORBIDDEN, 113038),
    ):
        barred = LoginBarred(
            at=AT, username="jesse", tunnel_group="Staff", group_policy="staff", ip=HOME, bar=bar, detail="1"
        )
        lab.hear(barred)
        assert lab.numbers() == [number]
    lab.hear(replace(barred, bar=Bar.CAPACITY, clientless=True))
    assert lab.numbers() == [716023]


def test_a_connect_that_gets_no_tunnel() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT)
    lab.numbers()
    lab.hear(NoAddress(**whose(session, AT)))
    assert lab.numbers() == [737019, 737012, 722020]
    lab.hear(TokenRefused(at=AT, ip=HOME))
    assert lab.numbers() == [722003]


def test_statistics_count_connections_and_deaths() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT)
    for number in range(3):
        tunnel = lab.ssl(session, now=AT + number)
        tunnel.bytes_tx, tunnel.pkts_rx, tunnel.drops_tx = 100, 2, 1
        lab.db.tunnel_lost(tunnel, DownReason.DPD if number == 1 else DownReason.LOST, AT + number)
    lab.take()
    lab.db.end(session, EndReason.USER_REQUESTED, AT + 9)
    conns, inbound, outbound, *_ = (record.text.partition(": ")[2] for record in lab.take())
    assert conns == "Conns: 3, DPD Conns: 1, Comp resets: 0, Dcmp resets: 0."
    assert inbound == "In: 0 (+0) bytes, 6 (+0) packets, 0 drops."
    assert outbound == "Out: 300 (+0) bytes, 0 (+0) packets, 3 drops."


def test_a_session_from_before_anybody_listened_ends_all_the_same() -> None:
    lab = SyslogLab("hostname fw1\n")
    session = lab.connected(now=AT)
    assert lab.numbers() == []
    lab.config.editor().execute("logging enable")
    lab.config.editor().execute("logging trap informational")
    lab.db.end(session, EndReason.ADMIN_RESET, AT + 1)
    assert lab.numbers() == END
