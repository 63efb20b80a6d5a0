import pytest

from asa_emu.wire.dtls import (
    DTLS12_HEADER,
    DTLS12_NAMES,
    DTLS_0_9,
    DTLS_1_2,
    DTLS_HEADER,
    DTLS_NAMES,
    SUITES,
    Variant,
    choose,
    named,
)
from asa_emu.wire.errors import DtlsError

# As openconnect 9.01 with GnuTLS 3.7.9 sends them.
OPENCONNECT = [
    "PSK-NEGOTIATE",
    "OC-DTLS1_2-AES256-GCM",
    "OC2-DTLS1_2-CHACHA20-POLY1305",
    "OC-DTLS1_2-AES128-GCM",
    "DHE-RSA-AES256-SHA",
    "DHE-RSA-AES128-SHA",
    "AES256-SHA",
    "AES128-SHA",
]
OPENCONNECT_12 = [
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
    "DHE-RSA-AES256-SHA",
    "DHE-RSA-AES128-SHA",
    "AES256-SHA",
    "AES128-SHA",
]


def test_openconnect_gets_psk() -> None:
    choice = choose(OPENCONNECT, OPENCONNECT_12)
    assert choice is not None
    assert (choice.variant, choice.header, choice.name) == (Variant.PSK, DTLS_HEADER, "PSK-NEGOTIATE")


def test_without_psk_the_first_gcm_of_the_dtls12_list_is_resumed() -> None:
    choice = choose(OPENCONNECT[1:], ["AES256-SHA", "NO-SUCH", *OPENCONNECT_12])
    assert choice is not None
    assert (choice.variant, choice.header) == (Variant.RESUMPTION, DTLS12_HEADER)
    assert (choice.name, choice.suite.code, choice.version) == (
        "ECDHE-RSA-AES256-GCM-SHA384",
        0xC030,
        DTLS_1_2,
    )


@pytest.mark.parametrize(
    ("dtls", "dtls12", "legacy", "expected"),
    [
        ([], ["AES128-SHA", "AES256-SHA"], False, (DTLS12_HEADER, "AES128-SHA", DTLS_1_2)),
        (["OC-DTLS1_2-AES128-GCM", "AES256-SHA"], [], True, (DTLS_HEADER, "OC-DTLS1_2-AES128-GCM", DTLS_1_2)),
        (["DES-CBC3-SHA", "AES256-SHA"], [], True, (DTLS_HEADER, "AES256-SHA", DTLS_0_9)),
        (["AES256-SHA"], [], False, None),
        (["OC2-DTLS1_2-CHACHA20-POLY1305"], ["PSK-AES256-GCM-SHA384"], True, None),
        ([], [], True, None),
    ],
)
def test_the_choice_when_there_is_no_psk(
    dtls: list[str], dtls12: list[str], legacy: bool, expected: tuple[str, str, int] | None
) -> None:
    choice = choose(dtls, dtls12, legacy=legacy)
    assert (choice and (choice.header, choice.name, choice.version)) == expected


def test_what_is_chosen_the_client_understands_alike() -> None:
    for name in DTLS_NAMES:
        assert named(DTLS_HEADER, name) == choose([name], [], legacy=True)
    for name in DTLS12_NAMES:
        assert named("x-dtls12-ciphersuite", name) == choose([], [name])
    assert not any(name.startswith("OC2-") for name in DTLS_NAMES)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (DTLS_HEADER, "DES-CBC3-SHA"),
        (DTLS12_HEADER, "OC-DTLS1_2-AES256-GCM"),
        (DTLS12_HEADER, "PSK-NEGOTIATE"),
    ],
)
def test_an_unknown_name_is_an_error_that_quotes_it(header: str, name: str) -> None:
    with pytest.raises(DtlsError, match=name):
        named(header, name)


@pytest.mark.parametrize(
    ("code", "encryption", "hashing", "name"),
    [
        (0x00A9, "AES-GCM-256", "SHA384", "PSK-AES256-GCM-SHA384"),
        (0x009C, "AES-GCM-128", "SHA256", "AES128-GCM-SHA256"),
        (0x002F, "AES128", "SHA1", "AES128-SHA"),
        (0x00AE, "AES128", "SHA256", "PSK-AES128-CBC-SHA256"),
        (0xCCAB, "CHACHA20-POLY1305", "SHA256", "PSK-CHACHA20-POLY1305"),
    ],
)
def test_displays_use_ciscos_words(code: int, encryption: str, hashing: str, name: str) -> None:
    suite = SUITES[code]
    assert (suite.encryption, suite.hashing, suite.openssl_name) == (encryption, hashing, name)


def test_mtu_arithmetic_is_the_fields() -> None:
    # 1,500 less IPv4, UDP and the type byte: 1,434 with AES-256-GCM, as openconnect and ocserv agree.
    assert SUITES[0x00A9].max_payload(1500 - 28) - 1 == 1434
    assert SUITES[0x0035].overhead == 65
    assert SUITES[0x0035].max_payload(40) == 0
