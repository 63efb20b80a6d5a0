"""One unit of a failover pair: which state it is in, and whether it may act as the active one.

    NEGOTIATION --THEIRS--> SYNC --SYNCED--> READY      the mate is active: follow it
         |                    |    <-OUT_OF_SYNC-+
        OURS                 OURS               OURS    the lease has come to us
         v                    v                   v
         +-----------> TAKING_OVER <--------------+
                          | SERVING      | CANNOT_SERVE
                          v              v
                        ACTIVE         FAILED --RECOVERED--> NEGOTIATION
                          | RESIGNED, THEIRS
                          v
                         SYNC

The role is a lease in a store that both units reach, with a fencing number that grows with every change of
hands. The unit asks for it, or has it renewed, at every poll; whatever the store answers becomes a `Signal`,
and the table below says what follows. Instants are those of a clock that no process can stop: seconds since
the machine's start between processes, trio's clock within one.

Between two polls the active unit acts on what it knows: until `valid_until` nobody else can have the lease.
That is one hold time from the sending of a poll that was answered, and as well from an attempt that found
nobody listening at the store's address: it is down for everybody, and for one hold time after its start it
gives the lease to nobody but whoever had it. A store that is silent may only be out of our reach; then the
unit stops acting when its lease is over. The other unit waits one hold time from the active one's last poll,
even if somebody wipes the lease from the store.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal

from asa_emu.ha.records import Lease

RECOVERY: Final = 10
"""Hold times that a unit which could not serve waits before it tries again."""


class State(Enum):
    """The states of a unit, by the names that `show failover` prints."""

    NEGOTIATION = "Negotiation"
    SYNC = "Bulk Sync"
    READY = "Standby Ready"
    TAKING_OVER = "Just Active"
    ACTIVE = "Active"
    FAILED = "Failed"


class Signal(Enum):
    """What a unit learns."""

    OURS = auto()
    """The lease is ours."""
    THEIRS = auto()
    """Another process has it."""
    SYNCED = auto()
    """We have all that the active unit has."""
    OUT_OF_SYNC = auto()
    SERVING = auto()
    """The service address is bound, the sessions are ours."""
    CANNOT_SERVE = auto()
    RESIGNED = auto()
    """An administrator wants the mate to be active, or the process is to stop."""
    RECOVERED = auto()


class Step(Enum):
    """What the shell has to do."""

    FOLLOW = auto()
    """Read all sessions from the store, and then every change."""
    TAKE_OVER = auto()
    """Read what is left to read, bind the service address, make the sessions ours."""
    STAND_BY = auto()
    """Let go of the address and of all connections without a word, give the lease up, and follow."""


_S = State
TABLE: Final[dict[tuple[State, Signal], tuple[State, Step | None]]] = {
    (_S.NEGOTIATION, Signal.THEIRS): (_S.SYNC, Step.FOLLOW),
    (_S.NEGOTIATION, Signal.OURS): (_S.TAKING_OVER, Step.TAKE_OVER),
    (_S.SYNC, Signal.OURS): (_S.TAKING_OVER, Step.TAKE_OVER),
    (_S.SYNC, Signal.SYNCED): (_S.READY, None),
    (_S.READY, Signal.OURS): (_S.TAKING_OVER, Step.TAKE_OVER),
    (_S.READY, Signal.OUT_OF_SYNC): (_S.SYNC, None),
    (_S.TAKING_OVER, Signal.SERVING): (_S.ACTIVE, None),
    (_S.TAKING_OVER, Signal.CANNOT_SERVE): (_S.FAILED, Step.STAND_BY),
    (_S.TAKING_OVER, Signal.THEIRS): (_S.SYNC, Step.STAND_BY),
    (_S.ACTIVE, Signal.THEIRS): (_S.SYNC, Step.STAND_BY),
    (_S.ACTIVE, Signal.RESIGNED): (_S.SYNC, Step.STAND_BY),
    (_S.FAILED, Signal.RECOVERED): (_S.NEGOTIATION, None),
}
"""What is not listed changes nothing."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A poll: the store renews `mine`, or gives the lease away when nobody has it.

    Then `mine` goes first, unless there has been a higher fencing number since, and `wanted` second.
    """

    mine: Lease | None
    """The lease that we had last."""
    valid: bool
    """Nobody else can have it: it may be renewed even by a store that has just started and knows nothing."""
    wanted: Lease | None
    """What we would like to have; its fencing number must be a new one."""


@dataclass(frozen=True, slots=True)
class Told:
    """The store's answer."""

    lease: Lease | None
    """Whose the lease is now; None when nobody has it."""
    fence: int
    """The highest fencing number so far."""
    left: float = 0.0
    """Seconds until the lease ends unless it is renewed."""
    quiet: float = math.inf
    """Seconds since the mate last polled as the active unit, by its last words."""


Link = Literal["up", "down", "silent"]
"""The state link: the store answers, nobody listens at its address, or it says nothing."""


