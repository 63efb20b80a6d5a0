"""Client software for clients that have a token and no tunnel yet (S85, S86).

    /CACHE/stc/N/VPNManifest.xml, /N/VPNManifest.xml    what there is; N is the image's number
    …/binaries/update.txt, …/VERSION                    its version
    …/binaries/FILE                                     the image itself
    …/index.html, …/Linux_64 and the like               an empty page, for clients that look before they ask

`anyconnect image disk0:/NAME N` names the files; they are looked for beside the configuration and in the
state directory, every time, and an image whose file is not there is not offered. What is asked for is
compared with what is configured, it never becomes a path. The session's parent is charged with every byte.
Genuine headends also send a download script here; this one sends none.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from asa_emu.config import ClientImage
from asa_emu.headend.headend import Headend
from asa_emu.headend.packages import image_for, package_of
from asa_emu.session.model import Session
from asa_emu.wire.client_package import ClientPackage, manifest, update_text

CHUNK = 64 * 1024  # bytes read and sent at once
UNAUTHORIZED = "The session token is missing, unknown or expired: log in first"
_GREETINGS = re.compile(r"index\.html|(Linux|Windows|Darwin)(_[A-Za-z0-9]{1,8})?")
_DEVICE = re.compile(r"^(disk\d|flash):/*")

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
            Route("/CACHE/stc/{order}/{name:path}", self._probe),
            Route("/{order:int}/{name:path}", self._probe),
            Route("/+CSCOT+/{name:path}", self._texts),
        ]

    def file_of(self, image: ClientImage) -> Path | None:
        """The image's file; None when it is in none of the directories."""
        for directory in self._directories:
            path = (directory / _DEVICE.sub("", image.file)).resolve()
            if path.is_relative_to(directory) and path.is_file():
                return path
        return None

    def absent(self) -> list[str]:
        """The images that are configured and not there."""
        images = self._headend.config.webvpn.client_images
        return [image.file for image in images if self.file_of(image) is None]

    def package_for(self, user_agent: str) -> ClientPackage | None:
        """What the end of a login tells this client about."""
        images = self._headend.config.webvpn.client_images
        image = image_for([i for i in images if self.file_of(i) is not None], user_agent) if images else None
        return None if image is None else package_of(image)

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
