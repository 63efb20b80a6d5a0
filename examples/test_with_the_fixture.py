"""A headend of its own for each test, by the pytest fixture that comes with the package.

pytest examples/test_with_the_fixture.py
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asa_emu.testing import HeadendProcess


def connect(headend: HeadendProcess, user: str, password_file: str) -> subprocess.Popen[str]:
    """Start a client; yours goes here."""
    command = [sys.executable, "-m", "client_emu", "connect", headend.url, "--pin", headend.pin]
    return subprocess.Popen(
        [*command, "--user", user, "--password-file", password_file, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.asa(users={"ann": "two words"})
def test_a_session_ends_after_half_an_hour_without_use(asa_headend: HeadendProcess, tmp_path: Path) -> None:
    """The client of a session that was not used for half an hour is told, and goes."""
    password = tmp_path / "password"
    password.write_text("two words\n")
    with connect(asa_headend, "ann", str(password)) as client:
        assert client.stdout is not None
        events = map(json.loads, client.stdout)
        assert next(events)["event"] == "connected"
        (session,) = asa_headend.sessions()
        assert (session["user"], session["state"]) == ("ann", "active")

        asa_headend.advance("31m")
        last = list(events)[-1]

    assert (last["event"], last["reason"]) == ("disconnected", "Idle Timeout")
    assert asa_headend.sessions() == []
