"""The three compressions a tunnel may negotiate, behind one face: a packet in, the payload of a COMPRESSED
frame out.

A connection that has agreed on an encoding makes one codec with `make_codec` and uses it for both directions:
`compress` for what it sends, `decompress` for what arrives. `lzs` and `oc-lz4` treat each packet alone, so
they also fit datagrams that may be lost; `deflate` carries its history from packet to packet, so it lives
exactly as long as one TLS tunnel, must see every compressed packet in order, and is never agreed on for DTLS
(docs/protocol.md §3.5).

Whatever the payload, `decompress` returns at most MAX_OUTPUT bytes or raises CompressionError. Whether
compressing is worth its time, and what is negotiated, is decided elsewhere.
"""

import importlib.util
import zlib
from typing import Any, Protocol

from asa_emu.wire import lzs
from asa_emu.wire.errors import CompressionError

MAX_OUTPUT = 16384
"""Bytes; the largest payload of a frame, and so the largest packet."""

SUPPORTED = ("oc-lz4", "lzs", "deflate")
"""Names as they stand in X-CSTP-Content-Encoding, the cheapest for both ends first (the order ocserv
prefers)."""

STATELESS = frozenset({"lzs", "oc-lz4"})
"""Those that may be used on DTLS."""

_SHORTEST = 40  # bytes; below it headers of the code eat what is saved, and openconnect does not try either


class Codec(Protocol):
    """One encoding for one connection, both directions."""

    @property
    def name(self) -> str:
        """The name it was negotiated under."""
        ...

    def compress(self, packet: bytes) -> bytes | None:
        """Return the payload for a COMPRESSED frame, or None to send the packet as it is, in a DATA frame."""
        ...

    def decompress(self, payload: bytes) -> bytes:
        """Return the packet in the payload of a COMPRESSED frame; raises CompressionError, and nothing
        else."""
        ...


class Deflate:
    """Cisco's deflate: one raw stream per direction, flushed after each packet, each followed by a checksum.

    The checksum is the Adler-32 of all packets so far in that direction. Every packet must be sent once it is
    compressed, even one that grew, since the peer needs it as history. After a CompressionError the history
    is lost and the connection with it.
    """

    name = "deflate"

    def __init__(self) -> None:
        # Memory level 5 fits the 4 KiB window (27 KiB each instead of 140), and the peer cannot tell.
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, -12, 5)
        self._inflate = zlib.decompressobj(-12)
        self._sent = 1
        self._received = 1

    def compress(self, packet: bytes) -> bytes:
        """Return the packet's part of the stream and its checksum."""
        self._sent = zlib.adler32(packet, self._sent)
        stream = self._deflate.compress(packet) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return stream + self._sent.to_bytes(4, "big")

    def decompress(self, payload: bytes) -> bytes:
        """Return the next packet of the stream."""
        if len(payload) < 4:
            raise CompressionError("deflate payload without its checksum")
        try:
            packet = self._inflate.decompress(payload[:-4], MAX_OUTPUT + 1)
        except zlib.error as error:
            raise CompressionError("corrupt deflate stream") from error
        if len(packet) > MAX_OUTPUT:
            raise CompressionError(f"deflate gives more than {MAX_OUTPUT} bytes")
        if self._inflate.eof:
            raise CompressionError("the deflate stream was ended")
        self._received = zlib.adler32(packet, self._received)
        if self._received.to_bytes(4, "big") != payload[-4:]:
            raise CompressionError("deflate checksum mismatch, a packet was lost or changed")
        return packet


class Lzs:
    """LZS, each packet alone; what does not shrink is sent as it is."""

    name = "lzs"

    def compress(self, packet: bytes) -> bytes | None:
        """Return the packet compressed, or None."""
        return lzs.compress(packet) if len(packet) >= _SHORTEST else None

    def decompress(self, payload: bytes) -> bytes:
        """Return the packet."""
        return lzs.decompress_untrusted(payload, MAX_OUTPUT)


class Lz4:
    """OpenConnect's own `oc-lz4`: the LZ4 block format without a size, each packet alone.

    Needs the package `lz4`, an optional one; raises ImportError that says so.
    """

    name = "oc-lz4"

    def __init__(self) -> None:
        try:
            import lz4.block
        except ImportError as error:
            raise ImportError(
                "compression oc-lz4 needs the extra: pip install 'asa-emu[compress]'"
            ) from error
        self._block: Any = lz4.block  # the package has no type information

    def compress(self, packet: bytes) -> bytes | None:
        """Return the packet compressed, or None."""
        if len(packet) < _SHORTEST:
            return None
        payload: bytes = self._block.compress(packet, store_size=False)
        return payload if len(payload) < len(packet) else None

    def decompress(self, payload: bytes) -> bytes:
        """Return the packet."""
        try:
            packet: bytes = self._block.decompress(payload, uncompressed_size=MAX_OUTPUT)
        except (self._block.LZ4BlockError, ValueError) as error:
            raise CompressionError("corrupt LZ4 block, or one of more than 16384 bytes") from error
        return packet


def make_codec(name: str) -> Codec:
    """Return a fresh codec for one connection.

    Raises ValueError for a name that is not in SUPPORTED, ImportError when its package is missing.
    """
    match name:
        case "deflate":
            return Deflate()
        case "lzs":
            return Lzs()
        case "oc-lz4":
            return Lz4()
    raise ValueError(f"unknown compression {name!r}, known are {', '.join(SUPPORTED)}")


def is_installed(name: str) -> bool:
    """Tell whether `make_codec` can make it here, for those who negotiate or check a configuration."""
    if name == "oc-lz4":
        return importlib.util.find_spec("lz4") is not None
    return name in SUPPORTED
