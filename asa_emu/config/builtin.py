"""The configuration of a headend that was given none: two groups, pools for 20,000, one user.

It is text like any other and shows what a lab's configuration can say. Only the inside network goes into the
tunnel, and no name server is handed out: whoever connects with root keeps a machine that works.
"""

from __future__ import annotations

from asa_emu.config.facts import Hasher
from asa_emu.config.model import Config, parse_config

TEXT = """\
hostname ciscoasa
domain-name example.test
ip local pool POOL 10.99.0.10-10.99.255.254 mask 255.255.0.0
!emu ipv6 local pool POOL6 fd00:99::10/64 65000
interface GigabitEthernet0/0
 nameif outside
 security-level 0
 no ip address
access-list INSIDE extended permit ip 10.0.0.0 255.0.0.0 any
access-list INSIDE extended permit ip fd00:99::/64 any
access-list CONTRACTORS standard permit 10.99.0.0 255.255.0.0
webvpn
 enable outside
 anyconnect enable
 tunnel-group-list enable
group-policy EMPLOYEES internal
group-policy EMPLOYEES attributes
 vpn-simultaneous-logins 3
 vpn-tunnel-protocol ssl-client ssl-clientless
 default-domain value example.test
 address-pools value POOL
 ipv6-address-pools value POOL6
group-policy CONTRACTORS internal
group-policy CONTRACTORS attributes
 banner value Contractors reach the lab network only.
 vpn-tunnel-protocol ssl-client ssl-clientless
 split-tunnel-network-list value CONTRACTORS
 address-pools value POOL
group-policy DfltGrpPolicy attributes
 vpn-tunnel-protocol ssl-client ssl-clientless
 split-tunnel-policy tunnelspecified
 ipv6-split-tunnel-policy tunnelspecified
 split-tunnel-network-list value INSIDE
 address-pools value POOL
username walter password secret
username walter attributes
 service-type remote-access
tunnel-group EMPLOYEES type remote-access
tunnel-group EMPLOYEES general-attributes
 default-group-policy EMPLOYEES
tunnel-group EMPLOYEES webvpn-attributes
 group-alias employees enable
 group-url https://vpn.example.test/employees enable
tunnel-group CONTRACTORS type remote-access
tunnel-group CONTRACTORS general-attributes
 default-group-policy CONTRACTORS
tunnel-group CONTRACTORS webvpn-attributes
 group-alias contractors enable
 group-url https://vpn.example.test/contractors enable
"""


def built_in_config(hasher: Hasher | None = None) -> Config:
    """Return the built-in configuration."""
    config = parse_config(TEXT, "built-in", hasher)
    config.reports.clear()  # leniency about lines that nobody wrote is no news
    return config
