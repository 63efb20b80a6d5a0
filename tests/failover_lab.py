"""A failover pair inside the test: both units on one clock, and what may happen to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import trio

from asa_emu.app import HostPort, Options, Running
from asa_emu.ha.unit import State
from asa_emu.pair import Pair, run_pair
from asa_emu.serve.store import LocalStore, StoreDown, StoreSilent
from asa_emu.session.replica import Row, row_of
from tests.headend_lab import CONFIG, EPOCH

LOGGING = "logging enable\nlogging buffered debugging\nlogging buffer-size 1048576\n"


@asynccontextmanager
async def pair(state: Path, config: str = CONFIG, **options: Any) -> AsyncIterator[Pair]:
    """Run a pair around a block; the primary is active, the secondary ready."""
    wanted: dict[str, Any] = {
        "config_text": LOGGING + config,
        "listen": HostPort("127.0.0.1", 0),
        "state": state,
        "epoch": EPOCH,
        **options,
    }
    async with trio.open_nursery() as nursery:
        made: Pair = await nursery.start(run_pair, Options(**wanted))
        try:
            yield made
        finally:
            nursery.cancel_scope.cancel()


async def eventually(fact: Callable[[], object], limit: float = 60.0) -> None:
    """Wait for a fact that may take long."""
    with trio.fail_after(limit):
        while not fact():  # noqa: ASYNC110 -- there is nothing to be notified by
            await trio.sleep(0.05)


def state_of(unit: Running) -> State:
    """The state of a unit."""
    assert unit.link is not None
    return unit.link.unit.state


async def switch(pair: Pair) -> Running:
    """Make the standby take over, by the active unit's console; the unit that is active now."""
    before, after = pair.active, pair.standby
    assert before.link is not None
    before.link.switch(active=False)
    await eventually(lambda: pair.active is after and state_of(before) is State.READY)
    return after


def freeze(unit: Running) -> None:
    """Stop a unit as SIGSTOP does: its sockets stay, and it does nothing any more."""
    assert unit.link is not None
    unit.link.gate.shut()
    unit.link.nursery.cancel_scope.cancel()


async def freeze_active(pair: Pair) -> Running:
    """Freeze the active unit, and wait until the other one has taken over."""
    before, after = pair.active, pair.standby
    freeze(before)
    await eventually(lambda: state_of(after) is State.ACTIVE)
    return after


def table(unit: Running) -> list[Row]:
    """Every row of a unit's database."""
    return [row_of(session) for session in unit.gateway.headend.db.sessions()]


async def in_step(pair: Pair) -> None:
    """Wait until the standby has the table of the active unit."""
    await eventually(lambda: table(pair.active) == table(pair.standby))


def messages(unit: Running, *numbers: int) -> list[str]:
    """The messages with these numbers in a unit's buffer, without their stamps."""
    lines = unit.gateway.headend.syslog.buffer.lines
    said = [line.partition("%ASA-")[2] for line in lines]
    return [line for line in said if any(f"-{number}: " in f"-{line[2:]}" for number in numbers)]


def store_of(pair: Pair) -> LocalStore:
    """What lies between the units."""
    link = pair.active.link
    assert link is not None
    assert isinstance(link._store, LocalStore)
    return link._store


class Weather:
    """A unit's way to the store, with whatever weather a test wants."""

    def __init__(self, unit: Running) -> None:
        assert unit.link is not None
        self._store: Any = unit.link._store
        unit.link._store = unit.link.reader._store = self
        self.sky: Literal["clear", "down", "silent"] = "clear"
        self.append_may = trio.Event()
        """Entries wait for it before they are written."""
        self.append_may.set()

    def clock(self) -> float:
        return float(self._store.clock())

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        async def weathered(*arguments: Any) -> Any:
            if self.sky == "silent":
                await trio.sleep(0.5)
                raise StoreSilent("no answer")
            if self.sky == "down":
                raise StoreDown("connection refused")
            if name == "append":
                await self.append_may.wait()
            return await call(*arguments)

        return weathered
