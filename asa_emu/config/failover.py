"""The `failover …` commands: what their lines stand for, and all of them together as one view."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from asa_emu.config.document import Block, Setting
from asa_emu.config.facts import MASKED
from asa_emu.config.syntax import Said

UnitName: TypeAlias = Literal["primary", "secondary"]


@dataclass(frozen=True, slots=True)
class Timers:
    """How often the units look for each other, and how long one may be missing; seconds."""

    poll: float
    hold: float


UNIT_TIMERS: Final = Timers(1.0, 15.0)
INTERFACE_TIMERS: Final = Timers(5.0, 25.0)


@dataclass(frozen=True, slots=True)
class Interface:
    """`failover lan interface` or `failover link`: the name of an interface, and which one it is."""

    name: str
    hardware: str = ""


@dataclass(frozen=True, slots=True)
class Failover:
    """Everything that the configuration says about failover; what nobody said is an ASA's default."""

    enabled: bool = False
    unit: UnitName | None = None
    lan: Interface | None = None
    link: Interface | None = None
    """The stateful link; an ASA carries no session without it."""
    unit_timers: Timers = UNIT_TIMERS
    interface_timers: Timers = INTERFACE_TIMERS
    interface_policy: str = "1"
    key: str = field(default="", repr=False)
    replicates_http: bool = False


# Values of single lines.

_UNIT_RANGES: Final = ((1.0, 15.0, 0.2, 0.999), (1.0, 45.0, 0.8, 0.999), 3)
_INTERFACE_RANGES: Final = ((1.0, 15.0, 0.5, 0.999), (5.0, 75.0, 0.5, 0.999), 5)
"""Poll and hold time, each from and to in seconds and in milliseconds, and how many polls fit at least."""


def unit_timers(said: Said) -> Timers:
    """Return what `failover polltime [unit]` says; without a hold time that is three polls, 15 s at least."""
    poll, hold = _read(said, _UNIT_RANGES)
    return Timers(poll, max(15.0, 3 * poll) if hold is None else hold)


def interface_timers(said: Said) -> Timers:
    """Return what `failover polltime interface` says; the hold time is five polls unless said."""
    poll, hold = _read(said, _INTERFACE_RANGES)
    return Timers(poll, max(5.0, 5 * poll) if hold is None else hold)


def _read(said: Said, ranges: tuple[tuple[float, ...], tuple[float, ...], int]) -> tuple[float, float | None]:
    polls, holds, least = ranges
    before, _, after = " ".join(said.words).partition(" holdtime ")
    poll = _seconds(said.number("POLL"), "msec" in before, polls)
    hold = _seconds(said.number("HOLD"), "msec" in after, holds) if after else None
    if hold is not None and hold < least * poll:
        raise ValueError(f"the holdtime has to be {least} times the polltime at least")
    return poll, hold


def _seconds(number: float | None, in_ms: bool, limits: tuple[float, ...]) -> float:
    low, high = limits[2:] if in_ms else limits[:2]
    seconds = (number or 0.0) / (1000 if in_ms else 1)
    if not low <= seconds <= high:
        factor, unit = (1000, "ms") if in_ms else (1, "s")
        raise ValueError(f"{number:g} {unit} where {low * factor:g} to {high * factor:g} {unit} are allowed")
    return seconds


def free_timers(said: Said) -> Timers:
    """Return what `!emu failover poll 200ms hold 1s` says: any two, as long as some polls fit."""
    timers = Timers(said.number("POLL") or 0.0, said.number("HOLD") or 0.0)
    if timers.hold < 3 * timers.poll:
        raise ValueError("the hold time has to be 3 times the poll time at least")
    return timers


def interface(said: Said) -> Interface:
    """Return an interface that the units meet on."""
    return Interface(said.text("NAME"), said.text("PHYSICAL") if "PHYSICAL" in said.bound else "")


def key_texts(said: Said, value: object) -> tuple[str, str]:
    """Spell `failover key` again."""
    return f"failover key {value}", f"failover key {MASKED}"


# All lines together.

_ENABLED: Final = Setting[bool]("failover", False)
_UNIT: Final = Setting[UnitName | None]("failover lan unit", None)
_LAN: Final = Setting[Interface | None]("failover lan interface", None)
_LINK: Final = Setting[Interface | None]("failover link", None)
_SAID_UNIT_TIMERS: Final = Setting[Timers]("failover polltime", UNIT_TIMERS)
_SAID_INTERFACE_TIMERS: Final = Setting[Timers]("failover polltime interface", INTERFACE_TIMERS)
_INTERFACE_POLICY: Final = Setting[str]("failover interface-policy", "1")
_KEY: Final = Setting[str]("failover key", "")
_HTTP: Final = Setting[bool]("failover replication http", False)
OWN: Final = ("failover lan unit", "failover key")
"""Statements that each unit makes for itself: they are not carried to the mate."""


def read_failover(top: Block) -> Failover:
    """Return what the top level of a configuration says about failover."""
    return Failover(
        enabled=top.value(_ENABLED),
        unit=top.value(_UNIT),
        lan=top.value(_LAN),
        link=top.value(_LINK),
        unit_timers=top.value(_SAID_UNIT_TIMERS),
        interface_timers=top.value(_SAID_INTERFACE_TIMERS),
        interface_policy=top.value(_INTERFACE_POLICY),
        key=top.value(_KEY),
        replicates_http=top.value(_HTTP),
    )
