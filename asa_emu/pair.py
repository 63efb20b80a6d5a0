"""`asa-emu pair`: both units of a failover pair in one process, their state link in memory.

They share one configuration, the address of `--listen` and a clock; each has a management API of its own. The
primary begins as the active one. Whatever passes between them goes through the same records as between two
machines.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from typing import Any

import trio

from asa_emu.app import (
    BindError,
    HostPort,
    Options,
    Running,
    read_config,
    ready_files,
    run_headend,
)
from asa_emu.config import Report
from asa_emu.serve.store import LocalStore

UNITS = ("primary", "secondary")
FIRST_PORT, LAST_PORT = 20_000, 30_000
"""Where a free port is looked for: below those that the kernel gives to clients, or a client that calls while
nobody listens might be given the very port that it calls, and talk to itself."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A running pair."""

    units: tuple[Running, ...]
    stopping: trio.Event

    @property
    def active(self) -> Running:
        """The unit that serves; the primary while none does."""
        return next(
            (unit for unit in self.units if unit.link is not None and unit.link.active), self.units[0]
        )

    @property
    def standby(self) -> Running:
        """The other one."""
        return self.units[1] if self.active is self.units[0] else self.units[0]

    @property
    def reports(self) -> list[Report]:
        """Lines of the configuration that are kept without effect, or taken leniently."""
        return self.units[0].reports

    def ready_line(self) -> str:
        """The line on stdout."""
        primary, secondary = self.units
        return f"{primary.ready_line()} mate={secondary.manage}"

    def ready_record(self) -> dict[str, Any]:
        """The contents of the ready file: the primary's, and those of both."""
        records = [unit.ready_record() for unit in self.units]
        return {**records[0], "units": records}


async def run_pair(
    options: Options, *, task_status: trio.TaskStatus[Pair] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a pair until `Pair.stopping` is set, or cancelled.

    Raises `UsageError` or `BindError` before it has started.
    """
    listen = options.listen or HostPort("127.0.0.1", 8443)
    if not listen.port:
        listen = HostPort(listen.host, _free_port(listen.host))
    said = read_config(options).failover
    store = LocalStore(said.unit_timers.hold)
    lines = ["failover", "failover lan interface folink state-link", "failover link statelink state-link"]
    if said.lan is not None or said.link is not None:
        del lines[1:]
    async with trio.open_nursery() as nursery:
        units: list[Running] = []
        for name in UNITS:
            unit = replace(
                options,
                listen=listen,
                ready_file=None,
                typed=(*options.typed, *lines, f"failover lan unit {name}"),
                manage=options.manage if name == "primary" else HostPort(options.manage.host, 0),
                console=options.console if name == "primary" else None,
                store=store,
            )
            units.append(await nursery.start(run_headend, unit))
        pair = Pair(tuple(units), trio.Event())
        for one in units:
            assert one.link is not None  # each has a mate
            await one.link.look()
        nothing_more = replace(options, state=None)  # each unit has written its own file there
        with ready_files(nothing_more, pair.ready_record(), units[0].manage.port):
            task_status.started(pair)
            await pair.stopping.wait()
        active, standby = pair.active, pair.standby
        assert standby.link is not None
        await standby.link.retire()  # or the active one would hand over to it
        standby.stopping.set()
        active.stopping.set()


def _free_port(host: str) -> int:
    """A port that is free for TCP and UDP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(FIRST_PORT, LAST_PORT):
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(family, kind) as sock:
                    sock.bind((host, port))
        except OSError:
            continue
        return port
    raise BindError(f"no port of {host} from {FIRST_PORT} to {LAST_PORT} is free (--listen)")
