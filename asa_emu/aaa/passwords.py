"""Stored passwords: how an ASA writes them in its running-config, and a cheap form of our own for load tests.

`hash_password` makes the stored form when a configuration is loaded, `verify` compares at login; nonsense
pasted in place of a stored form matches nothing. The three forms:

    pbkdf2     $sha512$5000$SALT$HASH         PBKDF2-HMAC-SHA512, its first 16 bytes; ASA 9.5 and later
    encrypted  16 characters of ./0-9A-Za-z   MD5, four bytes of the user name as salt; older ASAs
    sha256     $emu-sha256$SALT$HASH          one salted SHA-256: `!emu users`, where thousands log in

Salts come from the caller, because nothing in this layer rolls dice. Comparing takes the same time whatever
was typed, and a user who does not exist costs as much as one who does, so neither shows in the time of an
answer.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["pbkdf2", "encrypted", "sha256"]

PBKDF2_ROUNDS = 5000
"""What an ASA writes. It takes some milliseconds for each login; a headend for load tests wants fewer."""
MAX_ROUNDS = 1_000_000
"""A pasted number above this would stop the headend for longer than a login may take."""
ENCRYPTED_MAX_PASSWORD = 32
"""Bytes; an ASA does not put a longer password into the old form."""

STAND_IN = "$sha512$5000$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAA=="
"""What a login of a user who does not exist is compared with, in vain."""

_PBKDF2_BYTES = 16
_BASE64 = r"([A-Za-z0-9+/]+={0,2})"
_PBKDF2 = re.compile(rf"\$sha512\$([1-9][0-9]{{0,6}})\${_BASE64}\${_BASE64}")
_SHA256 = re.compile(rf"\$emu-sha256\${_BASE64}\${_BASE64}")
_ENCRYPTED = re.compile(r"[./0-9A-Za-z]{16}")
_ENCRYPTED_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def hash_password(plain: str, salt: bytes, scheme: Scheme, rounds: int = PBKDF2_ROUNDS) -> str:
    """Return the stored form of a password.

    `salt` is 16 random bytes, but for `encrypted` the user name; `rounds` concerns `pbkdf2` alone. Raises
    ValueError for a password that is too long for `encrypted`, and for rounds outside 1 to MAX_ROUNDS.
    """
    secret = _encode(plain)
    if scheme == "encrypted":
        if len(secret) > ENCRYPTED_MAX_PASSWORD:
            raise ValueError(f"the encrypted form takes at most {ENCRYPTED_MAX_PASSWORD} bytes of password")
        return _encrypted(secret, salt)
    if scheme == "sha256":
        return f"$emu-sha256${_base64(salt)}${_base64(_sha256(secret, salt))}"
    if not 1 <= rounds <= MAX_ROUNDS:
        raise ValueError(f"rounds of PBKDF2 must be 1 to {MAX_ROUNDS}")
    return f"$sha512${rounds}${_base64(salt)}${_base64(_pbkdf2(secret, salt, rounds))}"


def verify(stored: str | None, username: str, plain: str, *, stand_in: str = STAND_IN) -> bool:
    """Tell whether that is the user's password.

    `stored` is None for a user who does not exist: the answer is no, after the work that `stand_in` takes,
    which should be of the form most users have. A stored form that is none matches nothing.
    """
    try:
        known = _parse(stored) if stored is not None else None
    except ValueError:
        known = None
    against = known or _parse(stand_in)
    secret = _encode(plain)
    if against.scheme == "encrypted":
        # The hash of a longer one is computed for its time; it must not match by its first 32 bytes.
        made = _encrypted(secret[:ENCRYPTED_MAX_PASSWORD], _encode(username)).encode()
        fits = len(secret) <= ENCRYPTED_MAX_PASSWORD
    elif against.scheme == "sha256":
        made, fits = _sha256(secret, against.salt), True
    else:
        made, fits = _pbkdf2(secret, against.salt, against.rounds), True
    return hmac.compare_digest(made, against.digest) and fits and known is not None


@dataclass(frozen=True, slots=True)
class _Stored:
    scheme: Scheme
    digest: bytes
    salt: bytes = b""
    rounds: int = 0


def _parse(stored: str) -> _Stored:
    if _ENCRYPTED.fullmatch(stored):
        return _Stored("encrypted", stored.encode())
    if found := _SHA256.fullmatch(stored):
        parsed = _Stored("sha256", _decoded(found[2]), _decoded(found[1]))
        length = hashlib.sha256().digest_size
    elif found := _PBKDF2.fullmatch(stored):
        parsed = _Stored("pbkdf2", _decoded(found[3]), _decoded(found[2]), int(found[1]))
        length = _PBKDF2_BYTES
        if parsed.rounds > MAX_ROUNDS:
            raise ValueError(f"more than {MAX_ROUNDS} rounds of PBKDF2")
    else:
        raise ValueError("not a stored password of a known form")
    if len(parsed.digest) != length:
        raise ValueError(f"the hash of a stored password has {len(parsed.digest)} bytes in place of {length}")
    return parsed


def _pbkdf2(secret: bytes, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", secret, salt, rounds, _PBKDF2_BYTES)


def _sha256(secret: bytes, salt: bytes) -> bytes:
    return hashlib.sha256(salt + secret).digest()


def _encrypted(secret: bytes, username: bytes) -> str:
    """The old form, for at most 32 bytes of password (facts as documented for Passlib's `cisco_asa`).

    Up to 27 bytes are followed by the first four bytes of the user name, repeated when it is shorter; all is
    filled with NULs to 16 or 32 bytes. Of the MD5 every fourth byte is dropped, the rest written six bits at
    a time, the lowest of each three bytes first.
    """
    if username and len(secret) < 28:
        secret += (username * 4)[:4]
    digest = hashlib.md5(secret.ljust(32 if len(secret) > 16 else 16, b"\0"), usedforsecurity=False).digest()
    kept = (int.from_bytes(digest[i : i + 3], "little") for i in range(0, 16, 4))
    return "".join(_ENCRYPTED_ALPHABET[number >> shift & 63] for number in kept for shift in (0, 6, 12, 18))


def _encode(text: str) -> bytes:
    # A password can be anything, even half a surrogate pair; looking at it must never raise.
    return text.encode("utf-8", "surrogatepass")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("the salt or hash of a stored password is not whole base64") from None
