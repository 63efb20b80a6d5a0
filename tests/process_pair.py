"""A failover pair as real processes that share a redis-server, for tests that kill and freeze them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from asa_emu.testing import HeadendFailed, HeadendProcess
from tests.redis_lab import RedisServer

POLL, HOLD = 0.2, 1.0  # seconds
STARTS_WITHIN = 30.0

CONFIG = """\
hostname ciscoasa
failover
failover lan unit {unit}
failover lan interface folink GigabitEthernet0/7
failover link folink GigabitEthernet0/7
failover key between us
!emu failover poll {poll}s hold {hold}s
logging enable
logging buffered debugging
logging buffer-size 1048576
ip local pool POOL 10.77.0.10-10.77.250.250 mask 255.255.0.0
interface GigabitEthernet0/0
 nameif outside
webvpn
 enable outside
 anyconnect enable
 tunnel-group-list enable
group-policy DfltGrpPolicy attributes
 vpn-tunnel-protocol ssl-client
 vpn-simultaneous-logins 2000
 address-pools value POOL
 webvpn
  anyconnect ssl keepalive 20
  anyconnect dpd-interval client 30
tunnel-group STAFF type remote-access
tunnel-group STAFF webvpn-attributes
 group-alias staff enable
!emu users user 000-999 password pw
"""


class Unit:
    """One unit as a process, which may be started again and again."""

    def __init__(self, name: str, directory: Path, listen: str, url: str, config: str) -> None:
        self.name = name
        self._directory = directory / name
        self._directory.mkdir()
        self._listen = listen
        self._url = url
        self.config = self._directory / "running-config"
        self.config.write_text(config)
        self._ready = self._directory / "ready.json"
        self.log = self._directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.headend: HeadendProcess

    def start(self) -> None:
        """Start the process; whether it is ready is another question."""
        self._ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "asa_emu", "serve", str(self.config)]
        command += ["--listen", self._listen, "--state-link", self._url, "--ready-file", str(self._ready)]
        command += ["--state", str(self._directory / "state")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it serves, or could take over."""
        if not self.running:
            assert self._process is None or self._process.returncode in (0, -signal.SIGKILL), (
                self.transcript()
            )
            return False
        if not self._ready.exists():
            return False
        record = json.loads(self._ready.read_text())
        names = ("pid", "https", "dtls", "manage", "manage_token", "pin")
        self.headend = HeadendProcess(
            **{name: record[name] for name in names}, state=self._directory / "state"
        )
        return True

    def wait_ready(self) -> Self:
        wait_until(lambda: self.ready, STARTS_WITHIN)
        return self

    def failover(self) -> dict[str, Any]:
        """What `GET /v1/failover` says; empty when it does not answer."""
        if not self.ready:
            return {}
        try:
            return dict(self.headend.api("GET", "/v1/failover"))
        except (HeadendFailed, OSError):
            return {}

    def type(self, line: str) -> str:
        """Type a line on its console."""
        return str(self.headend.api("POST", "/v1/cli", {"line": line})["text"])

    @property
    def active(self) -> bool:
        return self.failover().get("role") == "active"

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(10)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def transcript(self) -> str:
        """All that it has printed."""
        return f"{self.name}:\n{self.log.read_text()}"


class ProcessPair:
    """Both units, around a block."""

    def __init__(
        self,
        redis: RedisServer,
        directory: Path,
        *,
        config: str = CONFIG,
        poll: float = POLL,
        hold: float = HOLD,
    ) -> None:
        self.redis = redis
        self.port = free_port()
        self.units = [
            Unit(
                name,
                directory,
                f"127.0.0.1:{self.port}",
                redis.url,
                config.format(unit=name, poll=poll, hold=hold),
            )
            for name in ("primary", "secondary")
        ]
        self.hold = hold

    def __enter__(self) -> Self:
        for unit in self.units:
            unit.start()
        try:
            for unit in self.units:
                unit.wait_ready()
            wait_until(lambda: sorted(unit.active for unit in self.units) == [False, True])
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if error is not None:
            error.add_note("\n".join(unit.transcript()[-8000:] for unit in self.units))

    def _end(self) -> None:
        for unit in self.units:
            if unit.running:
                unit.kill()

    @property
    def active(self) -> Unit:
        """The unit that serves."""
        wait_until(lambda: any(unit.active for unit in self.units), 10 * self.hold + 10)
        return next(unit for unit in self.units if unit.active)

    def other(self, unit: Unit) -> Unit:
        """The mate of a unit."""
        return self.units[1] if unit is self.units[0] else self.units[0]


def free_port() -> int:
    """A port free for TCP and UDP below those that the kernel gives to clients: nobody gets it by chance."""
    while True:
        port = random.randrange(15_000, 30_000)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as sock:
                    sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port


def boot_clock() -> float:
    """The clock of the intervals in which units say that they were active."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wait_until(condition: Callable[[], object], limit: float = 10.0) -> None:
    """Call `condition` until it is true."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not so after {limit} s"
        time.sleep(0.02)
