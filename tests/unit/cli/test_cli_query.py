"""`show vpn-sessiondb` as it is asked for: types, filters, sorting, one index; and `vpn-sessiondb logoff`."""

import re
from dataclasses import replace

import pytest

from asa_emu.cli.logoff import PROMPT
from asa_emu.cli.show_sessiondb import NO_SESSIONS, NONE_OF_TYPE
from asa_emu.session import DownReason, Peer, Session
from tests.cli_lab import AGENT, BROWSER, Desk, at, old_facts
from tests.session_lab import policy

LOGIN = at("2012-11-30 22:00:00")
CONFIG = "ip local pool inside 10.0.0.1-10.0.0.9 mask 255.255.255.0\n"


def add(
    desk: Desk,
    username: str,
    *,
    after: float = 0.0,
    group: str = "staff",
    ip: str = "198.51.100.7",
    dtls: bool = False,
    lost_after: float | None = None,
    clientless: bool = False,
) -> Session:
    """A user logs in `after` seconds and connects; the SSL tunnel may be lost again."""
    db, now = desk.headend.db, LOGIN + after
    facts = replace(old_facts(1, "AnyConnect", AGENT), peer=Peer(ip, 1))
    portal = old_facts(2, "Web Browser", BROWSER, "TLSv1.0", "RC4")
    session = db.login(
        token=f"{username}{after}",
        username=username,
        tunnel_group=group.upper(),
        policy=policy(group_policy=group, ipv6_address_pools=(), simultaneous_logins=9),
        facts=portal if clientless else facts,
        clientless=clientless,
        now=now,
    )
    if clientless:
        return session
    db.assign_addresses(session, True, False, now)
    ssl = db.open_ssl(session, replace(facts, protocol="TLSv1.2", encryption="AES-GCM-256"), None, now)
    if dtls:
        db.open_dtls(session, replace(facts, protocol="DTLSv1.2", encryption="AES128"), None, now)
    if lost_after is not None:
        db.tunnel_lost(ssl, DownReason.DPD, now + lost_after)
    return session


@pytest.fixture
def desk() -> Desk:
    """Four sessions: index 1 maria, 2 walter with DTLS, 3 anna inactive, and 4 paul in the portal."""
    desk = Desk(CONFIG)
    add(desk, "maria", group="staff")
    add(desk, "walter", after=60.0, group="admin", ip="2001:db8::7", dtls=True)
    add(desk, "anna", after=120.0, group="guest", ip="192.0.2.5", lost_after=10.0)
    add(desk, "paul", after=180.0, clientless=True)
    return desk


def shown(desk: Desk, line: str) -> list[str]:
    """The users in the answer, in order."""
    text = desk.type(line)
    assert "ERROR" not in text
    return re.findall(r"^Username     : (\S+)", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("criteria", "users"),
    [
        ("", ["maria", "walter", "anna"]),
        ("filter name walter", ["walter"]),
        ("filter name Walter", []),
        ("filter inactive", ["anna"]),
        ("filter a-ipaddress 10.0.0.2", ["walter"]),
        ("filter p-ipaddress 192.0.2.5", ["anna"]),
        ("filter p-ipaddress 2001:DB8:0::7", ["walter"]),
        ("filter a-ipversion v4", ["maria", "walter", "anna"]),
        ("filter a-ipversion v6", []),
        ("filter p-ipversion v6", ["walter"]),
        ("filter ipversion v4", ["maria", "anna"]),
        ("filter tunnel-group GUEST", ["anna"]),
        ("filter group-policy admin", ["walter"]),
        ("filter protocol dtls-tunnel", ["walter"]),
        ("filter protocol ssl-tunnel", ["maria", "walter"]),
        ("filter protocol anyconnect-parent", ["maria", "walter", "anna"]),
        ("filter protocol clientless", []),
        ("filter protocol ikev2", []),
        ("filter encryption aes128", ["walter"]),
        ("filter encryption aes-gcm-256", ["maria", "walter"]),
        ("filter encryption none", ["maria", "walter", "anna"]),
        ("filter encryption rc4", []),
        ("sort name", ["anna", "maria", "walter"]),
        ("sort inactivity", ["maria", "walter", "anna"]),
        ("sort a-ipaddress", ["maria", "walter", "anna"]),
        ("sort p-ipaddress", ["anna", "maria", "walter"]),
        ("sort tunnel-group", ["walter", "anna", "maria"]),
        ("sort group-policy", ["walter", "anna", "maria"]),
        ("sort encryption", ["anna", "maria", "walter"]),
        ("sort protocol", ["anna", "maria", "walter"]),
        ("sort duration", ["anna", "walter", "maria"]),
        ("filter encryption none sort name", ["anna", "maria", "walter"]),
    ],
)
@pytest.mark.statement("S87")
def test_filters_and_sorting(desk: Desk, criteria: str, users: list[str]) -> None:
    assert shown(desk, f"show vpn-sessiondb anyconnect {criteria}") == users


