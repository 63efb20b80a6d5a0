"""Connection profiles, the group list, WebVPN, and the address of the inside gateway."""

import pytest

from asa_emu.config import (
    Config,
    GroupOption,
    built_in_config,
    effective_policy,
    inside_gateway,
    parse_config,
)

GROUPS = """\
webvpn
 enable outside
 enable dmz tls-only
 tunnel-group-list enable
tunnel-group DefaultWEBVPNGroup webvpn-attributes
 authentication certificate
tunnel-group B type remote-access
tunnel-group B general-attributes
 username-from-certificate UID CN
 strip-realm
tunnel-group B webvpn-attributes
 authentication aaa certificate
 group-alias staff enable
 group-alias secret disable
 group-alias "Two Words" enable
 group-url https://vpn.example.test/staff enable
 group-url https://vpn.example.test/off disable
 group-url https://b.example.test:8443 enable
tunnel-group A type remote-access
tunnel-group A webvpn-attributes
 group-alias Guests
 group-url https://other.example.test/staff enable
tunnel-group L type ipsec-l2l
"""


def test_group_list() -> None:
    config = parse_config(GROUPS)
    assert config.group_options == (
        GroupOption("staff", "staff", "B"),
        GroupOption("Two Words", "Two Words", "B"),
        GroupOption("Guests", "Guests", "A"),
    )
    assert parse_config(GROUPS.replace(" tunnel-group-list enable\n", "")).group_options == ()


@pytest.mark.parametrize(
    ("choice", "host", "path", "group"),
    [
        ("staff", "", "", "B"),
        ("Two Words", "", "", "B"),
        ("guests", "", "", "A"),
        ("A", "", "", "A"),
        ("secret", "", "", "DefaultWEBVPNGroup"),
        ("L", "", "", "DefaultWEBVPNGroup"),
        ("Guests", "vpn.example.test", "/staff", "A"),
        (None, "vpn.example.test", "/staff", "B"),
        (None, "other.example.test:8443", "/staff/", "A"),
        (None, "127.0.0.1:8443", "/staff?x=1", "B"),
        (None, "B.EXAMPLE.TEST", "/", "B"),
        (None, "127.0.0.1", "/", "DefaultWEBVPNGroup"),
        (None, "vpn.example.test", "/off", "DefaultWEBVPNGroup"),
        ("nonsense", "127.0.0.1", "/staff", "B"),
        (None, "", "", "DefaultWEBVPNGroup"),
    ],
)
def test_where_a_login_lands(choice: str | None, host: str, path: str, group: str) -> None:
    assert parse_config(GROUPS).tunnel_group_for(choice, host, path) == group


def test_how_groups_authenticate() -> None:
    config = parse_config(GROUPS)
    groups = config.tunnel_groups
    assert (groups["A"].needs_password, groups["A"].needs_certificate) == (True, False)
    assert (groups["B"].needs_password, groups["B"].needs_certificate) == (True, True)
    landing = groups["DefaultWEBVPNGroup"]
    assert (landing.needs_password, landing.needs_certificate) == (False, True)
    assert groups["B"].username_from_certificate == ("UID", "CN")
    assert groups["A"].username_from_certificate == ("CN", "OU")
    assert groups["B"].strip_realm and not groups["A"].strip_realm
    assert config.any_group_needs_certificate
    assert not built_in_config().any_group_needs_certificate


def test_webvpn() -> None:
    webvpn = parse_config(GROUPS).webvpn
    assert (webvpn.interfaces, webvpn.dtls, webvpn.port, webvpn.dtls_port) == (
        ("outside", "dmz"),
        True,
        443,
        443,
    )
    assert not parse_config("webvpn\n enable outside tls-only\n dtls port 4443\n").webvpn.dtls
    assert parse_config("").webvpn.dtls


def test_capacity() -> None:
    assert parse_config("").max_sessions == 20_000
    assert parse_config("vpn-sessiondb max-anyconnect-premium-or-essentials-limit 5\n").max_sessions == 5
    assert parse_config("vpn-sessiondb max-session-limit 6\n").max_sessions == 6


INSIDE = "interface G0/1\n nameif inside\n ip address 10.0.0.254 255.255.255.0\n ipv6 address fd00::ff/64\n"
POOLS = """\
ip local pool FULL 10.1.0.1-10.1.0.9 mask 255.255.255.0
ip local pool FREE 10.2.0.2-10.2.0.9 mask 255.255.255.0
ipv6 local pool FULL6 fd00:1::1/64 10
ipv6 local pool FREE6 fd00:2::2/64 10
"""


@pytest.mark.parametrize(
    ("text", "ip4", "ip6"),
    [
        (POOLS + INSIDE, "10.0.0.254/24", "fd00::ff/64"),
        (POOLS + INSIDE.replace("inside", "INSIDE"), "10.0.0.254/24", "fd00::ff/64"),
        (POOLS, "10.2.0.1/24", "fd00:2::1/64"),
        (
            POOLS + "interface G0/1\n nameif inside\n ip address dhcp setroute\n",
            "10.2.0.1/24",
            "fd00:2::1/64",
        ),
        ("ip local pool FULL 10.1.0.1-10.1.0.9 mask 255.255.255.0\n", "None", "None"),
        ("", "None", "None"),
    ],
)
def test_inside_gateway(text: str, ip4: str, ip6: str) -> None:
    config = parse_config(text)
    assert (str(inside_gateway(config, 4)), str(inside_gateway(config, 6))) == (ip4, ip6)


def test_pool_facts() -> None:
    config = parse_config(POOLS + "ip local pool CLASSY 192.168.7.1-192.168.7.20\n")
    classy, free6 = config.pools["CLASSY"], config.ipv6_pools["FREE6"]
    assert (str(classy.mask), len(classy), classy.last in classy) == ("255.255.255.0", 20, True)
    assert (str(free6.last), len(free6), str(free6.network)) == ("fd00:2::b", 10, "fd00:2::/64")
    assert free6.last in free6 and free6.last + 1 not in free6 and "fd00:2::2" not in free6


def test_the_built_in_configuration_is_clean() -> None:
    config: Config = built_in_config()
    assert config.reports == []
    assert [option.label for option in config.group_options] == ["employees", "contractors"]
    assert len(config.pools["POOL"]) > config.max_sessions <= len(config.ipv6_pools["POOL6"])
    user = config.user("walter")
    assert user and user.password and user.password.text == "secret"
    policy = effective_policy(config, "walter", "EMPLOYEES")
    assert [str(network) for network in policy.split_include] == ["10.0.0.0/8", "fd00:99::/64"]
    assert policy.dns_servers == ()  # nothing inside answers questions for names
    assert parse_config(config.startup()).document == config.document
