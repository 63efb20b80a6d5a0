"""Just enough TCP for an inside host to be connected to: segments go in, segments come out, no clock.

In-order data is taken and acknowledged; data ahead of a gap is dropped, and the acknowledgement makes the
peer send again. Port 7 echoes, 9 discards, 80 greets in HTTP/1.0, every other port resets. There is no
congestion control and no retransmission timer: what was sent is kept until it is acknowledged, and sent
again when the peer shows that it waits (a third duplicate acknowledgement, a segment or keepalive from the
past). A loss at the tail is therefore repaired only when the peer speaks again.

The names are those of RFC 9293 §3.3.1. Sequence numbers live modulo 2**32; distances are taken with `&
_MASK`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import pack
from zlib import crc32

from asa_emu.dataplane.per_source import PerSource
from asa_emu.wire.segments import ACK, FIN, PSH, RST, SYN, TcpSegment

BUFFER = 32_768
"""Octets that a connection may hold unacknowledged or unsent, and our receive window when it holds none."""
MAX_REQUEST = 4_096
"""Octets of an HTTP request that are looked at; a longer one is answered without waiting for its end."""

_MASK = 0xFFFF_FFFF
_PAST = 0x8000_0000
"""Distances below it lie ahead, from it on they are negative."""
_DEFAULT_MSS, _LEAST_MSS = 536, 64

_Segment = tuple[int, int, bytes]
"""Sequence number, flags, data; acknowledgement and window are those of the moment it is written."""


@dataclass(slots=True)
class _Connection:
    serve: "Callable[[_Connection, bytes], None]"
    irs: int
    snd_una: int
    mss: int
    snd_wnd: int
    rcv_nxt: int
    established: bool = False
    outgoing: bytearray = field(default_factory=bytearray)
    """What the peer has not acknowledged; its first octet is number `snd_una`."""
    flying: int = 0
    """Sequence numbers from `snd_una` on that are sent, our FIN among them when it exceeds `outgoing`."""
    furthest: int = 0
    """How far `flying` ever got: after going back, acknowledgements may still reach so far."""
    duplicates: int = 0
    advertised: int = BUFFER
    request: bytearray = field(default_factory=bytearray)
    finishing: bool = False
    """Our FIN follows when `outgoing` is sent."""
    closed: bool = False
    """Our FIN is acknowledged."""
    peer_finished: bool = False

    def receive(self, seq: int, ack: int, window: int, data: bytes, fin: bool) -> list[_Segment]:
        acked = ack - self.snd_una & _MASK
        if self.furthest < acked < _PAST:
            return [self.acknowledgement()]
        if acked <= self.furthest:
            self._take_acknowledgement(acked, window, pure=not data and not fin)
        in_the_past, data, fin, wanted = self._cut_to_window(seq, data, fin)
        if data:
            self.rcv_nxt = self.rcv_nxt + len(data) & _MASK
            self.serve(self, data)
        if fin:
            self.rcv_nxt = self.rcv_nxt + 1 & _MASK
            self.peer_finished = self.finishing = True
        if in_the_past:
            self.flying = 0
        segments = self._push()
        if self.duplicates == 3 and self.flying:
            flags = ACK | (PSH if self.outgoing else FIN)
            segments.insert(0, (self.snd_una, flags, bytes(self.outgoing[: self.mss])))
            self.duplicates += 1
        opened = self.advertised < self.mss <= self.window
        if not segments and (wanted or opened):
            segments = [self.acknowledgement()]
        return segments

    def acknowledgement(self) -> _Segment:
        return self.snd_una + self.flying & _MASK, ACK, b""

    @property
    def window(self) -> int:
        return max(0, BUFFER - len(self.outgoing))

    def _take_acknowledgement(self, acked: int, window: int, pure: bool) -> None:
        if acked:
            self.closed = self.closed or acked > len(self.outgoing)
            del self.outgoing[:acked]
            self.snd_una = self.snd_una + acked & _MASK
            self.flying = max(0, self.flying - acked)
            self.furthest -= acked
            self.duplicates = 0
        elif pure and self.flying and window == self.snd_wnd:
            self.duplicates += 1
        self.snd_wnd = window

    def _cut_to_window(self, seq: int, data: bytes, fin: bool) -> tuple[bool, bytes, bool, bool]:
        """Whether all of it is old; the new data and FIN of it; whether it wants an acknowledgement."""
        behind = self.rcv_nxt - seq & _MASK
        length = len(data) + fin
        if behind and behind >= length:
            return behind < _PAST, b"", False, True
        if self.peer_finished:
            return False, b"", False, length > 0
        fresh = data[behind : behind + self.window]
        return False, fresh, fin and behind + len(fresh) == len(data), length > 0

    def _push(self) -> list[_Segment]:
        segments: list[_Segment] = []
        if self.closed:
            return segments
        limit = min(len(self.outgoing), self.snd_wnd)
        while self.flying < limit:
            chunk = bytes(self.outgoing[self.flying : min(self.flying + self.mss, limit)])
            segments.append((self.snd_una + self.flying & _MASK, ACK | PSH, chunk))
            self.flying += len(chunk)
        if self.finishing and self.flying == len(self.outgoing):
            segments.append((self.snd_una + self.flying & _MASK, ACK | FIN, b""))
            self.flying += 1
        self.furthest = max(self.furthest, self.flying)
        return segments


def _echo(connection: _Connection, data: bytes) -> None:
    connection.outgoing += data


def _discard(connection: _Connection, data: bytes) -> None:
    pass


def _greet(connection: _Connection, data: bytes) -> None:
    if connection.finishing:
        return
    connection.request += data[: MAX_REQUEST - len(connection.request)]
    if b"\r\n\r\n" in connection.request or len(connection.request) >= MAX_REQUEST:
        connection.request.clear()
        text = b"Hello from a host of the inside network.\n"
        connection.outgoing += b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(
            text
        )
        connection.outgoing += b"Connection: close\r\n\r\n" + text
        connection.finishing = True


_SERVICES: dict[int, Callable[[_Connection, bytes], None]] = {7: _echo, 9: _discard, 80: _greet}


class TcpResponder:
    """The TCP of all inside hosts; a source may have 64 connections open, all together 4,096."""

    __slots__ = ("_connections",)

    def __init__(self) -> None:
        self._connections: PerSource[_Connection] = PerSource(share=64, total=4096)

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def receive(self, segment: TcpSegment, mtu: int) -> list[TcpSegment]:
        """Answers a segment with segments that fit `mtu` bytes together with their IP header."""
        flags = segment.flags
        source = segment.source
        key = segment.destination + pack(">HH", segment.source_port, segment.destination_port)
        most = max(_LEAST_MSS, mtu - (40 if len(source) == 4 else 60))
        connection = self._connections.get(source, key)
        if flags & RST:
            if connection is not None and segment.sequence == connection.rcv_nxt:
                self._connections.discard(source, key)
            return []
        if connection is None:
            serve = _SERVICES.get(segment.destination_port)
            if serve is None or flags & (SYN | ACK) != SYN:
                return [_reset(segment)]
            connection = _Connection(
                serve,
                irs=segment.sequence,
                snd_una=crc32(source + key, segment.sequence) + 1 & _MASK,
                mss=min(most, max(_LEAST_MSS, _offered_mss_untrusted(segment.options))),
                snd_wnd=segment.window,
                rcv_nxt=segment.sequence + 1 & _MASK,
            )
            self._connections.put(source, key, connection)
        if flags & SYN and not connection.established and segment.sequence == connection.irs:
            offer = pack(">BBH", 2, 4, most)
            syn_ack = (connection.snd_una - 1 & _MASK, SYN | ACK, b"")
            return [_reply(segment, connection, syn_ack, offer)]
        if flags & SYN:
            # RFC 5961 §4: a peer that forgot this connection answers the challenge with a reset.
            return [_reply(segment, connection, connection.acknowledgement())]
        if not flags & ACK:
            return []
        if not connection.established:
            if segment.acknowledgement != connection.snd_una:
                return [_reset(segment)]
            connection.established = True
        answers = connection.receive(
            segment.sequence, segment.acknowledgement, segment.window, segment.payload, bool(flags & FIN)
        )
        if connection.closed and connection.peer_finished:
            self._connections.discard(source, key)
        if answers:
            connection.advertised = connection.window
        return [_reply(segment, connection, answer) for answer in answers]


def _reply(to: TcpSegment, connection: _Connection, answer: _Segment, options: bytes = b"") -> TcpSegment:
    sequence, flags, data = answer
    return _back(to, sequence, connection.rcv_nxt, flags, connection.window, options, data)


def _reset(to: TcpSegment) -> TcpSegment:
    """RFC 9293 §3.10.7.1: the reset that an unknown segment gets."""
    if to.flags & ACK:
        return _back(to, to.acknowledgement, 0, RST, 0)
    length = len(to.payload) + (to.flags & SYN != 0) + (to.flags & FIN != 0)
    return _back(to, 0, to.sequence + length & _MASK, RST | ACK, 0)


def _back(
    to: TcpSegment, sequence: int, ack: int, flags: int, window: int, options: bytes = b"", data: bytes = b""
) -> TcpSegment:
    ends = to.destination, to.source, to.destination_port, to.source_port
    return TcpSegment(*ends, sequence, ack, flags, window, options, data)


def _offered_mss_untrusted(options: bytes) -> int:
    """The peer's maximum segment size option, or the default of RFC 9293 §3.7.1."""
    at = 0
    while at + 1 < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        if options[at] == 2 and options[at + 1] == 4 and at + 4 <= len(options):
            return options[at + 2] << 8 | options[at + 3]
        if options[at + 1] < 2:
            break
        at += options[at + 1]
    return _DEFAULT_MSS
