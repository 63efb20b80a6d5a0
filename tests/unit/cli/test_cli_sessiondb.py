"""`show vpn-sessiondb` against the document's own samples, and against the parsers people use today."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from ntc_templates.parse import parse_output

from asa_emu.cli.show_sessiondb import (
    NO_SESSIONS,
    NONE_OF_TYPE,
    render_sessions,
    render_summary,
    show_time,
)
from asa_emu.config import Timezone
from asa_emu.session import DownReason, EndReason
from asa_emu.syslog.render import show_duration
from tests.cli_lab import (
    AGENT,
    at,
    document_words,
    golden,
    inactive,
    log_in,
    old_db,
    old_facts,
    standalone,
    web_launched,
)
from tests.session_lab import Lab


@pytest.mark.statement("S10")
@pytest.mark.statement("S11")
@pytest.mark.statement("S12")
@pytest.mark.statement("S13")
@pytest.mark.statement("S14")
@pytest.mark.statement("S15")
@pytest.mark.statement("S16")
@pytest.mark.statement("S17")
@pytest.mark.statement("S18")
@pytest.mark.statement("S19")
@pytest.mark.statement("S20")
@pytest.mark.statement("S21")
def test_the_documents_weblaunch_session_prints_word_for_word() -> None:
    session = web_launched(old_db(1435))
    text = render_sessions([session], at("2012-11-30 22:14:11"), "8.x", detail=True)
    assert text.split() == document_words(1435)
    golden("sessiondb-1435-8x.txt", text)


@pytest.mark.statement("S22")
@pytest.mark.statement("S23")
@pytest.mark.statement("S24")
@pytest.mark.statement("S25")
@pytest.mark.statement("S26")
@pytest.mark.statement("S27")
@pytest.mark.statement("S28")
def test_the_documents_standalone_session_prints_word_for_word() -> None:
    db = old_db(1435)
    db.end(web_launched(db), EndReason.USER_REQUESTED, at("2012-11-30 22:15:00"))
    session = standalone(db)
    text = render_sessions([session], at("2012-11-30 22:15:35"), "8.x", detail=True)
    assert text.split() == document_words(1436)
    golden("sessiondb-1436-8x.txt", text)


@pytest.mark.statement("S32")
@pytest.mark.statement("S33")
def test_the_documents_inactive_session_prints_word_for_word_as_far_as_it_goes() -> None:
    session = inactive(old_db(1336))
    text = render_sessions([session], at("2012-11-17 17:52:10"), "8.x", detail=True)
    words = document_words(1336)
    assert text.split()[: len(words)] == words
    assert "<-" not in text
    golden("sessiondb-1336-8x.txt", text)


@pytest.mark.statement("S18")
def test_a_lost_dtls_tunnel_has_no_count_line() -> None:
    db = old_db(1435)
    session = web_launched(db)
    assert session.dtls is not None
    db.tunnel_lost(session.dtls, DownReason.LOST, session.login_at + 31)
    text = render_sessions([session], session.login_at + 34, "8.x", detail=True)
    assert "DTLS" not in text
    assert "SSL-Tunnel Tunnels: 1" in text


@pytest.mark.statement("S29")
@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "1 Minutes"), (59, "1 Minutes"), (60, "0 Minutes"), (119, "0 Minutes")]
)
def test_idle_time_left_is_in_whole_minutes_and_never_singular(seconds: float, shown: str) -> None:
    db = old_db(1)
    session = log_in(db, 1000.0, old_facts(1269, "AnyConnect", "3.1.01065"))
    text = render_sessions([session], 1000.0 + seconds, detail=True)
    assert f"Idle Time Out: 2 Minutes              Idle TO Left : {shown}\n" in text


def test_a_timeout_of_seconds_is_shown_in_seconds() -> None:
    session = Lab().connected(now=0.0, idle_timeout=8.0, session_timeout=90.0)
    text = render_sessions([session], 3.5, detail=True)
    assert "  Conn Time Out: 90 Seconds             Conn TO Left : 86 Seconds\n" in text
    assert "  Idle Time Out: 8 Seconds              Idle TO Left : 4 Seconds\n" in text


@pytest.mark.statement("S87")
def test_today_an_inactive_session_shows_the_address_that_it_holds() -> None:
    session = inactive(old_db(1336))
    text = render_sessions([session], at("2012-11-17 17:52:10"))
    assert "Assigned IP  : 192.168.1.4            Public IP    : 172.16.250.17\n" in text
    assert "Inactivity   : 0h:01m:06s\n" in text


def test_todays_layout_has_everything_in_its_column() -> None:
    lab = Lab(first_index=4242)
    session = lab.connected(now=at("2026-03-05 09:10:02"), filter_name="STAFF", session_timeout=90_000.0)
    text = render_sessions([session], session.login_at + 1_207, detail=True)
    golden("sessiondb-detail-9x.txt", text)


def test_todays_layout_is_read_by_ntc_templates() -> None:
    lab = Lab(first_index=1436)
    lab.connected(now=at("2026-03-05 09:10:02"))
    lab.connected("somebody.with.a.very.long.name@example.com", now=at("2026-03-05 09:11:02"))
    text = render_sessions(
        lab.db.sessions(),
        at("2026-03-05 10:00:00"),
        address=IPv4Address("192.0.2.1"),
        zone=Timezone("CET", 3600),
    )
    rows = parse_output(platform="cisco_asa", command="show vpn-sessiondb anyconnect", data=text)
    assert [row["index"] for row in rows] == ["1436", "1437"]
    assert rows[0]["assigned_ip"] == "192.168.1.4"
    assert rows[0]["assigned_ipv6"] == "2001:db8::4"
    assert rows[0]["protocol"] == "AnyConnect-Parent SSL-Tunnel DTLS-Tunnel"
    assert (rows[0]["login_time"], rows[0]["login_time_zone"]) == ("10:10:02", "CET")
    assert rows[0]["audt_sess_id"] == f"c00002010059c000{int(at('2026-03-05 09:10:02')):08x}"
    assert rows[1]["username"] == "somebody.with.a.very.long.name@example.com"


def test_the_summary_is_read_by_ntc_templates_and_counts_the_inactive_apart() -> None:
    lab = Lab(capacity=50)
    lab.connected("walter", now=0.0)
    lost = lab.connected("maria", now=0.0)
    assert lost.ssl is not None
    lab.db.tunnel_lost(lost.ssl, DownReason.DPD, 10.0)
    lab.login("web", now=0.0, clientless=True)
    text = render_summary(lab.db)
    golden("sessiondb-summary.txt", text)
    (row,) = parse_output(platform="cisco_asa", command="show vpn-sessiondb", data=text)
    assert row["vpn_session_name"] == ["AnyConnect Client", "SSL/TLS/DTLS", "Clientless VPN", "Browser"]
    assert row["vpn_session_active"] == ["1", "1", "1", "1"]
    assert row["vpn_session_inactive"][:2] == ["1", "1"]
    assert (row["total_active_and_inactive"], row["total_cumulative"]) == ("3", "3")
    assert (row["device_total_vpn_capacity"], row["device_load_percent"]) == ("50", "6")
    assert row["tunnels_summary_name"] == ["Clientless", "AnyConnect-Parent", "SSL-Tunnel", "DTLS-Tunnel"]
    assert row["tunnels_summary_active"] == ["1", "2", "1", "2"]


def test_a_summary_of_the_portal_alone_has_no_row_of_anyconnect() -> None:
    lab = Lab()
    lab.login("web", now=0.0, clientless=True)
    text = render_summary(lab.db)
    assert "AnyConnect" not in text
    assert "Clientless VPN               :      1 :" in text


def test_a_vlan_and_compression_are_shown() -> None:
    lab = old_db(1)
    session = web_launched(lab)
    session.policy = replace(session.policy, vlan=17)
    assert session.dtls is not None
    session.dtls.facts = replace(session.dtls.facts, compression="oc-lz4")
    text = render_sessions([session], session.login_at, detail=True)
    assert "VLAN Mapping : Static                 VLAN         : 17\n" in text
    assert "Compression  : LZ4\n" in text


def test_a_disconnected_timeout_of_its_own_is_what_the_parent_counts() -> None:
    lab = Lab()
    session = lab.connected(now=0.0, disconnected_timeout=600.0, idle_timeout=120.0)
    assert session.ssl is not None
    lab.db.tunnel_lost(session.ssl, DownReason.DPD, 60.0)
    text = render_sessions([session], 60.0, detail=True)
    assert "Idle Time Out: 10 Minutes             Idle TO Left : 9 Minutes\n" in text


def test_full_is_one_line_a_session_and_with_detail_one_more_a_tunnel() -> None:
    session = Lab(first_index=7).connected(now=0.0)
    brief = render_sessions([session], 1.0, full=True).splitlines()
    detailed = render_sessions([session], 1.0, full=True, detail=True).splitlines()
    assert [line[-3:] for line in brief if "|" in line] == [" ||"]
    assert [line.split(" | ")[0] for line in detailed if "|" in line] == [
        "Username: walter",
        "Tunnel Type: AnyConnect-Parent",
        "Tunnel Type: SSL-Tunnel",
        "Tunnel Type: DTLS-Tunnel",
    ]


def test_nothing_to_show_is_said() -> None:
    assert render_sessions([], 0.0) == NONE_OF_TYPE
    assert render_summary(Lab().db) == NO_SESSIONS


def test_a_portal_session_has_its_own_type_and_no_address() -> None:
    db = old_db(9)
    log_in(db, 0.0, old_facts(1240, "Web Browser", AGENT, "TLSv1.0", "AES128"), clientless=True)
    log_in(db, 1.0, old_facts(1241, "AnyConnect", "3.1.01065"))
    text = render_sessions(db.sessions(), 60.0)
    assert text.index("Session Type: AnyConnect\n") < text.index("Session Type: WebVPN\n")
    assert "Encryption   : Clientless: (1)AES128  Hashing      : Clientless: (1)SHA1\n" in text


@pytest.mark.statement("S17")
@pytest.mark.parametrize(
    ("seconds", "text"),
    [(34.9, "0h:00m:34s"), (50_171, "13h:56m:11s"), (131_587, "1d 12h:33m:07s"), (0, "0h:00m:00s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def test_a_time_is_shown_in_the_zone_of_the_headend() -> None:
    assert show_time(at("2020-06-05 22:30:00"), Timezone("CEST", 7200)) == "00:30:00 CEST Sat Jun 6 2020"
