"""An administrator's regular expressions, matched in time that grows with the text alone.

They follow a pipe and choose client images. Python's `re` backtracks: `include (a+)+$` over a long banner
would hold the whole headend up for years. Here an expression becomes the set of its positions and, for each,
of those that may come next, as bits of an integer; matching walks along with one such set, and each step that
was taken once is looked up the next time.

It knows what an ASA's expressions know, `. [] [^] ^ $ \\ () | ? * +` and counts such as `{3}`, `{3,}` and
`{3,5}`, and `\\d \\s \\w \\t` beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_LENGTH: Final = 256  # characters
MAX_POSITIONS: Final = 512  # characters once every {n} is written out
MAX_COUNT: Final = 255  # in braces
MAX_DEPTH: Final = 32  # parentheses in each other
MAX_STEPS: Final = 20_000  # different steps that one expression may take, a fraction of a second in all

_PLAIN = re.compile(r"[^\\.^$*+?{}()\[\]]+")
_COUNT = re.compile(r"\{(\d{1,3})(,(\d{1,3})?)?\}")
_BEGIN, _END = "\ud800", "\ud801"  # what ^ and $ match; no line holds them
_CLASSES: Final[dict[str, Callable[[str], bool]]] = {
    "d": lambda char: char in "0123456789",
    "s": str.isspace,
    "w": lambda char: char.isalnum() or char == "_",
}

Contains: TypeAlias = Callable[[str], bool]


class BadExpression(ValueError):
    """No expression, or one that asks for too much."""


@dataclass(frozen=True, slots=True)
class _Series:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Either:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    low: int
    high: int | None


_Node: TypeAlias = "Contains | _Series | _Either | _Repeat"
_Ends: TypeAlias = tuple[bool, int, int]
"""Whether a part matches nothing too, where it may begin, and where it may end."""


class _State(dict[str, "_State"]):
    """Where matching stands: the positions that may take the next character, and the steps known so far."""

    __slots__ = ("ready",)

    def __init__(self, ready: int) -> None:
        super().__init__()
        self.ready = ready


_FOUND = _State(0)


class Expression:
    """An expression, ready to be looked for in lines."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise BadExpression("too long")
        self._plain: re.Pattern[str] | None = None
        if _PLAIN.fullmatch(text) and "" not in (words := text.split("|")):
            self._plain = re.compile("|".join(re.escape(word) for word in words))
        self._sets: list[Contains] = []
        self._follow: list[int] = []
        self._emitted = 0
        self._anything, self._first, self._last = self._emit(_Parser(text).parse())
        self._masks: dict[str, int] = {}
        self._states: dict[int, _State] = {}
        self._steps = 0
        self._start = self._step(self._state(self._first), _BEGIN)

    def found_in(self, line: str) -> bool:
        """Whether a part of the line matches. BadExpression when that cannot be told in reasonable time."""
        if self._plain is not None:
            return self._plain.search(line) is not None
        state = self._start
        if self._anything or state is _FOUND:
            return True
        for char in line:
            after = state.get(char)
            state = self._step(state, char) if after is None else after
            if state is _FOUND:
                return True
        after = state.get(_END)
        return (self._step(state, _END) if after is None else after) is _FOUND

    def _step(self, state: _State, char: str) -> _State:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise BadExpression("too complex")
        taken = state.ready & self._mask(char)
        if taken & self._last:
            after = _FOUND
        else:
            ready = self._first
            while taken:
                lowest = taken & -taken
                ready |= self._follow[lowest.bit_length() - 1]
                taken ^= lowest
            after = self._state(ready)
        state[char] = after
        return after

    def _state(self, ready: int) -> _State:
        state = self._states.get(ready)
        if state is None:
            state = self._states[ready] = _State(ready)
        return state

    def _mask(self, char: str) -> int:
        """The positions that take this character."""
        mask = self._masks.get(char)
        if mask is None:
            mask = sum(1 << at for at, contains in enumerate(self._sets) if contains(char))
            self._masks[char] = mask
        return mask

    def _emit(self, node: _Node) -> _Ends:
        self._emitted += 1
        if self._emitted > 4 * MAX_POSITIONS:
            raise BadExpression("too complex")
        if isinstance(node, _Series):
            ends: _Ends = (True, 0, 0)
            for part in node.parts:
                ends = self._join(ends, self._emit(part))
            return ends
        if isinstance(node, _Either):
            each = [self._emit(part) for part in node.parts]
            first = last = 0
            for _, begins, finishes in each:
                first, last = first | begins, last | finishes
            return any(nothing for nothing, _, _ in each), first, last
        if isinstance(node, _Repeat):
            return self._emit_repeat(node)
        if len(self._sets) >= MAX_POSITIONS:
            raise BadExpression("too complex")
        self._sets.append(node)
        self._follow.append(0)
        here = 1 << (len(self._sets) - 1)
        return False, here, here

    def _emit_repeat(self, node: _Repeat) -> _Ends:
        ends: _Ends = (True, 0, 0)
        for _ in range(max(0, node.low - (node.high is None))):
            ends = self._join(ends, self._emit(node.part))
        if node.high is None:
            nothing, first, last = self._emit(node.part)
            self._link(last, first)
            return self._join(ends, (nothing or not node.low, first, last))
        for _ in range(node.high - node.low):
            _, first, last = self._emit(node.part)
            ends = self._join(ends, (True, first, last))
        return ends

    def _join(self, one: _Ends, other: _Ends) -> _Ends:
        self._link(one[2], other[1])
        first = one[1] | (other[1] if one[0] else 0)
        last = other[2] | (one[2] if other[0] else 0)
        return one[0] and other[0], first, last

    def _link(self, ends: int, begins: int) -> None:
        while ends:
            lowest = ends & -ends
            self._follow[lowest.bit_length() - 1] |= begins
            ends ^= lowest


