"""What a unit of a failover pair tells people: its messages, its log, its status, and when it was active.

    state, link, mate -> 104001, 104002, 105042, 103001 … in the ASA's words, each when it has changed
    addresses -> 737029, 737031 when the mate knows, 737028 when it cannot be told
    gate -> Interval: from when to when this unit could act, by fencing number
    all of it -> Status: `show failover` and `GET /v1/failover`

Nothing here decides anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from asa_emu.config.failover import Failover
from asa_emu.ha.journal import Follower, Journal
from asa_emu.ha.records import Hello
from asa_emu.ha.status import Interval, Status
from asa_emu.ha.unit import Link, State, Unit
from asa_emu.serve.gate import Gate
from asa_emu.serve.gateway import Gateway
from asa_emu.session.events import AddressAssigned, AddressReleased, SessionEvent
from asa_emu.session.model import Session
from asa_emu.syslog.facts import Notice

KEPT: Final = 1000  # intervals, lags, reasons

log = structlog.get_logger(__name__)


class UnitReport:
    """The report of one unit; `clock` is that of its store."""

    def __init__(self, gateway: Gateway, unit: Unit, said: Failover, clock: Callable[[], float]) -> None:
        self.lags: deque[float] = deque(maxlen=KEPT)
        """Seconds from a change to its acknowledgement, or to its being read."""
        self.addresses: list[tuple[int, str]] = []
        """What was assigned and released, and is not told yet: the message and the address."""
        self.sent = self.received = self.most_waiting = 0
        """Session records."""
        self._gateway = gateway
        self._unit = unit
        self._said = said
        self._clock = clock
        self._not_sent = 0
        self._told: tuple[State, Link, str | None] = (unit.state, unit.link, None)
        self._reasons: set[str] = set()
        self._intervals: deque[Interval] = deque(maxlen=KEPT)
        self._active_for = 0.0
        self._switched_at: float | None = None

    # messages

    def notice(self, *numbers: int, **words: object) -> None:
        """Log these messages."""
        words = {"unit": self._unit.name.capitalize(), **words}
        self._gateway.headend.emit(Notice(at=self._gateway.now(), numbers=numbers, words=words))

    def changes(self, mate: Hello | None) -> None:
        """Tell what has changed since this was called last."""
        unit = self._unit
        state, link, mate_state = self._told
        self._told = (unit.state, unit.link, None if mate is None else mate.state)
        if unit.state is not state:
            log.info("failover.state", unit=unit.name, state=unit.state.value, reason=unit.reason)
            self._tell_state(state)
        if (unit.link == "up") != (link == "up"):
            log.warning("failover.link", unit=unit.name, link=unit.link)
            up = unit.link == "up"
            self.notice(105042 if up else 105043, 720024, state="up" if up else "down")
        if self._told[2] != mate_state:
            self._tell_mate(mate)

    def _tell_state(self, before: State) -> None:
        unit = self._unit
        active = (State.ACTIVE, State.TAKING_OVER)
        self.notice(720027, state=unit.state.value)
        if unit.state is State.ACTIVE:
            self._switched_at = self._gateway.now()
            self.notice(104001, 720039, reason=unit.reason)
        elif before in active and unit.state not in active:
            self._switched_at = self._gateway.now()
            self.notice(104002, 720040, reason=unit.reason)
        if State.FAILED in (unit.state, before):
            self.notice(104003 if unit.state is State.FAILED else 104004)

    def _tell_mate(self, mate: Hello | None) -> None:
        if mate is None:
            lan = self._said.lan
            self.notice(103001, 105005, code=4, interface="folink" if lan is None else lan.name)
            return
        self.notice(720028, state=mate.state)
        if self._unit.state is State.ACTIVE and mate.state == State.READY.value:
            self.notice(709003, 709004)

    def copied(self, session: Session, created: bool) -> None:
        """A session has appeared in a standby's table, or is about to go from it."""
        self.notice(721016 if created else 721018, user=session.username, ip=session.public_ip)

    def hear(self, event: SessionEvent) -> None:
        """Note an address that the mate is to know about."""
        if isinstance(event, AddressAssigned | AddressReleased):
            number = 737029 if isinstance(event, AddressAssigned) else 737031
            self.addresses += [(number, address) for address in event.addresses.held]

    def mate_knows(self, addresses: list[tuple[int, str]]) -> None:
        """The mate has been told."""
        for number, address in addresses:
            self.notice(number, address=address)

    def give_addresses_up(self) -> None:
        """The mate cannot be told."""
        for number, address in self.addresses:
            if number == 737029:
                self.notice(737028, address=address)
                self._not_sent += 1
        self.addresses.clear()

    def once(self, event: str, reason: str) -> None:
        """Name a reason in the log once, however often it comes."""
        if reason not in self._reasons and len(self._reasons) < KEPT:
            self._reasons.add(reason)
            log.warning(event, unit=self._unit.name, reason=reason)

    # times and status

    def minded(self, gate: Gate) -> Interval | None:
        """The gate may have opened or shut: the interval that has begun or ended with that."""
        running = self._running
        if gate.is_open and running is None:
            self._intervals.append(Interval(self._unit.fence, self._clock()))
        elif not gate.is_open and running is not None:
            self._intervals[-1] = ended = self._ended(running, gate)
            self._active_for += (ended.until or 0.0) - ended.since
        else:
            return None
        return self._intervals[-1]

    @property
    def _running(self) -> Interval | None:
        last = self._intervals[-1] if self._intervals else None
        return last if last is not None and last.until is None else None

    def _ended(self, running: Interval, gate: Gate) -> Interval:
        return Interval(running.fence, running.since, min(self._clock(), gate.was_open_until))

    def active_for(self, gate: Gate) -> float:
        """Seconds in all."""
        running = self._running
        if running is None:
            return self._active_for
        return self._active_for + min(self._clock(), gate.was_open_until) - running.since

    def status(self, mate: Hello | None, gate: Gate, journal: Journal, follower: Follower) -> Status:
        """What there is to say about this unit now."""
        unit, running = self._unit, self._running
        lags, intervals = sorted(self.lags), list(self._intervals)
        acts = unit.state is State.ACTIVE and gate.is_open
        if running is not None and not gate.is_open:  # it shuts by itself
            intervals[-1] = self._ended(running, gate)
        return Status(
            unit=unit.name,
            state=State.NEGOTIATION if unit.state is State.ACTIVE and not acts else unit.state,
            mate=unit.mate,
            mate_state=None if mate is None else mate.state,
            poll=unit.poll,
            hold=unit.hold,
            active_for=self.active_for(gate),
            mate_active_for=0.0 if mate is None else mate.active_for,
            fence=unit.fence if unit.has_role else follower.fence,
            link=unit.link,
            lag=journal.lag if unit.has_role else (self.lags[-1] if self.lags else 0.0),
            lag_p99=lags[len(lags) * 99 // 100] if lags else 0.0,
            switched_at=self._switched_at,
            sent=self.sent,
            not_sent=self._not_sent,
            received=self.received,
            refused=follower.refused,
            waiting=journal.waiting,
            most_waiting=self.most_waiting,
            intervals=tuple(intervals),
        )
