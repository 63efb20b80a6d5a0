from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance import (
    Catalogue,
    Collector,
    Proof,
    Statement,
    complaints,
    order,
    page,
    read_catalogue,
    summary,
)

pytest_plugins = ["pytester"]

CATALOGUE = Catalogue(
    {
        "S1": Statement("S1", "A notice.", None),
        "S5a": Statement("S5a", "The parent exists | at once.", 3),
        "S45": Statement("S45", "The client tries to reconnect.", 4),
    },
    frozenset({3}),
)
PROOF = Proof("tests/test_x.py", "test_parent", ("S5a",), {"passed"})


def test_every_statement_is_listed_once_and_in_order() -> None:
    catalogue = read_catalogue()
    assert len(catalogue.statements) == 158
    assert sorted(["S10", "S5c", "S5a", "S5"], key=order) == ["S5", "S5a", "S5c", "S10"]
    assert {statement.issue for statement in catalogue.statements.values()} == {None, 3, 4, 5}


def test_a_row_says_who_claims_it(tmp_path: Path) -> None:
    broken = tmp_path / "statements.toml"
    broken.write_text('finished = []\n[statements]\nS1 = { text = "Whose?" }\n')
    with pytest.raises(ValueError, match="S1: an issue claims it"):
        read_catalogue(broken)
    broken.write_text(
        'finished = []\n[statements]\nS2 = { issue = 3, text = "b" }\nS1 = { issue = 3, text = "a" }\n'
    )
    with pytest.raises(ValueError, match="not in order"):
        read_catalogue(broken)


def test_the_page_has_one_row_a_statement() -> None:
    rows = [line for line in page(CATALOGUE, [PROOF]).splitlines() if line.startswith("| S")]
    assert rows == [
        "| S1 | A notice. | | document | |",
        "| S5a | The parent exists \\| at once. | 3 | proven | [`test_parent`](../tests/test_x.py) |",
        "| S45 | The client tries to reconnect. | 4 | open | |",
    ]
    assert complaints(CATALOGUE, [PROOF]) == []
    assert summary(CATALOGUE, [PROOF]) == "1 proven, 1 open, 1 document, 0 missing"


@pytest.mark.parametrize("outcomes", [set(), {"skipped"}, {"passed", "failed"}])
def test_a_claimed_statement_needs_a_test_that_passes(outcomes: set[str]) -> None:
    found = complaints(CATALOGUE, [replace(PROOF, outcomes=outcomes)])
    assert found[0].startswith("S5a has no passing test")
    assert ("tests/test_x.py::test_parent fails" in found) == ("failed" in outcomes)


def test_an_unknown_number_is_refused() -> None:
    found = complaints(CATALOGUE, [PROOF, replace(PROOF, numbers=("S999",))])
    assert found == ["S999 is no statement, but tests/test_x.py::test_parent says it proves it"]


def test_marks_and_outcomes_are_collected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        pytestmark = pytest.mark.filterwarnings("ignore")

        @pytest.mark.statement("S9", "S5a")
        @pytest.mark.parametrize("way", ["xml", "form"])
        def test_ways(way): assert way == "xml"

        @pytest.mark.statement("S6")
        def test_skipped(): pytest.skip("no peer")

        @pytest.mark.statement("S7")
        @pytest.mark.statement("S8")
        def test_good(): pass

        def test_unmarked(): pass
        """
    )
    result = pytester.inline_run(
        "-m", "statement", "-p", "no:cacheprovider", plugins=[collector := Collector()]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    facts = {proof.name: (proof.numbers, proof.outcomes) for proof in collector.proofs.values()}
    assert facts == {
        "test_ways": (("S5a", "S9"), {"passed", "failed"}),
        "test_skipped": (("S6",), {"skipped"}),
        "test_good": (("S7", "S8"), {"passed"}),
    }
