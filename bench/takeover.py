"""All clients of a failover pair come back at once, after a `kill -9` of its active unit.

Two processes share a redis-server on loopback; both units are on the first core, where the dead one leaves
its half to the other, and the clients and Redis are on the second. A client whose connection ends tries by
its schedule to come back with its token, and is back when an echo through its new tunnel has returned. Its
address must be the one it had, or the run fails.

    eager        at once, then about every quarter of a second: what the headend can take
    openconnect  at once, then after 10, 20, … seconds: what the people behind real clients would see. Some
                 real ones are among them, to show that they do the same

Every instant is one of the clock that the units write their intervals by, seconds since the machine's start.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import resource
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from asa_emu.testing import HeadendProcess, running
from asa_emu.testing.redis_server import has_redis_server, redis_server
from asa_emu.transport.openssl import TlsBroken
from asa_emu.wire.frames import FrameReader, PacketType, encode_frame
from asa_emu.wire.packet import echo_request
from bench.client import Client, Steps, client_context, connect, inside_address, log_in, shake_hands
from bench.crowd import run_scripts
from bench.headend import CONFIG, GATEWAY, HeadendUnderTest, Interval, Stopwatch, cores
from bench.openconnects import Openconnect, openconnects

CLIENTS = 2000
REAL = 16
_DPD = 300  # seconds; nobody is to be probed meanwhile
_AT_ONCE = 16  # logins
_SYNC_LIMIT = 20.0  # seconds until the standby has everybody
_BACK_LIMIT = 120.0  # seconds from the kill until everybody must be back
_FILES = 4  # descriptors for each client, with room
_FAILOVER = """\
failover
failover lan unit {unit}
failover lan interface folink GigabitEthernet0/7
failover link folink GigabitEthernet0/7
failover key between the two of a bench
!emu failover poll 200ms hold 1s
"""

Schedule = Callable[[], Iterator[float]]
"""Seconds to wait before each attempt, from the end of the connection or of the attempt before."""


def eager() -> Iterator[float]:
    """At once, then four times a second, each client in its own time."""
    yield 0.0
    while True:
        yield random.uniform(0.125, 0.375)


def like_openconnect() -> Iterator[float]:
    """At once, then ten seconds after the first failure, and ten more after each other one, up to 100."""
    return itertools.chain((0.0,), (min(10.0 * failures, 100.0) for failures in itertools.count(1)))


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Exile:
    """A client: inside, outside, or on its way back."""

    __slots__ = ("address", "back_at", "began_at", "client", "source", "steps", "token", "waits")

    def __init__(self, client: Client, source: str, schedule: Schedule) -> None:
        self.client = client
        self.source = source
        self.token = client.token
        self.address = inside_address(client)
        self.waits = schedule()
        self.steps: Steps | None = None
        """None when it is not on its way."""
        self.began_at = 0.0
        """The latest attempt."""
        self.back_at = 0.0

    def come_back(self) -> Steps:
        """From TLS to the first echo. RuntimeError when it is refused."""
        client = self.client
        client.token = self.token
        yield from shake_hands(client)
        yield from connect(client)
        if inside_address(client) != self.address:
            raise _Moved(f"had {self.address}, was given {inside_address(client)}")
        source, gateway = (IPv4Address(text).packed for text in (self.address, GATEWAY))
        client.engine.write(encode_frame(PacketType.DATA, echo_request(source, gateway, 1, 1, bytes(56))))
        client.flush()
        reader = FrameReader()
        while not any(frame.kind == PacketType.DATA for frame in reader.feed(client.read())):
            yield


class _Moved(Exception):
    """The session has another address."""


class Exodus:
    """Everybody, from the kill until all are back."""

    def __init__(
        self,
        held: Mapping[str, Client],
        schedule: Schedule,
        real: Sequence[Openconnect],
        survivor: HeadendUnderTest,
        context: SSL.Context,
    ) -> None:
        self.exiles = [Exile(client, source, schedule) for source, client in held.items()]
        self.attempts = 0
        self.failures: Counter[str] = Counter()
        self.storm: Interval
        """From the new unit's first answer until all were back."""
        self._survivor = survivor
        self._context = context
        self._watch: Stopwatch | None = None
        self._due: list[tuple[float, int, Exile]] = []
        self._numbers = itertools.count()
        self._listening: dict[int, Exile | Openconnect] = {one.fileno(): one for one in real}
        self._real = real
        self._epoll = select.epoll()
        for one in real:
            self._epoll.register(one.fileno(), select.EPOLLIN)
        for exile in self.exiles:
            self._listen(exile)

    def _listen(self, exile: Exile) -> None:
        descriptor = exile.client.sock.fileno()
        self._listening[descriptor] = exile
        self._epoll.register(descriptor, select.EPOLLIN)

    def run(self, killed_at: float) -> None:
        """Let them all come back. RuntimeError when somebody does not."""
        with self._epoll:
            missing = len(self.exiles)
            while missing or any(one.connected_at < killed_at for one in self._real):
                if _now() > killed_at + _BACK_LIMIT:
                    raise RuntimeError(f"{missing} are not back: {self.failures}")
                for descriptor, _ in self._epoll.poll(self._pause()):
                    one = self._listening[descriptor]
                    if isinstance(one, Openconnect):
                        one.hear()
                    else:
                        missing -= self._hear(one)
                now = _now()
                while self._due and self._due[0][0] <= now:
                    self._attempt(heapq.heappop(self._due)[2])
            assert self._watch is not None
            self.storm = self._watch.read()

    def _pause(self) -> float:
        return min(1.0, max(0.0, self._due[0][0] - _now())) if self._due else 1.0

    def _hear(self, exile: Exile) -> bool:
        """Go on with one of them; whether it is back by that."""
        try:
            exile.client.receive()
            if exile.steps is None:
                exile.client.read()
                return False
            if self._watch is None:
                self._watch = Stopwatch(self._survivor)
            next(exile.steps)
        except StopIteration:
            exile.steps, exile.back_at = None, _now()
            return True
        except (OSError, RuntimeError, TlsBroken) as error:
            if exile.steps is not None:
                self._failed(error)
            elif exile.back_at:
                raise RuntimeError("somebody who was back was thrown out again") from error
            del self._listening[exile.client.sock.fileno()]
            self._leave(exile)
        return False

    def _failed(self, error: Exception) -> None:
        self.failures[(error.strerror if isinstance(error, OSError) else None) or str(error)] += 1

    def _leave(self, exile: Exile) -> None:
        exile.client.reset()
        exile.steps = None
        heapq.heappush(self._due, (_now() + next(exile.waits), next(self._numbers), exile))

    def _attempt(self, exile: Exile) -> None:
        self.attempts += 1
        exile.began_at = _now()
        try:
            exile.client = Client(self._survivor.address, self._context, exile.source)
            exile.steps = exile.come_back()
            next(exile.steps)
        except OSError as error:  # refused, or accepted in the last moment of the one that dies
            self._failed(error)
            self._leave(exile)
        else:
            self._listen(exile)


