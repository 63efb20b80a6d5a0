"""Floods of packets: as many as the headend takes, over TLS and over DTLS.

An upload is UDP to the discard port of the inside gateway; for TLS the socket's own back pressure paces it,
for DTLS nothing does, and what the headend cannot take is lost before it costs it anything. An echo is an
ICMP echo request; so many are on their way, and a reply makes room for another. Replies are counted by their
length, undecrypted, so that the generator has time for more; the headend's own counters are the figures.
"""

from __future__ import annotations

import select
import time
from ipaddress import IPv4Address

from asa_emu.transport.udp import UdpSocket
from asa_emu.wire.frames import PacketType, encode_frame
from asa_emu.wire.packet import echo_request
from asa_emu.wire.segments import build_udp
from bench.client import Client, DtlsTunnel, inside_address, scratch
from bench.headend import GATEWAY

SIZE = 1400  # bytes of each IP packet
DISCARD = 9
_BATCH = 32  # packets a client sends at a time
_WINDOW = 128  # echoes on their way, for each client
_TLS_RECORD = 8 + SIZE + 22  # CSTP header, packet; TLS 1.3's header, content type and tag
_STALL = 0.005  # seconds without an echo after which what is missing counts as lost


def discard_packet(client: Client) -> bytes:
    """A packet that the inside network swallows."""
    source, gateway = (IPv4Address(text).packed for text in (inside_address(client), GATEWAY))
    return build_udp(source, gateway, 5000, DISCARD, bytes(SIZE - 28))


def ping_packet(client: Client) -> bytes:
    """A packet that comes back."""
    source, gateway = (IPv4Address(text).packed for text in (inside_address(client), GATEWAY))
    return echo_request(source, gateway, 1, 1, bytes(SIZE - 28))


def echo_burst(client: Client, count: int) -> None:
    """Send so many echo requests at once and read the replies."""
    frame = encode_frame(PacketType.DATA, ping_packet(client))
    for _ in range(count):
        client.engine.write(frame)
    client.sock.setblocking(True)
    client.sock.sendall(client.engine.output())
    missing = count * len(frame)
    while missing > 0:
        client.receive()
        missing -= len(client.read())
    client.sock.setblocking(False)


class TlsUpload:
    """Writes to every tunnel whose socket takes more."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = {client.sock.fileno(): client for client in clients}
        self._frames = {c.sock.fileno(): encode_frame(PacketType.DATA, discard_packet(c)) for c in clients}

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        with select.epoll() as epoll:
            for descriptor in self._clients:
                epoll.register(descriptor, select.EPOLLOUT)
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                for descriptor, _ in epoll.poll(0.1):
                    client = self._clients[descriptor]
                    if not client.unsent:
                        frame, write = self._frames[descriptor], client.engine.write
                        for _ in range(_BATCH):
                            write(frame)
                        client.unsent = client.engine.output()
                    _push(client)


class TlsEcho:
    """Keeps a window of echoes on its way through every tunnel."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = {client.sock.fileno(): client for client in clients}
        self._frames = {c.sock.fileno(): encode_frame(PacketType.DATA, ping_packet(c)) for c in clients}

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        with select.epoll() as epoll:
            for descriptor, client in self._clients.items():
                epoll.register(descriptor, select.EPOLLIN)
                self._fill(client, self._frames[descriptor])
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                for descriptor, _ in epoll.poll(0.1):
                    client = self._clients[descriptor]
                    client.owed -= client.sock.recv_into(scratch.buffer)
                    self._fill(client, self._frames[descriptor])

    def _fill(self, client: Client, frame: bytes) -> None:
        if not client.unsent:
            room = _WINDOW - client.owed // _TLS_RECORD
            if room < _BATCH:
                return
            write = client.engine.write
            for _ in range(room):
                write(frame)
            client.unsent = client.engine.output()
            client.owed += room * _TLS_RECORD
        _push(client)


def _push(client: Client) -> None:
    try:
        sent = client.sock.send(client.unsent)
    except BlockingIOError:
        return
    client.unsent = client.unsent[sent:]


class DtlsUpload:
    """Sends without a pause. `segmented` lets the kernel cut one buffer into datagrams, else each is sent by
    itself, as real clients do.
    """

    def __init__(self, clients: list[Client], tunnels: list[DtlsTunnel], *, segmented: bool) -> None:
        self._segmented = segmented
        pairs = zip(clients, tunnels, strict=True)
        self._pairs = [(tunnel, b"\0" + discard_packet(client)) for client, tunnel in pairs]

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            for tunnel, payload in self._pairs:
                seal = tunnel.machine.seal
                records = [seal(payload) for _ in range(_BATCH)]
                if self._segmented:
                    tunnel.udp.send(records, tunnel.address)
                else:
                    for record in records:
                        tunnel.udp.send([record], tunnel.address)


class DtlsEcho:
    """Keeps a window of echoes on its way through every tunnel."""

    def __init__(self, clients: list[Client], tunnels: list[DtlsTunnel]) -> None:
        pairs = zip(clients, tunnels, strict=True)
        self._sides = {t.udp.fileno(): (t, b"\0" + ping_packet(client)) for client, t in pairs}
        self._owed = dict.fromkeys(self._sides, 0)

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        with select.epoll() as epoll:
            for descriptor in self._sides:
                epoll.register(descriptor, select.EPOLLIN)
                self._fill(descriptor)
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                events = epoll.poll(_STALL)
                for descriptor, _ in events:
                    self._owed[descriptor] = max(
                        0, self._owed[descriptor] - _arrived(self._sides[descriptor][0].udp)
                    )
                    self._fill(descriptor)
                if not events:
                    self._owed = dict.fromkeys(self._sides, 0)
                    for descriptor in self._sides:
                        self._fill(descriptor)

    def _fill(self, descriptor: int) -> None:
        room = _WINDOW - self._owed[descriptor]
        if room < _BATCH:
            return
        tunnel, payload = self._sides[descriptor]
        seal = tunnel.machine.seal
        tunnel.udp.send([seal(payload) for _ in range(room)], tunnel.address)
        self._owed[descriptor] += room


def _arrived(udp: UdpSocket) -> int:
    return sum(len(datagrams) for _, datagrams in udp.drain())
