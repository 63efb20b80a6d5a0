"""Changes on their way to the standby: entries, acknowledgements, gaps, and what is not carried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asa_emu.ha.journal import BROKEN, MAX_CHANGES, Follower, Journal, OutOfSync
from asa_emu.ha.records import Census, End, Entry, SessionRecord, derive_key, encode_entry, record_of
from asa_emu.ha.store import Shelf, puts_of
from asa_emu.session import EndReason, Session
from asa_emu.session.model import DownReason
from asa_emu.session.replica import row_of
from tests.session_lab import Lab, policy

KEY = derive_key("lab", "")
LEASE = b"lease"


class Pair:
    """An active unit's journal, a standby's follower, and the store between them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lab, self.mate = Lab(), Lab()
        self.shelf = Shelf(1e9)
        self.shelf._grant(LEASE, 1, 0.0)
        self.called = 0
        self.journal = Journal(self.lab.db, KEY, lambda: self.now, self.call)
        self.settings: list[str] = []
        self.refused: list[str] = []
        self.copied: list[tuple[int, bool]] = []
        self.follower = Follower(
            self.mate.db, KEY, lambda user, group, name: policy(keepalive=20.0), self.settings.append
        )
        self.follower.on_refused = self.refused.append
        self.follower.on_copied = lambda session, created: self.copied.append((session.index, created))
        self.position = b"0"
        self.journal.begin(1)

    def call(self) -> None:
        self.called += 1

    def write(self) -> int:
        """Write everything; how many entries that took."""
        entries = 0
        while (batch := self.journal.take(0.0)) is not None:
            assert self.shelf.append(LEASE, batch.entry, puts_of(batch.changes, batch.entry), self.now)
            self.journal.acknowledge(batch)
            entries += 1
        return entries

    def read(self) -> None:
        entries = [Entry(b"", ())]
        while entries:
            self.position, entries = self.shelf.read(self.position)
            for entry in entries:
                self.follower.apply(entry, self.now)

    def join(self) -> None:
        snapshot = self.shelf.snapshot()
        list(self.follower.load(snapshot, self.now))
        self.position = snapshot.position

    def login(self, user: str = "walter") -> Session:
        return self.lab.connected(user, now=self.now, keepalive=20.0)

    def same(self) -> bool:
        ours = [row_of(session) for session in self.lab.db.sessions()]
        return ours == [row_of(session) for session in self.mate.db.sessions()]


def test_a_session_appears_on_the_standby_and_goes_again() -> None:
    pair = Pair()
    session = pair.login()
    pair.write()
    pair.read()
    assert pair.same()
    assert len(pair.mate.db) == 1
    assert not pair.mate.events
    pair.lab.db.end(session, EndReason.USER_REQUESTED, 1.0)
    pair.write()
    pair.read()
    assert pair.same()
    assert pair.copied == [(session.index, True), (session.index, False)]
    assert "192.168.1.4" not in pair.mate.db.pools


def test_a_store_that_has_gone_back_in_time_brings_nobody_back() -> None:
    pair = Pair()
    gone, stays = pair.login(), pair.login("maria")
    pair.write()
    old = pair.shelf.snapshot()
    pair.lab.db.end(gone, EndReason.USER_REQUESTED, 1.0)
    pair.write()
    pair.read()
    list(pair.follower.load(old, pair.now))
    assert [session.index for session in pair.mate.db.sessions()] == [stays.index]
    list(pair.follower.load(Shelf(1.0).snapshot(), pair.now))
    assert pair.same()
    pair.login("otto")
    pair.write()
    pair.read()  # it goes on where it was
    assert pair.same()
    pair.follower.begin_anew()
    list(pair.follower.load(old, pair.now))
    assert len(pair.mate.db) == 2


@pytest.mark.parametrize("what", ["gone", "brought back", "of yesterday"])
def test_a_stored_table_that_is_not_the_one_that_was_written_is_refused(what: str) -> None:
    pair = Pair()
    gone, stays = pair.login(), pair.login("maria")
    pair.write()
    records = dict(pair.shelf._sessions)
    pair.lab.db.end(gone, EndReason.USER_REQUESTED, 1.0)
    pair.lab.db.tunnel_lost(stays.tunnels[1], DownReason.LOST, 1.0)
    pair.write()
    match what:
        case "gone":
            del pair.shelf._sessions[stays.index]
        case "brought back":
            pair.shelf._sessions[gone.index] = records[gone.index]
        case _:
            pair.shelf._sessions[stays.index] = records[stays.index]
    with pytest.raises(OutOfSync):
        pair.join()
    assert len(pair.mate.db) == 0
    assert pair.refused == [BROKEN]
    pair.journal.resync()
    pair.write()
    pair.join()
    assert pair.same()


def test_many_changes_of_a_session_are_one_record() -> None:
    pair = Pair()
    pair.write()
    pair.login()
    batch = pair.journal.take(0.0)
    assert batch is not None
    assert [type(change) for change in batch.changes] == [SessionRecord]


