"""The lock file covers what pyproject.toml asks for, with hashes, and names no place to get it from."""

import re
import tomllib
from pathlib import Path


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_every_dependency_is_locked(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        asked += extra
    lock = (repository / "requirements.lock").read_text("utf-8")
    locked = {canonical(line) for line in lock.splitlines() if re.match(r"[a-z0-9]", line)}
    own = {canonical(project["project"]["name"])}
    assert {canonical(each) for each in asked} - own - locked == set(), "run: make lock"


def test_every_entry_is_pinned_and_hashed_and_none_names_a_place(repository: Path) -> None:
    lock = (repository / "requirements.lock").read_text("utf-8")
    for entry in re.split(r"\n(?=[a-z0-9])", lock):
        assert re.match(r"[a-z0-9.-]+==[^ ]+( ; [^\\]+)? \\\n", entry), entry
        assert re.fullmatch(r"(\s+--hash=sha256:[0-9a-f]{64}( \\)?\n?)+", entry.partition("\n")[2]), entry
    assert not re.search(r"://|--\w*(index|links)|\s-[ef]\s|@", lock)
