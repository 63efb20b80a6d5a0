"""The `logging …` commands: what their lines stand for, and all of them together as one view.

An ASA sends a message to a destination (trap, which means the syslog hosts; buffered, console, monitor) when
a filter of that destination lets it pass: a severity and all that is worse, or a list made of `logging list`
lines. Which messages there are is not known here, only their numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias

from asa_emu.config.document import Block, Setting
from asa_emu.config.facts import LEVELS
from asa_emu.config.syntax import Said

CLASSES: Final = {
    "auth": ("109", "113"),
    "config": ("111", "112", "208", "308"),
    "dap": ("734",),
    "ha": ("101", "102", "103", "104", "105", "210", "311", "709"),
    "ipaa": ("735", "737"),
    "ssl": ("725",),
    "svc": ("722",),
    "vpnfo": ("720",),
    "webfo": ("721",),
    "vpnlb": ("718",),
    "webvpn": ("716",),
}
"""Message classes by the first three digits of their messages' numbers, as far as sessions go."""

DESTINATIONS: Final = ("trap", "buffered", "console", "monitor")
DEFAULT_PORTS: Final = {"udp": 514, "tcp": 1470}
_PROTOCOLS: Final = {"udp": "udp", "17": "udp", "tcp": "tcp", "6": "tcp"}

Stamp: TypeAlias = Literal["asa", "rfc5424"]
Layout: TypeAlias = Literal["asa", "emblem", "rfc5424"]


@dataclass(frozen=True, slots=True)
class LogClause:
    """What one line of a filter lets pass: messages by number and severity."""

    level: int = 7
    """The mildest severity."""
    numbers: tuple[int, int] = (0, 999_999)
    prefixes: tuple[str, ...] = ("",)
    """The first digits of the message's number, any of these."""

    def passes(self, number: int, severity: int) -> bool:
        """Tell whether a message passes."""
        return (
            severity <= self.level
            and self.numbers[0] <= number <= self.numbers[1]
            and str(number).startswith(self.prefixes)
        )


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What a destination takes."""

    name: str
    """Of the level or the list."""
    clauses: tuple[LogClause, ...]

    def passes(self, number: int, severity: int) -> bool:
        """Tell whether a message passes: by one clause at least."""
        return any(clause.passes(number, severity) for clause in self.clauses)


@dataclass(frozen=True, slots=True)
class LogHost:
    """`logging host`: where messages are sent."""

    interface: str
    """Behind which it stands; empty when an `!emu` line named none."""
    address: str
    protocol: Literal["udp", "tcp"] = "udp"
    port: int = DEFAULT_PORTS["udp"]
    layout: Layout = "asa"


@dataclass(frozen=True, slots=True)
class DeviceId:
    """`logging device-id`: what stands before the colon of every line that leaves."""

    kind: str
    argument: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """Everything that the configuration says about messages; what nobody said is an ASA's default."""

    said: bool = False
    """Whether there is any `logging` line at all."""
    enabled: bool = False
    timestamp: Stamp | None = None
    device_id: DeviceId | None = None
    facility: int = 20
    filters: dict[str, LogFilter] = field(default_factory=dict)
    """By destination; one that is missing gets nothing."""
    buffer_size: int = 4096
    """Bytes."""
    queue: int = 512
    """Messages that may wait for a destination; 0 for as many as an ASA can have, 8192."""
    hosts: tuple[LogHost, ...] = ()
    hide_username: bool = True
    """Whether a failed login's user name is hidden: it may be a password typed too early."""
    permit_hostdown: bool = False
    emblem: bool = False
    """EMBLEM layout for all destinations but the hosts, which say it one by one."""
    disabled: frozenset[int] = frozenset()
    levels: dict[int, int] = field(default_factory=dict)
    """Severities that were changed, by message."""


# Values of single lines.


def severity(said: Said) -> str:
    """Return a filter's name: that of a level, or of a list."""
    number = said.number("LEVEL")
    if number is not None:
        if number >= len(LEVELS):
            raise ValueError("expected a severity from 0 to 7")
        return LEVELS[int(number)]
    if "LIST" in said.bound:
        return said.text("LIST")
    return next(level for level in LEVELS if level in said.chosen)


def severity_texts(said: Said, value: object) -> tuple[str, str]:
    """Spell a line that ends in a severity again, by name as an ASA does."""
    text = " ".join((*said.words[:-1], str(value)))
    return text, text


def timestamp(said: Said) -> Stamp:
    """Return the layout of time stamps."""
    return "rfc5424" if "rfc5424" in said.chosen else "asa"


def device_id(said: Said) -> DeviceId:
    """Return a device id; a string of ≤ 16 characters."""
    argument = next(iter(said.bound.values()))[0] if said.bound else ""
    if len(str(argument)) > 16 and "string" in said.chosen:
        raise ValueError("a device id has at most 16 characters")
    return DeviceId(said.words[2], str(argument))


