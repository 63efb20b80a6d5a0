"""A configuration back to text: for the file it is loaded from, and for `show running-config`.

The file holds hashes; what is shown has `*****` for every secret, also in lines that nobody here
understands. `all` adds the defaults that nobody said, those of group policies under `DfltGrpPolicy`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from asa_emu.config.document import Block, Document, Entry, Key
from asa_emu.config.facts import masked
from asa_emu.config.grammar import MODES

_DEFAULT_POLICY: Final[Key] = ("group-policy attributes", "DfltGrpPolicy")
_SHOWS_DEFAULTS: Final = (
    "config", "config-webvpn", "config-tunnel-general", "config-tunnel-webvpn", "config-load-balancing"
)  # fmt: skip


def render(document: Document, *, defaults: bool = False) -> str:
    """Return what `show running-config [all]` prints, one statement per line, secrets masked."""
    return _text(_lines(document.top, "config", 0, True, defaults))


def render_startup(document: Document) -> str:
    """Return what `write memory` stores: it loads back to an equal document."""
    return _text(_lines(document.top, "config", 0, False, False))


def _text(lines: Iterable[str]) -> str:
    """Join lines; only in a text without indentation does an empty block need its end marked."""
    listed = list(lines)
    indented = any(line.startswith(" ") for line in listed)
    return "".join(f"{line}\n" for line in listed if not (indented and line == "!"))


def _lines(block: Block, mode: str, depth: int, shown: bool, defaults: bool) -> Iterator[str]:
    entries = dict(block.entries)
    if defaults:
        yield from _missing_defaults(entries, mode, " " * depth)
    for key, entry in entries.items():
        for text in entry.texts:
            yield " " * depth + (_shown(entry, text) if shown else text)
        if entry.block is None:
            continue
        inner = defaults and (entry.mode in _SHOWS_DEFAULTS or key == _DEFAULT_POLICY or mode != "config")
        if entry.block.entries or inner:
            yield from _lines(entry.block, entry.mode, depth + 1, shown, inner)
        elif depth == 0:
            yield "!"


def _missing_defaults(entries: dict[Key, Entry], mode: str, indent: str) -> Iterator[str]:
    for row in MODES[mode].commands if mode in MODES else ():
        if row.default and (row.family,) not in entries:
            yield f"{indent}{row.family} {row.default}"
    if mode == "config":
        header = Entry(["group-policy DfltGrpPolicy attributes"], block=Block(), mode="config-group-policy")
        entries.setdefault(_DEFAULT_POLICY, header)
    elif mode == "config-group-policy":
        entries.setdefault(("webvpn",), Entry(["webvpn"], block=Block(), mode="config-group-webvpn"))


def _shown(entry: Entry, text: str) -> str:
    if entry.known:
        return entry.shown if entry.shown is not None else text
    return masked(text)
