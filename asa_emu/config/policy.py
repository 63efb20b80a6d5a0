"""What holds for one session: user, group policies and defaults put together into one frozen policy.

Inheritance is an ASA's: username attributes, the user's group policy, the default group policy of the
tunnel-group, `DfltGrpPolicy`, then the built-in default. A value said, `none` too, ends the search. Policies
are remembered until the configuration changes, so that a login costs a look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Interface
from typing import Literal, TypeAlias, TypeVar

from asa_emu.config import settings as s
from asa_emu.config.access_list import split
from asa_emu.config.document import Block, Setting, Unset
from asa_emu.config.facts import Network
from asa_emu.config.model import DEFAULT_POLICY, LANDING_GROUP, Config
from asa_emu.wire.compression import STATELESS

T = TypeVar("T")
Scope: TypeAlias = tuple[Block, Block]
"""The attributes of a user or a group policy, and the webvpn block nested in them."""


@dataclass(frozen=True, slots=True)
class BrowserProxy:
    """`msie-proxy`: what a client does to the browser while it is connected."""

    methods: tuple[str, ...]
    """Of "auto-detect no-proxy use-server use-pac-url"."""
    server: str | None
    local_bypass: bool
    pac_url: str | None


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything a configuration says about one session. Durations are seconds, None means none."""

    group_policy: str
    """The name that `show vpn-sessiondb` gives."""
    tunnel_protocols: frozenset[str]
    """Of "ikev1 ikev2 l2tp-ipsec ssl-client ssl-clientless"; without ssl-client AnyConnect is refused."""
    simultaneous_logins: int
    idle_timeout: float
    """Never none: AnyConnect then takes the `default-idle-timeout` of webvpn."""
    session_timeout: float | None
    idle_alert_interval: float | None
    session_alert_interval: float | None
    disconnected_timeout: float | None
    """As `!emu disconnected-timeout` says (CSCsl52873), else None."""
    address_pools: tuple[str, ...]
    ipv6_address_pools: tuple[str, ...]
    framed_ip: IPv4Address | None
    framed_netmask: IPv4Address | None
    framed_ip6: IPv6Interface | None
    dns_servers: tuple[str, ...]
    wins_servers: tuple[str, ...]
    default_domain: str | None
    split_dns: tuple[str, ...]
    tunnel_all_dns: bool
    split_include: tuple[Network, ...]
    split_exclude: tuple[Network, ...]
    """0.0.0.0/32 stands for the local LAN of the client."""
    banner: str
    """Lines joined by newlines, empty when there is none."""
    client_bypass_protocol: bool
    smartcard_removal_disconnect: bool
    group_lock: str | None
    """The only tunnel-group this user may come in by."""
    filter_name: str | None
    vlan: int | None
    mtu: int
    dpd_client: float | None
    dpd_gateway: float | None
    keepalive: float | None
    rekey_time: float | None
    """None also when the method is none."""
    rekey_method: Literal["none", "ssl", "new-tunnel"]
    dtls_enabled: bool
    compression: tuple[str, ...]
    """Codecs on TLS, the best one first."""
    dtls_compression: tuple[str, ...]
    profile: str | None
    """The client profile's name."""
    dpd_gateway_retries: int = 3
    proxy: BrowserProxy | None = None
    """None leaves the browser's settings alone."""
    proxy_lockdown: bool = True
    ignore_routes: bool = False
    """Whether clients leave routes alone that change under them."""
    always_on: bool = True
    """False forbids what a profile may say about always-on VPN."""


def effective_policy(
    config: Config, username: str | None, tunnel_group: str, group_policy: str | None = None
) -> Policy:
    """Return the policy of a session.

    `group_policy` is one that authentication assigned (RADIUS class, LDAP map); it wins over the user's own
    `vpn-group-policy`. An unknown user, tunnel-group or group policy has nothing to say.
    """
    user = config.document.top.child("username attributes", username) if username is not None else None
    key = ("policy", username if user is not None else None, tunnel_group, group_policy)
    return config.remember(key, lambda: _put_together(config, user or Block(), tunnel_group, group_policy))


