"""openconnect before a host scan: with a helper it reports, waits and logs in; without one it gives up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.lab import GATEWAY, PASSWORD, Lab, config, profile, serving
from tests.peers.openconnect import Openconnect

pytestmark = pytest.mark.peer("openconnect")

SCANNED = config(
    profile("scanned"), profile("trusted", attributes=["without-csd"]), webvpn=["hostscan enable"]
)

# What openconnect's own helper scripts do, less what they look at: they are for port 443 alone.
HELPER = """\
#!{python}
import ssl, sys, urllib.request
arguments = dict(zip(sys.argv[2::2], sys.argv[3::2]))
ticket = arguments["-ticket"].strip('"')
context = ssl._create_unverified_context()
base = "{url}/+CSCOE+/sdesktop"
with urllib.request.urlopen(f"{{base}}/token.xml?ticket={{ticket}}&stub=0", context=context) as answer:
    token = answer.read().decode().partition("<token>")[2].partition("</token>")[0]
report = urllib.request.Request(f"{{base}}/scan.xml?reusebrowser=1", data=b'endpoint.os.version="Linux";')
report.add_header("Cookie", f"sdesktop={{token}}")
report.add_header("Content-Type", "text/xml")
urllib.request.urlopen(report, context=context).close()
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with serving(SCANNED) as made:
        yield made


@pytest.fixture
def helper(lab: Lab, tmp_path: Path) -> str:
    file = tmp_path / "report"
    file.write_text(HELPER.format(python=sys.executable, url=lab.headend.url))
    file.chmod(0o700)
    return f"--csd-wrapper={file}"


@pytest.mark.statement("S138")
def test_a_helper_reports_and_the_login_goes_on(lab: Lab, user: str, helper: str) -> None:
    with lab.client(user, helper, at="scanned") as client:
        client.wait_connected()
        client.ping(GATEWAY)
        transcript = client.transcript()
        assert "sdesktop/wait.html" in transcript
        assert lab.session(user)["tunnel_group"] == "scanned"
        assert client.log_off() == 0


def test_without_a_helper_it_gives_up(lab: Lab, user: str) -> None:
    url = f"{lab.headend.url}/scanned"
    with Openconnect(url, pin=lab.headend.pin, user=user, passwords=[PASSWORD], tunnel="none") as client:
        assert client.wait() != 0
        assert "CSD" in client.transcript()
    assert lab.sessions(user) == []


def test_a_profile_without_csd_asks_for_nothing(lab: Lab, user: str) -> None:
    with lab.client(user, at="trusted") as client:
        client.wait_connected()
        assert "sdesktop" not in client.transcript()
