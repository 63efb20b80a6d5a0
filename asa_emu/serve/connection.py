"""One TLS connection of the VPN port, from accept to close.

    accept -> TLS handshake -> requests (https.py) -> CONNECT -> tunnel (tunnels.py)
                            \\-> answered with an error -> drained briefly -> closed

`readable` is the whole hot path: one `recv_into` a shared buffer, the bytes into TLS in slices (a memory BIO
never shrinks, so it must never grow), the plaintext to whoever speaks on this connection now, the answers out
with one `send`. What a partial send leaves waits in `_unsent`, and nothing is read until it is gone.

Handshake and request limits are absolute instants of run time; the timekeeper asks `next_deadline`.
"""

from __future__ import annotations

import enum
import math
import socket
from typing import TYPE_CHECKING, Protocol

from asa_emu.session.model import Peer
from asa_emu.transport.openssl import Scratch, TlsBroken, TlsEngine

if TYPE_CHECKING:
    from asa_emu.serve.endpoint import HttpsEndpoint

HANDSHAKE_LIMIT = 20.0  # seconds of run time, from accept
DRAIN_LIMIT = 2.0  # seconds a refused peer may go on sending, so that the reset does not eat the answer
_SLICE = 16384  # ciphertext bytes given to TLS at once
RECEIVE_SIZE = 65536
_DATA_RECORD = b"\x17\x03\x03"  # how one begins in TLS 1.2 and 1.3; the middle of another never looks so

ciphertext = Scratch(RECEIVE_SIZE)
plaintext = Scratch(RECEIVE_SIZE + 49152)


class Speaker(Protocol):
    """Who speaks on a connection: the HTTP exchange first, the tunnel after CONNECT."""

    def receive(self, buffer: bytearray, end: int) -> int:
        """Take `buffer[:end]`; the number of bytes used. The rest comes again, before what follows it."""

    def drained(self) -> None:
        """Everything written so far has left."""

    def expired(self) -> None:
        """The limit set on the connection has passed; it must be ended."""

    def lost(self, reason: str) -> None:
        """The connection is gone, by whatever cause but our own close."""


class Phase(enum.Enum):
    """Where a connection is in its life."""

    HANDSHAKE = enum.auto()
    OPEN = enum.auto()
    DRAINING = enum.auto()
    CLOSED = enum.auto()


