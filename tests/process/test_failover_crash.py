"""Twenty strikes at the active unit under two hundred clients; `make crash` does five hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import strike_pair


@pytest.mark.peer("redis")
def test_whatever_was_answered_survives_every_strike(tmp_path: Path) -> None:
    report = strike_pair(kills=20, sessions=200, seed=5, directory=tmp_path)
    assert not report.violations, report.table()
    assert len(report.strikes) == 20
    assert report.counts["reigns"] >= 21
    assert report.counts["log-offs"] > 0
    assert report.counts["resumes"] > 20 * 180
