"""Real openconnects whose headend dies: when they say that they wait, and when they are connected again.

They run without root: `--script-tun` hands the packets to a program that does nothing. What they print comes
through a pipe that the bench's own loop listens at, so that their times stand on the same clock as those of
the clients it plays itself.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from asa_emu.testing import HeadendProcess
from bench.headend import PASSWORD

_PATIENCE = 30.0  # seconds for the login
_CONNECTED = b"CSTP connected"
_SLEEPS = re.compile(rb"^sleep (\d+)s, remaining timeout", re.MULTILINE)


class Openconnect:
    """One of them."""

    def __init__(self, headend: HeadendProcess, user: str) -> None:
        self.said = b""
        self.connected_at = 0.0
        """When it said so last, in seconds since the machine's start."""
        line = ["openconnect", "--servercert", headend.pin, "--user", user, "--authgroup", "staff"]
        line += ["--passwd-on-stdin", "--script-tun", "--script", "exec sleep 600", headend.url]
        self._process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
            process_group=0,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{PASSWORD}\n".encode())
        self._process.stdin.close()
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)

    def fileno(self) -> int:
        """Where it can be heard."""
        return self._output.fileno()

    def hear(self) -> None:
        """Take in what it has said. RuntimeError when it has ended."""
        data = os.read(self.fileno(), 65536)
        if not data:
            raise RuntimeError(f"openconnect has ended:\n{self.said.decode()}")
        before = self.connections
        self.said += data
        if self.connections > before:
            self.connected_at = time.clock_gettime(time.CLOCK_BOOTTIME)

    @property
    def connections(self) -> int:
        """How often it was connected."""
        return self.said.count(_CONNECTED)

    @property
    def waits(self) -> list[int]:
        """How long it said it would wait after each attempt that failed, in seconds."""
        return [int(seconds) for seconds in _SLEEPS.findall(self.said)]

    def kill(self) -> None:
        """End it and what it has started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


@contextmanager
def openconnects(headend: HeadendProcess, users: list[str]) -> Iterator[list[Openconnect]]:
    """Have these users connected around a block; nobody, where there is no openconnect."""
    with ExitStack() as stack:
        started: list[Openconnect] = []
        for user in users if shutil.which("openconnect") else ():
            started.append(Openconnect(headend, user))
            stack.callback(started[-1].kill)
        _wait_connected(started)
        yield started


def _wait_connected(started: list[Openconnect]) -> None:
    ends_at = time.monotonic() + _PATIENCE
    missing = {one.fileno(): one for one in started}
    with select.epoll() as epoll:
        for descriptor in missing:
            epoll.register(descriptor, select.EPOLLIN)
        while missing:
            if time.monotonic() > ends_at:
                raise RuntimeError(f"{len(missing)} openconnects do not get in")
            for descriptor, _ in epoll.poll(1.0):
                one = missing[descriptor]
                one.hear()
                if one.connections:
                    epoll.unregister(descriptor)
                    del missing[descriptor]
