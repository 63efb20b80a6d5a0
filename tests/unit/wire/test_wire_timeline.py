import math

import pytest

from asa_emu.wire.timeline import Timeline


def test_emulated_time_runs_at_its_rate_from_its_epoch() -> None:
    timeline = Timeline(run_origin=10.0, epoch=1_000_000.0, rate=60.0)
    assert timeline.now(10.0) == 1_000_000.0
    assert timeline.now(11.5) == 1_000_090.0
    assert timeline.run_at(1_000_090.0) == 11.5
    assert timeline.rate == 60.0


def test_another_rate_bends_the_line_without_a_jump() -> None:
    timeline = Timeline(0.0, 0.0)
    timeline.set_rate(60.0, run=5.0)
    assert timeline.now(5.0) == 5.0
    assert timeline.now(6.0) == 65.0
    timeline.set_rate(0.5, run=6.0)
    assert timeline.now(8.0) == 66.0


def test_the_clock_can_be_advanced() -> None:
    timeline = Timeline(0.0, 100.0, rate=2.0)
    timeline.advance(1800.0, run=1.0)
    assert timeline.now(1.0) == 1902.0
    assert timeline.now(2.0) == 1904.0
    assert timeline.run_at(1904.0) == 2.0


def test_a_passed_instant_lies_in_the_past_and_never_is_never() -> None:
    timeline = Timeline(0.0, 0.0)
    timeline.advance(1800.0, run=10.0)
    assert timeline.run_at(900.0) < 10.0
    assert timeline.run_at(math.inf) == math.inf


def test_an_old_run_time_does_not_turn_the_clock_back() -> None:
    timeline = Timeline(0.0, 0.0)
    timeline.advance(60.0, run=10.0)
    assert timeline.now(3.0) == 70.0
    timeline.set_rate(2.0, run=3.0)
    assert timeline.now(10.0) == 70.0


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_that_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        Timeline(0.0, 0.0, rate)
    timeline = Timeline(0.0, 0.0)
    with pytest.raises(ValueError, match="rate"):
        timeline.set_rate(rate, 1.0)
    assert timeline.now(1.0) == 1.0


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_the_clock_does_not_go_back_or_to_the_end(seconds: float) -> None:
    with pytest.raises(ValueError, match="cannot advance"):
        Timeline(0.0, 0.0).advance(seconds, 0.0)
