"""Whatever happens to two units, their messages and their store: never do both act, in the end one does."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from asa_emu.ha.records import Hello, Lease, derive_key, encode
from asa_emu.ha.store import RawAsk, Shelf, Signer
from asa_emu.ha.unit import Signal, State, Step, Unit

KEY = derive_key("lab", "")
POLL, HOLD, TICK = 1.0, 6.0, 0.1
LIMIT = HOLD / 3
"""Seconds until an answer is waited for no longer."""

EVENTS = st.sampled_from(
    [
        *("nothing", "cut", "heal", "freeze", "wake", "kill", "start", "resign"),
        *("store dies", "store returns", "store returns empty", "wipe the lease", "garbage", "lose messages"),
    ]
)


@dataclass
class Call:
    """A poll under way."""

    ask: RawAsk
    sent_at: float
    runs_at: float
    back_at: float
    answer: object = None


class World:
    """Two places for units, one store, and time in small steps."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.shelf: Shelf | None = Shelf(HOLD, born=-100.0)
        self.memory = self.shelf
        self.units: dict[str, Unit | None] = {}
        self.signers: dict[str, Signer] = {}
        self.calls: dict[str, Call] = {}
        self.late: list[Call] = []
        """Polls that nobody waits for any more, and that reach the store all the same."""
        self.cut: set[str] = set()
        self.frozen: set[str] = set()
        self.slow = 0.05
        self.births = 0
        for name in ("primary", "secondary"):
            self.start(name)

    def start(self, name: str) -> None:
        if self.units.get(name) is None:
            self.births += 1
            self.units[name] = unit = Unit(name, str(self.births), poll=POLL, hold=HOLD, now=self.now)
            self.signers[name] = Signer(KEY, name, unit.mate)

    def kill(self, name: str) -> None:
        self.units[name] = None
        self.calls.pop(name, None)
        self.frozen.discard(name)

    def happen(self, event: str, name: str) -> None:
        unit = self.units[name]
        match event:
            case "cut":
                self.cut.add(name)
            case "heal":
                self.cut.discard(name)
            case "freeze":
                self.frozen.add(name)
            case "wake":
                self.frozen.discard(name)
            case "kill":
                self.kill(name)
            case "start":
                self.start(name)
            case "resign" if unit is not None and name not in self.frozen:
                self.do(unit, unit.resign("asked", self.now))
            case "store dies":
                self.shelf = None
            case "store returns" if self.shelf is None:
                self.shelf = self.memory
                self.shelf._born = self.now
            case "store returns empty" if self.shelf is None:
                self.shelf = self.memory = Shelf(HOLD, born=self.now)
            # a unit whose answers are late may not know yet that it is active, and has not said so
            case "wipe the lease" if self.shelf is not None and self.slow < POLL:
                self.shelf._lease = None
            case "garbage" if self.shelf is not None and self.slow < POLL:
                self.shelf._lease, self.shelf._expires_at = b"garbage", self.now + HOLD
            case "lose messages":
                self.calls.clear()

    def step(self) -> None:
        self.now += TICK
        for name, unit in self.units.items():
            if unit is not None and name not in self.frozen:
                self.turn(name, unit)
        for call in (*self.calls.values(), *self.late):
            # what was sent reaches the store even when its sender sleeps by now
            if call.answer is None and self.now >= call.runs_at and self.shelf is not None:
                call.answer = self.shelf.poll(call.ask, self.now)
        acting = [name for name, unit in self.units.items() if unit is not None and unit.may_act(self.now)]
        assert len(acting) <= 1, acting

    def turn(self, name: str, unit: Unit) -> None:
        call = self.calls.get(name)
        if call is not None:
            if call.answer is not None and self.now >= call.back_at and name not in self.cut:
                del self.calls[name]
                told, _ = self.signers[name].read_untrusted(call.answer)  # type: ignore[arg-type]
                self.do(unit, unit.answered(told, call.sent_at, self.now))
            elif self.now >= call.sent_at + LIMIT:
                self.late.append(self.calls.pop(name))
                unit.silent()
        elif self.now >= unit.next_deadline():
            ask = unit.ask(self.now)
            if self.shelf is None and name not in self.cut:
                unit.refused(self.now)
                return
            hello = Hello(
                unit=name,
                state=unit.state.value,
                now=0,
                rate=1,
                fence=0,
                number=0,
                active_for=0,
            )
            runs = self.now + self.dice.uniform(0, self.slow) if name not in self.cut else 1e9
            back = runs + self.dice.uniform(0, self.slow)
            self.calls[name] = Call(self.signers[name].sign(ask, hello), self.now, runs, back)

    def do(self, unit: Unit, step: Step | None) -> None:
        if step is Step.TAKE_OVER:
            unit.signal(Signal.SERVING)
        elif step is Step.FOLLOW:
            unit.signal(Signal.SYNCED)
        elif step is Step.STAND_BY:
            if unit.lease is not None and self.shelf is not None and unit.name not in self.cut:
                free = encode(KEY, Lease(unit.name, unit.instance, unit.fence, True, "asked"))
                self.shelf.release(encode(KEY, unit.lease), free, self.now)
            self.calls.pop(unit.name, None)  # the unit takes no two turns at once
            unit.signal(Signal.SYNCED)

    def run(self, seconds: float) -> None:
        ends_at = self.now + seconds
        while self.now < ends_at:
            self.step()


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    st.lists(
        st.tuples(EVENTS, st.sampled_from(["primary", "secondary"]), st.floats(0.1, 2.5 * HOLD)), max_size=14
    ),
    st.sampled_from([0.05, 1.0, 2.5]),
)
def test_never_do_both_act_and_in_the_end_one_does(
    seed: int, story: list[tuple[str, str, float]], slow: float
) -> None:
    world = World(seed)
    world.slow = slow
    world.run(2.5 * HOLD)
    for event, name, seconds in story:
        world.happen(event, name)
        world.run(seconds)
    # everything is mended
    world.slow = 0.05
    world.cut.clear()
    world.frozen.clear()
    if world.shelf is None:
        world.happen("store returns", "primary")
    for name in ("primary", "secondary"):
        world.start(name)
    world.run(6 * HOLD)
    acting = [unit for unit in world.units.values() if unit is not None and unit.may_act(world.now)]
    assert len(acting) == 1
    (other,) = [unit for unit in world.units.values() if unit is not acting[0]]
    assert other is not None
    assert other.state is State.READY