def test_other_types_and_one_index(desk: Desk) -> None:
    assert shown(desk, "show vpn-sessiondb webvpn") == ["paul"]
    assert shown(desk, "show vpn-sessiondb full webvpn") == []
    assert desk.type("show vpn-sessiondb l2l") == NONE_OF_TYPE
    assert desk.type("show vpn-sessiondb l2l filter inactive") == NONE_OF_TYPE
    one = desk.type("show vpn-sessiondb detail index 2")
    assert one.startswith("\nSession Type: AnyConnect Detailed\n\nUsername     : walter ")
    assert "\nSession Type: WebVPN\n" in desk.type("show vpn-sessiondb index 4")
    assert desk.type("show vpn-sessiondb index 5") == NONE_OF_TYPE
    assert desk.type("show vpn-sessiondb full anyconnect filter name walter").count("||") == 1
    assert desk.type("show vpn-sessiondb detail full anyconnect filter name walter").count("||") == 4


def test_the_summary_and_the_ratios(desk: Desk) -> None:
    assert Desk().type("show vpn-sessiondb") == NO_SESSIONS
    text = desk.type("show vpn-sessiondb")
    assert "Total Active and Inactive    :      4 " in text
    assert desk.type("show vpn-sessiondb summary") == text
    ratio = desk.type("show vpn-sessiondb ratio protocol")
    assert re.search(r"^AnyConnect-Parent +3 +42%$", ratio, re.MULTILINE)
    assert re.search(r"^AES128 +1 +14%$", desk.type("show vpn-sessiondb ratio encryption"), re.MULTILINE)
    assert Desk().type("show vpn-sessiondb ratio encryption") == NONE_OF_TYPE
    ratio = desk.type("show vpn-sessiondb ratio protocol filter ADMIN")
    assert ratio.startswith("Filter Group         : ADMIN\nTotal Active Sessions: 1\n")
    assert re.findall(r"^(\S+) +\d+ +33%$", ratio, re.MULTILINE) == [
        "AnyConnect-Parent",
        "SSL-Tunnel",
        "DTLS-Tunnel",
    ]
    assert desk.type("show vpn-sessiondb ratio encryption filter NOBODY") == NONE_OF_TYPE


def test_licences_and_their_use(desk: Desk) -> None:
    text = desk.type("show vpn-sessiondb license-summary")
    assert "\nAnyConnect Premium               :  ENABLED :    20000 :     20000 :   NONE\n" in text
    assert "\nAnyConnect Premium     :      4 :      0 :      4 :      4 :  20000 :    0%\n" in text
    desk.type("configure terminal", "vpn-sessiondb max-anyconnect-premium-or-essentials-limit 8")
    desk.type("webvpn", "anyconnect-essentials")
    text = desk.type("show vpn-sessiondb license-summary")
    assert "\nAnyConnect Essentials            :  ENABLED :    20000 :     20000 :      8\n" in text
    assert "\nAnyConnect Essentials  :      4 :      0 :      4 :      4 :      8 :   50%\n" in text
    assert "\n  AnyConnect Client    :                 :      3 :      3 :        :   37%\n" in text
    assert "\n  Clientless VPN       :                 :      1 :      1 :        :   12%\n" in text


