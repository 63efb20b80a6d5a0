"""Whatever is typed, the console answers: it never raises, and a line it calls an error changed nothing."""

import re

from hypothesis import given
from hypothesis import strategies as st

from asa_emu.cli.commands import ROWS
from asa_emu.cli.terminal import Terminal
from tests.cli_lab import Desk, standalone

KEYWORDS = sorted({word for row in ROWS for word in re.findall(r"[a-z][a-z0-9.-]*", row.pattern)})
PLACES = ("group-policy EMPLOYEES attributes", "webvpn", "configure terminal", "end", "exit", "no", "!emu")
VALUES = ("1", "0", "5s", "10.0.0.1", "POOL", "walter", "|", "i", "-v", "(", "?", "!", "\t", "CSCuh55707")
WORDS = (*KEYWORDS, *PLACES, *VALUES)
LINES = st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=7).map(" ".join)


@given(lines=st.lists(LINES, max_size=8))
def test_any_lines_are_answered(lines: list[str]) -> None:
    desk = Desk()
    standalone(desk.headend.db)
    for line in lines:
        before = desk.headend.config.generation
        reply = desk.cli.execute(line)
        assert reply.prompt
        assert reply.text == "" or reply.text.endswith("\n")
        assert not reply.failed or desk.headend.config.generation == before
        desk.cli.complete(line)


@given(keys=st.lists(st.binary(max_size=40) | LINES.map(str.encode), max_size=12))
def test_any_keys_are_answered(keys: list[bytes]) -> None:
    desk = Desk(privileged=False)
    terminal = Terminal(desk.cli)
    for typed in keys:
        terminal.receive(typed + b"\r")
