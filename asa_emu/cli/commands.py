"""The commands outside configuration mode, one table in Cisco's notation, and the trees they grow.

To teach the console a command, add a row: abbreviations, `?`, ambiguity and the caret under a wrong word
follow, since a row is matched by the same syntax as the configuration's lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Final, TypeAlias

from asa_emu.cli import emulator, session_query, show
from asa_emu.cli import logoff as log_off
from asa_emu.cli import modes as m
from asa_emu.cli.console import Console
from asa_emu.cli.logoff import logoff
from asa_emu.cli.show_balancing import show_load_balancing
from asa_emu.cli.show_failover import failover_active, no_failover_active, show_failover
from asa_emu.config.grammar import MODES
from asa_emu.config.syntax import Node, Said, compile_patterns

Run: TypeAlias = Callable[[Console, Said], str]


class Level(IntEnum):
    """Where a command is known; each level has those of the lower ones too."""

    USER = 0
    PRIVILEGED = 1
    CONFIGURATION = 2


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One command. A row without `run` only says what `?` shows for its words."""

    pattern: str
    help: str
    run: Run | None = None
    level: Level = Level.PRIVILEGED


_SECTIONS = "|".join(sorted({row.head[0] for row in MODES["config"].commands} - {"ASA"}))
R = Row
_USER = Level.USER
_CONFIG = Level.CONFIGURATION
# fmt: off
ROWS: Final = (
    R("show", "Show running system information", level=_USER),
    R("terminal", "Set terminal line parameters", level=_USER),
    R("no", "Negate a command"),
    R("emulator", "What an ASA does not have: time, bugs, display"),
    R("emulator clock", "Bend emulated time"),
    R("show vpn-sessiondb", "Show VPN sessions"),
    R("enable [<LEVEL:int 0-15>]", "Turn on privileged commands", m.enable, _USER),
    R("disable", "Turn off privileged commands", m.disable),
    R("login", "Log in as a particular user", m.login, _USER),
    *(R(word, "Exit from the EXEC", m.leave, _USER) for word in ("exit", "logout", "quit")),
    R("help", "Say how to get help", m.show_help, _USER),
    R("configure terminal", "Configure from the terminal", m.configure_terminal),
    R("terminal pager [lines] <LINES:int 0-2147483647>", "Set the lines on a page", m.pager),
    R("no terminal pager", "Do not page", m.no_pager),
    # what netmiko says to a telnet console, where it knows IOS alone
    R("terminal length <LINES:int 0-2147483647>", "Set the lines on a page, as on IOS", m.pager, _USER),
    R("terminal width <COLUMNS:int 0-511>", "Set the width of the terminal", m.width),
    R("pager [lines] <LINES:int 0-2147483647>", "Set the lines on a page", m.pager, _CONFIG),
    R("no pager", "Do not page", m.no_pager, _CONFIG),
    R("show clock [detail]", "Show the time", show.show_clock, _USER),
    R("show curpriv", "Show the privilege level", show.show_curpriv, _USER),
    R("show version", "Show the release", show.show_version, _USER),
    R("show logging [setting]", "Show the log buffer", show.show_logging),
    R("clear logging buffer", "Empty the log buffer", show.clear_logging),
    R("show startup-config", "Show the stored configuration", show.show_startup_config),
    R("show running-config [all]", "Show the configuration", show.show_running_config),
    R(f"show running-config [all] {{{_SECTIONS}}} [<NAME> [<NAME> [<NAME>]]]", "Show a part of it",
      show.show_running_config),
    R("show webvpn anyconnect", "Show the client images", show.show_anyconnect_images),
    R("show ip local pool <NAME>", "Show a pool of addresses", show.show_pool),
    R(session_query.SUMMARY_PATTERN, "Count sessions and tunnels", session_query.show_summary),
    R(session_query.LIST_PATTERN, "Show sessions of a type", session_query.show_list),
    R(session_query.INDEX_PATTERN, "Show one session", session_query.show_index),
    R(session_query.RATIO_PATTERN, "Show shares of protocols or ciphers", session_query.show_ratio),
    R(session_query.LICENSE_PATTERN, "Show licences and their use", session_query.show_licenses),
    R("show failover", "Show the failover pair", show_failover),
    R("failover active", "Make this unit the active one", failover_active),
    R("no failover active", "Make the other unit the active one", no_failover_active),
    R("show vpn load-balancing", "Show the load-balancing cluster", show_load_balancing),
    *(R(pattern, "Log VPN sessions off", logoff) for pattern in log_off.PATTERNS),
    R("write [memory]", "Store the configuration", m.write_memory),
    R("write terminal", "Show the configuration", show.show_running_config),
    R("copy [/noconfirm] running-config startup-config", "Store the configuration", m.copy),
    R("emulator clock show", "Show emulated time and its rate", emulator.clock_show),
    R("emulator clock advance <DURATION:seconds>", "Jump ahead: 90s, 30m, 2h", emulator.clock_advance),
    R("emulator clock rate <RATE>", "Let time pass faster", emulator.clock_rate),
    R("emulator quirk <ID>", "Have a Cisco bug", emulator.switch("!emu quirk")),
    R("no emulator quirk <ID>", "Have it no more", emulator.switch("no !emu quirk")),
    R("emulator feature <ID>", "Have an enhancement", emulator.switch("!emu feature")),
    R("no emulator feature <ID>", "Have it no more", emulator.switch("no !emu feature")),
    R("emulator display {8.x|9.x}", "Choose the layout of show vpn-sessiondb", emulator.display),
)
# fmt: on
_ENHANCED: Final = (R(log_off.INACTIVE_PATTERN, "Log inactive VPN sessions off", logoff),)


@cache
def tree(level: Level, inactive: bool) -> Node[Run | None]:
    """The commands of a level, `inactive` with the enhancement CSCuh55707; grown at first use."""
    rows = (*ROWS, *(_ENHANCED if inactive else ()))
    root = compile_patterns([(row.pattern, row.help, row.run) for row in rows if row.level <= level])
    if level >= Level.PRIVILEGED:
        session_query.graft_filters(root, session_query.show_list)
    return root
