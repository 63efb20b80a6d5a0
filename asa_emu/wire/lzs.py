"""LZS, the compression that Cisco's clients and openconnect offer as `lzs`: each packet alone, no history.

The code is a string of bits, most significant first (RFC 1974 §2, docs/protocol.md §3.5):

    0 bbbbbbbb                        a literal byte
    1 1 ooooooo      length           a copy from 1..127 bytes back
    1 0 ooooooooooo  length           a copy from 1..2047 bytes back
    1 1 0000000                       the end, then zero bits up to a whole byte

    length    00 01 10 = 2 3 4    1100 1101 1110 = 5 6 7
              1111, n times, then nnnn below 1111 = 8 + 15 (n - 1) + nnnn

Both directions work on text of "0" and "1" characters, with tables from and to it: in pure Python that is
several times faster than shifting numbers. `compress` gives up early, and provably, on what cannot get
smaller.
"""

import itertools

from asa_emu.wire.errors import CompressionError

WINDOW = 2047
"""Bytes that an offset reaches back."""

_END = "110000000"
_LITERAL = ["0" + format(byte, "08b") for byte in range(256)]
_OFFSET = [f"11{o:07b}" if o < 128 else f"10{o:011b}" for o in range(WINDOW + 1)]
_BYTE = {format(byte, "08b"): byte for byte in range(256)}
_NIBBLE = {format(n, "04b"): n for n in range(16)}


def _length_code(length: int) -> str:
    if length <= 4:
        return format(length - 2, "02b")
    if length <= 7:
        return format(length + 7, "04b")
    more, last = divmod(length - 8, 15)
    return "1111" * (more + 1) + format(last, "04b")


_LENGTH = ["", ""] + [_length_code(length) for length in range(2, WINDOW + 1)]


def compress(data: bytes) -> bytes | None:
    """Return the packet compressed, or None when that would not make it shorter."""
    size = len(data)
    # A repeated pair of bytes saves at most 8 bits and keeps at most 2 bytes from being literals, each of
    # which grows by a bit; with less than a tenth of the pairs repeated, no choice of copies gains anything.
    if 10 * (size - len(set(itertools.pairwise(data)))) < size:
        return None
    bits: list[str] = []
    pairs: dict[bytes, int] = {}
    at = literals = 0
    while at < size - 1:
        pair = data[at : at + 2]
        near = pairs.get(pair, -WINDOW - 1)
        pairs[pair] = at
        if at - near > WINDOW:
            at += 1
            continue
        length, start = _longest(data, at, near)
        bits.extend([_LITERAL[byte] for byte in data[literals:at]])
        bits.append(_OFFSET[at - start])
        bits.append(_LENGTH[length] if length <= WINDOW else _length_code(length))
        for inside in range(at + 1, min(at + length, size - 1)):
            pairs[data[inside : inside + 2]] = inside
        at += length
        literals = at
    bits.extend([_LITERAL[byte] for byte in data[literals:]])
    bits.append(_END)
    code = "".join(bits)
    octets = (len(code) + 7) // 8
    if octets >= size:
        return None
    return (int(code, 2) << (8 * octets - len(code))).to_bytes(octets, "big")


def _longest(data: bytes, at: int, near: int) -> tuple[int, int]:
    """Length and start of the longest earlier occurrence of what begins at `at`, the nearest of equal ones.

    `near` is the nearest that agrees in two bytes.
    """
    size = len(data)
    oldest = max(0, at - WINDOW)
    start = near
    length = 2
    while True:
        while at + length < size and data[start + length] == data[at + length]:
            length += 1
        if at + length >= size:
            return length, start
        # Only one that agrees in a byte more is worth having, and it can only lie further back.
        further = data.rfind(data[at : at + length + 1], oldest, start + length)
        if further < 0:
            return length, start
        start = further
        length += 1


def decompress_untrusted(payload: bytes, limit: int) -> bytes:
    """Return the packet that was compressed, at most `limit` bytes.

    Raises CompressionError when the code breaks off, copies from before the packet, or gives more than the
    limit. What follows the end marker is ignored.
    """
    bits = format(int.from_bytes(payload, "big"), f"0{8 * len(payload)}b") if payload else ""
    out = bytearray()
    at = 0
    try:
        while True:
            if bits[at] == "0":
                out.append(_BYTE[bits[at + 1 : at + 9]])
                at += 9
                continue
            if bits[at + 1] == "1":
                offset = int(bits[at + 2 : at + 9], 2)
                at += 9
                if offset == 0 and at <= len(bits):
                    break
            else:
                offset = int(bits[at + 2 : at + 13], 2)
                at += 13
            length = 2 + int(bits[at : at + 2], 2)
            at += 2
            if length == 5:
                length += int(bits[at : at + 2], 2)
                at += 2
                while length >= 8:
                    nibble = _NIBBLE[bits[at : at + 4]]
                    at += 4
                    length += nibble
                    if nibble < 15:
                        break
            if not 0 < offset <= len(out):
                raise CompressionError("LZS copies from before the packet")
            if len(out) + length > limit:
                raise CompressionError(f"LZS gives more than {limit} bytes")
            chunk = out[-offset:]
            if length > offset:
                chunk *= length // offset + 1
            out += chunk[:length]
    except (IndexError, KeyError, ValueError):
        raise CompressionError("LZS code breaks off") from None
    if len(out) > limit:
        raise CompressionError(f"LZS gives more than {limit} bytes")
    return bytes(out)
