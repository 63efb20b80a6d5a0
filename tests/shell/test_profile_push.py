"""The AnyConnect profile of a group-policy: told at the login, fetched with the token, refused if forged."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import structlog

from asa_emu.app import Running
from asa_emu.serve.images import MAX_PROFILE
from asa_emu.wire.auth_xml import Profile, auth_complete, parse_server_document_untrusted
from client_emu.client import Client
from client_emu.gateway import Gateway
from client_emu.journal import NEW_PROFILE
from client_emu.options import ClientOptions
from client_emu.profile import ProfileError, parse_profile_untrusted
from client_emu.update import look_for_update
from tests.fake_headend import TOKEN, Peer, fake_headend
from tests.headend_lab import CONFIG, RawClient, client, headend, login_document, session_of

NAME = "emu prof.xml"
TEXT = b"""\
<AnyConnectProfile xmlns="http://schemas.xmlsoap.org/encoding/">
  <ServerList><HostEntry><HostName>lab</HostName><HostAddress>127.0.0.1</HostAddress></HostEntry></ServerList>
</AnyConnectProfile>
"""
SHA1 = hashlib.sha1(TEXT, usedforsecurity=False).hexdigest()
PROFILES = CONFIG.replace(
    "webvpn\n",
    'webvpn\n anyconnect profiles emu "disk0:/emu prof.xml"\n anyconnect profiles big disk0:/big.xml\n'
    " anyconnect profiles lost disk0:/lost.xml\n",
    1,
)


def with_policy(line: str) -> str:
    attributes = "group-policy DfltGrpPolicy attributes\n"
    return PROFILES.replace(attributes, f"{attributes} webvpn\n  {line}\n", 1)


HANDED_OUT = with_policy("anyconnect profiles value emu type user")


@pytest.fixture
def flash(tmp_path: Path, state: Path) -> Path:
    """A state directory with the server's keys and two profiles."""
    for file in state.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / file.name).chmod(file.stat().st_mode)
    (tmp_path / NAME).write_bytes(TEXT)
    (tmp_path / "big.xml").write_bytes(TEXT + b" " * MAX_PROFILE)
    return tmp_path


@pytest.fixture
async def gate(mock_time: None, flash: Path) -> AsyncIterator[Running]:
    async with headend(flash, HANDED_OUT) as running:
        yield running


async def test_a_client_without_a_profile_is_given_one(gate: Running) -> None:
    said: list[str] = []
    async with client(gate, "user001") as vpn:
        assert vpn.handed_profile == TEXT
        said = [message.text for message in vpn.journal.messages]
        parent = session_of(gate, "user001").parent
        assert parent.bytes_tx >= len(TEXT)
    assert any(NEW_PROFILE in line for line in said)


async def test_a_client_that_has_it_is_left_alone(gate: Running) -> None:
    async with client(gate, "user001", profile=parse_profile_untrusted(TEXT)) as vpn:
        assert vpn.handed_profile is None
        assert session_of(gate, "user001").parent.bytes_tx < len(TEXT)


async def test_both_places_of_the_login_name_it(gate: Running) -> None:
    async with await RawClient.open(gate) as raw:
        answer = await raw.request("POST", "/", login_document("user001"))
    offer = parse_server_document_untrusted(answer.body).profile
    assert offer == Profile("/CACHE/stc/profiles/emu%20prof.xml", SHA1.upper())
    cookie = answer.headers["set-cookie"]
    details = dict(
        part.split(":", 1) for part in cookie.partition("webvpnc=")[2].partition(";")[0].split("&")
    )
    assert details["bu"] + unquote(details["fu"]) == offer.uri
    assert details["fh"] == offer.sha1


async def test_only_whoever_has_a_token_gets_it(gate: Running) -> None:
    path = "/CACHE/stc/profiles/emu%20prof.xml"
    async with await RawClient.open(gate) as raw:
        assert (await raw.request("GET", path)).status == 401
        cookie = [("Cookie", f"webvpn={await raw.log_in('user001')}")]
        assert (await raw.request("GET", path, headers=cookie)).body == TEXT
        for other in ("big.xml", "lost.xml", "..%2fca.pem", "ca.pem", "emu"):
            answer = await raw.request("GET", f"/CACHE/stc/profiles/{other}", headers=cookie)
            assert answer.status == 404


@pytest.mark.parametrize(
    "line",
    [
        "anyconnect profiles none",
        "anyconnect profiles value big type user",
        "anyconnect profiles value lost type user",
    ],
)
async def test_none_that_can_be_handed_out_is_no_obstacle(
    mock_time: None, flash: Path, log: list[structlog.typing.EventDict], line: str
) -> None:
    async with headend(flash, with_policy(line)) as running:
        async with await RawClient.open(running) as raw:
            answer = await raw.request("POST", "/", login_document("user001"))
        assert parse_server_document_untrusted(answer.body).profile is None
        assert "&fu:" not in answer.headers["set-cookie"]
    absent = [entry["file"] for entry in log if entry["event"] == "file.absent"]
    assert absent == ["disk0:/lost.xml"]


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (Profile("/p.xml", SHA1[::-1]), "not '.*' as announced"),
        (Profile("/p.xml", ""), "not '' as announced"),
        (Profile("/junk.xml", SHA1), "/junk.xml:1: "),
        (Profile("p.xml\r\nX: y", SHA1), "no usable path"),
        (Profile("https://192.0.2.1/p.xml", SHA1), "no usable path"),
    ],
)
async def test_a_forged_profile_is_refused_and_the_tunnel_is_not(
    mock_time: None, tmp_path: Path, offer: Profile, reason: str
) -> None:
    async def script(peer: Peer) -> None:
        while True:
            method, path, _ = (await peer.request()).split(b" ", 2)
            if method == b"POST":
                await peer.answer(auth_complete(TOKEN, profile=offer))
            elif method == b"CONNECT":
                await peer.answer(b"", status="503 That far it came")
            else:
                await peer.answer(TEXT if path == b"/p.xml" else b"<junk>")

    async with fake_headend(tmp_path, script) as lying:
        options = ClientOptions(Gateway("127.0.0.1", lying.port), user="walter", password="x", pin=lying.pin)
        with pytest.raises(ProfileError, match=reason):
            await look_for_update(options)
        vpn = Client(options)
        with pytest.raises(Exception, match="503"):
            await vpn.__aenter__()
        assert vpn.handed_profile is None
        assert any("cannot be had" in message.text for message in vpn.journal.messages)
