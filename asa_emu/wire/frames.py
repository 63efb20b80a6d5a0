"""CSTP frames, the packets inside the TLS connection after CONNECT (docs/protocol.md §3).

Protocol flow, once the answer to CONNECT has ended with its blank line:

    either side   DATA, COMPRESSED     one IP packet each
    either side   DPD_REQUEST          the other answers DPD_RESPONSE with the same payload
    either side   KEEPALIVE            no answer
    either side   DISCONNECT           one reason byte and text, or nothing; the connection ends
    headend       TERMINATE            the session is over

A frame is `53 54 46 01 | length, 2 bytes big-endian | type | 00 | payload`; the length leaves out the eight
bytes of the header. openconnect and ocserv read one TLS record and demand that it is exactly one frame, so a
frame is always written with one TLS write and has to fit one record. Reading is lenient: `FrameReader` takes
the stream cut in any way. The same type numbers, without magic and length, are the first byte of each DTLS
payload.

The headend's packet path parses in place with `HEADER`; everything else reads through `FrameReader`.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from asa_emu.wire.errors import FrameError

MAGIC = b"STF\x01"
HEADER = Struct(">4sHBB")
"""Magic, payload length, type, zero."""

MAX_PAYLOAD = 16384
"""Longest payload accepted, in bytes: the receive buffer of openconnect and ocserv."""

MAX_SENT_PAYLOAD = 16384 - HEADER.size
"""Longest payload sent, in bytes: with its header it fills one TLS record."""


class PacketType(IntEnum):
    """The types in use, CSTP and DTLS alike. openconnect leaves for good when it meets any other."""

    DATA = 0
    DPD_REQUEST = 3
    DPD_RESPONSE = 4
    DISCONNECT = 5
    KEEPALIVE = 7
    COMPRESSED = 8
    TERMINATE = 9


class DisconnectCode(IntEnum):
    """First byte of a DISCONNECT. From a client only `USER` logs off, the others keep the session."""

    LOCAL_ERROR = 0x70
    RECONNECTING = 0x91
    USER = 0xB0
    PAUSED = 0xD1


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `kind` may be a number outside `PacketType`, which the receiver ignores."""

    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Disconnect:
    """What a DISCONNECT said; `code` is None when it said nothing."""

    code: int | None
    text: str


def encode_frame(kind: int, payload: bytes | memoryview = b"") -> bytes:
    """One frame, to be written with one TLS write. ValueError above MAX_SENT_PAYLOAD bytes."""
    if len(payload) > MAX_SENT_PAYLOAD:
        raise ValueError(f"a payload of {len(payload)} bytes does not fit one TLS record")
    return HEADER.pack(MAGIC, len(payload), kind, 0) + payload


class FrameReader:
    """Turns the decrypted byte stream of one connection into frames, however it was cut.

    After a FrameError the reader is dead: every later call raises it again.
    """

    __slots__ = ("_fault", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._fault: FrameError | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """The frames that `data` completes, oldest first.

        Frames ahead of a fault in the same data are returned, and the next call raises the fault, so that
        what a peer said does not depend on how the network cut it.
        """
        if self._fault is not None:
            raise self._fault
        frames: list[Frame] = []
        buffer = self._rest + data
        at = 0
        end = len(buffer)
        while end - at >= HEADER.size:
            magic, length, kind, zero = HEADER.unpack_from(buffer, at)
            if magic != MAGIC or zero != 0 or length > MAX_PAYLOAD:
                self._fault = _fault(magic, length, zero)
                break
            body = at + HEADER.size
            if end - body < length:
                break
            at = body + length
            frames.append(Frame(kind, buffer[body:at]))
        self._rest = buffer[at:] if self._fault is None else b""
        if self._fault is not None and not frames:
            raise self._fault
        return frames

    @property
    def pending(self) -> int:
        """Bytes held of a frame that is not complete yet, at most 8 + MAX_PAYLOAD."""
        return len(self._rest)


def _fault(magic: bytes, length: int, zero: int) -> FrameError:
    if magic != MAGIC:
        return FrameError(f"frame begins with {magic.hex()}")
    if zero != 0:
        return FrameError(f"eighth byte of a frame is {zero:02x}")
    return FrameError(f"frame of {length} bytes")


def disconnect_payload(reason: str, code: int = DisconnectCode.USER) -> bytes:
    """Payload of a DISCONNECT; openconnect shows its user the code and the text."""
    return bytes((code,)) + reason.encode()


def parse_disconnect_untrusted(payload: bytes | memoryview) -> Disconnect:
    """What a DISCONNECT says. Every payload means something, so nothing is raised.

    Characters that do not print become dots, as openconnect shows them: the text ends in logs and tables.
    """
    if not payload:
        return Disconnect(None, "")
    text = bytes(payload[1:]).decode("utf-8", "replace")
    return Disconnect(payload[0], "".join(c if c.isprintable() else "." for c in text))