class _Parser:
    """From the text to a tree."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parse(self) -> _Node:
        node = self._either()
        if self._at < len(self._text):
            raise BadExpression("an unmatched )")
        return node

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise BadExpression("it ends too early")
        self._at += 1
        return char

    def _either(self) -> _Node:
        parts = [self._series()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._series())
        return parts[0] if len(parts) == 1 else _Either(tuple(parts))

    def _series(self) -> _Node:
        parts: list[_Node] = []
        while (char := self._peek()) and char not in "|)":
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else _Series(tuple(parts))

    def _repeated(self, node: _Node) -> _Node:
        while char := self._peek():
            if char in "*+?":
                self._at += 1
                node = _Repeat(node, int(char == "+"), 1 if char == "?" else None)
                continue
            count = _COUNT.match(self._text, self._at)
            if count is None:
                break
            self._at = count.end()
            low = int(count[1])
            high = None if count[2] and not count[3] else int(count[3] or low)
            if max(low, high or 0) > MAX_COUNT or (high is not None and high < low):
                raise BadExpression("a bad count")
            node = _Repeat(node, low, high)
        return node

    def _atom(self) -> _Node:
        char = self._next()
        if char in "*+?":
            raise BadExpression("nothing to repeat")
        if char == "(":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise BadExpression("too deep")
            node = self._either()
            if self._next() != ")":
                raise BadExpression("an unmatched (")
            self._depth -= 1
            return node
        if char == "[":
            return self._set()
        if char == "\\":
            return self._escaped()
        if char == ".":
            return lambda other: other not in (_BEGIN, _END)
        if char in "^$":
            char = _BEGIN if char == "^" else _END
        return char.__eq__

    def _escaped(self) -> Contains:
        char = self._next()
        contains = _CLASSES.get(char.lower(), {"t": "\t"}.get(char, char).__eq__)
        if char in "DSW":
            positive = contains
            return lambda other: other not in (_BEGIN, _END) and not positive(other)
        return contains

    def _set(self) -> Contains:
        negated = self._peek() == "^"
        self._at += negated
        spans: list[tuple[str, str]] = []
        classes: list[Contains] = []
        while (char := self._next()) != "]" or not (spans or classes):
            if char == "\\":
                char = self._peek()
                if char.lower() in _CLASSES:
                    classes.append(self._escaped())
                    continue
                char = self._next()
            last = char
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                last = self._next()
                last = self._next() if last == "\\" else last
            if last < char:
                raise BadExpression("a bad range")
            spans.append((char, last))

        def contains(other: str) -> bool:
            if other in (_BEGIN, _END):
                return False
            inside = any(low <= other <= high for low, high in spans)
            return (inside or any(one(other) for one in classes)) != negated

        return contains
