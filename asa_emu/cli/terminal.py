"""A console at the end of a line of keys: bytes typed in, bytes to show out.

What telnet and a pseudo-terminal have in common: echo (never of secrets), backspace, Ctrl-C, Ctrl-U, `?` and
Tab while typing, and pages that stop at `<--- More --->` until a key says how to go on. Keys that come while
a page waits are taken as its answers, as on the real thing. So is the key that a `[confirm]` waits for; an
Enter that comes right after it belongs to it.
"""

from __future__ import annotations

from typing import Final

from asa_emu.cli.shell import CliSession

GREETING: Final = "Type help or '?' for a list of available commands.\n"
MORE: Final = "<--- More --->"
MAX_LINE: Final = 4096  # characters; what is typed beyond is dropped

_ERASE_MORE = f"\r{' ' * len(MORE)}\r"
_RUBOUT = "\b \b"
_ENTER, _INTERRUPT, _KILL, _TAB, _ESCAPE = "\r", "\x03", "\x15", "\t", "\x1b"
_BACKSPACES = ("\b", "\x7f")
_ANSWERS = ("y", "Y", "n", "N")


class Terminal:
    """One person's screen and keyboard; `closed` says that the session is over."""

    def __init__(self, session: CliSession) -> None:
        self._session = session
        self._line = ""
        self._waiting: list[str] = []
        """Lines of output that have not been shown yet."""
        self._after_return = False
        self._confirmed = False
        """The last key was the answer to a `[confirm]`."""
        self._escape = 0
        self.closed = False

    def greeting(self) -> bytes:
        """What is shown first."""
        return _to_wire(GREETING + self._session.prompt)

    def receive(self, data: bytes) -> bytes:
        """Take what was typed; return what to show."""
        shown: list[str] = []
        for key in data.decode("utf-8", "replace"):
            if self.closed:
                break
            shown.append(self._key(key))
        return _to_wire("".join(shown))

    def _key(self, key: str) -> str:
        if self._after_return and key in "\n\0":
            self._after_return = False
            return ""
        self._after_return = key == "\r"
        if key == "\n":
            key = _ENTER
        confirmed, self._confirmed = self._confirmed, False
        if confirmed and key == _ENTER:
            return ""
        if self._escape or key == _ESCAPE:
            return self._escaped(key)
        if self._waiting:
            return self._page_key(key)
        if key == _ENTER:
            return self._enter()
        if self._session.confirming and key in _ANSWERS:
            self._line, self._confirmed = key, True
            return self._enter()
        if key == _INTERRUPT:
            self._line = ""
            self._session.interrupt()
            return "^C\n" + self._session.prompt
        if key in _BACKSPACES:
            rubbed, self._line = self._line[-1:], self._line[:-1]
            return _RUBOUT if rubbed and not self._session.hidden else ""
        if key == _KILL:
            rubbed, self._line = self._line, ""
            return "" if self._session.hidden else _RUBOUT * len(rubbed)
        return self._typed(key)

    def _escaped(self, key: str) -> str:
        """Skip the cursor keys: ESC, perhaps a bracket, and a final letter."""
        if key == _ESCAPE:
            self._escape = 1
        elif self._escape == 1 and key in "[O":
            self._escape = 2
        elif self._escape == 1 or "@" <= key <= "~":
            self._escape = 0
        return ""

    def _typed(self, key: str) -> str:
        asked = self._session.question is not None
        if key == "?" and not asked:
            return "?\n" + self._session.help(self._line) + self._session.prompt + self._line
        if key == _TAB and not asked:
            key = self._session.complete(self._line)
        elif not key.isprintable():
            return ""
        if len(self._line) + len(key) > MAX_LINE:
            return "\a"
        self._line += key
        return "" if self._session.hidden else key

    def _enter(self) -> str:
        line, self._line = self._line, ""
        reply = self._session.execute(line)
        if reply.closed:
            self.closed = True
            return "\n" + reply.text
        self._waiting = reply.text.splitlines(keepends=True)
        return "\n" + self._page(self._session.pager)

    def _page(self, lines: int) -> str:
        """Show as many lines; what is left waits for a key."""
        if not lines or len(self._waiting) <= lines:
            text, self._waiting = "".join(self._waiting), []
            return text + self._session.prompt
        text, self._waiting = "".join(self._waiting[:lines]), self._waiting[lines:]
        return text + MORE

    def _page_key(self, key: str) -> str:
        if key == " ":
            return _ERASE_MORE + self._page(self._session.pager)
        if key == _ENTER:
            return _ERASE_MORE + self._page(1)
        if key in ("q", "Q", _INTERRUPT):
            self._waiting = []
            return _ERASE_MORE + self._session.prompt
        return ""


def _to_wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8", "replace")
