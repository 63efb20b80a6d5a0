"""Changes typed at a console reach the headend: pools, limits, quirks, policies."""

import pytest

from asa_emu.session import PoolExhausted, Session
from tests.cli_lab import Desk, old_facts

CONFIG = """\
ip local pool A 10.0.0.1-10.0.0.3 mask 255.255.255.0
group-policy DfltGrpPolicy attributes
 address-pools value A
tunnel-group STAFF type remote-access
username walter password secret
"""


@pytest.fixture
def desk() -> Desk:
    desk = Desk(CONFIG)
    desk.type("configure terminal")
    return desk


def log_in(desk: Desk, username: str = "walter") -> Session:
    """A login under the policy that holds now, and its address."""
    headend = desk.headend
    session = headend.db.login(
        token=f"token-{len(headend.db)}-{desk.now}",
        username=username,
        tunnel_group="STAFF",
        policy=headend.policy(username, "STAFF"),
        facts=old_facts(1, "AnyConnect", "4.10"),
        now=desk.now,
    )
    headend.db.assign_addresses(session, True, False, desk.now)
    return session


def test_a_pool_that_is_added_serves_the_next_session(desk: Desk) -> None:
    desk.type("ip local pool B 10.0.1.1-10.0.1.9 mask 255.255.255.0")
    desk.type("group-policy DfltGrpPolicy attributes", "address-pools value B")
    assert log_in(desk).ip4 == "10.0.1.1"


def test_a_pool_that_is_removed_serves_nobody_and_its_sessions_live_on(desk: Desk) -> None:
    session = log_in(desk)
    desk.type("group-policy DfltGrpPolicy attributes", "no address-pools", "exit", "no ip local pool A")
    assert "A" not in desk.headend.config.pools
    with pytest.raises(PoolExhausted):
        log_in(desk)
    assert session.ip4 == "10.0.0.1"
    desk.type("ip local pool A 10.0.0.1-10.0.0.3 mask 255.255.255.0")
    desk.type("group-policy DfltGrpPolicy attributes", "address-pools value A")
    assert log_in(desk).ip4 == "10.0.0.2"


def test_a_pool_that_does_not_change_keeps_its_order(desk: Desk) -> None:
    first, second = log_in(desk), log_in(desk)
    desk.headend.db.pools.give_back(str(first.ip4))
    desk.type("hostname other")
    assert log_in(desk).ip4 == "10.0.0.1"
    assert second.ip4 == "10.0.0.2"


def test_the_inside_gateways_new_address_is_never_handed_out(desk: Desk) -> None:
    desk.type("interface GigabitEthernet0/1", "nameif inside", "ip address 10.0.0.1 255.255.255.0")
    session = log_in(desk)
    assert session.ip4 == "10.0.0.2"
    desk.type("ip address 10.0.0.3 255.255.255.0")
    assert log_in(desk).ip4 == "10.0.0.1"
    with pytest.raises(PoolExhausted):
        log_in(desk)


def test_a_gateway_address_that_a_session_holds_stays_the_sessions(desk: Desk) -> None:
    session = log_in(desk)
    desk.type("interface GigabitEthernet0/1", "nameif inside", "ip address 10.0.0.1 255.255.255.0")
    desk.type("ip address 10.0.0.3 255.255.255.0")
    assert session.ip4 == "10.0.0.1"
    assert "10.0.0.1" in desk.headend.db.pools


def test_the_session_limit_and_the_quirks(desk: Desk) -> None:
    desk.type("vpn-sessiondb max-anyconnect-premium-or-essentials-limit 7", "!emu quirk CSCtg33110")
    assert desk.headend.db.capacity == 7
    assert desk.headend.db.quirks == {"CSCtg33110"}
    desk.type("no vpn-sessiondb max-anyconnect-premium-or-essentials-limit", "no !emu quirk CSCtg33110")
    assert desk.headend.db.capacity == 20_000
    assert desk.headend.db.quirks == set()


@pytest.mark.statement("S35")
def test_a_session_gets_the_changed_policy_with_its_next_tunnel(desk: Desk) -> None:
    session = log_in(desk)
    desk.type("group-policy DfltGrpPolicy attributes", "webvpn", "anyconnect dpd-interval client 5")
    assert session.policy.dpd_client == 30.0
    desk.headend.refresh_policy(session, desk.now)
    assert session.policy.dpd_client == 5.0
    assert log_in(desk).policy.dpd_client == 5.0


def test_a_refused_line_changes_nothing(desk: Desk) -> None:
    before = desk.headend.config.startup()
    desk.type("no ip local pool A")
    assert desk.headend.config.startup() == before
    assert log_in(desk).ip4 == "10.0.0.1"


def test_the_reuse_delay_keeps_a_freed_address_back(desk: Desk) -> None:
    assert desk.type("vpn-addr-assign local reuse-delay 5") == ""
    first = log_in(desk)
    desk.type("vpn-sessiondb logoff all noconfirm")
    assert "        2        1         0\n" in desk.type("show ip local pool A")
    assert "10.0.0.1\n" not in desk.type("show ip local pool A")
    assert log_in(desk).ip4 == "10.0.0.2"
    desk.now += 300
    assert log_in(desk).ip4 == first.ip4 == "10.0.0.1"
    assert desk.type("no vpn-addr-assign local reuse-delay 5") == ""
    assert log_in(desk).ip4 == "10.0.0.3"


def test_sources_of_addresses_can_be_switched_off(desk: Desk) -> None:
    desk.type("username walter attributes", "vpn-framed-ip-address 10.7.7.7 255.255.255.0", "exit")
    assert log_in(desk).ip4 == "10.7.7.7"
    desk.type("no vpn-addr-assign aaa")
    assert log_in(desk).ip4 == "10.0.0.1"
    desk.type("no vpn-addr-assign local")
    with pytest.raises(PoolExhausted):
        log_in(desk)
    desk.type("vpn-addr-assign local", "vpn-addr-assign aaa", "vpn-sessiondb logoff all noconfirm")
    assert log_in(desk).ip4 == "10.7.7.7"
