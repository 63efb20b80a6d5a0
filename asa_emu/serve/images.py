"""Client software and profiles for clients that have a token and no tunnel yet (S85, S86).

    /CACHE/stc/profiles/FILE                            the AnyConnect profile of the session's group-policy
    /CACHE/stc/N/VPNManifest.xml, /N/VPNManifest.xml    what there is; N is the image's number
    …/binaries/update.txt, …/VERSION                    its version
    …/binaries/FILE                                     the image itself
    …/index.html, …/Linux_64 and the like               an empty page, for clients that look before they ask

`anyconnect image disk0:/NAME N` and `anyconnect profiles NAME disk0:/FILE` name the files; they are looked
for beside the configuration and in the state directory, every time, and what is not there is not offered.
What is asked for is compared with what is configured, it never becomes a path. The session's parent is
charged with every byte. Genuine headends also send a download script here; this one sends none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import structlog
import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from asa_emu.config import ClientImage
from asa_emu.headend.headend import Headend
from asa_emu.headend.packages import image_for, package_of
from asa_emu.session.model import Session
from asa_emu.wire.auth_xml import Profile
from asa_emu.wire.client_package import ClientPackage, manifest, update_text

CHUNK = 64 * 1024  # bytes read and sent at once
MAX_PROFILE = 1024 * 1024  # bytes
UNAUTHORIZED = "The session token is missing, unknown or expired: log in first"
_GREETINGS = re.compile(r"index\.html|(Linux|Windows|Darwin)(_[A-Za-z0-9]{1,8})?")
_DEVICE = re.compile(r"^(disk\d|flash):/*")
_PROFILES = "/CACHE/stc/profiles"

log = structlog.get_logger(__name__)

Charge = Callable[[Session, int], None]
"""Count bytes sent to the holder of a session."""


class Images:
    """The images of one headend."""

    def __init__(self, headend: Headend, directories: Sequence[Path], charge: Charge) -> None:
        self._headend = headend
        self._directories = [directory.resolve() for directory in directories]
        self._charge = charge

    def routes(self) -> list[Route]:
        """Where clients ask."""
        return [
            Route(_PROFILES + "/{name}", self._hand_profile_out),
            Route("/CACHE/stc/{order}/{name:path}", self._probe),
            Route("/{order:int}/{name:path}", self._probe),
            Route("/+CSCOT+/{name:path}", self._texts),
        ]

    def file_of(self, image: ClientImage) -> Path | None:
        """The image's file; None when it is in none of the directories."""
        return self._find(image.file)

    def _find(self, file: str) -> Path | None:
        for directory in self._directories:
            path = (directory / _DEVICE.sub("", file)).resolve()
            if path.is_relative_to(directory) and path.is_file():
                return path
        return None

    def absent(self) -> list[str]:
        """The images and profiles that are configured and not there."""
        webvpn = self._headend.config.webvpn
        files = [*(image.file for image in webvpn.client_images), *(file for _, file in webvpn.profiles)]
        return [file for file in files if self._find(file) is None]

    def package_for(self, user_agent: str) -> ClientPackage | None:
        """What the end of a login tells this client about."""
        images = self._headend.config.webvpn.client_images
        image = image_for([i for i in images if self.file_of(i) is not None], user_agent) if images else None
        return None if image is None else package_of(image)

    def profile_for(self, session: Session) -> Profile | None:
        """What the end of a login says about the profile of the session's policy."""
        found = self._profile(session)
        if found is None:
            return None
        name, body = found
        digest = hashlib.sha1(body, usedforsecurity=False).hexdigest().upper()
        return Profile(f"{_PROFILES}/{quote(name, safe='')}", digest)

    def _profile(self, session: Session) -> tuple[str, bytes] | None:
        """Name and contents of its file; None when it has none, or one that cannot be a profile."""
        file = dict(self._headend.config.webvpn.profiles).get(session.policy.profile or "")
        path = None if file is None else self._find(file)
        try:
            if path is None or path.stat().st_size > MAX_PROFILE:
                return None
            return path.name, path.read_bytes()
        except OSError as error:
            log.warning("profile.unreadable", file=str(path), reason=error.strerror)
            return None

    async def _hand_profile_out(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _refused()
        found = self._profile(session)
        if found is None or found[0] != request.path_params["name"]:
            return Response("no such file\n", 404, media_type="text/plain")
        self._charge(session, len(found[1]))
        return Response(found[1], media_type="text/xml")

    async def _probe(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return _refused()
        order, name = request.path_params["order"], request.path_params["name"]
        images = self._headend.config.webvpn.client_images
        image = next((image for image in images if str(image.order) == str(order)), None)
        file = None if image is None or image.version is None else self.file_of(image)
        package = None if image is None or file is None else package_of(image)
        if package is not None and file is not None and name == package.uri:
            return self._download(request, session, file)
        if name == "VPNManifest.xml":
            answer = Response(manifest(package), media_type="text/xml")
        elif name in ("binaries/update.txt", "VERSION"):
            answer = Response(update_text(package), media_type="text/plain")
        elif _GREETINGS.fullmatch(name):
            answer = Response(b"<html></html>\n", media_type="text/html")
        else:
            answer = Response("no such file\n", 404, media_type="text/plain")
        self._charge(session, len(answer.body))
        return answer

    async def _texts(self, request: Request) -> Response:
        """Translations and customization: there are none."""
        session = self._session(request)
        if session is None:
            return _refused()
        answer = Response(b'<?xml version="1.0" encoding="UTF-8"?>\n<list></list>\n', media_type="text/xml")
        self._charge(session, len(answer.body))
        return answer

    def _download(self, request: Request, session: Session, file: Path) -> Response:
        headers = {"Content-Length": str(file.stat().st_size)}
        if request.method == "HEAD":
            return Response(headers=headers, media_type="application/octet-stream")
        chunks = self._chunks(session, file, int(headers["Content-Length"]))
        return StreamingResponse(chunks, headers=headers, media_type="application/octet-stream")

    async def _chunks(self, session: Session, file: Path, left: int) -> AsyncIterator[bytes]:
        # read here and not in a thread: a chunk takes microseconds, and a mock clock does not see threads
        with file.open("rb") as source:
            while left and not session.ended:
                chunk = source.read(min(left, CHUNK))
                if not chunk:
                    return
                left -= len(chunk)
                self._charge(session, len(chunk))
                yield chunk
                await trio.lowlevel.checkpoint()

    def _session(self, request: Request) -> Session | None:
        token = request.cookies.get("webvpn")
        return self._headend.db.by_token(token) if token else None


def _refused() -> Response:
    return Response(f"{UNAUTHORIZED}\n", 401, {"X-Reason": UNAUTHORIZED}, media_type="text/plain")
