"""UDP datagrams and TCP segments inside IP packets.

What a client's probe sends through a tunnel and what the inside network answers. Made whole, with the packet
round it; read whole, with the checksum verified, since a packet out of a tunnel has passed no network card
that would have done it. The readers raise PacketError and nothing else.
"""

from struct import Struct
from typing import NamedTuple

from asa_emu.wire.errors import PacketError
from asa_emu.wire.packet import (
    TCP,
    UDP,
    Buffer,
    build_ip,
    parse_ip_untrusted,
    transport_checksum,
    whole_segment,
)

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_UDP = Struct(">HHHH")
_TCP = Struct(">HHIIBBHHH")


class UdpDatagram(NamedTuple):
    """A UDP datagram with the addresses it went between."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    payload: bytes


class TcpSegment(NamedTuple):
    """A TCP segment with the addresses it went between; `flags` are the low eight bits."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    window: int
    options: bytes
    payload: bytes


def build_udp(
    source: bytes,
    destination: bytes,
    source_port: int,
    destination_port: int,
    payload: bytes,
    *,
    ttl: int = 64,
    dont_fragment: bool = False,
) -> bytes:
    """A UDP datagram in a packet of the family that the addresses have."""
    length = _UDP.size + len(payload)
    segment = _UDP.pack(source_port, destination_port, length, 0) + payload
    # 0 would say that there is no checksum; 65535 is the same number in this arithmetic.
    value = transport_checksum(source, destination, UDP, segment) or 0xFFFF
    segment = _UDP.pack(source_port, destination_port, length, value) + payload
    return build_ip(source, destination, UDP, segment, ttl=ttl, dont_fragment=dont_fragment)


def parse_udp_untrusted(packet: Buffer) -> UdpDatagram:
    """The UDP datagram in a packet. PacketError when it is none, a fragment, or wrong."""
    header = parse_ip_untrusted(packet)
    if header.protocol != UDP:
        raise PacketError(f"protocol {header.protocol} instead of UDP")
    segment = whole_segment(packet, header, _UDP.size)
    source_port, destination_port, length, value = _UDP.unpack_from(segment)
    if not _UDP.size <= length <= len(segment):
        raise PacketError(f"a UDP datagram of {length} bytes in {len(segment)}")
    segment = segment[:length]
    if value == 0 and header.version == 6:
        raise PacketError("a UDP datagram over IPv6 without a checksum")
    if value != 0 and transport_checksum(header.source, header.destination, UDP, segment):
        raise PacketError("wrong checksum in a UDP datagram")
    return UdpDatagram(header.source, header.destination, source_port, destination_port, segment[_UDP.size :])


def build_tcp(segment: TcpSegment, *, ttl: int = 64, dont_fragment: bool = True) -> bytes:
    """A TCP segment in a packet. Options must be a multiple of 4 bytes, at most 40, else ValueError."""
    if len(segment.options) % 4 or len(segment.options) > 40:
        raise ValueError(f"{len(segment.options)} bytes of TCP options")
    offset = (_TCP.size + len(segment.options)) << 2
    fields = (
        segment.source_port,
        segment.destination_port,
        segment.sequence & 0xFFFFFFFF,
        segment.acknowledgement & 0xFFFFFFFF,
        offset,
        segment.flags,
        segment.window,
    )
    rest = segment.options + segment.payload
    value = transport_checksum(segment.source, segment.destination, TCP, _TCP.pack(*fields, 0, 0) + rest)
    data = _TCP.pack(*fields, value, 0) + rest
    return build_ip(segment.source, segment.destination, TCP, data, ttl=ttl, dont_fragment=dont_fragment)


def parse_tcp_untrusted(packet: Buffer) -> TcpSegment:
    """The TCP segment in a packet. PacketError when it is none, a fragment, or wrong."""
    header = parse_ip_untrusted(packet)
    if header.protocol != TCP:
        raise PacketError(f"protocol {header.protocol} instead of TCP")
    segment = whole_segment(packet, header, _TCP.size)
    source_port, destination_port, sequence, ack, offset, flags, window, _, _ = _TCP.unpack_from(segment)
    payload_at = (offset >> 4) * 4
    if not _TCP.size <= payload_at <= len(segment):
        raise PacketError(f"a TCP header of {payload_at} bytes in {len(segment)}")
    if transport_checksum(header.source, header.destination, TCP, segment):
        raise PacketError("wrong checksum in a TCP segment")
    return TcpSegment(
        header.source,
        header.destination,
        source_port,
        destination_port,
        sequence,
        ack,
        flags,
        window,
        segment[_TCP.size : payload_at],
        segment[payload_at:],
    )