def test_entries_hold_a_limited_number_of_sessions() -> None:
    pair = Pair()
    pair.write()
    pair.lab.db.capacity = 1000
    for number in range(MAX_CHANGES + 1):
        pair.lab.login(f"user{number}", now=0.0, keepalive=20.0)
    assert pair.write() == 2
    pair.read()
    assert pair.same()


def test_sessions_without_keepalive_are_not_carried() -> None:
    pair = Pair()
    pair.login("walter")
    pair.lab.login("otto", now=0.0, keepalive=None)
    told: list[str] = []
    pair.journal.wait(2, lambda safe: told.append("otto need not wait"))
    pair.write()
    pair.read()
    assert [session.username for session in pair.mate.db.sessions()] == ["walter"]
    assert told


def test_a_session_that_loses_its_keepalive_is_taken_back() -> None:
    pair = Pair()
    session = pair.login()
    pair.write()
    pair.lab.db.change_policy(session, policy(keepalive=None), 1.0)
    pair.write()
    pair.read()
    assert len(pair.mate.db) == 0


def test_whoever_waits_is_called_when_the_entry_is_safe() -> None:
    pair = Pair()
    pair.write()
    told: list[str] = []

    def tell(what: str) -> Callable[[bool], None]:
        return lambda safe: told.append(what if safe else f"{what} is off")

    session = pair.login()
    pair.journal.wait(session.index, tell("login"))
    pair.journal.wait(99, tell("somebody else"))
    batch = pair.journal.take(0.0)
    assert batch is not None
    pair.journal.wait(session.index, tell("in flight"))
    pair.lab.db.end(session, EndReason.USER_REQUESTED, 1.0)
    pair.journal.wait(session.index, tell("log-off"))
    pair.journal.wait_for_all(tell("all"))
    assert told == ["somebody else"]
    pair.journal.acknowledge(batch)
    assert told == ["somebody else", "login", "in flight"]
    pair.write()
    assert told[3:] == ["log-off", "all"]


def test_nobody_waits_for_a_link_that_is_down() -> None:
    pair = Pair()
    pair.write()
    told: list[int] = []
    session = pair.login()
    pair.journal.wait(session.index, lambda safe: told.append(1))
    batch = pair.journal.take(0.0)
    pair.journal.wait(session.index, lambda safe: told.append(2))
    pair.journal.abandon()
    assert told == [1, 2]
    other = pair.login("maria")
    pair.journal.wait(other.index, lambda safe: told.append(3))
    assert told == [1, 2, 3]
    assert batch is not None
    pair.journal.acknowledge(batch)  # too late, and harmless
    pair.lab.db.end(session, EndReason.USER_REQUESTED, 1.0)
    pair.journal.resync()
    pair.write()
    pair.join()
    assert pair.same()


def test_nobody_is_answered_by_a_unit_that_stands_by() -> None:
    pair = Pair()
    told: list[bool] = []
    pair.journal.wait(pair.login().index, told.append)
    pair.journal.stop()
    assert told == [False]
    assert pair.journal.take(0.0) is None


def test_the_lag_is_that_of_the_oldest_change() -> None:
    pair = Pair()
    pair.write()
    pair.login()
    pair.now = 2.0
    pair.login("maria")
    assert pair.journal.lag == 2.0
    batch = pair.journal.take(0.0)
    pair.now = 3.0
    assert pair.journal.lag == 3.0
    assert batch is not None
    pair.journal.acknowledge(batch)
    assert pair.journal.lag == 0.0


def test_a_table_that_was_lost_is_written_anew_and_what_was_too_much_goes() -> None:
    pair = Pair()
    ended = pair.login()
    pair.login("maria")
    pair.write()
    pair.read()
    pair.journal.abandon()
    pair.lab.db.end(ended, EndReason.USER_REQUESTED, 1.0)
    pair.login("otto")  # with the address that has become free
    pair.journal.resync()
    pair.write()
    pair.read()
    assert pair.same()
    assert [session.username for session in pair.mate.db.sessions()] == ["maria", "otto"]


def test_the_census_comes_after_everything_else() -> None:
    pair = Pair()
    pair.login()
    batch = pair.journal.take(0.0)
    assert batch is not None
    assert batch.changes[-1] == Census((1,))


def test_the_configuration_travels_with_the_entries() -> None:
    pair = Pair()
    pair.journal.settle("hostname one\n")
    pair.write()
    pair.read()
    assert pair.settings == ["hostname one\n"]
    pair.join()
    assert pair.settings == ["hostname one\n"] * 2


def test_an_index_is_not_used_again_by_the_other_unit() -> None:
    pair = Pair()
    pair.lab.db.end(pair.login(), EndReason.USER_REQUESTED, 1.0)
    pair.write()
    pair.read()
    assert pair.mate.db.next_index == 2


def test_whoever_joins_late_has_everything() -> None:
    pair = Pair()
    pair.login()
    pair.write()
    pair.login("maria")
    pair.write()
    pair.join()
    assert pair.same()
    pair.login("otto")
    pair.write()
    pair.read()
    assert pair.same()


