"""One TLS tunnel after CONNECT: CSTP frames in both directions, for as long as the connection lives.

Three tasks run here: `_read` turns the stream into frames and hands packets to the adapter; `_write` takes
what is queued and sends each frame as a TLS record of its own (ocserv and openconnect drop what shares one),
many records a flush; `_pace` sleeps until the next deadline of liveness. `run` returns why the tunnel ended,
and the lifecycle decides what that means. Queues are bounded: control frames go first, the oldest data is
dropped and counted.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from asa_emu.transport.openssl import TlsBroken
from asa_emu.wire.errors import ProtocolError
from asa_emu.wire.frames import (
    FrameReader,
    PacketType,
    disconnect_payload,
    encode_frame,
    parse_disconnect_untrusted,
)
from client_emu.channel import BrokenPeer, Channel, Lost, Outcome, Surroundings, ToldToEnd, Traffic
from client_emu.dial import OpenTunnel

DATA_QUEUE: Final = 256  # packets; about 64 KiB of small ones, 350 KiB of full ones
CONTROL_QUEUE: Final = 64  # frames; a peer that floods requests gets the newest answered
RECORDS_PER_FLUSH: Final = 32
FAREWELL_SECONDS: Final = 1.0


class Tunnel(Channel):
    """The SSL tunnel of a session, one TLS connection long."""

    def __init__(self, opened: OpenTunnel, around: Surroundings, traffic: Traffic) -> None:
        answer = opened.answer
        rekey = answer.rekey_time if answer.rekey_method != "none" else None
        encoding, dpd, keepalive = answer.content_encoding, answer.dpd, answer.keepalive
        super().__init__(opened.interface, around, traffic, encoding, dpd, keepalive, rekey)
        self.opened = opened
        self.stream = opened.stream
        self.dropped = 0
        self._reader = FrameReader()
        self._queued_control: deque[bytes] = deque(maxlen=CONTROL_QUEUE)
        self._queued_data: deque[bytes] = deque()
        self._queued = trio.Event()

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
        if len(self._queued_data) >= DATA_QUEUE:
            self._queued_data.popleft()
            self.dropped += 1
        self._queued_data.append(packet)
        self._queued.set()

    async def farewell(self, reason: str) -> None:
        """Tell the headend DISCONNECT, if it can be told at once, and close."""
        self.abandon()
        with trio.move_on_after(FAREWELL_SECONDS) as scope:
            scope.shield = True
            try:
                if self._around.network.carries(self.interface):
                    said = encode_frame(PacketType.DISCONNECT, disconnect_payload(reason))
                    await self.stream.send_all(said)
            except TlsBroken:
                pass  # it has gone already
        await self.stream.aclose()

    def _control(self, kind: int, payload: bytes = b"") -> None:
        self._traffic.control_out += 1
        self._queued_control.append(encode_frame(kind, payload))
        self._queued.set()

    async def _read(self) -> None:
        data = self.opened.first_bytes
        while True:
            try:
                if data:
                    frames = self._reader.feed(data)
                    unpacked = [self._unpack(frame.kind, frame.payload) for frame in frames]
                    self._deliver([packet for packet in unpacked if packet is not None])
                data = await self.stream.receive_some()
            except TlsBroken as error:
                return self._end(Lost(str(error)))
            except ProtocolError as error:
                return self._end(BrokenPeer(f"the headend broke the protocol: {error}"))
            await self._around.network.carrier(self.interface)
            if not data:
                return self._end(Lost("the headend closed the connection"))

    def _unpack(self, kind: int, payload: bytes) -> bytes | None:
        if kind == PacketType.DISCONNECT:
            said = parse_disconnect_untrusted(payload).text
            self._end(ToldToEnd(said or "the headend ended the session"))
        elif kind == PacketType.TERMINATE:
            self._end(ToldToEnd("the headend terminated the session"))
        return super()._unpack(kind, payload)

    async def _write(self) -> None:
        while True:
            await self._queued.wait()
            self._queued = trio.Event()
            while self._queued_control or self._queued_data:
                await self._around.network.carrier(self.interface)
                try:
                    for _ in range(RECORDS_PER_FLUSH):
                        if self._queued_control:
                            self.stream.write_record(self._queued_control.popleft())
                        elif self._queued_data:
                            frame = encode_frame(*self._pack(self._queued_data.popleft()))
                            self.stream.write_record(frame)
                        else:
                            break
                    await self.stream.flush()
                except TlsBroken as error:
                    return self._end(Lost(str(error)))
                self._liveness.last_sent_at = self._around.now()
