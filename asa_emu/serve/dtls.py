"""The UDP port: which session a datagram belongs to, and the DTLS tunnels themselves.

    datagram from a known address     -> that address's tunnel
    ClientHello                       -> no cookie yet: HelloVerifyRequest, nothing kept
                                      -> its session id (or App-ID) names a CONNECT's offer: a handshake
                                      begins beside
                                         whatever tunnel there is, and replaces it when it has finished
    data from an unknown address      -> tried against the tunnels whose client it may be (a NAT that forgot);
    the
                                         tunnel moves when the record is authentic and newer than any seen
    anything else                     -> dropped and counted

`offer` is called at CONNECT, which brings id and secret; the id is new each time, so an old one dies with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from asa_emu.dataplane.hub import Port
from asa_emu.headend.connect import DtlsOffer, dtls_facts
from asa_emu.serve.tunnels import SessionLink
from asa_emu.session.db import Gone
from asa_emu.session.events import TunnelDown
from asa_emu.session.model import DownReason, Peer, Tunnel
from asa_emu.syslog.facts import TlsDown, TlsFailed, TlsUp
from asa_emu.transport.udp import Address, UdpSocket
from asa_emu.wire.compression import Codec, make_codec
from asa_emu.wire.dtls import ClientHelloPeek, CookieJar, DtlsServer, peek_client_hello_untrusted
from asa_emu.wire.dtls.keys import Resumption
from asa_emu.wire.errors import CompressionError, DtlsError
from asa_emu.wire.frames import PacketType, parse_disconnect_untrusted
from asa_emu.wire.packet import Buffer

if TYPE_CHECKING:
    from asa_emu.serve.gateway import Gateway

MAX_HANDSHAKES = 4  # at once for one offer; ids travel in clear, so anybody may try
DRAINS = 16  # per turn of the dispatcher
MAX_OUTBOX = 1024  # datagrams per tunnel and batch
TRIALS_PER_SECOND = 2000  # decryptions for data from unknown addresses
MAX_CANDIDATES = 32  # tunnels tried for one datagram
_HANDSHAKE_RECORD = 22
_APPLICATION_RECORD = 23
_DPD_REQUEST = bytes([PacketType.DPD_REQUEST])
_KEEPALIVE = bytes([PacketType.KEEPALIVE])

log = structlog.get_logger(__name__)


def shown_peer(address: Address) -> Peer:
    """A socket address as the database shows it: a mapped IPv4 address is IPv4."""
    ip: str = address[0]
    return Peer(ip.removeprefix("::ffff:") if "." in ip else ip, address[1])


class DtlsTunnel:
    """One association of a session, from its hello on; `tunnel` stands once the handshake is done."""

    __slots__ = (
        "_codec",
        "_dirty",
        "_outbox",
        "_sent",
        "address",
        "endpoint",
        "link",
        "machine",
        "offer",
        "tunnel",
    )

    def __init__(
        self,
        endpoint: DtlsEndpoint,
        link: SessionLink,
        offer: DtlsOffer,
        address: Address,
        machine: DtlsServer,
    ) -> None:
        self.endpoint = endpoint
        self.link = link
        self.offer = offer
        self.address = address
        self.machine = machine
        self.tunnel: Tunnel | None = None
        self._codec: Codec | None = make_codec(offer.compression) if offer.compression else None
        self._outbox: list[bytes] = []
        self._dirty = False
        self._sent = False

    def __repr__(self) -> str:
        return f"<DtlsTunnel {self.machine!r} at {self.address[0]}:{self.address[1]}>"

    def next_deadline(self) -> float:
        """When the handshake's flight is due again; inf once it is over."""
        return self.machine.next_deadline()

    def on_deadline(self) -> None:
        """Send the flight again, or give the handshake up."""
        self.machine.on_deadline(self.endpoint.gateway.run_now())
        self.endpoint.transmit(self)
        if self.machine.closed:
            self.endpoint.forget(self)

    def attach_to(self, port: Port) -> None:
        """Become the way to the client."""
        port.deliver = self.deliver
        plain = self._codec is None
        port.deliver_frame = self._deliver_frame if plain else None
        port.deliver_payload = self._deliver_payload if plain else None

    def deliver(self, packet: Buffer) -> None:
        """Send one IP packet, compressed when that was agreed and pays."""
        packet = bytes(packet)
        compressed = self._codec.compress(packet) if self._codec is not None else None
        if compressed is not None:
            self._post(bytes([PacketType.COMPRESSED]) + compressed, len(packet))
        else:
            self._post(b"\0" + packet, len(packet))

    def _deliver_frame(self, buffer: bytearray, offset: int, length: int) -> None:
        # the last byte of a DATA frame's header is zero, which is DTLS's type byte DATA
        self._post(bytes(buffer[offset + 7 : offset + length]), length - 8)

    def _deliver_payload(self, payload: bytes | bytearray) -> None:
        self._post(bytes(payload), len(payload) - 1)

    def _post(self, payload: bytes, octets: int) -> None:
        tunnel = self.tunnel
        assert tunnel is not None  # it is attached only when established
        if len(self._outbox) >= MAX_OUTBOX:
            tunnel.drops_tx += 1
            return
        try:
            self._outbox.append(self.machine.seal(payload))
        except DtlsError:
            tunnel.drops_tx += 1
            return
        tunnel.pkts_tx += 1
        tunnel.bytes_tx += octets
        self._sent = True
        self._mark()

    def _send_control(self, payload: bytes) -> None:
        try:
            self._outbox.append(self.machine.seal(payload))
        except DtlsError:
            return
        self._mark()

    def _mark(self) -> None:
        if not self._dirty:
            self._dirty = True
            self.endpoint.gateway.dirty.append(self)

    def send_dpd(self) -> None:
        """Ask the client for a sign of life."""
        self._send_control(_DPD_REQUEST)

    def send_keepalive(self) -> None:
        """Keep NATs between here and the client from forgetting the flow."""
        self._send_control(_KEEPALIVE)

    def flush(self, now: float) -> None:
        """Send what this batch has sealed."""
        self._dirty = False
        tunnel = self.tunnel
        if tunnel is not None:
            if self._sent:
                tunnel.last_use_at = now
            if tunnel.liveness is not None:
                tunnel.liveness.last_sent_at = now
        self._sent = False
        outbox, self._outbox = self._outbox, []
        if outbox:
            self.endpoint.udp.send(outbox, self.address)

    def receive(self, datagrams: list[bytes | memoryview], now: float, run_now: float) -> None:
        """Take the datagrams of one reception: data to the hub in one go, the rest one by one."""
        opened: list[bytes | bytearray] = []
        heard = False  # from the client, that is: whoever forges its address is no sign of its life
        receive = self.machine.receive
        for datagram in datagrams:
            payloads = receive(datagram, run_now)
            if not payloads:
                self.endpoint.odd(self, datagram, run_now)
                continue
            heard = True
            for payload in payloads:
                if payload[0]:
                    self._control(payload, now)
                else:
                    opened.append(payload)
        if heard:
            self.take(opened, now)
        if self.machine.closed:
            self.endpoint.ended_by_client(self, now)

    def receive_opened(self, payload: bytes, now: float) -> None:
        """Take one decrypted payload, of any type."""
        if payload[0]:
            self._control(payload, now)
            self.take([], now)
        else:
            self.take([payload], now)

    def take(self, opened: list[bytes | bytearray], now: float) -> None:
        """Forward decrypted DATA payloads and report once."""
        tunnel = self.tunnel
        if tunnel is None:
            return
        if tunnel.liveness is not None:
            tunnel.liveness.last_received_at = now
        if self.link.dtls_mute:
            self.link.point_to_newest()
        if opened:
            packets, octets, drops = self.endpoint.gateway.hub.forward_packets(self.link.port, opened)
            tunnel.drops_rx += drops
            if packets:
                tunnel.pkts_rx += packets
                tunnel.bytes_rx += octets
                tunnel.last_use_at = now

    def _control(self, payload: bytes, now: float) -> None:
        kind = payload[0]
        tunnel = self.tunnel
        if tunnel is None:
            return
        if kind == PacketType.DPD_REQUEST:
            # the whole payload comes back: openconnect finds the MTU with it
            self._send_control(bytes([PacketType.DPD_RESPONSE]) + payload[1:])
        elif kind == PacketType.DISCONNECT:
            goodbye = parse_disconnect_untrusted(payload[1:])
            self.endpoint.gateway.headend.client_disconnected(tunnel, goodbye, now)
        elif kind == PacketType.COMPRESSED and self._codec is not None:
            try:
                packet = self._codec.decompress(payload[1:])
            except CompressionError:
                tunnel.drops_rx += 1
                return
            self.take([b"\0" + packet], now)

    def went_down(self, event: TunnelDown) -> None:
        """The database has given it up: silently for a loss, with close_notify for an end."""
        if self.link.dtls is self:
            self.link.dtls = None
            self.link.point_to_newest()
        if event.reason not in (DownReason.DPD, DownReason.TAKEOVER, DownReason.LOST):
            notice = self.machine.close()
            if notice:
                self.endpoint.udp.send([notice], self.address)
        self.endpoint.gateway.headend.emit(TlsDown(at=event.at, **self.endpoint.ends(self)))
        self.endpoint.forget(self)


