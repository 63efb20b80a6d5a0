"""The session table on its way to the standby: what changed goes out in entries, and entries come in.

    events -> Journal: which sessions have changed -> take -> entry -> the store -> acknowledge -> callbacks
    entry, snapshot -> Follower -> the table of a standby

`Journal` does not keep what was done, only to whom: an entry holds the sessions as they are when it is made,
however often they have changed since the last one. So one entry commits for many, and a link that was down
costs no memory: what is written then is the whole table, and at its end a census, after which whatever the
reader has besides is over. Who has to wait until a change is safe leaves a callback.

`Follower` trusts no entry whose number does not follow the last one's: a forged or repeated one is passed
over, after a gap everything is read anew. Sessions whose policy has no keepalive are not carried (S103).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from asa_emu.config import Policy
from asa_emu.ha.records import (
    Census,
    Change,
    End,
    Entry,
    Head,
    RecordRefused,
    SessionRecord,
    Settings,
    decode_change_untrusted,
    decode_head_untrusted,
    decode_untrusted,
    encode_entry,
    record_of,
    row_from,
)
from asa_emu.ha.tally import Tally
from asa_emu.session.db import SessionDb
from asa_emu.session.events import SessionEvent
from asa_emu.session.model import Session, TunnelKind

MAX_CHANGES: Final = 128
"""Sessions in one entry."""
BROKEN: Final = "the stored sessions are not those that the active unit has written"

Callback = Callable[[bool], None]
"""Called with True when what one waits for is safe, or cannot be made safer; with False when this unit stands
by, and so must not say anything."""


class OutOfSync(Exception):
    """Entries are missing: read everything anew."""


@dataclass(frozen=True, slots=True)
class Batch:
    """An entry, and who waits for it."""

    number: int
    changes: tuple[Change, ...]
    entry: Entry
    callbacks: list[Callback] = field(default_factory=list)
    since: float = 0.0
    """When the oldest of its changes happened."""


class Journal:
    """What the active unit has not written yet. It hears the database from its making on."""

    def __init__(
        self, db: SessionDb, key: bytes, clock: Callable[[], float], on_work: Callable[[], None]
    ) -> None:
        """`clock` is for lags alone; `on_work` is called when there is something to take again."""
        self.heard = 0
        """Events so far."""
        self.written = 0
        """The number of the newest entry that is safe."""
        self._db = db
        self._key = key
        self._clock = clock
        self._on_work = on_work
        self._fence = self._number = 0
        self._dirty: dict[int, float] = {}
        self._settings: str | None = None
        self._census_due = False
        self._sent: set[int] = set()
        self._tally = Tally(key)
        self._waiting: dict[int, list[Callback]] = {}
        self.in_flight: Batch | None = None
        """The batch that was taken and not acknowledged yet."""
        self._flying: set[int] = set()
        self._live = False
        db.subscribe(self._hear)

    def begin(self, fence: int) -> None:
        """This unit is active: entries have numbers from 1 under this fencing number."""
        self.stop()
        self._fence, self._number, self.written = fence, 0, 0
        self.resync()

    def resync(self) -> None:
        """Write the whole table, whatever the store may have; from now on changes are written."""
        self._live = True
        self._sent.clear()
        self._tally.keep(())
        now = self._clock()
        for session in self._db.sessions():
            self._dirty.setdefault(session.index, now)
        self._census_due = True
        self._on_work()

    def settle(self, text: str) -> None:
        """Write the configuration."""
        self._settings = text
        if self._live:
            self._on_work()

    def stop(self) -> None:
        """This unit is no longer active: nobody gets an answer from it any more."""
        self._drop(safe=False)

    def abandon(self) -> None:
        """The link is down: whoever waits need not wait for that, until `resync`."""
        self._drop(safe=True)

    def _drop(self, *, safe: bool) -> None:
        self._live = False
        callbacks = [*self._callbacks()]
        self._dirty.clear()
        self._waiting.clear()
        self._flying.clear()
        self.in_flight = None
        self._census_due = False
        for callback in callbacks:
            callback(safe)

    def _callbacks(self) -> Iterable[Callback]:
        if self.in_flight is not None:
            yield from self.in_flight.callbacks
        for waiting in self._waiting.values():
            yield from waiting

    def _hear(self, event: SessionEvent) -> None:
        self.heard += 1
        if self._live:
            self._dirty.setdefault(event.index, self._clock())
            self._on_work()

    def pending(self, index: int) -> bool:
        """Whether a change of this session is on its way, and has not been acknowledged."""
        session = self._db.by_index(index)
        changed = index in self._dirty or index in self._flying
        return changed and (session is None or carried(session))

    def wait(self, index: int, callback: Callback) -> None:
        """Call back when all that has happened to this session is safe; at once if it is already."""
        if not self.pending(index):
            callback(True)
        elif index in self._dirty or self.in_flight is None:
            self._waiting.setdefault(index, []).append(callback)
        else:
            self.in_flight.callbacks.append(callback)

    def wait_for_all(self, callback: Callback) -> None:
        """Call back when all that has happened so far is safe; at once if it is already."""
        if self._dirty:
            self._waiting.setdefault(next(reversed(self._dirty)), []).append(callback)
        elif self.in_flight is not None:
            self.in_flight.callbacks.append(callback)
        else:
            callback(True)

    @property
    def waiting(self) -> int:
        """How many sessions have changed and are not safe yet."""
        return len(self._dirty) + len(self._flying)

    @property
    def lag(self) -> float:
        """Seconds since the oldest change that is not safe yet."""
        since = [self.in_flight.since] if self.in_flight is not None else []
        since += [next(iter(self._dirty.values()))] if self._dirty else []
        return self._clock() - min(since) if since else 0.0

    def take(self, sent: float) -> Batch | None:
        """The next entry to write, None when all is written; `sent` is wall-clock time.

        It must be acknowledged, or the journal stopped or abandoned, before the next one is taken.
        """
        if not self._live or not (self._dirty or self._census_due or self._settings is not None):
            return None
        now = self._clock()
        taken = list(self._dirty)[:MAX_CHANGES]
        since = self._dirty[taken[0]] if taken else now
        callbacks: list[Callback] = []
        changes: list[Change] = []
        for index in taken:
            del self._dirty[index]
            callbacks += self._waiting.pop(index, ())
            session = self._db.by_index(index)
            if session is not None and carried(session):
                self._sent.add(index)
                changes.append(record_of(session))
            elif session is None or index in self._sent or self._census_due:
                # before the census the store may have it from a former reign
                self._sent.discard(index)
                changes.append(End(index))
        if self._settings is not None:
            changes.append(Settings(self._settings))
            self._settings = None
        if self._census_due and not self._dirty:
            self._census_due = False
            changes.append(Census(tuple(sorted(self._sent))))
        self._number += 1
        entry = encode_entry(
            self._key,
            changes,
            fence=self._fence,
            number=self._number,
            sent=sent,
            next_index=self._db.next_index,
            whole=not self._census_due,
            tally=self._tally,
        )
        self._flying = set(taken)
        self.in_flight = Batch(self._number, tuple(changes), entry, callbacks, since)
        return self.in_flight

    def acknowledge(self, batch: Batch) -> None:
        """The entry is safe; means nothing for one that the journal does not wait for any more."""
        if batch is not self.in_flight:
            return
        self.in_flight = None
        self.written = batch.number
        self._flying.clear()
        for callback in batch.callbacks:
            callback(True)


def carried(session: Session) -> bool:
    """Whether a session is carried to the standby: not one of a client without keepalive (S103)."""
    return session.policy.keepalive is not None or not session.is_anyconnect


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the store has at one instant, and where its log goes on."""

    position: bytes
    head: bytes | None
    """Of the newest entry, None before the first."""
    sessions: tuple[bytes, ...]
    settings: bytes | None


