"""`emulator …`: what an ASA does not have. Time, Cisco's bugs and wishes as switches, the display style."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from asa_emu.cli.console import Clock, Console
from asa_emu.cli.show import show_clock
from asa_emu.cli.show_sessiondb import Style
from asa_emu.config.syntax import Fault, Said

MAX_ADVANCE: Final = 10 * 365 * 86400.0  # seconds
MAX_RATE: Final = 1_000_000.0


def _clock(console: Console) -> Clock:
    if console.services.clock is None:
        raise Fault("semantic", "this headend's clock cannot be bent")
    return console.services.clock


def clock_show(console: Console, said: Said) -> str:
    """`emulator clock show`: the emulated time, and how fast it passes."""
    rate = 1.0 if console.services.clock is None else console.services.clock.rate
    return show_clock(console, said) + f"Rate: {rate:g}\n"


def clock_advance(console: Console, said: Said) -> str:
    """`emulator clock advance 30m`: jump ahead; what is due happens now."""
    seconds = said.number("DURATION") or 0.0
    if seconds > MAX_ADVANCE:
        raise Fault("invalid", "too far", said.position)
    _clock(console).advance(seconds)
    return clock_show(console, said)


def clock_rate(console: Console, said: Said) -> str:
    """`emulator clock rate 60`: emulated seconds per second."""
    try:
        rate = float(said.text("RATE"))
    except ValueError:
        rate = 0.0
    if not 0 < rate <= MAX_RATE:
        raise Fault("invalid", "no rate", said.position)
    _clock(console).set_rate(rate)
    return clock_show(console, said)


def switch(words: str) -> Callable[[Console, Said], str]:
    """`[no] emulator quirk ID` and `feature`: a line of the configuration, so `write memory` keeps it."""

    def run(console: Console, said: Said) -> str:
        return console.configure(f"{words} {said.text('ID')}")

    return run


def display(console: Console, said: Said) -> str:
    """`emulator display 8.x`: the layout of `show vpn-sessiondb`, for all consoles."""
    console.services.style = cast("Style", said.words[-1])
    return ""
