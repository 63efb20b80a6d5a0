"""Verdicts on local users, and one-time codes at literal times."""

import pytest

from asa_emu.aaa.local import LocalVerdict, check_password, check_totp_secret, totp_ok
from asa_emu.aaa.passwords import hash_password

STORED = hash_password("secret", b"0123456789abcdef", "sha256")
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 6238, appendix B: "12345678901234567890" for SHA-1


def test_verdicts_and_their_reasons() -> None:
    assert check_password("walter", STORED, "secret") is LocalVerdict.ACCEPTED
    wrong = check_password("walter", STORED, "Secret")
    assert wrong is LocalVerdict.INVALID_PASSWORD
    assert wrong.value == "Invalid password"
    unknown = check_password("nobody", None, "secret", stand_in=STORED)
    assert unknown is LocalVerdict.UNKNOWN_USER
    assert unknown.value == "User was not found"


def test_a_verdict_is_true_only_when_accepted() -> None:
    assert [verdict for verdict in LocalVerdict if verdict] == [LocalVerdict.ACCEPTED]


@pytest.mark.parametrize(
    ("now", "code"),
    [(59.0, "287082"), (1111111109.0, "081804"), (1234567890.5, "005924"), (20000000000.0, "353130")],
)
def test_codes_of_the_rfc(now: float, code: str) -> None:
    """RFC 6238, appendix B, its last six digits."""
    assert totp_ok(SECRET, code, now) == int(now // 30)


def test_a_code_holds_one_period_before_and_after() -> None:
    accepted = [now for now in range(0, 180, 10) if totp_ok(SECRET, "287082", float(now)) is not None]
    assert accepted == [0, 10, 20, 30, 40, 50, 60, 70, 80]
    assert totp_ok(SECRET, "287082", 59.0, window=0) == 1
    assert totp_ok(SECRET, "287082", 60.0, window=0) is None


def test_a_code_is_spent_once() -> None:
    step = totp_ok(SECRET, "287082", 59.0)
    assert step == 1
    assert totp_ok(SECRET, "287082", 59.0, last_step=step) is None
    assert totp_ok(SECRET, "287082", 70.0, last_step=step) is None
    assert totp_ok(SECRET, "359152", 70.0, last_step=step) == 2


@pytest.mark.parametrize(
    "code",
    ["", "28708", "2870822", "287083", "\uff12\uff18\uff17\uff10\uff18\uff12", "28708\ud800", "x" * 1000],
)
def test_wrong_codes(code: str) -> None:
    assert totp_ok(SECRET, code, 59.0) is None


def test_blanks_in_codes_and_secrets_are_as_people_type_them() -> None:
    assert totp_ok("gezd gnbv-gy3t qojq gezd gnbv gy3t qojq", " 287 082\n", 59.0) == 1
    assert check_totp_secret("gezd gnbv-gy3t qojq=") == "GEZDGNBVGY3TQOJQ"


@pytest.mark.parametrize("secret", ["", "===", "not base32!", "ABC1", "é"])
def test_a_secret_that_is_none(secret: str) -> None:
    with pytest.raises(ValueError, match="not base32"):
        check_totp_secret(secret)


def test_short_secrets_are_good_too() -> None:
    """Eighty bits is what many authenticators and most examples have."""
    assert totp_ok("JBSWY3DPEHPK3PXP", "282760", 0.0) == 0
    assert totp_ok("JBSWY3DPEHPK3PXP", "996554", 30.0, window=0) == 1
