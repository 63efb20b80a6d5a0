"""The launch file of a portal, and the client's answer to a host scan: whatever the headend says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asa_emu.wire.auth_xml import AuthForm, FormField, HostScan, auth_complete, auth_request
from client_emu.app import main
from client_emu.gateway import Gateway, parse_gateway
from client_emu.launch import MAX_FILE, Launch, parse_launch_untrusted
from client_emu.login import (
    MAX_HOST_SCANS,
    MAX_ROUNDS,
    REPORT,
    REPORT_PATH,
    LoggedIn,
    Login,
    LoginRefused,
)
from client_emu.options import ClientOptions
from client_emu.request import Request, Response

PIN = "pin-sha256:" + "A" * 43 + "="
GOOD: dict[str, Any] = {"url": "https://192.0.2.1:8443/", "token": "beef", "pin": PIN}


def test_a_launch_file_names_server_session_and_key() -> None:
    launch = parse_launch_untrusted(json.dumps({**GOOD, "more": 1}).encode())
    assert launch == Launch(Gateway("192.0.2.1", 8443), "beef", PIN)
    assert "beef" not in repr(launch)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'"url"',
        b"[" * 100_000,
        b"{}",
        json.dumps({**GOOD, "url": 1}).encode(),
        json.dumps({**GOOD, "url": "http://192.0.2.1/"}).encode(),
        json.dumps({**GOOD, "url": "https://evil host/"}).encode(),
        json.dumps({**GOOD, "token": ""}).encode(),
        json.dumps({**GOOD, "token": "a; b"}).encode(),
        json.dumps({**GOOD, "token": "a\r\nX: y"}).encode(),
        json.dumps({**GOOD, "token": None}).encode(),
        json.dumps({**GOOD, "pin": "sha256:x"}).encode(),
        json.dumps({**GOOD, "pad": "x" * MAX_FILE}).encode(),
    ],
)
def test_anything_else_is_a_usage_error(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_launch_untrusted(data)
    file = tmp_path / "weblaunch.json"
    file.write_bytes(data)
    assert main(["launch", str(file), "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"client-emu: {file}: ")


def test_a_launch_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


# host scan

FORM = AuthForm(fields=(FormField("username", "Username:"), FormField("password", "Password:", "password")))
SCAN = HostScan("ticket", "t0ken", "/CACHE/sdesktop/data.xml", "/+CSCOE+/sdesktop/wait.html")


def login() -> Login:
    return Login(ClientOptions(parse_gateway("192.0.2.1"), user="walter", password="secret"))


def ok(body: bytes) -> Response:
    return Response(200, "OK", (), body)


def request_of(step: object) -> Request:
    assert isinstance(step, Request), step
    return step


def test_a_host_scan_is_answered_with_the_same_report_from_everybody() -> None:
    conversation = login()
    first = request_of(conversation.begin())
    report = request_of(conversation.on_response(ok(auth_request(FORM, host_scan=SCAN))))
    assert (report.method, report.path, report.body) == ("POST", REPORT_PATH, REPORT)
    assert ("Cookie", "sdesktop=t0ken") in report.headers
    waiting = request_of(conversation.on_response(ok(b"<hostscan/>")))
    assert (waiting.method, waiting.path, waiting.delay) == ("GET", "/+CSCOE+/sdesktop/wait.html", 0)
    again = request_of(conversation.on_response(ok(b'<meta http-equiv="refresh" content="1">')))
    assert (again.path, again.delay) == (waiting.path, 1)
    init = request_of(conversation.on_response(ok(b"<html>done</html>")))
    assert (init.path, init.body) == (first.path, first.body)
    assert ("Cookie", "sdesktop=t0ken") in init.headers
    conversation.on_response(ok(auth_request(FORM)))
    assert isinstance(conversation.on_response(ok(auth_complete("tok"))), LoggedIn)


def test_a_headend_that_never_has_enough_is_left() -> None:
    conversation = login()
    conversation.begin()
    for _ in range(MAX_HOST_SCANS):
        request_of(conversation.on_response(ok(auth_request(FORM, host_scan=SCAN))))
        conversation.on_response(ok(b""))
        conversation.on_response(ok(b""))
    step = conversation.on_response(ok(auth_request(FORM, host_scan=SCAN)))
    assert step == LoginRefused("the headend keeps asking for a host scan")


def test_waiting_for_ever_ends() -> None:
    conversation = login()
    conversation.begin()
    step: object = conversation.on_response(ok(auth_request(FORM, host_scan=SCAN)))
    for _ in range(MAX_ROUNDS):
        if isinstance(step, LoginRefused):
            break
        step = conversation.on_response(ok(b'http-equiv="refresh"'))
    assert isinstance(step, LoginRefused)
    assert "rounds" in step.reason


@pytest.mark.parametrize("status", [302, 401, 404, 500])
def test_a_report_that_is_not_taken_ends_the_login(status: int) -> None:
    conversation = login()
    conversation.begin()
    conversation.on_response(ok(auth_request(FORM, host_scan=SCAN)))
    step = conversation.on_response(Response(status, "", (("Location", "/"),)))
    assert step == LoginRefused(f"the headend answered {status} to a host scan")


@pytest.mark.parametrize("wait", ["https://elsewhere/x", "//elsewhere/x", "wait", "\x00"])
def test_the_report_stays_on_the_headend(wait: str) -> None:
    conversation = login()
    conversation.begin()
    scan = HostScan("ticket", "t0ken", "/b", wait)
    report = request_of(conversation.on_response(ok(auth_request(FORM, host_scan=scan))))
    waiting = request_of(conversation.on_response(ok(b"")))
    assert report.gateway == waiting.gateway == Gateway("192.0.2.1")


def test_a_token_that_is_no_cookie_is_refused() -> None:
    conversation = login()
    conversation.begin()
    scan = HostScan("ticket", "a; b", "/b", "/w")
    step = conversation.on_response(ok(auth_request(FORM, host_scan=scan)))
    assert step == LoginRefused("the headend wants a host scan, but gave no usable token")
