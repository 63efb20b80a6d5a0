"""Effective policies: defaults, inheritance, split tunnelling, compression, and that they are remembered."""

from dataclasses import replace
from ipaddress import IPv4Address, ip_network

import pytest

from asa_emu.config import Config, effective_policy, parse_config
from asa_emu.config import settings as s
from asa_emu.config.document import Document, Setting
from asa_emu.config.edit import Place, execute
from asa_emu.config.grammar import MODES

BASE = """\
ip local pool P1 10.0.1.1-10.0.1.9 mask 255.255.255.0
ip local pool P2 10.0.2.1-10.0.2.9 mask 255.255.255.0
group-policy OWN internal
group-policy OWN attributes
{own}
group-policy TG internal
group-policy TG attributes
{group}
group-policy DfltGrpPolicy attributes
{default}
username bob password x
username bob attributes
{user}
tunnel-group T type remote-access
tunnel-group T general-attributes
 address-pool P1
 default-group-policy TG
"""


def made(own: str = "", group: str = "", default: str = "", user: str = "") -> Config:
    return parse_config(BASE.format(own=own, group=group, default=default, user=user))


def test_defaults_are_ciscos() -> None:
    policy = effective_policy(parse_config(""), "nobody", "DefaultWEBVPNGroup")
    assert policy.group_policy == "DfltGrpPolicy"
    assert policy.tunnel_protocols == {"ikev1", "l2tp-ipsec", "ssl-client", "ssl-clientless"}
    assert (policy.simultaneous_logins, policy.idle_timeout, policy.session_timeout) == (3, 1800.0, None)
    assert (policy.idle_alert_interval, policy.session_alert_interval) == (60.0, 60.0)
    assert (policy.keepalive, policy.rekey_time, policy.rekey_method) == (20.0, None, "none")
    assert (policy.mtu, policy.dtls_enabled, policy.compression, policy.dtls_compression) == (
        1406,
        True,
        (),
        (),
    )
    assert policy.disconnected_timeout is None
    assert policy.smartcard_removal_disconnect and not policy.client_bypass_protocol


@pytest.mark.statement("S36")
def test_dpd_is_on_by_default_with_30_seconds_on_both_sides() -> None:
    policy = effective_policy(parse_config(""), None, "DefaultWEBVPNGroup")
    assert (policy.dpd_client, policy.dpd_gateway) == (30.0, 30.0)


def test_the_nearest_one_that_speaks_wins() -> None:
    chain = {"user": 1, "own": 2, "group": 3, "default": 4}
    for silent in range(5):
        said = {where: f" vpn-simultaneous-logins {n}" for where, n in list(chain.items())[silent:]}
        said["user"] = said.get("user", "") + "\n vpn-group-policy OWN"
        policy = effective_policy(made(**said), "bob", "T")
        assert policy.simultaneous_logins == (silent + 1 if silent < 4 else 3)
        assert policy.group_policy == "OWN"


def test_none_stops_inheritance_and_no_does_not() -> None:
    stopped = made(group=" vpn-session-timeout none", default=" vpn-session-timeout 60")
    assert effective_policy(stopped, "bob", "T").session_timeout is None
    passed = made(
        group=" vpn-session-timeout none\n no vpn-session-timeout", default=" vpn-session-timeout 60"
    )
    assert effective_policy(passed, "bob", "T").session_timeout == 3600.0
    banner = made(group=" banner none", default=" banner value hello\n banner value again")
    assert effective_policy(banner, "bob", "T").banner == ""
    assert effective_policy(banner, "bob", "DefaultRAGroup").banner == "hello\nagain"


def test_idle_none_falls_back_to_the_default_idle_timeout() -> None:
    config = parse_config(
        "webvpn\n default-idle-timeout 90\ngroup-policy DfltGrpPolicy attributes\n vpn-idle-timeout none\n"
    )
    assert effective_policy(config, None, "DefaultWEBVPNGroup").idle_timeout == 90.0


def test_an_assigned_group_policy_wins() -> None:
    config = made(own=" vlan 7", group=" vlan 8", user=" vpn-group-policy TG")
    assert effective_policy(config, "bob", "T", "OWN").vlan == 7
    assert effective_policy(config, "bob", "T", "OWN").group_policy == "OWN"
    assert effective_policy(config, "bob", "T").vlan == 8


def test_a_policy_made_from_another_says_what_that_one_says() -> None:
    config = parse_config(
        "group-policy A internal\ngroup-policy A attributes\n vlan 5\ngroup-policy B internal from A\n"
        "tunnel-group T type remote-access\ntunnel-group T general-attributes\n default-group-policy B\n"
    )
    assert effective_policy(config, None, "T").vlan == 5


def test_the_group_policys_pools_win_over_the_tunnel_groups() -> None:
    assert effective_policy(made(), "bob", "T").address_pools == ("P1",)
    assert effective_policy(made(group=" address-pools value P2 P1"), "bob", "T").address_pools == (
        "P2",
        "P1",
    )
    assert effective_policy(made(group=" address-pools none"), "bob", "T").address_pools == ("P1",)


def test_everything_a_user_can_be_given() -> None:
    policy = effective_policy(
        made(
            user=" vpn-framed-ip-address 10.0.1.77 255.255.255.0\n vpn-framed-ipv6-address fd00::77/64\n"
            " group-lock value T\n service-type remote-access\n webvpn\n  anyconnect mtu 1200"
        ),
        "bob",
        "T",
    )
    assert (policy.framed_ip, policy.framed_netmask) == (
        IPv4Address("10.0.1.77"),
        IPv4Address("255.255.255.0"),
    )
    assert str(policy.framed_ip6) == "fd00::77/64"
    assert (policy.group_lock, policy.mtu) == ("T", 1200)


