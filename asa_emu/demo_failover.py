"""`asa-emu demo --failover`: the active unit of a pair is killed under clients whose pings go on.

Two headends run as processes of their own and share a redis-server, which this starts and stops as well. The
clients run here, in real time, each with a ping on its way every tenth of a second; what is printed for each
is the longest time without an answer. Where there is no redis-server, both units run in this process, and
instead of being killed the active one is told to give way.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from asa_emu.app import HostPort, Options, Running, configure_logging
from asa_emu.cli.show_sessiondb import render_sessions
from asa_emu.pair import run_pair
from asa_emu.testing import HeadendProcess, running
from asa_emu.testing.redis_server import has_redis_server, redis_server
from client_emu import Client, ClientOptions, parse_gateway

CLIENTS = 3
INSIDE_HOST = "10.20.30.40"
PAUSE = 0.1  # seconds between two pings
PORT = 18443
BACK_WITHIN = 30.0  # seconds
SHOWN = ("This host", "Other host", "Username", "Assigned IP ", "Protocol", "Duration", "Inactivity")
"""How the lines begin that are printed of an answer."""

CONFIG = """\
hostname ciscoasa
failover
failover lan unit {unit}
failover lan interface folink GigabitEthernet0/7
failover link folink GigabitEthernet0/7
failover key only for this demo
!emu failover poll 200ms hold 1s
ip local pool POOL 192.168.1.4-192.168.1.20 mask 255.255.255.0
webvpn
 enable outside
group-policy DfltGrpPolicy attributes
 vpn-tunnel-protocol ssl-client
 vpn-simultaneous-logins 20
 address-pools value POOL
