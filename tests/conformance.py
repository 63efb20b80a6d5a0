"""`make conformance`: which statements of the source document are proven, and by which tests.

`statements.toml` lists the statements and says which issue claims each; tests name them with
`@pytest.mark.statement("S30")`. This runs all such tests in one go, joins outcomes and statements, and writes
`docs/conformance.md`. The page has no dates and no timings, so that it changes only with the tests; `--check`
leaves it alone and fails when it is not current. Exit code 1, with the numbers, when a statement that a
finished issue claims has no passing test, when a marked test fails, or when one names an unknown statement.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
STATEMENTS: Final = ROOT / "tests" / "statements.toml"
PAGE: Final = ROOT / "docs" / "conformance.md"

INTRODUCTION: Final = """\
# Conformance

Cisco's document 116312, "AnyConnect FAQ: Tunnels, Reconnect Behavior, and the Inactivity Timer", statement by
statement, and the tests that show that the emulator does what it says. Made by `make conformance` from the
tests' `statement` marks; do not edit by hand.

*proven*: a test of it passes. *open*: a later issue claims it. *document*: it says something about documents
or history, which no program can show. *missing*: claimed, and not proven.
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One row: `issue` claims it; None for one about documents."""

    number: str
    text: str
    issue: int | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All statements in the document's order, and the issues that are finished."""

    statements: Mapping[str, Statement]
    finished: frozenset[int]


@dataclass(slots=True)
class Proof:
    """One test function: what it names, and how its runs ended (`passed`, `failed`, `skipped`)."""

    path: str
    name: str
    numbers: tuple[str, ...]
    outcomes: set[str] = field(default_factory=set)

    @property
    def failed(self) -> bool:
        """Whether any of its runs failed."""
        return "failed" in self.outcomes

    @property
    def passed(self) -> bool:
        """Whether it ran, and never failed."""
        return "passed" in self.outcomes and not self.failed


class Collector:
    """A pytest plugin that keeps the proofs of one run."""

    def __init__(self) -> None:
        self.proofs: dict[str, Proof] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what each test that will run names."""
        for item in session.items:
            numbers = [number for mark in item.iter_markers("statement") for number in mark.args]
            path, _, name = _function(item.nodeid).partition("::")
            known = dict.fromkeys(sorted(numbers, key=order))
            self.proofs.setdefault(
                _function(item.nodeid), Proof(path, name.rpartition("::")[2], tuple(known))
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a run ended; a broken setup or teardown is a failure too."""
        proof = self.proofs.get(_function(report.nodeid))
        if proof is not None and (report.when == "call" or report.outcome != "passed"):
            proof.outcomes.add(report.outcome)


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def order(number: str) -> tuple[int, str]:
    """Sort S5c before S30."""
    match = re.fullmatch(r"S(\d+)([a-z]?)", number)
    return (int(match[1]), match[2]) if match else (sys.maxsize, number)


def read_catalogue(path: Path = STATEMENTS) -> Catalogue:
    """Read `statements.toml`; ValueError for a row that claims both or neither."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    statements: dict[str, Statement] = {}
    for number, row in data["statements"].items():
        issue = row.get("issue")
        if (issue is None) != (row.get("kind") == "document"):
            raise ValueError(f"{number}: an issue claims it, or it is about documents")
        statements[number] = Statement(number, row["text"], issue)
    if list(statements) != sorted(statements, key=order):
        raise ValueError("the statements are not in order")
    return Catalogue(statements, frozenset(data["finished"]))


def by_statement(proofs: Iterable[Proof]) -> dict[str, list[Proof]]:
    """The proofs of each statement, sorted by path and name."""
    found: dict[str, list[Proof]] = {}
    for proof in sorted(proofs, key=lambda proof: (proof.path, proof.name)):
        for number in proof.numbers:
            found.setdefault(number, []).append(proof)
    return found


def state(statement: Statement, proofs: Sequence[Proof], finished: frozenset[int]) -> str:
    """What the page says of a statement; the words are explained there."""
    if any(proof.passed for proof in proofs):
        return "proven"
    if statement.issue is None:
        return "document"
    return "missing" if statement.issue in finished else "open"


def page(catalogue: Catalogue, proofs: Iterable[Proof]) -> str:
    """The text of `docs/conformance.md`."""
    tests = by_statement(proofs)
    lines = [
        INTRODUCTION,
        "| number | statement | issue | state | tests |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, statement in catalogue.statements.items():
        mine = tests.get(number, [])
        names = ", ".join(f"[`{proof.name}`](../{proof.path})" for proof in mine)
        cells = (
            number,
            statement.text.replace("|", "\\|"),
            "" if statement.issue is None else str(statement.issue),
            state(statement, mine, catalogue.finished),
            names,
        )
        lines.append(f"| {' | '.join(cells)} |".replace("  |", " |"))
    return "\n".join(lines) + "\n"


def complaints(catalogue: Catalogue, proofs: Iterable[Proof]) -> list[str]:
    """Why the run does not do, a sentence each; empty when it does."""
    proofs = list(proofs)
    tests = by_statement(proofs)
    found = [
        f"{number} has no passing test: {statement.text}"
        for number, statement in catalogue.statements.items()
        if state(statement, tests.get(number, []), catalogue.finished) == "missing"
    ]
    found += [f"{proof.path}::{proof.name} fails" for proof in proofs if proof.failed]
    found += [
        f"{number} is no statement, but {proof.path}::{proof.name} says it proves it"
        for number, mine in sorted(tests.items())
        if number not in catalogue.statements
        for proof in mine
    ]
    return found


def run_marked_tests() -> tuple[int, dict[str, Proof]]:
    """Run every marked test; pytest's exit code, and the proofs by test function."""
    collector = Collector()
    code = pytest.main(["-m", "statement", "-q", "--no-header", "-rfE"], plugins=[collector])
    return int(code), collector.proofs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the marked tests, write or check the page, tell what is missing; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the page is not current")
    given = parser.parse_args(arguments)
    catalogue = read_catalogue()
    code, proofs = run_marked_tests()
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return 1
    text = page(catalogue, proofs.values())
    found = complaints(catalogue, proofs.values())
    if not given.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        found.append(f"{PAGE.relative_to(ROOT)} is not current: run make conformance")
    for complaint in found:
        print(f"conformance: {complaint}", file=sys.stderr)
    print(f"conformance: {summary(catalogue, proofs.values())}")
    return 1 if found else 0


def summary(catalogue: Catalogue, proofs: Iterable[Proof]) -> str:
    """How many statements are in which state, in one line."""
    tests = by_statement(proofs)
    counts = dict.fromkeys(("proven", "open", "document", "missing"), 0)
    for number, statement in catalogue.statements.items():
        counts[state(statement, tests.get(number, []), catalogue.finished)] += 1
    return ", ".join(f"{count} {name}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
