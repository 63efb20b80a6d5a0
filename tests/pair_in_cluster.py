"""A load-balancing cluster of real processes over Redis, one of whose members is a failover pair."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from asa_emu.testing import HeadendProcess, running
from asa_emu.transport.certificates import Authority
from tests.balancing_lab import CLUSTER
from tests.process_pair import CONFIG, ProcessPair, Unit, free_port, wait_until
from tests.redis_lab import RedisServer

HOLD = 0.8  # seconds, of the pair: it takes over before the cluster holds it for dead
PAIR, LONE = "127.0.0.2", "127.0.0.3"
BLOCK = f"""\
vpn load-balancing
 redirect-fqdn disable
 cluster key lionking
 cluster ip address {CLUSTER}
 priority {{priority}}
 participate
"""


class PairInCluster(ProcessPair):
    """The pair at 127.0.0.2, the lone member at 127.0.0.3, the cluster at 127.0.0.1, around a block."""

    def __init__(
        self,
        redis: RedisServer,
        directory: Path,
        *,
        config: str = CONFIG,
        priorities: tuple[int, int] = (10, 1),
    ) -> None:
        """`priorities` are the pair's, and that of the lone member."""
        self.redis = redis
        self.hold = HOLD
        self.port = free_port()
        self._stack = ExitStack()
        self._files = directory / "server.pem", directory / "server.key"
        Authority.create().issue_server([CLUSTER, PAIR, LONE]).save(*self._files)
        self._pair_first = priorities[0] > priorities[1]
        pair, lone = (BLOCK.format(priority=priority) for priority in priorities)
        self.units = [
            Unit(
                name,
                directory,
                f"{PAIR}:{self.port}",
                redis.url,
                config.format(unit=name, poll=0.2, hold=HOLD) + pair,
            )
            for name in ("primary", "secondary")
        ]
        lines = config.format(unit="", poll=0, hold=0).replace("10.77.", "10.78.").splitlines()
        self._lone = "\n".join(line for line in lines if "failover" not in line) + f"\n{lone}"
        self.lone: HeadendProcess

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # who has the role keeps it
            first = self.start_pair, self.start_lone
            for start in first if self._pair_first else reversed(first):
                start(stack)
            wait_until(self.is_whole)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the lone member:\n{type_line(self.lone, 'show logging')}")
        self._stack.__exit__(kind, error, trace)

    def start_pair(self, stack: ExitStack) -> None:
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, file in zip(("ASA_EMU_CERT", "ASA_EMU_KEY"), self._files, strict=True):
            environment.setenv(name, str(file))
        super().__enter__()
        stack.push(super().__exit__)
        if self._pair_first:
            wait_until(lambda: balancing(self.active.headend)["role"] == "director")

    def start_lone(self, stack: ExitStack) -> None:
        flags = ["--state-link", self.redis.url, "--cert", str(self._files[0]), "--key", str(self._files[1])]
        self.lone = stack.enter_context(running(self._lone, listen=f"{LONE}:{self.port}", options=flags))
        if not self._pair_first:
            wait_until(lambda: balancing(self.lone)["role"] == "director")

    def is_whole(self) -> bool:
        """Whether both members know each other, and one of them directs."""
        views = [balancing(self.lone), balancing(self.active.headend)]
        return {view["director"] for view in views} <= {self.pair_address, self.lone.https} and all(
            addresses(view) == {self.pair_address, self.lone.https} for view in views
        )

    @property
    def pair_address(self) -> str:
        """By which the cluster knows the pair."""
        return f"{PAIR}:{self.port}"


def balancing(headend: HeadendProcess) -> dict[str, Any]:
    """What a member says of the cluster."""
    return dict(headend.api("GET", "/v1/load-balancing"))


def type_line(headend: HeadendProcess, line: str) -> str:
    """Type a line on its console."""
    return str(headend.api("POST", "/v1/cli", {"line": line})["text"])


def addresses(view: dict[str, Any]) -> set[str]:
    """The members of which somebody knows."""
    return {member["address"] for member in view["members"]}
