"""`asa-emu cluster` as a program: what it announces, how it stops, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asa_emu.testing import cluster

STOPS_WITHIN = 3.0  # seconds, as promised
READY = r"asa-emu ready cluster=127\.0\.0\.1:(\d+) members=127\.0\.0\.2:\1,127\.0\.0\.3:\1 "
READY += r"manage=\S+ pin-sha256:\S+\n"


def test_it_announces_all_addresses_and_stops_in_order(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    line = [sys.executable, "-m", "asa_emu", "cluster", "--listen", "127.0.0.1:0", "--state", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASA_EMU_")}
    with subprocess.Popen(
        [*line, "--ready-file", str(ready)], stdout=subprocess.PIPE, text=True, env=environment
    ) as program:
        assert program.stdout
        announced = program.stdout.readline()
        assert re.fullmatch(READY, announced)
        record = json.loads(ready.read_text())
        assert record["https"] in announced
        assert [member["https"].rpartition(":")[0] for member in record["members"]] == [
            "127.0.0.2",
            "127.0.0.3",
        ]
        assert len({member["manage"] for member in record["members"]}) == 2
        assert record["pid"] == program.pid
        assert len(list(tmp_path.glob("running-*.json"))) == 2
        began = time.monotonic()
        program.send_signal(signal.SIGTERM)
        assert program.wait() == 0
        assert time.monotonic() - began < STOPS_WITHIN
    assert not ready.exists()
    assert not list(tmp_path.glob("running-*.json"))


def test_a_member_is_a_headend_of_its_own() -> None:
    with cluster(2, users={"anna": "secret"}) as made:
        first, second = made.members
        assert first.api("GET", "/v1/load-balancing")["role"] == "director"
        assert second.api("POST", "/v1/cli", {"line": "show curpriv"})["prompt"].endswith("-2#")
        assert made.front.port == first.port == second.port
        assert made.front.pin == second.pin


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--members", "11"], 2, "--members 11: a cluster has 1 to 10 members"),
        (["--listen", "0.0.0.0:8443"], 2, "one IPv4 address"),
        (["--listen", "192.0.2.1:8443"], 3, "cannot listen on 192.0.2.1:8443"),
        (["nowhere.cfg"], 2, "nowhere.cfg: No such file"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], code: int, reason: str, tmp_path: Path) -> None:
    ended, said = refused(tmp_path, *arguments)
    assert (ended, reason in said) == (code, True), said


def test_a_taken_address_is_exit_3(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.3", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended, said = refused(tmp_path, "--listen", f"127.0.0.1:{port}")
    assert (ended, f"cannot listen on 127.0.0.3:{port}" in said) == (3, True), said


def refused(state: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the reason of one that does not start."""
    line = [sys.executable, "-m", "asa_emu", "cluster", *arguments, "--state", str(state)]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=20, check=False)
    return ended.returncode, ended.stderr
