"""What a headend grants to a CONNECT (docs/protocol.md §2.4 and §2.5).

The headend fills a `ConnectAnswer` in and renders it; a client parses one out of a 200. Rendering is exact to
the byte: openconnect compares names with their case, and ends without a word when it finds no MTU in them.
Reading is as tolerant as openconnect, but bounded.

An answer is written in two parts, so that a headend renders one of them once per group-policy:
`session_headers` first, then `policy_headers`, which are the same for every session of a policy.
Lease-Duration, Session-Timeout and Session-Timeout-Remaining stay together in the session's part, because
openconnect believes the last of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from asa_emu.wire.compression import STATELESS, SUPPORTED
from asa_emu.wire.errors import HeaderError
from asa_emu.wire.header_lines import (
    LEAST_GRANTED_MTU,
    MAX_LINK_MTU,
    MAX_MTU,
    HeaderReader,
    HeaderWriter,
    IPAddress,
    RawHeaders,
    decode_banner,
    encode_banner,
    ip6_with_length,
    ip_address,
)

LEASE_DURATION_S = 1209600.0
"""Fourteen days, what an ASA says whatever its timers are."""

REKEY_METHODS = ("none", "ssl", "new-tunnel")


@dataclass(frozen=True, slots=True, kw_only=True)
class DtlsAnswer:
    """The DTLS half of a grant: one id, one suite, one port. Intervals are seconds, None for none."""

    session_id: bytes | None = None
    """32 bytes, for a resumption."""
    app_id: bytes | None = None
    """1 to 32 bytes, for PSK-NEGOTIATE."""
    port: int
    cipher_suite: str | None = None
    dtls12_cipher_suite: str | None = None
    mtu: int | None = None
    dpd: float | None = None
    keepalive: float | None = None
    rekey_time: float | None = None
    rekey_method: str = "none"
    content_encoding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectAnswer:
    """What a headend grants. Intervals are seconds, None for none; sizes are bytes."""

    ip4: IPv4Address | None = None
    netmask: IPv4Address | None = None
    ip6: tuple[IPv6Address, int] | None = None
    """Address and prefix length."""
    dns: tuple[IPAddress, ...] = ()
    nbns: tuple[IPv4Address, ...] = ()
    default_domain: str = ""
    split_dns: tuple[str, ...] = ()
    split_include: tuple[IPv4Network, ...] = ()
    """Nothing included means everything goes into the tunnel."""
    split_exclude: tuple[IPv4Network, ...] = ()
    """0.0.0.0/32 stands for the client's local network."""
    split_include_ip6: tuple[IPv6Network, ...] = ()
    split_exclude_ip6: tuple[IPv6Network, ...] = ()
    tunnel_all_dns: bool = False
    banner: str = ""
    mtu: int
    base_mtu: int | None = None
    dpd: float | None = None
    keepalive: float | None = None
    idle_timeout: float | None = None
    session_timeout: float | None = None
    session_timeout_remaining: float | None = None
    session_alert_interval: float | None = None
    disconnected_timeout: float | None = None
    lease_duration: float | None = LEASE_DURATION_S
    rekey_time: float | None = None
    rekey_method: str = "none"
    """"none", "ssl" or "new-tunnel"; of no effect without `rekey_time`."""
    client_bypass_protocol: bool = False
    smartcard_removal_disconnect: bool = True
    keep: bool = True
    tcp_keepalive: bool = False
    disable_always_on: bool = False
    routing_filtering_ignore: bool = False
    msie_proxy_lockdown: bool = True
    msie_proxy_method: str = ""
    msie_proxy_server: str = ""
    msie_proxy_bypass_local: bool | None = None
    msie_proxy_pac_url: str = ""
    content_encoding: str | None = None
    hostname: str = ""
    server_name: str = ""
    post_auth_xml: str = ""
    dtls: DtlsAnswer | None = None

    def policy_headers(self) -> RawHeaders:
        """The part that is the same for all sessions of a policy. HeaderError when a value fits no line."""
        writer = HeaderWriter()
        writer.text("X-CSTP-Version", "1")
        writer.text("X-CSTP-Server-Name", self.server_name)
        writer.text("X-CSTP-Protocol", "Copyright (c) 2004 Cisco Systems, Inc.")
        writer.seconds("X-CSTP-DPD", self.dpd)
        writer.text("X-CSTP-Default-Domain", self.default_domain)
        for server in self.dns:
            writer.text("X-CSTP-DNS" if server.version == 4 else "X-CSTP-DNS-IP6", server)
        writer.each("X-CSTP-NBNS", self.nbns)
        writer.each("X-CSTP-Split-DNS", self.split_dns)
        for network in self.split_include:
            writer.text("X-CSTP-Split-Include", network.with_netmask)
        writer.each("X-CSTP-Split-Include-IP6", self.split_include_ip6)
        writer.flag("X-CSTP-Tunnel-All-DNS", self.tunnel_all_dns)
        writer.flag("X-CSTP-Client-Bypass-Protocol", self.client_bypass_protocol)
        for network in self.split_exclude:
            writer.text("X-CSTP-Split-Exclude", network.with_netmask)
        writer.each("X-CSTP-Split-Exclude-IP6", self.split_exclude_ip6)
        writer.seconds("X-CSTP-Keepalive", self.keepalive)
        writer.seconds("X-CSTP-Idle-Timeout", self.idle_timeout, "none")
        writer.flag("X-CSTP-Smartcard-Removal-Disconnect", self.smartcard_removal_disconnect)
        _render_rekey(writer, "X-CSTP", self.rekey_time, self.rekey_method)
        writer.seconds("X-CSTP-Disconnected-Timeout", self.disconnected_timeout, "none")
        writer.flag("X-CSTP-Keep", self.keep)
        writer.flag("X-CSTP-TCP-Keepalive", self.tcp_keepalive)
        writer.text("X-CSTP-License", "accept")
        writer.flag("X-CSTP-Quarantine", False)
        writer.flag("X-CSTP-Disable-Always-On-VPN", self.disable_always_on)
        writer.flag("X-CSTP-Routing-Filtering-Ignore", self.routing_filtering_ignore)
        writer.flag("X-CSTP-MSIE-Proxy-Lockdown", self.msie_proxy_lockdown)
        writer.text("X-CSTP-MSIE-Proxy-Method", self.msie_proxy_method)
        writer.text("X-CSTP-MSIE-Proxy-Server", self.msie_proxy_server)
        if self.msie_proxy_bypass_local is not None:
            writer.flag("X-CSTP-MSIE-Proxy-Bypass-Local", self.msie_proxy_bypass_local)
        writer.text("X-CSTP-MSIE-Proxy-PAC-URL", self.msie_proxy_pac_url)
        writer.text("X-CSTP-Banner", encode_banner(self.banner))
        return writer.lines

    def session_headers(self) -> RawHeaders:
        """The part that differs between sessions: addresses, times left, sizes, encodings, DTLS."""
        writer = HeaderWriter()
        writer.text("X-CSTP-Hostname", self.hostname)
        writer.text("X-CSTP-Address", self.ip4)
        writer.text("X-CSTP-Netmask", self.netmask)
        writer.text("X-CSTP-Address-IP6", None if self.ip6 is None else f"{self.ip6[0]}/{self.ip6[1]}")
        writer.seconds("X-CSTP-Lease-Duration", self.lease_duration)
        writer.seconds("X-CSTP-Session-Timeout", self.session_timeout, "none")
        writer.seconds("X-CSTP-Session-Timeout-Alert-Interval", self.session_alert_interval)
        writer.seconds("X-CSTP-Session-Timeout-Remaining", self.session_timeout_remaining, "none")
        if self.dtls is not None:
            _render_dtls(writer, self.dtls)
        writer.text("X-CSTP-Base-MTU", self.base_mtu)
        writer.text("X-CSTP-MTU", self.mtu)
        writer.text("X-CSTP-Post-Auth-XML", self.post_auth_xml)
        if self.dtls is not None:
            writer.text("X-DTLS-Content-Encoding", self.dtls.content_encoding)
        writer.text("X-CSTP-Content-Encoding", self.content_encoding)
        return writer.lines


