"""Whether a unit of a failover pair may act at this instant: read, accept, answer, let timers run.

The state link keeps the gate open from one answer of the store to the next, for as long as nobody else can
be active. It shuts by itself: a process that was frozen finds it shut when it wakes up, before it has looked
at a single socket, and stays behind it until the link has asked whether the role is still its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio


class Gate:
    """Shut at first. `clock` counts seconds and does not stop for anybody."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.paused = False
        """Shut for a moment by our own choice, while nobody else can be active."""
        self.was_open_until = -math.inf
        """When it was shut, or shuts by itself."""
        self._clock = clock
        self._opened = trio.Event()

    @property
    def is_certain(self) -> bool:
        """Whether nobody else can be active now."""
        return self._clock() < self.was_open_until

    @property
    def is_open(self) -> bool:
        """Whether this process may act now."""
        return not self.paused and self.is_certain

    def keep_open(self, until: float) -> None:
        """It may act until this instant of the clock."""
        self.was_open_until = until
        if self.is_open:
            self._opened.set()
            self._opened = trio.Event()

    def shut(self) -> None:
        """It may not."""
        self.was_open_until = min(self.was_open_until, self._clock())

    async def opened(self) -> None:
        """Wait until it may."""
        while not self.is_open:
            await self._opened.wait()
