"""Two units and a store in memory: who is active when, and who may not act."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from asa_emu.ha.records import Hello, Lease, derive_key, encode
from asa_emu.ha.store import Shelf, Signer
from asa_emu.ha.unit import RECOVERY, TABLE, Signal, State, Step, Unit

KEY = derive_key("lab", "")
POLL, HOLD = 1.0, 15.0


@dataclass
class Rack:
    """Some units, each polled when it is due, and their store, which may be out of reach."""

    now: float = 0.0
    shelf: Shelf = field(default_factory=lambda: Shelf(HOLD))
    units: list[Unit] = field(default_factory=list)
    signers: dict[Unit, Signer] = field(default_factory=dict)
    steps: list[tuple[str, Step]] = field(default_factory=list)
    cut: set[Unit] = field(default_factory=set)
    """Units that hear nothing from the store."""
    frozen: set[Unit] = field(default_factory=set)
    refusing = False
    """Nobody listens at the store's address."""
    refused: list[str] = field(default_factory=list)

    def start(self, name: str, instance: str = "") -> Unit:
        unit = Unit(name, instance or f"{name} {self.now}", poll=POLL, hold=HOLD, now=self.now)
        self.units.append(unit)
        self.signers[unit] = Signer(KEY, unit.name, unit.mate)
        self.signers[unit].on_refused = self.refused.append
        return unit

    def kill(self, unit: Unit) -> None:
        self.units.remove(unit)

    def poll(self, unit: Unit) -> None:
        ask = unit.ask(self.now)
        if self.refusing:
            unit.refused(self.now)
            return
        if unit in self.cut:
            unit.silent()
            return
        hello = Hello(
            unit=unit.name,
            state=unit.state.value,
            now=0,
            rate=1,
            fence=0,
            number=0,
            active_for=0,
        )
        signer = self.signers[unit]
        told, _ = signer.read_untrusted(self.shelf.poll(signer.sign(ask, hello), self.now))
        self.do(unit, unit.answered(told, self.now, self.now))

    def do(self, unit: Unit, step: Step | None) -> None:
        if step is None:
            return
        self.steps.append((unit.name, step))
        if step is Step.TAKE_OVER:
            assert unit.may_act(self.now)
            unit.signal(Signal.SERVING)
        elif step is Step.STAND_BY and unit.lease is not None:
            free = encode(KEY, Lease(unit.name, unit.instance, unit.fence, True, "asked to"))
            self.shelf.release(encode(KEY, unit.lease), free, self.now)
            unit.signal(Signal.SYNCED)
        elif step is Step.FOLLOW:
            unit.signal(Signal.SYNCED)

    def run(self, seconds: float) -> None:
        """Let time pass in tenths of a second; at no instant may two units act."""
        ends_at = self.now + seconds
        while self.now < ends_at:
            for unit in list(self.units):
                if unit not in self.frozen and unit.next_deadline() <= self.now:
                    self.poll(unit)
            assert sum(unit.may_act(self.now) for unit in self.units) <= 1
            self.now = round(self.now + 0.1, 1)


def pair() -> tuple[Rack, Unit, Unit]:
    rack = Rack()
    primary, secondary = rack.start("primary"), rack.start("secondary")
    rack.run(3)
    assert (at(primary), at(secondary)) == (State.ACTIVE, State.READY)
    return rack, primary, secondary


def at(unit: Unit) -> State:
    return unit.state


def test_the_primary_is_active_when_both_start_at_once() -> None:
    rack, primary, secondary = pair()
    assert rack.steps == [("primary", Step.TAKE_OVER), ("secondary", Step.FOLLOW)]
    assert primary.fence == 1
    assert not primary.heir
    assert secondary.heir


def test_a_secondary_alone_waits_one_hold_time() -> None:
    rack = Rack()
    secondary = rack.start("secondary")
    rack.run(HOLD)
    assert at(secondary) is State.NEGOTIATION
    rack.run(POLL + 0.1)
    assert at(secondary) is State.ACTIVE


def test_a_primary_that_comes_later_stands_by() -> None:
    rack = Rack()
    secondary = rack.start("secondary")
    rack.run(HOLD + 2)
    primary = rack.start("primary")
    rack.run(HOLD)
    assert (at(primary), at(secondary)) == (State.READY, State.ACTIVE)


def test_a_killed_unit_is_missed_for_one_hold_time_at_most() -> None:
    rack, primary, secondary = pair()
    rack.kill(primary)
    rack.run(HOLD - POLL)
    assert at(secondary) is State.READY
    rack.run(2 * POLL)
    assert at(secondary) is State.ACTIVE
    assert secondary.fence == 2
    assert secondary.reason == "HELLO not heard from mate"


