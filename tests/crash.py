"""The active unit of a pair is killed again and again, at random instants, under clients that notice.

    .venv/bin/python -m tests.crash [--kills N] [--sessions N] [--seed N]

Two real processes share a redis-server. Clients log in, ping through their tunnels, drop their connections,
resume and log off; every so often the active unit gets SIGKILL, sometimes SIGSTOP, sometimes while the other
one is still reading the sessions. After each strike everybody has to be back, and these hold:

* a session whose login was answered is resumed by its token, at the address that its client was told;
* a token whose log-off was answered is dead;
* no address is held twice;
* no two units were ever active at the same instant.

What breaks one of them is a line in `Report.violations`. The same seed strikes at the same moments of the
clients' lives, as far as two processes and a kernel can repeat anything.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import trio

from asa_emu.transport.contexts import client_context
from asa_emu.transport.openssl import TlsBroken
from asa_emu.transport.stream import TlsStream
from asa_emu.wire.auth_xml import auth_reply, logout
from asa_emu.wire.errors import FrameError
from asa_emu.wire.frames import FrameReader, PacketType, encode_frame
from asa_emu.wire.packet import echo_request
from tests.process_pair import ProcessPair, Unit, boot_clock, wait_until
from tests.redis_lab import RedisServer

INSIDE: Final = ip_address("10.77.0.1").packed
PATIENCE: Final = 2.0  # seconds for an answer, then the connection is given up
PING_EVERY: Final = 0.4
BACK_WITHIN: Final = 20.0  # seconds from a strike until everybody is back
_CONTEXT = client_context()


@dataclass
class Strike:
    """One strike, and what came of it; seconds."""

    number: int
    what: str
    unit: str
    takeover: float = 0.0
    back: list[float] = field(default_factory=list)


@dataclass
class Report:
    """What a run has seen."""

    strikes: list[Strike] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        """The strikes, a line each, and the sums."""
        lines = [
            f"{'':>5}  {'strike':<16} {'unit':<10} {'takeover':>9} {'back p50':>9} {'back p99':>9}  clients"
        ]
        for one in self.strikes:
            back = sorted(one.back) or [0.0]
            lines.append(
                f"{one.number:>5}  {one.what:<16} {one.unit:<10} {one.takeover:>8.2f}s "
                f"{statistics.median(back):>8.2f}s {_p99(back):>8.2f}s  {len(one.back)}"
            )
        everybody = sorted(second for one in self.strikes for second in one.back) or [0.0]
        takeovers = sorted(one.takeover for one in self.strikes) or [0.0]
        lines += [
            "",
            f"takeover  median {statistics.median(takeovers):.2f} s, longest {takeovers[-1]:.2f} s",
            f"back      median {statistics.median(everybody):.2f} s, p99 {_p99(everybody):.2f} s",
            "  ".join(f"{name} {count}" for name, count in sorted(self.counts.items())),
            f"violations {len(self.violations)}",
            *self.violations,
        ]
        return "\n".join(lines)


def _p99(found: list[float]) -> float:
    return found[len(found) * 99 // 100]


class Visitor:
    """A client: what it was told, and whether it is in its tunnel."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.user = f"user{number % 1000:03}"
        self.dice = random.Random(crowd.seed * 10_007 + number)
        self.token = ""
        self.address = ""
        self.certain = True
        """Nothing that was left unanswered might have ended the session."""
        self.inside = False
        self._stream: TlsStream
        self._unread = b""

    async def live(self) -> None:
        """Log in, use the tunnel, and come back from wherever one is thrown out."""
        while True:
            try:
                await self._enter()
                await self._stay()
            except (OSError, TlsBroken, FrameError, trio.TooSlowError, trio.BrokenResourceError):
                pass
            finally:
                self.inside = False
            await trio.sleep(self.dice.uniform(0.02, 0.1))

    async def _enter(self) -> None:
        with trio.fail_after(PATIENCE):
            self._stream = await TlsStream.open("127.0.0.1", self.crowd.port, _CONTEXT)
            self._unread = b""
        try:
            if not self.token:
                await self._log_in()
            await self._connect()
        except BaseException:
            self._stream.abort()
            raise

    async def _log_in(self) -> None:
        fields = {"username": self.user, "password": "pw"}
        document = auth_reply(fields, version="v9", device_id="linux-64", group_select="staff")
        _, body = await self._ask("POST", "/", document)
        token = body.partition(b"<session-token>")[2].partition(b"</session-token>")[0].decode()
        assert token, body
        self.token, self.address, self.certain = token, "", True
        self.crowd.report.counts["log-ins"] += 1

    async def _connect(self) -> None:
        head, _ = await self._ask(
            "CONNECT", "/CSCOSSLC/tunnel", b"", f"Cookie: webvpn={self.token}\r\nX-CSTP-Version: 1\r\n"
        )
        status = int(head.split(b" ")[1])
        if status != 200:
            if self.certain or status != 401:
                self.crowd.report.violations.append(f"{self.user}: a live session was refused with {status}")
            self.token = ""
            raise TlsBroken("refused")
        address = head.partition(b"X-CSTP-Address: ")[2].partition(b"\r\n")[0].decode()
        if self.address and address != self.address:
            self.crowd.report.violations.append(f"{self.user}: had {self.address}, was given {address}")
        self.crowd.report.counts["resumes" if self.address else "first tunnels"] += 1
        self.address, self.certain = address, True

    async def _ask(self, method: str, target: str, body: bytes, headers: str = "") -> tuple[bytes, bytes]:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        request = f"{method} {target} HTTP/1.1\r\nHost: crash\r\n{headers}{length}\r\n".encode() + body
        with trio.fail_after(PATIENCE):
            await self._stream.send_all(request)
            while b"\r\n\r\n" not in self._unread:
                await self._more()
            head, _, self._unread = self._unread.partition(b"\r\n\r\n")
            wanted = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
            while len(self._unread) < wanted:
                await self._more()
            answer, self._unread = self._unread[:wanted], self._unread[wanted:]
        return head, answer

    async def _more(self) -> None:
        data = await self._stream.receive_some()
        if not data:
            raise TlsBroken("closed")
        self._unread += data

    async def _stay(self) -> None:
        """Ping through the tunnel until it breaks, or until something else is to be done."""
        reader = FrameReader()
        own = ip_address(self.address).packed
        try:
            while True:
                sequence = self.dice.randrange(65536)
                await self._stream.send_all(
                    encode_frame(PacketType.DATA, echo_request(own, INSIDE, 1, sequence, bytes(16)))
                )
                with trio.fail_after(PATIENCE):
                    while not any(frame.kind == PacketType.DATA for frame in reader.feed(self._unread)):
                        self._unread = b""
                        await self._more()
                self._unread = b""
                if not self.inside:
                    self.inside = True
                    self.crowd.came_back()
                self.crowd.report.counts["pings"] += 1
                await trio.sleep(self.dice.uniform(0.5, 1.5) * PING_EVERY)
                chance = self.dice.random()
                if chance < 0.04:
                    return  # the connection breaks, and the client comes back
                if chance < 0.06:
                    await self._log_off()
                    return
        finally:
            self._stream.abort()

    async def _log_off(self) -> None:
        """Log off by a document, whose answer says that the token is dead."""
        self.certain = False
        self._stream.abort()
        with trio.fail_after(PATIENCE):
            self._stream = await TlsStream.open("127.0.0.1", self.crowd.port, _CONTEXT)
            self._unread = b""
        head, _ = await self._ask("POST", "/", logout(self.token, version="v9", device_id="linux-64"))
        if b" 200 " in head.partition(b"\r\n")[0]:
            self.crowd.report.counts["log-offs"] += 1
            self.crowd.dead_tokens.append(self.token)
            self.token = ""


