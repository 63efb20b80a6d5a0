"""WebLaunch by a real browser: Debian's Chromium logs in, starts the client emulator, and logs out.

Whatever a page complains about fails the test: a script, a style or a frame that its own headers forbid, an
error in the console. Sessions are looked at through the management API, as a person at the console would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyotp
import pytest

from asa_emu.testing import HeadendProcess, running
from tests.portal_lab import CONFIG, TOTP

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(120)]

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def gate() -> Iterator[HeadendProcess]:
    with running(CONFIG) as headend:
        yield headend


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a browser that nobody has used before; at its end nothing may have been complained about."""
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path="/usr/bin/chromium",
            args=FLAGS,
            ignore_https_errors=True,
            accept_downloads=True,
            viewport={"width": 1000, "height": 760},
        )
        tab = context.pages[0]
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        try:
            yield tab
        finally:
            context.close()
    assert complaints == []


def fill_in(page: Page, user: str, password: str, group: str | None = None) -> None:
    if group is not None:
        page.get_by_label("Group").select_option(label=group)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Continue").click()


def kinds(headend: HeadendProcess, user: str) -> list[str]:
    return [t["kind"] for row in headend.sessions() if row["user"] == user for t in row["tunnels"]]


def wait_until(fact: Callable[[], bool], limit: float = 10.0) -> None:
    deadline = time.monotonic() + limit
    while not fact():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.mark.statement("S4a")
@pytest.mark.statement("S5a")
@pytest.mark.statement("S13")
@pytest.mark.statement("S19")
@pytest.mark.statement("S21")
def test_log_in_start_the_client_and_log_out(page: Page, gate: HeadendProcess, tmp_path: Path) -> None:
    page.goto(gate.url)
    assert page.url == f"{gate.url}/+CSCOE+/logon.html"
    assert page.get_by_label("Group").locator("option").all_inner_texts() == ["staff", "pages", "clients"]

    fill_in(page, "user001", "guess", "staff")
    assert page.get_by_role("alert").inner_text() == "Login failed."
    assert page.get_by_label("Username").input_value() == "user001"
    assert gate.sessions() == []

    fill_in(page, "user001", "pw", "staff")
    assert page.get_by_role("heading", name="Welcome, user001").is_visible()
    assert page.url == f"{gate.url}/+CSCOE+/portal.html"
    assert kinds(gate, "user001") == ["clientless"]

    with page.expect_download() as download:
        page.get_by_role("button", name="Start AnyConnect").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "weblaunch.json"

    command = [sys.executable, "-m", "client_emu", "launch", str(file), "--json"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout is not None
        connected = json.loads(client.stdout.readline())
        assert connected["event"] == "connected"
        dtls = json.loads(client.stdout.readline())
        assert (dtls["event"], dtls["up"]) == ("dtls", True)
        assert kinds(gate, "user001") == ["clientless", "ssl", "dtls"]

        page.get_by_role("link", name="Look again").click()
        rows = page.locator("tbody tr").all_inner_texts()
        assert [row.split("\t")[1] for row in rows] == ["SSL-Tunnel", "DTLS-Tunnel"]
        assert connected["ip4"] in rows[0]

        page.get_by_role("button", name="Log out").click()
        assert page.get_by_text("You have logged out.").is_visible()
        *_, ended = map(json.loads, client.stdout)
        assert ended["event"] == "disconnected"
        assert "User Requested" in ended["reason"]
        client.wait(10)
    finally:
        client.kill()
        client.wait()
        if client.stdout is not None:
            client.stdout.close()
    assert gate.sessions() == []

    page.go_back()
    page.goto(f"{gate.url}/+CSCOE+/portal.html")
    assert page.url.startswith(f"{gate.url}/+CSCOE+/logon.html")


def test_a_second_factor_and_a_group_url(page: Page, gate: HeadendProcess) -> None:
    page.goto(f"{gate.url}/pages")
    assert page.get_by_label("Group").count() == 0
    fill_in(page, "walter", "pw")
    page.get_by_label("Code").fill(pyotp.TOTP(TOTP).now())
    page.get_by_role("button", name="Continue").click()
    assert page.get_by_role("heading", name="Welcome, walter").is_visible()
    assert page.get_by_role("button", name="Start AnyConnect").count() == 0
    (row,) = gate.sessions()
    assert (row["user"], row["tunnel_group"]) == ("walter", "PAGES")
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies.keys() == {"webvpn"}
    assert cookies["webvpn"]["httpOnly"]
    assert cookies["webvpn"]["secure"]
    assert cookies["webvpn"]["sameSite"] == "Strict"
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out").click()
    wait_until(lambda: gate.sessions() == [])


def test_an_administrators_log_off_shows_at_the_next_click(page: Page, gate: HeadendProcess) -> None:
    page.goto(gate.url)
    fill_in(page, "user002", "pw", "staff")
    assert gate.logoff(name="user002") == 1
    page.get_by_role("link", name="Look again").click()
    assert page.get_by_text("Your session has ended.").is_visible()
