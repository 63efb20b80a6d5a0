"""Expressions behind a pipe against Python's, on small alphabets where much matches."""

import re

from hypothesis import given
from hypothesis import strategies as st

from asa_emu.config.expression import BadExpression, Expression

ATOMS = st.sampled_from([*"ab.", "[ab]", "[^a]", r"\.", "[.-]"])
FRAMES = st.sampled_from(["{}", "^{}", "{}$", "^{}$", "^b|{}", "{}|a$"])


def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions made of smaller ones."""
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda both: f"({both[0]}|{both[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,}"])).map(
            lambda both: f"({both[0]}){both[1]}"
        ),
    )


@given(st.recursive(ATOMS, grow, max_leaves=8), FRAMES, st.text("ab.-", max_size=8))
def test_found_is_what_python_finds(inner: str, frame: str, line: str) -> None:
    text = frame.replace("{}", inner)
    assert Expression(text).found_in(line) == (re.search(text, line) is not None)


@given(st.text("ab|()[]*+?{}123,^$\\-.", max_size=40), st.text("ab-1", max_size=20))
def test_any_text_is_an_expression_or_is_none(text: str, line: str) -> None:
    try:
        Expression(text).found_in(line)
    except BadExpression:
        pass
