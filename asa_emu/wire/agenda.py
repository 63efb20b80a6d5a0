"""The deadlines of many machines, so that one task can sleep until the earliest.

Items are filed under the instant they named last. Traffic moves deadlines later without telling anybody, so
an instant that comes round may be stale: `pop_due` asks each item again and silently files it anew when it is
not due. One entry per item and period, no cancelling, no work per packet. Only a deadline that moves earlier
has to be told, with `touch`.

Instants are few where deadlines fall on whole seconds, so a heap holds the distinct instants and each has its
items in the order they were filed: filing costs O(1) for an instant already there, O(log n) otherwise. Items
with equal deadlines come out in that order, which keeps a run reproducible.
"""

import math
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Anything with a deadline; it is kept by hash, so plain objects are told apart by identity."""

    def next_deadline(self) -> float:
        """The instant at which it wants `on_deadline(now)`, inf for never."""


ItemT = TypeVar("ItemT", bound=Timed)


class Agenda(Generic[ItemT]):
    """Holds items until they are discarded, whether or not they have a deadline at present."""

    __slots__ = ("_filed", "_instants", "_slots", "_vacant")

    def __init__(self) -> None:
        self._filed: dict[ItemT, float] = {}
        self._instants: list[float] = []
        self._slots: dict[float, dict[ItemT, None]] = {}
        self._vacant = 0

    def __len__(self) -> int:
        return len(self._filed)

    def __contains__(self, item: ItemT) -> bool:
        return item in self._filed

    def add(self, item: ItemT, at: float) -> None:
        """File an item under an instant, usually its `next_deadline()`; it leaves any former one."""
        former = self._filed.get(item)
        if former is not None:
            self._unfile(item, former)
        self._file(item, at)

    def touch(self, item: ItemT) -> None:
        """Ask an item again, because its deadline may have moved earlier or because it was popped.

        Nothing happens for an item that is not here: what was discarded stays out.
        """
        former = self._filed.get(item)
        if former is None:
            return
        at = item.next_deadline()
        if at < former:
            self._unfile(item, former)
            self._file(item, at)

    def discard(self, item: ItemT) -> None:
        """Forget an item, if it is here."""
        former = self._filed.pop(item, None)
        if former is not None:
            self._unfile(item, former)

    def next_deadline(self) -> float:
        """When to call `pop_due`; perhaps earlier than anything is due, never later. inf for never."""
        instants = self._instants
        while instants and not self._slots[instants[0]]:
            del self._slots[heappop(instants)]
            self._vacant -= 1
        return instants[0] if instants else math.inf

    def pop_due(self, now: float) -> list[ItemT]:
        """The items whose deadline is at or before `now`, in the order of their filed instants.

        They stay members without an instant: call `on_deadline(now)` on each, then `touch` it (or `discard`).
        """
        due: list[ItemT] = []
        instants, filed = self._instants, self._filed
        while instants and instants[0] <= now:
            slot = self._slots.pop(heappop(instants))
            if not slot:
                self._vacant -= 1
            for item in slot:
                at = item.next_deadline()
                if at <= now:
                    filed[item] = math.inf
                    due.append(item)
                else:
                    self._file(item, at)
        return due

    def _file(self, item: ItemT, at: float) -> None:
        self._filed[item] = at
        if at == math.inf:
            return
        slot = self._slots.get(at)
        if slot is None:
            self._slots[at] = {item: None}
            heappush(self._instants, at)
        else:
            if not slot:
                self._vacant -= 1
            slot[item] = None

    def _unfile(self, item: ItemT, at: float) -> None:
        if at == math.inf:
            return
        slot = self._slots[at]
        del slot[item]
        if slot:
            return
        self._vacant += 1
        # A storm of short sessions would leave an empty instant half an hour ahead for each of them.
        if self._vacant > 64 and self._vacant * 2 > len(self._instants):
            self._slots = {instant: items for instant, items in self._slots.items() if items}
            self._instants = list(self._slots)
            heapify(self._instants)
            self._vacant = 0
