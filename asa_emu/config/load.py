"""Load a configuration file: its lines through the grammar, then what only the whole file can tell.

An unknown line is kept with everything under it and reported; a known line gone wrong is a `ConfigError`.
Objects may be named before the line that defines them, so references are checked at the end, and what a lab
tolerates and an ASA would not is reported there.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from asa_emu.config.document import Block, Document
from asa_emu.config.edit import Place, execute, missing, modern, prefixes
from asa_emu.config.facts import Account, Ace, ConfigError, Hasher, Report, masked
from asa_emu.config.grammar import MODES, NO_CLUSTER_ADDRESS
from asa_emu.config.logging import LogHost
from asa_emu.config.syntax import CONTROL, Fault, Said, match
from asa_emu.config.tree import Line, is_directive, read_tree

_TYPED_AROUND = frozenset({"exit", "quit", "end", "configure terminal", "conf t", "write memory", "wr mem"})
_NESTED = {"config-group-policy": "config-group-webvpn", "config-username": "config-username-webvpn"}
_REMEDIES = {
    "pool": "ip local pool {name} FROM-TO mask MASK",
    "ipv6-pool": "ipv6 local pool {name} PREFIX/LENGTH COUNT",
    "access-list": "access-list {name} standard permit NETWORK MASK",
    "group-policy": "group-policy {name} internal",
    "tunnel-group": "tunnel-group {name} type remote-access",
    "username": "username {name} password PASSWORD",
    "logging-list": "logging list {name} level LEVEL",
    "aaa-server": "aaa-server {name} protocol radius",
}


def decode_config(data: bytes, source: str) -> str:
    """Return the text of a configuration file, which is UTF-8; ConfigError names the first bad line."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(source, line, "not UTF-8; save the file as UTF-8") from None


def load(text: str, source: str, hasher: Hasher | None) -> Document:
    """Return the document that `text` says; ConfigError with file, line, reason and remedy."""
    document = Document(source, hasher=hasher)
    loader = _Loader(document)
    lines, flat = read_tree(text)
    if flat:
        loader.by_mode(lines)
    else:
        loader.by_indentation(lines, Place("config", document.top))
    _check(document)
    document.reports.sort(key=lambda report: report.line)
    document.generation = 0
    return document


class _Loader:
    def __init__(self, document: Document) -> None:
        self.document = document

    def by_indentation(self, lines: list[Line], place: Place) -> None:
        """Read an indented text: what stands under a line belongs to the block it opens."""
        latest: Place | None = None
        for line in lines:
            if line.text.lower() in _TYPED_AROUND and not line.children:
                continue
            places = [place, *self._around(line.text, place, latest)]
            opened = self._one(line, places)
            if isinstance(opened, Fault):
                self._keep(place, line, opened)
                continue
            latest = opened[1] or latest
            self.by_indentation(line.children, opened[1] or place)

    def by_mode(self, lines: list[Line]) -> None:
        """Read a flat text as an ASA reads what is typed: the current mode first, then the global one."""
        stack = [Place("config", self.document.top)]
        for line in lines:
            word = line.text.lower()
            if word in ("!", "end"):
                del stack[1:]
            elif word in ("exit", "quit"):
                del stack[max(1, len(stack) - 1) :]
            elif word not in _TYPED_AROUND:
                self._by_mode_one(line, stack)

    def _by_mode_one(self, line: Line, stack: list[Place]) -> None:
        places = [stack[-1], stack[0], *reversed(stack[1:-1]), *self._around(line.text, stack[-1], None)]
        opened = self._one(line, places)
        if isinstance(opened, Fault):
            self._keep(stack[-1], line, opened)
            return
        used, inner = opened
        if used in stack:
            del stack[stack.index(used) + 1 :]
        if inner is not None:
            stack.append(inner)

    def _one(self, line: Line, places: list[Place]) -> tuple[Place, Place | None] | Fault:
        """Execute a line at the first place that knows it; return that place and the one it opened."""
        unknown: Fault | None = None
        for place in places:
            try:
                return place, execute(self.document, place, line.text, line.number)[0]
            except Fault as fault:
                if fault.kind not in ("unknown", "ambiguous") and _spelled_out(place.mode, line.text):
                    raise ConfigError(self.document.source, line.number, fault.reason) from None
                unknown = unknown or Fault("unknown", "unknown command")
        assert unknown is not None
        return unknown

    def _around(self, text: str, place: Place, latest: Place | None) -> list[Place]:
        """Return where else a directive may belong: `!emu` at the margin means the block above it."""
        if not is_directive(text):
            return []
        places: list[Place] = []
        for outer in (place, latest):
            inner = _NESTED.get(outer.mode) if outer else None
            if outer is not None and outer is not place:
                places.append(outer)
            if outer is not None and inner and _knows(self.document, inner, text):
                opened, _, _ = execute(self.document, outer, "webvpn")
                places += [opened] if opened else []
        return places

    def _keep(self, place: Place, line: Line, fault: Fault) -> None:
        reason = fault.reason
        elsewhere = [mode for mode in MODES if _knows(self.document, mode, line.text)]
        if elsewhere and place.mode != "config":
            reason += f" here, {elsewhere[0]} has it"
        reason += f"; kept with the {line.count()} lines under it" if line.children else "; kept"
        self.document.reports.append(Report(line.number, masked(line.text), reason))
        _keep_tree(place.block, line)


