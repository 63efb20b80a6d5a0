"""What every test may rely on: hypothesis profiles, and the mark for tests that need a real peer.

`@pytest.mark.peer("openconnect", "root", "tun")` names what a test needs from the machine. What is missing
skips the test with that piece in the reason. With `ASA_EMU_REQUIRE_PEERS=1`, which CI sets, any skip is a
failure instead: there a silent skip would be a hole in the proof.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Generator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

# The same examples on every run: a red build must mean a change, not a die. `deep` is for hunting.
hypothesis.settings.register_profile("fast", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.register_profile("deep", max_examples=5000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("ASA_EMU_HYPOTHESIS", "fast"))

# Debian keeps these programs where an ordinary user's PATH does not look.
os.environ["PATH"] = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"

PROGRAMS = {
    "openconnect": ("openconnect",),
    "ocserv": ("ocserv", "ocpasswd"),
    "iptables": ("iptables", "ip6tables"),
    "ping": ("ping",),
    "redis": ("redis-server",),
}


@cache
def missing_piece(name: str) -> str | None:
    """Say what a test that needs `name` lacks on this machine, or None."""
    match name:
        case "root":
            return None if os.geteuid() == 0 else "needs root"
        case "tun":
            usable = os.access("/dev/net/tun", os.R_OK | os.W_OK)
            return None if usable else "needs /dev/net/tun, readable and writable"
        case "chromium":
            driver = importlib.util.find_spec("playwright") is None
            return "needs playwright" if driver else _missing_programs("chromium")
        case "netns":
            return missing_piece("root") or _missing_namespaces()
        case _:
            return _missing_programs(*PROGRAMS[name])


def _missing_programs(*programs: str) -> str | None:
    absent = [program for program in programs if not shutil.which(program)]
    return f"needs {', '.join(absent)}" if absent else None


def _missing_namespaces() -> str | None:
    if not shutil.which("ip"):
        return "needs ip (Debian package iproute2)"
    # A container may be root and have the program, and yet be refused: only trying tells.
    trial = f"asaemu-{os.getpid()}-trial"
    added = subprocess.run(["ip", "netns", "add", trial], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", trial], capture_output=True, check=False)
    return None if added.returncode == 0 else f"needs network namespaces ({added.stderr.strip()})"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose peer is missing."""
    for mark in item.iter_markers("peer"):
        for name in mark.args:
            if reason := missing_piece(name):
                pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where the machine is supposed to have everything."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("ASA_EMU_REQUIRE_PEERS") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: {reason} (with ASA_EMU_REQUIRE_PEERS=1 a skip is a failure)"
    return report


@pytest.fixture
def repository() -> Path:
    """The top directory of the source tree."""
    return Path(__file__).resolve().parent.parent
