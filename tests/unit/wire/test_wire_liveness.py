import math
from typing import Any

import pytest

from asa_emu.wire.liveness import Action, Liveness, LivenessTimers

DPD, KEEPALIVE, REKEY, DEAD = Action.SEND_DPD, Action.SEND_KEEPALIVE, Action.REKEY, Action.DEAD


def story(liveness: Liveness, until: float) -> list[tuple[float, tuple[Action, ...]]]:
    """What a silent tunnel does, each deadline met exactly."""
    told = []
    while (at := liveness.next_deadline()) <= until:
        told.append((at, liveness.on_deadline(at)))
    return told


@pytest.mark.statement("S34a")
def test_a_silent_peer_is_probed_and_then_dead() -> None:
    liveness = Liveness(LivenessTimers(30.0), 1000.0)
    assert story(liveness, 1e6) == [
        (1030.0, (DPD,)),
        (1060.0, (DPD,)),
        (1090.0, (DPD,)),
        (1120.0, (DPD,)),
        (1150.0, (DEAD,)),
    ]


def test_after_death_there_is_nothing_until_restart() -> None:
    liveness = Liveness(LivenessTimers(10.0, dpd_retries=0, keepalive_interval=5.0, rekey_interval=30.0), 0.0)
    assert story(liveness, 1e6)[-1] == (20.0, (DEAD,))
    liveness.last_received_at = 21.0
    assert liveness.next_deadline() == math.inf
    assert liveness.on_deadline(1e6) == ()
    liveness.restart(30.0)
    assert liveness.next_deadline() == 35.0


@pytest.mark.statement("S34a")
def test_an_answer_begins_the_silence_anew() -> None:
    liveness = Liveness(LivenessTimers(30.0, dpd_retries=1), 0.0)
    assert liveness.on_deadline(30.0) == (DPD,)
    assert liveness.on_deadline(60.0) == (DPD,)
    liveness.last_received_at = 61.0
    assert liveness.next_deadline() == 91.0
    assert story(liveness, 200.0) == [(91.0, (DPD,)), (121.0, (DPD,)), (151.0, (DEAD,))]


def test_an_answer_at_the_instant_of_the_probe_counts() -> None:
    liveness = Liveness(LivenessTimers(30.0, dpd_retries=0), 0.0)
    for at in (30.0, 60.0, 90.0):
        assert liveness.on_deadline(at) == (DPD,)
        liveness.last_received_at = at
    assert liveness.next_deadline() == 120.0


def test_traffic_only_moves_the_deadline_later() -> None:
    liveness = Liveness(LivenessTimers(30.0), 0.0)
    liveness.last_received_at = 29.5
    assert liveness.on_deadline(30.0) == ()
    assert liveness.next_deadline() == 60.0


def test_long_intervals_end_on_whole_seconds_and_short_ones_do_not() -> None:
    assert Liveness(LivenessTimers(2.0), 0.25).next_deadline() == 3.0
    assert Liveness(LivenessTimers(1.5), 0.25).next_deadline() == 1.75
    assert Liveness(LivenessTimers(None, keepalive_interval=20.0), 0.25).next_deadline() == 21.0
    assert Liveness(LivenessTimers(None, rekey_interval=60.0), 0.25).next_deadline() == 61.0


def test_a_jump_of_the_clock_probes_before_it_buries() -> None:
    liveness = Liveness(LivenessTimers(30.0, dpd_retries=0), 0.0)
    assert liveness.on_deadline(1800.0) == (DPD,)
    assert liveness.next_deadline() == 1830.0


def test_keepalives_follow_what_was_last_sent() -> None:
    liveness = Liveness(LivenessTimers(None, keepalive_interval=20.0), 0.0)
    assert story(liveness, 40.0) == [(20.0, (KEEPALIVE,)), (40.0, (KEEPALIVE,))]
    liveness.last_sent_at = 55.0
    assert liveness.on_deadline(60.0) == ()
    assert liveness.next_deadline() == 75.0


def test_a_probe_saves_the_keepalive_of_its_instant() -> None:
    liveness = Liveness(LivenessTimers(30.0, keepalive_interval=15.0), 0.0)
    assert story(liveness, 45.0) == [(15.0, (KEEPALIVE,)), (30.0, (DPD,)), (45.0, (KEEPALIVE,))]


def test_rekey_comes_each_interval() -> None:
    liveness = Liveness(LivenessTimers(None, rekey_interval=3600.0), 0.0)
    assert story(liveness, 7200.0) == [(3600.0, (REKEY,)), (7200.0, (REKEY,))]
    liveness.restart(8000.0)
    assert liveness.next_deadline() == 11600.0


def test_several_things_may_be_due_at_once() -> None:
    liveness = Liveness(LivenessTimers(40.0, keepalive_interval=30.0, rekey_interval=40.0), 0.0)
    assert liveness.on_deadline(39.0) == (KEEPALIVE,)
    assert liveness.on_deadline(70.0) == (DPD, REKEY)


def test_with_everything_off_nothing_is_ever_due() -> None:
    liveness = Liveness(LivenessTimers(None), 0.0)
    assert liveness.next_deadline() == math.inf
    assert liveness.on_deadline(1e9) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"dpd_interval": 0.0},
        {"dpd_interval": -1.0},
        {"dpd_interval": math.nan},
        {"dpd_interval": None, "keepalive_interval": 0.0},
        {"dpd_interval": None, "rekey_interval": 0.0},
        {"dpd_interval": 30.0, "dpd_retries": -1},
    ],
)
def test_timers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"interval|retries"):
        LivenessTimers(**wrong)


def test_a_liveness_shows_its_state() -> None:
    liveness = Liveness(LivenessTimers(10.0, dpd_retries=0), 0.0)
    liveness.on_deadline(10.0)
    assert repr(liveness) == "<Liveness received=0.0 sent=10.0 probes=1>"
    liveness.on_deadline(20.0)
    assert repr(liveness) == "<Liveness received=0.0 sent=10.0 dead>"
