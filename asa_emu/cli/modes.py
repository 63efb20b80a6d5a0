"""Commands about the console session itself: its mode and privileges, its pages, and saving what it did."""

from __future__ import annotations

import hashlib
from hmac import compare_digest

from asa_emu.aaa.local import check_password
from asa_emu.aaa.passwords import verify
from asa_emu.cli import unverified as u
from asa_emu.cli.console import FULL_PRIVILEGE, Console, NotSaved, Question
from asa_emu.config import StoredPassword
from asa_emu.config.syntax import Fault, Said

MAX_TRIES = 3
PASSWORD = "Password: "
USERNAME = "Username: "
LOGOFF = "\nLogoff\n"


def enable(console: Console, said: Said) -> str:
    """Ask for the enable password; three wrong ones are the end of it."""
    level = said.number("LEVEL")
    _ask_enable(console, FULL_PRIVILEGE if level is None else int(level), MAX_TRIES)
    return ""


def _ask_enable(console: Console, level: int, tries: int) -> None:
    def answer(line: str) -> str:
        if _enable_password_is(console.headend.config.enable_password, line):
            console.become(console.username, level)
            return ""
        if tries == 1:
            return u.INVALID_PASSWORD + u.ACCESS_DENIED
        _ask_enable(console, level, tries - 1)
        return u.INVALID_PASSWORD

    console.question = Question(PASSWORD, answer, hidden=True)


def _enable_password_is(stored: StoredPassword | None, typed: str) -> bool:
    """A headend without an enable password takes an empty one, as an ASA does out of the box."""
    if stored is None:
        return not typed
    if stored.scheme == "plain":
        return compare_digest(stored.text.encode(), typed.encode("utf-8", "surrogatepass"))
    return verify(stored.text, "", typed)


def disable(console: Console, _said: Said) -> str:
    """Back to user mode."""
    console.become(console.username, 1)
    return ""


def login(console: Console, _said: Said) -> str:
    """Log in as a local user, with that user's privileges."""
    ask_login(console, required=False)
    return ""


def ask_login(console: Console, *, required: bool, tries: int = MAX_TRIES) -> None:
    """Ask for a name and a password; without them a `required` login ends the session."""

    def name(line: str) -> str:
        username = line.strip()
        console.question = Question(PASSWORD, lambda typed: password(username, typed), hidden=True)
        return ""

    def password(username: str, typed: str) -> str:
        user = console.headend.config.user(username)
        stored = user.password if user is not None else None
        right = check_password(username, None if stored is None else stored.text, typed)
        if user is not None and right:
            console.become(username, user.privilege)
            console.tell(611101, *(() if console.ends is None else (605005,)))
            return ""
        console.tell(611102, *(() if console.ends is None else (605004,)), user=username)
        if tries == 1:
            console.closed = required
            return u.INVALID_LOGIN + u.ACCESS_DENIED
        ask_login(console, required=required, tries=tries - 1)
        return u.INVALID_LOGIN

    console.question = Question(USERNAME, name)


def leave(console: Console, _said: Said) -> str:
    """The end of the session."""
    console.closed = True
    if console.username:
        console.tell(611103)
    return LOGOFF


def show_help(_console: Console, _said: Said) -> str:
    """`help`."""
    return u.HELP


def configure_terminal(console: Console, _said: Said) -> str:
    """Into configuration mode."""
    console.editor = console.headend.config.editor()
    return u.STANDBY_CONFIGURES if console.stands_by else ""


def pager(console: Console, said: Said) -> str:
    """`terminal pager [lines] N` for the session; 0 is no paging."""
    console.pager = int(said.number("LINES") or 0)
    return ""


def no_pager(console: Console, _said: Said) -> str:
    """`no terminal pager`."""
    console.pager = 0
    return ""


def width(console: Console, said: Said) -> str:
    """`terminal width N`: 0, or 40 to 511 columns."""
    columns = int(said.number("COLUMNS") or 0)
    if 0 < columns < 40:
        raise Fault("invalid", "too narrow", said.position)
    console.width = columns
    return ""


def write_memory(console: Console, _said: Said) -> str:
    """Store the running configuration where it was loaded from."""
    text = console.headend.config.startup()
    try:
        console.services.save(text)
    except NotSaved as error:
        raise Fault("semantic", f"% {error}") from None
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    checksum = " ".join(digest[at : at + 8] for at in range(0, 32, 8))
    return u.SAVED.format(checksum=checksum, size=len(text.encode()))


def copy(console: Console, said: Said) -> str:
    """`copy running-config startup-config`: asks for the source, unless told not to."""

    def act() -> str:
        return write_memory(console, said)

    if "/noconfirm" in said.words:
        return act()
    console.question = Question(u.COPY_SOURCE, lambda _line: act(), confirms=True)
    return ""
