"""Command syntax in Cisco's own notation, compiled into one tree of words per mode.

`vpn-idle-timeout {<MIN:minutes 1-35791394>|none}` is a pattern: words are keywords, `{a|b}` is a choice,
`[a]` may be left out, `<LABEL:kind LOW-HIGH>` is an argument, `…...` repeats. All patterns of a mode grow one
tree; matching a line walks it word by word. So abbreviations, `?` help, ambiguity and the position of the
first wrong word come from the same place as parsing. Words before the first choice or argument name the
command: a line that leaves the tree there is unknown, one that leaves it later is a known command gone wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv6Interface, ip_address
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeAlias, TypeVar

from asa_emu.config.facts import LEVELS

if TYPE_CHECKING:
    from asa_emu.config.document import Document

C = TypeVar("C")
FaultKind: TypeAlias = Literal["unknown", "invalid", "incomplete", "ambiguous", "semantic"]

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?=[ \t]|$)|[^ \t]+')
_PATTERN = re.compile(r"<[^>]+>|\.\.\.|[{}\[\]|]|[^\s{}\[\]|<>]+")
_ARGUMENT = re.compile(r"<([A-Z0-9-]+)(?::([a-z0-9]+))?(?: (\d+)-(\d+))?>")
_DURATION = re.compile(r"(\d{1,10}(?:\.\d{1,6})?)(ms|s|m|h)")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_ADDRESSES: Final = frozenset({"ip", "ip4", "ip6"})
LONGEST_SECONDS: Final = 35791394 * 60.0
"""The longest duration Cisco's own ranges allow, in minutes times 60; `!emu` stays below it too."""


class Fault(Exception):
    """A line that cannot be executed: how it failed, why, and the column of the offending word."""

    def __init__(self, kind: FaultKind, reason: str, position: int = 0) -> None:
        super().__init__(kind, reason, position)
        self.kind: FaultKind = kind
        self.reason = reason
        self.position = position


@dataclass(frozen=True, slots=True)
class Argument:
    """One `<LABEL:kind LOW-HIGH>` of a pattern."""

    label: str
    kind: str = "word"
    low: int = 0
    high: int = 0

    def read(self, word: str, freed: bool) -> tuple[object, str]:
        """Return the value of a word and its canonical spelling, or raise ValueError with the reason."""
        return _READERS[self.kind](self, word, freed)

    @property
    def shown(self) -> str:
        """How `?` names it."""
        return f"<{self.low}-{self.high}>" if self.high else self.label


@dataclass(slots=True)
class Node(Generic[C]):
    """A place in the tree: what may come next, and the command that may end here."""

    keywords: dict[str, tuple[str, Node[C]]] = field(default_factory=dict)
    arguments: dict[Argument, Node[C]] = field(default_factory=dict)
    command: C | None = None
    is_value: bool = False
    """Whether what comes next is a value (a choice or an argument) and no longer the command's name."""
    help: str = ""

    def commands(self) -> list[C]:
        """Return every command that can still be reached from here."""
        found: list[C] = []
        seen: set[int] = set()
        stack: list[Node[C]] = [self]
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if node.command is not None and node.command not in found:
                found.append(node.command)
            stack.extend(child for _, child in node.keywords.values())
            stack.extend(node.arguments.values())
        return found


@dataclass(slots=True)
class Said:
    """What a line said, on its way down the tree."""

    document: Document
    freed: bool
    """Whether the line came with `!emu`: without Cisco's ranges, durations with a unit."""
    line: int = 0
    words: list[str] = field(default_factory=list)
    bound: dict[str, list[object]] = field(default_factory=dict)
    chosen: set[str] = field(default_factory=set)
    """The keywords among the words."""
    position: int = 0

    def address_of(self, argument: Argument, word: str) -> str:
        """Return the address that a `name ADDRESS NAME` line gave a name, or the word as it is."""
        alias = self.document.top.entries.get(("name", word)) if argument.kind in _ADDRESSES else None
        return word if alias is None else str(alias.value)

    @property
    def argument(self) -> str:
        """The first argument, a name without its quotes; empty when there is none."""
        return next((str(values[0]) for values in self.bound.values()), "")

    def text(self, label: str) -> str:
        """Return a word argument."""
        return str(self.bound[label][0])

    def texts(self, label: str) -> tuple[str, ...]:
        """Return every value of a word argument that may repeat."""
        return tuple(str(value) for value in self.bound.get(label, ()))

    def number(self, label: str) -> float | None:
        """Return a number (durations in seconds), or None when the line does not have it."""
        value = self.bound.get(label, [None])[0]
        return value if isinstance(value, int | float) else None


