import hmac

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from asa_emu.wire.dtls.keys import DirectionKeys
from asa_emu.wire.dtls.records import APPLICATION_DATA, make_opener, make_sealer, records_untrusted
from asa_emu.wire.dtls.suites import DTLS_1_2, SUITES
from tests.dtls_lab import dice

NUMBER = 1 << 48 | 5
CBC_SUITE = SUITES[0x0035]
KEYS = DirectionKeys(mac_key=b"m" * 20, key=b"k" * 32, fixed_iv=b"")


def cbc_fragment(plain: bytes) -> bytes:
    """Encrypt whatever bytes, well padded or not."""
    return b"i" * 16 + Cipher(AES(KEYS.key), CBC(b"i" * 16)).encryptor().update(plain)


def opened(plain: bytes) -> bytes | None:
    fragment = cbc_fragment(plain)
    return make_opener(CBC_SUITE, KEYS, DTLS_1_2)(APPLICATION_DATA, NUMBER, fragment, 0, len(fragment))


def tag(data: bytes) -> bytes:
    header = NUMBER.to_bytes(8, "big") + b"\x17\xfe\xfd" + len(data).to_bytes(2, "big")
    return hmac.digest(KEYS.mac_key, header + data, "sha1")


def test_padding_may_be_up_to_255_bytes() -> None:
    for pad in range(11, 256, 16):
        assert opened(b"\0" * 16 + tag(b"\0" * 16) + bytes((pad,)) * (pad + 1)) == b"\0" * 16


@pytest.mark.parametrize(
    "plain",
    [
        b"data" * 4 + tag(b"data" * 4) + b"\x0b" * 11 + b"\x0c",
        b"data" * 4 + tag(b"data" * 4) + b"\x0a" + b"\x0b" * 11,
        b"data" * 4 + tag(b"datum" * 4) + b"\x0b" * 12,
        b"\xff" * 48,
        b"\x1c" * 48,
        b"\x00" * 32,
    ],
    ids=[
        "pad byte",
        "first pad byte",
        "MAC",
        "pad beyond the record",
        "pad into the MAC",
        "nothing but zeros",
    ],
)
def test_bad_padding_and_bad_mac_look_the_same(plain: bytes) -> None:
    assert opened(plain) is None


@pytest.mark.parametrize("size", [0, 1, 15, 16, 31, 32, 47])
def test_fragments_of_impossible_size_are_dropped(size: int) -> None:
    for suite in (SUITES[0x009D], SUITES[0xCCAB], CBC_SUITE):
        keys = DirectionKeys(b"m" * suite.mac_length, b"k" * suite.key_length, b"i" * suite.fixed_iv_length)
        assert make_opener(suite, keys, DTLS_1_2)(APPLICATION_DATA, NUMBER, bytes(size), 0, size) is None


@pytest.mark.parametrize("code", SUITES)
def test_type_version_and_number_are_authenticated(code: int) -> None:
    suite = SUITES[code]
    keys = DirectionKeys(b"m" * suite.mac_length, b"k" * suite.key_length, b"i" * suite.fixed_iv_length)
    record = make_sealer(suite, keys, DTLS_1_2, dice("iv"))(APPLICATION_DATA, NUMBER, b"payload")
    opener = make_opener(suite, keys, DTLS_1_2)
    assert opener(APPLICATION_DATA, NUMBER, record, 13, len(record)) == b"payload"
    assert opener(APPLICATION_DATA - 1, NUMBER, record, 13, len(record)) is None
    assert opener(APPLICATION_DATA, NUMBER + 1, record, 13, len(record)) is None
    assert make_opener(suite, keys, DTLS_1_2 + 2)(APPLICATION_DATA, NUMBER, record, 13, len(record)) is None


def test_records_are_cut_out_of_a_datagram_and_a_rest_is_told() -> None:
    record = bytes.fromhex("16 fefd 0000 000000000007 0003 aabbcc")
    cut = (22, 0xFEFD, 7, b"\xaa\xbb\xcc")
    assert list(records_untrusted(record * 2)) == [cut, cut]
    assert list(records_untrusted(record + record[:-1])) == [cut, None]
    assert list(records_untrusted(record + b"x")) == [cut, None]
    assert list(records_untrusted(b"")) == []
    assert list(records_untrusted(record * 32)) == [cut] * 32
    assert list(records_untrusted(record * 33)) == [cut] * 32 + [None]