class Connection:
    """A TLS connection and its socket; the dispatcher calls it, its speaker writes to it."""

    __slots__ = (
        "_chunks",
        "_rest",
        "_unsent",
        "authenticated",
        "deadline_at",
        "endpoint",
        "engine",
        "local_port",
        "peer",
        "phase",
        "sock",
        "speaker",
    )

    def __init__(self, endpoint: HttpsEndpoint, sock: socket.socket, peer: Peer, local_port: int) -> None:
        self.endpoint = endpoint
        self.sock = sock
        self.peer = peer
        self.local_port = local_port
        self.engine = TlsEngine(endpoint.context, server_side=True)
        self.phase = Phase.HANDSHAKE
        self.speaker: Speaker | None = None
        self.deadline_at = endpoint.run_now() + HANDSHAKE_LIMIT
        self.authenticated = False
        self._rest = b""
        self._unsent = b""
        self._chunks: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Connection {self.peer.ip}:{self.peer.port} {self.phase.name}>"

    def fileno(self) -> int:
        """The socket's descriptor, -1 once closed."""
        return self.sock.fileno()

    @property
    def blocked(self) -> bool:
        """Whether the peer takes nothing more for now."""
        return bool(self._unsent)

    def next_deadline(self) -> float:
        """The instant of run time by which this phase must be over."""
        return self.deadline_at if self.phase is not Phase.CLOSED else math.inf

    def set_deadline(self, at: float) -> None:
        """A new absolute limit, inf for none; earlier ones are noticed at once."""
        earlier = at < self.deadline_at
        self.deadline_at = at
        if at == math.inf:
            # or the limit of each handshake would wake the timekeeper for a tunnel that has none any more
            self.endpoint.limits.discard(self)
        elif earlier and self.phase is not Phase.CLOSED:
            self.endpoint.limits.add(self, at)

    def on_deadline(self) -> None:
        """The limit has passed: the peer was too slow."""
        if self.phase is Phase.OPEN and self.speaker is not None:
            self.speaker.expired()
            self.flush()
        else:
            self.drop("time limit")

    def readable(self) -> None:
        """Read once and let the speaker have what it means."""
        try:
            count = self.sock.recv_into(ciphertext.buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.drop(error.strerror or "reset")
            return
        if self.phase is Phase.DRAINING:
            if count == 0:
                self.close()
            return
        if count == 0:
            self.drop("end of stream")
            return
        view = ciphertext.view
        # one whole record of data and nothing else: what an idle tunnel sends
        single = count < _SLICE and count == 5 + (view[3] << 8 | view[4]) and view[:3] == _DATA_RECORD
        for start in range(0, count, _SLICE):
            self.engine.feed(view[start : min(start + _SLICE, count)])
            if self.phase is Phase.HANDSHAKE:
                done = self._shake_hands()
                if done is None:
                    return
                if not done:
                    continue
                single = False
            self._decrypt(single)
            if self.phase is not Phase.OPEN:
                break
            if count > _SLICE:
                self._chunks.append(self.engine.output())
        if self.phase is Phase.CLOSED:
            return
        self.flush()
        ended = self.engine.ended
        if ended is not None and self.phase is Phase.OPEN:
            self.drop(str(ended) or "close_notify")

    def _shake_hands(self) -> bool | None:
        """Whether the handshake is done; None when it failed and the connection is over."""
        try:
            done = self.engine.handshake()
        except TlsBroken as error:
            self._chunks.append(self.endpoint.handshake_failed(self, str(error)))
            self.flush()
            self._linger()
            return None
        if done:
            self.phase = Phase.OPEN
            self.endpoint.handshaken(self)
        return done

    def _decrypt(self, single: bool) -> None:
        rest = self._rest
        start = len(rest)
        if start:
            plaintext.view[:start] = rest
        end = self.engine.read_into(plaintext, start, single=single)
        if end == start or self.speaker is None:
            return
        speaker = self.speaker
        used = speaker.receive(plaintext.buffer, end)
        if used < end and self.speaker is not speaker and self.speaker is not None:
            # what came in one record with the CONNECT belongs to the tunnel
            plaintext.view[: end - used] = bytes(plaintext.view[used:end])
            end -= used
            used = self.speaker.receive(plaintext.buffer, end)
        self._rest = b"" if used == end else bytes(plaintext.view[used:end])

    def give_back(self, data: bytes) -> None:
        """Let the speaker have plaintext that the one before it has taken."""
        if data and self.speaker is not None:
            plaintext.view[: len(data)] = data
            self._rest = data[self.speaker.receive(plaintext.buffer, len(data)) :]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt `data` (at most 16,384 bytes) as one TLS record; it leaves with the next `flush`.

        Never raises: what is written to a connection that has ended is lost, and its end is told elsewhere.
        """
        if self.phase is Phase.OPEN:
            try:
                self.engine.write(data)
            except TlsBroken:
                pass  # the next read tells the speaker

    def write_long(self, data: bytes) -> None:
        """Encrypt `data` of any length."""
        for start in range(0, len(data), _SLICE):
            self.write(data[start : start + _SLICE])

    def flush(self) -> None:
        """Send what was written. Never raises: a dead peer is told to the speaker."""
        if self.phase is Phase.CLOSED:
            return
        output = self.engine.output()
        if self._chunks:
            self._chunks.append(output)
            output = b"".join(self._chunks)
            self._chunks.clear()
        if self._unsent:
            self._unsent += output
            return
        if output:
            self._send(output)

    def _send(self, output: bytes) -> None:
        try:
            sent = self.sock.send(output)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.drop(error.strerror or "reset")
            return
        if sent < len(output):
            self._unsent = output[sent:]
            self.endpoint.dispatcher.want_write(self, True)
        elif self._unsent:
            self._unsent = b""
            self.endpoint.dispatcher.want_write(self, False)

    def writable(self) -> None:
        """Send on; when all is gone, the speaker may write what it held back."""
        unsent = self._unsent
        self._send(unsent)
        if not self._unsent and self.phase is not Phase.CLOSED:
            if self.phase is Phase.DRAINING:
                self._shut_down()
            elif self.speaker is not None:
                self.speaker.drained()
                self.flush()

    def finish(self) -> None:
        """No more from us: send what is queued, then close_notify, then wait briefly for the peer to end."""
        if self.phase not in (Phase.OPEN, Phase.HANDSHAKE):
            return
        self.engine.close_notify()
        self.flush()
        self._linger()

    def _linger(self) -> None:
        if self.fileno() < 0:
            return  # the flush found the peer gone
        self.phase = Phase.DRAINING
        self.speaker = None
        self.set_deadline(self.endpoint.run_now() + DRAIN_LIMIT)
        if not self._unsent:
            self._shut_down()

    def _shut_down(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def drop(self, reason: str) -> None:
        """Close because the peer is gone or misbehaves, and tell the speaker."""
        speaker, self.speaker = self.speaker, None
        try:
            if speaker is not None:
                speaker.lost(reason)
        finally:
            self.close()

    def abort(self) -> None:
        """Close after an internal error."""
        self.drop("internal error")

    def close(self) -> None:
        """Close the socket now, without a word. Idempotent; the speaker is not told."""
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.CLOSED
        self.speaker = None
        self._unsent = b""
        self._chunks.clear()
        self.endpoint.forget(self)
        self.sock.close()