def _keep_tree(block: Block, line: Line) -> None:
    text = CONTROL.sub("\ufffd", line.text)
    # Marked in front as well, so that without its control characters it does not become a command.
    entry = block.keep(text if text == line.text else f"\ufffd{text}", line.number)
    if line.children:
        entry.block = Block()
        for child in line.children:
            _keep_tree(entry.block, child)


def _spelled_out(mode: str, text: str) -> bool:
    """Tell whether a line begins with a command's whole first word.

    `aaa authentication …` is no `aaa-server` line gone wrong, though the console would take `aaa` for it.
    """
    body, _, freed, _ = prefixes(text)
    return modern(body).split(" ", 1)[0].lower() in MODES[mode].tree(freed).keywords


def _knows(document: Document, mode: str, text: str) -> bool:
    body, _, freed, negative = prefixes(text)
    if not _spelled_out(mode, text):
        return False
    try:
        match(MODES[mode].tree(freed), modern(body), 0, Said(document, freed), partial=negative)
    except Fault as fault:
        return fault.kind not in ("unknown", "ambiguous")
    return True


def _check(document: Document) -> None:
    for _, _, entry in document.top.walk():
        for kind, name in entry.references:
            if not document.declares((kind, name)):
                remedy = _REMEDIES[kind].format(name=name)
                raise ConfigError(document.source, entry.line, missing(kind, name), f"add: {remedy}")
    balancing = document.top.child("vpn load-balancing") or Block()
    participate = balancing.entries.get(("participate",))
    if participate is not None and ("cluster ip address",) not in balancing.entries:
        remedy = "add: cluster ip address ADDRESS"
        raise ConfigError(document.source, participate.line, NO_CLUSTER_ADDRESS, remedy)
    _report_lenience(document)


_WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "authentication-server-group": "no server is asked; users are those of this configuration",
    "secondary-authentication-server-group": "no second server is asked",
    "accounting-server-group": "nothing is accounted",
    "strip-group": "user names keep their group",
    "vpn-access-hours": "users may log in at any hour",
}
"""What is understood, would change who gets in, and does not here."""


def _report_lenience(document: Document) -> None:
    def report(line: int, text: str, reason: str) -> None:
        document.reports.append(Report(line, text, reason))

    named = {entry.value for _, name, entry in document.top.walk() if name == ("nameif",)}
    split_lists = {
        name for _, key, entry in document.top.walk() for kind, name in entry.references
        if kind == "access-list" and key == ("split-tunnel-network-list",)
    }  # fmt: skip
    for block, key, entry in document.top.walk():
        if key[0] in _WITHOUT_EFFECT and entry.value not in (None, "none", False, ("LOCAL",), ["LOCAL"]):
            report(entry.line, entry.texts[0], _WITHOUT_EFFECT[key[0]])
        if key[0] == "enable" and block is document.top.child("webvpn") and key[1] not in named:
            report(entry.line, entry.texts[0], f"no interface is named {key[1]!r}; served all the same")
        if key == ("anyconnect enable",) and not any(True for _ in block.family("anyconnect image")):
            report(entry.line, entry.texts[0], "no anyconnect image; clients are let in all the same")
        if isinstance(entry.value, LogHost):
            if entry.texts[0].endswith(" secure"):
                report(entry.line, entry.texts[0], "messages go to this host without TLS")
            elif not ip_address(entry.value.address).is_loopback:
                report(entry.line, entry.texts[0], "messages are really sent to this host")
        if isinstance(entry.value, Account) and not entry.value.password.is_well_formed:
            report(
                entry.line, entry.shown or "", "the stored password is masked or garbled; nobody can log in"
            )
        if key[0] == "access-list" and key[1] in split_lists and isinstance(entry.value, list):
            for ace, text in zip(entry.value, entry.texts, strict=True):
                if isinstance(ace, Ace) and ace.unread:
                    report(ace.line, text, f"not used for split tunnelling: {ace.unread}")
