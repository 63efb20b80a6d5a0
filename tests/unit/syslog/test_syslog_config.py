"""The `logging` commands: what they mean, what they refuse, how they are shown."""

import pytest

from asa_emu.config import Config, ConfigError, DeviceId, LogHost, Outcome, parse_config


def typed(config: Config, line: str) -> Outcome:
    return config.editor().execute(line)


def test_the_defaults_are_an_asas() -> None:
    said = parse_config("").logging
    assert not said.said
    assert not said.enabled
    assert (said.facility, said.buffer_size, said.queue) == (20, 4096, 512)
    assert said.hide_username
    assert said.filters == {}


def test_all_of_it_is_read_and_shown_again() -> None:
    text = """\
logging enable
logging timestamp rfc5424
no logging hide username
logging emblem
logging list VPN level notifications class svc
logging list VPN message 113019
logging buffer-size 1048576
logging buffered debugging
logging console VPN
logging trap informational
logging facility 16
logging queue 0
logging device-id string edge
logging host inside 192.0.2.7
logging host inside 192.0.2.8 17/5514 format emblem
logging host dmz 2001:db8::7 6/1470
!emu logging host 127.0.0.1 udp/514
!emu logging host 127.0.0.1 tcp/1 format rfc5424
!emu logging host 127.0.0.2
logging permit-hostdown
no logging message 725001
logging message 722051 level informational
"""
    config = parse_config(text)
    assert config.startup() == text
    said = config.logging
    assert said.enabled
    assert said.timestamp == "rfc5424"
    assert said.device_id == DeviceId("string", "edge")
    assert (said.facility, said.buffer_size, said.queue) == (16, 1_048_576, 0)
    assert not said.hide_username
    assert said.emblem
    assert said.permit_hostdown
    assert said.disabled == {725001}
    assert said.levels == {722051: 6}
    assert said.hosts == (
        LogHost("inside", "192.0.2.7", "udp", 514),
        LogHost("inside", "192.0.2.8", "udp", 5514, "emblem"),
        LogHost("dmz", "2001:db8::7", "tcp", 1470),
        LogHost("", "127.0.0.1", "udp", 514),
        LogHost("", "127.0.0.1", "tcp", 1, "rfc5424"),
        LogHost("", "127.0.0.2", "udp", 514),
    )
    assert said.filters.keys() == {"buffered", "console", "trap"}
    console = said.filters["console"]
    passing = [(722033, 5), (722022, 6), (113019, 4), (113039, 6)]
    assert [console.passes(*message) for message in passing] == [True, False, True, False]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("logging trap 5", "logging trap notifications"),
        ("logging trap inf", "logging trap informational"),
        ("logg buffere deb", "logging buffered debugging"),
        ("logging message 722051 level 2", "logging message 722051 level critical"),
        ("no logging message 722051", "no logging message 722051"),
    ],
)
def test_levels_and_abbreviations_are_shown_in_full(line: str, shown: str) -> None:
    config = parse_config("")
    assert typed(config, line).ok
    assert config.render() == f"{shown}\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("logging trap", "incomplete"),
        ("logging trap LOUD", "logging list 'LOUD' does not exist"),
        ("logging host 192.0.2.7", "expected the name of an interface"),
        ("logging host inside 192.0.2.7 tcp/514", "bad port 514"),
        ("logging host inside 192.0.2.7 udp/70000", "bad port 70000"),
        ("logging host inside 192.0.2.7 tcp/", "bad value 'tcp/'"),
        ("logging host inside 192.0.2.7 sctp", "bad value 'sctp'"),
        ("logging host inside 192.0.2.7 tcp format emblem", "over UDP only"),
        ("!emu logging host 127.0.0.1 udp/0", "bad port 0"),
        ("logging facility 15", "from 16 to 23"),
        ("logging buffer-size 1", "from 4096 to 1048576"),
        ("logging message 7", "from 100000 to 999999"),
        ("logging device-id string 12345678901234567", "at most 16 characters"),
        ("logging list VPN message 7", "expected a message number"),
        ("logging list VPN class nonsense", "unknown message class"),
        ("!emu logging list VPN level 9", "expected a severity"),
    ],
)
def test_a_bad_line_changes_nothing(line: str, reason: str) -> None:
    config = parse_config("")
    outcome = typed(config, line)
    assert not outcome.ok
    assert reason in outcome.text
    assert not config.logging.said


def test_a_file_with_a_bad_line_names_it() -> None:
    with pytest.raises(ConfigError, match=r"startup-config:2: logging list 'VPN' does not exist \(add: "):
        parse_config("logging enable\nlogging trap VPN\n")


def test_a_list_in_use_stays() -> None:
    config = parse_config("logging list VPN message 113019\nlogging trap VPN\n")
    assert not typed(config, "no logging list VPN").ok
    assert typed(config, "no logging trap").ok
    assert typed(config, "no logging list VPN").ok
    assert not config.logging.said


def test_lines_are_taken_back_one_by_one() -> None:
    config = parse_config(
        "logging host inside 192.0.2.7 17/5514\n"
        "!emu logging host 127.0.0.1 udp/5514\n!emu logging host 127.0.0.1 udp/5515\n"
        "no logging message 113019\nlogging message 113019 level errors\n"
    )
    assert typed(config, "no logging host inside 192.0.2.7").ok
    assert typed(config, "no logging host 127.0.0.1 udp/5514").ok
    assert config.logging.hosts == (LogHost("", "127.0.0.1", "udp", 5515),)
    assert typed(config, "logging message 113019").ok
    assert config.logging.disabled == frozenset()
    assert config.logging.levels == {113019: 3}
    assert typed(config, "no logging message 113019 level errors").ok
    assert config.logging.levels == {}


def test_a_host_that_is_not_this_machine_is_reported() -> None:
    config = parse_config(
        "!emu logging host 127.0.0.1\n!emu logging host ::1\nlogging host inside 192.0.2.7\n"
    )
    (report,) = config.reports
    assert (report.line, report.reason) == (3, "messages are really sent to this host")


def test_tls_to_a_host_is_reported_as_missing() -> None:
    config = parse_config("logging host inside 192.0.2.7 6/1470 secure\nlogging asdm informational\n")
    assert [report.line for report in config.reports] == [1, 2]
    assert "without TLS" in config.reports[0].reason
