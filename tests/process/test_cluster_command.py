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

from asa_emu.__main__ import main
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
    ("arguments", "reason"),
    [
        (["--members", "0"], "a cluster has 1 to 10 members"),
        (["--members", "11"], "a cluster has 1 to 10 members"),
        (["--listen", "[::1]:8443"], "one IPv4 address"),
        (["--listen", "0.0.0.0:8443"], "one IPv4 address"),
        (["--listen", "192.0.2.1:8443"], "cannot listen on 192.0.2.1:8443"),
        (["--time", "0"], "--time 0"),
        (["nowhere.cfg"], "nowhere.cfg: No such file"),
    ],
)
def test_what_cannot_be_is_said(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listen = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
    code = main(["cluster", *arguments, *listen, "--state", str(tmp_path)])
    assert code == (3 if "cannot listen" in reason else 2)
    assert reason in capsys.readouterr().err


def test_a_taken_address_is_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.3", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["cluster", "--listen", f"127.0.0.1:{port}", "--state", str(tmp_path)]) == 3
    assert f"cannot listen on 127.0.0.3:{port}" in capsys.readouterr().err
