"""Hostile login documents: 400 and a reason for what is no document, a form for what is only wrong."""

from __future__ import annotations

import pytest

from asa_emu.app import Running
from asa_emu.wire.auth_xml import logout
from tests.headend_lab import PASSWORD, RawClient, login_document, session_of

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
AUTH = f"<auth><username>user001</username><password>{PASSWORD}</password></auth>".encode()


def document(inside: bytes, kind: bytes = b"auth-reply") -> bytes:
    return DECLARATION + b'<config-auth client="vpn" type="%b">%b</config-auth>' % (kind, inside)


BILLION_LAUGHS = b"".join(
    [
        b'<!DOCTYPE config-auth [<!ENTITY a0 "ha">',
        *(b'<!ENTITY a%d "%b">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10)),
        b"]>",
    ]
)

HOSTILE = {
    "doctype": b"<!DOCTYPE config-auth><config-auth/>",
    "billion-laughs": BILLION_LAUGHS + document(b"<auth>&a9;</auth>"),
    "external-entity": b'<!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + document(b"&x;"),
    "external-dtd": b'<!DOCTYPE c SYSTEM "http://192.0.2.1/evil.dtd">' + document(b""),
    "unknown-entity": document(b"<auth>&nbsp;</auth>"),
    "depth": document(b"<a>" * 5_000 + b"</a>" * 5_000),
    "nodes": document(b"<a/>" * 10_000),
    "attributes": document(b"<a " + b" ".join(b'x%d=""' % n for n in range(2_000)) + b"/>"),
    "unclosed": document(b"<auth>"),
    "two-roots": document(AUTH) + document(AUTH),
    "not-utf-8": document(b"<auth><username>\xff\xfe</username></auth>"),
    "overlong-utf-8": document(b"<auth><username>\xc0\xaf</username></auth>"),
    "utf-16": "\ufeff".encode("utf-16-le") + document(AUTH).decode().encode("utf-16-le"),
    "utf-16-without-mark": document(AUTH).decode().encode("utf-16-le"),
    "nul": document(b"<auth>\0</auth>"),
    "nul-reference": document(b"<auth>&#0;</auth>"),
    "namespace-soup": b'<x:config-auth xmlns:y="urn:y" type="init"/>',
    "wrong-root": b'<config-oops type="auth-reply"/>',
    "no-type": b"<config-auth/>",
    "unknown-type": document(AUTH, b"auth-everything"),
    "empty-type": document(AUTH, b""),
    "two-auth": document(AUTH + AUTH),
    "two-opaque": document(b"<opaque/><opaque/>" + AUTH),
    "two-group-select": document(b"<group-select>a</group-select><group-select>b</group-select>"),
    "nothing-but-a-bracket": b"<",
    "comment-unclosed": b"<!--" + b"x" * 1000,
    "cdata-unclosed": document(b"<![CDATA[" + b"x" * 1000),
    "processing-instruction": b"<?php echo 1 ?>",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_document_is_400_with_a_reason(watched: Running, body: bytes) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.request("POST", "/", body)
        assert answer.status == 400 or (not body.startswith(b"<") and b"<session-token>" not in answer.body)
        assert answer.reason or answer.status == 200
        assert PASSWORD not in answer.reason
    assert watched.gateway.headend.db.by_user("user001") == ()


HARMLESS = {
    "byte-order-mark": b"\xef\xbb\xbf" + document(AUTH),
    "blanks": b" \r\n\t" + document(AUTH).removeprefix(DECLARATION),
    "another-encoding-named": document(AUTH).replace(b"UTF-8", b"ISO-8859-1"),
    "cdata": document(AUTH.replace(b"user001", b"<![CDATA[user001]]>")),
    "comments": document(b"<!-- -->" + AUTH + b"<!-- -->"),
    "unknown-elements": document(b"<shiny new='1'><deep/></shiny>" + AUTH),
    "unknown-opaque": document(b"<opaque is-for='sg'><tunnel-group>NOBODY</tunnel-group></opaque>" + AUTH),
    "host-scan-twice": document(AUTH + b"<host-scan-token>x</host-scan-token>" * 100),
    "answer-twice": document(AUTH.replace(b"</auth>", b"<username>root</username></auth>")),
    "single-quotes": document(AUTH).replace(b'"', b"'"),
}


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS)
async def test_what_is_only_unusual_logs_in(watched: Running, body: bytes) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.request("POST", "/", body)
        assert answer.status == 200
        assert b"<session-token>" in answer.body
    assert session_of(watched, "user001").tunnel_group in ("STAFF", "DefaultWEBVPNGroup")


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        b"<auth/>",
        b"<auth><username>user001</username></auth>",
        b"<auth><password>pw</password></auth>",
        b"<auth><username>user001</username><password>wrong</password></auth>",
        b"<auth><username>" + b"u" * 50_000 + b"</username><password>pw</password></auth>",
        "<auth><username>user001</username><password>пароль &amp; 密码</password></auth>".encode(),
        b"<auth><username>user001'; DROP TABLE--</username><password>pw</password></auth>",
        b"<auth><username>../../user001</username><password>pw</password></auth>",
        b"<opaque><aggauth-handle>168179266</aggauth-handle></opaque><auth><password>1</password></auth>",
    ],
)
async def test_a_wrong_answer_gets_the_form_again(watched: Running, inside: bytes) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.request("POST", "/", document(inside))
        assert answer.status == 200
        assert b"Login failed." in answer.body
        assert b"<session-token>" not in answer.body
        assert await raw.log_in("user001")


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Type", "application/json")],
        [("Content-Type", "application/x-www-form-urlencoded"), ("X-Aggregate-Auth", "0")],
        [("Content-Encoding", "gzip")],
        [("Cookie", "webvpncontext=" + "A" * 20_000)],
        [("Cookie", ";;;=;webvpn=;webvpncontext=%s;" * 50)],
        [("Cookie", "webvpncontext=a"), ("Cookie", "webvpncontext=b")],
        [("User-Agent", "A" * 20_000)],
        [("User-Agent", "\xff\xfe")],
        [("X-Transcend-Version", "999999999999")],
    ],
)
async def test_headers_of_a_login_may_say_anything(watched: Running, headers: list[tuple[str, str]]) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.request("POST", "/", login_document("user001"), headers)
        assert b"<session-token>" in answer.body


