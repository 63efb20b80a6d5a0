"""Logging in against the local users: a password, and then perhaps a one-time code.

A username, the stored password the configuration has for it and what was typed flow into `check_password`; a
verdict comes out, whose value is the reason as an ASA's syslog has it (113015). `totp_ok` judges the second
round. Neither keeps anything: the caller counts failures, and remembers the step of the last code it
accepted.
"""

import base64
import enum
import hmac
import struct

from asa_emu.aaa.passwords import STAND_IN, verify

TOTP_PERIOD = 30
"""Seconds for which one code is shown (RFC 6238; what every authenticator uses)."""
TOTP_DIGITS = 6


class LocalVerdict(enum.Enum):
    """What became of a password. True in a condition only when it is accepted."""

    ACCEPTED = "Accepted"
    INVALID_PASSWORD = "Invalid password"
    UNKNOWN_USER = "User was not found"

    def __bool__(self) -> bool:
        return self is LocalVerdict.ACCEPTED


def check_password(
    username: str, stored: str | None, plain: str, *, stand_in: str = STAND_IN
) -> LocalVerdict:
    """Judge what was typed. `stored` is None for a user who does not exist; see `passwords.verify`."""
    if verify(stored, username, plain, stand_in=stand_in):
        return LocalVerdict.ACCEPTED
    return LocalVerdict.UNKNOWN_USER if stored is None else LocalVerdict.INVALID_PASSWORD


def totp_ok(
    secret_base32: str, code: str, now: float, window: int = 1, last_step: int | None = None
) -> int | None:
    """Return the time step of an acceptable code, or None.

    `now` is emulated Unix seconds; a code of up to `window` steps before or after is accepted, because clocks
    differ. The caller keeps the step and gives it back as `last_step`: a code of that step or an earlier one
    has been spent (RFC 6238 §5.2). Blanks in the code are as people type them.

    Raises ValueError for a secret that `check_totp_secret` refuses.
    """
    typed = "".join(code.split()).encode("utf-8", "surrogatepass")
    key = _key(check_totp_secret(secret_base32))
    current = int(now // TOTP_PERIOD)
    accepted = None
    for step in range(max(0, current - window), current + window + 1):
        right = hmac.compare_digest(typed, _code(key, step))
        if right and accepted is None and (last_step is None or step > last_step):
            accepted = step
    return accepted


def _code(key: bytes, counter: int) -> bytes:
    """RFC 4226 §5.3. pyotp would refuse the 80-bit secrets that many authenticators come with."""
    digest = hmac.digest(key, struct.pack(">Q", counter), "sha1")
    (number,) = struct.unpack_from(">I", digest, digest[-1] & 0x0F)
    return b"%0*d" % (TOTP_DIGITS, (number & 0x7FFFFFFF) % 10**TOTP_DIGITS)


def _key(secret: str) -> bytes:
    return base64.b32decode(secret + "=" * (-len(secret) % 8))


def check_totp_secret(secret_base32: str) -> str:
    """Return the secret as it is used: upper case, without blanks, hyphens and padding.

    Raises ValueError when that is not base32 of at least one byte.
    """
    secret = "".join(secret_base32.split()).replace("-", "").rstrip("=").upper()
    try:
        key = _key(secret)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("the secret of a one-time password is not base32")
    return secret
