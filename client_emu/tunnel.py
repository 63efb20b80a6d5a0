"""One TLS tunnel after CONNECT: CSTP frames in both directions, for as long as the connection lives.

Three tasks run here: `_read` turns the stream into frames, answers DPD and hands packets to the adapter;
`_write` takes what is queued and sends each frame as a TLS record of its own (ocserv and openconnect drop
what shares one), many records a flush; `_pace` sleeps until the next deadline of liveness. `run` returns why
the tunnel ended, and the lifecycle decides what that means. Queues are bounded: control frames go first, the
oldest data is dropped and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import trio

from asa_emu.transport.openssl import TlsBroken
from asa_emu.wire.compression import make_codec
from asa_emu.wire.errors import ProtocolError
from asa_emu.wire.frames import (
    MAX_SENT_PAYLOAD,
    DisconnectCode,
    Frame,
    FrameReader,
    PacketType,
    disconnect_payload,
    encode_frame,
    parse_disconnect_untrusted,
)
from asa_emu.wire.liveness import Action, Liveness, LivenessTimers
from asa_emu.wire.timeline import Timeline
from client_emu.dial import OpenTunnel
from client_emu.network import Network

DATA_QUEUE: Final = 256  # packets; about 64 KiB of small ones, 350 KiB of full ones
CONTROL_QUEUE: Final = 64  # frames; a peer that floods requests gets the newest answered
RECORDS_PER_FLUSH: Final = 32
FAREWELL_SECONDS: Final = 1.0

Deliver = Callable[[list[bytes]], None]


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
    """What went through one kind of channel, over all its connections: packets and bytes of DATA, and other
    frames.
    """

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
    deliver: Deliver
    forced_dpd: float | None = None
    """What the user says instead of the headend, seconds; 0 for no detection."""

    def timers(
        self, dpd: float | None, keepalive: float | None, rekey: float | None = None
    ) -> LivenessTimers:
        """What the headend asked for, but for what is forced."""
        interval = dpd if self.forced_dpd is None else self.forced_dpd
        return LivenessTimers(interval or None, keepalive_interval=keepalive, rekey_interval=rekey)

    def now(self) -> float:
        """Emulated time."""
        return self.timeline.now(trio.current_time())


class Tunnel:
    """The SSL tunnel of a session, one TLS connection long."""

    def __init__(self, opened: OpenTunnel, around: Surroundings, traffic: Traffic) -> None:
        answer = opened.answer
        self.stream = opened.stream
        self.interface = opened.interface
        self.answer = answer
        self.master_secret = opened.master_secret
        self.dropped = 0
        self._around = around
        self._network = around.network
        self._traffic = traffic
        self._reader = FrameReader()
        self._first_bytes = opened.first_bytes
        self._codec = make_codec(answer.content_encoding) if answer.content_encoding else None
        rekey = answer.rekey_time if answer.rekey_method != "none" else None
        self.liveness = Liveness(around.timers(answer.dpd, answer.keepalive, rekey), around.now())
        self._control: deque[bytes] = deque(maxlen=CONTROL_QUEUE)
        self._data: deque[bytes] = deque()
        self._queued = trio.Event()
        self._scope = trio.CancelScope()
        self._outcome: Outcome | None = None

    async def run(self) -> Outcome | None:
        """Carry the tunnel to its end; why it ended, or None when `abandon` was called."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                nursery.start_soon(self._write)
                nursery.start_soon(self._pace)
        return self._outcome

    def send_packet(self, packet: bytes) -> None:
        """Queue one IP packet."""
        if len(self._data) >= DATA_QUEUE:
            self._data.popleft()
            self.dropped += 1
        self._data.append(packet)
        self._queued.set()

    def abandon(self) -> None:
        """Stop all tasks; the socket is the caller's to close."""
        self._scope.cancel()

    async def farewell(self, reason: str, code: DisconnectCode = DisconnectCode.USER) -> None:
        """Tell the headend DISCONNECT, if it can be told at once, and close."""
        self.abandon()
        with trio.move_on_after(FAREWELL_SECONDS) as scope:
            scope.shield = True
            try:
                if self._network.carries(self.interface):
                    await self.stream.send_all(
                        encode_frame(PacketType.DISCONNECT, disconnect_payload(reason, code))
                    )
            except TlsBroken:
                pass  # it has gone already
        await self.stream.aclose()

    def _end(self, outcome: Outcome) -> None:
        if self._outcome is None:
            self._outcome = outcome
        self._scope.cancel()

    def _queue_control(self, kind: int, payload: bytes = b"") -> None:
        self._traffic.control_out += 1
        self._control.append(encode_frame(kind, payload))
        self._queued.set()

    async def _read(self) -> None:
        data = self._first_bytes
        while True:
            try:
                if data:
                    self._receive(self._reader.feed(data))
                data = await self.stream.receive_some()
            except TlsBroken as error:
                return self._end(Lost(str(error)))
            except ProtocolError as error:
                return self._end(BrokenPeer(f"the headend broke the protocol: {error}"))
            await self._network.carrier(self.interface)
            if not data:
                return self._end(Lost("the headend closed the connection"))

    def _receive(self, frames: Iterable[Frame]) -> None:
        self.liveness.last_received_at = self._around.now()
        packets: list[bytes] = []
        for frame in frames:
            self._traffic.control_in += frame.kind not in (PacketType.DATA, PacketType.COMPRESSED)
            match frame.kind:
                case PacketType.DATA:
                    packets.append(frame.payload)
                case PacketType.COMPRESSED:
                    packets.append(self._decompress(frame.payload))
                case PacketType.DPD_REQUEST:
                    self._queue_control(PacketType.DPD_RESPONSE, frame.payload[:MAX_SENT_PAYLOAD])
                case PacketType.DISCONNECT:
                    said = parse_disconnect_untrusted(frame.payload).text
                    self._end(ToldToEnd(said or "the headend ended the session"))
                case PacketType.TERMINATE:
                    self._end(ToldToEnd("the headend terminated the session"))
                case _:
                    pass  # a sign of life: DPD answers, keepalives, and types we do not know, as ocserv does
        if packets:
            self._traffic.packets_in += len(packets)
            self._traffic.bytes_in += sum(map(len, packets))
            self._around.deliver(packets)

    def _decompress(self, payload: bytes) -> bytes:
        if self._codec is None:
            raise ProtocolError("a compressed packet without agreed compression")
        return self._codec.decompress(payload)

    async def _write(self) -> None:
        while True:
            await self._queued.wait()
            self._queued = trio.Event()
            while self._control or self._data:
                await self._network.carrier(self.interface)
                try:
                    for _ in range(RECORDS_PER_FLUSH):
                        if self._control:
                            self.stream.write_record(self._control.popleft())
                        elif self._data:
                            self.stream.write_record(self._frame(self._data.popleft()))
                        else:
                            break
                    await self.stream.flush()
                except TlsBroken as error:
                    return self._end(Lost(str(error)))
                self.liveness.last_sent_at = self._around.now()

    def _frame(self, packet: bytes) -> bytes:
        self._traffic.packets_out += 1
        self._traffic.bytes_out += len(packet)
        packed = self._codec.compress(packet) if self._codec is not None else None
        if packed is None:
            return encode_frame(PacketType.DATA, packet)
        return encode_frame(PacketType.COMPRESSED, packed)

    async def _pace(self) -> None:
        while True:
            deadline = self.liveness.next_deadline()
            await trio.sleep_until(self._around.timeline.run_at(deadline))
            await self._network.awake()
            for action in self.liveness.on_deadline(max(self._around.now(), deadline)):
                match action:
                    case Action.SEND_DPD:
                        self._queue_control(PacketType.DPD_REQUEST)
                    case Action.SEND_KEEPALIVE:
                        self._queue_control(PacketType.KEEPALIVE)
                    case Action.REKEY:
                        # for method ssl too: pyOpenSSL cannot renew keys in place
                        return self._end(Lost("the keys of the tunnel are due for renewal", planned=True))
                    case Action.DEAD:
                        return self._end(Lost("the headend does not answer"))
