"""What a client asks for with CONNECT (docs/protocol.md §2.1).

A client emulator fills a `ConnectRequest` in and renders it; the headend parses one out of the headers it
got. The names are written in openconnect's case and order, because ocserv compares them with their case and
lets a later DTLS header override an earlier one. They are read in any case. Lists have no blank after the
comma: ocserv would take it for a part of the name.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from asa_emu.wire.errors import HeaderError
from asa_emu.wire.header_lines import MAX_LINK_MTU, HeaderReader, HeaderWriter, RawHeaders, ip_address

_IDENTIFIER = "X-AnyConnect-Identifier-"
_IDENTIFIERS = ("ClientVersion", "Platform", "PlatformVersion", "DeviceType", "Device-UniqueID")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRequest:
    """What a client asks for. Sizes are bytes; an empty text or tuple means the header is absent."""

    token: str | None = field(default=None, repr=False)
    """The session token, dressed as the cookie `webvpn`."""
    host: str = ""
    user_agent: str = ""
    hostname: str = ""
    """The client machine's own name."""
    accept_encoding: tuple[str, ...] = ()
    dtls_accept_encoding: tuple[str, ...] = ()
    base_mtu: int | None = None
    """Path MTU under the tunnel, as far as the client knows it."""
    mtu: int | None = None
    """MTU that the client wants inside."""
    address_types: tuple[str, ...] = ("IPv6", "IPv4")
    """Families asked for; none named means both."""
    previous_ip4: IPv4Address | None = None
    previous_ip6: IPv6Address | None = None
    full_ipv6: bool = False
    master_secret: bytes | None = field(default=None, repr=False)
    """48 bytes that become the master secret of a resumed DTLS session."""
    dtls_ciphers: tuple[str, ...] = ()
    dtls12_ciphers: tuple[str, ...] = ()
    identifiers: dict[str, str] = field(default_factory=dict)
    """X-AnyConnect-Identifier-* without the prefix; only mobile clients send them."""
    license_mobile: bool = False

    @property
    def want_ipv4(self) -> bool:
        """Whether an IPv4 address is asked for."""
        return self._wants("ipv4")

    @property
    def want_ipv6(self) -> bool:
        """Whether an IPv6 address is asked for."""
        return self._wants("ipv6")

    def _wants(self, family: str) -> bool:
        return not self.address_types or any(name.lower() == family for name in self.address_types)

    def render(self) -> RawHeaders:
        """The headers in openconnect's order and case (§2.1). HeaderError for what fits no line."""
        writer = HeaderWriter()
        writer.text("Host", self.host)
        writer.text("User-Agent", self.user_agent)
        writer.text("Cookie", None if self.token is None else f"webvpn={self.token}")
        writer.text("X-CSTP-Version", "1")
        writer.text("X-CSTP-Hostname", self.hostname)
        for name in (*_IDENTIFIERS, *(name for name in self.identifiers if name not in _IDENTIFIERS)):
            writer.text(_IDENTIFIER + name, self.identifiers.get(name))
        if self.license_mobile:
            writer.text("X-CSTP-License", "mobile")
        writer.text("X-CSTP-Accept-Encoding", ",".join(self.accept_encoding))
        writer.text("X-CSTP-Base-MTU", self.base_mtu)
        writer.text("X-CSTP-MTU", self.mtu)
        writer.text("X-CSTP-Address-Type", ",".join(self.address_types))
        writer.text("X-CSTP-Address", self.previous_ip4)
        if self.full_ipv6:
            writer.text("X-CSTP-Full-IPv6-Capability", "true")
        writer.text("X-CSTP-Address", self.previous_ip6)
        if self.master_secret is not None:
            if len(self.master_secret) != 48:
                raise HeaderError(f"a DTLS master secret of {len(self.master_secret)} bytes")
            writer.text("X-DTLS-Master-Secret", self.master_secret.hex().upper())
        writer.text("X-DTLS-CipherSuite", ":".join(self.dtls_ciphers))
        writer.text("X-DTLS12-CipherSuite", ":".join(self.dtls12_ciphers))
        writer.text("X-DTLS-Accept-Encoding", ",".join(self.dtls_accept_encoding))
        return writer.lines


def parse_connect_request_untrusted(raw_headers: RawHeaders) -> ConnectRequest:
    """What the headers of a CONNECT ask for. HeaderError when one of those known here is malformed."""
    reader = HeaderReader(raw_headers)
    previous_ip4 = previous_ip6 = None
    for value in reader.all("X-CSTP-Address"):
        address = ip_address("X-CSTP-Address", value)
        if isinstance(address, IPv4Address):
            previous_ip4 = address
        else:
            previous_ip6 = address
    return ConnectRequest(
        token=_token(reader),
        host=reader.text("Host"),
        user_agent=reader.text("User-Agent"),
        hostname=reader.text("X-CSTP-Hostname"),
        accept_encoding=reader.listed("X-CSTP-Accept-Encoding", ","),
        dtls_accept_encoding=reader.listed("X-DTLS-Accept-Encoding", ","),
        base_mtu=reader.number("X-CSTP-Base-MTU", 0, MAX_LINK_MTU) or None,
        mtu=reader.number("X-CSTP-MTU", 0, MAX_LINK_MTU) or None,
        address_types=reader.listed("X-CSTP-Address-Type", ","),
        previous_ip4=previous_ip4,
        previous_ip6=previous_ip6,
        full_ipv6=reader.flag("X-CSTP-Full-IPv6-Capability", False),
        master_secret=reader.hexadecimal("X-DTLS-Master-Secret", 48, 48),
        dtls_ciphers=reader.listed("X-DTLS-CipherSuite", ":"),
        dtls12_ciphers=reader.listed("X-DTLS12-CipherSuite", ":"),
        identifiers={name: value for name in _IDENTIFIERS if (value := reader.text(_IDENTIFIER + name))},
        license_mobile=reader.text("X-CSTP-License").lower() == "mobile",
    )


def _token(reader: HeaderReader) -> str | None:
    """The webvpn cookie as it came: what no headend hands out is an unknown token, no bad request."""
    for line in reader.all("Cookie"):
        for cookie in line.split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == "webvpn" and value:
                return value
    return None
