"""Any sequence of session events, with any cuts and rejoins, ends with equal tables on both units."""

from __future__ import annotations

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from asa_emu.config import Policy
from asa_emu.ha.journal import Follower, Journal, OutOfSync, carried
from asa_emu.ha.records import (
    Entry,
    RecordRefused,
    decode_change_untrusted,
    decode_head_untrusted,
    derive_key,
    encode_entry,
    record_of,
)
from asa_emu.ha.store import Shelf, puts_of
from asa_emu.session.replica import Row, row_of
from tests.property.test_session_machine import ADDRESSES, CAPACITY, VpnSessiondb
from tests.session_lab import Lab, pool

KEY = derive_key("lab", "")
LEASE = b"lease"


class FailoverPair(VpnSessiondb):
    """The database of an active unit in any weather, and a standby that hears of it now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal(self.db, KEY, lambda: self.now, lambda: None)
        self.linked = True
        self.dump: Shelf | None = None
        self.dumped_at = 0
        self.waiting = 0
        """Callbacks that are owed."""
        self.new_store()
        self.new_standby()
        self.journal.begin(1)

    def new_store(self) -> None:
        self.shelf = Shelf(1e9)
        self.shelf._grant(LEASE, 1, 0.0)

    def new_standby(self) -> None:
        self.mate = Lab(
            capacity=CAPACITY,
            pools=[
                pool("inside", "10.0.0.1", "10.0.0.2", 24),
                pool("more", "10.0.0.2", "10.0.0.4", 24),
                pool("inside6", "2001:db8::1", "2001:db8::3", 64),
            ],
        )
        self.follower = Follower(self.mate.db, KEY, self.policy_of, lambda text: None)
        self.join()

    def policy_of(self, username: str, tunnel_group: str, group_policy: str) -> Policy:
        # As the other unit's configuration would say; the newest one of that user is near enough for a row.
        for session in self.db.by_user(username):
            return session.policy
        return next(iter(self.tokens.values())).policy

    def join(self) -> None:
        snapshot = self.shelf.snapshot()
        list(self.follower.load(snapshot, self.now))
        self.position = snapshot.position

    def write(self, most: int = 1000) -> None:
        while most and self.linked and (batch := self.journal.take(0.0)) is not None:
            assert self.shelf.append(LEASE, batch.entry, puts_of(batch.changes, batch.entry), self.now)
            self.journal.acknowledge(batch)
            most -= 1

    @rule(most=st.integers(1, 2))
    def some_is_written(self, most: int) -> None:
        self.write(most)

    @precondition(lambda self: self.linked)
    @rule(again=st.booleans())
    def a_reply_is_lost(self, again: bool) -> None:
        """The entry is in the store, but nobody says so: it is written again, or the link goes down."""
        batch = self.journal.take(0.0)
        if batch is None:
            return
        puts = puts_of(batch.changes, batch.entry)
        assert self.shelf.append(LEASE, batch.entry, puts, self.now)
        if again:
            assert self.shelf.append(LEASE, batch.entry, puts, self.now)
            self.journal.acknowledge(batch)
        else:
            self.cut()

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def somebody_waits(self, data: st.DataObject) -> None:
        def called(safe: bool) -> None:
            assert safe
            self.waiting -= 1

        session = self.tokens[data.draw(st.sampled_from(sorted(self.tokens)))]
        self.waiting += 1
        self.journal.wait(session.index, called)
        self.waiting += 1
        self.journal.wait_for_all(called)

    @rule()
    def it_is_read(self) -> None:
        entries = [ENTRY]
        while entries:
            self.position, entries = self.shelf.read(self.position)
            try:
                for entry in entries:
                    self.follower.apply(entry, self.now)
            except OutOfSync:
                self.join()

    @rule()
    def the_standby_joins(self) -> None:
        self.join()

    @rule()
    def another_standby_joins(self) -> None:
        self.new_standby()

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def somebody_waits_while_an_entry_is_written(self, data: st.DataObject) -> None:
        batch = self.journal.take(0.0)
        self.somebody_waits(data)
        if batch is not None:
            assert self.shelf.append(LEASE, batch.entry, puts_of(batch.changes, batch.entry), self.now)
            self.journal.acknowledge(batch)

    @rule()
    def the_log_is_too_short_for_the_standby(self) -> None:
        self.write()
        self.shelf._log.clear()
        self.journal.settle("hostname other")
        self.write()
        self.it_is_read()

    @rule()
    def cut(self) -> None:
        self.linked = False
        self.journal.abandon()
        assert self.waiting == 0

    @precondition(lambda self: self.linked)
    @rule()
    def a_dump_is_made(self) -> None:
        self.write()
        self.it_is_read()
        self.dump, self.dumped_at = copy.deepcopy(self.shelf), self.journal.written

    @precondition(lambda self: not self.linked)
    @rule(empty=st.booleans(), old=st.booleans())
    def mend(self, empty: bool, old: bool) -> None:
        """The store is there again, perhaps with nothing in it, or with what it had when a dump was made."""
        newer = self.follower.number > self.dumped_at
        if empty:
            self.new_store()
        elif old and self.dump is not None:
            position = self.shelf._position
            self.shelf = copy.deepcopy(self.dump)
            self.shelf._position = position + 1  # Redis numbers by the clock
        before = [row_of(session) for session in self.mate.db.sessions()]
        self.join()
        if old and newer and not empty and self.dump is not None:
            assert before == [row_of(session) for session in self.mate.db.sessions()]
        self.linked = True
        self.journal.resync()

    @invariant()
    def the_standby_has_no_address_twice(self) -> None:
        held = [address for session in self.mate.db.sessions() for address in session.addresses.held]
        assert len(held) == len(set(held))
        assert {address for address in ADDRESSES if address in self.mate.db.pools} == set(held)
        assert not self.mate.events

    @invariant()
    def the_standby_counts_what_it_has(self) -> None:
        db = self.mate.db
        assert db.anyconnect.active + db.webvpn.active == len(db)
        indices = [session.index for session in db.sessions()]
        assert indices == sorted(indices)

    def teardown(self) -> None:
        if not self.linked:
            self.mend(False, False)
        self.write()
        self.it_is_read()
        assert self.waiting == 0
        assert not self.follower.refused
        wanted = [self.bare(row_of(session)) for session in self.db.sessions() if carried(session)]
        assert [self.bare(row_of(session)) for session in self.mate.db.sessions()] == wanted
        assert self.mate.db.next_index == self.db.next_index or not self.tokens
        self.new_standby()
        assert [self.bare(row_of(session)) for session in self.mate.db.sessions()] == wanted

    def bare(self, row: Row) -> list[object]:
        """A row but for its policy, which each unit reads from its own configuration."""
        return [getattr(row, name) for name in Row.__slots__ if name != "policy"]


TestFailoverPair = FailoverPair.TestCase
TestFailoverPair.settings = settings(
    max_examples=100, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow]
)


def _entry() -> Entry:
    session = Lab().connected(now=0.0)
    return encode_entry(KEY, [record_of(session)], fence=1, number=1, sent=0.0, next_index=2)


ENTRY = _entry()


@given(st.binary(max_size=300), st.integers(0, len(ENTRY.changes[0])), st.integers(0, 255))
def test_hostile_records_are_refused_and_nothing_else(garbage: bytes, at: int, byte: int) -> None:
    record = ENTRY.changes[0]
    bent = record[:at] + bytes([byte]) + record[at + 1 :]
    for hostile in (garbage, b"asa-emu/1 " + garbage, record[:at], record + garbage[:1] + b"x", bent):
        if hostile == record:
            continue
        for read in (
            lambda: decode_change_untrusted(KEY, hostile),  # noqa: B023
            lambda: decode_head_untrusted(KEY, Entry(ENTRY.head, (hostile,))),  # noqa: B023
            lambda: decode_head_untrusted(KEY, Entry(hostile, ENTRY.changes)),  # noqa: B023
        ):
            with pytest.raises(RecordRefused, match=r"\w"):
                read()
