"""`asa-emu demo --failover`: the story happens as told, with a redis-server and without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def tell(path: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "asa_emu", "demo", "--failover"],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told(text: str, strike: str) -> None:
    before, _, after = text.partition(strike)
    assert "Primary - Active" in before
    assert "Secondary - Active" in after
    addresses = re.findall(r"Assigned IP +: (\S+)", before)
    assert len(addresses) == 3
    assert re.findall(r"Assigned IP +: (\S+)", after) == addresses
    gone = re.findall(r"^ {4}(\S+) +(\d+\.\d\d) s$", after, re.MULTILINE)
    assert [address for address, _ in gone] == addresses


@pytest.mark.peer("redis")
def test_two_processes_one_of_which_is_killed() -> None:
    told(tell(os.environ["PATH"]), "kill -9")


def test_one_process_where_there_is_no_redis_server(tmp_path: Path) -> None:
    told(tell(str(tmp_path)), "no failover active")
