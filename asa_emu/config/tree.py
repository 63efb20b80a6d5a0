"""The text of a configuration as lines and what is indented under them.

An ASA nests by leading blanks. Comments go (`!`, `:`), except `!emu` directives, which stay in the block they
are written in. A text without any indentation is what somebody types, not what an ASA prints: `flat` says
so, and such lines have to be read by mode. A bare `!` is kept there as the end of a block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_DEPTH = 16
"""Lines in each other; what is indented further stands beside. An ASA has three."""

_BLANK = " \t"
_SEPARATOR = "!"


@dataclass(slots=True)
class Line:
    """One line: its number from 1, its text without indentation, and the lines under it."""

    number: int
    text: str
    children: list[Line] = field(default_factory=list)

    def count(self) -> int:
        """Return how many lines stand under this one."""
        return sum(1 + child.count() for child in self.children)


def read_tree(text: str) -> tuple[list[Line], bool]:
    """Return the top-level lines, and whether the text is flat."""
    flat = not re.search(r"^[ \t]+([^ \t\r\n!:]|!emu(?![^ \t\r\n]))", text, re.MULTILINE)
    top: list[Line] = []
    open_lines: list[tuple[int, Line]] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        content = raw.removesuffix("\r").expandtabs(1).rstrip(_BLANK)
        stripped = content.lstrip(_BLANK)
        if not stripped or _is_comment(stripped):
            if flat and stripped == _SEPARATOR:
                top.append(Line(number, _SEPARATOR))
            continue
        indent = len(content) - len(stripped)
        while open_lines and open_lines[-1][0] >= indent:
            open_lines.pop()
        if len(open_lines) == MAX_DEPTH:
            open_lines.pop()
        line = Line(number, stripped)
        (open_lines[-1][1].children if open_lines else top).append(line)
        open_lines.append((indent, line))
    return top, flat


def is_directive(text: str) -> bool:
    """Tell an `!emu` line from a comment."""
    return text == "!emu" or text.startswith("!emu ")


def _is_comment(text: str) -> bool:
    if text.startswith("!"):
        return not is_directive(text)
    return text.startswith((":", "Cryptochecksum:"))
