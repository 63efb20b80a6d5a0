"""Client images over sockets: offered, looked for and fetched with the parent's token alone (S85, S86)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
import trio

from asa_emu.app import Running
from asa_emu.serve.asgi import READ_LIMIT
from asa_emu.session.model import EndReason
from asa_emu.wire.auth_xml import parse_server_document_untrusted
from asa_emu.wire.client_package import ClientPackage, version_key
from client_emu.client import Client
from client_emu.dial import TokenRefused
from client_emu.exchange import DialFailed
from client_emu.gateway import Gateway
from client_emu.options import CLIENT_VERSION, ClientOptions, Platform
from client_emu.update import look_for_update
from tests.headend_lab import CONFIG, PASSWORD, RawClient, headend, login_document, request, session_of

NEWER = "anyconnect-linux64-4.10.08029-webdeploy-k9.pkg"
OLDER = "anyconnect-linux64-4.9.04053-webdeploy-k9.pkg"
WIN = "disk0:/anyconnect-win-5.0.1.pkg"
SIZE = 100_001
BIG = "anyconnect-mac-4.10.1.pkg"
BIG_SIZE = 32_000_000  # more than all buffers on the way hold


def image_config(*lines: str) -> str:
    images = "".join(f" anyconnect image {line}\n" for line in lines)
    return CONFIG.replace("webvpn\n", f"webvpn\n{images}", 1)


@pytest.fixture
def flash(tmp_path: Path, state: Path) -> Path:
    """A state directory with the server's keys and two images."""
    for file in state.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / file.name).chmod(file.stat().st_mode)
    (tmp_path / NEWER).write_bytes(bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256))
    (tmp_path / OLDER).write_bytes(b"old")
    with (tmp_path / BIG).open("wb") as big:
        big.truncate(BIG_SIZE)
    return tmp_path


@pytest.fixture
async def gate(mock_time: None, flash: Path, log: object) -> AsyncIterator[Running]:
    lines = (f"disk0:/{NEWER} 7 regex Linux", f"disk0:/{OLDER} 1", f"{WIN} 2", f"flash:{BIG} 8")
    async with headend(flash, image_config(*lines)) as running:
        yield running


def options(running: Running, user: str = "user001") -> ClientOptions:
    gateway = Gateway("127.0.0.1", running.https.port)
    platform = Platform.LINUX
    return ClientOptions(
        gateway, user=user, password=PASSWORD, group="staff", pin=running.pin, platform=platform
    )


@pytest.mark.statement("S85")
@pytest.mark.statement("S86")
async def test_a_client_below_the_version_gets_the_image_while_only_the_parent_exists(gate: Running) -> None:
    found = await look_for_update(options(gate))
    assert found.package == ClientPackage("/CACHE/stc/7", f"binaries/{NEWER}", "4.10.08029", "linux-64")
    assert version_key(CLIENT_VERSION) < version_key(found.package.version)
    assert found.image is None
    parent = session_of(gate, "user001").parent
    before, used_at = parent.bytes_tx, parent.last_use_at
    await trio.sleep(60)
    holder = replace(options(gate), token=found.token)
    again = await look_for_update(holder)
    probed = parent.bytes_tx - before
    assert again.package is None or again.package.path == found.package.path
    async with await RawClient.open(gate) as raw:
        before = parent.bytes_tx
        cookie = [("Cookie", f"webvpn={found.token}")]
        answer = await raw.request("GET", found.package.path, headers=cookie)
    assert answer.body[:256] == bytes(range(256))
    assert len(answer.body) == SIZE
    assert parent.bytes_tx - before == SIZE
    assert 0 < probed < 2000
    assert parent.last_use_at >= used_at + 60
    session = session_of(gate, "user001")
    assert session.tunnels == (parent,)
    # and the tunnel comes afterwards, with the same token
    async with Client(replace(options(gate), token=found.token), timeline=gate.gateway.timeline):
        assert session_of(gate, "user001") is session
        assert session.ssl is not None


async def test_the_image_arrives_whole_in_memory_within_the_limit(gate: Running) -> None:
    found = await look_for_update(options(gate), fetch=True)
    assert found.image is not None
    assert len(found.image) == SIZE
    with pytest.raises(DialFailed, match="too long"):
        await look_for_update(options(gate, "user002"), fetch=True, limit=SIZE - 1)


@pytest.mark.parametrize("version", ["4.10.08029", "5.0"])
async def test_a_client_of_that_version_is_left_alone(gate: Running, version: str) -> None:
    assert (await look_for_update(options(gate), version=version, fetch=True)).package is None


async def test_the_end_of_a_login_names_the_image_of_the_platform(gate: Running) -> None:
    async def named(agent: str) -> str | None:
        async with await RawClient.open(gate) as raw:
            headers = [("User-Agent", agent)]
            answer = await raw.request("POST", "/", login_document("user001"), headers)
        return parse_server_document_untrusted(answer.body).package_base

    assert await named("AnyConnect Linux_64 4.10.07061") == "/CACHE/stc/7"
    assert await named("Open AnyConnect VPN Agent v9.01") == "/CACHE/stc/1"
    # the file for Windows is not there
    assert await named("AnyConnect Windows 4.10.07061") is None
    assert await named("") is None


