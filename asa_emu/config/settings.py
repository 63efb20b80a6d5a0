"""The settings a group-policy, a user, a tunnel-group or the `webvpn` block can say, with their defaults.

Each stands for the command of the same name and carries the type of its value, so that the policy is put
together without a string in sight. Durations are seconds; None and empty mean `none`. Defaults and ranges are
Cisco's, from its command reference; S36 and S44 fix DPD and keepalive.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import Final

from asa_emu.config.document import Setting
from asa_emu.config.facts import Address, StoredPassword, Timezone

# group-policy and username attributes
SIMULTANEOUS_LOGINS: Final = Setting[int]("vpn-simultaneous-logins", 3)
IDLE_TIMEOUT: Final = Setting[float | None]("vpn-idle-timeout", 1800.0)
IDLE_ALERT: Final = Setting[float | None]("vpn-idle-timeout alert-interval", 60.0)
SESSION_TIMEOUT: Final = Setting[float | None]("vpn-session-timeout", None)
SESSION_ALERT: Final = Setting[float | None]("vpn-session-timeout alert-interval", 60.0)
DISCONNECTED_TIMEOUT: Final = Setting[float | None]("disconnected-timeout", None)
# An ASA's own default lacks ssl-client; a lab is lenient as long as nobody says anything.
TUNNEL_PROTOCOLS: Final = Setting[frozenset[str]](
    "vpn-tunnel-protocol", frozenset({"ikev1", "l2tp-ipsec", "ssl-clientless", "ssl-client"})
)
ADDRESS_POOLS: Final = Setting[tuple[str, ...]]("address-pools", ())
IPV6_ADDRESS_POOLS: Final = Setting[tuple[str, ...]]("ipv6-address-pools", ())
SPLIT_POLICY: Final = Setting[str]("split-tunnel-policy", "tunnelall")
IPV6_SPLIT_POLICY: Final = Setting[str]("ipv6-split-tunnel-policy", "tunnelall")
SPLIT_LIST: Final = Setting[str | None]("split-tunnel-network-list", None)
SPLIT_DNS: Final = Setting[tuple[str, ...]]("split-dns", ())
TUNNEL_ALL_DNS: Final = Setting[bool]("split-tunnel-all-dns", False)
DNS_SERVERS: Final = Setting[tuple[Address, ...]]("dns-server", ())
WINS_SERVERS: Final = Setting[tuple[Address, ...]]("wins-server", ())
DEFAULT_DOMAIN: Final = Setting[str | None]("default-domain", None)
BANNER: Final = Setting[list[str]]("banner", [])
VPN_FILTER: Final = Setting[str | None]("vpn-filter", None)
GROUP_LOCK: Final = Setting[str | None]("group-lock", None)
CLIENT_BYPASS: Final = Setting[bool]("client-bypass-protocol", False)
SMARTCARD_REMOVAL: Final = Setting[bool]("smartcard-removal-disconnect", True)
PROXY_METHOD: Final = Setting[tuple[str, ...]]("msie-proxy method", ("no-modify",))
PROXY_SERVER: Final = Setting[str | None]("msie-proxy server", None)
PROXY_LOCAL_BYPASS: Final = Setting[bool]("msie-proxy local-bypass", False)
PROXY_PAC_URL: Final = Setting[str | None]("msie-proxy pac-url", None)
PROXY_LOCKDOWN: Final = Setting[bool]("msie-proxy lockdown", True)
VLAN: Final = Setting[int | None]("vlan", None)

# username attributes alone
USER_GROUP_POLICY: Final = Setting[str | None]("vpn-group-policy", None)
FRAMED_IP: Final = Setting[IPv4Interface | None]("vpn-framed-ip-address", None)
FRAMED_IP6: Final = Setting[IPv6Interface | None]("vpn-framed-ipv6-address", None)

# the nested webvpn block of both
DPD_CLIENT: Final = Setting[float | None]("anyconnect dpd-interval client", 30.0)
DPD_GATEWAY: Final = Setting[float | None]("anyconnect dpd-interval gateway", 30.0)
KEEPALIVE: Final = Setting[float | None]("anyconnect ssl keepalive", 20.0)
REKEY_TIME: Final = Setting[float | None]("anyconnect ssl rekey time", None)
DTLS: Final = Setting[bool]("anyconnect ssl dtls", True)
MTU: Final = Setting[int]("anyconnect mtu", 1406)
COMPRESSION: Final = Setting[str | None]("anyconnect ssl compression", None)
DTLS_COMPRESSION: Final = Setting[str | None]("anyconnect dtls compression", None)
CODECS: Final = Setting[tuple[str, ...]]("anyconnect compression", ())
IGNORE_ROUTES: Final = Setting[bool]("anyconnect routing-filtering-ignore", False)
ALWAYS_ON: Final = Setting[bool]("always-on-vpn", True)
PROFILE: Final = Setting[str | None]("anyconnect profiles", None)

# tunnel-group general-attributes and webvpn-attributes
GROUP_POOLS: Final = Setting[tuple[str, ...]]("address-pool", ())
GROUP_IPV6_POOLS: Final = Setting[tuple[str, ...]]("ipv6-address-pool", ())
DEFAULT_GROUP_POLICY: Final = Setting[str]("default-group-policy", "DfltGrpPolicy")
AUTHENTICATION_SERVERS: Final = Setting[tuple[str, ...]]("authentication-server-group", ("LOCAL",))
SECONDARY_SERVERS: Final = Setting[tuple[str, ...]]("secondary-authentication-server-group", ())
AUTHORIZATION_SERVERS: Final = Setting[tuple[str, ...]]("authorization-server-group", ())
ACCOUNTING_SERVERS: Final = Setting[tuple[str, ...]]("accounting-server-group", ())
AUTHORIZATION_REQUIRED: Final = Setting[bool]("authorization-required", False)
STRIP_REALM: Final = Setting[bool]("strip-realm", False)
STRIP_GROUP: Final = Setting[bool]("strip-group", False)
USERNAME_FROM_CERTIFICATE: Final = Setting[tuple[str, ...]]("username-from-certificate", ("CN", "OU"))
WITHOUT_HOST_SCAN: Final = Setting[bool]("without-csd", False)
AUTHENTICATION: Final = Setting[frozenset[str]]("authentication", frozenset({"aaa"}))

# global webvpn, and outside any block
HTTPS_PORT: Final = Setting[int]("port", 443)
DTLS_PORT: Final = Setting[int]("dtls port", 443)
ANYCONNECT_ENABLED: Final = Setting[bool]("anyconnect enable", False)
HOST_SCAN: Final = Setting[bool]("hostscan enable", False)
GROUP_LIST: Final = Setting[bool]("tunnel-group-list", False)
DEFAULT_IDLE_TIMEOUT: Final = Setting[float]("default-idle-timeout", 1800.0)
KEEPOUT: Final = Setting[str]("keepout", "")
ESSENTIALS: Final = Setting[bool]("anyconnect-essentials", False)
LEGACY_DTLS: Final = Setting[bool]("dtls legacy-0100", False)
HOSTNAME: Final = Setting[str]("hostname", "ciscoasa")
DOMAIN_NAME: Final = Setting[str | None]("domain-name", None)
SESSION_LIMIT: Final = Setting[int | None]("vpn-sessiondb max-anyconnect-premium-or-essentials-limit", None)
ENABLE_PASSWORD: Final = Setting[StoredPassword | None]("enable password", None)
TIMEZONE: Final = Setting[Timezone]("clock timezone", Timezone("UTC", 0))
REUSE_DELAY: Final = Setting[float]("vpn-addr-assign local reuse-delay", 0.0)

# interface
NAMEIF: Final = Setting[str | None]("nameif", None)
IP_ADDRESS: Final = Setting[IPv4Interface | None]("ip address", None)