def compile_patterns(commands: Sequence[tuple[str, str, C]]) -> Node[C]:
    """Grow one tree from (pattern, help, command) triples; later patterns win where they collide."""
    root: Node[C] = Node()
    for pattern, help_text, command in commands:
        elements = _parse_pattern(pattern)
        head = len(head_of(pattern).split())
        ends = [root]
        for number, element in enumerate(elements):
            if number >= head:
                for node in ends:
                    node.is_value = True
            ends = _grow(ends, element, help_text)
        for node in ends:
            node.command = command
    return root


@cache
def head_of(pattern: str) -> str:
    """Return the words that name the command: those before the first choice or argument."""
    return re.split(r"[<{\[]", pattern)[0].strip()


def match(root: Node[C], line: str, start: int, said: Said, *, partial: bool = False) -> Node[C]:
    """Walk the words of `line` from column `start`; raise Fault unless they end at a command.

    What they said is noted in `said`. With `partial` the walk may end anywhere, which `no` and `?` use.
    """
    node, at = root, start
    while word := _WORD.search(line, at):
        before, said.position, at = at, word.start(), word.end()
        if rest := _rest_of(node):
            # A text keeps its own leading blanks, as a banner needs them.
            begins = before + 1 if rest[0].label == "TEXT" else word.start()
            text = line[begins:].rstrip(" \t")
            said.words.append(text)
            said.bound[rest[0].label] = [text]
            return rest[1]
        node = _step(node, said, word.group(), line)
    if node.command is None and not partial:
        if (rest := _rest_of(node)) and rest[0].label == "TEXT":
            said.bound["TEXT"] = [""]
            return rest[1]
        expected = " or ".join(what for what, _ in choices(node))
        raise Fault("incomplete", f"incomplete command, expected {expected}", len(line))
    return node


def _rest_of(node: Node[C]) -> tuple[Argument, Node[C]] | None:
    return next((pair for pair in node.arguments.items() if pair[0].kind == "rest"), None)


def choices(node: Node[C]) -> Iterator[tuple[str, str]]:
    """Yield what `?` lists at a node: keywords and arguments with their help, and `<cr>`."""
    for keyword, child in sorted(node.keywords.values(), key=lambda pair: pair[0]):
        yield keyword, child.help
    for argument, child in node.arguments.items():
        yield argument.shown, child.help
    if node.command is not None:
        yield "<cr>", ""


def _step(node: Node[C], said: Said, word: str, line: str) -> Node[C]:
    lowered = word.lower()
    pair = node.keywords.get(lowered)
    reason = ""
    if pair is None:
        for argument, child in node.arguments.items():
            try:
                value, spelled = argument.read(said.address_of(argument, word), said.freed)
            except ValueError as error:
                reason = reason or str(error)
                continue
            said.words.append(word if argument.kind in _ADDRESSES else spelled)
            said.bound.setdefault(argument.label, []).append(value)
            return child
        pairs = [pair for keyword, pair in node.keywords.items() if keyword.startswith(lowered)]
        if len(pairs) > 1:
            raise Fault(
                "ambiguous", f"ambiguous command {line[: said.position + len(word)].strip()!r}", said.position
            )
        pair = pairs[0] if pairs else None
    if pair is not None:
        said.words.append(pair[0])
        said.chosen.add(pair[0])
        return pair[1]
    if not node.is_value and node.command is None:
        raise Fault("unknown", "unknown command", said.position)
    expected = [what for what, _ in choices(node)]
    if "PASSWORD" in said.bound:
        # What follows may be the rest of a password, which must not get into a log.
        reason = 'unexpected word after the password; blanks take !emu username NAME password "…"'
    elif expected == ["<cr>"]:
        reason = f"unexpected word {word!r} at the end"
    elif not reason:
        reason = f"bad value {word!r}, expected {' or '.join(expected)}"
    elif node.keywords:
        reason += f" (or {', '.join(keyword for keyword, _ in node.keywords.values())})"
    raise Fault("invalid", reason, said.position)


