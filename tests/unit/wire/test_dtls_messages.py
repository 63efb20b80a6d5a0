import pytest

from asa_emu.wire.dtls.messages import MAX_MESSAGE, Fragment, Reassembly, encode_message, fragments_untrusted
from asa_emu.wire.errors import DtlsError


def test_a_message_is_its_own_only_fragment() -> None:
    message = encode_message(14, 2, b"") + encode_message(1, 3, b"body")
    assert fragments_untrusted(message) == [Fragment(14, 0, 2, 0, b""), Fragment(1, 4, 3, 0, b"body")]


@pytest.mark.parametrize(
    "payload",
    [
        bytes(11),
        encode_message(1, 0, b"body")[:-1],
        encode_message(1, 0, bytes(MAX_MESSAGE + 1)),
        bytes.fromhex("01 000004 0000 000003 000002") + bytes(2),
        bytes.fromhex("01 000004 0000 000000 000000"),
        encode_message(14, 0, b"") * 9,
    ],
    ids=["half a header", "cut short", "too long", "beyond its message", "empty fragment", "nine messages"],
)
def test_malformed_fragments_are_one_error(payload: bytes) -> None:
    with pytest.raises(DtlsError):
        fragments_untrusted(payload)


def test_fragments_overlap_and_come_twice() -> None:
    reassembly = Reassembly(5)
    for offset, body in ((4, b"efgh"), (0, b"abc"), (4, b"efgh")):
        assert reassembly.add(Fragment(1, 8, 5, offset, body))
        assert reassembly.pop() is None
    assert reassembly.add(Fragment(1, 8, 5, 2, b"cde"))
    assert reassembly.pop() == (1, 5, b"abcdefgh")
    assert reassembly.pop() is None
    assert not reassembly.add(Fragment(1, 8, 5, 0, b"abc"))


def test_messages_come_out_in_sequence() -> None:
    reassembly = Reassembly(0)
    assert reassembly.add(Fragment(14, 0, 1, 0, b""))
    assert reassembly.pop() is None
    assert reassembly.add(Fragment(2, 1, 0, 0, b"x"))
    assert (reassembly.pop(), reassembly.pop()) == ((2, 0, b"x"), (14, 1, b""))


def test_fragments_that_disagree_or_lie_far_ahead_are_not_kept() -> None:
    reassembly = Reassembly(0)
    assert reassembly.add(Fragment(2, 9, 0, 0, b"x"))
    assert not reassembly.add(Fragment(2, 8, 0, 0, b"x"))
    assert not reassembly.add(Fragment(1, 9, 0, 0, b"x"))
    assert not reassembly.add(Fragment(2, 9, 4, 0, b"x"))
