"""What may follow a `|` after a show command: include, exclude, begin and grep, by regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable

from asa_emu.cli import unverified as u
from asa_emu.config.expression import BadExpression, Expression
from asa_emu.config.syntax import Fault

Pipe = Callable[[str], str]

_KINDS = ("begin", "exclude", "grep", "include")
_SHOW = re.compile(r"\s*sh(ow?)?(\s|$)", re.IGNORECASE)


def split_pipe(line: str) -> tuple[str, Pipe | None]:
    """Take the pipe off a show command; other commands keep their `|`. Raises Fault for a bad pipe."""
    command, bar, rest = line.partition("|")
    if not bar or not _SHOW.match(command):
        return line, None
    return command, _read(rest, len(command) + 1, line)


def _read(rest: str, start: int, line: str) -> Pipe:
    words = re.match(r"(\s*)(\S*)\s*(.*?)\s*$", rest, re.DOTALL)
    assert words is not None  # every part of it may be empty
    word, expression = words[2].lower(), words[3]
    if not word:
        raise Fault("incomplete", "a pipe to nowhere", len(line))
    kind = next((kind for kind in _KINDS if kind.startswith(word)), None)
    if kind is None:
        raise Fault("invalid", f"no such pipe {word!r}", start + len(words[1]))
    if kind == "grep":
        kind = "include"
        if inverted := re.match(r"-v(\s+|$)", expression):
            kind, expression = "exclude", expression[inverted.end() :]
    if not expression:
        raise Fault("incomplete", "a pipe without an expression", len(line))
    try:
        wanted = Expression(expression)
    except BadExpression:
        raise Fault("semantic", u.BAD_EXPRESSION) from None

    def pipe(text: str) -> str:
        try:
            return "".join(_chosen(text.splitlines(keepends=True), kind, wanted))
        except BadExpression:
            raise Fault("semantic", u.BAD_EXPRESSION) from None

    return pipe


def _chosen(lines: list[str], kind: str, wanted: Expression) -> list[str]:
    if kind == "begin":
        first = next((i for i, line in enumerate(lines) if wanted.found_in(line.rstrip("\n"))), len(lines))
        return lines[first:]
    return [line for line in lines if wanted.found_in(line.rstrip("\n")) == (kind == "include")]