# Patterns: reading them and growing the tree.


@dataclass(slots=True)
class _Choice:
    branches: list[list[_Element]]
    optional: bool


@dataclass(slots=True)
class _Repeat:
    element: _Element


_Element: TypeAlias = "str | Argument | _Choice | _Repeat"


def _parse_pattern(pattern: str) -> list[_Element]:
    tokens = _PATTERN.findall(pattern)
    return _parse_sequence(tokens, "")[0]


def _parse_sequence(tokens: list[str], closing: str) -> tuple[list[_Element], str]:
    elements: list[_Element] = []
    while tokens:
        token = tokens.pop(0)
        if token == "|" or token == closing:
            return elements, token
        if token in ("{", "["):
            branches: list[list[_Element]] = []
            ended = "|"
            while ended == "|":
                branch, ended = _parse_sequence(tokens, "}" if token == "{" else "]")
                branches.append(branch)
            elements.append(_Choice(branches, token == "["))
        elif token == "...":
            elements.append(_Repeat(elements.pop()))
        elif token.startswith("<"):
            parts = _ARGUMENT.fullmatch(token)
            assert parts, token
            label, kind, low, high = parts.groups()
            elements.append(Argument(label, kind or "word", int(low or 0), int(high or 0)))
        else:
            elements.append(token)
    return elements, ""


def _grow(starts: list[Node[C]], element: _Element, help_text: str) -> list[Node[C]]:
    if isinstance(element, _Repeat):
        ends = _grow(starts, element.element, help_text)
        for end in ends:
            for start in starts:
                _loop(start, end, ends)
        return ends
    if isinstance(element, _Choice):
        ends = list(starts) if element.optional else []
        for branch in element.branches:
            reached = starts
            for part in branch:
                for node in reached:
                    node.is_value = True
                reached = _grow(reached, part, help_text)
            ends.extend(node for node in reached if not any(node is end for end in ends))
        return ends
    ends = []
    for start in starts:
        child: Node[C]
        if isinstance(element, Argument):
            child = start.arguments.setdefault(element, Node(help=help_text))
        else:
            _, child = start.keywords.setdefault(element.lower(), (element, Node(help=help_text)))
        if not any(child is end for end in ends):
            ends.append(child)
    return ends


def _loop(start: Node[C], end: Node[C], ends: list[Node[C]]) -> None:
    for word, pair in start.keywords.items():
        if any(pair[1] is other for other in ends):
            end.keywords[word] = pair
    for argument, child in start.arguments.items():
        if any(child is other for other in ends):
            end.arguments[argument] = child


# Arguments: from one word to one value.


