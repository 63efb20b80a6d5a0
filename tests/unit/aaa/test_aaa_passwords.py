"""Stored passwords: the forms an ASA writes, and that a comparison tells yes or no and nothing else."""

import base64
import hashlib

import pytest

from asa_emu.aaa import passwords
from asa_emu.aaa.passwords import MAX_ROUNDS, STAND_IN, Scheme, hash_password, verify

SALT = bytes(range(16))
SCHEMES: tuple[Scheme, ...] = ("pbkdf2", "encrypted", "sha256")


def stored_as(scheme: Scheme, plain: str, username: str = "walter") -> str:
    """A stored form that is cheap to check."""
    return hash_password(plain, username.encode() if scheme == "encrypted" else SALT, scheme, rounds=10)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("plain", ["secret", "", " two blanks ", "pässwörd ☃", "x" * 32])
def test_only_the_password_fits(scheme: Scheme, plain: str) -> None:
    stored = stored_as(scheme, plain)
    assert verify(stored, "walter", plain)
    assert not verify(stored, "walter", plain + " ")
    assert not verify(stored, "walter", plain.upper() + "X")


def test_pbkdf2_form_is_that_of_an_asa() -> None:
    stored = hash_password("my_password", SALT, "pbkdf2")
    _, name, rounds, salt, digest = stored.split("$")
    assert (name, rounds) == ("sha512", "5000")
    assert base64.b64decode(salt) == SALT
    assert base64.b64decode(digest) == hashlib.pbkdf2_hmac("sha512", b"my_password", SALT, 5000)[:16]


@pytest.mark.parametrize(
    ("stored", "plain", "username"),
    [
        ("2KFQnbNIdI.2KYOU", "cisco", ""),
        ("8Ry2YjIyt7RRXU24", "", ""),
        ("A5XOy94YKDPXCo7U", "password", "user"),
        ("Yjp7CYRuzahZq4iP", "secret", "walter"),
        ("aAkXCYtlC4da6rLH", "x", "a"),
        ("YfjCSTCBhCFF2Eoa", "pässwörd", "al"),
        ("7SD8jo/iSwTmzv7U", "abcdefghijkl", "walter"),
        ("UBzvJ/Kqu.2EWidK", "abcdefghijklm", "walter"),
        ("cjj9xkOlir2xx3cO", "p" * 27, "walter"),
        ("TSotKv/9SoEMxUj8", "p" * 28, "walter"),
        ("X/CFqevyhU4PeLI5", "p" * 32, "walter"),
    ],
)
def test_encrypted_form_is_that_of_an_asa(stored: str, plain: str, username: str) -> None:
    """The first two are the enable passwords every old configuration shows; all agree with Passlib 1.7.4."""
    assert hash_password(plain, username.encode(), "encrypted") == stored
    assert verify(stored, username, plain)
    assert not verify(stored, username, plain + "x")


def test_encrypted_form_is_salted_with_the_user() -> None:
    stored = hash_password("secret", b"walter", "encrypted")
    assert not verify(stored, "jesse", "secret")
    assert verify(stored, "walt", "secret"), "four bytes of the name are all the salt there is"


def test_encrypted_form_takes_no_longer_password_than_an_asa() -> None:
    with pytest.raises(ValueError, match="at most 32 bytes"):
        hash_password("ü" * 17, b"walter", "encrypted")
    stored = hash_password("p" * 32, b"walter", "encrypted")
    assert not verify(stored, "walter", "p" * 33)


def test_rounds_are_bounded() -> None:
    for rounds in (0, -1, MAX_ROUNDS + 1):
        with pytest.raises(ValueError, match="rounds of PBKDF2"):
            hash_password("secret", SALT, "pbkdf2", rounds)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "secret",
        "2KFQnbNIdI.2KYO",
        "2KFQnbNIdI.2KYOU ",
        "2KFQnbNIdI.2KYO!",
        "$sha512$0$AAAA$AAAAAAAAAAAAAAAAAAAAAA==",
        "$sha512$5000$AAAA$AAAA",
        "$sha512$5000$AAAAA$AAAAAAAAAAAAAAAAAAAAAA==",
        "$sha512$9999999$AAAA$AAAAAAAAAAAAAAAAAAAAAA==",
        "$sha512$99999999$AAAA$AAAAAAAAAAAAAAAAAAAAAA==",
        "$sha512$5000$$AAAAAAAAAAAAAAAAAAAAAA==",
        "$emu-sha256$AAAA$AAAA",
        "$8$HxHoQOhOgadA7E==$HjROgK8oW",
    ],
)
def test_nonsense_in_place_of_a_stored_password(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_pbkdf2", lambda secret, salt, rounds: b"\0" * 16)
    assert not verify(stored, "walter", "secret"), "even if the stand-in fitted"


def test_unknown_user_costs_what_a_known_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def matching(secret: bytes, salt: bytes, rounds: int) -> bytes:
        asked.append(rounds)
        return b"\0" * 16

    monkeypatch.setattr(passwords, "_pbkdf2", matching)
    assert not verify(None, "nobody", "secret"), "even if the stand-in fitted"
    assert verify(STAND_IN, "somebody", "secret")
    assert asked == [5000, 5000]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_stand_in_can_be_of_the_form_that_most_users_have(scheme: Scheme) -> None:
    stand_in = stored_as(scheme, "secret")
    assert not verify(None, "walter", "secret", stand_in=stand_in)


def test_password_that_is_no_text_harms_nothing() -> None:
    for scheme in SCHEMES:
        assert not verify(stored_as(scheme, "secret"), "walter", "half a pair \ud800")
