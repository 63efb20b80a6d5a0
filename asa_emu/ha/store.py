"""What a pair's store keeps and does, and a store in memory for both units in one process.

    Ask, Hello -> Signer -> RawAsk -> store -> RawTold -> Signer -> Told, Hello
    entry, puts -> append; snapshot, read -> Follower

A store sees bytes alone: `Signer` stands between it and the unit. `Shelf` does in Python what the Redis store
does by scripts. Every call is one step that nothing can come between; the lease expires by the `now` that
callers bring.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from asa_emu.ha.journal import Snapshot
from asa_emu.ha.records import (
    BodyT,
    Census,
    Change,
    End,
    Entry,
    Hello,
    Lease,
    RecordRefused,
    SessionRecord,
    decode_untrusted,
    encode,
)
from asa_emu.ha.unit import Ask, State, Told

MAX_ENTRIES: Final = 1024
"""Of the log; a reader that is further behind reads everything anew."""
MAX_NOTES: Final = 1000
MAX_READ: Final = 64
"""Entries that are read at once."""


@dataclass(frozen=True, slots=True)
class RawAsk:
    """A poll, signed: `Ask`, and what the asking unit found in the lease's place that is no lease."""

    unit: str
    mate: str
    hello: bytes
    mine: bytes | None
    mine_fence: int
    valid: bool
    wanted: bytes | None
    wanted_fence: int
    void: bytes | None


@dataclass(frozen=True, slots=True)
class RawTold:
    """The answer: the lease that stands now, the highest fencing number, and the mate's last words."""

    lease: bytes | None
    left: float
    """Seconds of its life."""
    fence: int
    granted: bool
    """It was given, not renewed: if it was ours before, the store has forgotten it, and perhaps more."""
    hello: bytes | None
    age: float
    """Seconds since the mate said so."""
    run: bytes
    """Which run of the store this is: after another one, what was written may be lost."""


@dataclass(frozen=True, slots=True)
class Put:
    """One change of the stored table: a session's record, its end, the census, or the configuration."""

    kind: str
    """`session`, `end`, `census` or `settings`."""
    indices: tuple[int, ...]
    record: bytes


def puts_of(changes: Iterable[Change], entry: Entry) -> list[Put]:
    """What an entry changes in the stored table."""
    puts: list[Put] = []
    for change, record in zip(changes, entry.changes, strict=True):
        match change:
            case SessionRecord(index=index):
                puts.append(Put("session", (index,), record))
            case End(index):
                puts.append(Put("end", (index,), record))
            case Census(indices):
                puts.append(Put("census", indices, record))
            case _:
                puts.append(Put("settings", (), record))
    return puts


class Signer:
    """Signs what a unit asks, and reads what it is told."""

    def __init__(self, key: bytes, name: str, mate: str) -> None:
        self.on_refused: Callable[[str], None] = lambda reason: None
        """Told why something was not believed."""
        self._key = key
        self._name = name
        self._mate = mate
        self._void: bytes | None = None

    def sign(self, ask: Ask, hello: Hello) -> RawAsk:
        """A poll as the store takes it."""
        mine, wanted = ask.mine, ask.wanted
        return RawAsk(
            unit=self._name,
            mate=self._mate,
            hello=encode(self._key, hello),
            mine=None if mine is None else encode(self._key, mine),
            mine_fence=0 if mine is None else mine.fence,
            valid=ask.valid,
            wanted=None if wanted is None else encode(self._key, wanted),
            wanted_fence=0 if wanted is None else wanted.fence,
            void=self._void,
        )

    def read_untrusted(self, raw: RawTold) -> tuple[Told, Hello | None]:
        """The answer, and the mate's words; what is not signed by this pair is as if it were not there."""
        lease = self._believe(raw.lease, Lease)
        self._void = raw.lease if lease is None or lease.free else None
        hello = self._believe(raw.hello, Hello)
        if hello is not None:
            acts = hello.state in (State.ACTIVE.value, State.TAKING_OVER.value)
        else:  # it may have another key than we
            acts = raw.hello is not None and lease is None and raw.lease is not None
        # a store that has lost the highest number may be told by whoever has read entries under it
        fence = max(raw.fence, 0 if hello is None else hello.fence)
        return Told(lease, fence, raw.left, raw.age if acts else math.inf), hello

    def _believe(self, record: bytes | None, kind: type[BodyT]) -> BodyT | None:
        try:
            return None if record is None else decode_untrusted(self._key, record, kind)
        except RecordRefused as refused:
            self.on_refused(str(refused))
            return None


