"""What remote hosts make us remember, within bounds that one host cannot use up for the others.

Half a packet, an open TCP connection: each costs memory at the word of a stranger, and the data plane has no
clock to time it out. So entries are kept by source address, the least recently used of a source goes first
when that source has its share, and the least recently used source pays when the whole is full.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class PerSource(Generic[T]):
    """A two-level least-recently-used table: at most `share` entries a source, at most `total` in all."""

    __slots__ = ("_share", "_shelves", "_size", "_total")

    def __init__(self, *, share: int, total: int) -> None:
        self._share = share
        self._total = total
        self._size = 0
        self._shelves: OrderedDict[bytes, OrderedDict[bytes, T]] = OrderedDict()

    def __len__(self) -> int:
        return self._size

    def get(self, source: bytes, key: bytes) -> T | None:
        """The entry, which thereby becomes the most recently used of its source; None when there is none."""
        shelf = self._shelves.get(source)
        if shelf is None or key not in shelf:
            return None
        self._shelves.move_to_end(source)
        shelf.move_to_end(key)
        return shelf[key]

    def put(self, source: bytes, key: bytes, entry: T) -> None:
        """Adds an entry that `get` did not find, at the cost of older ones when a bound is reached."""
        shelf = self._shelves.get(source)
        if shelf is not None and len(shelf) >= self._share:
            shelf.popitem(last=False)
            self._size -= 1
        elif self._size >= self._total:
            self._evict()
            shelf = self._shelves.get(source)
        if shelf is None:
            shelf = self._shelves[source] = OrderedDict()
        shelf[key] = entry
        self._shelves.move_to_end(source)
        self._size += 1

    def discard(self, source: bytes, key: bytes) -> None:
        """Forgets an entry; unknown ones are none of its business."""
        shelf = self._shelves.get(source)
        if shelf is not None and shelf.pop(key, None) is not None:
            self._size -= 1
            if not shelf:
                del self._shelves[source]

    def _evict(self) -> None:
        source, shelf = next(iter(self._shelves.items()))
        shelf.popitem(last=False)
        self._size -= 1
        if not shelf:
            del self._shelves[source]
