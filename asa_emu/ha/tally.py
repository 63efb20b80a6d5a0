"""A sum over the records of a table, by which a reader sees whether it has all of them, and no other ones.

Each record is signed, but not that it is still true: whoever can write into the store might bring back a row
of yesterday, or take one away. The sum travels in the signed head of every entry. It is made of keyed
digests, so that nobody without the key can find records that add up to it, and a change costs one of them.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

TALLY = 32  # bytes


class Tally:
    """The sum of a table that changes."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"asa-emu tally", "sha256")
        self._sum = 0
        self._parts: dict[int, int] = {}

    @property
    def value(self) -> bytes:
        """The sum now."""
        return self._sum.to_bytes(TALLY, "big")

    def put(self, index: int, record: bytes) -> None:
        """A record is in the table, in the place of the former one of that index."""
        part = int.from_bytes(hmac.digest(self._key, record, "sha256"), "big")
        self._sum ^= self._parts.get(index, 0) ^ part
        self._parts[index] = part

    def drop(self, index: int) -> None:
        """Nothing is in the table under that index."""
        self._sum ^= self._parts.pop(index, 0)

    def keep(self, indices: Iterable[int]) -> None:
        """Nothing is in the table but under these."""
        for index in self._parts.keys() - set(indices):
            self.drop(index)