class Shelf:
    """The store. `hold` is the life of a lease in seconds, and `born` when the store was started."""

    def __init__(self, hold: float, born: float = -math.inf) -> None:
        self.notes: deque[bytes] = deque(maxlen=MAX_NOTES)
        self._hold = hold
        self._born = born
        self._lease: bytes | None = None
        self._expires_at = -math.inf
        self._fence = 0
        self._hellos: dict[str, tuple[bytes, float]] = {}
        self._sessions: dict[int, bytes] = {}
        self._settings: bytes | None = None
        self._head: bytes | None = None
        self._log: deque[tuple[int, Entry]] = deque(maxlen=MAX_ENTRIES)
        self._position = 0

    def holder(self, now: float) -> bytes | None:
        """The lease that stands."""
        return self._lease if now < self._expires_at else None

    def poll(self, ask: RawAsk, now: float) -> RawTold:
        """Renew the lease or give it, and hear how both units are."""
        self._hellos[ask.unit] = (ask.hello, now)
        lease, granted = self.holder(now), False
        seasoned = now - self._born >= self._hold
        if lease is not None and lease in (ask.mine, ask.wanted):  # wanted: granted, but the answer was lost
            self._expires_at = now + self._hold
        elif lease is None or lease == ask.void:
            if ask.mine is not None and self._fence <= ask.mine_fence and (ask.valid or seasoned):
                granted = self._grant(ask.mine, ask.mine_fence, now)
            elif ask.wanted is not None and self._fence < ask.wanted_fence and seasoned:
                granted = self._grant(ask.wanted, ask.wanted_fence, now)
        hello, said_at = self._hellos.get(ask.mate, (None, now))
        return RawTold(
            lease=self.holder(now),
            left=max(0.0, self._expires_at - now),
            fence=self._fence,
            granted=granted,
            hello=hello,
            age=now - said_at,
            run=b"%d" % id(self),
        )

    def _grant(self, lease: bytes, fence: int, now: float) -> bool:
        self._lease, self._fence, self._expires_at = lease, fence, now + self._hold
        return True

    def release(self, mine: bytes, free: bytes, now: float) -> None:
        """Put a lease that says it is free in the place of ours."""
        if self.holder(now) == mine:
            self._lease = free

    def append(self, lease: bytes, entry: Entry, puts: Iterable[Put], now: float) -> bool:
        """Write an entry, and what it changes in the table; False when the lease is not ours."""
        if self.holder(now) != lease:
            return False
        for put in puts:
            match put.kind:
                case "session":
                    self._sessions[put.indices[0]] = put.record
                case "end":
                    self._sessions.pop(put.indices[0], None)
                case "census":
                    for index in self._sessions.keys() - set(put.indices):
                        del self._sessions[index]
                case "settings":
                    self._settings = put.record
        self._head = entry.head
        self._position += 1
        self._log.append((self._position, entry))
        return True

    def snapshot(self) -> Snapshot:
        """Everything at this instant."""
        position = str(self._position).encode()
        return Snapshot(position, self._head, tuple(self._sessions.values()), self._settings)

    def read(self, position: bytes) -> tuple[bytes, list[Entry]]:
        """The next entries after a position, as far as they are still there, and the position after them."""
        found = [item for item in self._log if item[0] > int(position)][:MAX_READ]
        return (b"%d" % found[-1][0] if found else position), [entry for _, entry in found]
