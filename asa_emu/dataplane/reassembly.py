"""IP fragments go in, whole payloads come out: what lets an inside host answer `ping -s 3000`.

Both families share it: the caller reads offset and more-fragments from its own header and names the datagram
by whatever identifies it there. There is no timer; incomplete datagrams are pushed out by newer ones of the
same source (`per_source.py`). Overlapping fragments kill their datagram, as RFC 5722 asks for IPv6; no
honest sender makes them.
"""

from dataclasses import dataclass, field

from asa_emu.dataplane.per_source import PerSource

MAX_DATAGRAM = 65_515
"""Octets of payload that an IPv4 packet can have."""
MAX_FRAGMENTS = 128
"""Enough for 64 KiB over a link of 576 bytes; stops eight-byte fragments from costing an object each."""


@dataclass(slots=True)
class _Partial:
    pieces: dict[int, bytes] = field(default_factory=dict)
    octets: int = 0
    end: int | None = None
    """Length of the whole payload, known once the last fragment is here."""


class Reassembler:
    """Puts fragmented payloads together; 4 datagrams of a source and 128 in all may be incomplete (8 MiB)."""

    __slots__ = ("_partials",)

    def __init__(self) -> None:
        self._partials: PerSource[_Partial] = PerSource(share=4, total=128)

    def __len__(self) -> int:
        """How many datagrams are incomplete."""
        return len(self._partials)

    def add(self, source: bytes, key: bytes, offset: int, more: bool, piece: bytes) -> bytes | None:
        """Takes one fragment, `offset` in bytes; returns the whole payload when this one completed it."""
        if not piece or offset + len(piece) > MAX_DATAGRAM or (more and len(piece) % 8):
            return None
        partial = self._partials.get(source, key)
        if partial is None:
            partial = _Partial()
            self._partials.put(source, key, partial)
        if offset in partial.pieces and len(partial.pieces[offset]) == len(piece):
            return None
        if not more and partial.end is None:
            partial.end = offset + len(piece)
        elif not more or offset in partial.pieces or len(partial.pieces) >= MAX_FRAGMENTS:
            self._partials.discard(source, key)
            return None
        partial.pieces[offset] = piece
        partial.octets += len(piece)
        if partial.end is None or partial.octets < partial.end:
            if partial.octets > MAX_DATAGRAM:
                self._partials.discard(source, key)
            return None
        self._partials.discard(source, key)
        return _join(partial)


def _join(partial: _Partial) -> bytes | None:
    whole = bytearray()
    for offset in sorted(partial.pieces):
        if offset != len(whole):
            return None
        whole += partial.pieces[offset]
    return bytes(whole) if len(whole) == partial.end else None
