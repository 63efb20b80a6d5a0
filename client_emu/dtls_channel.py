"""The DTLS tunnel: a UDP socket of its own, a handshake with keys from the TLS tunnel, packets in both
directions.

`open_channel` takes the secret that the answer to CONNECT speaks of: the exporter of the TLS connection for
PSK-NEGOTIATE, the master secret we sent for a resumption. `run` shakes hands, calls `on_up`, carries packets,
and returns why the channel ended. Datagrams are drained in batches and sent without waiting; what the network
does not carry is lost, as UDP is. Handshake retransmission lives in run time, DPD and keepalive in emulated
time.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from typing import Final

import trio

from asa_emu.transport.udp import Address, UdpSocket
from asa_emu.wire.compression import make_codec
from asa_emu.wire.dtls import (
    DTLS12_HEADER,
    DTLS_HEADER,
    EXPORTER_LABEL,
    DtlsClient,
    Psk,
    Resumption,
    Variant,
    named,
)
from asa_emu.wire.errors import CompressionError, DtlsError
from asa_emu.wire.frames import PacketType
from asa_emu.wire.headers import DtlsAnswer
from asa_emu.wire.liveness import Action, Liveness
from client_emu.tunnel import Surroundings, Traffic, Tunnel

HANDSHAKE_SECONDS: Final = 12.0  # openconnect's limit, run time


class DtlsChannel:
    """The DTLS tunnel of a session, one association long."""

    def __init__(self, tunnel: Tunnel, granted: DtlsAnswer, around: Surroundings, traffic: Traffic) -> None:
        """Raises DtlsError for a suite that we do not speak, OSError when there is no socket to be had."""
        self._association = DtlsClient(
            _secret(tunnel, granted), now=trio.current_time(), rng=secrets.token_bytes
        )
        self._around = around
        self._interface = tunnel.interface
        self._traffic = traffic
        self._mtu = granted.mtu or tunnel.answer.mtu
        self._codec = make_codec(granted.content_encoding) if granted.content_encoding else None
        self._liveness = Liveness(around.timers(granted.dpd, granted.keepalive), around.now())
        self._socket, self._peer = _open_socket(tunnel, granted.port)
        self._scope = trio.CancelScope()
        self._reason: str | None = None
        self._established = trio.Event()
        self._moved = trio.Event()

    @property
    def cipher(self) -> str:
        """Version and suite, such as `DTLSv1.2 PSK-AES256-GCM-SHA384`."""
        return f"{self._association.version_name} {self._association.suite.openssl_name}"

    @property
    def local_port(self) -> int:
        """Our UDP port."""
        port: int = self._socket.socket.getsockname()[1]
        return port

    async def run(self, on_up: Callable[[], None]) -> str | None:
        """Shake hands and carry packets until the channel ends; why, or None when `abandon` was called."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._flush()
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._pace_handshake)
                    with trio.move_on_after(HANDSHAKE_SECONDS):
                        await self._established.wait()
                    if not self._association.established:
                        self._end(self._association.failure or "the DTLS handshake was not answered")
                    await trio.lowlevel.checkpoint_if_cancelled()
                    self._liveness.restart(self._around.now())
                    on_up()
                    nursery.start_soon(self._pace)
            return self._reason
        finally:
            self._say_goodbye()
            self._socket.close()

    def send_packet(self, packet: bytes) -> bool:
        """Send one IP packet; false when it is longer than the headend wants over DTLS."""
        if len(packet) > self._mtu:
            return False
        kind, payload = PacketType.DATA, packet
        if self._codec is not None and (packed := self._codec.compress(packet)) is not None:
            kind, payload = PacketType.COMPRESSED, packed
        if not self._send(kind, payload):
            return False
        self._traffic.packets_out += 1
        self._traffic.bytes_out += len(packet)
        return True

    def abandon(self) -> None:
        """Stop; the peer is told as far as the network carries it."""
        self._scope.cancel()

    @property
    def _carried(self) -> bool:
        return self._around.network.carries_udp(self._interface)

    def _end(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
        self._scope.cancel()

    def _send(self, kind: int, payload: bytes = b"") -> bool:
        try:
            record = self._association.seal(bytes((kind,)) + payload)
        except DtlsError as error:
            self._end(str(error))
            return False
        if self._carried:
            self._socket.send([record], self._peer)
        self._liveness.last_sent_at = self._around.now()
        return True

    def _control(self, kind: int, payload: bytes = b"") -> None:
        self._traffic.control_out += self._send(kind, payload)

    def _flush(self) -> None:
        datagrams = self._association.datagrams_to_send()
        if datagrams and self._carried:
            self._socket.send(datagrams, self._peer)

    def _say_goodbye(self) -> None:
        if self._association.established and not self._association.closed and self._carried:
            self._socket.send([self._association.close()], self._peer)

    async def _read(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._socket.socket)
            now = trio.current_time()
            payloads: list[bytes] = []
            for address, datagrams in self._socket.drain():
                if self._carried and address[:2] == self._peer[:2]:
                    for datagram in datagrams:
                        payloads += self._association.receive(datagram, now)
            self._flush()
            self._receive(payloads)
            self._moved.set()
            if self._association.established:
                self._established.set()
            if self._association.closed:
                self._end(self._association.failure or "the headend closed the DTLS channel")

    def _receive(self, payloads: list[bytes]) -> None:
        if not payloads:
            return
        self._liveness.last_received_at = self._around.now()
        packets: list[bytes] = []
        for payload in payloads:
            if not payload:
                continue
            self._traffic.control_in += payload[0] not in (PacketType.DATA, PacketType.COMPRESSED)
            match payload[0]:
                case PacketType.DATA:
                    packets.append(payload[1:])
                case PacketType.COMPRESSED if self._codec is not None:
                    try:
                        packets.append(self._codec.decompress(payload[1:]))
                    except CompressionError:
                        continue  # each datagram stands alone, the next may be whole
                case PacketType.DPD_REQUEST:
                    # the whole payload: the peer may be measuring the path with it
                    self._control(PacketType.DPD_RESPONSE, payload[1:])
                case _:
                    pass
        if packets:
            self._traffic.packets_in += len(packets)
            self._traffic.bytes_in += sum(map(len, packets))
            self._around.deliver(packets)

    async def _pace_handshake(self) -> None:
        while not (self._association.established or self._association.closed):
            deadline = self._association.next_deadline()
            self._moved = trio.Event()
            with trio.move_on_at(deadline) as scope:
                await self._moved.wait()
            if scope.cancelled_caught:
                self._association.on_deadline(max(trio.current_time(), deadline))
                self._flush()
        if self._association.closed:
            self._end(self._association.failure or "the DTLS handshake failed")

    async def _pace(self) -> None:
        while True:
            deadline = self._liveness.next_deadline()
            await trio.sleep_until(self._around.timeline.run_at(deadline))
            await self._around.network.awake()
            for action in self._liveness.on_deadline(max(self._around.now(), deadline)):
                match action:
                    case Action.SEND_DPD:
                        self._control(PacketType.DPD_REQUEST)
                    case Action.SEND_KEEPALIVE:
                        self._control(PacketType.KEEPALIVE)
                    case Action.DEAD:
                        return self._end("the headend does not answer over UDP")
                    case Action.REKEY:
                        pass


def _secret(tunnel: Tunnel, granted: DtlsAnswer) -> Psk | Resumption:
    if granted.dtls12_cipher_suite is not None:
        choice = named(DTLS12_HEADER, granted.dtls12_cipher_suite)
    else:
        choice = named(DTLS_HEADER, granted.cipher_suite or "")
    if choice.variant is Variant.PSK:
        if granted.app_id is None:
            raise DtlsError("PSK-NEGOTIATE without X-DTLS-App-ID")
        return Psk(tunnel.stream.engine.exporter(EXPORTER_LABEL, 32), granted.app_id)
    if granted.session_id is None:
        raise DtlsError("a DTLS resumption without X-DTLS-Session-ID")
    return Resumption(granted.session_id, tunnel.master_secret, choice.suite, choice.version)


def _open_socket(tunnel: Tunnel, port: int) -> tuple[UdpSocket, Address]:
    """A UDP socket beside the tunnel's TCP: the same source address, the same headend, its DTLS port."""
    peer, ours = tunnel.stream.socket.getpeername(), tunnel.stream.socket.getsockname()
    sock = socket.socket(tunnel.stream.socket.family, socket.SOCK_DGRAM)
    try:
        sock.bind((ours[0], 0))
    except OSError:
        sock.close()
        raise
    return UdpSocket(sock), (peer[0], port, *peer[2:])
