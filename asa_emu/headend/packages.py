"""Which client software the headend has for whom (S85).

A client, told by its User-Agent, gets the first image whose `regex` matches it, else the first one made for
its platform by its file's name, else none. Images without a version in their name are passed over, for
nobody could tell whether they are newer.
"""

from __future__ import annotations

from collections.abc import Sequence

from asa_emu.config import ClientImage
from asa_emu.config.expression import BadExpression, Expression
from asa_emu.wire.client_package import ClientPackage

CACHE = "/CACHE/stc"
MAX_AGENT = 256  # characters of a User-Agent that an expression is tried on
# words in the names of files, the platform as clients call it, and words of its clients and browsers
_PLATFORMS = (
    (("mac", "darwin"), "mac-intel", ("darwin", "mac")),
    (("linux",), "linux-64", ("linux", "open anyconnect")),
    (("win",), "win", ("windows",)),
)


def image_for(images: Sequence[ClientImage], user_agent: str) -> ClientImage | None:
    """The image for a client that calls itself `user_agent`."""
    agent = user_agent[:MAX_AGENT]
    versioned = [image for image in images if image.version is not None]
    for image in versioned:
        # made anew each time: what an expression has cost counts for its whole life
        if image.regex is not None and _chooses(image.regex, agent):
            return image
    lowered = agent.lower()
    wanted = next((name for _, name, words in _PLATFORMS if any(word in lowered for word in words)), "")
    return next((image for image in versioned if wanted and platform_of(image) == wanted), None)


def _chooses(regex: str, agent: str) -> bool:
    try:
        return Expression(regex).found_in(agent)
    except BadExpression:
        return False


def platform_of(image: ClientImage) -> str:
    """The platform that an image is made for, by its name; empty when that tells none."""
    lowered = image.name.lower()
    return next((name for words, name, _ in _PLATFORMS if any(word in lowered for word in words)), "")


def package_of(image: ClientImage) -> ClientPackage:
    """An image as clients see it, under its number."""
    base = f"{CACHE}/{image.order}"
    return ClientPackage(base, f"binaries/{image.name}", image.version or "", platform_of(image))
