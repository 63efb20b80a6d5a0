"""Members of a load-balancing cluster that a test can kill one by one, in its own event loop."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from asa_emu.app import HostPort, Options, Running, run_headend
from asa_emu.serve.balancing import LocalMeeting, Meeting
from asa_emu.syslog.facts import Fact, Notice, TlsUp
from client_emu.client import Client
from client_emu.gateway import Gateway
from client_emu.options import ClientOptions
from tests.headend_lab import CONFIG, EPOCH, PASSWORD

CLUSTER = "127.0.0.1"


@dataclass
class Members:
    """A cluster at 127.0.0.1, its members at 127.0.0.2 and so on; the first has the highest priority."""

    state: Path
    nursery: trio.Nursery
    typed: tuple[str, ...] = ()
    port: int = 0
    meeting: Meeting = field(default_factory=LocalMeeting)
    running: dict[int, Running] = field(default_factory=dict)
    scopes: dict[int, trio.CancelScope] = field(default_factory=dict)
    notices: dict[int, list[int]] = field(default_factory=dict)
    """Numbers of the messages that a member has logged about itself."""
    visitors: list[str] = field(default_factory=list)
    """Who has shaken hands on the cluster's address."""

    async def start(self, number: int, *typed: str) -> Running:
        """Have a member at 127.0.0.(1 + number)."""
        lines = (f"hostname lab-{number}", "vpn load-balancing", f"cluster ip address {CLUSTER}")
        options = Options(
            config_text=CONFIG,
            listen=HostPort(f"127.0.0.{1 + number}", self.port),
            state=self.state,
            epoch=EPOCH,
            typed=(*lines, f"priority {10 - number}", *self.typed, *typed, "participate"),
            names=tuple(f"127.0.0.{n}" for n in range(1, 6)),
            meeting=self.meeting,
        )
        running: Running = await self.nursery.start(self._run, number, options)
        self.running[number] = running
        heard = self.notices[number] = []

        def listen(fact: Any) -> None:
            self._hear(heard, fact)

        running.gateway.headend.listeners.append(listen)
        return running

    async def _run(self, number: int, options: Options, task_status: trio.TaskStatus[Running]) -> None:
        with trio.CancelScope() as self.scopes[number]:
            await run_headend(options, task_status=task_status)

    def _hear(self, heard: list[int], fact: Fact) -> None:
        if isinstance(fact, Notice):
            heard += [number for number in fact.numbers if 718000 < number < 719000]
        elif isinstance(fact, TlsUp) and fact.local.ip == CLUSTER:
            self.visitors.append(fact.peer.ip)

    def kill(self, number: int) -> None:
        """Let it end without a word."""
        self.scopes[number].cancel()
        del self.running[number]

    @property
    def directors(self) -> list[int]:
        """Those that have the cluster's address."""
        return [number for number, running in self.running.items() if running.balancing.listens]

    @property
    def sessions(self) -> dict[int, int]:
        """How many sessions each member has."""
        return {number: len(running.gateway.headend.db) for number, running in self.running.items()}

    def client(self, user: str, host: str = CLUSTER, **options: Any) -> Client:
        """A client that knows the cluster alone."""
        pin = next(iter(self.running.values())).pin
        wanted = {"user": user, "password": PASSWORD, "group": "staff", "pin": pin, **options}
        return Client(ClientOptions(gateway=Gateway(host, self.port), **wanted))


def free_port() -> int:
    """A port that nobody has on any loopback address, most likely."""
    with socket.socket() as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def members(
    state: Path, *numbers: int, typed: tuple[str, ...] = (), meeting: Meeting | None = None
) -> AsyncIterator[Members]:
    """Run these members around a block, which begins when one of them directs."""
    async with trio.open_nursery() as nursery:
        made = Members(state, nursery, typed, free_port(), meeting or LocalMeeting())
        for number in numbers:
            await made.start(number)
        await made.running[min(numbers)].balancing.has_listened.wait()
        try:
            yield made
        finally:
            nursery.cancel_scope.cancel()