@dataclass(frozen=True, slots=True)
class _Pair:
    active: HeadendProcess
    standby: HeadendProcess


@contextmanager
def _pair() -> Iterator[_Pair]:
    """Both units on the first core; Redis and this process on the other one."""
    before = os.sched_getaffinity(0)
    own, other = cores()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = min(hard, max(soft, 256 + _FILES * CLIENTS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))  # inherited by the units
    listen = f"127.0.0.1:{_free_port()}"
    units = [CONFIG.format(dpd=_DPD) + _FAILOVER.format(unit=name) for name in ("primary", "secondary")]
    try:
        os.sched_setaffinity(0, {other})
        with redis_server() as url:
            os.sched_setaffinity(0, {own})
            flags = ["--state-link", url]
            with (
                running(units[0], listen=listen, options=flags) as active,
                running(units[1], listen=listen, options=flags) as standby,
            ):
                os.sched_setaffinity(0, {other})
                yield _Pair(active, standby)
    finally:
        os.sched_setaffinity(0, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _free_port() -> int:
    """Below those that the kernel gives to clients, so that none of them has it when it is bound again."""
    while True:
        port = random.randrange(15_000, 30_000)
        try:
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port


def _hold(address: tuple[str, int], context: SSL.Context) -> dict[str, Client]:
    """Log them in, each from an address of its own, by which they are named."""
    clients: dict[str, Client] = {}

    def arrivals() -> Iterator[tuple[Client, Steps]]:
        for number in range(CLIENTS):
            source = f"127.1.{number // 250}.{number % 250 + 1}"
            clients[source] = client = Client(address, context, source)
            yield client, log_in(client, number)

    run_scripts(arrivals(), _AT_ONCE)
    return clients


def _addresses(unit: HeadendProcess) -> dict[str, str]:
    return {row["user"]: row["assigned_ip"] for row in unit.sessions() if row["state"] == "active"}


def _wait_synced(pair: _Pair) -> dict[str, str]:
    """Wait until the standby has all that the active unit has; who is connected, and at which address."""
    expected = _addresses(pair.active)
    deadline = time.monotonic() + _SYNC_LIMIT
    while _addresses(pair.standby) != expected:
        if time.monotonic() > deadline:
            raise RuntimeError("the standby has not caught up")
        time.sleep(0.2)
    return expected


def _dropped() -> int:
    """Connections that the kernel has dropped at full queues of listeners, anybody's on this machine."""
    lines = [line.split() for line in Path("/proc/net/netstat").read_text().splitlines()]
    names, values = (line for line in lines if line[0] == "TcpExt:")
    counters = dict(zip(names[1:], values[1:], strict=True))
    return int(counters["ListenDrops"])


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """How long it took half of them, 99 of a hundred, and the last."""
    found = sorted(seconds)
    ranks = {"p50": len(found) // 2, "p99": len(found) * 99 // 100, "longest": len(found) - 1}
    return {name: round(found[rank], 3) for name, rank in ranks.items()}


def _measure(schedule: Schedule, real: int) -> dict[str, Any]:
    if not has_redis_server():
        return {"skipped": "needs redis-server"}
    context = client_context()
    with _pair() as pair:
        survivor = HeadendUnderTest(pair.standby)
        held = _hold(survivor.address, context)
        users = [f"user{CLIENTS + number:05}" for number in range(real)]
        with openconnects(pair.active, users) as peers:
            expected = _wait_synced(pair)
            time.sleep(1.0)
            exodus = Exodus(held, schedule, peers, survivor, context)
            dropped, killed_at = _dropped(), _now()
            os.kill(pair.active.pid, signal.SIGKILL)
            exodus.run(killed_at)
            dropped = _dropped() - dropped
            served_at = pair.standby.api("GET", "/v1/failover")["intervals"][-1]["since"]
            if _addresses(pair.standby) != expected:
                raise RuntimeError("not everybody is back at its own address")
            return _facts(exodus, killed_at, served_at, dropped, peers)


def _facts(
    exodus: Exodus, killed_at: float, served_at: float, dropped: int, peers: Sequence[Openconnect]
) -> dict[str, Any]:
    back = [exile.back_at for exile in exodus.exiles]
    since_kill = spread([at - killed_at for at in back])
    facts: dict[str, Any] = {
        "unit": "s",
        "value": since_kill["p99"],
        "back_at_own_address": len(back),
        "takeover": round(served_at - killed_at, 3),
        "since_kill": since_kill,
        "since_served": spread([at - served_at for at in back]),
        "last_attempt": spread([exile.back_at - exile.began_at for exile in exodus.exiles]),
        "attempts": exodus.attempts,
        "failed": dict(exodus.failures),
        "dropped_by_kernel": dropped,
        "storm": {
            "wall": round(exodus.storm.wall, 3),
            "headend_cpu": round(exodus.storm.headend_cpu, 2),
            **exodus.storm.shares(),
        },
    }
    if peers:
        facts["real_openconnect"] = {
            "clients": len(peers),
            "waits": dict(Counter(str(one.waits) for one in peers)),
            "since_kill": spread([one.connected_at - killed_at for one in peers]),
        }
    return facts


def takeover(_seconds: float) -> dict[str, Any]:
    """Clients that try four times a second."""
    return _measure(eager, 0)


def takeover_openconnect(_seconds: float) -> dict[str, Any]:
    """Clients that try as openconnect does, with some of the real ones among them."""
    return _measure(like_openconnect, REAL)
