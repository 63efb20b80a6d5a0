"""The programs in `examples/` run, and what the README and the pages in `docs/` show is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from asa_emu.config import parse_config
from client_emu.story import parse_story

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", ROOT / "certs" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def run(*argv: str, limit: float = 60.0) -> str:
    """What a program prints; it has to end well."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASA_EMU_")}
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=limit,
        env=environment | {"PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_of_the_fixture_passes() -> None:
    said = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "examples/test_with_the_fixture.py")
    assert "1 passed" in said


def test_the_example_of_a_subprocess_prints_where_the_headend_is() -> None:
    said = run(sys.executable, "examples/subprocess_headend.py", "examples/branch-office.cfg")
    assert re.search(
        r"point a client at https://127\.0\.0\.1:\d+ with pin-sha256:\S{44}$", said, re.MULTILINE
    )
    assert said.endswith("sessions: []\n")


def test_the_example_of_a_lost_cable_tells_its_story() -> None:
    said = run("bash", "examples/lost_cable.sh")
    assert '"event": "connected", "ip4": "192.168.240.10"' in said
    assert '"event": "reconnected", "level": "tunnel", "ip4": "192.168.240.10"' in said
    assert "AnyConnect Client            :      0 :          1" in said


def test_the_pasted_configuration_loses_nothing() -> None:
    """Of its lines only those that have nothing to do with remote access are reported, and all are shown."""
    text = (EXAMPLES / "branch-office.cfg").read_text("utf-8")
    config = parse_config(text, "branch-office.cfg")
    reported = {report.text.split()[0] for report in config.reports}
    assert reported == {
        *("service-module", "object", "mtu", "nat", "route", "timeout", "ssl", "ssh", "cache"),
        *("policy-map", "service-policy"),
        "anyconnect",  # enabled without an image
    }
    shown = config.render()
    lost = [line for line in text.splitlines() if line.strip(" !") and line not in shown]
    assert [line for line in lost if not line.startswith((":", "username erika password"))] == []


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_configurations_of_the_readme_load() -> None:
    whole, additions = blocks(ROOT / "README.md", "text")
    for text in (whole, whole + additions):
        # a lab is served on interfaces that the configuration does not have, and without client images
        assert [report.text for report in parse_config(text).reports] == [
            "enable outside",
            "anyconnect enable",
        ]


@pytest.mark.peer("openconnect")
def test_the_programs_of_the_readme_work(tmp_path: Path) -> None:
    tests, program = blocks(ROOT / "README.md", "python")
    (tmp_path / "test_readme.py").write_text(tests, "utf-8")
    assert "2 passed" in run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path))
    own = str(EXAMPLES / "branch-office.cfg")
    assert "pin-sha256:" in run(sys.executable, "-c", program.replace("my-asa.cfg", own))


def test_the_story_of_the_manual_can_be_played() -> None:
    (story,) = blocks(ROOT / "docs" / "usage.md", "toml")
    assert len(parse_story(story)) == len(tomllib.loads(story)["act"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_point_to_what_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:asa_emu|client_emu|docs|certs|tests|examples|bench)/[\w/.-]+)`", text):
        assert path == "certs/out" or (ROOT / path).exists(), path


def test_the_protocol_page_names_tests_that_exist() -> None:
    named = re.findall(
        r"`((?:peers|shell|unit|scenario|property)/[\w/]+\.py)`", (ROOT / "docs/protocol.md").read_text()
    )
    assert len(set(named)) > 20
    for path in set(named):
        assert (ROOT / "tests" / path).exists(), path
