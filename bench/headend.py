"""The headend under test: a process of its own, alone on one core, seen from outside.

What it uses is read from /proc (CPU of all its threads, memory as the proportional set size), what it carried
from its management API. A `Stopwatch` reads both processes' CPU beside the wall clock, so that a figure can
say what it cost and whether the generator was what limited it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asa_emu.testing import HeadendProcess, running

GATEWAY = "10.32.0.1"
USERS = 20_000
PASSWORD = "pw"
BUSY = 0.95
"""Share of a core from which a process counts as the limit."""

CONFIG = f"""\
hostname bench
ip local pool POOL 10.32.0.10-10.32.127.254 mask 255.255.128.0
interface GigabitEthernet0/1
 nameif inside
 ip address {GATEWAY} 255.255.128.0
webvpn
 enable outside
 anyconnect enable
 tunnel-group-list enable
group-policy STAFF internal
group-policy STAFF attributes
 dns-server value {GATEWAY}
 vpn-simultaneous-logins 3
 vpn-tunnel-protocol ssl-client
 default-domain value example.test
 split-tunnel-policy tunnelspecified
 split-tunnel-network-list value LAB
 address-pools value POOL
 webvpn
  anyconnect ssl keepalive 20
  anyconnect dpd-interval client {{dpd}}
  anyconnect dpd-interval gateway {{dpd}}
access-list LAB standard permit 10.0.0.0 255.0.0.0
access-list LAB standard permit 172.16.0.0 255.240.0.0
tunnel-group STAFF type remote-access
tunnel-group STAFF general-attributes
 default-group-policy STAFF
tunnel-group STAFF webvpn-attributes
 group-alias staff enable
!emu users user 00000-{USERS - 1:05} password {PASSWORD}
"""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What all tunnels of all sessions have carried, in packets."""

    received: int
    sent: int


class HeadendUnderTest:
    """A running headend and what can be read of it."""

    def __init__(self, process: HeadendProcess) -> None:
        self._process = process
        self.address = (process.host, process.port)
        self.dtls_address = (process.host, int((process.dtls or "").rpartition(":")[2]))

    def cpu_seconds(self) -> float:
        """User and system time used so far: utime + stime, from where they are kept in nanoseconds."""
        spent = 0
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            spent += int((task / "schedstat").read_text().split()[0])
        return spent / 1e9

    def pss_kib(self) -> int:
        """Proportional set size."""
        for line in Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
        raise RuntimeError("no Pss in smaps_rollup")

    def traffic(self) -> Traffic:
        """What the sessions' counters say."""
        rows = self._process.sessions()
        return Traffic(sum(row["pkts_rx"] for row in rows), sum(row["pkts_tx"] for row in rows))

    def session_states(self) -> list[str]:
        """`active` or `inactive`, for each session."""
        return [row["state"] for row in self._process.sessions()]


def cores() -> tuple[int, int]:
    """The core of the headend and the core of the generator; the same one where there is no other."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1 % len(allowed)]


@contextmanager
def headend(dpd: int) -> Iterator[HeadendUnderTest]:
    """A fresh headend on its core, with this process on the other; `dpd` is its DPD interval in seconds."""
    before = os.sched_getaffinity(0)
    own, other = cores()
    os.sched_setaffinity(0, {own})  # inherited by the headend
    try:
        with running(CONFIG.format(dpd=dpd)) as process:
            os.sched_setaffinity(0, {other})
            yield HeadendUnderTest(process)
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of a run in seconds: by the wall clock, and of each process's CPU."""

    wall: float
    headend_cpu: float
    generator_cpu: float

    def shares(self) -> dict[str, Any]:
        """How busy both were, and whether the generator was the limit.

        A generator that floods is always busy; it is the limit where the headend was not.
        """
        headend_share = self.headend_cpu / self.wall
        generator_share = self.generator_cpu / self.wall
        facts: dict[str, Any] = {
            "headend_cpu_share": round(headend_share, 2),
            "generator_cpu_share": round(generator_share, 2),
        }
        if generator_share >= BUSY > headend_share:
            facts["limited_by"] = "generator"
        return facts

    def rate(self, unit: str, count: float, aim: float | None = None) -> dict[str, Any]:
        """The figure for `count` of something done in this stretch."""
        return {
            "unit": unit,
            **({} if aim is None else {"aim": aim}),
            "wall": round(count / self.wall),
            "per_cpu_second": round(count / self.headend_cpu),
            "seconds": round(self.wall, 2),
            **self.shares(),
        }


class Stopwatch:
    """Runs from its making."""

    def __init__(self, under_test: HeadendUnderTest) -> None:
        self._headend = under_test
        self._wall = time.perf_counter()
        self._cpu = under_test.cpu_seconds()
        self._own = time.process_time()

    def read(self) -> Interval:
        """What has passed so far."""
        return Interval(
            time.perf_counter() - self._wall,
            self._headend.cpu_seconds() - self._cpu,
            time.process_time() - self._own,
        )
