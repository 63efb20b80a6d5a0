"""A standby's way through the store: all at once, then entry by entry, into the table and the configuration.

store.snapshot, store.read -> Follower -> the table; the configuration -> adopt
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from asa_emu.config import ConfigError, Policy, effective_policy
from asa_emu.ha.journal import Follower, OutOfSync
from asa_emu.ha.unit import Unit
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.store import Store
from asa_emu.serve.unit_report import UnitReport


class LogReader:
    """What one unit has read. Calls raise what the store raises, and `OutOfSync` when entries are missing."""

    def __init__(
        self,
        gateway: Gateway,
        unit: Unit,
        store: Store,
        key: bytes,
        report: UnitReport,
        reconfigured: Callable[[], None],
    ) -> None:
        """`reconfigured` is called after the active unit's configuration has become ours."""
        self.follower = Follower(gateway.headend.db, key, self._policy_of, self._adopt)
        self.follower.on_copied = report.copied
        self.follower.on_refused = self._tell_refused
        self._gateway = gateway
        self._headend = gateway.headend
        self._unit = unit
        self._store = store
        self._report = report
        self._reconfigured = reconfigured
        self.lacks = False
        """The store has another table than the active unit has written: it has to write it again."""
        self._position: bytes | None = None

    @property
    def is_anywhere(self) -> bool:
        """Whether it can go on with the next entry; if not, all has to be read first."""
        return self._position is not None

    def begin_anew(self) -> None:
        """Read everything next."""
        self._position = None

    def forget_all(self) -> None:
        """Nobody's sessions are ours any more; what the store has is believed, however old."""
        self._headend.db.forget_all()
        self.follower.begin_anew()
        self._position = None

    async def load(self, *, unchecked: bool = False) -> None:
        """Read everything; `unchecked` when nobody is there to write it again."""
        self._report.notice(709005)
        self._position = None
        snapshot = await self._store.snapshot()
        try:
            for _ in self.follower.load(snapshot, self._gateway.now(), unchecked=unchecked):
                await trio.lowlevel.checkpoint()
        except OutOfSync:
            self.lacks = True
            raise
        self.lacks = False
        self._position = snapshot.position
        self._report.received += len(snapshot.sessions)
        self._report.notice(709006)

    async def read(self, wait: float) -> bool:
        """Read the next entries, waiting some seconds for the first one; whether there were any."""
        assert self._position is not None  # it has been loaded
        position, entries = await self._store.read(self._position, wait)
        for entry in entries:
            self.follower.apply(entry, self._gateway.now())
            self._report.received += len(entry.changes)
            self._report.lags.append(max(0.0, time.time() - self.follower.sent))
        moved, self._position = position != self._position, position
        return moved

    async def read_to_the_end(self) -> None:
        """Read what is left, of a log that nobody adds to any more."""
        if self._position is not None:
            try:
                while await self.read(0.0):
                    pass
                return
            except OutOfSync:
                pass
        await self.load(unchecked=True)

    def _policy_of(self, username: str, tunnel_group: str, group_policy: str) -> Policy:
        return effective_policy(self._headend.config, username, tunnel_group, group_policy)

    def _adopt(self, text: str) -> None:
        """Take over the active unit's configuration."""
        try:
            if not self._headend.config.adopt(text):
                return
        except ConfigError as error:
            self._tell_refused(str(error))
            return
        self._headend.reconfigure()
        self._reconfigured()
        timers = self._headend.config.failover.unit_timers
        if (timers.poll, timers.hold) != (self._unit.poll, self._unit.hold):
            reason = "other failover timers than the mate's, until the next start"
            self._report.once("failover.timers_differ", reason)

    def _tell_refused(self, reason: str) -> None:
        self._report.once("failover.refused", reason)
