"""Orders to a running client, as they come from stdin, from a story and from the console.

An order is a mapping: `{"do": "unplug", "interface": "wired"}`. `carry_out` does what it says, or raises
`OrderRefused` with a sentence, and then the connection is as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from asa_emu.wire.header_lines import MIN_MTU
from client_emu.client import Client

VERBS: Final = ("disconnect", "detach", "reconnect", "suspend", "resume", "unplug", "plug")


class OrderRefused(Exception):
    """An order that cannot be understood or carried out."""


def parse_order_untrusted(line: bytes) -> Mapping[str, object]:
    """One line of JSON. Raises OrderRefused."""
    try:
        order = json.loads(line)
    except (ValueError, RecursionError):
        order = None
    if not isinstance(order, dict) or "do" not in order:
        raise OrderRefused('a command is a line such as {"do": "disconnect"}')
    return order


async def carry_out(client: Client, order: Mapping[str, object]) -> None:
    """Do what the order says. Raises OrderRefused."""
    try:
        match order.get("do"):
            case "disconnect":
                await client.disconnect()
            case "detach":
                await client.detach()
            case "reconnect":
                client.reconnect()
            case "suspend":
                client.suspend()
            case "resume":
                client.resume()
            case "unplug":
                client.unplug(_text(order, "interface"))
            case "plug":
                client.plug(_text(order, "interface"), _text(order, "address"), _mtu(order))
            case verb:
                raise OrderRefused(f"there is no command {str(verb)[:64]!r}; there are {', '.join(VERBS)}")
    except ValueError as error:
        raise OrderRefused(str(error)) from error


def _text(order: Mapping[str, object], name: str) -> str | None:
    value = order.get(name)
    if value is None or (isinstance(value, str) and 0 < len(value) <= 64):
        return value
    raise OrderRefused(f"{name} is a name")


def _mtu(order: Mapping[str, object]) -> int | None:
    value = order.get("mtu")
    if value is None or (isinstance(value, int) and MIN_MTU <= value <= 65535):
        return value
    raise OrderRefused(f"mtu is from {MIN_MTU} to 65535 bytes")
