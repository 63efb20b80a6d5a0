"""Handshake messages: their 12-byte headers, their fragments, and putting fragments of any order together.

    type(1) length(3) message sequence(2) fragment offset(3) fragment length(3) body

`fragments_untrusted` cuts the payload of a handshake record, `Reassembly` takes the fragments and gives back
whole messages in sequence. It keeps a bounded number of bounded messages, so junk costs it a few KiB for the
length of a handshake and no more.
"""

import struct
from dataclasses import dataclass

from asa_emu.wire.errors import DtlsError

CLIENT_HELLO = 1
SERVER_HELLO = 2
HELLO_VERIFY_REQUEST = 3
SERVER_KEY_EXCHANGE = 12
SERVER_HELLO_DONE = 14
CLIENT_KEY_EXCHANGE = 16
FINISHED = 20

_HEADER_LENGTH = 12
#: type with length, sequence, offset's high byte and low half, fragment length's
_HEADER = struct.Struct(">IHBHBH")

#: A ClientHello with many suites and extensions has 600 bytes; nothing that we take is longer.
MAX_MESSAGE = 4096
#: No peer puts more than a flight's three messages into one record; a stranger's 64 KiB could hold thousands.
_MAX_FRAGMENTS = 8
#: The longest flight of these handshakes has three messages.
_MAX_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a handshake message, perhaps the whole."""

    kind: int
    length: int
    """Bytes of the whole message body."""
    sequence: int
    offset: int
    body: bytes


def encode_message(kind: int, sequence: int, body: bytes) -> bytes:
    """Return a whole message with its header: what goes into a record, and into the handshake hash."""
    size = len(body)
    header = _HEADER.pack(kind << 24 | size, sequence, 0, 0, size >> 16, size & 0xFFFF)
    return header + body


def fragments_untrusted(payload: bytes) -> list[Fragment]:
    """Cut the payload of a handshake record; raise DtlsError unless all of it is well-formed fragments."""
    fragments: list[Fragment] = []
    at = 0
    while at < len(payload):
        if len(fragments) == _MAX_FRAGMENTS:
            raise DtlsError("too many handshake fragments in a record")
        if len(payload) - at < _HEADER_LENGTH:
            raise DtlsError("handshake header ends early")
        first, sequence, offset_high, offset_low, size_high, size_low = _HEADER.unpack_from(payload, at)
        kind, length = first >> 24, first & 0xFFFFFF
        offset, size = offset_high << 16 | offset_low, size_high << 16 | size_low
        at += _HEADER_LENGTH
        if length > MAX_MESSAGE or offset + size > length or at + size > len(payload):
            raise DtlsError("handshake fragment out of bounds")
        if size == 0 and length != 0:
            raise DtlsError("empty handshake fragment")
        fragments.append(Fragment(kind, length, sequence, offset, payload[at : at + size]))
        at += size
    return fragments


class Reassembly:
    """Fragments in, in any order and any number of times; whole messages out, each once and in sequence."""

    __slots__ = ("_partial", "next_sequence")

    def __init__(self, next_sequence: int) -> None:
        self.next_sequence = next_sequence
        self._partial: dict[int, _Partial] = {}

    def add(self, fragment: Fragment) -> bool:
        """Take a fragment; False if it is stale, too far ahead, or disagrees with one taken before."""
        if not 0 <= fragment.sequence - self.next_sequence < _MAX_AHEAD:
            return False
        partial = self._partial.get(fragment.sequence)
        if partial is None:
            partial = self._partial[fragment.sequence] = _Partial(fragment.kind, fragment.length)
        return partial.add(fragment)

    def pop(self) -> tuple[int, int, bytes] | None:
        """Return (type, sequence, body) of the next message once it is whole."""
        sequence = self.next_sequence
        partial = self._partial.get(sequence)
        if partial is None or not partial.whole():
            return None
        del self._partial[sequence]
        self.next_sequence += 1
        return partial.kind, sequence, bytes(partial.body)

    def skip(self) -> None:
        """Count a message that is not of handshake type: DTLS 0.9 numbers its ChangeCipherSpec among them."""
        self._partial.pop(self.next_sequence, None)
        self.next_sequence += 1


class _Partial:
    __slots__ = ("_have", "body", "kind")

    def __init__(self, kind: int, length: int) -> None:
        self.kind = kind
        self.body = bytearray(length)
        self._have = 0  # bit i: byte i is there

    def add(self, fragment: Fragment) -> bool:
        if fragment.kind != self.kind or fragment.length != len(self.body):
            return False
        end = fragment.offset + len(fragment.body)
        self.body[fragment.offset : end] = fragment.body
        self._have |= (1 << end) - (1 << fragment.offset)
        return True

    def whole(self) -> bool:
        return self._have == (1 << len(self.body)) - 1
