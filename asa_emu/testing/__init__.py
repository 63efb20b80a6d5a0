"""A headend for your own tests: a real process on loopback, always stopped again.

    from asa_emu.testing import running

    with running(users={"walter": "secret"}) as headend:
        subprocess.run(["openconnect", "--servercert", headend.pin, headend.url, ...])
        assert headend.sessions()[0]["user"] == "walter"

`running` is synchronous and needs nothing but the standard library around it, so it fits any test framework;
the pytest fixture `asa_headend` (module `asa_emu.testing.plugin`, installed as a plugin) is built on it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time as clock
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_LIMIT = 20.0  # seconds until the ready file must be there
STOP_LIMIT = 5.0  # seconds; the headend itself needs at most 3


class HeadendFailed(Exception):
    """The headend did not start, or a request to it failed; the text holds what it printed."""


@dataclass(frozen=True, slots=True)
class HeadendProcess:
    """A running headend. Addresses are `HOST:PORT`."""

    pid: int
    https: str
    dtls: str | None
    manage: str
    manage_token: str = field(repr=False)
    pin: str
    state: Path
    """Directory with `ca.pem`, which signed the server's certificate."""

    @property
    def url(self) -> str:
        """What a client is pointed at."""
        return f"https://{self.https}"

    @property
    def host(self) -> str:
        """The address alone."""
        return self.https.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.https.rpartition(":")[2])

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the management API; raises `HeadendFailed` with the API's own words on an error."""
        request = urllib.request.Request(
            f"http://{self.manage}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.manage_token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise HeadendFailed(f"{method} {path}: {error.code} {error.read().decode()}") from None

    def sessions(self) -> list[dict[str, Any]]:
        """Every session with its tunnels and counters."""
        rows: list[dict[str, Any]] = self.api("GET", "/v1/sessions")
        return rows

    def logoff(self, **selector: Any) -> int:
        """Log sessions off by one of index, name, ipaddress, protocol, tunnel_group, inactive, all."""
        count: int = self.api("POST", "/v1/logoff", selector)["logged_off"]
        return count

    def advance(self, duration: float | str) -> None:
        """Let emulated time jump ahead, by seconds or by a text such as `30m`."""
        self.api("POST", "/v1/clock", {"advance": duration})


@dataclass(frozen=True, slots=True)
class ClusterProcess:
    """A running cluster."""

    front: HeadendProcess
    """The cluster's address, with the management API of the first member."""
    members: tuple[HeadendProcess, ...]


@dataclass(frozen=True, slots=True)
class PairProcess:
    """A running failover pair."""

    primary: HeadendProcess
    secondary: HeadendProcess

    @property
    def active(self) -> HeadendProcess:
        """The unit that serves now."""
        units = (self.primary, self.secondary)
        return next((u for u in units if u.api("GET", "/v1/failover")["role"] == "active"), self.primary)

    def switch(self) -> None:
        """Make the other unit take over, as `no failover active` does; it takes a moment."""
        self.active.api("POST", "/v1/cli", {"line": "no failover active"})


@contextmanager
def running(
    config: str | Path | None = None,
    *,
    users: Mapping[str, str] | None = None,
    time: str | float = "real",
    listen: str = "127.0.0.1:0",
    options: Sequence[str] = (),
) -> Iterator[HeadendProcess]:
    """Run a headend around a block.

    `config` is a running-config, as text, or a path to one; the built-in one without it. `users` adds names
    and passwords to it, `time` is `real` or a rate, `options` are further flags of `asa-emu serve`.
    Raises `HeadendFailed` when it does not start.
    """
    flags = ["--listen", listen, "--time", str(time), *options]
    with _process(["serve"], config, users or {}, flags) as (record, state):
        yield _headend(record, state)


@contextmanager
def cluster(
    members: int = 2,
    config: str | Path | None = None,
    *,
    users: Mapping[str, str] | None = None,
    time: str | float = "real",
    listen: str = "127.0.0.1:0",
    options: Sequence[str] = (),
) -> Iterator[ClusterProcess]:
    """Run a load-balancing cluster around a block: all of it one process, on loopback addresses in a row.

    The arguments are those of `running`, `options` flags of `asa-emu cluster`.
    """
    flags = ["--members", str(members), "--listen", listen, "--time", str(time), *options]
    with _process(["cluster"], config, users or {}, flags) as (record, state):
        yield ClusterProcess(
            _headend(record, state), tuple(_headend(member, state) for member in record["members"])
        )


@contextmanager
def pair(
    config: str | Path | None = None,
    *,
    users: Mapping[str, str] | None = None,
    time: str | float = "real",
    listen: str = "127.0.0.1:0",
    options: Sequence[str] = (),
) -> Iterator[PairProcess]:
    """Run a failover pair around a block: both units one process, on one address.

    The arguments are those of `running`, `options` flags of `asa-emu pair`.
    """
    flags = ["--listen", listen, "--time", str(time), *options]
    with _process(["pair"], config, users or {}, flags) as (record, state):
        primary, secondary = (_headend(unit, state) for unit in record["units"])
        yield PairProcess(primary, secondary)


def _headend(record: Mapping[str, Any], state: Path) -> HeadendProcess:
    names = ("pid", "https", "dtls", "manage", "manage_token", "pin")
    return HeadendProcess(**{name: record[name] for name in names}, state=state)


@contextmanager
def _process(
    command: Sequence[str], config: str | Path | None, users: Mapping[str, str], flags: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Path]]:
    """A program that announces itself by ready file: what it says there, and its state directory."""
    with tempfile.TemporaryDirectory(prefix="asa-emu-") as folder:
        directory = Path(folder)
        ready_file = directory / "ready.json"
        state = directory / "state"
        line = [sys.executable, "-m", "asa_emu", *command]
        text = _config_text(config, users)
        if text is not None:
            file = directory / "running-config"
            file.write_text(text, encoding="utf-8")
            line.append(str(file))
        line += ["--ready-file", str(ready_file), "--state", str(state), *flags]
        log_file = directory / "log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ASA_EMU_")}
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        try:
            yield _wait_ready(process, ready_file, log_file), state
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _config_text(config: str | Path | None, users: Mapping[str, str]) -> str | None:
    if config is None and not users:
        return None
    from asa_emu.config.builtin import TEXT
    from asa_emu.config.syntax import quoted

    text = TEXT if config is None else config
    if isinstance(text, Path) or ("\n" not in text and len(text) < 256 and Path(text).is_file()):
        text = Path(text).read_text(encoding="utf-8")
    passwords = {quoted(name): json.dumps(password) for name, password in users.items()}
    lines = [f"!emu username {name} password {password}" for name, password in passwords.items()]
    return "\n".join([text.rstrip("\n"), *lines, ""])


def _wait_ready(process: subprocess.Popen[bytes], ready_file: Path, log_file: Path) -> dict[str, Any]:
    deadline = clock.monotonic() + START_LIMIT
    while not ready_file.exists():
        if process.poll() is not None:
            raise HeadendFailed(
                f"the headend ended with exit code {process.returncode}:\n{log_file.read_text()}"
            )
        if clock.monotonic() > deadline:
            raise HeadendFailed(f"the headend was not ready after {START_LIMIT} s:\n{log_file.read_text()}")
        clock.sleep(0.02)
    record: dict[str, Any] = json.loads(ready_file.read_text())
    return record
