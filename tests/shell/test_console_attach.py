"""`asa-emu console`, as a program against a headend that runs as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asa_emu.__main__ import main
from asa_emu.testing import HeadendProcess, running


@pytest.fixture(scope="module")
def process() -> Iterator[HeadendProcess]:
    """One headend for all of them."""
    with running() as headend:
        yield headend


def console(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "asa_emu", "console", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_one_line_and_its_exit_code(process: HeadendProcess) -> None:
    good = console("--state", str(process.state), "-c", "show curpriv")
    assert (good.returncode, good.stdout.splitlines()[0]) == (0, "Username : enable_15")
    bad = console("--manage", process.manage, "--token", process.manage_token, "-c", "show nonsense")
    assert bad.returncode == 1
    assert bad.stdout.endswith("ERROR: % Invalid input detected at '^' marker.\n")


def test_a_conversation_with_prompts_and_a_confirmation(process: HeadendProcess) -> None:
    ready_file = next(process.state.glob("running-*.json"))
    talk = "configure terminal\nwebvpn\nend\nvpn-sessiondb logoff all\nn\nenable\n\nexit\n"
    done = console("--ready-file", str(ready_file), typed=talk)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "ciscoasa# ciscoasa(config)# ciscoasa(config-webvpn)# ciscoasa# "
        "Do you want to logoff the VPN session(s)? [confirm]ciscoasa# Password: ciscoasa# \nLogoff\n"
    )
    assert console("--state", str(process.state), typed="show clock\n").stdout.endswith("ciscoasa# \n")


def test_no_headend_is_told_with_what_to_do(
    process: HeadendProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: str) -> str:
        assert main(["console", *arguments, "-c", "show clock"]) == 2
        return capsys.readouterr().err

    assert "--ready-file" in fails("--state", str(tmp_path))
    # one that was killed has left its file behind
    dead = {"manage": "127.0.0.1:1", "manage_token": "x"}
    (tmp_path / "running-999999999-1.json").write_text(json.dumps(dead))
    assert "no headend runs" in fails("--state", str(tmp_path))
    (tmp_path / f"running-{os.getpid()}-1.json").write_text(json.dumps(dead))
    assert "refused" in fails("--state", str(tmp_path))
    (tmp_path / "junk").write_text("{}")
    assert "no ready file" in fails("--ready-file", str(tmp_path / "junk"))
    assert "is the headend running?" in fails("--ready-file", str(tmp_path / "none"))
    assert "belong together" in fails("--manage", process.manage)
    assert "401" in fails("--manage", process.manage, "--token", "wrong")
