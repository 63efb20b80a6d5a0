"""Logging off: which sessions each selector means."""

from dataclasses import replace

import pytest

from asa_emu.session import DownReason, EndReason, Logoff, Session
from tests.session_lab import Lab, facts, policy


@pytest.fixture
def lab() -> Lab:
    """Two sessions of walter, one inactive; maria without DTLS, otto not connected, a portal user."""
    lab = Lab()
    lab.connected("walter", now=0)
    inactive = lab.connected("walter", now=0)
    for tunnel in inactive.tunnels[1:]:
        lab.db.tunnel_lost(tunnel, DownReason.LOST, 1)
    lab.ssl(lab.login("maria", now=0, tunnel_group="Guests"), now=0)
    lab.login("otto", now=0)
    lab.login("portal", now=0, clientless=True)
    return lab


@pytest.mark.statement("S89")
@pytest.mark.parametrize(
    ("selector", "gone"),
    [
        (Logoff("index", 3), [3]),
        (Logoff("index", "3"), [3]),
        (Logoff("index", 99), []),
        (Logoff("index", "three"), []),
        (Logoff("name", "walter"), [1, 2]),
        (Logoff("name", "Walter"), []),
        (Logoff("ipaddress", "192.168.1.6"), [3]),
        (Logoff("ipaddress", "2001:0db8:0::6"), [3]),
        (Logoff("ipaddress", "nowhere"), []),
        (Logoff("protocol", "dtls-tunnel"), [1]),
        (Logoff("protocol", "SSL-Tunnel"), [1, 3]),
        (Logoff("protocol", "anyconnect-parent"), [1, 2, 3, 4]),
        (Logoff("protocol", "clientless"), [5]),
        (Logoff("protocol", "ikev2"), []),
        (Logoff("protocol", "parent"), [1, 2, 3, 4]),
        (Logoff("protocol", "ssl"), [1, 3]),
        (Logoff("protocol", "dtls"), [1]),
        (Logoff("protocol", "tlsv1.3"), [1, 2, 3, 4, 5]),
        (Logoff("protocol", ""), []),
        (Logoff("tunnel_group", "Guests"), [3]),
        (Logoff("all"), [1, 2, 3, 4, 5]),
        (Logoff("anyconnect"), [1, 2, 3, 4]),
        (Logoff("webvpn"), [5]),
    ],
    ids=lambda value: f"{value.kind} {value.value}" if isinstance(value, Logoff) else "",
)
def test_logoff_ends_what_the_selector_means(lab: Lab, selector: Logoff, gone: list[int]) -> None:
    before = list(lab.db.sessions())
    assert lab.db.logoff(selector, 10) == len(gone)
    ended = [session for session in before if session.ended]
    assert [session.index for session in ended] == gone
    assert {session.end_reason for session in ended} <= {EndReason.ADMIN_RESET}


def test_no_protocol_at_all_selects_nobody() -> None:
    lab = Lab()
    lab.db.login(
        token="t" * 32,
        username="walter",
        tunnel_group="Employees",
        policy=policy(),
        facts=replace(facts(), protocol=""),
        now=0,
    )
    assert lab.db.logoff(Logoff("protocol", ""), 1) == 0


@pytest.mark.statement("S90")
def test_logoff_of_the_inactive_means_those_without_ssl_tunnel(lab: Lab) -> None:
    assert lab.db.logoff(Logoff("inactive"), 10) == 2
    assert [session.index for session in lab.db.sessions()] == [1, 3, 5]


@pytest.mark.statement("S87")
def test_inactive_sessions_can_be_told_from_active_ones(lab: Lab) -> None:
    def lost(session: Session) -> bool:
        return session.inactive_since is not None

    assert [session.index for session in lab.db.sessions() if session.inactive] == [2, 4]
    assert [session.index for session in lab.db.sessions() if lost(session)] == [2]
