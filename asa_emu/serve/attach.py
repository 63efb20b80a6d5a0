"""`asa-emu console`: a person's or a script's line to a headend that runs elsewhere, over its management API.

Which headend: the one of `--manage` and `--token`, or of a ready file; else the newest in the state directory
whose process lives. With a line it is executed once, confirmations answered yes, and the exit code tells
whether the answer was an error. Without one, lines are read until the session ends; `WORDS ?` gives help.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ANSWER_LIMIT: Final = 30.0  # seconds


class Unreachable(Exception):
    """There is no such headend, or it does not answer; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A headend's management API."""

    manage: str
    """HOST:PORT."""
    token: str = field(repr=False)

    def line(self, text: str, **options: Any) -> dict[str, Any]:
        """Execute one line there; raises `Unreachable`."""
        request = urllib.request.Request(
            f"http://{self.manage}/v1/cli",
            data=json.dumps({"line": text, **options}).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_LIMIT) as answer:
                reply: dict[str, Any] = json.loads(answer.read())
                return reply
        except urllib.error.HTTPError as error:
            with error:
                raise Unreachable(f"{self.manage}: {error.code} {error.read().decode()}") from None
        except OSError as error:
            raise Unreachable(f"{self.manage}: {error}") from None


def from_ready_file(path: Path) -> Target:
    """The headend that wrote this ready file; raises `Unreachable`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Target(record["manage"], record["manage_token"])
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}; is the headend running?") from None
    except (ValueError, KeyError, TypeError):
        raise Unreachable(f"{path} is no ready file") from None


def newest(state: Path) -> Target:
    """The headend that was started last with this state directory; raises `Unreachable`."""
    files = [path for path in state.glob("running-*.json") if _lives(path)]
    if not files:
        raise Unreachable(f"no headend runs with the state directory {state}; name one with --ready-file")
    return from_ready_file(max(files, key=lambda path: path.stat().st_mtime))


def _lives(path: Path) -> bool:
    """Whether the process of a ready file's name is there; one that was killed leaves its file behind."""
    try:
        os.kill(int(path.name.split("-")[1]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def once(target: Target, line: str, show: Callable[[str], None]) -> int:
    """Execute one line; 1 when the answer is an error."""
    text = str(target.line(line)["text"])
    show(text)
    return int(any(row.startswith("ERROR:") for row in text.splitlines()))


def converse(target: Target, show: Callable[[str], None], read: Callable[[str], str] = input) -> int:
    """Read lines and show answers until the session is closed, or the input ends."""
    options = {"session": f"console-{secrets.token_hex(8)}", "interactive": True}
    reply = target.line("", **options)
    while not reply["closed"]:
        try:
            hide = reply["hidden"] and sys.stdin.isatty()
            line = (getpass.getpass if hide else read)(reply["prompt"])
        except EOFError:
            show("\n")
            return 0
        reply = target.line(line, **options)
        show(reply["text"])
    return 0
