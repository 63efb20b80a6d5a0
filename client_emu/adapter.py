"""The inner end of the tunnel: where packets for this client arrive and from where its own are sent.

An adapter is told its addresses by `configure`, gets packets by `deliver` and sends by the callable it was
made with. The default, `UserAdapter`, lives in user space without any right: it answers pings to its
addresses and sends probes of its own, `ping` and `udp`, whose replies it waits for. It outlives the tunnels
beneath it; what it sends meanwhile queues in the client. A kernel TUN is the other adapter
(`kernel_adapter.py`).
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from asa_emu.wire.errors import PacketError
from asa_emu.wire.packet import UDP, echo_reply, echo_request, parse_echo_untrusted, parse_ip_untrusted
from asa_emu.wire.segments import build_udp, parse_udp_untrusted

PING_SIZE: Final = 56  # bytes of payload, as everybody's ping
PING_INTERVAL_SECONDS: Final = 0.1
FIRST_PROBE_PORT: Final = 49152  # RFC 6335: the ports for private use

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """What the headend grants the adapter; `mtu` in bytes. Excluded networks stay outside the tunnel."""

    ip4: ipaddress.IPv4Interface | None
    ip6: ipaddress.IPv6Interface | None
    mtu: int
    routes: tuple[Network, ...]
    excluded: tuple[Network, ...] = ()
    dns: tuple[Address, ...] = ()
    domain: str = ""
    headend: Address | None = None
    """The headend's own address, which must stay outside the tunnel."""


class AdapterFailed(Exception):
    """The adapter could not take its settings; the text says what is missing."""


class Adapter(Protocol):
    """What the client needs of an adapter."""

    async def configure(self, settings: AdapterSettings) -> None:
        """Take addresses, MTU and routes; called again when a reconnect changed them. Raises
        AdapterFailed.
        """

    def deliver(self, packets: list[bytes]) -> None:
        """Take packets out of the tunnel. Must not wait."""

    async def run(self) -> None:
        """Send what is to be sent until cancelled; return at once when there is nothing to run."""

    async def aclose(self) -> None:
        """Undo `configure`."""


@dataclass(frozen=True, slots=True)
class PingResult:
    """Pings sent and answered; round trips in seconds of run time, in order of sending."""

    sent: int
    received: int
    round_trips: tuple[float, ...]


class UserAdapter:
    """An adapter in user space."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._addresses: dict[int, bytes] = {}
        self._identifiers = itertools.count(1)
        self._ports = itertools.count(FIRST_PROBE_PORT)
        self._pings: dict[tuple[int, int], trio.Event] = {}
        self._probes: dict[tuple[bytes, int, int], trio.MemorySendChannel[bytes]] = {}
        self.unclaimed = 0
        """Packets that nobody here waited for."""

    async def configure(self, settings: AdapterSettings) -> None:
        """Take the addresses to answer for."""
        interfaces = (settings.ip4, settings.ip6)
        self._addresses = {found.version: found.ip.packed for found in interfaces if found is not None}

    def deliver(self, packets: list[bytes]) -> None:
        """Answer a ping, wake the probe that waits for a reply, count the rest."""
        for packet in packets:
            try:
                if not (self._take_echo(packet) or self._take_udp(packet)):
                    self.unclaimed += 1
            except PacketError:
                self.unclaimed += 1

    async def run(self) -> None:
        """Nothing runs here."""

    async def aclose(self) -> None:
        """Nothing is held."""

    async def ping(
        self, destination: str, count: int = 1, limit: float = 2.0, size: int = PING_SIZE
    ) -> PingResult:
        """Send `count` echo requests of `size` bytes one after the other, each waiting up to
        `limit` seconds.
        """
        target = ipaddress.ip_address(destination)
        identifier = next(self._identifiers) & 0xFFFF
        round_trips: list[float] = []
        for sequence in range(1, count + 1):
            if sequence > 1:
                await trio.sleep(PING_INTERVAL_SECONDS)
            answered = self._pings[identifier, sequence] = trio.Event()
            sent_at = trio.current_time()
            self._send(
                echo_request(self._source_for(target), target.packed, identifier, sequence, bytes(size))
            )
            with trio.move_on_after(limit):
                await answered.wait()
                round_trips.append(trio.current_time() - sent_at)
            del self._pings[identifier, sequence]
        return PingResult(count, len(round_trips), tuple(round_trips))

    async def udp(self, destination: str, port: int, payload: bytes, limit: float = 2.0) -> bytes | None:
        """Send one UDP datagram and wait for an answer; its payload, or None after `limit` seconds."""
        target = ipaddress.ip_address(destination)
        our_port = FIRST_PROBE_PORT + (next(self._ports) - FIRST_PROBE_PORT) % 16384
        answers, answer = trio.open_memory_channel[bytes](1)
        self._probes[target.packed, port, our_port] = answers
        self._send(build_udp(self._source_for(target), target.packed, our_port, port, payload))
        try:
            with trio.move_on_after(limit):
                return await answer.receive()
            return None
        finally:
            del self._probes[target.packed, port, our_port]

    def _source_for(self, target: Address) -> bytes:
        source = self._addresses.get(target.version)
        if source is None:
            raise ValueError(f"this session has no IPv{target.version} address")
        return source

    def _take_echo(self, packet: bytes) -> bool:
        echo = parse_echo_untrusted(packet)
        if echo is None or echo.destination not in self._addresses.values():
            return False
        if not echo.is_reply:
            self._send(echo_reply(echo))
            return True
        waiting = self._pings.get((echo.identifier, echo.sequence))
        if waiting is None:
            return False
        waiting.set()
        return True

    def _take_udp(self, packet: bytes) -> bool:
        if parse_ip_untrusted(packet).protocol != UDP:
            return False
        datagram = parse_udp_untrusted(packet)
        waiting = self._probes.get((datagram.source, datagram.source_port, datagram.destination_port))
        if waiting is None:
            return False
        try:
            waiting.send_nowait(datagram.payload)
        except trio.WouldBlock:
            return False
        return True