def test_a_frozen_unit_may_not_act_when_it_wakes_up() -> None:
    rack, primary, secondary = pair()
    rack.frozen.add(primary)
    rack.run(HOLD + 2)
    assert at(secondary) is State.ACTIVE
    assert not primary.may_act(rack.now)
    rack.frozen.clear()
    rack.run(2 * POLL)
    assert at(primary) is State.READY
    assert rack.steps[-1] == ("primary", Step.STAND_BY)


def test_a_unit_frozen_for_a_moment_goes_on() -> None:
    rack, primary, _ = pair()
    rack.frozen.add(primary)
    rack.run(HOLD - 2)
    rack.frozen.clear()
    rack.run(2)
    assert primary.may_act(rack.now)
    assert primary.fence == 1


def test_resigning_hands_over_at_once() -> None:
    rack, primary, secondary = pair()
    rack.do(primary, primary.resign("Set by the config command", rack.now))
    rack.run(POLL + 0.3)
    assert (at(primary), at(secondary)) == (State.READY, State.ACTIVE)
    assert primary.reason == "Set by the config command"
    assert secondary.reason == "asked to"


def test_a_role_that_was_handed_over_may_come_back_at_once() -> None:
    rack, primary, secondary = pair()
    rack.do(primary, primary.resign("Set by the config command", rack.now))
    rack.run(2 * POLL)
    rack.do(secondary, secondary.resign("The unit is stopped", rack.now))
    rack.kill(secondary)
    rack.run(POLL + 0.3)
    assert at(primary) is State.ACTIVE


def test_a_unit_without_a_mate_takes_the_role_again() -> None:
    rack = Rack()
    primary = rack.start("primary")
    rack.run(1)
    rack.do(primary, primary.resign("Set by the config command", rack.now))
    rack.run(HOLD)
    assert at(primary) is State.READY
    rack.run(POLL + 0.1)
    assert at(primary) is State.ACTIVE
    assert primary.fence == 2


def test_a_standby_does_not_resign() -> None:
    rack, _, secondary = pair()
    assert secondary.resign("why not", rack.now) is None


def test_a_store_that_is_down_lets_the_active_unit_go_on() -> None:
    rack, primary, secondary = pair()
    rack.refusing = True
    rack.run(10 * HOLD)
    assert primary.may_act(rack.now)
    assert primary.link == secondary.link == "down"
    assert at(secondary) is State.READY
    # It comes back and remembers nothing: the active unit is the first to have its lease again.
    rack.shelf, rack.refusing = Shelf(HOLD, born=rack.now), False
    rack.run(3 * HOLD)
    assert primary.may_act(rack.now)
    assert primary.fence == 1
    assert at(secondary) is State.READY


def test_after_a_restart_of_the_store_strangers_wait_for_whoever_was_active() -> None:
    rack, primary, secondary = pair()
    rack.kill(primary)
    rack.run(2 * HOLD)
    rack.refusing = True
    rack.run(HOLD)
    rack.frozen.add(secondary)  # slow to notice that the store is back
    rack.shelf, rack.refusing = Shelf(HOLD, born=rack.now), False
    newcomer = rack.start("primary")
    rack.run(HOLD - 1)
    assert at(newcomer) is State.NEGOTIATION
    rack.frozen.clear()
    rack.run(3)
    assert (at(newcomer), at(secondary)) == (State.READY, State.ACTIVE)


def test_a_store_out_of_reach_stops_the_active_unit_before_the_other_takes_over() -> None:
    rack, primary, secondary = pair()
    rack.cut.add(primary)
    rack.run(2 * HOLD)  # `run` sees to it that never both act
    assert not primary.may_act(rack.now)
    assert primary.link == "silent"
    assert secondary.may_act(rack.now)
    rack.cut.clear()
    rack.run(2)
    assert at(primary) is State.READY


def test_a_unit_cut_off_with_nobody_else_there_goes_on_afterwards() -> None:
    rack, primary, secondary = pair()
    rack.kill(secondary)
    rack.cut.add(primary)
    rack.run(2 * HOLD)
    assert not primary.may_act(rack.now)
    rack.cut.clear()
    rack.run(2)
    assert primary.may_act(rack.now)
    assert primary.fence == 1


def test_a_unit_that_missed_a_whole_reign_gives_its_table_up() -> None:
    rack, primary, secondary = pair()
    rack.frozen.add(primary)
    rack.run(2 * HOLD)
    assert at(secondary) is State.ACTIVE
    rack.kill(secondary)
    rack.run(2 * HOLD)
    rack.frozen.clear()
    rack.run(3)
    assert ("primary", Step.STAND_BY) in rack.steps
    assert at(primary) is State.ACTIVE
    assert primary.fence == 3


def test_a_unit_started_anew_follows_its_own_former_lease() -> None:
    rack, primary, secondary = pair()
    rack.kill(primary)
    rack.kill(secondary)
    again = rack.start("primary", "another process")
    rack.run(2)
    assert at(again) is State.READY
    rack.run(HOLD)
    assert at(again) is State.ACTIVE
    assert again.heir


