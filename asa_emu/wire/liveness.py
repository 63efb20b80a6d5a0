"""Dead-peer detection, keepalive and rekey of one tunnel, seen from either end.

Facts flow in as two plain attributes: whoever reads the connection stores `last_received_at = now`, whoever
writes stores `last_sent_at = now`, once per drained buffer and nothing else. Actions flow out of
`on_deadline`. Traffic can only move a deadline later, so nobody is woken or re-filed for a packet: the
sleeper comes at the old deadline, finds nothing due and asks again (see `agenda`).

Dead-peer detection: after `dpd_interval` of silence a probe goes out, another after each further interval, 1
+ `dpd_retries` in all, and one interval after the last the peer is dead. Anything received begins anew. A
probe counts from the moment it was really sent, so a clock that jumps half an hour ahead probes the peer
rather than burying it. This machine says that the peer is dead; that a dead tunnel leaves its session alive
is the headend's affair.
"""

import math
from dataclasses import dataclass
from enum import Enum, auto

ROUNDED_FROM_S = 2.0
"""Intervals of at least this many seconds end on whole seconds; shorter ones would be distorted by it."""


@dataclass(frozen=True, slots=True)
class LivenessTimers:
    """Intervals in emulated seconds, greater than 0; None switches one off. ValueError otherwise."""

    dpd_interval: float | None
    dpd_retries: int = 3
    keepalive_interval: float | None = None
    rekey_interval: float | None = None

    def __post_init__(self) -> None:
        for interval in (self.dpd_interval, self.keepalive_interval, self.rekey_interval):
            if interval is not None and not interval > 0:
                raise ValueError(f"an interval of {interval} s; None switches a timer off")
        if self.dpd_retries < 0:
            raise ValueError(f"{self.dpd_retries} DPD retries")


class Action(Enum):
    """What the owner of the tunnel has to do now."""

    SEND_DPD = auto()
    SEND_KEEPALIVE = auto()
    REKEY = auto()
    DEAD = auto()


class Liveness:
    """The timers of one tunnel, started at `now`.

    The owner assigns `last_received_at` and `last_sent_at` (emulated seconds) as traffic passes.
    """

    __slots__ = (
        "_dead",
        "_heard_at",
        "_probe_at",
        "_probes",
        "_rekey_at",
        "last_received_at",
        "last_sent_at",
        "timers",
    )

    def __init__(self, timers: LivenessTimers, now: float) -> None:
        self.timers = timers
        self.restart(now)

    def __repr__(self) -> str:
        state = "dead" if self._dead else f"probes={self._unanswered()}"
        return f"<Liveness received={self.last_received_at} sent={self.last_sent_at} {state}>"

    def restart(self, now: float) -> None:
        """As new at `now`: a rekeyed or replaced tunnel, or one with a new `timers`."""
        self.last_received_at = now
        self.last_sent_at = now
        self._heard_at = now
        self._probe_at = now
        self._probes = 0
        self._dead = False
        rekey = self.timers.rekey_interval
        self._rekey_at = math.inf if rekey is None else _after(now, rekey)

    def next_deadline(self) -> float:
        """When `on_deadline` has something to do unless traffic passes before; inf for never."""
        if self._dead:
            return math.inf
        timers = self.timers
        at = self._rekey_at
        # _after() and _unanswered() are written out here: this runs for every timer of every tunnel.
        interval = timers.dpd_interval
        if interval is not None:
            quiet = (
                self._probe_at
                if self._probes and self.last_received_at == self._heard_at
                else self.last_received_at
            )
            dpd_at = quiet + interval
            if interval >= ROUNDED_FROM_S:
                dpd_at = -(-dpd_at // 1.0)
            if dpd_at < at:
                at = dpd_at
        interval = timers.keepalive_interval
        if interval is not None:
            keepalive_at = self.last_sent_at + interval
            if interval >= ROUNDED_FROM_S:
                keepalive_at = -(-keepalive_at // 1.0)
            if keepalive_at < at:
                at = keepalive_at
        return at

    def on_deadline(self, now: float) -> tuple[Action, ...]:
        """What is due at `now`; empty when traffic came in between.

        SEND_DPD and SEND_KEEPALIVE count as sent, and a probe makes a keepalive at the same instant needless.
        REKEY comes again each interval. After DEAD, which comes alone and once, there is nothing until
        `restart`.
        """
        if self._dead:
            return ()
        timers = self.timers
        actions: tuple[Action, ...] = ()
        interval = timers.dpd_interval
        if interval is not None:
            probes = self._unanswered()
            if now >= _after(self._probe_at if probes else self.last_received_at, interval):
                if probes > timers.dpd_retries:
                    self._dead = True
                    return (Action.DEAD,)
                self._heard_at = self.last_received_at
                self._probes = probes + 1
                self._probe_at = self.last_sent_at = now
                actions = (Action.SEND_DPD,)
        interval = timers.keepalive_interval
        if interval is not None and now >= _after(self.last_sent_at, interval):
            self.last_sent_at = now
            actions += (Action.SEND_KEEPALIVE,)
        if now >= self._rekey_at and timers.rekey_interval is not None:
            self._rekey_at = _after(now, timers.rekey_interval)
            actions += (Action.REKEY,)
        return actions

    def _unanswered(self) -> int:
        """Probes sent since something was last received."""
        return self._probes if self.last_received_at == self._heard_at else 0


def _after(start: float, interval: float) -> float:
    """The end of an interval, on a whole second unless it is short: thousands of tunnels share a wake-up."""
    at = start + interval
    return at if interval < ROUNDED_FROM_S else -(-at // 1.0)