def host(said: Said) -> LogHost:
    """Return a host; UDP 514 or TCP 1470 unless said otherwise, other ports 1025 to 65535 (`!emu`: any)."""
    word = said.text("PORT") if "PORT" in said.bound else "udp"
    name, slash, digits = word.lower().partition("/")
    protocol = _PROTOCOLS.get(name)
    port = int(digits) if re.fullmatch(r"[0-9]{1,5}", digits) else DEFAULT_PORTS.get(protocol or "", 0)
    default = port == DEFAULT_PORTS.get(protocol or "")
    if protocol is None or bool(slash) != bool(re.fullmatch(r"[0-9]{1,5}", digits)):
        raise ValueError(f"bad value {word!r}, expected udp, tcp, udp/PORT or tcp/PORT")
    if not default and not (1 if said.freed else 1025) <= port <= 65535:
        raise ValueError(f"bad port {port}, expected 1025 to 65535; an !emu line takes any from 1")
    layout = next((layout for layout in ("emblem", "rfc5424") if layout in said.chosen), "asa")
    if layout == "emblem" and protocol == "tcp":
        raise ValueError("the EMBLEM format goes over UDP only")
    address = str(ip_address(said.text("ADDRESS")))
    interface = said.text("IFNAME") if "IFNAME" in said.bound else ""
    return LogHost(interface, address, "tcp" if protocol == "tcp" else "udp", port, _layout(layout))


def _layout(word: str) -> Layout:
    return "emblem" if word == "emblem" else "rfc5424" if word == "rfc5424" else "asa"


def clause(said: Said) -> list[LogClause]:
    """Return a line of a `logging list` as a list of one, since lines add up."""
    if "RANGE" in said.bound:
        parts = re.fullmatch(r"(\d{6})(?:-(\d{6}))?", said.text("RANGE"))
        if parts is None:
            raise ValueError("expected a message number, or a range such as 722001-722056")
        return [LogClause(numbers=(int(parts[1]), int(parts[2] or parts[1])))]
    prefixes: tuple[str, ...] = ("",)
    if "CLASS" in said.bound:
        name = said.text("CLASS")
        if name not in CLASSES:
            raise ValueError(f"unknown message class {name!r}, known: {', '.join(CLASSES)}")
        prefixes = CLASSES[name]
    return [LogClause(LEVELS.index(severity(said)) if "level" in said.chosen else 7, prefixes=prefixes)]


# All lines together.

_ENABLE: Final = Setting[bool]("logging enable", False)
_TIMESTAMP: Final = Setting[Stamp | None]("logging timestamp", None)
_DEVICE_ID: Final = Setting[DeviceId | None]("logging device-id", None)
_FACILITY: Final = Setting[int]("logging facility", 20)
_BUFFER_SIZE: Final = Setting[int]("logging buffer-size", 4096)
_QUEUE: Final = Setting[int]("logging queue", 512)
_HIDE_USERNAME: Final = Setting[bool]("logging hide username", True)
_PERMIT_HOSTDOWN: Final = Setting[bool]("logging permit-hostdown", False)
_EMBLEM: Final = Setting[bool]("logging emblem", False)


def read_logging(top: Block) -> Logging:
    """Return what the top level of a configuration says about messages."""
    numbered = {int(key[1]): entry.value for key, entry in top.family("logging message")}
    changed = {int(key[1]): entry.value for key, entry in top.family("logging message level")}
    return Logging(
        said=any(key[0].startswith("logging ") for key in top.entries),
        enabled=top.value(_ENABLE),
        timestamp=top.value(_TIMESTAMP),
        device_id=top.value(_DEVICE_ID),
        facility=top.value(_FACILITY),
        filters={
            name: _filter(top, str(entry.value))
            for name in DESTINATIONS
            if (entry := top.entries.get((f"logging {name}",))) is not None
        },
        buffer_size=top.value(_BUFFER_SIZE),
        queue=top.value(_QUEUE),
        hosts=tuple(e.value for _, e in top.family("logging host") if isinstance(e.value, LogHost)),
        hide_username=top.value(_HIDE_USERNAME),
        permit_hostdown=top.value(_PERMIT_HOSTDOWN),
        emblem=top.value(_EMBLEM),
        disabled=frozenset(number for number, enabled in numbered.items() if not enabled),
        levels={number: LEVELS.index(str(level)) for number, level in changed.items()},
    )


def level_filter(level: int) -> LogFilter:
    """Return the filter of a severity, 0 to 7."""
    return LogFilter(LEVELS[level], (LogClause(level),))


def _filter(top: Block, name: str) -> LogFilter:
    if name in LEVELS:
        return level_filter(LEVELS.index(name))
    entry = top.entries.get(("logging-list", name))
    lines = entry.value if entry is not None and isinstance(entry.value, list) else []
    return LogFilter(name, tuple(line for line in lines if isinstance(line, LogClause)))