def _render_dtls(writer: HeaderWriter, dtls: DtlsAnswer) -> None:
    writer.seconds("X-DTLS-DPD", dtls.dpd)
    writer.text("X-DTLS-Port", dtls.port)
    _render_rekey(writer, "X-DTLS", dtls.rekey_time, dtls.rekey_method)
    writer.seconds("X-DTLS-Keepalive", dtls.keepalive)
    if dtls.session_id is not None:
        writer.text("X-DTLS-Session-ID", dtls.session_id.hex())
    if dtls.app_id is not None:
        writer.text("X-DTLS-App-ID", dtls.app_id.hex())
    writer.text("X-DTLS-CipherSuite", dtls.cipher_suite)
    writer.text("X-DTLS12-CipherSuite", dtls.dtls12_cipher_suite)
    writer.text("X-DTLS-MTU", dtls.mtu)


def _render_rekey(writer: HeaderWriter, prefix: str, time: float | None, method: str) -> None:
    if time is None or method == "none":
        return
    writer.seconds(f"{prefix}-Rekey-Time", time)
    writer.text(f"{prefix}-Rekey-Method", method)


def parse_connect_answer_untrusted(raw_headers: RawHeaders) -> ConnectAnswer:
    """What the headers of a 200 to CONNECT grant, read as openconnect reads them.

    HeaderError when there is neither an IPv4 nor an IPv6 address, no MTU, a compression nobody asked for by
    that name, or a malformed value. A DTLS half that lacks its port, id or suite is none: the tunnel works
    without.
    """
    reader = HeaderReader(raw_headers)
    ip4, netmask, ip6 = _addresses(reader)
    if ip4 is None and ip6 is None:
        raise HeaderError("the answer to CONNECT has no address")
    dtls_mtu = reader.number("X-DTLS-MTU", LEAST_GRANTED_MTU, MAX_MTU)
    mtu = reader.number("X-CSTP-MTU", LEAST_GRANTED_MTU, MAX_MTU) or dtls_mtu
    if mtu is None:
        raise HeaderError("the answer to CONNECT has no MTU")
    dns = (*reader.all("X-CSTP-DNS"), *reader.all("X-CSTP-DNS-IP6"))
    nbns = (ip_address("X-CSTP-NBNS", value) for value in reader.all("X-CSTP-NBNS"))
    return ConnectAnswer(
        ip4=ip4,
        netmask=netmask,
        ip6=ip6,
        dns=tuple(ip_address("X-CSTP-DNS", value) for value in dns),
        nbns=tuple(server for server in nbns if isinstance(server, IPv4Address)),
        default_domain=reader.text("X-CSTP-Default-Domain"),
        split_dns=tuple(reader.all("X-CSTP-Split-DNS")),
        split_include=reader.ip4_networks("X-CSTP-Split-Include"),
        split_exclude=reader.ip4_networks("X-CSTP-Split-Exclude"),
        split_include_ip6=reader.ip6_networks("X-CSTP-Split-Include-IP6"),
        split_exclude_ip6=reader.ip6_networks("X-CSTP-Split-Exclude-IP6"),
        tunnel_all_dns=reader.flag("X-CSTP-Tunnel-All-DNS", False),
        banner=decode_banner(reader.text("X-CSTP-Banner")),
        mtu=mtu,
        base_mtu=reader.number("X-CSTP-Base-MTU", LEAST_GRANTED_MTU, MAX_LINK_MTU),
        dpd=reader.seconds("X-CSTP-DPD"),
        keepalive=reader.seconds("X-CSTP-Keepalive"),
        idle_timeout=reader.seconds("X-CSTP-Idle-Timeout"),
        session_timeout=reader.seconds("X-CSTP-Session-Timeout"),
        session_timeout_remaining=reader.seconds("X-CSTP-Session-Timeout-Remaining"),
        session_alert_interval=reader.seconds("X-CSTP-Session-Timeout-Alert-Interval"),
        disconnected_timeout=reader.seconds("X-CSTP-Disconnected-Timeout"),
        lease_duration=reader.seconds("X-CSTP-Lease-Duration"),
        rekey_time=reader.seconds("X-CSTP-Rekey-Time"),
        rekey_method=_rekey_method(reader, "X-CSTP-Rekey-Method"),
        client_bypass_protocol=reader.flag("X-CSTP-Client-Bypass-Protocol", False),
        smartcard_removal_disconnect=reader.flag("X-CSTP-Smartcard-Removal-Disconnect", False),
        keep=reader.flag("X-CSTP-Keep", False),
        tcp_keepalive=reader.flag("X-CSTP-TCP-Keepalive", False),
        disable_always_on=reader.flag("X-CSTP-Disable-Always-On-VPN", False),
        routing_filtering_ignore=reader.flag("X-CSTP-Routing-Filtering-Ignore", False),
        msie_proxy_lockdown=reader.flag("X-CSTP-MSIE-Proxy-Lockdown", False),
        msie_proxy_method=reader.text("X-CSTP-MSIE-Proxy-Method"),
        msie_proxy_server=reader.text("X-CSTP-MSIE-Proxy-Server"),
        msie_proxy_bypass_local=_optional_flag(reader, "X-CSTP-MSIE-Proxy-Bypass-Local"),
        msie_proxy_pac_url=reader.text("X-CSTP-MSIE-Proxy-PAC-URL"),
        content_encoding=_encoding(reader, "X-CSTP-Content-Encoding", SUPPORTED),
        hostname=reader.text("X-CSTP-Hostname"),
        server_name=reader.text("X-CSTP-Server-Name"),
        post_auth_xml=reader.text("X-CSTP-Post-Auth-XML"),
        dtls=_dtls_answer(reader, dtls_mtu),
    )


