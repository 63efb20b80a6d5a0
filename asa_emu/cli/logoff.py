"""`vpn-sessiondb logoff`: which sessions, the confirmation, and how many they were (S88-S90)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from asa_emu.cli import unverified as u
from asa_emu.cli.console import Console
from asa_emu.cli.session_query import FOREIGN_TYPES, PROTOCOLS
from asa_emu.config.syntax import Fault, Said
from asa_emu.session.selection import Logoff

PATTERNS: Final = tuple(
    f"vpn-sessiondb logoff {selector} [noconfirm]"
    for selector in (
        f"{{all|anyconnect|svc|webvpn|{'|'.join(FOREIGN_TYPES)}}}",
        "index <INDEX:int 1-4294967295>",
        "ipaddress <ADDRESS:ip>",
        "name <USER>",
        f"protocol {{{'|'.join(PROTOCOLS)}}}",
        "tunnel-group <GROUP>",
    )
)
INACTIVE_PATTERN: Final = "vpn-sessiondb logoff inactive [noconfirm]"
"""An enhancement that no ASA has (CSCuh55707)."""
PROMPT: Final = "Do you want to logoff the VPN session(s)? [confirm]"

_Kind: TypeAlias = Literal[
    "index", "name", "ipaddress", "protocol", "tunnel_group", "inactive", "all", "anyconnect", "webvpn"
]
_TYPES: dict[str, _Kind] = {
    "all": "all",
    "anyconnect": "anyconnect",
    "svc": "anyconnect",
    "webvpn": "webvpn",
    "inactive": "inactive",
}
_VALUED: dict[str, _Kind] = {
    "index": "index",
    "ipaddress": "ipaddress",
    "name": "name",
    "protocol": "protocol",
    "tunnel-group": "tunnel_group",
}


def logoff(console: Console, said: Said) -> str:
    """Log the selected sessions off, after a confirmation unless `noconfirm` was said."""
    if console.stands_by:
        raise Fault("semantic", u.NOT_ACTIVE)
    selector, *rest = said.words[2:]
    value = said.argument or (rest[0] if selector in _VALUED else selector)
    at_once = len(rest) > (selector in _VALUED)

    def act() -> str:
        return _act(console, selector, value)

    return act() if at_once else console.confirm(PROMPT, act)


def _act(console: Console, selector: str, value: str) -> str:
    kind = _VALUED.get(selector) or _TYPES.get(selector)
    db = console.headend.db
    if kind == "index" and db.by_index(int(value)) is None:
        return u.INVALID_INDEX
    count = 0 if kind is None else db.logoff(Logoff(kind, value), console.now())
    if kind == "name":
        which = f'with name "{value}"'
    else:
        which = u.LOGGED_OFF.get(kind or "", u.LOGGED_OFF_TYPE).format(value=value)
    return f"INFO: Number of sessions {which} logged off : {count}\n"
