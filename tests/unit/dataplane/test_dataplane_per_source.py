"""The bounded table of what remote hosts make us remember."""

from asa_emu.dataplane.per_source import PerSource


def test_per_source_forgets_the_least_recently_used_of_a_source() -> None:
    table: PerSource[int] = PerSource(share=2, total=10)
    for number in (1, 2):
        table.put(b"s", bytes([number]), number)
    assert table.get(b"s", b"\x01") == 1
    table.put(b"s", b"\x03", 3)
    assert [table.get(b"s", bytes([number])) for number in (1, 2, 3)] == [1, None, 3]
    assert len(table) == 2


def test_per_source_takes_from_the_least_recently_used_source_when_full() -> None:
    table: PerSource[int] = PerSource(share=2, total=3)
    table.put(b"old", b"1", 1)
    table.put(b"old", b"2", 2)
    table.put(b"new", b"1", 3)
    table.put(b"newest", b"1", 4)
    assert table.get(b"old", b"1") is None
    assert table.get(b"old", b"2") == 2
    table.put(b"new", b"2", 5)
    assert table.get(b"new", b"1") is None, "it has become the oldest source itself, and pays for its own"
    assert table.get(b"new", b"2") == 5
    assert len(table) == 3


def test_per_source_discard_is_forgiving() -> None:
    table: PerSource[int] = PerSource(share=2, total=3)
    table.put(b"s", b"1", 1)
    table.put(b"s", b"2", 2)
    for key in (b"1", b"1", b"unknown", b"2"):
        table.discard(b"s", key)
    table.discard(b"nobody", b"1")
    assert len(table) == 0
