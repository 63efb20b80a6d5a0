"""The console session: modes, prompts, privileges, abbreviations, and the errors an ASA answers with."""

import pytest

from asa_emu.cli.modes import LOGOFF
from asa_emu.cli.shell import CliSession
from asa_emu.config import parse_config
from asa_emu.headend.headend import Headend
from tests.cli_lab import Desk, document_words, standalone

INVALID = "ERROR: % Invalid input detected at '^' marker.\n"


def test_a_session_from_user_mode_to_configuration_and_back() -> None:
    desk = Desk(privileged=False)
    assert desk.transcript(
        "enable", "", "configure terminal", "webvpn", "exit", "end", "disable", "show curpriv"
    ) == (
        "ciscoasa> enable\n"
        "Password: \n"
        "ciscoasa# configure terminal\n"
        "ciscoasa(config)# webvpn\n"
        "ciscoasa(config-webvpn)# exit\n"
        "ciscoasa(config)# end\n"
        "ciscoasa# disable\n"
        "ciscoasa> show curpriv\n"
        "Username : enable_1\nCurrent privilege level : 1\nCurrent Mode/s : P_UNPR\n"
    )


@pytest.mark.parametrize(
    ("lines", "prompt"),
    [
        (["webvpn"], "ciscoasa(config-webvpn)# "),
        (["group-policy EMPLOYEES attributes"], "ciscoasa(config-group-policy)# "),
        (["group-policy EMPLOYEES attributes", "webvpn"], "ciscoasa(config-group-webvpn)# "),
        (["username walter attributes"], "ciscoasa(config-username)# "),
        (["tunnel-group EMPLOYEES general-attributes"], "ciscoasa(config-tunnel-general)# "),
        (["tunnel-group EMPLOYEES webvpn-attributes"], "ciscoasa(config-tunnel-webvpn)# "),
        (["interface GigabitEthernet0/0"], "ciscoasa(config-if)# "),
        (["webvpn", "hostname vpn-1"], "vpn-1(config)# "),
        (["webvpn", "end"], "ciscoasa# "),
        (["ex"], "ciscoasa# "),
    ],
)
def test_each_configuration_mode_has_its_prompt(lines: list[str], prompt: str) -> None:
    desk = Desk()
    assert desk.type("configure terminal", *lines) == ""
    assert desk.cli.prompt == prompt


def test_the_enable_password_is_asked_for_three_times_and_never_shown() -> None:
    desk = Desk("enable password sesame\n", privileged=False)
    assert desk.cli.execute("enable").hidden_input
    assert desk.transcript("open", "Sesame", "sesam") == (
        "Password: open\nInvalid password\n"
        "Password: Sesame\nInvalid password\n"
        "Password: sesam\nInvalid password\nAccess denied.\n"
    )
    assert desk.cli.prompt == "ciscoasa> "
    desk.type("enable", "wrong", "sesame")
    assert desk.cli.prompt == "ciscoasa# "


def test_an_enable_password_that_nobody_hashed_is_compared_as_it_is() -> None:
    config = parse_config("enable password sesame\n")
    cli = CliSession(Headend(config, bytes), now=lambda: 0.0)
    cli.execute("enable")
    assert cli.execute("sesam").text == "Invalid password\n"
    assert cli.execute("sesame").prompt == "ciscoasa# "


def test_enable_takes_a_level_and_down_is_out_of_configuration_mode() -> None:
    desk = Desk()
    desk.type("configure terminal", "enable 1", "")
    assert desk.cli.prompt == "ciscoasa> "
    assert "level : 1\n" in desk.type("show curpriv")


def test_login_gives_a_user_the_privileges_of_the_configuration() -> None:
    desk = Desk("username boss password pw privilege 15\nusername clerk password pw\n", privileged=False)
    assert desk.transcript("login", "boss", "pw", "show curpriv") == (
        "ciscoasa> login\nUsername: boss\nPassword: pw\nciscoasa# show curpriv\n"
        "Username : boss\nCurrent privilege level : 15\nCurrent Mode/s : P_PRIV\n"
    )
    desk.type("login", "nobody", "pw", "clerk", "no")
    assert desk.cli.prompt == "Username: "
    desk.type("clerk", "pw")
    assert "Username : clerk\nCurrent privilege level : 2\n" in desk.type("show curpriv")


