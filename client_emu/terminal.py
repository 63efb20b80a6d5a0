"""Where a person, or a script, is: lines out, answers in, and a login's questions as vpncli puts them."""

from __future__ import annotations

import getpass
import os
from typing import Final, Protocol

import trio

from client_emu.dial import Asker
from client_emu.login import Ask

MAX_LINE: Final = 64 * 1024  # bytes of one line of input


class Terminal(Protocol):
    """What questions and answers need."""

    def write(self, text: str) -> None:
        """Print a line."""

    async def read(self, prompt: str, *, secret: bool = False) -> str | None:
        """One line without its end; None at the end of all input."""


class Stdio:
    """The terminal that the process has, or the pipe in its place."""

    def __init__(self) -> None:
        self._unread = b""

    def write(self, text: str) -> None:
        """Print a line."""
        print_line(text)

    async def read(self, prompt: str, *, secret: bool = False) -> str | None:
        """One line, a secret one without echo; None at the end of all input."""
        if secret and os.isatty(0):
            return await trio.to_thread.run_sync(getpass.getpass, prompt, abandon_on_cancel=True)
        print_line(prompt, end="")
        line = await self.line()
        return None if line is None else line.decode("utf-8", "replace")

    async def line(self) -> bytes | None:
        """The next line without its end, None after the last one; a long line comes in pieces."""
        while b"\n" not in self._unread and len(self._unread) <= MAX_LINE:
            # a thread, for stdin may be a file, which no event loop can wait for; and not through sys.stdin,
            # whose lock such a thread would hold for ever
            try:
                data = await trio.to_thread.run_sync(os.read, 0, 4096, abandon_on_cancel=True)
            except OSError:
                return None  # stdin is closed
            if not data:
                break
            self._unread += data
        line, end, self._unread = self._unread.partition(b"\n")
        return line if line or end else None


def print_line(line: str, end: str = "\n") -> None:
    """Print on stdout, now."""
    try:
        print(line, end=end, flush=True)  # noqa: T201 - the product's output
    except BrokenPipeError:
        pass  # nobody reads any more; the connection goes on until it is told to end


def asker(terminal: Terminal) -> Asker:
    """Put a login's questions to whoever is at the terminal."""
    said = ""

    async def ask(question: Ask) -> str | None:
        nonlocal said
        message = "".join(c if c.isprintable() or c == "\n" else "." for c in question.message)
        if message and message != said:
            said = message
            terminal.write(f"  >> {said}" if "\n" not in said else f"\n{said}\n")
        for number, choice in enumerate(question.choices):
            terminal.write(f"    {number}) {choice}")
        prompt = question.prompt if question.prompt.endswith(":") else f"{question.prompt}:"
        if question.default and not prompt.endswith("[y/n]:"):
            prompt += f" [{question.default}]"
        answer = await terminal.read(f"{prompt} ", secret=question.secret)
        if answer is not None and answer.isdecimal() and int(answer[:4]) < len(question.choices):
            return question.choices[int(answer)]
        return answer

    return ask
