"""What a unit of a failover pair says about itself: for `show failover` and the management API."""

from __future__ import annotations

from dataclasses import dataclass

from asa_emu.ha.unit import Link, State


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which the unit was active, in seconds since the machine's start; no two of a pair overlap."""

    fence: int
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of a unit, and what it knows of its mate."""

    unit: str
    state: State
    mate: str
    mate_state: str | None
    """None when it has not been heard for one hold time."""
    poll: float
    """Seconds, as they are in force; a change of the configuration is for the next start. `hold` likewise."""
    hold: float
    active_for: float
    """Seconds of run time, and of the mate as it says itself."""
    mate_active_for: float
    fence: int
    """The fencing number of whoever is active, as far as this unit knows."""
    link: Link
    lag: float
    """Seconds: on the active unit the age of its oldest change that is not safe yet, on a standby how old the
    newest entry was when it was read."""
    lag_p99: float
    """Of the newest thousand entries."""
    switched_at: float | None
    """Emulated time of the last change of role."""
    sent: int
    """Session records, and likewise those that follow."""
    not_sent: int
    received: int
    refused: int
    waiting: int
    most_waiting: int
    intervals: tuple[Interval, ...]
