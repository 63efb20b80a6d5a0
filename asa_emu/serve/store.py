"""Where the units of a failover pair meet: what a store can do, and one in memory for a pair in one process.

A store that does not work says which way. Nobody listens at its address (`StoreDown`): that is so for both
units. Or it does not answer with sense (`StoreSilent`): that may be so for one of them alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import trio

from asa_emu.ha.journal import Snapshot
from asa_emu.ha.records import Entry
from asa_emu.ha.store import Put, RawAsk, RawTold, Shelf


class StoreDown(Exception):
    """Nobody listens at the store's address, for no unit."""


class StoreSilent(Exception):
    """The store does not answer in time, or not with sense."""


class Store(Protocol):
    """Where the units meet. Every call may raise `StoreDown` or `StoreSilent`, and is one step for all."""

    def clock(self) -> float:
        """Seconds on a clock that all units on this machine share, and that no process can stop."""

    async def poll(self, ask: RawAsk) -> RawTold:
        """Renew the lease or ask for it."""

    async def release(self, mine: bytes, free: bytes) -> None:
        """Put `free` in the place of our lease."""

    async def append(self, lease: bytes, entry: Entry, puts: Iterable[Put]) -> bool:
        """Write an entry, unless the lease is not ours."""

    async def snapshot(self) -> Snapshot:
        """Everything at one instant."""

    async def read(self, position: bytes, wait: float) -> tuple[bytes, list[Entry]]:
        """The next entries, waiting some seconds for the first one."""

    async def note(self, line: bytes) -> None:
        """Add a line to the list of who was active when."""


class LocalStore:
    """The store of a pair in one process."""

    def __init__(self, hold: float) -> None:
        self.shelf = Shelf(hold)
        self._news = trio.Event()

    def clock(self) -> float:
        """Run time."""
        return trio.current_time()

    async def poll(self, ask: RawAsk) -> RawTold:
        """Renew the lease or ask for it."""
        return self.shelf.poll(ask, self.clock())

    async def release(self, mine: bytes, free: bytes) -> None:
        """Give the lease up."""
        self.shelf.release(mine, free, self.clock())

    async def append(self, lease: bytes, entry: Entry, puts: Iterable[Put]) -> bool:
        """Write an entry."""
        await trio.lowlevel.checkpoint()
        written = self.shelf.append(lease, entry, puts, self.clock())
        self._news.set()
        self._news = trio.Event()
        return written

    async def snapshot(self) -> Snapshot:
        """Everything."""
        return self.shelf.snapshot()

    async def read(self, position: bytes, wait: float) -> tuple[bytes, list[Entry]]:
        """The next entries."""
        after, entries = self.shelf.read(position)
        if not entries:
            with trio.move_on_after(wait):
                await self._news.wait()
            after, entries = self.shelf.read(position)
        return after, entries

    async def note(self, line: bytes) -> None:
        """Add a line."""
        self.shelf.notes.append(line)
