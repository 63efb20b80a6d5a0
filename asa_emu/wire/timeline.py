"""The straight line between run time and emulated time.

Run time is what the process's clock says; sockets live by it. Emulated time is what the ASA lives by: DPD,
idle and session timers, `show` output, syslog stamps. One line joins them, `emulated = epoch + (run - origin)
* rate`. It bends when the rate changes and jumps ahead when somebody advances the clock; it never goes back.
No clock is read here: the caller brings the run time.

A deadline taken through `run_at` and back through `now` may read a hair below itself, so a sleeper that has
woken passes `max(timeline.now(run), deadline)` to the machine it wakes.
"""

import math


class Timeline:
    """Emulated seconds (Unix time) as a function of run seconds, which must not decrease between calls."""

    __slots__ = ("_emulated_origin", "_rate", "_run_origin")

    def __init__(self, run_origin: float, epoch: float, rate: float = 1.0) -> None:
        self._run_origin = run_origin
        self._emulated_origin = epoch
        self._rate = _checked(rate)

    @property
    def rate(self) -> float:
        """Emulated seconds per run second."""
        return self._rate

    def now(self, run: float) -> float:
        """Emulated time at a run time; a run time before the last bend reads as that bend."""
        if run <= self._run_origin:
            return self._emulated_origin
        return self._emulated_origin + (run - self._run_origin) * self._rate

    def run_at(self, emulated: float) -> float:
        """Run time at which the emulated time comes, if nothing bends the line before; inf stays inf.

        An instant that has passed gives a run time that has passed as well.
        """
        return self._run_origin + (emulated - self._emulated_origin) / self._rate

    def set_rate(self, rate: float, run: float) -> None:
        """Go on at another rate. Sleepers have to ask `run_at` again. ValueError unless rate > 0."""
        rate = _checked(rate)
        self._bend(run)
        self._rate = rate

    def advance(self, seconds: float, run: float) -> None:
        """Jump ahead. Sleepers have to ask `run_at` again. ValueError for a negative or endless jump."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"emulated time cannot advance by {seconds} s")
        self._bend(run)
        self._emulated_origin += seconds

    def _bend(self, run: float) -> None:
        self._emulated_origin = self.now(run)
        self._run_origin = max(run, self._run_origin)


def _checked(rate: float) -> float:
    if not 0 < rate < math.inf:
        raise ValueError(f"a rate of {rate}; it must be greater than 0")
    return rate
