"""The inner end of the tunnel: where packets for this client arrive and from where its own are sent.

An adapter is told its addresses by `configure`, gets packets by `deliver` and sends by the callable it was
made with. The default, `UserAdapter`, lives in user space without any right: it answers pings to its
addresses and sends probes of its own, `ping`, `udp` and `tcp`, whose replies it waits for. It outlives the
tunnels beneath it; what it sends meanwhile queues in the client. A kernel TUN (`kernel_adapter.py`) and a
program (`program_adapter.py`) are the other adapters.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import trio

from asa_emu.wire.errors import PacketError
from asa_emu.wire.packet import TCP, UDP, echo_reply, echo_request, parse_echo_untrusted, parse_ip_untrusted
from asa_emu.wire.segments import (
    ACK,
    PSH,
    RST,
    SYN,
    TcpSegment,
    UdpDatagram,
    build_tcp,
    build_udp,
    parse_tcp_untrusted,
    parse_udp_untrusted,
)
from client_emu.terms import AdapterSettings, Address

PING_SIZE: Final = 56  # bytes of payload, as everybody's ping
MAX_PROBE: Final = 16000  # bytes of payload that fit one frame with every header
PING_INTERVAL_SECONDS: Final = 0.1
TCP_RETRY_SECONDS: Final = 1.0  # RFC 6298 section 2.1
FIRST_PROBE_PORT: Final = 49152  # RFC 6335: the ports for private use

Answer = UdpDatagram | TcpSegment


class AdapterFailed(Exception):
    """The adapter could not take its settings, or is gone; the text says what is missing."""


class Adapter(Protocol):
    """What the client needs of an adapter."""

    async def configure(self, settings: AdapterSettings, *, restart: bool = False) -> None:
        """Take addresses, MTU and routes; called again when a reconnect set them anew, `restart` for going
        down and up in between. Raises AdapterFailed.
        """

    async def reroute(self) -> None:
        """Let what stays outside the tunnel take the way that the machine has now. Raises AdapterFailed."""

    def deliver(self, packets: list[bytes]) -> None:
        """Take packets out of the tunnel. Must not wait."""

    async def run(self) -> None:
        """Send what is to be sent until cancelled; return at once when there is nothing to run. Raises
        AdapterFailed when the inner end is gone.
        """

    async def aclose(self) -> None:
        """Undo `configure`."""


@dataclass(frozen=True, slots=True)
class PingResult:
    """Pings sent and answered; round trips in seconds of run time, in order of sending."""

    sent: int
    received: int
    round_trips: tuple[float, ...]


class _Probe(NamedTuple):
    """The ends of a probe, and what comes back to them."""

    source: bytes
    target: bytes
    port: int
    answers: trio.MemoryReceiveChannel[Answer]


class UserAdapter:
    """An adapter in user space."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._addresses: dict[int, bytes] = {}
        self._identifiers = itertools.count(1)
        self._ports = itertools.count()
        self._pings: dict[tuple[int, int], trio.Event] = {}
        self._probes: dict[tuple[int, bytes, int, int], trio.MemorySendChannel[Answer]] = {}

    async def configure(self, settings: AdapterSettings, *, restart: bool = False) -> None:
        """Take the addresses to answer for."""
        interfaces = (settings.ip4, settings.ip6)
        self._addresses = {found.version: found.ip.packed for found in interfaces if found is not None}

    async def reroute(self) -> None:
        """There are no routes."""

    def deliver(self, packets: list[bytes]) -> None:
        """Answer pings, wake the probes that wait for a reply, drop the rest."""
        for packet in packets:
            with contextlib.suppress(PacketError):
                self._take(packet)

    async def run(self) -> None:
        """Nothing runs here."""

    async def aclose(self) -> None:
        """Nothing is held."""

    async def ping(
        self, destination: str, count: int = 1, limit: float = 2.0, size: int = PING_SIZE
    ) -> PingResult:
        """Send `count` echo requests of `size` bytes in turn, each waiting up to `limit` seconds."""
        target = ipaddress.ip_address(destination)
        identifier = next(self._identifiers) & 0xFFFF
        round_trips: list[float] = []
        for sequence in range(1, count + 1):
            if sequence > 1:
                await trio.sleep(PING_INTERVAL_SECONDS)
            answered = self._pings[identifier, sequence] = trio.Event()
            sent_at = trio.current_time()
            source = self._source_for(target)
            self._send(echo_request(source, target.packed, identifier, sequence, bytes(size)))
            with trio.move_on_after(limit):
                await answered.wait()
                round_trips.append(trio.current_time() - sent_at)
            del self._pings[identifier, sequence]
        return PingResult(count, len(round_trips), tuple(round_trips))

    async def udp(self, destination: str, port: int, payload: bytes, limit: float = 2.0) -> bytes | None:
        """Send one UDP datagram and wait for an answer; its payload, or None after `limit` seconds."""
        with self._probe(UDP, destination, port, payload) as probe, trio.move_on_after(limit):
            self._send(build_udp(probe.source, probe.target, probe.port, port, payload))
            return (await probe.answers.receive()).payload
        return None

    async def tcp(
        self, destination: str, port: int, payload: bytes = b"", limit: float = 2.0
    ) -> bytes | None:
        """Connect, send `payload`, and wait for the first data that comes back; for none without a payload.

        None when nobody answers within `limit` seconds. Raises ConnectionRefusedError.
        """
        with self._probe(TCP, destination, port, payload) as probe, trio.move_on_after(limit):
            ends = (probe.source, probe.target, probe.port, port)
            sequence, heard, flags, data, send = 1, 0, SYN, b"", True
            while True:
                if send:
                    self._send(build_tcp(TcpSegment(*ends, sequence, heard, flags, 65535, b"", data)))
                send = True
                with trio.move_on_after(TCP_RETRY_SECONDS):
                    answer = await probe.answers.receive()
                    assert isinstance(answer, TcpSegment)
                    send = bool(answer.flags & SYN)
                    if answer.flags & RST:
                        raise ConnectionRefusedError(f"{destination} port {port} refuses")
                    if answer.flags & SYN and flags & SYN:
                        sequence, heard = 2, answer.sequence + 1
                        flags, data = ACK | PSH, payload
                    if answer.payload or not payload:
                        self._send(build_tcp(TcpSegment(*ends, sequence, heard, RST, 65535, b"", b"")))
                        return answer.payload
        return None

    @contextlib.contextmanager
    def _probe(self, protocol: int, destination: str, port: int, payload: bytes) -> Iterator[_Probe]:
        if not 0 < port < 65536:
            raise ValueError("a port is a number from 1 to 65535")
        if len(payload) > MAX_PROBE:
            raise ValueError(f"a probe carries at most {MAX_PROBE} bytes")
        target = ipaddress.ip_address(destination)
        our_port = FIRST_PROBE_PORT + next(self._ports) % 16384
        answers, answer = trio.open_memory_channel[Answer](8)
        key = (protocol, target.packed, port, our_port)
        self._probes[key] = answers
        try:
            yield _Probe(self._source_for(target), target.packed, our_port, answer)
        finally:
            del self._probes[key]

    def _source_for(self, target: Address) -> bytes:
        source = self._addresses.get(target.version)
        if source is None:
            raise ValueError(f"this session has no IPv{target.version} address")
        return source

    def _take(self, packet: bytes) -> None:
        echo = parse_echo_untrusted(packet)
        if echo is not None:
            if echo.destination not in self._addresses.values():
                return
            if not echo.is_reply:
                self._send(echo_reply(echo))
            elif (waiting := self._pings.get((echo.identifier, echo.sequence))) is not None:
                waiting.set()
            return
        protocol = parse_ip_untrusted(packet).protocol
        if protocol not in (UDP, TCP):
            return
        answer = parse_udp_untrusted(packet) if protocol == UDP else parse_tcp_untrusted(packet)
        probe = self._probes.get((protocol, answer.source, answer.source_port, answer.destination_port))
        if probe is not None:
            with contextlib.suppress(trio.WouldBlock):
                probe.send_nowait(answer)