def test_a_gap_makes_the_standby_read_everything_anew() -> None:
    pair = Pair()
    pair.write()
    pair.join()
    pair.login()
    pair.write()
    pair.position = pair.shelf.snapshot().position
    pair.login("maria")
    pair.write()
    with pytest.raises(OutOfSync):
        pair.read()
    pair.join()
    assert pair.same()


def test_a_new_reign_begins_with_its_first_entry() -> None:
    pair = Pair()
    pair.write()
    pair.read()
    first, second = (
        encode_entry(KEY, [], fence=2, number=number, sent=0.0, next_index=1) for number in (1, 2)
    )
    with pytest.raises(OutOfSync):
        pair.follower.apply(second, 0.0)
    pair.follower.apply(first, 0.0)
    pair.follower.apply(second, 0.0)
    assert (pair.follower.fence, pair.follower.number) == (2, 2)


def test_entries_played_again_change_nothing() -> None:
    pair = Pair()
    session = pair.login()
    pair.write()
    _, entries = pair.shelf.read(b"0")
    pair.read()
    pair.lab.db.end(session, EndReason.USER_REQUESTED, 1.0)
    pair.write()
    pair.read()
    for entry in entries:
        pair.follower.apply(entry, 2.0)
    assert len(pair.mate.db) == 0


def test_forged_entries_are_passed_over() -> None:
    pair = Pair()
    pair.login()
    stranger = encode_entry(derive_key("other", ""), [End(1)], fence=1, number=1, sent=0.0, next_index=9)
    for entry in (stranger, Entry(b"", ()), Entry(b"asa-emu/9 head x {}", (b"y",))):
        pair.follower.apply(entry, 0.0)
    assert len(pair.refused) == 3
    pair.write()
    pair.read()
    assert pair.same()


def test_a_snapshot_with_garbage_in_it_gives_the_rest() -> None:
    pair = Pair()
    pair.login()
    pair.login("maria")
    pair.write()
    pair.shelf._sessions[1] = b"garbage"
    pair.shelf._head = b"garbage"
    pair.join()
    assert [session.username for session in pair.mate.db.sessions()] == ["maria"]
    assert len(pair.refused) == 2


def test_a_session_that_cannot_be_is_refused() -> None:
    pair = Pair()
    record = record_of(pair.login())
    bent = [
        SessionRecord(**{**fields_of(record), "ssl": record.dtls}),
        SessionRecord(**{**fields_of(record), "next_number": 2}),
        SessionRecord(**{**fields_of(record), "parent": record.ssl}),
        SessionRecord(**{**fields_of(record), "had_ssl": False}),
    ]
    pair.follower.apply(encode_entry(KEY, bent, fence=1, number=1, sent=0.0, next_index=2), 0.0)
    assert len(pair.refused) == 4
    assert len(pair.mate.db) == 0


def fields_of(record: SessionRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in SessionRecord.__slots__}


def test_an_address_that_is_not_for_sessions_here_is_refused() -> None:
    pair = Pair()
    pair.login()
    pair.mate.db.pools.hold("192.168.1.4")
    pair.write()
    pair.read()
    assert pair.refused == ["session 1: address 192.168.1.4 is not for sessions here"]
    assert len(pair.mate.db) == 0


def test_a_session_that_ends_before_it_was_written_anew_is_dead_at_once() -> None:
    pair = Pair()
    ended = pair.login()
    for number in range(MAX_CHANGES + 1):
        pair.lab.db.capacity = 1000
        pair.lab.login(f"user{number}", now=0.0, keepalive=20.0)
    pair.write()
    pair.journal.resync()  # as after a takeover
    pair.lab.db.end(ended, EndReason.USER_REQUESTED, 1.0)
    batch = pair.journal.take(0.0)
    assert batch is not None
    assert pair.shelf.append(LEASE, batch.entry, puts_of(batch.changes, batch.entry), 0.0)
    pair.join()
    assert pair.mate.db.by_index(ended.index) is None


def test_a_store_that_is_being_filled_again_takes_nothing_away() -> None:
    pair = Pair()
    pair.lab.db.capacity = 1000
    for number in range(2 * MAX_CHANGES):
        pair.lab.login(f"user{number}", now=0.0, keepalive=20.0)
    pair.write()
    pair.join()
    assert pair.same()
    pair.shelf = Shelf(1e9)
    pair.shelf._grant(LEASE, 1, 0.0)
    pair.join()  # from a store that has lost everything
    assert pair.same()
    pair.journal.resync()
    batch = pair.journal.take(0.0)
    assert batch is not None
    assert pair.shelf.append(LEASE, batch.entry, puts_of(batch.changes, batch.entry), 0.0)
    pair.journal.acknowledge(batch)
    pair.join()
    assert pair.same()
    pair.lab.db.end(next(pair.lab.db.sessions()), EndReason.USER_REQUESTED, 1.0)
    pair.write()
    pair.read()
    assert pair.same()
