"""The command line: usage errors, exit codes, and that nothing is ever asked without a terminal."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_emu.app import Flags, main

PIN = "pin-sha256:" + "A" * 43 + "="


@pytest.fixture
def closed_port() -> Iterator[str]:
    """A loopback address with nobody behind it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "URL"),
        (["x", "--no-such-flag"], "--no-such-flag"),
        (["x", "--profile", "/no/such.xml"], "/no/such.xml"),
        (["x", "--script", "/no/such.toml"], "/no/such.toml"),
        (["x", "--preference", "Colour=red"], "no preference 'Colour'"),
        (["x", "--quirk", "CSCxx00000"], "--quirk is one of"),
        (["x", "--interface", "a b"], "an interface is"),
        (["x", "--platform", "amiga"], "--platform"),
        (["x", "--tun", "a", "--script-tun", "b"], "give one"),
        (["x", "--tun", "sixteen-letters-"], "--tun is a name"),
        (["x", "--tun", "a/b"], "--tun is a name"),
        (["x", "--client-version", "new"], "--client-version"),
        (["x", "--client-version", "4.10\r\nX: y"], "--client-version"),
        (["http://x"], "https alone"),
        (["x", "--pin", "sha1"], "a pin is"),
        (["x", "--pin", PIN, "--ca", "ca.pem"], "give one"),
        (["x", "--cookie", "a=b; c=d"], "a cookie is"),
        (["x", "--mtu", "100"], "--mtu is from 576"),
        (["x", "--mtu", "many"], "--mtu"),
        (["x", "--dpd", "-1"], "--dpd"),
        (["x", "--compression", "zip"], "no compression 'zip'"),
        (["x", "--key", "k.pem"], "--key needs --cert"),
        (["x", "--cert", "/no/such.pem"], "certificate"),
        (["x", "--ca", "/no/such.pem"], "/no/such.pem"),
        (["x", "--password-file", "/no/such/file"], "--password-file"),
    ],
)
def test_usage_errors_exit_with_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["connect", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert complaint in captured.err


def test_password_file_has_to_be_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    password = tmp_path / "password"
    password.write_bytes(b"\xff\xfe\n")
    assert main(["connect", "x", "--password-file", str(password)]) == 2
    assert "--password-file" in capsys.readouterr().err


def test_unreachable_headend_fails_with_1(closed_port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", closed_port, "--user", "walter", "--json", "--pin", PIN]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert event["event"] == "failed"
    assert "connecting" in event["reason"]
    assert main(["connect", closed_port, "--user", "walter", "--pin", PIN]) == 1
    printed = capsys.readouterr().out
    assert "  >> error: Connection attempt has failed. (connecting" in printed
    assert printed.endswith("  >> state: Disconnected\n  >> notice: Ready to connect.\n")


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", "--help"]) == 0
    assert "--second-password" in capsys.readouterr().out


def test_no_flag_shows_a_secret_by_itself() -> None:
    flags = Flags(user="walter", second_password="a-secret", cookie="a-secret")
    assert "walter" in repr(flags)
    assert "a-secret" not in repr(flags)