def _put_together(config: Config, user: Block, tunnel_group: str, assigned: str | None) -> Policy:
    group = config.tunnel_groups.get(tunnel_group) or config.tunnel_groups[LANDING_GROUP]
    own = user.get(s.USER_GROUP_POLICY)
    name = assigned or (own if isinstance(own, str) else None) or group.default_group_policy
    chain = [_scope(user)]
    for policy in dict.fromkeys((name, group.default_group_policy, DEFAULT_POLICY)):
        chain += _policy_scopes(config, policy)

    def said(setting: Setting[T]) -> T:
        return _first(chain, setting)

    idle = said(s.IDLE_TIMEOUT)
    own_address, pooled = config.assigns_addresses("aaa"), config.assigns_addresses("local")
    framed = said(s.FRAMED_IP) if own_address else None
    dns, wins, banner = said(s.DNS_SERVERS), said(s.WINS_SERVERS), said(s.BANNER)
    rekey_time, rekey_method = _rekey(chain)
    compression, dtls_compression = _compression(chain)
    entries = config.access_list(said(s.SPLIT_LIST) or "")
    include, exclude = split(entries, said(s.SPLIT_POLICY), said(s.IPV6_SPLIT_POLICY))
    return Policy(
        group_policy=name,
        tunnel_protocols=said(s.TUNNEL_PROTOCOLS),
        simultaneous_logins=said(s.SIMULTANEOUS_LOGINS),
        idle_timeout=config.webvpn.default_idle_timeout if idle is None else idle,
        session_timeout=said(s.SESSION_TIMEOUT),
        idle_alert_interval=said(s.IDLE_ALERT),
        session_alert_interval=said(s.SESSION_ALERT),
        disconnected_timeout=said(s.DISCONNECTED_TIMEOUT),
        address_pools=(said(s.ADDRESS_POOLS) or group.address_pools) if pooled else (),
        ipv6_address_pools=(said(s.IPV6_ADDRESS_POOLS) or group.ipv6_address_pools) if pooled else (),
        framed_ip=framed.ip if framed else None,
        framed_netmask=framed.netmask if framed else None,
        framed_ip6=said(s.FRAMED_IP6) if own_address else None,
        dns_servers=tuple(str(address) for address in dns),
        wins_servers=tuple(str(address) for address in wins),
        default_domain=said(s.DEFAULT_DOMAIN),
        split_dns=said(s.SPLIT_DNS),
        tunnel_all_dns=said(s.TUNNEL_ALL_DNS),
        split_include=include,
        split_exclude=exclude,
        banner="\n".join(banner),
        client_bypass_protocol=said(s.CLIENT_BYPASS),
        smartcard_removal_disconnect=said(s.SMARTCARD_REMOVAL),
        group_lock=said(s.GROUP_LOCK),
        filter_name=said(s.VPN_FILTER),
        vlan=said(s.VLAN),
        mtu=said(s.MTU),
        dpd_client=said(s.DPD_CLIENT),
        dpd_gateway=said(s.DPD_GATEWAY),
        keepalive=said(s.KEEPALIVE),
        rekey_time=rekey_time,
        rekey_method=rekey_method,
        dtls_enabled=said(s.DTLS),
        compression=compression,
        dtls_compression=dtls_compression,
        profile=said(s.PROFILE),
        proxy=_proxy(chain),
        proxy_lockdown=said(s.PROXY_LOCKDOWN),
        ignore_routes=said(s.IGNORE_ROUTES),
        always_on=said(s.ALWAYS_ON),
    )


def _scope(block: Block) -> Scope:
    return block, block.child("webvpn") or Block()


def _policy_scopes(config: Config, name: str) -> list[Scope]:
    """Return what a group policy says, and what the one says that it was made `from`."""
    scopes: list[Scope] = []
    seen: set[str] = set()
    while name and name not in seen:
        seen.add(name)
        scopes.append(_scope(config.document.top.child("group-policy attributes", name) or Block()))
        entry = config.document.top.entries.get(("group-policy", name))
        name = str(entry.value) if entry and entry.value else ""
    return scopes


def _first(chain: Sequence[Scope], setting: Setting[T]) -> T:
    for scope in chain:
        for block in scope:
            value = block.get(setting)
            if not isinstance(value, Unset):
                return value
    return setting.default


def _proxy(chain: Sequence[Scope]) -> BrowserProxy | None:
    """Return the browser's proxy; only what the method uses is told."""
    methods = _first(chain, s.PROXY_METHOD)
    if "no-modify" in methods:
        return None
    return BrowserProxy(
        methods,
        _first(chain, s.PROXY_SERVER) if "use-server" in methods else None,
        _first(chain, s.PROXY_LOCAL_BYPASS),
        _first(chain, s.PROXY_PAC_URL) if "use-pac-url" in methods else None,
    )


def _rekey(chain: Sequence[Scope]) -> tuple[float | None, Literal["none", "ssl", "new-tunnel"]]:
    time = _first(chain, s.REKEY_TIME)
    method = _first(chain, Setting("anyconnect ssl rekey method", "new-tunnel"))
    if time is None or method == "none":
        return None, "none"
    return time, "ssl" if method == "ssl" else "new-tunnel"


def _compression(chain: Sequence[Scope]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the codecs of TLS and DTLS; the nearest block that says one way or the other decides."""
    tls = dtls = None
    for _, webvpn in chain:
        codecs = webvpn.get(s.CODECS)
        on_tls, on_dtls = webvpn.get(s.COMPRESSION), webvpn.get(s.DTLS_COMPRESSION)
        if not isinstance(codecs, Unset):
            tls = codecs if tls is None else tls
            dtls = tuple(c for c in codecs if c in STATELESS) if dtls is None else dtls
        if tls is None and not isinstance(on_tls, Unset):
            tls = (on_tls,) if on_tls else ()
        if dtls is None and not isinstance(on_dtls, Unset):
            dtls = (on_dtls,) if on_dtls else ()
    return tls or (), dtls or ()
