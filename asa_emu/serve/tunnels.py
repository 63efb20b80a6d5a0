"""A session's tunnels as this process carries them: packets between TLS or DTLS and the hub.

    TLS plaintext -> CstpTunnel.receive -> hub.forward_frames (DATA, in place) -> somebody's deliver
                                        -> _control (DPD, keepalive, DISCONNECT, compressed data)
    hub -> deliver of the newest tunnel: DTLS while it is up, else TLS -> one record each -> flush, once a
    batch

`SessionLink` holds the session's port at the hub and points its `deliver` at the newest tunnel. The session
database is told once per pass: counters, time of last use, time of last reception. A tunnel ends in one of
two ways: a loss is silent, an end is told with DISCONNECT, and then up to two seconds are left for the
client's own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from asa_emu.dataplane.hub import Port
from asa_emu.session.events import TunnelDown
from asa_emu.session.model import DownReason, Session, Tunnel
from asa_emu.syslog.facts import FrameRefused, whose
from asa_emu.wire.compression import Codec
from asa_emu.wire.errors import CompressionError
from asa_emu.wire.frames import (
    HEADER,
    MAGIC,
    MAX_PAYLOAD,
    MAX_SENT_PAYLOAD,
    PacketType,
    disconnect_payload,
    encode_frame,
    parse_disconnect_untrusted,
)
from asa_emu.wire.packet import Buffer

if TYPE_CHECKING:
    from asa_emu.serve.connection import Connection
    from asa_emu.serve.gateway import Gateway

PARTING_LIMIT = 2.0  # seconds of run time for the client's own DISCONNECT
MAX_QUEUED = 256  # packets held back for a client that does not read; the oldest goes first
DTLS_SILENCE = 2.0  # emulated seconds; data over TLS after so long a silence means that UDP is broken

_KINDS = frozenset(PacketType)
_DATA_KINDS = (PacketType.DATA, PacketType.COMPRESSED)
_DPD_REQUEST = encode_frame(PacketType.DPD_REQUEST)
_DPD_RESPONSE = encode_frame(PacketType.DPD_RESPONSE)
_KEEPALIVE = encode_frame(PacketType.KEEPALIVE)


class DataTunnel(Protocol):
    """What `SessionLink` needs of either tunnel."""

    tunnel: Tunnel | None

    def attach_to(self, port: Port) -> None:
        """Become the way to the client."""


class SessionLink:
    """The port of one session and the tunnels that serve it here."""

    __slots__ = ("cstp", "dtls", "dtls_id", "dtls_mute", "gateway", "port", "session")

    def __init__(self, gateway: Gateway, session: Session, mtu: int) -> None:
        self.gateway = gateway
        self.session = session
        self.cstp: CstpTunnel | None = None
        self.dtls: DataTunnel | None = None
        self.dtls_id: bytes | None = None
        """The id under which a DTLS handshake for this session is expected."""
        self.dtls_mute = False
        """DTLS is up, but the client has gone back to TLS and nothing was heard over DTLS since."""
        self.port = Port(mtu=mtu, deliver=self._undeliverable)

    def point_to_newest(self) -> None:
        """Data follows the newest working tunnel: DTLS when it is up, TLS otherwise (S5b, S5c)."""
        port = self.port
        self.dtls_mute = False
        newest = self.dtls or self.cstp
        if newest is None:
            port.deliver, port.deliver_frame, port.deliver_payload = self._undeliverable, None, None
        else:
            newest.attach_to(port)

    def data_over_tls(self, now: float) -> None:
        """The client sends data over TLS although DTLS is up: when that is silent, it works no more.

        A client finds UDP broken long before our own dead-peer detection does, if there is any; and packets
        that were under way over TLS when DTLS came up do not count.
        """
        dtls = self.dtls.tunnel if self.dtls is not None else None
        if self.cstp is None or dtls is None or dtls.liveness is None:
            return
        if now - dtls.liveness.last_received_at > DTLS_SILENCE:
            self.dtls_mute = True
            self.cstp.attach_to(self.port)

    def detach(self) -> None:
        """The session is over: its addresses lead nowhere."""
        self.gateway.hub.detach(self.port)
        self.gateway.forget_dtls_id(self)

    def _undeliverable(self, packet: Buffer) -> None:
        # the session is inactive; its client will ask again
        self.session.parent.drops_tx += 1


class CstpTunnel:
    """The SSL tunnel of a session on its connection; the connection's speaker after CONNECT."""

    __slots__ = (
        "_codec_in",
        "_codec_out",
        "_dirty",
        "_queue",
        "_sent",
        "connection",
        "link",
        "parting",
        "tunnel",
    )

    def __init__(self, link: SessionLink, connection: Connection, codecs: tuple[Codec, Codec] | None) -> None:
        self.link = link
        self.connection = connection
        self.tunnel: Tunnel
        self.parting: DownReason | None = None
        """Set once we have said DISCONNECT; only the client's own is still listened for."""
        self._codec_in: Codec | None = codecs[0] if codecs else None
        self._codec_out: Codec | None = codecs[1] if codecs else None
        self._queue: deque[bytes] | None = None
        self._dirty = False
        self._sent = False

    def __repr__(self) -> str:
        return f"<CstpTunnel {self.tunnel.id} over {self.connection!r}>"

    def attach_to(self, port: Port) -> None:
        """Become the way to the client."""
        port.deliver = self.deliver
        port.deliver_frame = self.deliver_frame if self._codec_out is None else None
        port.deliver_payload = None

    def receive(self, buffer: bytearray, end: int) -> int:
        """Take the plaintext of one pass; returns where an incomplete frame begins."""
        link = self.link
        gateway = link.gateway
        tunnel = self.tunnel
        now = gateway.now()
        if self.parting is None and tunnel.liveness is not None:
            tunnel.liveness.last_received_at = now
        forward, port = gateway.hub.forward_frames, link.port
        if link.dtls is not None and not link.dtls_mute and end >= 8 and buffer[6] in _DATA_KINDS:
            link.data_over_tls(now)
        offset = 0
        while end - offset >= 8:
            if self.parting is None and not buffer[offset + 6]:
                offset, packets, octets, drops = forward(port, buffer, offset, end)
                # counted before the next frame is looked at, which may end the tunnel and tell its counters
                if packets:
                    tunnel.pkts_rx += packets
                    tunnel.bytes_rx += octets
                    tunnel.last_use_at = now
                tunnel.drops_rx += drops
                if end - offset < 8:
                    break
            magic, length, kind, zero = HEADER.unpack_from(buffer, offset)
            if magic != MAGIC or zero or length > MAX_PAYLOAD:
                head = bytes(buffer[offset : offset + 8])
                gateway.headend.emit(FrameRefused(**whose(link.session, now), head=head))
                self._give_up("a frame that is none")
                return end
            after = offset + 8 + length
            if after > end:
                break
            self._control(kind, bytes(buffer[offset + 8 : after]), now)
            if self.connection.speaker is not self:
                return end
            offset = after
        return offset

    def _give_up(self, reason: str) -> None:
        """The client broke the protocol: it gets what is written for it, and then the loss."""
        self.connection.flush()
        self.connection.drop(reason)

    def _control(self, kind: int, payload: bytes, now: float) -> None:
        if kind == PacketType.DISCONNECT:
            goodbye = parse_disconnect_untrusted(payload)
            self.link.gateway.headend.client_disconnected(self.tunnel, goodbye, now)
            self.connection.finish()
        elif self.parting is not None:
            return
        elif kind == PacketType.DPD_REQUEST:
            echo = payload[:MAX_SENT_PAYLOAD]
            self._send_control(encode_frame(PacketType.DPD_RESPONSE, echo) if echo else _DPD_RESPONSE)
        elif kind == PacketType.COMPRESSED and self._codec_in is not None:
            try:
                packet = self._codec_in.decompress(payload)
            except CompressionError as error:
                self._give_up(f"compressed data: {error}")
                return
            if self.link.gateway.hub.forward_packet(self.link.port, packet):
                self.tunnel.pkts_rx += 1
                self.tunnel.bytes_rx += len(packet)
                self.tunnel.last_use_at = now
            else:
                self.tunnel.drops_rx += 1
        elif kind not in _KINDS:
            head = HEADER.pack(MAGIC, len(payload), kind, 0)
            self.link.gateway.headend.emit(FrameRefused(**whose(self.link.session, now), head=head))

    def deliver(self, packet: Buffer) -> None:
        """Send one IP packet as one record, compressed when that was agreed and pays."""
        if self.connection.blocked:
            self._hold_back(bytes(packet))
            return
        packet = bytes(packet)
        payload = self._codec_out.compress(packet) if self._codec_out is not None else None
        if payload is not None:
            self.connection.write(encode_frame(PacketType.COMPRESSED, payload))
        else:
            self.connection.write(encode_frame(PacketType.DATA, packet))
        self._count_sent(len(packet))

    def deliver_frame(self, buffer: bytearray, offset: int, length: int) -> None:
        """Send the DATA frame that stands in `buffer`, without copying it first."""
        connection = self.connection
        if connection.blocked:
            self._hold_back(bytes(buffer[offset + 8 : offset + length]))
            return
        connection.write(memoryview(buffer)[offset : offset + length])
        self._count_sent(length - 8)

    def _count_sent(self, octets: int) -> None:
        tunnel = self.tunnel
        tunnel.pkts_tx += 1
        tunnel.bytes_tx += octets
        self._sent = True
        if not self._dirty:
            self._dirty = True
            self.link.gateway.dirty.append(self)

    def _hold_back(self, packet: bytes) -> None:
        """Keep a packet for a client that does not read; uncompressed, since the oldest may be dropped."""
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= MAX_QUEUED:
            self._queue.popleft()
            self.tunnel.drops_tx += 1
        self._queue.append(packet)

    def _send_control(self, frame: bytes) -> None:
        """Control goes before any data that waits."""
        self.connection.write(frame)
        if not self._dirty:
            self._dirty = True
            self.link.gateway.dirty.append(self)

    def _send_idle(self, frame: bytes) -> None:
        """Say something because nothing was said: the moment to let go of the memory of a burst."""
        self.connection.engine.shed()
        self._send_control(frame)

    def send_dpd(self) -> None:
        """Ask the client for a sign of life."""
        self._send_idle(_DPD_REQUEST)

    def send_keepalive(self) -> None:
        """Keep NATs and firewalls between here and the client from forgetting the connection (S42)."""
        if not self.connection.blocked:  # else there is enough under way, and no end of keepalives
            self._send_idle(_KEEPALIVE)

    def flush(self, now: float) -> None:
        """Send what this batch has written."""
        self._dirty = False
        tunnel = self.tunnel
        if self._sent:
            self._sent = False
            tunnel.last_use_at = now
        if tunnel.liveness is not None:
            tunnel.liveness.last_sent_at = now
        self.connection.flush()

    def drained(self) -> None:
        """The client reads again: what was held back, oldest first."""
        queue, self._queue = self._queue, None
        while queue and not self.connection.blocked:
            self.deliver(queue.popleft())
            self.connection.flush()
        if queue:
            self._queue = queue

    def went_down(self, event: TunnelDown) -> None:
        """The database has given it up: close the way the reason asks for."""
        if self.link.cstp is self:
            self.link.cstp = None
            self.link.point_to_newest()
        if event.reason in (DownReason.DPD, DownReason.TAKEOVER, DownReason.REKEY):
            self.connection.close()
        elif event.reason in (DownReason.LOST, DownReason.CLIENT):
            pass  # the connection is gone, or about to be finished by whoever told the database
        else:
            if event.reason is DownReason.IDLE:
                # DTLS idles out at the same instant; a client that hears of that first would handshake again
                self.link.gateway.forget_dtls_id(self.link)
            self._say_goodbye(event)

    def _say_goodbye(self, event: TunnelDown) -> None:
        if event.end_reason is not None:
            text = event.end_reason.value
        elif event.reason is DownReason.IDLE:
            text = "Idle Timeout"
        else:
            text = "Replaced by a newer connection"
        self.parting = event.reason
        self._queue = None
        self.connection.write(encode_frame(PacketType.DISCONNECT, disconnect_payload(text)))
        self.connection.flush()
        self.connection.set_deadline(self.link.gateway.run_now() + PARTING_LIMIT)

    def expired(self) -> None:
        """The client has not answered our DISCONNECT."""
        self.connection.drop("time limit")

    def lost(self, reason: str) -> None:
        """The connection is gone; the session waits to be resumed."""
        if self.parting is None:
            gateway = self.link.gateway
            gateway.headend.db.tunnel_lost(self.tunnel, DownReason.LOST, gateway.now())