def _read_word(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    if len(word) >= 2 and word[0] == word[-1] == '"':
        inner = word[1:-1]
        return inner, quoted(inner)
    return word, word


def quoted(word: str) -> str:
    """Return a name as a configuration line holds it: in quotes when blanks or nothing are in it."""
    return word if word and not re.search(r'[ \t]|^"', word) else f'"{word}"'


def _read_integer(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    number = _digits(word)
    if number is None or not (freed or argument.low <= number <= argument.high):
        raise ValueError(f"bad value {word!r}, expected a number from {argument.low} to {argument.high}")
    return number, str(number)


def _read_port(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    return _read_integer(argument, word, False)  # no directive makes more ports


def _read_minutes(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    return _read_duration(argument, word, freed, 60.0, "minutes")


def _read_seconds(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    return _read_duration(argument, word, freed, 1.0, "seconds")


def _read_duration(argument: Argument, word: str, freed: bool, unit: float, name: str) -> tuple[object, str]:
    if not freed:
        number = _digits(word)
        if number is None or not argument.low <= number <= argument.high:
            raise ValueError(
                f"bad value {word!r}, expected {name} from {argument.low} to {argument.high}; "
                "an !emu line takes any duration with a unit"
            )
        return number * unit, str(number)
    return parse_duration(word), word


def parse_duration(word: str) -> float:
    """Seconds of `500ms`, `8s`, `2m` or `1h`; raises ValueError."""
    parts = _DURATION.fullmatch(word)
    seconds = float(parts[1]) * _UNIT_SECONDS[parts[2]] if parts else 0.0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError(f"bad duration {word!r}, expected a number with a unit: 500ms, 8s, 2m or 1h")
    return seconds


def _read_address(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    try:
        address = ip_address(word)
    except ValueError:
        raise ValueError(f"bad address {word!r}") from None
    if argument.kind == "ip4" and address.version != 4:
        raise ValueError(f"bad address {word!r}, expected IPv4")
    if argument.kind == "ip6" and address.version != 6:
        raise ValueError(f"bad address {word!r}, expected IPv6")
    return address, word


def _read_mask(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    mask_length(word)
    return word, word


def mask_length(word: str) -> int:
    """Return the length of a dotted mask; ValueError for gaps, wildcards and anything else."""
    try:
        bits = int(IPv4Address(word))
    except ValueError:
        raise ValueError(f"bad mask {word!r}") from None
    inverted = bits ^ 0xFFFFFFFF
    if inverted & (inverted + 1):
        raise ValueError(f"bad mask {word!r}, its ones must be on the left and together")
    return 32 - inverted.bit_length()


def _read_span(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    first, dash, last = word.partition("-")
    try:
        begin, end = IPv4Address(first), IPv4Address(last if dash else first)
    except ValueError:
        raise ValueError(f"bad address range {word!r}, expected FROM-TO") from None
    if end < begin:
        raise ValueError(f"bad address range {word!r}, it ends before it begins")
    return f"{begin}-{end}", word


def _read_prefix6(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    try:
        if "/" not in word or "%" in word:
            raise ValueError
        return IPv6Interface(word), word
    except ValueError:
        raise ValueError(f"bad IPv6 prefix {word!r}, expected ADDRESS/LENGTH") from None


def _read_interface_in_parentheses(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    if not re.fullmatch(r"\([^()]+\)", word):
        raise ValueError(f"bad value {word!r}, expected an interface in parentheses")
    return word[1:-1], word


def _read_nameif(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    try:
        ip_address(word)
    except ValueError:
        return _read_word(argument, word, freed)
    raise ValueError(f"bad value {word!r}, expected the name of an interface")


def _read_list(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    if any(level.startswith(word.lower()) for level in LEVELS):
        raise ValueError(f"bad value {word!r}, expected the name of a list")
    return _read_word(argument, word, freed)


def _read_password(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    if freed and word.startswith('"'):
        try:
            password = json.loads(word)
            password.encode()
        except ValueError:
            raise ValueError("bad JSON string for a password") from None
        return password, word
    if " " in word or "\t" in word:
        raise ValueError('a password is one word; say !emu username NAME password "…" for blanks')
    return word, word


def _read_hours(argument: Argument, word: str, freed: bool) -> tuple[object, str]:
    hours = _digits(word.lstrip("-+") if len(word) < 5 else "")
    if hours is None or hours > 13:
        raise ValueError(f"bad value {word!r}, expected hours from -12 to 13")
    return (-hours if word.startswith("-") else hours), word


def _digits(word: str) -> int | None:
    return int(word) if len(word) <= 10 and word.isascii() and word.isdigit() else None


_READERS: dict[str, Callable[[Argument, str, bool], tuple[object, str]]] = {
    "word": _read_word,
    "rest": _read_word,
    "int": _read_integer,
    "port": _read_port,
    "minutes": _read_minutes,
    "seconds": _read_seconds,
    "ip": _read_address,
    "ip4": _read_address,
    "ip6": _read_address,
    "mask": _read_mask,
    "span": _read_span,
    "prefix6": _read_prefix6,
    "ifc": _read_interface_in_parentheses,
    "nameif": _read_nameif,
    "list": _read_list,
    "password": _read_password,
    "hours": _read_hours,
}
