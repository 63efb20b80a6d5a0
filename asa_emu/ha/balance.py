"""VPN load balancing: who takes part, who directs, and which member a new client is sent to.

    its own figures        -> take_part  \\
    heartbeats of the rest -> heard       > Balancer -> wants_role: ask for the director's role, or keep it
    who has the role       -> leased     /           -> pick: the member for the next client
    time                   -> on_deadline            -> news: what is worth a message

Every member runs one `Balancer`. They meet at a table, which is common memory in one process (`Table`) and a
script in a Redis server between several: a member lays down its heartbeat there and reads what the others
laid down. The role is a lease that the table gives to one member at a time. Who asks for it is the election:
the member of the highest priority among those that live, the lowest address among equals, and only when
nobody has it, so that a better one that comes later does not take it away. The role belongs to an address:
whoever goes on in a member's place, such as the other unit of a failover pair, finds it there and keeps it.
Instants are seconds of run time: a clock that is bent must not make living members look dead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

POLL: Final = 0.5
"""Seconds between two heartbeats."""
LISTEN: Final = 1.5 * POLL
"""Seconds that a member listens before it wants the role: it reads the table twice, and those that came up
together know each other."""
HOLD: Final = 2.0
"""Seconds of silence after which a member is dead and its role free."""


class News(Enum):
    """What happened, as the numbers of the messages that an ASA logs about it."""

    STARTED = (718068, 718012)
    STOPPED = (718029, 718069)
    DIRECTOR = (718072,)
    MEMBER = (718073,)
    GREETED = (718015, 718010, 718045)
    """The director heard of a new peer."""
    CREATED = (718045,)
    LEFT = (718030, 718044)
    SILENT = (718013, 718039, 718044)
    DIRECTOR_SILENT = (718014, 718039, 718056, 718044)


def _address(ip: str) -> str:
    return str(ip_address(ip))


@checked(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class Member:
    """What a member says of itself in a heartbeat."""

    ip: Annotated[str, AfterValidator(_address)]
    """Where clients are sent to."""
    port: Annotated[int, Field(ge=1, lt=65536)]
    priority: Annotated[int, Field(ge=1, le=10)]
    """The highest directs."""
    used: Annotated[int, Field(ge=0, lt=2**31)]
    """Sessions."""
    limit: Annotated[int, Field(ge=0, lt=2**31)]
    fqdn: Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9.-]*$")] = ""
    able: bool = True
    """Whether it could listen on the cluster address."""
    leaving: bool = False
    """This is its last heartbeat."""

    @property
    def address(self) -> str:
        """`IP:PORT`, by which members are told apart."""
        return f"{self.ip}:{self.port}"

    @property
    def may_direct(self) -> bool:
        """Whether it keeps the role that it has."""
        return self.able and not self.leaving

    @property
    def rank(self) -> tuple[int, int, int]:
        """Sorts the member that should direct first."""
        return -self.priority, int(ip_address(self.ip)), self.port

    @property
    def load(self) -> int:
        """Sessions in percent of the limit."""
        return 100 * self.used // self.limit if self.limit else 100


class Roll(NamedTuple):
    """What lies on the table: heartbeats with their ages, who has the role, and for how much longer."""

    rows: tuple[tuple[Member, float], ...]
    director: str | None
    left: float


@dataclass(slots=True)
class _Seat:
    member: Member
    at: float
    sent: list[float] = field(default_factory=list)
    """When clients were sent there that its figures do not show yet."""
    chosen_at: float = -math.inf
    """When the last one was."""

    def expected_load(self) -> float:
        member = self.member
        return (member.used + len(self.sent)) / member.limit if member.limit else math.inf


class Balancer:
    """The cluster as one member sees it."""

    def __init__(self) -> None:
        self.me: Member | None = None
        """None while it does not take part."""
        self.director: str | None = None
        """The address of the member that has the role, as far as known."""
        self.news: list[tuple[News, str]] = []
        """What happened, and to the peer with which IP; whoever tells it empties the list."""
        self.picks = 0
        """Clients that were sent to a member."""
        self._seats: dict[str, _Seat] = {}
        self._lease_ends = -math.inf
        self._listens_until = -math.inf
        self._told_director: bool | None = None
        self._last_director: str | None = None

    @property
    def directs(self) -> bool:
        """Whether the role is its own."""
        return self.me is not None and self.director == self.me.address

    @property
    def members(self) -> list[Member]:
        """Those that take part and live, the director first, then by rank."""
        found = (seat.member for seat in self._seats.values())
        return sorted(found, key=lambda member: (member.address != self.director, member.rank))

    def take_part(self, me: Member, now: float) -> None:
        """Join with these figures, or bring them up to date; the address stays while it takes part."""
        if self.me is None:
            self._listens_until = now + LISTEN
            self.news.append((News.STARTED, me.ip))
        self.me = me
        self._seat(me, now)

    def withdraw(self) -> None:
        """Take part no more."""
        if self.me is not None:
            self.news.append((News.STOPPED, self.me.ip))
        self.me = self.director = self._last_director = self._told_director = None
        self._seats.clear()

    def heard(self, member: Member, at: float) -> None:
        """A member laid down a heartbeat at that instant; the same one may be heard again."""
        if self.me is None or member.address == self.me.address:
            return
        if member.leaving:
            if self._seats.pop(member.address, None) is not None:
                self.news.append((News.LEFT, member.ip))
        elif self._seat(member, at):
            self.news.append((News.GREETED if self.directs else News.CREATED, member.ip))

    def _seat(self, member: Member, at: float) -> bool:
        """Bring a seat up to date; whether it is new."""
        old = self._seats.get(member.address)
        if old is None or at >= old.at:
            # who was sent there since may have logged in, or is about to
            sent = [] if old is None else [instant for instant in old.sent if instant > at]
            chosen_at = -math.inf if old is None else old.chosen_at
            self._seats[member.address] = _Seat(member, at, sent, chosen_at)
        return old is None

    def leased(self, holder: str | None, until: float, now: float) -> None:
        """The table says who has the role, and until when."""
        self.director = holder if until > now else None
        self._last_director = self.director or self._last_director
        self._lease_ends = until
        self._tell_role()

    def _tell_role(self) -> None:
        known = self.director is not None or self._told_director
        if self.me is not None and known and self.directs != self._told_director:
            self._told_director = self.directs
            self.news.append((News.DIRECTOR if self.directs else News.MEMBER, self.me.ip))

    def cut_off(self, now: float) -> None:
        """The table is gone for everybody: who directs goes on, the others listen anew when it is back."""
        if self.me is not None and self.directs:
            self.leased(self.director, now + HOLD, now)
        else:
            self._listens_until = now + HOLD

    def wants_role(self, now: float) -> bool:
        """Whether to ask the table for the role: to keep it, or to take it when nobody has it."""
        me = self.me
        if me is None or not me.able:
            return False
        if self.director is not None:
            return self.directs
        able = (seat.member for seat in self._seats.values() if seat.member.able)
        return now >= self._listens_until and me.rank == min(member.rank for member in able)

    def pick(self, now: float) -> Member | None:
        """The living member with the least load; it is expected to have a client more from now on.

        Of equals it is whoever was picked longest ago, for clients may take their time to log in. None when
        this one does not direct, or not any more.
        """
        self.mind_lease(now)
        if not self.directs:
            return None
        living = [seat for seat in self._seats.values() if seat.at + HOLD > now or seat.member == self.me]
        seat = min(living, key=lambda s: (s.expected_load(), s.chosen_at, s.member.rank))
        seat.sent.append(now)
        seat.chosen_at = now
        self.picks += 1
        return seat.member

    def next_deadline(self) -> float:
        """When the next peer is dead, the lease over, or the listening: inf for none of these."""
        deadlines = [seat.at + HOLD for seat in self._peers()]
        if self.director is not None:
            deadlines.append(self._lease_ends)
        if self._listens_until > -math.inf:
            deadlines.append(self._listens_until)
        return min(deadlines, default=math.inf)

    def mind_lease(self, now: float) -> None:
        """Notice that its own lease is over, without a word about others before the table is read again."""
        if self.directs and self._lease_ends <= now:
            self.director = None
            self._tell_role()

    def on_deadline(self, now: float) -> None:
        """Bury the dead, and notice that a lease is over."""
        for seat in list(self._peers()):
            if seat.at + HOLD <= now:
                member = seat.member
                del self._seats[member.address]
                was_director = member.address == self._last_director
                silent = News.DIRECTOR_SILENT if was_director else News.SILENT
                self.news.append((silent, member.ip))
        if self.director is not None and self._lease_ends <= now:
            self.director = None
            self._tell_role()
        if self._listens_until <= now:
            self._listens_until = -math.inf

    def _peers(self) -> list[_Seat]:
        me = self.me.address if self.me is not None else None
        return [seat for address, seat in self._seats.items() if address != me]


class Table:
    """Where the members of one process meet; a script in Redis does the same for several."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Member, float]] = {}
        self._director: str | None = None
        self._lease_ends = -math.inf

    def meet(self, mine: Member, wants_role: bool, now: float) -> Roll:
        """Lay down a heartbeat, ask for the role, keep it or give it up, and read what others laid down."""
        self._rows[mine.address] = mine, now
        self._rows = {address: row for address, row in self._rows.items() if row[1] + HOLD > now}
        holder = self._director if self._lease_ends > now else None
        if holder == mine.address or (holder is None and wants_role):
            holder = mine.address if mine.may_direct else None
            self._lease_ends = now + HOLD
        self._director = holder
        rows = tuple((member, now - at) for member, at in self._rows.values())
        return Roll(rows, self._director, self._lease_ends - now)
