"""What the TLS and the DTLS tunnel of a session have in common: packets in frames, compression, liveness,
counters, and one end.

A channel is fed frames and turns them into packets for the adapter; it answers DPD by itself, and `_pace`
sends probes and keepalives when they are due, in emulated time. `Tunnel` and `DtlsChannel` say how a frame
gets out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from asa_emu.wire.compression import make_codec
from asa_emu.wire.errors import CompressionError
from asa_emu.wire.frames import MAX_SENT_PAYLOAD, PacketType
from asa_emu.wire.liveness import Action, Liveness, LivenessTimers
from asa_emu.wire.timeline import Timeline
from client_emu.network import Interface, Network


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection died or fell silent, or is due for a rekey (`planned`); the session is still there."""

    reason: str
    planned: bool = False


@dataclass(frozen=True, slots=True)
class ToldToEnd:
    """The headend said DISCONNECT or TERMINATE."""

    reason: str


@dataclass(frozen=True, slots=True)
class BrokenPeer:
    """What arrived cannot come from a headend."""

    reason: str


Outcome = Lost | ToldToEnd | BrokenPeer


@dataclass(slots=True)
class Traffic:
    """What went through all channels of one kind: packets, their bytes, and frames without a packet."""

    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    control_in: int = 0
    control_out: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all channels of a client share."""

    network: Network
    timeline: Timeline
    deliver: Callable[[list[bytes]], None]
    forced_dpd: float | None = None
    """What the user says instead of the headend, seconds; 0 for no detection."""

    def now(self) -> float:
        """Emulated time."""
        return self.timeline.now(trio.current_time())


class Channel:
    """One tunnel of a session, one connection long. `encoding` names its compression, None for none."""

    def __init__(
        self,
        interface: Interface,
        around: Surroundings,
        traffic: Traffic,
        encoding: str | None,
        dpd: float | None,
        keepalive: float | None,
        rekey: float | None = None,
    ) -> None:
        self.interface = interface
        self._around = around
        self._traffic = traffic
        self._codec = make_codec(encoding) if encoding else None
        interval = dpd if around.forced_dpd is None else around.forced_dpd
        timers = LivenessTimers(interval or None, keepalive_interval=keepalive, rekey_interval=rekey)
        self._liveness = Liveness(timers, around.now())
        self._scope = trio.CancelScope()
        self._outcome: Outcome | None = None

    def abandon(self) -> None:
        """Stop all tasks; `run` returns None."""
        self._scope.cancel()

    def _end(self, outcome: Outcome) -> None:
        if self._outcome is None:
            self._outcome = outcome
        self._scope.cancel()

    def _control(self, kind: int, payload: bytes = b"") -> None:
        raise NotImplementedError

    def _pack(self, packet: bytes) -> tuple[int, bytes]:
        """Type and payload of the frame that carries a packet."""
        self._traffic.packets_out += 1
        self._traffic.bytes_out += len(packet)
        packed = self._codec.compress(packet) if self._codec is not None else None
        return (PacketType.DATA, packet) if packed is None else (PacketType.COMPRESSED, packed)

    def _unpack(self, kind: int, payload: bytes) -> bytes | None:
        """The packet in a frame, None when there is none. Raises CompressionError."""
        if kind == PacketType.DATA:
            return payload
        if kind == PacketType.COMPRESSED:
            if self._codec is None:
                raise CompressionError("a compressed packet without agreed compression")
            return self._codec.decompress(payload)
        # others are a sign of life: DPD answers, keepalives, and types we do not know, as ocserv does
        self._traffic.control_in += 1
        if kind == PacketType.DPD_REQUEST:
            # the whole payload: the peer may be measuring the path with it
            self._control(PacketType.DPD_RESPONSE, payload[:MAX_SENT_PAYLOAD])
        return None

    def _deliver(self, packets: list[bytes]) -> None:
        self._liveness.last_received_at = self._around.now()
        if packets:
            self._traffic.packets_in += len(packets)
            self._traffic.bytes_in += sum(map(len, packets))
            self._around.deliver(packets)

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
                    case Action.REKEY:
                        # for method ssl too: pyOpenSSL cannot renew keys in place
                        self._end(Lost("the keys of the tunnel are due for renewal", planned=True))
                    case Action.DEAD:
                        self._end(Lost("the headend does not answer"))