class Unit:
    """The role of one unit. `poll` and `hold` are seconds."""

    def __init__(self, name: str, instance: str, *, poll: float, hold: float, now: float) -> None:
        self.name = name
        self.instance = instance
        self.poll = poll
        self.hold = hold
        self.state = State.NEGOTIATION
        self.lease: Lease | None = None
        """The last one that was ours; its fencing number stays ours until somebody else has a higher one."""
        self.valid_until = -math.inf
        self.link: Link = "up"
        self.heir = False
        """It has seen an active mate, or the shell one that knew of sessions: it will take these over.
        Otherwise the pair starts anew, as after a restart of both (their sessions are lost).
        """
        self.retired = False
        """The process is to stop: it does not ask for the role any more."""
        self.reason = ""
        """Of the last change of role, in an ASA's words."""
        self._floor = 0
        self._asked = Ask(None, False, None)
        self._theirs_until = -math.inf
        self._heard_at = -math.inf
        self._next_poll = now
        # the primary goes first when both start at once
        self._patient_until = now + (0.0 if name == "primary" else hold)
        self._yields_until = -math.inf
        self._why_free = ""

    @property
    def mate(self) -> str:
        """The other unit's name."""
        return "secondary" if self.name == "primary" else "primary"

    @property
    def fence(self) -> int:
        """The fencing number of our lease, 0 when we never had one."""
        return 0 if self.lease is None else self.lease.fence

    @property
    def has_role(self) -> bool:
        """Whether it is active, or about to be."""
        return self.state in (State.ACTIVE, State.TAKING_OVER)

    def may_act(self, now: float) -> bool:
        """Whether it is certain at this instant that no other unit is active."""
        return self.has_role and now < self.valid_until

    def next_deadline(self) -> float:
        """When to poll."""
        return self._next_poll

    def ask(self, now: float) -> Ask:
        """The poll to send now."""
        self._next_poll = now + self.poll
        if self.state is State.FAILED and now >= self._patient_until:
            self.signal(Signal.RECOVERED)
        # not on what it knew before it slept or was cut off
        knows = now < self._heard_at + self.poll + self.hold / 3
        waits = (
            knows
            and not self.retired
            and self.state in (State.NEGOTIATION, State.SYNC, State.READY)
            and now >= max(self._patient_until, self._yields_until, self._theirs_until)
        )
        wanted = Lease(self.name, self.instance, max(self._floor, self.fence) + 1) if waits else None
        self._asked = Ask(self.lease if self.has_role else None, self.may_act(now), wanted)
        return self._asked

    def answered(self, told: Told, sent_at: float, now: float) -> Step | None:
        """The store has answered a poll that was sent at `sent_at`."""
        self.link, self._heard_at = "up", sent_at
        lease = told.lease
        if lease is not None and lease.instance == self.instance:
            # one that we gave up, but could not release, is no longer ours
            lease = lease if lease in (self._asked.mine, self._asked.wanted) else None
        self._floor = max(self._floor, told.fence, 0 if lease is None else lease.fence)
        if lease is None or lease.free:
            if lease is not None:
                self._why_free, self._theirs_until = lease.reason, -math.inf
            else:
                self._theirs_until = max(self._theirs_until, now + self.hold - told.quiet)
            if now >= max(self._patient_until, self._yields_until):
                self._next_poll = min(self._next_poll, now + self.poll / 10)
            # somebody was active since, and is no more: what we know may be out of date
            deposed = self.has_role and told.fence > self.fence
            return self.signal(Signal.THEIRS) if deposed else None
        if lease.instance != self.instance:
            self.heir = True
            self._why_free, self._theirs_until = "", now + told.left
            self._yields_until = -math.inf  # it was let go first, and has
            if self.has_role:
                self.reason = "Other unit is Active"
            step = self.signal(Signal.THEIRS)
            if step is Step.FOLLOW:
                self._patient_until = now
            return step
        self.lease = lease
        self.valid_until = sent_at + self.hold
        if not self.has_role:
            self.reason = self._why_free or (
                "HELLO not heard from mate" if self.heir else "No Active unit found"
            )
        return self.signal(Signal.OURS)

    def refused(self, sent_at: float) -> None:
        """Nobody listened at the store's address at `sent_at`.

        The active unit goes on meanwhile, so the other one lets it come back to the store first. But one that
        was not certain then is not certain now: the other may have become active before that.
        """
        self.link = "down"
        if self.has_role:
            if self.may_act(sent_at):
                self.valid_until = max(self.valid_until, sent_at + self.hold)
        else:
            self._patient_until = max(self._patient_until, sent_at + self.hold)

    def silent(self) -> None:
        """The store has not answered in time, or makes no sense."""
        self.link = "silent"

    def poll_now(self, now: float) -> None:
        """Something has happened that the store should know, or tell."""
        self._next_poll = min(self._next_poll, now)

    def resign(self, reason: str, now: float) -> Step | None:
        """Give the role up, and leave the mate one hold time to take it."""
        step = self.signal(Signal.RESIGNED)
        if step is not None:
            self.reason = reason
            self._yields_until = now + self.hold
        return step

    def could_not_serve(self, now: float) -> Step | None:
        """The service address cannot be bound."""
        self._patient_until = now + RECOVERY * self.hold
        return self.signal(Signal.CANNOT_SERVE)

    def signal(self, signal: Signal) -> Step | None:
        """Take one step in the table."""
        self.state, step = TABLE.get((self.state, signal), (self.state, None))
        if step is Step.STAND_BY:
            self.valid_until = -math.inf
        return step