async def test_the_probes_of_genuine_clients_are_answered(gate: Running) -> None:
    async with await RawClient.open(gate) as raw:
        cookie = [("Cookie", f"webvpn={await raw.log_in('user001')}")]
        for base in ("/1", "/CACHE/stc/1"):
            for name in ("index.html", "Linux", "Linux_64", "Windows", "Darwin_i386"):
                answer = await raw.request("GET", f"{base}/{name}", headers=cookie)
                assert (answer.status, answer.body) == (200, b"<html></html>\n")
            for name in ("VERSION", "binaries/update.txt"):
                assert (await raw.request("GET", f"{base}/{name}", headers=cookie)).body == b"4,9,04053\n"
            manifest = (await raw.request("GET", f"{base}/VPNManifest.xml", headers=cookie)).body
            assert b'version="4.9.04053"' in manifest
            assert (await raw.request("GET", f"{base}/binaries/{OLDER}", headers=cookie)).body == b"old"
        for name in ("translation-table?type=mst", "oem-customization?app=AnyConnect"):
            answer = await raw.request("GET", f"/+CSCOT+/{name}", headers=cookie)
            assert (answer.status, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")


@pytest.mark.parametrize("number", ["2", "3", "65536", "99999"])
async def test_what_is_not_there_is_not_offered(gate: Running, number: str) -> None:
    async with await RawClient.open(gate) as raw:
        cookie = [("Cookie", f"webvpn={await raw.log_in('user001')}")]
        update = await raw.request("GET", f"/CACHE/stc/{number}/binaries/update.txt", headers=cookie)
        assert update.body == b"0,0,0000\n"
        manifest = await raw.request("GET", f"/CACHE/stc/{number}/VPNManifest.xml", headers=cookie)
        assert b"<file" not in manifest.body
        path = f"/CACHE/stc/{number}/binaries/anyconnect-win-5.0.1.pkg"
        assert (await raw.request("GET", path, headers=cookie)).status == 404


async def test_a_file_outside_of_the_flash_is_not_served(mock_time: None, flash: Path, log: object) -> None:
    outside = flash.parent / f"{flash.name}-1.2.3.pkg"
    outside.write_bytes(b"secret")
    (flash / "link-1.2.4.pkg").symlink_to(outside)
    lines = (f"disk0:/../{outside.name} 1", "disk0:/link-1.2.4.pkg 2", "disk0:/sub 3", f"{outside} 4")
    async with headend(flash, image_config(*lines)) as running, await RawClient.open(running) as raw:
        cookie = [("Cookie", f"webvpn={await raw.log_in('user001')}")]
        for number in range(1, 5):
            update = await raw.request("GET", f"/{number}/VERSION", headers=cookie)
            assert update.body == b"0,0,0000\n"


async def test_images_stand_beside_the_configuration_too(
    mock_time: None, state: Path, flash: Path, log: list[structlog.typing.EventDict]
) -> None:
    from asa_emu.app import HostPort, Options, run_headend

    file = flash / "running-config"
    file.write_text(image_config(f"flash:/{OLDER} 1", "disk0:/missing-1.2.pkg 2"))
    async with trio.open_nursery() as nursery:
        wanted = Options(config=file, listen=HostPort("127.0.0.1", 0), state=state)
        running: Running = await nursery.start(run_headend, wanted)
        found = await look_for_update(options(running), version="4.8.1", fetch=True)
        assert found.image == b"old"
        nursery.cancel_scope.cancel()
    absent = [entry["file"] for entry in log if entry["event"] == "file.absent"]
    assert absent == ["disk0:/missing-1.2.pkg"]


async def test_without_a_token_there_is_nothing(gate: Running) -> None:
    with pytest.raises(TokenRefused):
        await look_for_update(replace(options(gate), token="f" * 64))


async def test_a_reader_who_stops_loses_the_connection_and_nobody_else_does(gate: Running) -> None:
    async with await RawClient.open(gate) as slow, await RawClient.open(gate) as raw:
        token = await slow.log_in("user001")
        cookie = [("Cookie", f"webvpn={token}")]
        await slow.say(request("GET", f"/8/binaries/{BIG}", headers=cookie))
        await trio.sleep(1)
        parent = session_of(gate, "user001").parent
        stuck = parent.bytes_tx
        assert stuck < BIG_SIZE
        assert (await raw.request("GET", "/8/VERSION", headers=cookie)).body == b"4,10,1\n"
        await trio.sleep(READ_LIMIT + 1)
        assert await slow.ended()
        assert parent.bytes_tx == stuck + len(b"4,10,1\n")
        assert not session_of(gate, "user001").ended


async def test_a_log_off_cuts_the_download(gate: Running) -> None:
    async with await RawClient.open(gate) as raw:
        token = await raw.log_in("user001")
        await raw.say(request("GET", f"/8/binaries/{BIG}", headers=[("Cookie", f"webvpn={token}")]))
        await trio.sleep(1)
        session = session_of(gate, "user001")
        gate.gateway.headend.db.end(session, EndReason.ADMIN_RESET, gate.gateway.now())
        assert await raw.ended()
        assert len(raw.unread) < BIG_SIZE


async def test_a_file_that_shrinks_cuts_the_answer(gate: Running, flash: Path) -> None:
    async with await RawClient.open(gate) as raw:
        token = await raw.log_in("user001")
        await raw.say(request("GET", f"/8/binaries/{BIG}", headers=[("Cookie", f"webvpn={token}")]))
        await trio.sleep(1)
        (flash / BIG).write_bytes(b"")
        assert await raw.ended()
        assert len(raw.unread) < BIG_SIZE


async def test_head_tells_the_size_and_charges_nothing(gate: Running) -> None:
    async with await RawClient.open(gate) as raw:
        token = await raw.log_in("user001")
        await raw.say(request("HEAD", f"/7/binaries/{NEWER}", headers=[("Cookie", f"webvpn={token}")]))
        while b"\r\n\r\n" not in raw.unread:
            await raw.more()
        assert f"content-length: {SIZE}".encode() in raw.unread.lower()
        assert raw.unread.endswith(b"\r\n\r\n")
        assert session_of(gate, "user001").parent.bytes_tx == 0