username walter password secret
"""


class ActFailed(Exception):
    """The story went another way than it was told."""


@dataclass
class Unit:
    """One unit of the pair, as far as the story needs it."""

    name: str
    url: str
    pin: str
    ask: Callable[[str], Awaitable[str]]
    """Type a line on its console."""


@dataclass
class Stage:
    """A pair: whoever is active now, who takes over, and how the first one is struck."""

    active: Unit
    standby: Unit
    what: str
    strike: Callable[[], None]


def demo() -> int:
    """Tell the story; the exit code."""
    configure_logging("text", "error")
    code = 0
    try:
        trio.run(_demo)
    except* ActFailed as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print(f"\nThe story broke off: {error}")
        code = 1
    return code


async def _demo() -> None:
    stage = _processes() if has_redis_server() else _embedded()
    async with stage as made:
        await _story(made)


@asynccontextmanager
async def _processes() -> AsyncIterator[Stage]:
    """Both units as processes that meet in Redis."""
    with ExitStack() as stack:
        print("A redis-server starts, and gives nobody the lead before it has been there for two seconds.")
        link = stack.enter_context(redis_server())
        units: list[HeadendProcess] = []
        for name in ("primary", "secondary"):
            start = running(
                CONFIG.format(unit=name), listen=f"127.0.0.1:{PORT}", options=["--state-link", link]
            )
            units.append(await trio.to_thread.run_sync(stack.enter_context, start))
            print(f"The {name} unit is process {units[-1].pid}.")
        first, second = (
            _process(unit, name) for unit, name in zip(units, ("primary", "secondary"), strict=True)
        )
        pid = units[0].pid
        yield Stage(first, second, f"kill -9 {pid}", lambda: os.kill(pid, signal.SIGKILL))


def _process(unit: HeadendProcess, name: str) -> Unit:
    async def ask(line: str) -> str:
        answer: Any = await trio.to_thread.run_sync(unit.api, "POST", "/v1/cli", {"line": line})
        return str(answer["text"])

    return Unit(name, unit.https, unit.pin, ask)


@asynccontextmanager
async def _embedded() -> AsyncIterator[Stage]:
    """Both units in this process."""
    print("There is no redis-server here: both units run in this process.")
    with tempfile.TemporaryDirectory(prefix="asa-emu-demo-") as directory:
        options = Options(
            config_text=CONFIG.format(unit="primary"),
            listen=HostPort("127.0.0.1", 0),
            state=Path(directory),
            log_level="error",
        )
        async with trio.open_nursery() as nursery:
            pair = await nursery.start(run_pair, options)
            first, second = pair.active, pair.standby
            link = first.link
            assert link is not None  # it is a unit of a pair
            yield Stage(
                _embedded_unit(first, "primary"),
                _embedded_unit(second, "secondary"),
                "no failover active",
                lambda: link.switch(active=False),
            )
            nursery.cancel_scope.cancel()


def _embedded_unit(unit: Running, name: str) -> Unit:
    async def ask(line: str) -> str:
        headend = unit.gateway.headend
        if line.startswith("show vpn-sessiondb"):
            return render_sessions(list(headend.db.sessions()), unit.gateway.now())
        assert unit.link is not None  # it is a unit of a pair
        return f"This host: {name.capitalize()} - {unit.link.unit.state.value}\n"

    return Unit(name, str(unit.https), unit.pin, ask)


@dataclass
class Traveller:
    """A client, its pings, and the longest time that none of them came back."""

    vpn: Client
    answered_at: float
    longest: float = 0.0

    async def ping_on(self) -> None:
        """Ping for ever."""
        while True:
            if (await self.vpn.ping(INSIDE_HOST, 1, limit=PAUSE)).received:
                now = time.monotonic()
                self.longest = max(self.longest, now - self.answered_at)
                self.answered_at = now
                await trio.sleep(PAUSE)


async def _story(stage: Stage) -> None:
    options = ClientOptions(
        parse_gateway(stage.active.url), user="walter", password="secret", pin=stage.active.pin
    )
    print(
        f"\n{CLIENTS} clients log in at https://{stage.active.url}, and each pings {INSIDE_HOST} from now on."
    )
    async with AsyncExitStack() as stack:
        travellers = [
            Traveller(await stack.enter_async_context(Client(options)), time.monotonic())
            for _ in range(CLIENTS)
        ]
        addresses = [one.vpn.ip4 for one in travellers]
        async with trio.open_nursery() as nursery:
            for one in travellers:
                nursery.start_soon(one.ping_on)
            await trio.sleep(2)
            for unit in (stage.active, stage.standby):
                await _show(unit, "show failover")
            await _show(stage.active, "show vpn-sessiondb anyconnect")
            print(f"\n{stage.what}")
            struck_at = time.monotonic()
            for one in travellers:
                one.longest = 0.0
            stage.strike()
            await _all_back(travellers, struck_at)
            await trio.sleep(1)
            await _show(stage.standby, "show failover")
            await _show(stage.standby, "show vpn-sessiondb anyconnect")
            nursery.cancel_scope.cancel()
        print("\nWithout data, and nobody was asked for a password:")
        for one in travellers:
            print(f"    {one.vpn.ip4:<14} {one.longest:5.2f} s")
        if [one.vpn.ip4 for one in travellers] != addresses:
            raise ActFailed("a client has another address than before")


async def _all_back(travellers: list[Traveller], struck_at: float) -> None:
    """Wait until each has been without data, and has them again."""
    with trio.move_on_after(BACK_WITHIN):
        for one in travellers:
            while one.answered_at <= struck_at or one.longest <= 3 * PAUSE:  # noqa: ASYNC110 -- it just pings
                await trio.sleep(PAUSE)
        return
    raise ActFailed(f"not everybody was back after {BACK_WITHIN:g} s")


async def _show(unit: Unit, command: str) -> None:
    """Print of what a unit says the lines that matter here."""
    lines = (await unit.ask(command)).splitlines()
    print(f"\n{unit.name}# {command}")
    for line in lines:
        if line.strip().startswith(SHOWN):
            print(line)