def test_the_headends_own_facts_are_in_the_record() -> None:
    desk = Desk(
        CONFIG
        + "clock timezone CET 1\ninterface Gi0/0\n nameif outside\n ip address 192.0.2.1 255.255.255.0\n"
        "webvpn\n enable outside\n anyconnect-essentials\n"
    )
    add(desk, "maria")
    text = desk.type("show vpn-sessiondb anyconnect")
    assert "Audt Sess ID : c000020100001000" in text
    assert "License      : AnyConnect Essentials\n" in text
    assert "Login Time   : 23:00:00 CET Fri Nov 30 2012\n" in text


@pytest.mark.parametrize(
    ("selector", "gone", "text"),
    [
        ("all", {"maria", "walter", "anna", "paul"}, 'of type "all"'),
        ("anyconnect", {"maria", "walter", "anna"}, 'of type "anyconnect"'),
        ("webvpn", {"paul"}, 'of type "webvpn"'),
        ("l2l", set(), 'of type "l2l"'),
        ("index 2", {"walter"}, 'with index "2"'),
        ("ipaddress 10.0.0.1", {"maria"}, 'with IP address "10.0.0.1"'),
        ("name walter", {"walter"}, 'with name "walter"'),
        ("name nobody", set(), 'with name "nobody"'),
        ("name noconfirm", set(), 'with name "noconfirm"'),
        ("protocol dtls-tunnel", {"walter"}, 'using protocol "dtls-tunnel"'),
        ("tunnel-group GUEST", {"anna"}, 'in tunnel group "GUEST"'),
    ],
)
@pytest.mark.statement("S89")
def test_log_off_by_each_selector(desk: Desk, selector: str, gone: set[str], text: str) -> None:
    everybody = {"maria", "walter", "anna", "paul"}
    answer = desk.type(f"vpn-sessiondb logoff {selector} noconfirm")
    assert answer == f"INFO: Number of sessions {text} logged off : {len(gone)}\n"
    assert {session.username for session in desk.headend.db.sessions()} == everybody - gone


def test_no_such_index(desk: Desk) -> None:
    assert desk.type("vpn-sessiondb logoff index 99 noconfirm") == "INFO: Invalid Session Index\n"


@pytest.mark.parametrize(("answer", "left"), [("", 0), ("y", 0), ("Y", 0), ("n", 4), ("no", 4)])
def test_log_off_is_confirmed_first(desk: Desk, answer: str, left: int) -> None:
    reply = desk.cli.execute("vpn-sessiondb logoff all")
    assert (reply.text, reply.prompt, reply.hidden_input) == ("", PROMPT, True)
    desk.type(answer)
    assert len(desk.headend.db) == left
    assert desk.cli.prompt == "ciscoasa# "


@pytest.mark.statement("S88")
@pytest.mark.statement("S90")
def test_inactive_sessions_alone_are_logged_off_with_the_enhancement_only(desk: Desk) -> None:
    assert "Invalid input" in desk.type("vpn-sessiondb logoff inactive noconfirm")
    assert "inactive" not in desk.type("vpn-sessiondb logoff ?")
    assert len(desk.headend.db) == 4
    desk.type("emulator feature CSCuh55707")
    assert desk.type("vpn-sessiondb logoff inactive noconfirm") == (
        'INFO: Number of sessions of type "inactive" logged off : 1\n'
    )
    assert [session.username for session in desk.headend.db.sessions()] == ["maria", "walter", "paul"]
    desk.type("no emulator feature CSCuh55707")
    assert "Invalid input" in desk.type("vpn-sessiondb logoff inactive")


def test_names_with_blanks_are_said_in_quotes(desk: Desk) -> None:
    add(desk, "ann b", group="my group")
    for line in ("filter name 'ann b'", "filter tunnel-group 'MY GROUP'", "filter group-policy 'my group'"):
        shown = desk.type(f"show vpn-sessiondb anyconnect {line}".replace("'", '"'))
        assert re.findall(r"Username     : (.*?) +Index", shown) == ["ann b"], line
    desk.type("configure terminal", 'tunnel-group "MY GROUP" type remote-access', "end")
    assert desk.type('show running-config tunnel-group "MY GROUP"').startswith('tunnel-group "MY GROUP" type')
    answer = desk.type('vpn-sessiondb logoff name "ann b" noconfirm')
    assert answer == 'INFO: Number of sessions with name "ann b" logged off : 1\n'
