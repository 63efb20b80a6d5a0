"""The terminal: keys in, screen out."""

import pytest

from asa_emu.cli.terminal import GREETING, MAX_LINE, MORE, Terminal
from tests.cli_lab import Desk

ERASED = f"\r{' ' * len(MORE)}\r"


class Screen:
    """A terminal at a desk, with text in place of bytes."""

    def __init__(self, *, privileged: bool = True, config: str = "hostname asa\n") -> None:
        self.desk = Desk(config, privileged=privileged)
        self.terminal = Terminal(self.desk.cli)
        self.greeting = self.terminal.greeting().decode()

    def keys(self, text: str) -> str:
        """What typing this shows."""
        return self.terminal.receive(text.encode()).decode()


def test_it_greets_echoes_and_answers_with_line_ends_of_the_wire() -> None:
    screen = Screen(privileged=False)
    assert screen.greeting == f"{GREETING.strip()}\r\nasa> "
    assert screen.keys("show cur\r") == (
        "show cur\r\nUsername : enable_1\r\nCurrent privilege level : 1\r\nCurrent Mode/s : P_UNPR\r\nasa> "
    )


def test_every_kind_of_line_end_is_one_enter() -> None:
    screen = Screen()
    for end in ("\n", "\r\n", "\r\0", "\r"):
        assert screen.keys(end) == "\r\nasa# ", repr(end)
    assert screen.keys("\n") == ""
    assert screen.keys("\n") == "\r\nasa# "


def test_a_password_is_never_echoed_nor_rubbed_out_visibly() -> None:
    screen = Screen(privileged=False, config="hostname asa\nenable password Sesame?1\n")
    assert screen.keys("enable\r") == "enable\r\nPassword: "
    assert screen.keys("x\x7fSes\x15Sesame?1\x7f1") == ""
    assert screen.keys("\r") == "\r\nasa# "


@pytest.mark.parametrize(
    ("keys", "done"),
    [("\r", True), ("y", True), ("Y\r\n", True), ("y\n", True), ("n", False), ("N\r\n", False)],
)
def test_a_confirmation_takes_one_key_without_echo_and_the_enter_after_it(keys: str, done: bool) -> None:
    screen = Screen()
    assert screen.keys("vpn-sessiondb logoff all\r").endswith("[confirm]")
    said = 'INFO: Number of sessions of type "all" logged off : 0\r\n' if done else ""
    assert screen.keys(keys) == f"\r\n{said}asa# "
    assert screen.keys("show clo?").startswith("show clo?\r\n")


def test_other_keys_answer_no_confirmation() -> None:
    screen = Screen()
    screen.keys("vpn-sessiondb logoff all\r")
    assert screen.keys("x\t?") == ""
    assert screen.keys("\x03") == "^C\r\nasa# "
    screen.keys("vpn-sessiondb logoff all\ry")
    assert screen.keys("exit") == "exit"


def test_backspace_kill_and_interrupt() -> None:
    screen = Screen()
    assert screen.keys("show clopp\x7f\b") == "show clopp\b \b\b \b"
    assert screen.keys("\x15") == "\b \b" * 8
    assert screen.keys("\x7f") == ""
    assert screen.keys("reload\x03") == "reload^C\r\nasa# "
    assert screen.keys("enable\r\x03") == "enable\r\nPassword: ^C\r\nasa# "


def test_help_comes_at_once_and_the_line_stays() -> None:
    screen = Screen()
    assert screen.keys("show clo?") == "show clo?\r\n\r\n  clock  Show the time\r\n\r\nasa# show clo"
    assert screen.keys("\t") == "ck "
    assert screen.keys("\t") == ""
    assert "UTC" in screen.keys("\r")


def test_cursor_keys_and_other_control_characters_are_nothing() -> None:
    screen = Screen()
    assert screen.keys("\x1b[A\x1bOB\x1b[1;5C\x00\x01\x1bx") == ""
    assert screen.keys("\r") == "\r\nasa# "


def test_a_line_has_an_end() -> None:
    screen = Screen()
    assert screen.keys("x" * (MAX_LINE + 2)) == "x" * MAX_LINE + "\a\a"
    assert "Invalid input" in screen.keys("\r")


def test_what_is_no_utf8_is_a_word_like_any_other() -> None:
    screen = Screen()
    assert b"Invalid input" in screen.terminal.receive(b"\xff\xfe\r")


LONG = "access-list A standard permit host 10.0.0.{}\n"


def long_screen() -> Screen:
    """One whose running-config is 53 lines."""
    screen = Screen(config="hostname asa\n" + "".join(LONG.format(n) for n in range(1, 50)))
    screen.keys("terminal pager 10\r")
    return screen


def test_pages_stop_and_go_on_by_a_screen_or_a_line() -> None:
    screen = long_screen()
    page = screen.keys("show run\r")
    assert page.count("\r\n") == 1 + 10
    assert page.endswith(MORE)
    line = screen.keys("\r")
    assert line.startswith(ERASED)
    assert line.count("\r\n") == 1
    assert screen.keys("x") == ""
    assert screen.keys(" ").count("\r\n") == 10
    assert screen.keys("    ").endswith(": end\r\nasa# ")


def test_q_leaves_the_pages() -> None:
    screen = long_screen()
    screen.keys("show run\r")
    assert screen.keys("q") == f"{ERASED}asa# "
    screen.keys("show run\r")
    assert screen.keys("\x03") == f"{ERASED}asa# "


def test_without_paging_everything_comes_at_once() -> None:
    for line in ("terminal pager 0", "terminal pager lines 0", "no terminal pager"):
        screen = long_screen()
        screen.keys(f"{line}\r")
        assert screen.keys("show run\r").endswith(": end\r\nasa# ")
    screen = long_screen()
    screen.keys("conf t\rno pager\rend\r")
    assert MORE not in screen.keys("show run\r")
    screen.keys("conf t\rpager lines 5\rend\r")
    assert MORE in screen.keys("show run\r")


def test_the_end() -> None:
    screen = Screen()
    assert screen.keys("exit\rshow clock\r") == "exit\r\n\r\nLogoff\r\n"
    assert screen.terminal.closed
