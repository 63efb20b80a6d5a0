"""The expressions behind a pipe: what they match, as Python's do, and that no expression holds anybody up."""

import re
from random import Random

import pytest

from asa_emu.config.expression import MAX_COUNT, MAX_DEPTH, MAX_LENGTH, BadExpression, Expression
from tests.cli_lab import Desk

LINES = [
    "",
    "Username     : walter                 Index        : 1436",
    "Assigned IP  : 192.168.1.4            Public IP    : 172.16.250.17",
    "  Tunnel ID    : 1436.2",
    "Encryption   : AnyConnect-Parent: (1)none  SSL-Tunnel: (1)AES-GCM-256",
    " banner value a [weird] line^ with $ {2} and \\ in it",
    "aaab",
    "ab\tcé€",
]


@pytest.mark.parametrize(
    "text",
    [
        *("Username", "Username|Index", "walter +Index", "^Username", "^ ", "2$", "^$", "^", "$", "a|^$"),
        *(".", "...", "1[0-9]+", "[^ -~]", "[]a]b", "[^]a]b", "[a-c-]", r"[\]\\]", r"[\d.]+ ", r"[^\s\d]\s"),
        *("(1)", r"\(1\)", r"\(1\)(none|AES)", "(Tx|Rx)?", "a*b", "a+b", "a?b", "a{2}b", "a{2,}b", "()"),
        *("a{1,2}b", "a{0}b", "(ab|b){1,3}", "x*", "(a|b)*c", "(a|aa)+$", "(a+)+b", "((a)((b)))", "a||b"),
        *(r"\d", r"\D\D\D$", r"\w+\t", r"\W", r"\S\s\S", r"\^", r"\$", r"\.", "{", "}", "a{x", "é.", "[à-ü]"),
        *("^(Username|Assigned).*4", ".*Public.*17$", r"[0-9]{1,3}(\.[0-9]{1,3}){3}", "a^b", "a$b"),
    ],
)
def test_it_matches_what_pythons_expressions_match(text: str) -> None:
    expression = Expression(text)
    for line in LINES:
        assert expression.found_in(line) == (re.search(text, line) is not None), line


@pytest.mark.parametrize(
    "text",
    [
        *("(", ")", "(a", "a)", "[a", "[", "a\\", "[b-a]", "*", "+a", "?", "(*)", "a|*", "a{3,2}"),
        *(
            "a" * (MAX_LENGTH + 1),
            f"a{{{MAX_COUNT + 1}}}",
            "(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1),
        ),
        *("(a{255}){255}", "((((){255}){255}){255}){255}", "(a{0,255}){0,255}"),
    ],
)
def test_what_is_no_expression_or_too_much_of_one(text: str) -> None:
    with pytest.raises(BadExpression):
        Expression(text)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", ["(a+)+b", "(a|a)*b$", "(.*a){20}b", "a*" * 60 + "b", "(a?){60}a{60}b"])
def test_no_expression_takes_longer_than_its_text(text: str) -> None:
    assert not Expression(text).found_in("a" * 5000 + "!")


def test_an_expression_that_would_take_every_step_there_is_gives_up() -> None:
    expression = Expression("(a|b)*a(a|b){60}c")
    with pytest.raises(BadExpression):
        expression.found_in("".join(Random(1).choices("ab", k=100_000)))


def test_as_deep_as_is_allowed() -> None:
    assert Expression("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH + "(b)").found_in("ab")


@pytest.mark.timeout(10)
def test_a_bomb_behind_a_pipe_does_not_go_off() -> None:
    desk = Desk()
    desk.type("configure terminal", "group-policy EMPLOYEES attributes", f"banner value {'a' * 400}!", "end")
    assert desk.type("show run group-policy EMPLOYEES | include (a+)+$") == ""
    assert desk.type("show run group-policy EMPLOYEES | include (a+)+!$").startswith(" banner value aaa")
    assert desk.type("show run | include (a{255}){255}") == "ERROR: % Invalid regular expression\n"