def _addresses(
    reader: HeaderReader,
) -> tuple[IPv4Address | None, IPv4Address | None, tuple[IPv6Address, int] | None]:
    ip4 = netmask = ip6 = None
    for value in reader.all("X-CSTP-Address"):
        address = ip_address("X-CSTP-Address", value)
        if isinstance(address, IPv4Address):
            ip4 = address
        else:
            ip6 = (address, 128)
    # Older servers give IPv6 in the IPv4 headers, with address and length in the netmask.
    for value in reader.all("X-CSTP-Netmask"):
        if ":" in value:
            ip6 = ip6_with_length("X-CSTP-Netmask", value)
            continue
        mask = ip_address("X-CSTP-Netmask", value)
        netmask = mask if isinstance(mask, IPv4Address) else None
    for value in reader.all("X-CSTP-Address-IP6"):
        ip6 = ip6_with_length("X-CSTP-Address-IP6", value)
    return ip4, netmask, ip6


def _dtls_answer(reader: HeaderReader, mtu: int | None) -> DtlsAnswer | None:
    session_id = reader.hexadecimal("X-DTLS-Session-ID", 32, 32)
    app_id = reader.hexadecimal("X-DTLS-App-ID", 1, 32)
    port = reader.number("X-DTLS-Port", 0, 65535)
    cipher_suite = reader.text("X-DTLS-CipherSuite") or None
    dtls12_cipher_suite = reader.text("X-DTLS12-CipherSuite") or None
    content_encoding = _encoding(reader, "X-DTLS-Content-Encoding", STATELESS)
    if not port or not (session_id or app_id) or not (cipher_suite or dtls12_cipher_suite):
        return None
    return DtlsAnswer(
        session_id=session_id,
        app_id=app_id,
        port=port,
        cipher_suite=cipher_suite,
        dtls12_cipher_suite=dtls12_cipher_suite,
        mtu=mtu,
        dpd=reader.seconds("X-DTLS-DPD"),
        keepalive=reader.seconds("X-DTLS-Keepalive"),
        rekey_time=reader.seconds("X-DTLS-Rekey-Time"),
        rekey_method=_rekey_method(reader, "X-DTLS-Rekey-Method"),
        content_encoding=content_encoding,
    )


def _rekey_method(reader: HeaderReader, name: str) -> str:
    method = reader.text(name)
    return method if method in REKEY_METHODS else "none"


def _optional_flag(reader: HeaderReader, name: str) -> bool | None:
    return reader.flag(name, False) if reader.all(name) else None


def _encoding(reader: HeaderReader, name: str, known: Collection[str]) -> str | None:
    value = reader.text(name)
    if value and value not in known:
        raise HeaderError(f"{name}: {value[:64]!r} is no compression known here")
    return value or None