class Crowd:
    """All clients, and who of them is inside."""

    def __init__(self, port: int, seed: int, size: int, report: Report) -> None:
        self.port = port
        self.seed = seed
        self.report = report
        self.dead_tokens: list[str] = []
        self.struck_at = 0.0
        self.back: list[float] = []
        self.visitors = [Visitor(self, number) for number in range(size)]

    def came_back(self) -> None:
        """A client's first ping has come back."""
        self.back.append(time.monotonic() - self.struck_at)

    async def everybody_inside(self, limit: float) -> bool:
        """Wait until all are; at any instant a few may be on their way by their own choice."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if sum(not visitor.inside for visitor in self.visitors) <= len(self.visitors) * 0.03:
                return True
            await trio.sleep(0.02)
        return False

    async def refused(self, token: str) -> bool:
        """Whether a token is dead."""
        ghost = Visitor(self, 0)
        with trio.fail_after(PATIENCE):
            ghost._stream = await TlsStream.open("127.0.0.1", self.port, _CONTEXT)
        head, _ = await ghost._ask("CONNECT", "/CSCOSSLC/tunnel", b"", f"Cookie: webvpn={token}\r\n")
        ghost._stream.abort()
        return b" 401 " in head


class Run:
    """The strikes."""

    def __init__(self, pair: ProcessPair, kills: int, sessions: int, seed: int) -> None:
        self.report = Report()
        self._pair = pair
        self._kills = kills
        self._dice = random.Random(seed)
        self._crowd = Crowd(pair.port, seed, sessions, self.report)
        self._ended: dict[tuple[str, int], float] = {}
        """When units were killed, by name and fencing number."""

    async def run(self, progress: Callable[[str], None]) -> Report:
        """Strike, and look; `progress` is told of each strike."""
        async with trio.open_nursery() as nursery:
            for visitor in self._crowd.visitors:
                nursery.start_soon(visitor.live)
            assert await self._crowd.everybody_inside(BACK_WITHIN), "the clients do not get in"
            for number in range(1, self._kills + 1):
                strike = await self._strike(number)
                progress(f"{number}/{self._kills} {strike.what} {strike.unit} {strike.takeover:.2f} s")
                if self.report.violations:
                    break
            nursery.cancel_scope.cancel()
        self._check_intervals()
        return self.report

    async def _strike(self, number: int) -> Strike:
        pair, crowd, dice = self._pair, self._crowd, self._dice
        active = await _in_thread(lambda: pair.active)
        other = pair.other(active)
        how = dice.random()
        what = "kill"
        if how < 0.2 and not other.ready:
            what = "kill in sync"
            await _in_thread(lambda: wait_until(lambda: "Bulk Sync" in other.transcript(), 30))
        else:
            await _in_thread(lambda: wait_until(lambda: other.failover().get("state") == "Standby Ready", 30))
            await trio.sleep(dice.uniform(0.0, 0.3))
            what = "freeze" if how > 0.85 else "kill"
        fence = int((await _in_thread(active.failover)).get("fence", 0))
        strike = Strike(number, what, active.name)
        self.report.strikes.append(strike)
        crowd.back = strike.back
        struck_at = boot_clock()
        crowd.struck_at = time.monotonic()
        if what == "freeze":
            active.freeze()
        else:
            active.kill()
            self._ended[active.name, fence] = struck_at
            active.log.write_text("")
            active.start()  # it comes back while the other one takes over
        since = await self._next_reign(active if what == "freeze" else None, fence)
        strike.takeover = since - struck_at
        if not await crowd.everybody_inside(BACK_WITHIN):
            outside = [visitor.user for visitor in crowd.visitors if not visitor.inside]
            self.report.violations.append(f"strike {number}: not back after {BACK_WITHIN} s: {outside}")
        if what == "freeze":
            active.thaw()
        await self._check_sessions(number)
        return strike

    async def _next_reign(self, frozen: Unit | None, fence: int) -> float:
        """Wait until a unit serves by a higher number; when that began."""
        while True:
            for unit in self._pair.units:
                if unit is frozen or not unit.ready:
                    continue
                status: dict[str, Any] = await _in_thread(unit.failover)
                if status.get("role") == "active" and status["fence"] > fence and status["intervals"]:
                    return float(status["intervals"][-1]["since"])
            await trio.sleep(0.05)

    async def _check_sessions(self, number: int) -> None:
        active = await _in_thread(lambda: self._pair.active)
        rows = await _in_thread(active.headend.sessions)
        held = Counter(row["assigned_ip"] for row in rows if row["assigned_ip"])
        told = Counter(
            visitor.address for visitor in self._crowd.visitors if visitor.token and visitor.address
        )
        for address, holders in (*held.items(), *told.items()):
            if holders > 1:
                self.report.violations.append(f"strike {number}: {address} is held {holders} times")
        dead = self._crowd.dead_tokens
        for token in self._dice.sample(dead, min(3, len(dead))):
            try:
                if not await self._crowd.refused(token):
                    self.report.violations.append(f"strike {number}: a token that was logged off lives")
            except (OSError, TlsBroken, trio.TooSlowError):
                pass  # nobody has let it in

    def _check_intervals(self) -> None:
        """All intervals of both units, by their own notes in Redis; a killed unit's ended with it."""
        pair = self._pair
        key = f"asa:{{127.0.0.1:{pair.port}}}:intervals"
        done = subprocess.run(
            ["redis-cli", "-p", str(pair.redis.port), "LRANGE", key, "0", "-1"],
            capture_output=True,
            text=True,
            check=True,
        )
        spans: dict[tuple[str, int, float], float] = {}
        for line in done.stdout.splitlines():
            unit, fence, since, until = line.split()
            open_end = self._ended.get((unit, int(fence)), boot_clock())
            spans[unit, int(fence), float(since)] = open_end if until == "-" else float(until)
        found = sorted((since, until, unit, fence) for (unit, fence, since), until in spans.items())
        for (_, ended, one, _), (began, _, other, _) in zip(found, found[1:]):  # noqa: B905, RUF007
            if one != other and began < ended:
                self.report.violations.append(f"{one} was active until {ended:.3f}, {other} from {began:.3f}")
        self.report.counts["reigns"] = len({fence for _, _, _, fence in found})


async def _in_thread(call: Callable[[], Any]) -> Any:
    return await trio.to_thread.run_sync(call)


def strike_pair(
    kills: int, sessions: int, seed: int, directory: Path, progress: Callable[[str], None] = lambda text: None
) -> Report:
    """A whole run."""
    with RedisServer() as redis, ProcessPair(redis, directory) as pair:
        return trio.run(Run(pair, kills, sessions, seed).run, progress)


def main() -> int:
    """Run and print the table; exit code 1 when anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asa-emu-crash-") as directory:
        report = strike_pair(
            said.kills,
            said.sessions,
            said.seed,
            Path(directory),
            lambda text: print(text, file=sys.stderr, flush=True),
        )
    print(report.table())
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