class Follower:
    """The table of a standby. `policy_of(username, tunnel_group, group_policy)` looks a policy up."""

    def __init__(
        self,
        db: SessionDb,
        key: bytes,
        policy_of: Callable[[str, str, str], Policy],
        adopt: Callable[[str], None],
    ) -> None:
        self.fence = self.number = 0
        """Of the newest entry that was read."""
        self.ahead = 0.0
        """Seconds that this unit's emulated clock is ahead of the active one's."""
        self.sent = 0.0
        """Wall-clock time at which the newest entry was written."""
        self.refused = 0
        """Records that were passed over; `on_refused` is told why."""
        self.on_refused: Callable[[str], None] = lambda reason: None
        self.on_copied: Callable[[Session, bool], None] = lambda session, created: None
        """Called with a session that has appeared, or (False) is about to go."""
        self._db = db
        self._key = key
        self._policy_of = policy_of
        self._adopt = adopt

    def load(self, snapshot: Snapshot, now: float, *, unchecked: bool = False) -> Iterable[None]:
        """Make the table that of a snapshot; yields now and then, for others to have a turn.

        A store that has not got everything (again) yet takes nothing away: the census will. One that has gone
        back to a time before our newest entry gives nothing either, or who has logged off would live again.
        Raises OutOfSync for a table that is not the one the active unit has written, unless `unchecked`.
        """
        head = self._head_of(snapshot)
        if (self.fence, self.number) > ((0, 0) if head is None else (head.fence, head.number)):
            return
        if snapshot.settings is not None:
            self._change(snapshot.settings, now)
        found: list[SessionRecord] = []
        tally = Tally(self._key)
        for number, record in enumerate(snapshot.sessions):
            change = self._decode(record)
            if isinstance(change, SessionRecord):
                found.append(change)
                tally.put(change.index, record)
            if number % MAX_CHANGES == 0:
                yield
        if head is not None and head.whole and head.table != tally.value and not unchecked:
            self._refuse(BROKEN)
            raise OutOfSync(BROKEN)
        if head is not None and head.whole:
            self._keep({record.index for record in found})
        for number, session in enumerate(sorted(found, key=lambda record: record.index)):
            self._restore(session, now)
            if number % MAX_CHANGES == 0:
                yield
        if head is not None:
            self._heed(head)

    def begin_anew(self) -> None:
        """The table is empty again, or entries are numbered from the beginning: believe any store."""
        self.fence = self.number = 0

    def _head_of(self, snapshot: Snapshot) -> Head | None:
        try:
            return None if snapshot.head is None else decode_untrusted(self._key, snapshot.head, Head)
        except RecordRefused as refused:
            self._refuse(str(refused))
            return None

    def apply(self, entry: Entry, now: float) -> None:
        """Take over one entry of the log. Raises OutOfSync when others are missing before it."""
        try:
            head = decode_head_untrusted(self._key, entry)
        except RecordRefused as refused:
            self._refuse(str(refused))
            return
        if (head.fence, head.number) <= (self.fence, self.number):
            return  # read before, or played again
        if head.number != (self.number + 1 if head.fence == self.fence else 1):
            raise OutOfSync(f"entry {head.fence}.{head.number} after {self.fence}.{self.number}")
        self._heed(head)
        for record in entry.changes:
            self._change(record, now)

    def _heed(self, head: Head) -> None:
        self.fence, self.number, self.sent = head.fence, head.number, head.sent
        self._db.next_index = max(self._db.next_index, head.next_index)

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        self.on_refused(reason)

    def _decode(self, record: bytes) -> Change | None:
        try:
            return decode_change_untrusted(self._key, record)
        except RecordRefused as refused:
            self._refuse(str(refused))
            return None

    def _change(self, record: bytes, now: float) -> None:
        match self._decode(record):
            case SessionRecord() as session:
                self._restore(session, now)
            case End(index):
                self._forget(self._db.by_index(index))
            case Census(indices):
                self._keep(set(indices))
            case Settings(text):
                self._adopt(text)

    def _restore(self, record: SessionRecord, now: float) -> None:
        if not _well_formed(record):
            self._refuse(f"session {record.index} with tunnels that cannot be")
            return
        policy = self._policy_of(record.username, record.tunnel_group, record.group_policy)
        row = row_from(record, policy, self.ahead)
        known = self._db.by_index(record.index)
        try:
            session = self._db.restore(row, record.used_at + self.ahead, now)
        except ValueError as error:
            self._refuse(f"session {record.index}: {error}")
            return
        if session is not known:
            self.on_copied(session, True)

    def _forget(self, session: Session | None) -> None:
        if session is not None:
            self.on_copied(session, False)
            self._db.forget(session)

    def _keep(self, indices: set[int]) -> None:
        for session in self._db.sessions():
            if session.index not in indices:
                self._forget(session)


def _well_formed(record: SessionRecord) -> bool:
    """Whether the tunnels are of the kinds, and have the numbers, that a session can have."""
    parent, ssl, dtls = record.parent, record.ssl, record.dtls
    below = all(tunnel.number < record.next_number for tunnel in (ssl, dtls) if tunnel is not None)
    return (
        below
        and parent.number == 1
        and parent.kind in (TunnelKind.PARENT, TunnelKind.CLIENTLESS)
        and (ssl is None or (ssl.kind is TunnelKind.SSL and record.had_ssl))
        and (dtls is None or (dtls.kind is TunnelKind.DTLS and record.had_dtls))
    )