@pytest.mark.parametrize(
    "body",
    [
        b"username=user001",
        b"username=user001&password=%ff%fe",
        b"\xff\xfe\xfd",
        b"&" * 60_000,
        b"a=1&" * 1_000,
        b"username=user001&password=pw&group_list=NOBODY" + b"&x" * 62,
        b"%",
        b"",
        b"{}",
    ],
)
async def test_a_crooked_web_form_harms_nobody(watched: Running, body: bytes) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.request("POST", "/+webvpn+/index.html", body)
        assert answer.status in (200, 400)
        assert answer.status == 200 or answer.reason
        assert "webvpn=" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"<session-token/>",
        b"<session-token>0123</session-token>",
        b"<session-token>\xc3\xa9</session-token>",
    ],
)
async def test_a_logout_without_the_token_is_refused(watched: Running, wrong: bytes) -> None:
    async with await RawClient.open(watched) as raw:
        await raw.log_in("user001")
        answer = await raw.request("POST", "/", document(wrong, b"logout"))
        assert answer.status == 401
        assert answer.reason
    assert not session_of(watched, "user001").ended


@pytest.mark.statement("S54c")
async def test_a_logout_with_the_token_kills_it(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        farewell = logout(token, version="4.10", device_id="linux-64")
        assert (await raw.request("POST", "/", farewell)).status == 200
        assert (await raw.connect(token)).status == 401
    assert watched.gateway.headend.db.by_user("user001") == ()


async def test_a_hundred_wrong_passwords_leave_nothing_behind(watched: Running) -> None:
    before = len(watched.gateway.headend.db)
    async with await RawClient.open(watched) as raw:
        for _ in range(100):
            answer = await raw.request("POST", "/", login_document("nobody", "guess"))
            assert b"Login failed." in answer.body
    assert len(watched.gateway.headend.db) == before
