"""IP packets as bytes: what the hub, the inside network and a client's probes read and make.

Addresses are the 4 or 16 bytes of the header, never objects, and facts are named tuples: these run for single
packets, though not on the path of every packet. A reader takes bytes or a memoryview out of a tunnel and
raises PacketError and nothing else. A maker takes the family from the length of the addresses and trusts its
caller.

The order: checksums, the IP header, ping, and what a router does to a packet that is larger than the next
link: an IPv4 packet that permits it is cut, any other is dropped and its sender told the MTU. Nothing is
reassembled. UDP and TCP are in `segments`.
"""

from struct import Struct
from typing import NamedTuple

from asa_emu.wire.errors import PacketError

Buffer = bytes | bytearray | memoryview

ICMP = 1
TCP = 6
UDP = 17
ICMPV6 = 58

MIN_IPV6_MTU = 1280
"""What a link must carry for IPv6, in bytes (RFC 8200)."""
_ICMP_ERROR_LIMIT = 576
"""Longest ICMP error in bytes (RFC 1812 section 4.3.2.3)."""

_IP4 = Struct(">BBHHHBBH4s4s")
_IP6 = Struct(">IHBB16s16s")
_EXTENSION = Struct(">BB")
_FRAGMENT = Struct(">BxHI")
_ICMP = Struct(">BBHHH")
_PSEUDO4 = Struct(">4s4sxBH")
_PSEUDO6 = Struct(">16s16sI3xB")

_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS = 0x2000
_EXTENSIONS = frozenset({0, 43, 60})
"""Hop-by-hop options, routing, destination options: next header and length in units of 8 bytes."""
_FRAGMENT_HEADER = 44
_MAX_EXTENSIONS = 8


class IpHeader(NamedTuple):
    """The facts of an IP header. `length` is the packet's own, which may be shorter than the buffer."""

    version: int
    source: bytes
    destination: bytes
    protocol: int
    """The transport's number, behind IPv6 extension headers."""
    ttl: int
    payload_at: int
    """Where the transport header begins."""
    length: int
    dont_fragment: bool
    """True for all of IPv6."""
    more_fragments: bool
    fragment_offset: int
    """Bytes; 0 for a whole packet and the first fragment."""


class Echo(NamedTuple):
    """An ICMP or ICMPv6 echo request, or the reply to one."""

    is_reply: bool
    source: bytes
    destination: bytes
    identifier: int
    sequence: int
    payload: bytes


def checksum(data: Buffer) -> int:
    """The Internet checksum (RFC 1071); 0 over data that holds its own checksum."""
    # A sum of 16-bit digits with end-around carry is the number modulo 65535, which C computes in one go.
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))


def transport_checksum(source: bytes, destination: bytes, protocol: int, segment: Buffer) -> int:
    """The checksum of TCP, UDP and ICMPv6 over their pseudo-header (RFC 768, RFC 8200 section 8.1)."""
    if len(source) == 4:
        pseudo = _PSEUDO4.pack(source, destination, protocol, len(segment))
    else:
        pseudo = _PSEUDO6.pack(source, destination, len(segment), protocol)
    return checksum(pseudo + segment)


