"""One unit of a failover pair at work: its role, its copy of the sessions, and the store between the units.

    every poll -> store.poll -> Unit: the gate stays open, or a step is to be done
    events -> Journal -> store.append (one entry for all that has gathered) -> whoever waits is answered
    store.snapshot, store.read -> Follower -> the table of a standby
    TAKE_OVER: read to the log's end, bind the service address, tunnels of the former unit down, serve
    STAND_BY: shut the gate, close every socket without a word, forget the table, give the lease up, follow

Three tasks: one polls, one writes, and one follows or takes over, never both. Whatever changes the role holds
`_turn`, so that no answer to an older question can undo it. What people are told of it is `unit_report`'s.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
import trio

from asa_emu.config.failover import Failover
from asa_emu.ha.journal import Batch, Journal, OutOfSync
from asa_emu.ha.records import Hello, Lease, encode
from asa_emu.ha.status import Interval, Status
from asa_emu.ha.store import RawTold, Signer, puts_of
from asa_emu.ha.unit import Ask, Signal, State, Step, Unit
from asa_emu.serve.gate import Gate
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.log_reader import LogReader
from asa_emu.serve.store import Store, StoreDown, StoreSilent
from asa_emu.serve.unit_report import UnitReport
from asa_emu.serve.vpn_port import VpnPort
from asa_emu.session.events import SessionEvent

CLOCK_TOLERANCE: Final = 0.05  # seconds of run time that the units' clocks may differ by
LAST_WORDS: Final = 0.3  # seconds that a unit which is to stop gives the store to answer
RETIRED: Final = "The unit is stopped"
GONE: Final = "Disabled"
"""What a unit that is to stop says its state is."""

log = structlog.get_logger(__name__)


class CannotServe(Exception):
    """The service address cannot be bound, and there is no mate that could serve instead."""


class StateLink:
    """A unit: what decides its role, and what that means for its headend."""

    def __init__(
        self,
        gateway: Gateway,
        port: VpnPort,
        store: Store,
        said: Failover,
        key: bytes,
        instance: str,
        *,
        bind: Callable[[VpnPort], None],
        reconfigured: Callable[[], None],
    ) -> None:
        """`bind` opens the port or raises `OSError`; `reconfigured` is called after a new configuration."""
        timers = said.unit_timers
        self.unit = Unit(
            said.unit or "primary", instance, poll=timers.poll, hold=timers.hold, now=store.clock()
        )
        self.ready = trio.Event()
        """Set once this unit serves, or has all that the active one has."""
        self._gateway = gateway
        self._headend = gateway.headend
        self._port = port
        self._store = store
        self._key = key
        self._bind = bind
        db = self._headend.db
        self.journal = gateway.journal = Journal(db, key, store.clock, self._there_is_work)
        self.report = UnitReport(gateway, self.unit, said, store.clock)
        self.reader = LogReader(gateway, self.unit, store, key, self.report, reconfigured)
        self.follower = self.reader.follower
        self.gate = gateway.gate = gateway.dispatcher.gate = Gate(store.clock)
        self._signer = Signer(key, self.unit.name, self.unit.mate)
        self._signer.on_refused = partial(self.report.once, "failover.refused")
        db.subscribe(self._hear_event)
        self._turn = trio.Lock()
        self._poke = self._work = trio.Event()
        self._scope = trio.CancelScope()
        self._idle = trio.Event()
        self._idle.set()
        self.nursery: trio.Nursery
        self._run: bytes | None = None
        self._cut = False
        self._mate: Hello | None = None
        self._mate_heard_at = 0.0
        self._namesake_since: float | None = None
        self._wants_role_until = 0.0
        self._settled = -1

    @property
    def active(self) -> bool:
        """Whether this is the active unit, and certain of it."""
        return self.unit.state is State.ACTIVE and self.gate.is_open

    async def run(self) -> None:
        """Poll, write and follow until cancelled. Raises `CannotServe` when it could not even start."""
        self.report.notice(105002)
        try:
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self._poll)
                self.nursery.start_soon(self._write)
        finally:
            if self.unit.retired and self.unit.has_role:
                self.gate.shut()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_WORDS):
                    await self._release()

    # polls

    async def _poll(self) -> None:
        unit, clock = self.unit, self._store.clock
        while True:
            self._poke = trio.Event()
            with trio.move_on_after(max(0.0, unit.next_deadline() - clock())):
                await self._poke.wait()
            if clock() >= unit.next_deadline():
                async with self._turn:
                    await self._one_poll()

    async def _one_poll(self) -> None:
        unit, sent_at = self.unit, self._store.clock()
        ask, hello = unit.ask(sent_at), self._hello()
        step = None
        try:
            raw = await self._store.poll(self._signer.sign(ask, hello))
        except StoreDown:
            unit.refused(sent_at)
            self._out_of_touch()
        except StoreSilent as error:
            unit.silent()
            self._tell_silent(error)
        else:
            told, mate = self._signer.read_untrusted(raw)
            # even if it is silent by now: what it has written or read is worth more than a new beginning
            unit.heir = unit.heir or (mate is not None and mate.fence > 0)
            self._hear_mate(mate if raw.age < unit.hold else None, raw.age)
            self._mind_namesake(told.lease)
            step = unit.answered(told, sent_at, self._store.clock())
            self._store_answers(raw, told.lease)
            if hello.state == State.READY.value:
                self.ready.set()
        await self._do(step)
        self._settle()
        self._mind_gate()
        self.report.changes(self._mate)
        lacks = self._mate is not None and self._mate.lacks and not self.journal.waiting
        if lacks and unit.state is State.ACTIVE:
            self.journal.resync()
        if self._mate is not None and self._mate.wants_role and unit.state is State.ACTIVE:
            self.nursery.start_soon(self.resign, "Other unit wants me Standby")

    def _hello(self) -> Hello:
        unit, gateway = self.unit, self._gateway
        serves = unit.has_role
        goes = unit.retired and not serves
        return Hello(
            unit=unit.name,
            state=GONE if goes else unit.state.value,
            now=gateway.now(),
            rate=gateway.timeline.rate,
            fence=0 if goes else unit.fence if serves else self.follower.fence,
            number=self.journal.written if serves else self.follower.number,
            active_for=self.report.active_for(self.gate),
            lacks=self.reader.lacks and not serves,
            wants_role=self._store.clock() < self._wants_role_until and not serves,
        )

    def _hear_mate(self, mate: Hello | None, age: float) -> None:
        before, self._mate = self._mate, mate
        self._mate_heard_at = self._store.clock() - age
        if mate is None or mate.state != State.ACTIVE.value or self.unit.has_role:
            return
        # the standby's emulated clock follows the active one's; only back it cannot go
        gateway = self._gateway
        if mate.rate != gateway.timeline.rate:
            gateway.bend_time(rate=mate.rate)
        behind = mate.now + mate.rate * age - gateway.now()
        if behind > CLOCK_TOLERANCE * mate.rate:
            gateway.bend_time(advance=behind)
            behind = 0.0
        self.follower.ahead = -behind if -behind > CLOCK_TOLERANCE * mate.rate else 0.0
        said = (mate.fence, mate.number)
        quiet = before is not None and (before.fence, before.number) == said
        if quiet and self.unit.state is State.READY and said > (self.follower.fence, self.follower.number):
            log.warning("failover.entries_missing", mate=said)
            self._begin(self._follow_anew)

    def _mind_namesake(self, lease: Lease | None) -> None:
        """The lease of a unit that was killed ends with it; another one that goes on has our name."""
        unit, now = self.unit, self._store.clock()
        if lease is None or lease.free or lease.unit != unit.name or lease.instance == unit.instance:
            self._namesake_since = None
        elif self._namesake_since is None:
            self._namesake_since = now
        elif now > self._namesake_since + 2 * unit.hold:
            self.report.once("failover.same_unit", f"the active unit is the {unit.name} one, too")

    def _store_answers(self, told: RawTold, lease: Lease | None) -> None:
        """Whatever was written to a former run of the store may be lost: write it again, or read it again."""
        theirs = lease is not None and not lease.free and lease.instance != self.unit.instance
        if lease is not None and theirs and lease.fence < self.follower.fence:
            self.follower.begin_anew()
            self._begin(self._follow_anew)
        other = self._run is not None and told.run != self._run
        if (other or self._cut or told.granted) and self.unit.state is State.ACTIVE:
            self.journal.resync()
            self._settled = -1
        elif other and self.unit.state is State.READY:
            self._begin(self._follow_anew)
        self._run, self._cut = told.run, False

    def _out_of_touch(self) -> None:
        """Nobody listens at the store's address: whoever waits for it has waited long enough."""
        if not self._cut:
            self._cut = True
            self.report.give_addresses_up()
            self.journal.abandon()
            self._poll_now()

    def _poll_now(self) -> None:
        self.unit.poll_now(self._store.clock())
        self._poke.set()

    async def _do(self, step: Step | None) -> None:
        if step is Step.FOLLOW:
            self._begin(self._follow_anew)
        elif step is Step.TAKE_OVER:
            self._begin(self._take_over)
        elif step is Step.STAND_BY:
            await self._stand_by()

    def _begin(self, work: Callable[[], Awaitable[None]]) -> None:
        """Follow or take over, once what was going on before has stopped."""
        self._scope.cancel()
        before, self._idle, scope = self._idle, trio.Event(), trio.CancelScope()
        self._scope = scope
        self.nursery.start_soon(self._one_work, work, before, self._idle, scope)

    async def _one_work(
        self,
        work: Callable[[], Awaitable[None]],
        before: trio.Event,
        after: trio.Event,
        scope: trio.CancelScope,
    ) -> None:
        await before.wait()
        try:
            with scope:
                await work()
        finally:
            after.set()

    # the active unit

    async def _take_over(self) -> None:
        unit = self.unit
        while True:
            try:
                await self._catch_up()
                break
            except (StoreDown, StoreSilent):
                await trio.sleep(unit.poll)
        async with self._turn:
            if unit.state is not State.TAKING_OVER:
                return
            try:
                self._bind(self._port)
            except OSError as error:
                log.error("failover.cannot_serve", error=error.strerror)
                await self._do(unit.could_not_serve(self._store.clock()))
                if not self.ready.is_set():
                    raise CannotServe(error.strerror) from error
                return
            unit.signal(Signal.SERVING)
            self.report.changes(self._mate)
            self._headend.db.take_over(self._gateway.now())
            self.report.addresses.clear()
            self.journal.begin(unit.fence)
            self._settled = -1
            self._settle()
            self._mind_gate()
            self._poll_now()
            self.ready.set()

    async def _catch_up(self) -> None:
        """Read what is left of the former active unit's log: since the lease is ours, nobody adds to it."""
        if self.unit.heir:
            await self.reader.read_to_the_end()
        else:
            self.reader.forget_all()

    async def _stand_by(self, *, hand_over: bool = False) -> None:
        """Let go of everything. To hand over is to do it last: whoever loses this unit finds the mate."""
        unit = self.unit
        self.gate.shut()
        self._mind_gate()
        self.report.changes(self._mate)
        self.journal.stop()
        if hand_over:
            with trio.move_on_after(unit.hold):
                await self._release()
                await self._mate_serves()
        self._port.close(abandon=True)
        self._gateway.let_go()
        self.reader.forget_all()
        self._headend.syslog.forget()
        if not hand_over:
            await self._release()
        await self._unless_cancelled()
        if unit.state is State.SYNC:
            self._begin(self._follow_anew)

    async def _release(self) -> None:
        """Let the mate have the lease at once; if that cannot be said, it runs out by itself."""
        unit = self.unit
        if unit.lease is None:
            return
        free = Lease(unit.name, unit.instance, unit.fence, True, "Other unit wants me Active")
        try:
            with trio.move_on_after(unit.hold):
                await self._store.release(encode(self._key, unit.lease), encode(self._key, free))
        except (StoreDown, StoreSilent):
            pass

    async def _mate_serves(self) -> None:
        """Wait until a mate that was ready has taken over; who calls meanwhile waits, and is not refused."""
        ready = self._mate_is_ready
        try:
            while ready:
                raw = await self._store.poll(self._signer.sign(Ask(None, False, None), self._hello()))
                _, mate = self._signer.read_untrusted(raw)
                ready = mate is not None and mate.state in (State.READY.value, State.TAKING_OVER.value)
                await trio.sleep(self.unit.poll / 10)
        except (StoreDown, StoreSilent):
            pass

    async def resign(self, reason: str) -> bool:
        """Write what is left to write, give the role up, and stand by; False when it is not ours to give."""
        async with self._turn:
            await self._unless_cancelled()
            if self.unit.state is not State.ACTIVE:
                return False
            self.gate.paused = True
            self._mind_gate()
            with trio.move_on_after(self.unit.hold / 2):
                await self._gateway.safe()
            await self._unless_cancelled()
            if self.unit.resign(reason, self._store.clock()) is Step.STAND_BY:
                await self._stand_by(hand_over=True)
            self.gate.paused = False
            return True

    async def retire(self) -> bool:
        """The process is to stop: hand over to a mate that is ready, or return False and go on.

        Each unit says so before it goes, so that the other one does not hand over to nobody.
        """
        self.unit.retired = True
        with trio.move_on_after(LAST_WORDS):
            await self.look()
        if not self.unit.has_role:
            return True
        return self._mate_is_ready and await self.resign(RETIRED)

    async def look(self) -> None:
        """Poll now, whenever the next one is due."""
        async with self._turn:
            await self._unless_cancelled()
            await self._one_poll()

    async def certain(self) -> None:
        """Return once an active unit that has slept knows its role again; at once while its link is bad."""
        unit = self.unit
        if unit.state is State.ACTIVE and unit.link == "up" and not self.gate.is_certain:
            await self.look()

    @property
    def _mate_is_ready(self) -> bool:
        return self._mate is not None and self._mate.state == State.READY.value

    async def _unless_cancelled(self) -> None:
        """Go on, unless what was waited for came in the instant that cancelled all, and closed `nursery`."""
        await trio.lowlevel.checkpoint_if_cancelled()

    def switch(self, active: bool) -> None:
        """`failover active` and `no failover active`: begin to change roles, if that is a change."""
        if active and not self.unit.has_role:
            self._wants_role_until = self._store.clock() + self.unit.hold
            self._poll_now()
        elif not active:
            self.nursery.start_soon(self.resign, "Set by the config command")

    def _mind_gate(self) -> None:
        """The gate is open while this unit serves and is certain of its role; note from when to when."""
        if self.unit.state is State.ACTIVE:
            self.gate.keep_open(self.unit.valid_until)
        interval = self.report.minded(self.gate)
        if interval is not None:
            self._note(interval)
            self._gateway.wake()

    def _note(self, interval: Interval) -> None:
        until = "-" if interval.until is None else f"{interval.until:.3f}"
        line = f"{self.unit.name} {interval.fence} {interval.since:.3f} {until}".encode()

        async def note() -> None:
            try:
                await self._store.note(line)
            except (StoreDown, StoreSilent):
                pass  # the unit has it, too

        self.nursery.start_soon(note)

    def _settle(self) -> None:
        """Write the configuration when it is not the one that was written last."""
        generation = self._headend.config.generation
        if self.unit.state is State.ACTIVE and generation != self._settled:
            self._settled = generation
            self.journal.settle(self._headend.config.shared())

    # entries out

    def _there_is_work(self) -> None:
        self._work.set()

    def _hear_event(self, event: SessionEvent) -> None:
        if self.unit.state is State.ACTIVE:
            self.report.hear(event)
            if self._cut:
                self.report.give_addresses_up()

    async def _write(self) -> None:
        while True:
            self._work = trio.Event()
            batch = self.journal.take(time.time())
            if batch is None:
                await self._work.wait()
            else:
                await self._commit(batch)

    async def _commit(self, batch: Batch) -> None:
        """Write an entry however often it takes, unless it is no longer ours to write."""
        report = self.report
        addresses, report.addresses = report.addresses, []
        lease, puts = encode(self._key, self._lease), puts_of(batch.changes, batch.entry)
        report.most_waiting = max(report.most_waiting, len(batch.changes))
        while self.journal.in_flight is batch:
            try:
                if await self._store.append(lease, batch.entry, puts):
                    report.lags.append(self._store.clock() - batch.since)
                    report.sent += len(batch.changes)
                    self.journal.acknowledge(batch)
                    if self._mate is not None:
                        report.mate_knows(addresses)
                    return
            except StoreDown:
                report.addresses = addresses + report.addresses
                self._out_of_touch()
                return
            except StoreSilent as error:
                self._tell_silent(error)
            self._poll_now()
            await trio.sleep(self.unit.poll / 4)

    @property
    def _lease(self) -> Lease:
        assert self.unit.lease is not None  # whoever writes has had one
        return self.unit.lease

    # entries in

    async def _follow(self) -> None:
        """Have what the active unit has. While the store does not answer, what was read stays."""
        unit = self.unit
        while True:
            try:
                if not self.reader.is_anywhere:
                    await self.reader.load()
                    if unit.state is State.SYNC:
                        unit.signal(Signal.SYNCED)
                        self._poll_now()  # once that is said, this unit is `ready`
                await self.reader.read(unit.poll)
            except OutOfSync as error:
                log.warning("failover.out_of_sync", reason=str(error))
                self.reader.begin_anew()
                unit.signal(Signal.OUT_OF_SYNC)
                if self.reader.lacks:
                    self._poll_now()
                    await trio.sleep(unit.poll)
            except (StoreDown, StoreSilent):
                await trio.sleep(unit.poll)

    async def _follow_anew(self) -> None:
        self.reader.begin_anew()
        await self._follow()

    # what is told

    def status(self) -> Status:
        """What there is to say about this unit now."""
        unit = self.unit
        heard = self._store.clock() < self._mate_heard_at + unit.hold + unit.poll
        return self.report.status(self._mate if heard else None, self.gate, self.journal, self.follower)

    def _tell_silent(self, error: StoreSilent) -> None:
        self.report.once("failover.store_silent", str(error))
