"""Records of the state link: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asa_emu.ha.records import (
    MAX_RECORD,
    Census,
    End,
    Entry,
    Head,
    Hello,
    Lease,
    RecordRefused,
    SessionRecord,
    Settings,
    decode_change_untrusted,
    decode_head_untrusted,
    decode_untrusted,
    derive_key,
    encode,
    encode_entry,
    record_of,
    row_from,
)
from asa_emu.session.replica import row_of
from tests.session_lab import Lab, policy

KEY = derive_key("lab", "secret")


def session_record() -> SessionRecord:
    return record_of(Lab().connected(now=1000.25))


def resigned(change: dict[str, Any]) -> bytes:
    """A session's record whose fields were bent by somebody who has the key."""
    text = encode(KEY, session_record()).split(b" ", 3)[3]
    from asa_emu.ha import records

    bent = json.dumps({**json.loads(text), **change}).encode()
    return b"asa-emu/1 session %s %s" % (records._sign(KEY, b"session", bent), bent)


@pytest.mark.parametrize("change", [session_record(), End(7), Census((1, 2, 9)), Settings("hostname é\n")])
def test_a_change_is_read_as_it_was_written(change: Any) -> None:
    assert decode_change_untrusted(KEY, encode(KEY, change)) == change


def test_a_session_comes_out_as_it_went_in() -> None:
    session = Lab().connected(now=1000.25)
    record = decode_change_untrusted(KEY, encode(KEY, record_of(session)))
    assert isinstance(record, SessionRecord)
    assert row_from(record, session.policy, 0.0) == row_of(session)


def test_stamps_are_moved_to_the_readers_clock() -> None:
    lab = Lab()
    session = lab.connected(now=1000.0)
    lab.db.take_over(1010.0)
    row = row_from(record_of(session), policy(), -400.0)
    assert (row.login_at, row.inactive_since) == (600.0, 610.0)


def test_neither_token_nor_keys_travel() -> None:
    lab = Lab()
    written = encode(KEY, record_of(lab.login(token="the token itself", now=0.0)))
    assert b"the token itself" not in written
    assert b"policy" not in written.replace(b"group_policy", b"")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "no record"),
        (b"\x00\xff garbage", "no record"),
        (encode(KEY, End(1)).replace(b"asa-emu/1", b"asa-emu/2"), "b'asa-emu/2', this unit reads asa-emu/1"),
        (encode(KEY, End(1))[:-1], "forged or cut off"),
        (encode(KEY, End(1)).replace(b'"index":1', b'"index":2'), "forged or cut off"),
        (encode(KEY, End(1)).replace(b" end ", b" lease "), "forged or cut off"),
        (encode(derive_key("other lab", "secret"), End(1)), "another failover key"),
        (encode(derive_key("lab", "other"), End(1)), "another failover key"),
        (encode(KEY, Lease("primary", "x", 1)), "of kind b'lease' among changes"),
        (b"asa-emu/1 session 0 " + b"x" * MAX_RECORD, "no record"),
        (resigned({"index": "1"}), "session: index: Input should be a valid integer"),
        (resigned({"index": 0}), "session: index"),
        (resigned({"login_at": None}), "session: login_at"),
        (resigned({"token_digest": "00"}), "session: token_digest"),
        (resigned({"extra": 1}), "session: extra"),
        (resigned({"parent": None}), "session: parent"),
    ],
)
def test_what_is_no_record_of_this_pair_is_refused_with_a_reason(record: bytes, reason: str) -> None:
    with pytest.raises(RecordRefused) as refused:
        decode_change_untrusted(KEY, record)
    assert reason in str(refused.value)


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(RecordRefused, match="where b'lease' belongs"):
        decode_untrusted(KEY, encode(KEY, End(1)), Lease)


def entry(*changes: Any) -> Entry:
    return encode_entry(KEY, changes, fence=3, number=4, sent=5.5, next_index=6)


def test_an_entry_says_its_number_and_holds_its_records() -> None:
    made = entry(End(1), End(2))
    head = decode_head_untrusted(KEY, made)
    assert (head.fence, head.number, head.sent, head.next_index) == (3, 4, 5.5, 6)
    assert [decode_change_untrusted(KEY, record) for record in made.changes] == [End(1), End(2)]


@pytest.mark.parametrize("changes", [(), (0,), (1, 0), (0, 1, 1)])
def test_records_of_an_entry_cannot_be_left_out_or_moved(changes: tuple[int, ...]) -> None:
    made = entry(End(1), End(2))
    bent = Entry(made.head, tuple(made.changes[at] for at in changes))
    with pytest.raises(RecordRefused, match="do not belong to the head"):
        decode_head_untrusted(KEY, bent)


def test_the_head_of_another_pair_is_refused() -> None:
    with pytest.raises(RecordRefused, match="another failover key"):
        decode_untrusted(derive_key("other", ""), entry(End(1)).head, Head)


def test_a_hello_is_read_as_it_was_written() -> None:
    hello = Hello(
        unit="primary",
        state="Active",
        now=1.5,
        rate=60.0,
        fence=1,
        number=2,
        active_for=3.0,
    )
    assert decode_untrusted(KEY, encode(KEY, hello), Hello) == hello
