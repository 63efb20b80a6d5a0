"""The network behind the headend, in user space: every address of it is a host that answers.

`answer` takes one IP packet that a session sent to such a host and returns the packets that come back, cut
to the session's MTU. Hosts answer ICMP and ICMPv6 echo, UDP echo (port 7; 9 discards, other ports are
unreachable) and TCP (`tcp_responder.py`). Fragments are put together first. There is no clock and no task: a
host speaks only when spoken to. What a real host would ignore (wrong checksums, strange protocols) is
ignored and counted.

The gateway is the host whose address the headend itself has inside; it differs from the others only in that
it also exists when the networks are given and do not contain it.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from struct import Struct

from asa_emu.dataplane.reassembly import Reassembler
from asa_emu.dataplane.tcp_responder import TcpResponder
from asa_emu.wire.errors import PacketError
from asa_emu.wire.packet import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    IpHeader,
    build_ip,
    checksum,
    echo_reply,
    fragment_ipv4,
    parse_echo_untrusted,
    parse_ip_untrusted,
    transport_checksum,
)
from asa_emu.wire.segments import build_tcp, build_udp, parse_tcp_untrusted, parse_udp_untrusted

ECHO_PORT = 7
DISCARD_PORT = 9

_ICMP_UNUSED = Struct(">BBHI")
_FRAGMENT6 = Struct(">BxHI")
_FRAGMENT_HEADER = 44
_QUOTED4 = 548
"""Octets of the offending packet in an ICMP error: what fits 576 (RFC 1812 §4.3.2.3)."""
_QUOTED6 = 1232
"""The same for ICMPv6, within 1280 (RFC 4443 §2.4)."""


class InsideNetwork:
    """The gateway and the hosts of the inside networks.

    Without `networks` the inside is everything that is not a pool address; `pools` are first and last
    addresses, which, assigned or not, never belong to an inside host (the gateway excepted). With `networks`
    only those answer: the corporate networks of a split tunnel, say.
    """

    def __init__(
        self,
        gateway4: IPv4Address | None = None,
        gateway6: IPv6Address | None = None,
        *,
        networks: Sequence[IPv4Network | IPv6Network] = (),
        pools: Sequence[tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]] = (),
    ) -> None:
        self.gateway4 = gateway4.packed if gateway4 else b""
        self.gateway6 = gateway6.packed if gateway6 else b""
        self.ignored = 0
        """Packets to inside hosts that these made nothing of: damaged, or of a kind unknown to them."""
        self._networks = [
            (network.network_address.packed, network.broadcast_address.packed) for network in networks
        ]
        self._pools = [(first.packed, last.packed) for first, last in pools]
        self._fragments = Reassembler()
        self._tcp = TcpResponder()
        self._identification = 0

    def owns(self, address: bytes) -> bool:
        """Whether a unicast address, 4 or 16 bytes, is one of the inside."""
        if address in (self.gateway4, self.gateway6):
            return True
        if _within(address, self._pools):
            return False
        return not self._networks or _within(address, self._networks)

    def answer(self, packet: bytes, mtu: int) -> list[bytes]:
        """The packets that come back, often none; none is above `mtu` bytes (at least 1280 for IPv6)."""
        try:
            header = parse_ip_untrusted(packet)
            if header.version == 4 and checksum(packet[: header.payload_at]):
                raise PacketError("wrong checksum in an IPv4 header")
            if header.more_fragments or header.fragment_offset:
                whole = self._assemble(packet, header)
                if whole is None:
                    return []
                packet, header = whole, parse_ip_untrusted(whole)
            replies = self._respond(packet, header, mtu)
        except PacketError:
            self.ignored += 1
            return []
        return [piece for reply in replies for piece in self._cut(reply, mtu)]

    def _respond(self, packet: bytes, header: IpHeader, mtu: int) -> list[bytes]:
        if header.protocol == TCP:
            segments = self._tcp.receive(parse_tcp_untrusted(packet), mtu)
            return [build_tcp(segment) for segment in segments]
        if header.protocol == UDP:
            return self._respond_udp(packet, header)
        echo = parse_echo_untrusted(packet)
        if echo is None or echo.is_reply:
            raise PacketError("nothing that an inside host answers")
        return [echo_reply(echo)]

    def _respond_udp(self, packet: bytes, header: IpHeader) -> list[bytes]:
        datagram = parse_udp_untrusted(packet)
        source, destination, source_port, port, payload = datagram
        if port == ECHO_PORT:
            return [build_udp(destination, source, port, source_port, payload)]
        if port == DISCARD_PORT:
            return []
        if header.version == 4:
            quoted = packet[: min(header.length, _QUOTED4)]
            message = _ICMP_UNUSED.pack(3, 3, 0, 0) + quoted
            message = _ICMP_UNUSED.pack(3, 3, checksum(message), 0) + quoted
            return [build_ip(destination, source, ICMP, message)]
        quoted = packet[: min(header.length, _QUOTED6)]
        message = _ICMP_UNUSED.pack(1, 4, 0, 0) + quoted
        value = transport_checksum(destination, source, ICMPV6, message)
        return [build_ip(destination, source, ICMPV6, _ICMP_UNUSED.pack(1, 4, value, 0) + quoted)]

    def _assemble(self, packet: bytes, header: IpHeader) -> bytes | None:
        """The whole packet when this fragment completed it."""
        # The last four bytes before the payload are the identification when the fragment header comes last;
        # where extension headers follow it the pieces do not meet, and the packet is never answered.
        name = packet[4:6] if header.version == 4 else packet[header.payload_at - 4 : header.payload_at]
        key = header.destination + bytes((header.protocol,)) + name
        piece = packet[header.payload_at : header.length]
        body = self._fragments.add(header.source, key, header.fragment_offset, header.more_fragments, piece)
        if body is None:
            return None
        return build_ip(header.source, header.destination, header.protocol, body)

    def _cut(self, packet: bytes, mtu: int) -> list[bytes]:
        if len(packet) <= mtu:
            return [packet]
        self._identification = self._identification + 1 & 0xFFFF
        header = parse_ip_untrusted(packet)
        ends = header.source, header.destination
        body = packet[header.payload_at :]
        if header.version == 4:
            named = build_ip(*ends, header.protocol, body, identification=self._identification)
            return fragment_ipv4(named, mtu)
        size = mtu - header.payload_at - _FRAGMENT6.size & ~7
        pieces = []
        for at in range(0, len(body), size):
            offset_more = at | (at + size < len(body))
            head = _FRAGMENT6.pack(header.protocol, offset_more, self._identification)
            pieces.append(build_ip(*ends, _FRAGMENT_HEADER, head + body[at : at + size]))
        return pieces


def _within(address: bytes, ranges: list[tuple[bytes, bytes]]) -> bool:
    """Whether one of the ranges of its family holds it; packed addresses of one length sort like numbers."""
    return any(len(first) == len(address) and first <= address <= last for first, last in ranges)