class DtlsEndpoint:
    """One UDP socket of the VPN port; the dispatcher calls it as a handler."""

    def __init__(self, gateway: Gateway, udp: UdpSocket, port: int) -> None:
        self.gateway = gateway
        self.udp = udp
        self.port = port
        self._local = shown_peer(udp.socket.getsockname())
        self.dropped = 0
        """Datagrams that belonged to nobody."""
        self._jar = CookieJar(gateway.headend.random_bytes(32))
        self._offers: dict[bytes, tuple[SessionLink, DtlsOffer]] = {}
        self._tunnels: dict[Address, DtlsTunnel] = {}
        self._handshakes: dict[Address, DtlsTunnel] = {}
        self._by_ip: dict[str, dict[DtlsTunnel, None]] = {}
        self._trials_left = float(TRIALS_PER_SECOND)
        self._trials_at = gateway.run_now()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self.udp.fileno()

    def writable(self) -> None:
        """UDP never waits to write."""

    def abort(self) -> None:
        """An error over one datagram concerns its sender, not the socket."""

    def offer(self, link: SessionLink, offer: DtlsOffer) -> None:
        """A CONNECT was granted: from now on its id is known, and the one before it is not."""
        self.withdraw(link)
        link.dtls_id = offer.id
        self._offers[offer.id] = (link, offer)

    def withdraw(self, link: SessionLink) -> None:
        """No handshake is expected for this session any more."""
        if link.dtls_id is not None:
            self._offers.pop(link.dtls_id, None)
            link.dtls_id = None
            for handshake in [h for h in self._handshakes.values() if h.link is link]:
                self.forget(handshake)

    def readable(self) -> None:
        """Take what waits on the socket."""
        run_now = self.gateway.run_now()
        now = self.gateway.timeline.now(run_now)
        for _ in range(DRAINS):
            received = self.udp.drain()
            if not received:
                return
            for address, datagrams in received:
                tunnel = self._tunnels.get(address)
                if tunnel is not None and address not in self._handshakes:
                    tunnel.receive(datagrams, now, run_now)
                else:
                    for datagram in datagrams:
                        self._sort(address, bytes(datagram), now, run_now)

    def _sort(self, address: Address, datagram: bytes, now: float, run_now: float) -> None:
        if not datagram:
            return
        handshake = self._handshakes.get(address)
        if datagram[0] == _HANDSHAKE_RECORD:
            hello = peek_client_hello_untrusted(datagram)
            if hello is not None and (handshake is None or hello.random != handshake.machine.client_random):
                self._hello(address, datagram, hello, now, run_now)
                return
        if handshake is not None:
            self._shake_hands(handshake, datagram, now, run_now)
        tunnel = self._tunnels.get(address)
        if tunnel is not None:
            if tunnel is not handshake:
                tunnel.receive([datagram], now, run_now)
        elif handshake is None:
            self._from_stranger(address, datagram, now, run_now)

    def odd(self, tunnel: DtlsTunnel, datagram: bytes | memoryview, run_now: float) -> None:
        """A tunnel's address sent no data: an alert, a repeated flight, or a new hello."""
        if datagram and datagram[0] == _HANDSHAKE_RECORD:
            hello = peek_client_hello_untrusted(datagram)
            if hello is not None and hello.random != tunnel.machine.client_random:
                now = self.gateway.timeline.now(run_now)
                self._hello(tunnel.address, bytes(datagram), hello, now, run_now)
                return
        self.transmit(tunnel)

    def _hello(
        self, address: Address, datagram: bytes, hello: ClientHelloPeek, now: float, run_now: float
    ) -> None:
        found = self._offers.get(hello.session_id) or self._offers.get(hello.id)
        if found is None:
            self.dropped += 1
            return
        verify = self._jar.answer(hello, datagram, address)
        if verify is not None:
            self.udp.send([verify], address)
            return
        link, offer = found
        current = link.dtls
        if isinstance(current, DtlsTunnel) and hello.random == current.machine.client_random:
            return  # a copy that the network kept back
        mine = [h for h in self._handshakes.values() if h.link is link]
        if len(mine) >= MAX_HANDSHAKES:
            self.forget(mine[0])
        machine = DtlsServer(offer.secret, now=run_now, rng=self.gateway.headend.random_bytes)
        former = self._handshakes.get(address)
        if former is not None:
            self.forget(former)
        handshake = DtlsTunnel(self, link, offer, address, machine)
        self._handshakes[address] = handshake
        self._shake_hands(handshake, datagram, now, run_now)
        if not machine.closed:
            self.gateway.limit(handshake)

    def _shake_hands(self, handshake: DtlsTunnel, datagram: bytes, now: float, run_now: float) -> None:
        machine = handshake.machine
        payloads = machine.receive(datagram, run_now)
        self.transmit(handshake)
        if machine.closed:
            log.info("dtls.handshake_failed", peer=handshake.address[0], reason=machine.failure)
            reason = machine.failure or "closed"
            ends = self.ends(handshake)
            self.gateway.headend.emit(TlsFailed(at=now, **ends, protocol="DTLS", reason=reason))
            self.forget(handshake)
        elif machine.established and handshake.tunnel is None:
            self._established(handshake, now)
            for payload in payloads:
                handshake.receive_opened(payload, now)

    def _established(self, handshake: DtlsTunnel, now: float) -> None:
        del self._handshakes[handshake.address]
        self.gateway.limits.discard(handshake)
        link, machine, address = handshake.link, handshake.machine, handshake.address
        peer = shown_peer(address)
        facts = dtls_facts(
            link.session, handshake.offer, machine.suite, machine.version_name, peer, self.port
        )
        self.gateway.headend.emit(
            TlsUp(
                at=now,
                **self.ends(handshake),
                protocol=machine.version_name,
                cipher=machine.suite.openssl_name,
                asked_to_resume=isinstance(handshake.offer.secret, Resumption),
            )
        )
        try:
            handshake.tunnel = self.gateway.headend.db.open_dtls(link.session, facts, handshake, now)
        except Gone:
            return
        former = self._tunnels.get(address)
        if former is not None:
            # another session's client used this address before
            self.gateway.headend.db.tunnel_lost(_tunnel_of(former), DownReason.LOST, now)
        self._tunnels[address] = handshake
        self._by_ip.setdefault(peer.ip, {})[handshake] = None
        link.dtls = handshake
        link.point_to_newest()
        self.gateway.write_keylog(machine.keylog_line())

    def _from_stranger(self, address: Address, datagram: bytes, now: float, run_now: float) -> None:
        if datagram[0] != _APPLICATION_RECORD:
            self.dropped += 1
            return
        peer = shown_peer(address)
        likely = list(self._by_ip.get(peer.ip, ()))[:MAX_CANDIDATES]
        if len(likely) < MAX_CANDIDATES:
            for tunnel in self._tunnels.values():
                if len(likely) >= MAX_CANDIDATES:
                    break
                if shown_peer(tunnel.address).ip != peer.ip:
                    likely.append(tunnel)
        self._trials_left = min(
            float(TRIALS_PER_SECOND), self._trials_left + (run_now - self._trials_at) * TRIALS_PER_SECOND
        )
        self._trials_at = run_now
        for tunnel in likely:
            if self._trials_left < 1:
                break
            self._trials_left -= 1
            payload = tunnel.machine.try_open(datagram)
            if payload is not None:
                self._move(tunnel, address, now)
                tunnel.receive_opened(payload, now)
                return
        self.dropped += 1

    def _move(self, tunnel: DtlsTunnel, address: Address, now: float) -> None:
        """The client's end has another address now: a NAT has forgotten, or the client has roamed."""
        self._unlist(tunnel)
        tunnel.address = address
        self._tunnels[address] = tunnel
        peer = shown_peer(address)
        self._by_ip.setdefault(peer.ip, {})[tunnel] = None
        self.gateway.headend.db.move_dtls(_tunnel_of(tunnel), peer, now)

    def transmit(self, tunnel: DtlsTunnel) -> None:
        """Send what the handshake, or an alert, wants sent."""
        datagrams = tunnel.machine.datagrams_to_send()
        if datagrams:
            self.udp.send(datagrams, tunnel.address)

    def ended_by_client(self, tunnel: DtlsTunnel, now: float) -> None:
        """The client closed the association with an alert; its session goes on over TLS."""
        if tunnel.tunnel is not None:
            self.gateway.headend.db.tunnel_lost(tunnel.tunnel, DownReason.LOST, now)
        self.forget(tunnel)

    def ends(self, tunnel: DtlsTunnel) -> dict[str, Peer]:
        """Both ends of an association, for a fact about it."""
        return {"peer": shown_peer(tunnel.address), "local": self._local}

    def _unlist(self, tunnel: DtlsTunnel) -> None:
        if self._tunnels.get(tunnel.address) is tunnel:
            del self._tunnels[tunnel.address]
        ip = shown_peer(tunnel.address).ip
        at_ip = self._by_ip.get(ip)
        if at_ip is not None:
            at_ip.pop(tunnel, None)
            if not at_ip:
                del self._by_ip[ip]

    def forget(self, tunnel: DtlsTunnel) -> None:
        """Nothing for this association is expected any more. Idempotent."""
        if self._handshakes.get(tunnel.address) is tunnel:
            del self._handshakes[tunnel.address]
        self.gateway.limits.discard(tunnel)
        self._unlist(tunnel)

    def close(self) -> None:
        """Close the socket."""
        for handshake in self._handshakes.values():
            self.gateway.limits.discard(handshake)
        self.gateway.dispatcher.remove(self)
        self.udp.close()


def _tunnel_of(tunnel: DtlsTunnel) -> Tunnel:
    assert tunnel.tunnel is not None  # only established associations are listed
    return tunnel.tunnel
