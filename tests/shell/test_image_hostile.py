"""Looking for an update at a headend that lies: every lie has a name, and nothing comes from elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asa_emu.wire.auth_xml import auth_complete
from asa_emu.wire.client_package import ClientPackage, manifest, update_text
from asa_emu.wire.errors import XmlError
from client_emu.dial import TokenRefused
from client_emu.exchange import DialFailed
from client_emu.gateway import Gateway
from client_emu.options import ClientOptions
from client_emu.update import Update, look_for_update
from tests.fake_headend import TOKEN, Peer, fake_headend

PACKAGE = ClientPackage("/1", "binaries/client-9.9.9.pkg", "9.9.9")
pytestmark = pytest.mark.usefixtures("mock_time")


@asynccontextmanager
async def liar(
    directory: Path, answers: dict[str, bytes], base: str = "/1"
) -> AsyncIterator[tuple[ClientOptions, list[str]]]:
    """A headend with these files, a login that names `base`, and the paths that were asked for."""
    asked: list[str] = []

    async def script(peer: Peer) -> None:
        while True:
            method, path, _ = (await peer.request()).split(b" ", 2)
            if method == b"POST":
                package = ClientPackage(base, "x", "1.1")
                await peer.answer(auth_complete(TOKEN, package=package))
                continue
            asked.append(path.decode())
            body = answers.get(asked[-1])
            await peer.answer(body or b"", status="404 Not Found" if body is None else "200 OK")

    async with fake_headend(directory, script) as headend:
        gateway = Gateway("127.0.0.1", headend.port)
        yield ClientOptions(gateway, user="walter", password="x", pin=headend.pin), asked


FILES = {
    "/1/index.html": b"<html></html>",
    "/1/binaries/update.txt": update_text(PACKAGE),
    "/1/VPNManifest.xml": manifest(PACKAGE),
    "/1/binaries/client-9.9.9.pkg": b"image",
}


async def test_an_honest_one(tmp_path: Path) -> None:
    async with liar(tmp_path, FILES) as (options, asked):
        assert await look_for_update(options, fetch=True) == Update(TOKEN, PACKAGE, b"image")
        assert asked == list(FILES)


@pytest.mark.parametrize(
    "base", ["https://elsewhere/1", "//elsewhere", "/a/../b", "/a b", "/" + "a" * 99, "1"]
)
async def test_a_strange_directory_is_not_entered(tmp_path: Path, base: str) -> None:
    async with liar(tmp_path, FILES, base) as (options, asked):
        await look_for_update(options)
        assert asked[0] == "/1/index.html"


@pytest.mark.parametrize("text", [b"", b"x", b"0,0,0000", b"4,10,07061", b"\xff\xff", b"9" * 60_000])
async def test_no_version_or_an_older_one_is_no_update(tmp_path: Path, text: bytes) -> None:
    files = FILES | {"/1/binaries/update.txt": text or b" "}
    async with liar(tmp_path, files) as (options, asked):
        assert (await look_for_update(options)).package is None
        assert "/1/VPNManifest.xml" not in asked


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"<vpn",
        manifest(ClientPackage("/1", "../../etc/passwd", "9.9.9")),
        manifest(ClientPackage("/1", "https://elsewhere/x", "9.9.9")),
        manifest(ClientPackage("/1", "x", "new")),
    ],
)
async def test_a_bad_manifest_is_an_error(tmp_path: Path, body: bytes) -> None:
    async with liar(tmp_path, FILES | {"/1/VPNManifest.xml": body}) as (options, asked):
        with pytest.raises(XmlError):
            await look_for_update(options, fetch=True)
        assert asked[-1] == "/1/VPNManifest.xml"


async def test_an_older_package_than_promised_is_no_update(tmp_path: Path) -> None:
    older = manifest(ClientPackage("/1", "x", "1.0"))
    async with liar(tmp_path, FILES | {"/1/VPNManifest.xml": older}) as (options, _):
        assert (await look_for_update(options, fetch=True)).image is None


@pytest.mark.parametrize("name", ["VPNManifest.xml", "binaries/client-9.9.9.pkg"])
async def test_an_endless_file_is_cut(tmp_path: Path, name: str) -> None:
    async with liar(tmp_path, FILES | {f"/1/{name}": b"x" * 200_000}) as (options, _):
        with pytest.raises(DialFailed, match="too long"):
            await look_for_update(options, fetch=True, limit=100_000)


async def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    async with liar(tmp_path, {}) as (options, _):
        with pytest.raises(DialFailed, match="404"):
            await look_for_update(options)


async def test_a_refused_token_is_an_error(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"", status="401 Unauthorized")

    async with fake_headend(tmp_path, script) as headend:
        options = ClientOptions(Gateway("127.0.0.1", headend.port), pin=headend.pin, token="beef")
        with pytest.raises(TokenRefused):
            await look_for_update(options)
