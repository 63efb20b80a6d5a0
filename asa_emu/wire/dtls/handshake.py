"""What the two sides of a handshake share: the transcript, the secrets that come of it, and the Finished
messages.

`ServerHandshake` and `ClientHandshake` take the peer's messages one by one, whole and in sequence, and return
the flights that answer them. They know nothing of records, loss or time; `exchange.py` sees to that.
"""

import hmac
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from asa_emu.wire.dtls.alerts import DECRYPT_ERROR, UNEXPECTED_MESSAGE, HandshakeRefused
from asa_emu.wire.dtls.keys import DirectionKeys, record_keys, verify_data
from asa_emu.wire.dtls.messages import FINISHED, encode_message
from asa_emu.wire.dtls.records import CHANGE_CIPHER_SPEC, HANDSHAKE
from asa_emu.wire.dtls.suites import DTLS_0_9, Suite

#: (epoch, record type, payload) in the order of sending
Flight = Sequence[tuple[int, int, bytes]]


class Handshake(ABC):
    """One side's half of a handshake; a subclass supplies `_on_message`."""

    __slots__ = (
        "_transcript",
        "client_random",
        "done",
        "expected",
        "keys",
        "master",
        "send_sequence",
        "server_random",
        "suite",
        "version",
    )

    is_client: ClassVar[bool]

    def __init__(self, suite: Suite, version: int, expected: tuple[int, ...]) -> None:
        self.suite = suite
        """The suite agreed on; before a PSK handshake has agreed, the likeliest."""
        self.version = version
        self.expected = expected
        """The message types that may come next."""
        self.done = False
        self.client_random = b""
        self.server_random = b""
        self.master = b""
        self.keys: tuple[DirectionKeys, DirectionKeys] | None = None
        """Ours and theirs, once there is a master secret."""
        self.send_sequence = 0
        self._transcript = bytearray()

    def step(self, kind: int, sequence: int, body: bytes) -> Flight:
        """Take the peer's next message; return the flight that it calls for, or nothing to send yet.

        Raises HandshakeRefused, or DtlsError for a malformed message.
        """
        if kind not in self.expected:
            raise HandshakeRefused(UNEXPECTED_MESSAGE, f"unexpected handshake message {kind}")
        if kind == FINISHED:
            self._check_finished(body)
        self._hash(kind, sequence, body)
        return self._on_message(kind, sequence, body)

    @abstractmethod
    def _on_message(self, kind: int, sequence: int, body: bytes) -> Flight:
        """Take a message that is expected and hashed."""

    def _write(self, kind: int, body: bytes) -> tuple[int, int, bytes]:
        """Number and hash a message of ours for epoch 0."""
        sequence = self.send_sequence
        self.send_sequence += 1
        self._hash(kind, sequence, body)
        return 0, HANDSHAKE, encode_message(kind, sequence, body)

    def _hash(self, kind: int, sequence: int, body: bytes) -> None:
        # DTLS 0.9 hashes no headers (docs/protocol.md §4.7), the others that of the unfragmented message.
        self._transcript += body if self.version == DTLS_0_9 else encode_message(kind, sequence, body)

    def _forget_transcript(self) -> None:
        self._transcript.clear()

    def _take_master(self, master: bytes) -> None:
        self.master = master
        client, server = record_keys(master, self.suite, self.version, self.client_random, self.server_random)
        self.keys = (client, server) if self.is_client else (server, client)

    def _finish(self) -> Flight:
        """Return ChangeCipherSpec and Finished."""
        change = b"\x01"
        if self.version == DTLS_0_9:
            # It counts as a message and says its number (docs/protocol.md §4.7).
            change += self.send_sequence.to_bytes(2, "big")
            self.send_sequence += 1
        _, kind, message = self._write(FINISHED, self._verify_data(client=self.is_client))
        return (0, CHANGE_CIPHER_SPEC, change), (1, kind, message)

    def _check_finished(self, body: bytes) -> None:
        if not hmac.compare_digest(body, self._verify_data(client=not self.is_client)):
            raise HandshakeRefused(DECRYPT_ERROR, "the peer's Finished is wrong")

    def _verify_data(self, *, client: bool) -> bytes:
        label = b"client finished" if client else b"server finished"
        return verify_data(self.master, label, bytes(self._transcript), self.suite, self.version)
