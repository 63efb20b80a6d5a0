import pytest

from asa_emu.wire.dtls.keys import Psk, Resumption, prf, record_keys
from asa_emu.wire.dtls.suites import DTLS_1_2, SUITES

# The PRF vectors that the TLS working group's list has used since 2009, their first bytes.
PRF_VECTORS = [
    (
        0x009C,
        "9bbe436ba940f017b17652849a71db35",
        "a0ba9f936cda311827a6f796ffd5198c",
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a",
    ),
    (
        0x009D,
        "b80b733d6ceefcdc71566ea48e5567df",
        "cd665cf6a8447dd6ff8b27555edb7465",
        "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cd",
    ),
]


@pytest.mark.parametrize(("code", "secret", "seed", "expected"), PRF_VECTORS)
def test_prf_vectors(code: int, secret: str, seed: str, expected: str) -> None:
    got = prf(bytes.fromhex(secret), b"test label", bytes.fromhex(seed), 32, SUITES[code], DTLS_1_2)
    assert got.hex() == expected


def test_premaster_of_a_psk_is_rfc_4279s() -> None:
    assert Psk(b"k" * 32, b"").premaster == b"\0\x20" + bytes(32) + b"\0\x20" + b"k" * 32


def test_key_block_is_cut_by_the_suite() -> None:
    client, server = record_keys(bytes(48), SUITES[0x0035], DTLS_1_2, bytes(32), bytes(32))
    assert [len(piece) for piece in (client.mac_key, client.key, client.fixed_iv)] == [20, 32, 0]
    assert client != server


def test_secrets_are_not_printed() -> None:
    psk, resumption = Psk(b"SECRET", b"id"), Resumption(b"id", b"SECRET", SUITES[0x0035], DTLS_1_2)
    assert "SECRET" not in repr(psk) + repr(resumption)
