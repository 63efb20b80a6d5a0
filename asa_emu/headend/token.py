"""Session tokens: the secret that a login hands out and every later CONNECT presents.

A token is random throughout, so that it says nothing about its session, and no shorter than 128 bits.
Releases 9.1(3) and later, and 8.4 from 8.4(7.1) on, have a stronger one (S56): the `ASA Version` line of the
configuration chooses, and without one the token is strong.
"""

from __future__ import annotations

import re
from typing import Final

from asa_emu.config import Config
from asa_emu.config.document import Setting
from asa_emu.headend.headend import RandomBytes

STRONG: Final = 32
"""Random bytes of a token; twice as many characters travel in the cookie."""
OLD: Final = 16
"""The same before the releases named above."""

_RELEASE: Final = Setting[str]("ASA Version", "")


def new_token(config: Config, random_bytes: RandomBytes) -> str:
    """A fresh token as hexadecimal text, as strong as the configured release makes it."""
    return random_bytes(STRONG if strong_token(config.say(_RELEASE)) else OLD).hex()


def strong_token(release: str) -> bool:
    """Whether a release such as `9.16(4)`, `8.4(7.1)` or `8.4(7)1` has the stronger token."""
    version = tuple(int(number) for number in re.findall(r"\d+", release)[:4])
    return not version or version >= (9, 1, 3) or (8, 4, 7, 1) <= version < (8, 5)