def test_a_login_that_is_required_ends_the_session_after_three_tries() -> None:
    desk = Desk(login=True)
    assert desk.cli.prompt == "Username: "
    desk.type("walter", "1", "walter", "2", "walter")
    assert desk.cli.execute("3").closed


def test_a_required_login_cannot_be_interrupted_away() -> None:
    desk = Desk(login=True)
    desk.cli.interrupt()
    assert desk.cli.prompt == "Username: "
    desk.type("walter", "secret")
    assert desk.cli.prompt == "ciscoasa# "


@pytest.mark.parametrize("word", ["exit", "logout", "quit", "ex"])
def test_the_end_of_a_session(word: str) -> None:
    reply = Desk().cli.execute(word)
    assert reply.closed
    assert reply.text == LOGOFF


@pytest.mark.parametrize(
    ("line", "full"),
    [
        ("sh clo", "show clock"),
        ("SHOW Clock", "show clock"),
        ("sh vpn-s", "show vpn-sessiondb summary"),
        ("sh vpn-s an f n walter", "show vpn-sessiondb anyconnect filter name walter"),
        ("sh vpn-s d svc so inac", "show vpn-sessiondb detail anyconnect sort inactivity"),
        ("sh run webv", "show running-config webvpn"),
        ("  show\tversion ", "show version"),
    ],
)
def test_any_unambiguous_prefix_will_do(line: str, full: str) -> None:
    desk = Desk()
    standalone(desk.headend.db)
    assert desk.type(line) == desk.type(full)
    assert "ERROR" not in desk.type(line)


@pytest.mark.parametrize(
    ("prompt", "line", "bad"),
    [
        ("ciscoasa> ", "reload", "reload"),
        ("ciscoasa> ", "show running-config", "running-config"),
        ("ciscoasa# ", "show vpn-sessiondb anyconect", "anyconect"),
        ("ciscoasa# ", "show vpn-sessiondb index eins", "eins"),
        ("ciscoasa# ", "show vpn-sessiondb anyconnect filter a-ipaddress 300.1.1.1", "300.1.1.1"),
        ("ciscoasa# ", "show clock detail now", "now"),
        ("ciscoasa# ", "vpn-sessiondb logoff inactive", "inactive"),
        ("ciscoasa# ", "terminal width 20", "20"),
        ("ciscoasa# ", "show version | shuffle x", "shuffle"),
        ("ciscoasa(config)# ", "show clok", "clok"),
        ("ciscoasa(config)# ", "disconnected-timeout 5", "disconnected-timeout"),
        ("ciscoasa(config)# ", "clock timezone CET 99", "99"),
        ("ciscoasa(config-group-policy)# ", "vpn-idle-timeout 0", "0"),
        ("ciscoasa(config-group-policy)# ", "no vpn-idel-timeout", "vpn-idel-timeout"),
    ],
)
@pytest.mark.statement("S67")
@pytest.mark.statement("S88")
def test_the_caret_stands_under_the_bad_word_counted_with_the_prompt(
    prompt: str, line: str, bad: str
) -> None:
    desk = Desk(privileged="#" in prompt)
    if "config" in prompt:
        desk.type("configure terminal")
    if "group" in prompt:
        desk.type("group-policy EMPLOYEES attributes")
    assert desk.cli.prompt == prompt
    assert desk.type(line) == " " * (prompt + line).rindex(bad) + "^\n" + INVALID


@pytest.mark.parametrize("line", ["show", "vpn-sessiondb logoff", "copy running-config", "show version |"])
def test_an_incomplete_command(line: str) -> None:
    assert Desk().type(line) == "ERROR: % Incomplete command\n"


@pytest.mark.parametrize("line", ["co terminal", "sh c", "show vpn-sessiondb l2l filter a 1.2.3.4"])
def test_an_ambiguous_command(line: str) -> None:
    assert Desk().type(line) == f'ERROR: % Ambiguous command:  "{line}"\n'


