"""Look whether the headend has a newer client or profile, as a genuine one does between login and tunnel.

The end of a login names a directory on the headend; a small page, `update.txt` and `VPNManifest.xml` in it
are asked for with the session's token alone (S85). The file itself is fetched only when told to, into memory
and up to a limit. It is never written down or run: a test wants to see what a headend hands out, nobody wants
it here.

The profile that the headend hands out comes with the SHA-1 of its bytes: it is fetched when the client has
another one, or none, and refused when its bytes are not those.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from asa_emu.wire.client_package import (
    ClientPackage,
    parse_manifest_untrusted,
    parse_update_untrusted,
    version_key,
)
from client_emu.dial import Asker, Dialer
from client_emu.network import Network
from client_emu.options import CLIENT_VERSION, ClientOptions
from client_emu.profile import Profile, ProfileError, parse_profile_untrusted

DEFAULT_BASE: Final = "/1"  # where old clients look, and new ones whom nobody told
MAX_PROFILE: Final = 1024 * 1024  # bytes
MAX_IMAGE: Final = 256 * 1024 * 1024  # bytes; the largest genuine package has some 90 MB
_BASE = re.compile(r"(/[A-Za-z0-9_+-]{1,32}){1,4}")
_URI = re.compile(r"/[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Update:
    """What was found. The session of `token` stands, without a tunnel."""

    token: str = field(repr=False)
    package: ClientPackage | None
    """A client newer than this one, None when there is none."""
    image: bytes | None = field(default=None, repr=False)
    """Its file, when it was asked for."""
    profile: bytes | None = field(default=None, repr=False)
    """The profile that the headend hands out, unless it is the one that the client has."""


async def look_for_update(
    options: ClientOptions,
    *,
    version: str = CLIENT_VERSION,
    fetch: bool = False,
    limit: int = MAX_IMAGE,
    ask: Asker | None = None,
) -> Update:
    """Log in, unless the options have a token, and look for a client newer than `version`.

    Raises what a login raises, TokenRefused when the headend wants another token, DialFailed also for an
    image of more than `limit` bytes, XmlError for a manifest that cannot be read, and ProfileError.
    """
    dialer = Dialer(options, Network(options.interfaces))
    try:
        token = options.token
        if token is None:
            await dialer.reach(0)
            token = await dialer.log_in(ask)
        package = await newer_package(dialer, token, version)
        image = await dialer.fetch(package.path, token, limit) if package is not None and fetch else None
        return Update(token, package, image, await newer_profile(dialer, token, options.profile))
    finally:
        await dialer.aclose()


async def newer_package(dialer: Dialer, token: str, version: str) -> ClientPackage | None:
    """The headend's client, if it is newer than `version`. Raises as `look_for_update`."""
    base = dialer.package_base or ""
    if _BASE.fullmatch(base) is None:
        base = DEFAULT_BASE
    await dialer.fetch(f"{base}/index.html", token)
    said = parse_update_untrusted(await dialer.fetch(f"{base}/binaries/update.txt", token))
    if said is None or version_key(said) <= version_key(version):
        return None
    package = parse_manifest_untrusted(await dialer.fetch(f"{base}/VPNManifest.xml", token), base)
    return package if package is not None and version_key(package.version) > version_key(version) else None


async def newer_profile(dialer: Dialer, token: str, held: Profile | None) -> bytes | None:
    """The headend's profile, if it is another one than `held`. Raises ProfileError, and as `Dialer.fetch`."""
    offer = dialer.profile
    if offer is None or (held is not None and held.sha1 == offer.sha1.lower()):
        return None
    if _URI.fullmatch(offer.uri) is None:
        raise ProfileError(f"the headend's profile has no usable path: {offer.uri[:80]!r}")
    body = await dialer.fetch(offer.uri, token, MAX_PROFILE)
    profile = parse_profile_untrusted(body, offer.uri)
    if profile.sha1 != offer.sha1.lower():
        raise ProfileError(f"{offer.uri}: its SHA-1 is {profile.sha1}, not {offer.sha1[:40]!r} as announced")
    return body
