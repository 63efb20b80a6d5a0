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
from asa_emu.wire.headers import DtlsAnswer
from client_emu.channel import Channel, Lost, Outcome, Surroundings, Traffic
from client_emu.dial import OpenTunnel

HANDSHAKE_SECONDS: Final = 12.0  # openconnect's limit, run time


class DtlsChannel(Channel):
    """The DTLS tunnel of a session, one association long."""

    def __init__(
        self, opened: OpenTunnel, granted: DtlsAnswer, around: Surroundings, traffic: Traffic
    ) -> None:
        """Raises DtlsError for a suite that we do not speak, OSError when there is no socket to be had."""
        encoding, dpd, keepalive = granted.content_encoding, granted.dpd, granted.keepalive
        super().__init__(opened.interface, around, traffic, encoding, dpd, keepalive)
        self._mtu = granted.mtu or opened.answer.mtu
        secret = _secret(opened, granted)
        self._association = DtlsClient(secret, now=trio.current_time(), rng=secrets.token_bytes)
        self._socket, self._peer = _open_socket(opened, granted.port)
        self.up = False
        """Whether packets can go this way."""
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

    async def run(self, on_up: Callable[[], None]) -> Outcome | None:
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
                        self._fail("the DTLS handshake was not answered")
                    await trio.lowlevel.checkpoint_if_cancelled()
                    self._liveness.restart(self._around.now())
                    self.up = True
                    on_up()
                    nursery.start_soon(self._pace)
            return self._outcome
        finally:
            if self._association.established and not self._association.closed and self._carried:
                self._socket.send([self._association.close()], self._peer)
            self._socket.close()

    def send_packet(self, packet: bytes) -> bool:
        """Send one IP packet; false while not up, or when it is longer than the headend wants over DTLS."""
        return self.up and len(packet) <= self._mtu and self._send(*self._pack(packet))

    @property
    def _carried(self) -> bool:
        return self._around.network.carries_udp(self.interface)

    def _fail(self, reason: str) -> None:
        self._end(Lost(self._association.failure or reason))

    def _send(self, kind: int, payload: bytes) -> bool:
        try:
            record = self._association.seal(bytes((kind,)) + payload)
        except DtlsError as error:
            self._fail(str(error))
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
            if payloads:
                self._receive(payloads)
            self._moved.set()
            if self._association.established:
                self._established.set()
            if self._association.closed:
                self._fail("the headend closed the DTLS channel")

    def _receive(self, payloads: list[bytes]) -> None:
        packets: list[bytes] = []
        for payload in filter(None, payloads):
            try:
                packet = self._unpack(payload[0], payload[1:])
            except CompressionError:
                continue  # each datagram stands alone, the next may be whole
            if packet is not None:
                packets.append(packet)
        self._deliver(packets)

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
            self._fail("the DTLS handshake failed")


def _secret(opened: OpenTunnel, granted: DtlsAnswer) -> Psk | Resumption:
    newer, older = granted.dtls12_cipher_suite, granted.cipher_suite or ""
    choice = named(DTLS_HEADER, older) if newer is None else named(DTLS12_HEADER, newer)
    if choice.variant is Variant.PSK:
        if granted.app_id is None:
            raise DtlsError("PSK-NEGOTIATE without X-DTLS-App-ID")
        return Psk(opened.stream.engine.exporter(EXPORTER_LABEL, 32), granted.app_id)
    if granted.session_id is None:
        raise DtlsError("a DTLS resumption without X-DTLS-Session-ID")
    return Resumption(granted.session_id, opened.master_secret, choice.suite, choice.version)


def _open_socket(opened: OpenTunnel, port: int) -> tuple[UdpSocket, Address]:
    """A UDP socket beside the tunnel's TCP: the same source address, the same headend, its DTLS port."""
    peer, ours = opened.peer, opened.stream.socket.getsockname()
    sock = socket.socket(opened.stream.socket.family, socket.SOCK_DGRAM)
    try:
        sock.bind((ours[0], 0))
    except OSError:
        sock.close()
        raise
    return UdpSocket(sock), (peer[0], port, *peer[2:])