def test_durations_of_directives() -> None:
    policy = effective_policy(
        made(
            group=" !emu vpn-idle-timeout 8s\n !emu vpn-session-timeout 1h\n !emu disconnected-timeout 6s\n"
            " webvpn\n  !emu anyconnect dpd-interval gateway 1500ms\n  !emu anyconnect ssl keepalive 1s\n"
            "  !emu anyconnect ssl rekey time 5s"
        ),
        "bob",
        "T",
    )
    assert (policy.idle_timeout, policy.session_timeout, policy.disconnected_timeout) == (8.0, 3600.0, 6.0)
    assert (policy.dpd_gateway, policy.keepalive, policy.rekey_time) == (1.5, 1.0, 5.0)
    assert policy.rekey_method == "new-tunnel"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", (None, "none")),
        ("  anyconnect ssl rekey method ssl", (None, "none")),
        ("  anyconnect ssl rekey time 2", (120.0, "new-tunnel")),
        ("  anyconnect ssl rekey time 2\n  anyconnect ssl rekey method ssl", (120.0, "ssl")),
        ("  anyconnect ssl rekey time 2\n  anyconnect ssl rekey method none", (None, "none")),
    ],
)
def test_rekey(lines: str, expected: tuple[float | None, str]) -> None:
    policy = effective_policy(made(group=f" webvpn\n{lines}"), "bob", "T")
    assert (policy.rekey_time, policy.rekey_method) == expected


@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [
        ("", "", ((), ())),
        ("", "  anyconnect ssl compression deflate", (("deflate",), ())),
        ("", "  anyconnect dtls compression lzs", ((), ("lzs",))),
        (
            "",
            "  !emu anyconnect compression deflate oc-lz4 lzs",
            (("deflate", "oc-lz4", "lzs"), ("oc-lz4", "lzs")),
        ),
        ("  anyconnect ssl compression none", "  !emu anyconnect compression lzs", ((), ("lzs",))),
        ("  !emu anyconnect compression none", "  anyconnect dtls compression lzs", ((), ())),
        ("", "  svc compression deflate\n  svc dtls none\n  svc mtu 1300", (("deflate",), ())),
    ],
)
def test_compression(user: str, group: str, expected: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    policy = effective_policy(made(user=f" webvpn\n{user}", group=f" webvpn\n{group}"), "bob", "T")
    assert (policy.compression, policy.dtls_compression) == expected


SPLIT = """\
access-list S standard permit 10.0.0.0 255.0.0.0
access-list S standard deny 10.9.9.9 255.255.0.0
access-list S standard permit host 0.0.0.0
access-list X remark both families
access-list X extended permit ip 10.1.0.0 255.255.0.0 any
access-list X extended permit ip fd00:1::/32 any6
access-list X extended deny ip host 10.1.0.5 any
access-list X extended permit ip host 10.1.0.6 any inactive
access-list X extended permit tcp any any eq 80
access-list X extended permit ip object-group G any
access-list A extended permit ip any any
group-policy DfltGrpPolicy attributes
"""
SPLIT_BOTH = """\
 split-tunnel-network-list value A
 split-tunnel-policy tunnelspecified
 ipv6-split-tunnel-policy excludespecified
"""


@pytest.mark.parametrize(
    ("lines", "include", "exclude"),
    [
        (" split-tunnel-network-list value S", [], []),
        (
            " split-tunnel-policy tunnelspecified\n split-tunnel-network-list value S",
            ["10.0.0.0/8", "0.0.0.0/32"],
            ["10.9.0.0/16"],
        ),
        (
            " split-tunnel-policy excludespecified\n split-tunnel-network-list value S",
            [],
            ["10.0.0.0/8", "0.0.0.0/32"],
        ),
        (
            " split-tunnel-policy tunnelspecified\n split-tunnel-network-list value X",
            ["10.1.0.0/16"],
            ["10.1.0.5/32"],
        ),
        (
            " ipv6-split-tunnel-policy tunnelspecified\n split-tunnel-network-list value X",
            ["fd00:1::/32"],
            [],
        ),
        (SPLIT_BOTH, ["0.0.0.0/0"], ["::/0"]),
        (" split-tunnel-policy tunnelspecified", [], []),
    ],
)
def test_split_tunnelling(lines: str, include: list[str], exclude: list[str]) -> None:
    policy = effective_policy(parse_config(SPLIT + lines), None, "DefaultWEBVPNGroup")
    assert policy.split_include == tuple(map(ip_network, include))
    assert policy.split_exclude == tuple(map(ip_network, exclude))


def test_policies_are_remembered_until_the_configuration_changes() -> None:
    config = made(user=" vlan 3")
    before = effective_policy(config, "ann", "T")
    assert effective_policy(config, "ben", "T") is before
    assert effective_policy(config, "bob", "T") is not before
    editor = config.editor()
    assert editor.execute("group-policy TG attributes").ok and editor.execute("vpn-idle-timeout 2").ok
    assert effective_policy(config, "ann", "T") == replace(before, idle_timeout=120.0)


def test_every_default_shown_is_the_default_that_holds() -> None:
    settings = {value.name: value for value in vars(s).values() if isinstance(value, Setting)}
    rows = {row.family: row for mode in MODES.values() for row in mode.commands}
    emulated = {c.family for mode in MODES.values() for c in mode.emulated.commands()}
    assert settings.keys() <= rows.keys() | emulated
    for mode in MODES.values():
        for row in mode.commands:
            if not row.default or row.family not in settings:
                continue
            document = Document()
            execute(document, Place(mode.name, document.top), f"{row.family} {row.default}")
            assert document.top.entries[row.family,].value == settings[row.family].default, row.family
