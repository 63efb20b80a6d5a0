"""A headend whose group-policy can be said in a line, for the stories about the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from asa_emu.app import Running
from client_emu import Client
from tests.headend_lab import CONFIG, headend

MINUTE = 60.0
USER = "user001"


@asynccontextmanager
async def lab(state: Path, *lines: str) -> AsyncIterator[Running]:
    """A headend whose group-policy has some more lines."""
    last = " ipv6-address-pools value POOL6\n"
    config = CONFIG.replace(last, last + "".join(f" {line}\n" for line in lines))
    async with headend(state, config) as running:
        yield running


def names_of(vpn: Client) -> list[str]:
    """What happened, by name."""
    return [event.name for event in vpn.events]
