"""The hub: a packet from a session goes to another session, to the inside network, to a TUN, or nowhere.

Plaintext comes in as it left TLS or DTLS, a drained buffer or batch at a time; each packet must carry its
session's own address as source (anything else is a spoof, or a Linux TUN soliciting routers by itself) and is
then handed, by destination, to the `deliver` of whoever has that address. One pass reports once: packets,
octets, drops. Dropped packets are not *use* of the session, everything else is.

`forward_frames` and `forward_packets` are the hot path: one unpack and one dictionary lookup a packet, and
an echo request to an inside host is turned into its reply where it lies. Whatever is not plain (options,
padding, IPv6, small packets, other protocols) goes through `forward_packet`, which checks everything and is
the only other place that decides. Hostile bytes are dropped and counted; nothing here raises because of a
packet.

As on an ASA, the TTL is not decremented: the headend is no hop in a traceroute. The IP header checksum is
left to the receiver, and an answered echo request keeps a wrong ICMP checksum wrong.
"""

from collections.abc import Callable, Sequence
from struct import Struct

from asa_emu.dataplane.inside import DISCARD_PORT, InsideNetwork
from asa_emu.wire.errors import PacketError
from asa_emu.wire.packet import Buffer, fragment_ipv4, icmp_fragmentation_needed, icmpv6_packet_too_big

# Eight bytes of CSTP header, then IPv4: version and header length, total length, flags and fragment offset,
# protocol, source, destination; then the first words of what follows: ICMP type and code or a source port,
# ICMP checksum or a destination port.
_FRAME_HEAD = Struct(">IHH")
_FRAME4 = Struct(">IHHBxHxxHxBxx4s4sHH")
_PACKET4 = Struct(">BxHxxHxBxx4s4sHH")
_PACKET6 = Struct(">4xHBx16s16sHH")
"""Payload length, next header, source, destination and the same two words."""
_ECHO4 = Struct(">4s4sHH")
_ECHO6 = Struct(">16s16sHH")

_MAGIC = 0x53544601
_SMALLEST_FAST = 28
"""An IPv4 header and the two words behind it; smaller packets take the careful way."""
_SMALLEST_FAST6 = 48
_KNOWN_DESTINATIONS = 4096
"""Inside and uplink addresses remembered in the routing table, so that a scan cannot fill memory."""


def _nowhere(packet: Buffer) -> None:
    pass


class Port:
    """One session as the hub sees it; the shell makes it, and points `deliver` at the newest tunnel.

    `source4` and `source6` are the session's addresses, 4 and 16 bytes or empty; `mtu` is the largest IP
    packet its tunnels carry. `deliver` sends one IP packet and must copy what it keeps: the bytes may lie in
    a scratch buffer. Two optional siblings spare a copy where the tunnel's own framing is already there:
    `deliver_frame(buffer, offset, length)` sends a plain CSTP DATA frame of `length` bytes, its 8-byte
    header included, that stands at `offset` (one TLS record; the header's last byte, zero, doubles as the
    type byte of a DTLS payload, so `buffer[offset + 7 : offset + length]` is one);
    `deliver_payload(payload)` sends a DTLS payload that begins with the type byte DATA. None of them may
    raise because of the peer.
    """

    __slots__ = ("deliver", "deliver_frame", "deliver_payload", "mtu", "source4", "source6")

    def __init__(
        self,
        source4: bytes = b"",
        source6: bytes = b"",
        mtu: int = 1406,
        deliver: Callable[[Buffer], None] = _nowhere,
        deliver_frame: Callable[[bytearray, int, int], None] | None = None,
        deliver_payload: Callable[[bytes | bytearray], None] | None = None,
    ) -> None:
        self.source4 = source4
        self.source6 = source6
        self.mtu = mtu
        self.deliver = deliver
        self.deliver_frame = deliver_frame
        self.deliver_payload = deliver_payload


