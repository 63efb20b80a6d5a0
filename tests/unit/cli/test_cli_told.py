"""What an ASA logs about whoever sits at its console: who logged in, and what was executed."""

from __future__ import annotations

import pytest

from asa_emu.cli.shell import CliSession
from asa_emu.session.model import Peer
from tests.cli_lab import CONFIG, Desk

LOGGED = "logging enable\nlogging buffered debugging\n"
SECRET = "open5esame"


def logged(desk: Desk) -> list[str]:
    """The messages so far, without what all of them begin with."""
    return [line.partition("%ASA-")[2] for line in desk.headend.syslog.buffer.lines]


def desk(config: str = "") -> Desk:
    return Desk(LOGGED + CONFIG + config)


def test_a_look_at_something_is_told_for_debugging_and_a_command_as_a_notification() -> None:
    at = desk()
    at.type("sh clock", "terminal pager 0")
    assert logged(at) == [
        "7-111009: User 'enable_15' executed cmd: show clock",
        "5-111008: User 'enable_15' executed the 'terminal pager 0' command.",
    ]


def test_a_change_of_the_configuration_is_told_twice() -> None:
    at = desk()
    at.type("conf t", "webv", "anyconnect ena", "end")
    assert logged(at)[1:] == [
        "5-111008: User 'enable_15' executed the 'webvpn' command.",
        "5-111010: User 'enable_15', running 'CLI' from IP 0.0.0.0, executed 'webvpn'",
        "5-111008: User 'enable_15' executed the 'anyconnect enable' command.",
        "5-111010: User 'enable_15', running 'CLI' from IP 0.0.0.0, executed 'anyconnect enable'",
    ]


def test_what_was_refused_was_not_executed() -> None:
    at = desk()
    at.type("configure terminal")
    before = logged(at)
    at.type("hostname", "frobnicate", "no group-policy NONESUCH internal", "", "show frob")
    assert logged(at) == before


@pytest.mark.parametrize(
    "line",
    [
        f"username jesse password {SECRET}",
        f"username jesse password {SECRET} privilege 15",
        f"no username jean password {SECRET}",
        f"enable password {SECRET}",
        f"enable password {SECRET} level 5",
        f"no enable password {SECRET}",
        f"failover key {SECRET}",
        f"failover key {SECRET} and more",
        f"no failover key {SECRET}",
        "!emu username walter totp GEZDGNBVGY3TQOJQ",
        "no !emu username jim totp GEZDGNBVGY3TQOJQ",
        f"group-policy elsewhere external server-group AD password {SECRET}",
        f"!emu users user 000-099 password {SECRET}",
        f"no !emu users user 000-099 password {SECRET}",
    ],
)
def test_no_secret_is_told(line: str) -> None:
    at = desk(
        f"enable password {SECRET}\nusername jim password {SECRET}\nusername jean password {SECRET}\n"
        f"!emu username jim totp GEZDGNBVGY3TQOJQ\n!emu users user 000-099 password {SECRET}\n"
    )
    assert at.type("configure terminal", line) == ""
    told = "\n".join(logged(at))
    assert "111010" in told
    for secret in (SECRET, "and more", "GEZD", "pbkdf2 $", "$sha512$"):
        assert secret not in told


def telnet(at: Desk) -> CliSession:
    session = CliSession(at.headend, now=lambda: 0.0, login=True)
    session.ends = Peer("192.0.2.7", 50_123), Peer("192.0.2.1", 23)
    return session


def test_a_login_over_telnet_is_told() -> None:
    at = desk(f"username admin password {SECRET} privilege 15\n")
    session = telnet(at)
    for line in ("admin", SECRET, "configure terminal", "hostname lab", "end", "exit"):
        session.execute(line)
    assert logged(at) == [
        "5-502103: User priv level changed: Uname: admin From: 1 To: 15",
        "6-611101: User authentication succeeded: IP address: 192.0.2.7, Uname: admin",
        '6-605005: Login permitted from 192.0.2.7/50123 to management:192.0.2.1/telnet for user "admin"',
        "5-111008: User 'admin' executed the 'configure terminal' command.",
        "5-111008: User 'admin' executed the 'hostname lab' command.",
        "5-111010: User 'admin', running 'CLI' from IP 192.0.2.7, executed 'hostname lab'",
        "5-611103: User logged out: Uname: admin",
    ]


@pytest.mark.parametrize(("config", "name"), [("", "*****"), ("no logging hide username\n", "mallory")])
def test_a_failed_login_hides_the_name_unless_told_otherwise(config: str, name: str) -> None:
    at = desk(config)
    session = telnet(at)
    session.execute("mallory")
    session.execute(SECRET)
    assert logged(at) == [
        f"6-611102: User authentication failed: IP address: 192.0.2.7, Uname: {name}",
        f'6-605004: Login denied from 192.0.2.7/50123 to management:192.0.2.1/telnet for user "{name}"',
    ]
