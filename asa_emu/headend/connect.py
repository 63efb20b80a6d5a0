"""CONNECT: a session token becomes an SSL tunnel, and the offer of a DTLS tunnel.

    token unknown, dead or absent -> Refusal 401; the client gives up at once
    a portal session without leave to use AnyConnect -> Refusal 403
    no address free               -> Refusal 503 with X-Reason
    else                          -> Grant: the headers of the answer, the port's MTU, the codecs, the DTLS
    secret

Two thirds of the answer's headers are the same for all sessions of a policy; they are rendered once and
remembered until the configuration changes.

A first CONNECT and a resume are the same act: no AAA, no posture (S136-S138), the same addresses, a new DTLS
id. The shell opens the tunnel in the database after it has sent the answer, because only it knows the
connection object.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from asa_emu.config import Policy
from asa_emu.headend.headend import Caller, Headend, suite_names
from asa_emu.session.model import Peer, Session, TunnelFacts
from asa_emu.session.pool import PoolExhausted
from asa_emu.syslog.facts import NoAddress, TokenRefused, whose
from asa_emu.wire.dtls.keys import EXPORTER_LABEL, Psk, Resumption, Secret
from asa_emu.wire.dtls.suites import Choice, Suite, Variant, choose
from asa_emu.wire.header_lines import encode_lines
from asa_emu.wire.headers import (
    ConnectAnswer,
    ConnectRequest,
    DtlsAnswer,
    choose_encoding,
    mtu_for,
)
from asa_emu.wire.packet import MIN_IPV6_MTU

DTLS_ID_SIZE = 32  # bytes; openconnect takes nothing else as X-DTLS-Session-ID

Exporter = Callable[[bytes, int], bytes]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A CONNECT that gets no tunnel. `status` is HTTP's, `reason` goes into X-Reason for the user to read."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class DtlsOffer:
    """What the UDP side needs to recognise and accept the client's handshake."""

    id: bytes
    secret: Secret
    choice: Choice
    compression: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A CONNECT that succeeds."""

    session: Session
    answer: ConnectAnswer
    """What this session is told; `policy_lines` has what every session of its policy is told."""
    policy_lines: bytes
    facts: TunnelFacts
    mtu: int
    compression: str | None
    dtls: DtlsOffer | None


def connect(
    headend: Headend,
    request: ConnectRequest,
    caller: Caller,
    exporter: Exporter,
    dtls_port: int | None,
    now: float,
) -> Grant | Refusal:
    """Decide a CONNECT; `exporter` is the TLS connection's, `dtls_port` None when UDP is not served."""
    session = headend.db.by_token(request.token) if request.token else None
    if session is None:
        headend.emit(TokenRefused(at=now, ip=caller.peer.ip))
        return Refusal(401, "The session token is missing, unknown or expired: log in again")
    headend.refresh_policy(session, now)
    policy = session.policy
    if "ssl-client" not in policy.tunnel_protocols:
        return Refusal(403, "AnyConnect is not allowed for this user")
    choice = None
    if dtls_port is not None and policy.dtls_enabled and headend.config.webvpn.dtls:
        choice = choose(
            request.dtls_ciphers,
            request.dtls12_ciphers if request.master_secret else (),
            legacy=headend.config.webvpn.legacy_dtls and request.master_secret is not None,
        )
        if choice is not None and choice.variant is Variant.RESUMPTION and request.master_secret is None:
            choice = None
    ipv6_transport = ":" in caller.peer.ip
    mtu = mtu_for(
        policy.mtu,
        request.base_mtu,
        request.mtu,
        ipv6_transport,
        choice.suite.overhead if choice is not None else 0,
    )
    # IPv6 needs links of 1280 bytes (RFC 8200); an address once held is never taken away by a narrower path
    ipv6_fits = mtu >= MIN_IPV6_MTU or session.ip6 is not None
    try:
        addresses = headend.db.assign_addresses(
            session, request.want_ipv4, request.want_ipv6 and ipv6_fits, now
        )
    except PoolExhausted as error:
        headend.emit(NoAddress(**whose(session, now)))
        return Refusal(503, f"No address available: {error}")
    encoding = choose_encoding(request.accept_encoding, policy.compression)
    offer = None
    if choice is not None:
        offer = _offer(headend, request, choice, exporter, policy)
    names = suite_names(caller.cipher)
    parent = session.parent.facts
    facts = TunnelFacts(
        peer=caller.peer,
        local_port=caller.local_port,
        protocol=caller.tls_version,
        encryption=names.encryption,
        hashing=names.hashing,
        ciphersuite=names.ciphersuite,
        compression=encoding,
        auth_mode=parent.auth_mode,
        client_type="SSL VPN Client",
        client_ver=caller.user_agent,
        client_os=parent.client_os,
    )
    rekey_method = policy.rekey_method
    if rekey_method == "ssl" and caller.tls_version != "TLSv1.3":
        rekey_method = "new-tunnel"  # OpenSSL refuses a client's renegotiation
    answer = ConnectAnswer(
        ip4=IPv4Address(addresses.ip4) if addresses.ip4 else None,
        netmask=IPv4Address(addresses.ip4_netmask or "255.255.255.255") if addresses.ip4 else None,
        ip6=(IPv6Address(addresses.ip6), addresses.ip6_prefixlen or 128) if addresses.ip6 else None,
        mtu=mtu,
        base_mtu=request.base_mtu,
        session_timeout=policy.session_timeout,
        session_timeout_remaining=session.session_timeout_left(now),
        session_alert_interval=policy.session_alert_interval,
        content_encoding=encoding,
        hostname=request.hostname,
        dtls=None if offer is None or dtls_port is None else _dtls_answer(offer, dtls_port, mtu, policy),
    )
    # the policy stands beside its lines, so that no other can come by its id
    _, policy_lines = headend.config.remember(
        ("lines of CONNECT", id(policy), rekey_method),
        lambda: (policy, encode_lines(_policy_answer(session, rekey_method).policy_headers())),
    )
    return Grant(session, answer, policy_lines, facts, mtu, encoding, offer)


