"""Execute configuration lines: one against the grammar, or many on a stack of modes.

`execute` is what a file and the console have in common: it matches a line in a mode, checks and stores it,
and says which block it opened. `Editor` adds what only a person typing needs: the mode stack with `exit` and
`end`, answers in place of exceptions, `?`, and refusals that depend on the moment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from asa_emu.config.document import Block, Document, Entry, Key
from asa_emu.config.facts import masked
from asa_emu.config.grammar import MODES, ORDER, Command
from asa_emu.config.syntax import CONTROL, Fault, FaultKind, Node, Said, choices, match
from asa_emu.config.tree import is_directive

_OLD_SPELLING = re.compile(r"^svc (keepalive|rekey|compression|dtls|df-bit-ignore)\b|^svc\b")
_EXIT, _END = ("exit", "quit"), ("end",)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line goes: a mode and the block it configures."""

    mode: str
    block: Block


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a line typed: on success `text` is an INFO line or empty, else the reason."""

    ok: bool
    text: str = ""
    kind: FaultKind | None = None
    position: int = 0
    """Column of the offending word in the line as typed."""
    shown: str = ""
    """What was executed, in full words and without secrets; empty when nothing was."""


def execute(
    document: Document, place: Place, line: str, number: int = 0, *, live: bool = False
) -> tuple[Place | None, str, str]:
    """Store one line; return the place it opened, if any, what an ASA answers, and the line without secrets.

    Raises Fault, with nothing changed. `live` checks at once that what the line names exists and that the
    moment allows it; for a file that is the business of whoever has read all of it.
    """
    body, start, freed, negative = prefixes(line)
    if negative:
        return None, "", f"no {_remove(document, place, body, start, freed, number, live)}"
    body = modern(body)
    said = Said(document, freed, number)
    try:
        command = match(MODES[place.mode].tree(freed), body, 0, said).command
        assert command is not None
        if control := CONTROL.search(body):
            raise Fault("invalid", f"control character {control.group()!r}", control.start())
        try:
            value = command.value(said)
        except ValueError as error:
            raise Fault("semantic", str(error), said.position) from None
    except Fault as fault:
        fault.position += start
        raise
    references = command.references(said)
    if live:
        for reference in references:
            if not document.declares(reference):
                raise Fault("semantic", missing(*reference), start + said.position)
        if command.refusal and (why := command.refusal(document, place.block)):
            raise Fault("semantic", why, start)
    startup, shown = _spell(command, said, value)
    key = command.key(said)
    assert key is not None
    entry = Entry([startup], value, shown, references, number)
    block = _store(place, command, key, entry, live)
    document.generation += 1
    info = command.info.format_map({label: values[0] for label, values in said.bound.items()})
    return (Place(command.opens, block) if block is not None else None), info, shown or startup


def modern(body: str) -> str:
    """Return a line in the spelling since 8.4, when `svc` became `anyconnect`."""
    return _OLD_SPELLING.sub(lambda old: f"anyconnect ssl {old[1]}" if old[1] else "anyconnect", body)


def missing(kind: str, name: str) -> str:
    """Say that an object does not exist."""
    nouns = {
        "pool": "address pool",
        "ipv6-pool": "IPv6 address pool",
        "username": "user",
        "logging-list": "logging list",
    }
    noun = nouns.get(kind, kind)
    return f"{noun} {name!r} does not exist"


def prefixes(line: str) -> tuple[str, int, bool, bool]:
    """Take `no` and `!emu` off, in either order; return the rest, its column, and which there were."""
    start, freed, negative = len(line) - len(line.lstrip(" \t")), False, False
    while True:
        rest = line[start:]
        if not freed and is_directive(rest):
            freed, taken = True, 4
        elif not negative and re.match(r"no(?=[ \t]|$)", rest):
            negative, taken = True, 2
        else:
            return rest, start, freed, negative
        start += taken
        start += len(line[start:]) - len(line[start:].lstrip(" \t"))


def _spell(command: Command, said: Said, value: object) -> tuple[str, str | None]:
    if command.texts:
        return command.texts(said, value)
    return ("!emu " if said.freed else "") + " ".join(said.words), None


def _store(place: Place, command: Command, key: Key, entry: Entry, live: bool) -> Block | None:
    old = place.block.entries.get(key)
    if command.opens:
        if old is not None and old.block is not None:
            return old.block
        entry.block, entry.mode = Block(), command.opens
    if old and isinstance(old.value, list) and isinstance(entry.value, list) and old.value and entry.value:
        old.value += entry.value
        old.texts += entry.texts
        return None
    place.block.put(key, entry, _shown_after(place.mode, key[0]) if live else frozenset())
    return entry.block


def _shown_after(mode: str, family: str) -> frozenset[str]:
    """Return what an ASA shows after a statement, so that one typed is not simply put last."""
    if mode != "config":
        return frozenset({"webvpn"} - {family})
    rank = ORDER.get(family, len(ORDER))
    return frozenset(other for other, its in ORDER.items() if its > rank)


def _remove(
    document: Document, place: Place, body: str, start: int, freed: bool, number: int, live: bool
) -> str:
    """Take a statement away; return what can be said of it without a secret."""
    for key, kept in place.block.family(""):
        if body in kept.texts:
            del place.block.entries[key]
            document.generation += 1
            return kept.shown or masked(body)
    said, node = _walk_back(document, place, modern(body), start, freed)
    if node.command is not None:
        commands = [node.command]
    else:
        said_words = len(said.words)
        commands = [c for c in node.commands() if len(c.head) <= said_words and c.key(said) is not None]
    if not commands:
        raise Fault("incomplete", "incomplete command", start + len(body))
    keys = [found for command in commands if (found := command.key(said)) is not None]
    there = [key for key in dict.fromkeys(keys) if key in place.block.entries]
    if live:
        _refuse_removal(document, place, commands[0], keys, start)
    if commands[0].negatable:
        words = said.words if commands[0].keyed_by else commands[0].head
        text = f"no {' '.join(words)}"
        place.block.put(keys[0], Entry([text], False, line=number))
    elif commands[0].adds_up and node.command is not None and there:
        _remove_one(place.block, there[0], " ".join(said.words))
    else:
        for key in there:
            del place.block.entries[key]
    document.generation += 1
    return " ".join(keys[0] if commands[0].texts else said.words)


def _walk_back(
    document: Document, place: Place, body: str, start: int, freed: bool
) -> tuple[Said, Node[Command]]:
    faults: list[Fault] = []
    for free in (freed, not freed):
        said = Said(document, free)
        try:
            return said, match(MODES[place.mode].tree(free), body, 0, said, partial=True)
        except Fault as fault:
            fault.position += start
            faults.append(fault)
    raise faults[0]


def _refuse_removal(document: Document, place: Place, command: Command, keys: list[Key], start: int) -> None:
    removed = [place.block.entries[key] for key in keys if key in place.block.entries]
    if not removed:
        if command.keyed_by and not command.negatable:
            raise Fault("semantic", missing(keys[0][0], " ".join(keys[0][1:])), start)
        return
    if command.needed_by and (command.needed_by,) in place.block.entries:
        raise Fault("semantic", f"{keys[0][0]!r} is in use by {command.needed_by!r}", start)
    if place.mode != "config":
        return
    for _, _, entry in document.top.walk():
        used = next((key for key in keys if key in entry.references), None)
        if used and not any(entry is other for other in removed):
            raise Fault("semantic", f"{used[0]} {used[1]!r} is in use by {entry.texts[0]!r}", start)


def _remove_one(block: Block, key: Key, text: str) -> None:
    entry = block.entries[key]
    plain = [line.removeprefix("!emu ") for line in entry.texts]
    if text not in plain:
        raise Fault("semantic", f"there is no line {text!r}")
    at = plain.index(text)
    del entry.texts[at]
    if isinstance(entry.value, list):
        del entry.value[at : at + 1]
    if not entry.texts:
        del block.entries[key]


class Editor:
    """A configuration session: what is typed after `configure terminal`, line by line."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._stack = [Place("config", document.top)]
        self.ended = False
        """Whether the last `exit` or `end` left configuration mode."""

    @property
    def mode(self) -> str:
        """The current mode as the prompt shows it, such as "config-webvpn"."""
        return self._stack[-1].mode

    def execute(self, line: str) -> Outcome:
        """Execute one line as typed; nothing is raised, and nothing changes unless the outcome is ok.

        A command that the current mode lacks is tried in global configuration mode, as an ASA does, and
        then in the modes between.
        """
        self._leave_removed()
        word = line.strip(" \t").lower()
        if not word or (word.startswith("!") and not is_directive(line.strip(" \t"))):
            return Outcome(True)
        if word in _EXIT or word in _END:
            self._leave(word in _END)
            return Outcome(True)
        first_fault: Fault | None = None
        for depth in dict.fromkeys((len(self._stack), 1, *range(len(self._stack) - 1, 1, -1))):
            try:
                opened, text, shown = execute(self.document, self._stack[depth - 1], line, live=True)
            except Fault as fault:
                first_fault = first_fault or fault
                if fault.kind != "unknown":
                    first_fault = fault
                    break
                continue
            del self._stack[depth:]
            if opened:
                self._stack.append(opened)
            return Outcome(True, text, shown=shown)
        assert first_fault is not None
        kind: FaultKind = "invalid" if first_fault.kind == "unknown" else first_fault.kind
        return Outcome(False, first_fault.reason, kind, first_fault.position)

    def _leave_removed(self) -> None:
        """Leave the mode of a block that somebody else has removed; what is typed there would be lost."""
        for depth, (outer, place) in enumerate(pairwise(self._stack), 1):
            if not any(entry.block is place.block for entry in outer.block.entries.values()):
                del self._stack[depth:]
                return

    def _leave(self, entirely: bool) -> None:
        self.ended = entirely or len(self._stack) == 1
        if entirely:
            del self._stack[1:]
        elif len(self._stack) > 1:
            self._stack.pop()

    def help(self, partial: str) -> list[tuple[str, str]]:
        """Return what `?` lists after a partial line: (keyword or argument, help) pairs.

        A line that ends in a blank asks for the next word, another one for the ends of its last word.
        """
        body, _, freed, _ = prefixes(partial)
        before, _, last = body.rpartition(" ")
        said = Said(self.document, freed)
        try:
            node = match(MODES[self.mode].tree(freed), modern(before), 0, said, partial=True)
        except Fault:
            return []
        listed = list(choices(node))
        if not before and not freed:
            listed += [
                ("no", "Negate a command"),
                ("exit", "Leave this mode"),
                ("end", "Leave configuration"),
            ]
        if last:
            listed = [(word, text) for word, text in listed if word.lower().startswith(last.lower())]
        return listed
