"""What must hold of deadlines and clocks for any order of events."""

import math

from hypothesis import given
from hypothesis import strategies as st

from asa_emu.wire.agenda import Agenda
from asa_emu.wire.liveness import Action, Liveness, LivenessTimers
from asa_emu.wire.timeline import Timeline


class Alarm:
    """A deadline that can be moved."""

    def __init__(self, at: float) -> None:
        self.at = at

    def next_deadline(self) -> float:
        return self.at


INSTANTS = st.integers(0, 30).map(float) | st.just(math.inf)
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "later", "earlier", "discard", "pass"]), st.integers(0, 9), INSTANTS),
    max_size=60,
)


@given(STEPS)
def test_the_agenda_is_a_sorted_list_that_is_never_late(steps: list[tuple[str, int, float]]) -> None:
    agenda: Agenda[Alarm] = Agenda()
    alarms = [Alarm(math.inf) for _ in range(10)]
    members: set[Alarm] = set()
    now = 0.0
    for step, number, instant in steps:
        alarm = alarms[number]
        if step == "add":
            alarm.at = instant
            agenda.add(alarm, instant)
            members.add(alarm)
        elif step == "later":
            alarm.at = max(alarm.at, instant)
        elif step == "earlier":
            alarm.at = min(alarm.at, instant)
            agenda.touch(alarm)
        elif step == "discard":
            agenda.discard(alarm)
            members.discard(alarm)
        elif instant < math.inf:
            now = max(now, instant)
            due = agenda.pop_due(now)
            assert sorted(map(id, due)) == sorted(id(member) for member in members if member.at <= now)
            for fired in due:
                fired.at = now + 1 + number
                agenda.touch(fired)
        assert len(agenda) == len(members)
        assert agenda.next_deadline() <= min((member.at for member in members), default=math.inf)


INTERVALS = st.floats(0.1, 120.0)


@given(st.lists(st.floats(0.0, 1.0), max_size=40), INTERVALS, st.integers(0, 3), st.none() | INTERVALS)
def test_a_peer_that_is_heard_each_interval_never_dies(
    gaps: list[float], interval: float, retries: int, keepalive: float | None
) -> None:
    liveness = Liveness(LivenessTimers(interval, retries, keepalive), 0.0)
    heard = 0.0
    for gap in gaps:
        until = heard + gap * interval
        while (at := liveness.next_deadline()) <= until:
            assert Action.DEAD not in liveness.on_deadline(at)
        heard = liveness.last_received_at = until


@given(st.floats(0.0, 2e9), INTERVALS, st.integers(0, 5))
def test_a_silent_peer_dies_after_all_its_probes(start: float, interval: float, retries: int) -> None:
    liveness = Liveness(LivenessTimers(interval, retries), start)
    told: list[Action] = []
    last = start
    while (at := liveness.next_deadline()) < math.inf:
        assert at > last
        last = at
        told += liveness.on_deadline(at)
    assert told == [Action.SEND_DPD] * (1 + retries) + [Action.DEAD]
    # Rounding may add up to a second to each interval; floats near 2e9 are a quarter of a microsecond apart.
    assert -1e-5 < last - (start + interval * (2 + retries)) < 2 + retries


EVENTS = st.lists(st.tuples(st.sampled_from(["received", "sent", "wake"]), st.floats(0.0, 50.0)), max_size=60)
TIMERS = st.builds(
    LivenessTimers, st.none() | INTERVALS, st.integers(0, 2), st.none() | INTERVALS, st.none() | INTERVALS
)


@given(EVENTS, TIMERS)
def test_a_deadline_is_due_when_it_comes_and_nothing_is_due_before(
    events: list[tuple[str, float]], timers: LivenessTimers
) -> None:
    now = 0.0
    liveness = Liveness(timers, now)
    for event, seconds in events:
        deadline = liveness.next_deadline()
        now += seconds
        if event == "received":
            liveness.last_received_at = now
        elif event == "sent":
            liveness.last_sent_at = now
        else:
            assert bool(liveness.on_deadline(now)) == (deadline <= now)
            assert liveness.next_deadline() > now
        assert event == "wake" or liveness.next_deadline() >= deadline


BENDS = st.lists(
    st.tuples(st.sampled_from(["rate", "advance", "run"]), st.floats(0.001, 10_000.0), st.floats(0.0, 100.0)),
    max_size=30,
)


@given(BENDS, st.floats(0.0, 1e6), st.floats(0.0, 2e9))
def test_emulated_time_never_goes_back(
    bends: list[tuple[str, float, float]], run: float, epoch: float
) -> None:
    timeline = Timeline(run, epoch)
    before = timeline.now(run)
    for bend, amount, seconds in bends:
        run += seconds
        assert timeline.now(run) >= before
        if bend == "rate":
            timeline.set_rate(amount, run)
        elif bend == "advance":
            timeline.advance(amount, run)
        now = timeline.now(run)
        assert now >= before
        assert math.isclose(timeline.run_at(now), run, rel_tol=1e-9, abs_tol=1e-2)
        before = now
