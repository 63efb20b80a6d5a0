"""The portal against strangers: no cookie, a bad one, somebody else's; other sites; names that climb."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog
import trio

from asa_emu.app import Running
from asa_emu.serve.asgi import READ_LIMIT
from asa_emu.wire.frames import PacketType, encode_frame
from tests.headend_lab import RawClient, connect_request, headend, request, session_of
from tests.portal_lab import ACCEPT, AGENT, CONFIG, browser, launch_file, log_in

IMAGE = "anyconnect-linux64-9.9.09999-webdeploy-k9.pkg"
OPEN = ("/+CSCOE+/logon.html", "/+CSCOE+/portal.css", "/+CSCOE+/icon.svg", "/CACHE/sdesktop/data.xml")
LED_AWAY = (
    ("GET", "/+CSCOE+/portal.html"),
    ("POST", "/+CSCOE+/launch"),
    ("POST", "/+webvpn+/webvpn_logout.html"),
)
REFUSED = (
    ("GET", "/1/index.html"),
    ("GET", "/1/VERSION"),
    ("GET", "/1/Linux_64"),
    ("GET", "/1/VPNManifest.xml"),
    ("GET", "/1/binaries/update.txt"),
    ("GET", f"/1/binaries/{IMAGE}"),
    ("GET", "/CACHE/stc/1/index.html"),
    ("GET", "/CACHE/stc/1/VPNManifest.xml"),
    ("GET", "/CACHE/stc/1/binaries/update.txt"),
    ("GET", f"/CACHE/stc/1/binaries/{IMAGE}"),
    ("GET", "/+CSCOT+/translation-table?type=mst"),
    ("GET", "/+CSCOT+/oem-customization?app=AnyConnect"),
    ("GET", "/+CSCOE+/sdesktop/wait.html"),
    ("POST", "/+CSCOE+/sdesktop/scan.xml?reusebrowser=1"),
)
SECRETS = ("webvpn", "webvpncontext")


@pytest.fixture
async def gate(mock_time: None, state: Path, log: object) -> AsyncIterator[Running]:
    config = CONFIG.replace("webvpn\n", f"webvpn\n anyconnect image disk0:/{IMAGE} 1\n", 1)
    (state / IMAGE).write_bytes(b"image")
    async with headend(state, config) as running:
        yield running


def check_headers(answer: httpx.Response) -> None:
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text.lower()
    assert "javascript:" not in answer.text.lower()
    assert " style=" not in answer.text


@pytest.mark.parametrize("cookie", [None, "", "beef", "0" * 64, "é", "a" * 4000])
async def test_without_a_good_cookie_every_route_refuses(gate: Running, cookie: str | None) -> None:
    headers = []
    if cookie is not None:
        headers = [(b"Cookie", f"webvpn={cookie}; sdesktop={cookie}".encode("latin-1"))]
    async with browser(gate) as web:
        web.follow_redirects = False
        for path in OPEN:
            answer = await web.get(path, headers=headers)
            assert answer.status_code == 200
            check_headers(answer)
        for method, path in LED_AWAY:
            answer = await web.request(method, path, headers=headers)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/+CSCOE+/logon.html")
            check_headers(answer)
        for method, path in REFUSED:
            body = b"x" if method == "POST" else b""
            answer = await web.request(method, path, headers=headers, content=body)
            assert answer.status_code == 401, path
            check_headers(answer)
    assert len(gate.gateway.headend.db) == 0


async def test_a_dead_cookie_is_as_good_as_none(gate: Running) -> None:
    async with browser(gate) as web:
        await log_in(web, "user001")
        token = web.cookies["webvpn"]
        await web.post("/+webvpn+/webvpn_logout.html")
        web.follow_redirects = False
        headers = {"Cookie": f"webvpn={token}"}
        for method, path in LED_AWAY:
            assert (await web.request(method, path, headers=headers)).status_code == 303
        assert (await web.get("/1/VERSION", headers=headers)).status_code == 401
        async with await RawClient.open(gate) as raw:
            assert (await raw.connect(token)).status == 401


async def test_each_cookie_opens_its_own_session_alone(gate: Running) -> None:
    db = gate.gateway.headend.db
    async with browser(gate) as one, browser(gate) as other:
        await log_in(one, "user001")
        await log_in(other, "user002")
        mine, theirs = session_of(gate, "user001"), session_of(gate, "user002")
        for web, own in ((one, mine), (other, theirs)):
            assert f"Welcome, {own.username}" in (await web.get("/")).text
            assert db.by_token((await launch_file(web)).token) is own
        sent = theirs.parent.bytes_tx
        assert (await one.get(f"/1/binaries/{IMAGE}")).content == b"image"
        assert theirs.parent.bytes_tx == sent
        # two cookies, as a mixed-up browser sends them: one session is meant, and one alone is ended
        both = {"Cookie": f"webvpn={one.cookies['webvpn']}; webvpn={other.cookies['webvpn']}"}
        async with browser(gate) as mixed:
            await mixed.post("/+webvpn+/webvpn_logout.html", headers=both)
        assert len(db) == 1


async def test_the_token_is_in_no_page_and_no_address(gate: Running) -> None:
    async with browser(gate) as web:
        seen: list[httpx.Response] = []

        async def record(answer: httpx.Response) -> None:
            await answer.aread()
            seen.append(answer)

        web.event_hooks["response"].append(record)
        await web.get("/")
        await log_in(web, "user001")
        token = web.cookies["webvpn"]
        await web.get("/+CSCOE+/portal.html")
        await web.get("/+CSCOE+/portal.html?webvpn=" + token[:8])
        await web.get("/1/VPNManifest.xml")
        await web.post("/+webvpn+/webvpn_logout.html")
        assert len(seen) >= 8
        for answer in seen:
            assert token not in answer.text
            assert token not in str(answer.url)
            assert token not in answer.headers.get("location", "")
            check_headers(answer)


async def test_cookies_are_for_this_site_over_tls_and_for_no_script(gate: Running) -> None:
    async with browser(gate) as web:
        web.follow_redirects = False
        granted, challenged = await log_in(web, "user001"), await log_in(web, "walter")
    cookies = [*granted.headers.get_list("set-cookie"), *challenged.headers.get_list("set-cookie")]
    assert len(cookies) == 3
    for cookie in cookies:
        assert cookie.partition("=")[0] in SECRETS
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"secure", "httponly", "samesite=strict"} <= attributes
        assert not any(attribute.startswith("domain") for attribute in attributes)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://127.0.0.1", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_form_of_another_site_does_nothing(gate: Running, headers: dict[str, str]) -> None:
    async with browser(gate) as web:
        fields = {"username": "user001", "password": "pw", "group_list": "staff"}
        answer = await web.post("/+webvpn+/index.html", data=fields, headers=headers)
        assert answer.status_code == 403
        await log_in(web, "user001")
        for path in ("/+CSCOE+/launch", "/+webvpn+/webvpn_logout.html"):
            answer = await web.post(path, headers=headers)
            assert answer.status_code == 403
            assert "token" not in answer.text
        assert len(gate.gateway.headend.db) == 1
        own = {"Origin": f"https://{gate.https}", "Sec-Fetch-Site": "same-origin"}
        assert (await web.post("/+CSCOE+/launch", headers=own)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/+CSCOE+/launch", "/+webvpn+/webvpn_logout.html"])
async def test_a_link_starts_and_ends_nothing(gate: Running, method: str, path: str) -> None:
    async with browser(gate) as web:
        await log_in(web, "user001")
        answer = await web.request(method, path)
        assert answer.status_code in (404, 405)
        assert len(gate.gateway.headend.db) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/1/binaries/../../../../etc/passwd",
        "/1/binaries/..%2f..%2f..%2fetc%2fpasswd",
        "/CACHE/stc/1/binaries/%2e%2e/running-config",
        "/CACHE/stc/1/binaries/..%5crunning-config",
        "/CACHE/stc/1/binaries/running-config",
        "/CACHE/stc/1/binaries/server.key",
        "/CACHE/stc/1/binaries/vpndownloader.sh",
        f"/CACHE/stc/1/binaries//{IMAGE}",
        f"/CACHE/stc/1/binaries/{IMAGE}%00.txt",
        f"/CACHE/stc/2/binaries/{IMAGE}",
        f"/CACHE/stc/profiles/{IMAGE}",
        "/CACHE/stc/" + "9" * 5000 + "/VPNManifest.xmlx",
        "/CACHE/../running-config",
        "/+CSCOE+/../portal.html",
        "/+CSCOE+/base.html",
        "/+CSCOE+/%2e%2e/templates/logon.html",
        "/+CSCOE+/",
        "/99999/x",
        "/CACHE/stc/1/" + "a/" * 2000,
    ],
)
async def test_names_that_climb_or_guess_find_nothing(gate: Running, path: str) -> None:
    async with await RawClient.open(gate) as raw, browser(gate) as web:
        await log_in(web, "user001")
        cookie = [("Cookie", f"webvpn={web.cookies['webvpn']}"), ("User-Agent", AGENT), ("Accept", ACCEPT)]
        answer = await raw.request("GET", path, headers=cookie)
        assert answer.status == 404
        assert b"root:" not in answer.body
        assert (await raw.request("GET", "/+CSCOE+/portal.html", headers=cookie)).status == 200


@pytest.mark.parametrize("host", ["", "a b", "x" * 300, "evil/path", '"', "user@evil"])
async def test_a_strange_host_gets_no_launch_file(gate: Running, host: str) -> None:
    async with browser(gate) as web:
        await log_in(web, "user001")
        answer = await web.post("/+CSCOE+/launch", headers={"Host": host})
        assert answer.status_code == 400
        assert web.cookies["webvpn"] not in answer.text


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=b&" * 200, b"username=%ff&password=%00", b"", b"&&&="])
async def test_bad_forms_are_answered(gate: Running, body: bytes) -> None:
    async with browser(gate) as web:
        answer = await web.post("/+webvpn+/index.html", content=body)
        assert answer.status_code in (200, 400)
        check_headers(answer)
        assert len(gate.gateway.headend.db) == 0


async def test_requests_behind_a_page_wait_their_turn(gate: Running) -> None:
    headers = [("User-Agent", AGENT), ("Accept", ACCEPT)]
    page = request("GET", "/+CSCOE+/logon.html", headers=headers)
    async with await RawClient.open(gate) as raw:
        await raw.say(page + request("GET", "/") + page)
        for expected in (b"<h1>Log in</h1>", b"<auth id=", b"<h1>Log in</h1>"):
            assert expected in (await raw.answer()).body
        token = await raw.log_in("user001")
        # a page, a CONNECT and the first frames in one go
        await raw.say(page + connect_request(token) + encode_frame(PacketType.DPD_REQUEST, b"1") * 2 + b"STF")
        assert b"<h1>Log in</h1>" in (await raw.answer()).body
        assert (await raw.connect_answer()).status == 200
        for _ in range(2):
            assert await raw.expect(PacketType.DPD_RESPONSE) == b"1"
        await raw.say(encode_frame(PacketType.DPD_REQUEST, b"2")[3:])
        assert await raw.expect(PacketType.DPD_RESPONSE) == b"2"


async def test_who_floods_while_a_page_is_made_is_dropped(gate: Running) -> None:
    async with await RawClient.open(gate) as raw, browser(gate) as web:
        await raw.say(request("GET", "/+CSCOE+/logon.html"), *[bytes(16000)] * 40)
        assert await raw.ended()
        assert (await web.get("/+CSCOE+/logon.html")).status_code == 200


async def test_a_reader_of_pages_who_hangs_up_is_forgotten(gate: Running) -> None:
    async with browser(gate) as web:
        await log_in(web, "user001")
        token = web.cookies["webvpn"]
    async with await RawClient.open(gate) as raw:
        await raw.say(request("GET", "/+CSCOE+/portal.html", headers=[("Cookie", f"webvpn={token}")]))
    await trio.sleep(READ_LIMIT + 1)
    async with browser(gate) as web:
        assert (await web.get("/+CSCOE+/logon.html")).status_code == 200


async def test_no_secret_is_logged(gate: Running, log: list[structlog.typing.EventDict]) -> None:
    messages: list[str] = []
    gate.gateway.headend.listeners.append(lambda fact: messages.append(repr(fact)))
    async with browser(gate) as web:
        await log_in(web, "user001", "wrong-secret")
        await log_in(web, "user001")
        token = web.cookies["webvpn"]
        await launch_file(web)
        await web.post("/+webvpn+/webvpn_logout.html")
    assert messages
    for secret in ("wrong-secret", token):
        assert secret not in repr(log)
        assert secret not in "".join(messages)