def parse_ip_untrusted(packet: Buffer) -> IpHeader:
    """The header of one IP packet. The buffer may be longer than the packet, never shorter."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return _parse_ip4(packet)
    if version == 6:
        return _parse_ip6(packet)
    raise PacketError(f"{len(packet)} bytes of IP version {version}")


def _parse_ip4(packet: Buffer) -> IpHeader:
    if len(packet) < 20:
        raise PacketError(f"an IPv4 header cut at {len(packet)} bytes")
    first, _, length, _, fragment, ttl, protocol, _, source, destination = _IP4.unpack_from(packet)
    payload_at = (first & 15) * 4
    if not 20 <= payload_at <= length <= len(packet):
        raise PacketError(f"an IPv4 header of {payload_at} bytes and {length} in all, in {len(packet)}")
    whole = bool(fragment & _DONT_FRAGMENT)
    more = bool(fragment & _MORE_FRAGMENTS)
    offset = (fragment & 0x1FFF) * 8
    return IpHeader(4, source, destination, protocol, ttl, payload_at, length, whole, more, offset)


def _parse_ip6(packet: Buffer) -> IpHeader:
    if len(packet) < 40:
        raise PacketError(f"an IPv6 header cut at {len(packet)} bytes")
    _, length, protocol, ttl, source, destination = _IP6.unpack_from(packet)
    length += 40
    if length > len(packet):
        raise PacketError(f"an IPv6 packet of {length} bytes in {len(packet)}")
    at = 40
    more = False
    offset = 0
    for _ in range(_MAX_EXTENSIONS):
        if protocol not in _EXTENSIONS and protocol != _FRAGMENT_HEADER:
            return IpHeader(6, source, destination, protocol, ttl, at, length, True, more, offset)
        if at + 8 > length:
            break
        if protocol == _FRAGMENT_HEADER:
            protocol, fragment, _ = _FRAGMENT.unpack_from(packet, at)
            more, offset = bool(fragment & 1), fragment & 0xFFF8
            at += 8
            if offset:
                return IpHeader(6, source, destination, protocol, ttl, at, length, True, more, offset)
        else:
            protocol, units = _EXTENSION.unpack_from(packet, at)
            at += 8 * (units + 1)
        if at > length:
            break
    raise PacketError("the extension headers of an IPv6 packet do not end in it")


def build_ip(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: Buffer,
    *,
    ttl: int = 64,
    identification: int = 0,
    dont_fragment: bool = False,
) -> bytes:
    """A packet of the family that the addresses have. ValueError above 65,535 bytes."""
    if len(source) == 16:
        if len(payload) > 0xFFFF:
            raise ValueError(f"an IPv6 payload of {len(payload)} bytes")
        return _IP6.pack(6 << 28, len(payload), protocol, ttl, source, destination) + payload
    length = 20 + len(payload)
    if length > 0xFFFF:
        raise ValueError(f"an IPv4 packet of {length} bytes")
    flags = _DONT_FRAGMENT if dont_fragment else 0
    return _ip4_header(length, identification, flags, ttl, protocol, source, destination) + payload


def _ip4_header(
    length: int,
    identification: int,
    fragment: int,
    ttl: int,
    protocol: int,
    source: bytes,
    destination: bytes,
    tos: int = 0,
    options: bytes = b"",
) -> bytes:
    first = 0x40 | (20 + len(options)) // 4
    fields = (first, tos, length, identification, fragment, ttl, protocol)
    value = checksum(_IP4.pack(*fields, 0, source, destination) + options)
    return _IP4.pack(*fields, value, source, destination) + options


def echo_request(
    source: bytes,
    destination: bytes,
    identifier: int,
    sequence: int,
    payload: bytes = b"",
    *,
    ttl: int = 64,
    dont_fragment: bool = False,
) -> bytes:
    """A ping of the family that the addresses have."""
    kind = 8 if len(source) == 4 else 128
    message = _icmp_message(source, destination, kind, 0, identifier, sequence, payload)
    protocol = ICMP if len(source) == 4 else ICMPV6
    return build_ip(source, destination, protocol, message, ttl=ttl, dont_fragment=dont_fragment)


def echo_reply(request: Echo, ttl: int = 64) -> bytes:
    """The answer to a ping."""
    four = len(request.source) == 4
    source, destination = request.destination, request.source
    kind = 0 if four else 129
    message = _icmp_message(
        source, destination, kind, 0, request.identifier, request.sequence, request.payload
    )
    return build_ip(source, destination, ICMP if four else ICMPV6, message, ttl=ttl)


def _icmp_message(
    source: bytes, destination: bytes, kind: int, code: int, high: int, low: int, payload: bytes
) -> bytes:
    """An ICMP message; `high` and `low` are the two halves of its second word."""
    message = _ICMP.pack(kind, code, 0, high, low) + payload
    if len(source) == 4:
        value = checksum(message)
    else:
        value = transport_checksum(source, destination, ICMPV6, message)
    return _ICMP.pack(kind, code, value, high, low) + payload


def parse_echo_untrusted(packet: Buffer) -> Echo | None:
    """The ping or answer that a packet is; None for any other packet, PacketError for a broken one."""
    header = parse_ip_untrusted(packet)
    if header.protocol not in (ICMP, ICMPV6) or (header.version == 4) != (header.protocol == ICMP):
        return None
    segment = whole_segment(packet, header, _ICMP.size)
    kind, _, _, identifier, sequence = _ICMP.unpack_from(segment)
    if kind not in ((0, 8) if header.version == 4 else (128, 129)):
        return None
    if header.version == 4:
        sound = checksum(segment) == 0
    else:
        sound = transport_checksum(header.source, header.destination, ICMPV6, segment) == 0
    if not sound:
        raise PacketError("wrong checksum in an ICMP message")
    payload = segment[_ICMP.size :]
    return Echo(kind in (0, 129), header.source, header.destination, identifier, sequence, payload)


def whole_segment(packet: Buffer, header: IpHeader, least: int) -> bytes:
    """The transport header, of `least` bytes or more, and what follows it. PacketError for a fragment."""
    if header.more_fragments or header.fragment_offset:
        raise PacketError("a fragment")
    segment = bytes(packet[header.payload_at : header.length])
    if len(segment) < least:
        raise PacketError(f"a transport header cut at {len(segment)} bytes")
    return segment


def fragment_ipv4(packet: Buffer, mtu: int) -> list[bytes]:
    """The packet cut into packets of at most `mtu` bytes (68 or more), or itself when it fits.

    PacketError when it forbids that. Later fragments carry the options that RFC 791 has copied.
    """
    header = parse_ip_untrusted(packet)
    if header.length <= mtu:
        return [bytes(packet[: header.length])]
    if header.version != 4 or header.dont_fragment:
        raise PacketError(f"a packet of {header.length} bytes must not be fragmented")
    if header.fragment_offset + header.length - header.payload_at > 0xFFFF:
        raise PacketError("a fragment that reaches beyond the largest packet")
    if mtu < 68:
        raise ValueError(f"an MTU of {mtu}")
    _, tos, _, identification, *_ = _IP4.unpack_from(packet)
    options = bytes(packet[20 : header.payload_at])
    fragments: list[bytes] = []
    at = header.payload_at
    while at < header.length:
        room = (mtu - 20 - len(options)) & ~7
        end = min(at + room, header.length)
        word = (header.fragment_offset + at - header.payload_at) // 8
        if end < header.length or header.more_fragments:
            word |= _MORE_FRAGMENTS
        length = 20 + len(options) + end - at
        addresses = (header.source, header.destination)
        head = _ip4_header(
            length, identification, word, header.ttl, header.protocol, *addresses, tos, options
        )
        fragments.append(head + packet[at:end])
        if at == header.payload_at:
            options = _copied_options(options)
        at = end
    return fragments


def _copied_options(options: bytes) -> bytes:
    copied = b""
    at = 0
    while at < len(options) and options[at] != 0:
        length = 1 if options[at] == 1 or at + 1 == len(options) else max(2, options[at + 1])
        if options[at] & 0x80:
            copied += options[at : at + length]
        at += length
    return copied + bytes(-len(copied) % 4)


def icmp_fragmentation_needed(packet: Buffer, mtu: int, source: bytes) -> bytes:
    """What tells the sender of an IPv4 packet the MTU of the next hop (RFC 1191), sent from `source`."""
    header = _header_of(4, packet)
    quoted = bytes(packet[: min(header.length, _ICMP_ERROR_LIMIT - 20 - _ICMP.size)])
    message = _icmp_message(source, header.source, 3, 4, 0, mtu, quoted)
    return build_ip(source, header.source, ICMP, message)


def icmpv6_packet_too_big(packet: Buffer, mtu: int, source: bytes) -> bytes:
    """The same for an IPv6 packet (RFC 4443 section 3.2)."""
    header = _header_of(6, packet)
    quoted = bytes(packet[: min(header.length, MIN_IPV6_MTU - 40 - _ICMP.size)])
    message = _icmp_message(source, header.source, 2, 0, mtu >> 16, mtu & 0xFFFF, quoted)
    return build_ip(source, header.source, ICMPV6, message)


def _header_of(version: int, packet: Buffer) -> IpHeader:
    header = parse_ip_untrusted(packet)
    if header.version != version:
        raise PacketError(f"IP version {header.version} instead of {version}")
    return header