@pytest.mark.parametrize(
    "line",
    [
        "address-pools value NOPE",
        "no ip local pool POOL",
        "no group-policy NOPE",
        "ip local pool P 10.0.0.9-10.0.0.1",
        "ip local pool P 10.99.1.1-10.99.1.9 mask 255.255.0.0",
        "hostname",
        "webvpn nonsense",
        "tunnel-group X general-attributes",
        "!emu quirk CSCxx00000",
        "emulator quirk CSCxx00000",
        "emulator clock rate 0",
        "emulator clock advance 5",
        "show running-config |",
        "write nothing",
        "enable password",
        "exit now",
    ],
)
def test_a_bad_line_is_an_error_and_changes_nothing(line: str) -> None:
    desk = Desk()
    desk.type("configure terminal", "group-policy EMPLOYEES attributes")
    before = (desk.headend.config.startup(), desk.headend.config.generation, desk.cli.prompt)
    reply = desk.cli.execute(line)
    assert reply.failed, reply.text
    assert (desk.headend.config.startup(), desk.headend.config.generation, desk.cli.prompt) == before


@pytest.mark.statement("S10")
def test_show_gives_the_same_in_configuration_mode_and_outside() -> None:
    desk = Desk(first_index=1436)
    standalone(desk.headend.db)
    desk.type("emulator display 8.x")
    outside = desk.type("show vpn-sessiondb detail anyconnect")
    inside = desk.type("configure terminal", "webvpn", "show vpn-sessiondb detail anyconnect")
    assert desk.cli.prompt == "ciscoasa(config-webvpn)# "
    assert outside == inside
    assert inside.split() == document_words(1436)


def test_an_information_of_the_configuration_is_passed_on() -> None:
    assert Desk().type("configure terminal", "webvpn", "enable inside") == (
        "INFO: WebVPN and DTLS are enabled on 'inside'.\n"
    )


def test_two_consoles_share_the_headend_and_nothing_else() -> None:
    desk = Desk()
    other = desk.another(privileged=False)
    desk.type("configure terminal", "hostname vpn-1", "terminal pager 0")
    assert other.prompt == "vpn-1> "
    assert other.pager == 24


def test_run_answers_yes_to_what_is_to_be_confirmed() -> None:
    desk = Desk()
    standalone(desk.headend.db)
    assert "logged off : 1" in desk.cli.run("vpn-sessiondb logoff all")
    assert desk.cli.run("vpn-sessiondb logoff all", confirm=False) == ""
    assert "[confirm]" in desk.cli.prompt
    assert desk.cli.run("n") == ""


def test_help_lists_what_may_follow_and_what_a_word_may_become() -> None:
    desk = Desk()
    assert desk.type("show vpn-sessiondb anyconnect ?") == (
        "\n  filter  Only some sessions\n  sort    In rising order\n  <cr>\n\n"
    )
    assert desk.type("s?") == "\n  show  Show running system information\n\n"
    assert desk.type("show vpn-sessiondb index ?") == "\n  <1-4294967295>  Show one session\n\n"
    assert desk.type("shoe ?") == "ERROR: % Unrecognized command\n"
    desk.type("configure terminal", "group-policy EMPLOYEES attributes")
    assert "  vpn-idle-timeout " in desk.type("vpn-i?")
    assert "  show " in desk.type("?")
    assert "  vpn-sessiondb " in desk.type("show ?")
    assert "question mark" in desk.type("help")


def test_tab_completes_what_is_clear() -> None:
    cli = Desk().cli
    assert cli.complete("sh") == "ow "
    assert cli.complete("show vpn-sessiondb any") == "connect "
    assert cli.complete("show c") == ""
    assert cli.complete("show ") == ""
    assert cli.complete("show vpn-sessiondb index ") == ""


@pytest.mark.parametrize("line", ["", "   ", "!", "! a comment"])
def test_blank_lines_and_comments_say_nothing(line: str) -> None:
    assert Desk().type("configure terminal", line) == ""


def test_a_mode_ends_when_another_console_removes_what_it_is_about() -> None:
    desk = Desk()
    other = desk.another()
    desk.type("configure terminal", "group-policy NEW internal", "group-policy NEW attributes", "webvpn")
    other.execute("configure terminal")
    assert other.execute("no group-policy NEW").text == ""
    assert desk.type("anyconnect ssl keepalive 60").endswith(INVALID)
    assert desk.cli.prompt == "ciscoasa(config)# "
    assert "NEW" not in desk.type("show running-config")