class Hub:
    """Routes between ports, the inside network and an uplink (the writer of a TUN), by destination address.

    The inside network is asked before the uplink; with neither, only sessions reach each other.
    """

    __slots__ = ("_inside", "_inside_port", "_known", "_uplink_port", "routes")

    def __init__(
        self, inside: InsideNetwork | None = None, uplink: Callable[[Buffer], None] | None = None
    ) -> None:
        self.routes: dict[bytes, Port] = {}
        """Sessions' ports by address, and the markers of destinations met lately."""
        self._inside = inside
        self._inside_port = Port(mtu=0)
        self._uplink_port = Port(mtu=65_535, deliver=uplink) if uplink else None
        self._known: set[bytes] = set()

    def attach(self, port: Port) -> None:
        """From now on its addresses lead to this port; an older port with the same address is superseded."""
        for address in (port.source4, port.source6):
            if address:
                self._known.discard(address)
                self.routes[address] = port

    def detach(self, port: Port) -> None:
        """Its addresses lead nowhere again, unless a newer port has taken them over."""
        for address in (port.source4, port.source6):
            if self.routes.get(address) is port:
                del self.routes[address]

    def forward_frames(
        self, port: Port, buffer: bytearray, offset: int, end: int
    ) -> tuple[int, int, int, int]:
        """Consumes the complete plain DATA frames that stand in a row at `buffer[offset:end]`.

        Returns the offset behind them, the packets and octets accepted, and the packets dropped. It stops at
        an incomplete frame and at the first that is anything else (another type, a bad magic): telling these
        apart, and refusing lengths above `frames.MAX_PAYLOAD`, is the caller's. The buffer is written to.
        """
        unpack, pack, find = _FRAME4.unpack_from, _ECHO4.pack_into, self.routes.get
        inside, source4, mtu = self._inside_port, port.source4, port.mtu
        view = memoryview(buffer)
        packets = octets = drops = 0
        last = end - 8 - _SMALLEST_FAST
        while offset <= last:
            (magic, length, kind, version, total, fragment, protocol, source, destination, first, second) = (
                unpack(buffer, offset)
            )
            after = offset + 8 + length
            if kind or magic != _MAGIC or after > end:
                return offset, packets, octets, drops
            if source == source4 and total == length >= _SMALLEST_FAST and version == 0x45:
                target = find(destination)
                if target is inside:
                    if first == 0x0800 and protocol == 1 and not fragment & 0x3FFF and length <= mtu:
                        second += 0x0800
                        if second >= 0xFFFF:
                            second -= 0xFFFF
                        pack(buffer, offset + 20, destination, source, 0, second)
                        if port.deliver_frame is not None:
                            port.deliver_frame(buffer, offset, length + 8)
                        else:
                            port.deliver(view[offset + 8 : after])
                    elif second != DISCARD_PORT or protocol != 17 or fragment & 0x1FFF:
                        self._ask_inside(port, view[offset + 8 : after])
                    accepted = True
                elif target is not None and target is not port and length <= target.mtu:
                    if target.deliver_frame is not None:
                        target.deliver_frame(buffer, offset, length + 8)
                    else:
                        target.deliver(view[offset + 8 : after])
                    accepted = True
                else:
                    accepted = self.forward_packet(port, view[offset + 8 : after])
            elif version & 0xF0 == 0x60 and length >= _SMALLEST_FAST6:
                accepted = self._forward_frame6(port, buffer, offset, length)
            else:
                accepted = self.forward_packet(port, view[offset + 8 : after])
            if accepted:
                packets += 1
                octets += length
            else:
                drops += 1
            offset = after
        while offset + 8 <= end:
            magic, length, kind = _FRAME_HEAD.unpack_from(buffer, offset)
            after = offset + 8 + length
            if kind or magic != _MAGIC or after > end:
                break
            if self.forward_packet(port, view[offset + 8 : after]):
                packets += 1
                octets += length
            else:
                drops += 1
            offset = after
        return offset, packets, octets, drops

    def forward_packets(
        self, port: Port, payloads: Sequence[bytes | bytearray], start: int = 1
    ) -> tuple[int, int, int]:
        """Forwards a drained batch of DTLS payloads whose IP packets begin at byte `start`.

        With 1, the type byte DATA, which the caller has checked, is still there, and an echo or a packet to
        another DTLS tunnel needs no new one; with 0 they are bare packets. Returns packets and octets
        accepted and packets dropped. Mutable payloads are written to.
        """
        unpack, pack, find = _PACKET4.unpack_from, _ECHO4.pack_into, self.routes.get
        inside, source4, mtu = self._inside_port, port.source4, port.mtu
        packets = octets = drops = 0
        for payload in payloads:
            length = len(payload) - start
            accepted = False
            if length >= _SMALLEST_FAST:
                version, total, fragment, protocol, source, destination, first, second = unpack(
                    payload, start
                )
                if source == source4 and total == length and version == 0x45:
                    target = find(destination)
                    if target is inside:
                        if first == 0x0800 and protocol == 1 and not fragment & 0x3FFF and length <= mtu:
                            second += 0x0800
                            if second >= 0xFFFF:
                                second -= 0xFFFF
                            reply = payload if isinstance(payload, bytearray) else bytearray(payload)
                            pack(reply, start + 12, destination, source, 0, second)
                            if port.deliver_payload is not None and start:
                                port.deliver_payload(reply)
                            else:
                                port.deliver(memoryview(reply)[start:])
                        elif second != DISCARD_PORT or protocol != 17 or fragment & 0x1FFF:
                            self._ask_inside(port, payload[start:])
                        accepted = True
                    elif target is not None and target is not port and length <= target.mtu:
                        if target.deliver_payload is not None and start:
                            target.deliver_payload(payload)
                        else:
                            target.deliver(memoryview(payload)[start:])
                        accepted = True
                elif version & 0xF0 == 0x60 and length >= _SMALLEST_FAST6:
                    whole = payload if isinstance(payload, bytearray) else bytearray(payload)
                    target = self._route6(port, whole, start, length)
                    if target is not None:
                        if target.deliver_payload is not None and start:
                            target.deliver_payload(whole)
                        else:
                            target.deliver(memoryview(whole)[start:])
                        accepted = True
            if accepted or self.forward_packet(port, memoryview(payload)[start:]):
                packets += 1
                octets += length
            else:
                drops += 1
        return packets, octets, drops

    def forward_packet(self, port: Port, packet: Buffer) -> bool:
        """Forwards one IP packet of a session with every check; False when it was dropped.

        Bytes behind the length that the IP header gives are cut off. The packet is not written to.
        """
        addressed = _addresses_untrusted(packet)
        if addressed is None:
            return False
        total, source, destination = addressed
        if source != (port.source4 if len(source) == 4 else port.source6):
            return False
        target = self.routes.get(destination) or self._find(destination)
        if target is None or target is port:
            return False
        if total != len(packet):
            packet = packet[:total]
        if target is self._inside_port:
            self._ask_inside(port, packet)
        elif total <= target.mtu:
            target.deliver(packet)
        else:
            speaker = self._gateway(len(source)) or destination
            return self._too_big(target, bytes(packet), port.deliver, speaker)
        return True

    def from_inside(self, packet: Buffer) -> bool:
        """Delivers a packet that came from the uplink to the session that has its destination, if any."""
        addressed = _addresses_untrusted(packet)
        if addressed is None:
            return False
        total, _, destination = addressed
        target = self.routes.get(destination)
        if target is None or target is self._inside_port or target is self._uplink_port:
            return False
        if total != len(packet):
            packet = packet[:total]
        if total <= target.mtu:
            target.deliver(packet)
            return True
        back = self._uplink_port.deliver if self._uplink_port is not None else _nowhere
        # In the session's name: the kernel would refuse a packet from the gateway's address, its own.
        return self._too_big(target, bytes(packet), back, destination)

    def _forward_frame6(self, port: Port, buffer: bytearray, offset: int, length: int) -> bool:
        target = self._route6(port, buffer, offset + 8, length)
        if target is not None and target.deliver_frame is not None:
            target.deliver_frame(buffer, offset, length + 8)
        elif target is not None:
            target.deliver(memoryview(buffer)[offset + 8 : offset + 8 + length])
        else:
            return self.forward_packet(port, memoryview(buffer)[offset + 8 : offset + 8 + length])
        return True

    def _route6(self, port: Port, buffer: bytearray, at: int, length: int) -> Port | None:
        """The port that gets a plain IPv6 packet as it now lies at `at`; None when it is not so simple.

        An echo request to an inside host becomes its reply, and its port is the sender's. The packet has at
        least 48 bytes.
        """
        payload, protocol, source, destination, first, second = _PACKET6.unpack_from(buffer, at)
        if source != port.source6 or payload + 40 != length:
            return None
        target = self.routes.get(destination)
        if target is self._inside_port:
            if first != 0x8000 or protocol != 58 or length > port.mtu:
                return None
            second = second - 0x0100 if second >= 0x0100 else second + 0xFEFF
            _ECHO6.pack_into(buffer, at + 8, destination, source, 0x8100, second)
            return port
        return None if target is None or target is port or length > target.mtu else target

    def _find(self, destination: bytes) -> Port | None:
        """Whose a destination is that no port has; remembered, since the next packet will ask again."""
        if not _is_unicast(destination):
            return None
        if self._inside is not None and self._inside.owns(destination):
            target = self._inside_port
        elif self._uplink_port is not None:
            target = self._uplink_port
        else:
            return None
        if len(self._known) >= _KNOWN_DESTINATIONS:
            for address in self._known:
                del self.routes[address]
            self._known.clear()
        self._known.add(destination)
        self.routes[destination] = target
        return target

    def _ask_inside(self, port: Port, packet: Buffer) -> None:
        assert self._inside is not None  # only then does a route lead to its port
        for answer in self._inside.answer(bytes(packet), port.mtu):
            port.deliver(answer)

    def _gateway(self, size: int) -> bytes:
        if self._inside is None:
            return b""
        return self._inside.gateway4 if size == 4 else self._inside.gateway6

    def _too_big(self, target: Port, packet: bytes, back: Callable[[Buffer], None], speaker: bytes) -> bool:
        """Fragments an IPv4 packet that allows it; otherwise tells the sender the tunnel's MTU."""
        try:
            if packet[0] >> 4 == 4 and not packet[6] & 0x40:
                for piece in fragment_ipv4(packet, target.mtu):
                    target.deliver(piece)
            elif not _is_error_or_later_fragment(packet):
                make = icmp_fragmentation_needed if packet[0] >> 4 == 4 else icmpv6_packet_too_big
                back(make(packet, target.mtu, speaker))
        except PacketError:
            return False
        return True


