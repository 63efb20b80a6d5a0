"""What a headend says at its start about a state link that is of no use, or that is missing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from asa_emu.app import HostPort, Options, UsageError, run_headend
from tests.headend_lab import CONFIG

NOWHERE = ["--state-link", "redis://127.0.0.1:1/0"]
IN_PART = "vpn load-balancing\n cluster ip address 127.0.0.1\n {}participate\n"
ALONE = "failover\nfailover lan unit primary\n"


def warnings(directory: Path, config: str, *flags: str) -> dict[str, str]:
    """Its warnings until it is ready, and why."""
    file = directory / "running-config"
    file.write_text(CONFIG + config)
    line = [sys.executable, "-m", "asa_emu", "serve", str(file), "--log-format", "json"]
    if "--listen" not in flags:
        line += ["--listen", "127.0.0.2:0"]
    with subprocess.Popen(
        [*line, "--state", str(directory / "state"), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout
        assert program.stderr
        assert "ready" in program.stdout.readline()
        program.send_signal(signal.SIGTERM)
        said = [json.loads(text) for text in program.stderr]
    assert program.returncode == 0
    return {entry["event"]: entry.get("reason", "") for entry in said if entry["level"] == "warning"}


@pytest.mark.parametrize(
    ("config", "flags", "event", "reason"),
    [
        ("", NOWHERE, "state_link.unused", "neither `failover` nor `participate`"),
        (IN_PART.format("no "), NOWHERE, "state_link.unused", "neither `failover` nor `participate`"),
        (IN_PART.format(""), [], "balancing.alone", "no --state-link to other members"),
        (IN_PART.format(""), NOWHERE, "balancing.no_key", "without `cluster key`"),
        (ALONE, [], "failover.alone", "no --state-link to a mate"),
        (
            *(IN_PART.format(""), [*NOWHERE, "--listen", "0.0.0.0:0"]),
            *("balancing.never_directs", "cannot have the cluster's address"),
        ),
    ],
)
def test_it_is_reported(tmp_path: Path, config: str, flags: list[str], event: str, reason: str) -> None:
    said = warnings(tmp_path, config, *flags)
    assert reason in said[event]


def test_nothing_is_said_of_what_is_of_use(tmp_path: Path) -> None:
    about = ("balancing.alone", "balancing.no_key", "state_link.unused")
    assert not set(about) & set(warnings(tmp_path, ""))
    keyed = warnings(tmp_path, IN_PART.format("cluster key 1234\n "), *NOWHERE)
    assert not set(about) & set(keyed)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://", "redis:///0", "redis://:6379/0", "redis://127.0.0.1:0/0", "redis://127.0.0.1:65536/0"),
        *("redis://127.0.0.1/zero", "redis://127.0.0.1 /0", "redis://[::1/0", "127.0.0.1:6379", ""),
        "redis://walter:open sesame@127.0.0.1:six/0",
    ],
)
@pytest.mark.parametrize("block", [ALONE, IN_PART.format("")], ids=["failover", "balancing"])
def test_what_leads_to_no_store_is_a_usage_error(tmp_path: Path, url: str, block: str) -> None:
    options = Options(
        config_text=CONFIG + block, listen=HostPort("127.0.0.2", 9443), state=tmp_path, state_link=url
    )
    with pytest.raises(UsageError, match="write redis://HOST:PORT/DB") as caught:
        trio.run(run_headend, options)
    assert "sesame" not in str(caught.value)
