"""The running-config as what it is: lines in order, some of them heading a block of further lines.

One structure serves as text and as data. A block maps a key, such as `("pool", "POOL1")` or
`("vpn-idle-timeout",)`, to the entry that said it: its text, its value, its line number. Writing a line
again replaces the entry at its place, `no` deletes it, and an unknown line is an entry like any other, only
without a value, so that it is shown again where it stood. Nothing here knows any command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from asa_emu.config.facts import Hasher, Report, UserRange

T = TypeVar("T")
Key: TypeAlias = tuple[str, ...]
Reference: TypeAlias = tuple[str, str]

BUILT_IN: Final[frozenset[Reference]] = frozenset(
    {
        ("group-policy", "DfltGrpPolicy"),
        ("tunnel-group", "DefaultRAGroup"),
        ("tunnel-group", "DefaultWEBVPNGroup"),
        ("tunnel-group", "DefaultL2LGroup"),
        ("aaa-server", "LOCAL"),
        ("aaa-server", "NONE"),
    }
)


class Setting(NamedTuple, Generic[T]):
    """A command that a block says at most once: its name, and what holds when nobody says it."""

    name: str
    default: T


class Unset:
    """The type of `UNSET`: this block does not say; ask the next one."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


@dataclass(slots=True)
class Entry:
    """One statement. Statements that add up (banner lines, an access list) have a text per line."""

    texts: list[str]
    """As the startup-config has them, without indentation."""
    value: object = None
    shown: str | None = None
    """What `show running-config` prints instead, when the text holds a secret."""
    references: tuple[Reference, ...] = ()
    line: int = field(default=0, compare=False)
    known: bool = True
    block: Block | None = None
    mode: str = ""
    """The configuration mode of its block."""


@dataclass(slots=True)
class Block:
    """The statements under one header, or of the whole file."""

    entries: dict[Key, Entry] = field(default_factory=dict)
    kept: int = 0

    def get(self, setting: Setting[T]) -> T | Unset:
        """Return what this block says, or UNSET."""
        entry = self.entries.get((setting.name,))
        if entry is None:
            return UNSET
        # The grammar gives each setting's command the converter of its type; a test walks all of them.
        return entry.value  # type: ignore[return-value]

    def value(self, setting: Setting[T]) -> T:
        """Return what this block says, or what holds when nobody says it."""
        said = self.get(setting)
        return setting.default if isinstance(said, Unset) else said

    def child(self, *key: str) -> Block | None:
        """Return the block under the statement `key`, when there is one."""
        entry = self.entries.get(key)
        return entry.block if entry else None

    def family(self, name: str) -> Iterator[tuple[Key, Entry]]:
        """Yield the statements whose keys begin with `name`, in order."""
        return ((key, entry) for key, entry in self.entries.items() if key[0] == name)

    def keep(self, text: str, line: int, known: bool = False) -> Entry:
        """Append a line that means nothing here."""
        self.kept += 1
        entry = Entry([text], line=line, known=known)
        self.entries["", str(self.kept)] = entry
        return entry

    def put(self, key: Key, entry: Entry, before: frozenset[str] = frozenset()) -> None:
        """Write a statement: at its old place, else before the first of the families named, else last."""
        if key not in self.entries and before:
            at = next((i for i, other in enumerate(self.entries) if other[0] in before), None)
            if at is not None:
                items = list(self.entries.items())
                items.insert(at, (key, entry))
                self.entries = dict(items)
                return
        self.entries[key] = entry

    def walk(self) -> Iterator[tuple[Block, Key, Entry]]:
        """Yield every statement, blocks included, in the order of the text."""
        for key, entry in list(self.entries.items()):
            yield self, key, entry
            if entry.block is not None:
                yield from entry.block.walk()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Block):
            return NotImplemented
        return list(self.entries.items()) == list(other.entries.items())


@dataclass(slots=True)
class Document:
    """A whole configuration, where it came from, and how often it was changed."""

    source: str = field(default="startup-config", compare=False)
    top: Block = field(default_factory=Block)
    reports: list[Report] = field(default_factory=list, compare=False)
    generation: int = field(default=0, compare=False)
    hasher: Hasher | None = field(default=None, compare=False)

    def declares(self, reference: Reference) -> bool:
        """Tell whether the object a line refers to exists, written or built in."""
        if reference in BUILT_IN or reference in self.top.entries:
            return True
        return reference[0] == "username" and any(
            isinstance(entry.value, UserRange) and entry.value.holds(reference[1])
            for _, entry in self.top.family("users")
        )