def _addresses_untrusted(packet: Buffer) -> tuple[int, bytes, bytes] | None:
    """Total length, source and destination of an IP packet that is at least as long as it says."""
    length = len(packet)
    if length < 20:
        return None
    version = packet[0] >> 4
    if version == 4:
        total = packet[2] << 8 | packet[3]
        if (packet[0] & 15) * 4 < 20 or not (packet[0] & 15) * 4 <= total <= length:
            return None
        return total, bytes(packet[12:16]), bytes(packet[16:20])
    if version == 6 and length >= 40:
        total = 40 + (packet[4] << 8 | packet[5])
        if total > length:
            return None
        return total, bytes(packet[8:24]), bytes(packet[24:40])
    return None


def _is_unicast(address: bytes) -> bool:
    """Whether a router would forward to it: no multicast, broadcast, loopback, link-local or unspecified."""
    if len(address) == 4:
        return 0 < address[0] < 224 and address[0] != 127 and address[:2] != b"\xa9\xfe"
    return address[0] not in (0, 0xFF) and not (address[0] == 0xFE and address[1] & 0xC0 == 0x80)


def _is_error_or_later_fragment(packet: bytes) -> bool:
    """Packets that no ICMP error may answer (RFC 1122 §3.2.2, RFC 4443 §2.4)."""
    if packet[0] >> 4 == 4:
        if (packet[6] << 8 | packet[7]) & 0x1FFF:
            return True
        header = (packet[0] & 15) * 4
        return packet[9] == 1 and packet[header : header + 1] not in (b"\x00", b"\x08", b"\x0d", b"\x0e")
    return packet[6] == 58 and packet[40:41] < b"\x80"