def test_a_unit_that_cannot_serve_lets_the_other_do_it() -> None:
    rack, primary, secondary = pair()
    rack.do(primary, primary.resign("test", rack.now))
    secondary.signal(Signal.OURS)
    assert secondary.could_not_serve(rack.now) is Step.STAND_BY
    assert at(secondary) is State.FAILED
    rack.run(HOLD + 2)
    assert at(primary) is State.ACTIVE
    rack.run(RECOVERY * HOLD)
    assert at(secondary) is State.READY


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"secondary",
        encode(derive_key("other", ""), Lease("secondary", "x", 99)),
        encode(KEY, Lease("secondary", "x", 99))[:-4],
    ],
)
def test_what_is_no_lease_of_this_pair_stands_in_nobodys_way(garbage: bytes) -> None:
    rack, primary, secondary = pair()
    rack.shelf._lease, rack.shelf._expires_at = garbage, 1e9
    rack.run(HOLD)
    assert primary.may_act(rack.now)
    assert at(secondary) is State.READY
    assert rack.refused


def test_every_state_can_be_left_and_reached() -> None:
    assert {before for before, _ in TABLE} == set(State) == {after for after, _ in TABLE.values()}


def test_a_lease_that_could_not_be_released_is_not_taken_up_again() -> None:
    rack, primary, _ = pair()
    primary.resign("while the store was silent", rack.now)
    primary.signal(Signal.SYNCED)
    rack.run(5 * POLL)
    assert at(primary) is State.READY
    assert ("primary", Step.TAKE_OVER) not in rack.steps[2:]


@pytest.mark.parametrize("garbage", [None, b"nonsense"])
def test_a_lease_that_somebody_wipes_from_the_store_still_holds(garbage: bytes | None) -> None:
    rack, primary, secondary = pair()
    rack.frozen.add(primary)  # busy with something else, for less than its lease is good for
    rack.shelf._lease, rack.shelf._fence = garbage, 0
    rack.run(HOLD - 2)
    assert at(secondary) is State.READY
    rack.frozen.clear()
    rack.run(3 * HOLD)
    assert primary.may_act(rack.now)
    assert at(secondary) is State.READY


@pytest.mark.parametrize("garbage", [None, b"nonsense"])
def test_a_newcomer_does_not_believe_a_wiped_lease(garbage: bytes | None) -> None:
    rack = Rack()
    secondary = rack.start("secondary")
    rack.run(3 * HOLD)
    rack.frozen.add(secondary)
    rack.shelf._lease = garbage
    primary = rack.start("primary")
    rack.run(HOLD - 2)
    assert at(primary) is State.NEGOTIATION
    rack.frozen.clear()
    rack.run(3 * HOLD)
    assert secondary.may_act(rack.now)
    assert at(primary) is State.READY


def test_a_unit_with_another_key_lets_the_active_one_be() -> None:
    rack = Rack()
    secondary = rack.start("secondary")
    rack.run(3 * HOLD)
    primary = rack.start("primary")
    rack.signers[primary] = Signer(derive_key("another", ""), "primary", "secondary")
    rack.run(5 * HOLD)
    assert secondary.may_act(rack.now)
    assert at(primary) is State.NEGOTIATION
    rack.kill(secondary)
    rack.run(2 * HOLD)
    assert primary.may_act(rack.now)


def test_a_store_that_goes_down_later_gives_no_certainty_back() -> None:
    rack, primary, secondary = pair()
    rack.cut.add(primary)
    rack.run(2 * HOLD)
    assert secondary.may_act(rack.now)
    rack.refusing = True  # `run` sees to it that never both act
    rack.run(3 * HOLD)
    assert secondary.may_act(rack.now)
    assert not primary.may_act(rack.now)


def test_a_unit_that_slept_while_the_store_went_down_does_not_act() -> None:
    rack, primary, secondary = pair()
    rack.frozen.add(primary)
    rack.run(2 * HOLD)
    rack.refusing = True
    rack.run(2)
    rack.frozen.clear()
    rack.run(2 * HOLD)
    assert secondary.may_act(rack.now)
    assert not primary.may_act(rack.now)


def test_a_unit_that_wakes_up_listens_before_it_asks_for_the_role() -> None:
    rack, primary, secondary = pair()
    rack.frozen.add(secondary)
    rack.run(2 * HOLD)
    rack.shelf._lease = None
    rack.frozen = {primary}  # between two polls, and certain of its lease
    rack.run(2 * POLL)
    assert at(secondary) is State.READY
    rack.frozen.clear()
    rack.run(3 * HOLD)
    assert primary.may_act(rack.now)
    assert at(secondary) is State.READY