def _policy_answer(session: Session, rekey_method: str) -> ConnectAnswer:
    """What all sessions of this one's policy are told."""
    policy, proxy = session.policy, session.policy.proxy
    include4, include6 = _by_family(policy.split_include)
    exclude4, exclude6 = _by_family(policy.split_exclude)
    return ConnectAnswer(
        mtu=policy.mtu,
        dns=tuple(ip_address(server) for server in policy.dns_servers),
        nbns=tuple(IPv4Address(server) for server in policy.wins_servers),
        default_domain=policy.default_domain or "",
        split_dns=policy.split_dns,
        split_include=include4,
        split_exclude=exclude4,
        split_include_ip6=include6,
        split_exclude_ip6=exclude6,
        tunnel_all_dns=policy.tunnel_all_dns,
        banner=policy.banner,
        dpd=policy.dpd_client,
        keepalive=policy.keepalive,
        idle_timeout=policy.idle_timeout,
        disconnected_timeout=session.disconnected_timeout,
        rekey_time=policy.rekey_time,
        rekey_method=rekey_method,
        client_bypass_protocol=policy.client_bypass_protocol,
        smartcard_removal_disconnect=policy.smartcard_removal_disconnect,
        disable_always_on=not policy.always_on,
        routing_filtering_ignore=policy.ignore_routes,
        msie_proxy_lockdown=policy.proxy_lockdown,
        msie_proxy_method="" if proxy is None else ",".join(proxy.methods),
        msie_proxy_server="" if proxy is None else proxy.server or "",
        msie_proxy_bypass_local=proxy.local_bypass if proxy is not None and proxy.server else None,
        msie_proxy_pac_url="" if proxy is None else proxy.pac_url or "",
    )


def _offer(
    headend: Headend, request: ConnectRequest, choice: Choice, exporter: Exporter, policy: Policy
) -> DtlsOffer:
    identifier = headend.random_bytes(DTLS_ID_SIZE)
    secret: Secret
    if choice.variant is Variant.PSK:
        secret = Psk(exporter(EXPORTER_LABEL, 32), identifier)
    else:
        assert request.master_secret is not None  # a resumption is only chosen with one
        secret = Resumption(identifier, request.master_secret, choice.suite, choice.version)
    encoding = choose_encoding(request.dtls_accept_encoding, policy.dtls_compression)
    return DtlsOffer(identifier, secret, choice, encoding)


def _dtls_answer(offer: DtlsOffer, port: int, mtu: int, policy: Policy) -> DtlsAnswer:
    resumption = offer.choice.variant is Variant.RESUMPTION
    by_12 = offer.choice.header == "X-DTLS12-CipherSuite"
    return DtlsAnswer(
        session_id=offer.id if resumption else None,
        app_id=None if resumption else offer.id,
        port=port,
        cipher_suite=None if by_12 else offer.choice.name,
        dtls12_cipher_suite=offer.choice.name if by_12 else None,
        mtu=mtu if resumption else None,
        dpd=policy.dpd_client,
        keepalive=policy.keepalive,
        rekey_time=policy.rekey_time,
        # a DTLS renegotiation is a new handshake under the same id, whatever the tunnel's own method
        rekey_method="none" if policy.rekey_time is None else "new-tunnel",
        content_encoding=offer.compression,
    )


def dtls_facts(
    session: Session, offer: DtlsOffer, suite: Suite, version: str, peer: Peer, local_port: int
) -> TunnelFacts:
    """How the database shows a DTLS tunnel once its handshake has finished."""
    parent = session.parent.facts
    return TunnelFacts(
        peer=peer,
        local_port=local_port,
        protocol=version,
        encryption=suite.encryption,
        hashing=suite.hashing,
        ciphersuite=suite.openssl_name,
        compression=offer.compression,
        auth_mode=parent.auth_mode,
        client_type="DTLS VPN Client",
        client_ver=parent.client_ver,
        client_os=parent.client_os,
    )


def _by_family(
    networks: tuple[IPv4Network | IPv6Network, ...],
) -> tuple[tuple[IPv4Network, ...], tuple[IPv6Network, ...]]:
    return (
        tuple(network for network in networks if isinstance(network, IPv4Network)),
        tuple(network for network in networks if isinstance(network, IPv6Network)),
    )
