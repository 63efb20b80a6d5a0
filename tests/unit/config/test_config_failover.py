"""The `failover` commands: timers and their ranges, what is shown, and what a mate takes over."""

from __future__ import annotations

import pytest

from asa_emu.config import ConfigError, Failover, parse_config
from asa_emu.config.failover import Interface, Timers

PAIR = """\
hostname one
failover
failover lan unit primary
failover lan interface folink GigabitEthernet0/7
failover polltime unit msec 500 holdtime 3
failover polltime interface 3 holdtime 15
failover key s3cret
failover replication http
failover link statelink GigabitEthernet0/6
failover interface ip folink 10.0.0.1 255.255.255.252 standby 10.0.0.2
"""


def test_a_pair_is_read() -> None:
    said = parse_config(PAIR).failover
    assert said == Failover(
        enabled=True,
        unit="primary",
        lan=Interface("folink", "GigabitEthernet0/7"),
        link=Interface("statelink", "GigabitEthernet0/6"),
        unit_timers=Timers(0.5, 3.0),
        interface_timers=Timers(3.0, 15.0),
        key="s3cret",
        replicates_http=True,
    )
    assert "s3cret" not in repr(said)


def test_nothing_said_is_an_asas_default() -> None:
    said = parse_config("hostname one\n").failover
    assert said == Failover()
    assert (said.unit_timers, said.interface_timers) == (Timers(1.0, 15.0), Timers(5.0, 25.0))
    assert not parse_config("no failover\n").failover.enabled


def test_the_configuration_is_shown_again_but_for_the_key() -> None:
    config = parse_config(PAIR)
    assert config.startup() == PAIR
    assert config.render() == PAIR.replace("s3cret", "*****")
    assert not config.reports


@pytest.mark.parametrize(
    ("line", "timers"),
    [
        ("failover polltime 2", Timers(2.0, 15.0)),
        ("failover polltime 6", Timers(6.0, 18.0)),
        ("failover polltime unit 1 holdtime 3", Timers(1.0, 3.0)),
        ("failover polltime msec 200 holdtime msec 800", Timers(0.2, 0.8)),
        ("failover polltime unit msec 200 holdtime 45", Timers(0.2, 45.0)),
        ("!emu failover poll 200ms hold 1s", Timers(0.2, 1.0)),
        ("!emu failover poll 20ms hold 60ms", Timers(0.02, 0.06)),
    ],
)
def test_timers_of_the_unit(line: str, timers: Timers) -> None:
    config = parse_config(f"{line}\n")
    assert config.failover.unit_timers == timers
    assert config.startup() == f"{line}\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("failover polltime 16", "1 to 15 s are allowed"),
        ("failover polltime msec 199", "200 to 999 ms are allowed"),
        ("failover polltime 1 holdtime 46", "1 to 45 s are allowed"),
        ("failover polltime 1 holdtime msec 799", "800 to 999 ms are allowed"),
        ("failover polltime 5 holdtime 14", "3 times the polltime"),
        ("failover polltime interface 4 holdtime 19", "5 times the polltime"),
        ("failover polltime interface msec 499", "500 to 999 ms are allowed"),
        ("!emu failover poll 1s hold 2s", "3 times the poll time"),
        ("failover lan unit third", "third"),
    ],
)
def test_timers_out_of_range_are_errors(line: str, reason: str) -> None:
    with pytest.raises(ConfigError, match="startup-config:1") as error:
        parse_config(f"{line}\n")
    assert reason in str(error.value)


def test_the_later_line_about_timers_counts() -> None:
    config = parse_config("failover polltime 2\n!emu failover poll 200ms hold 1s\n")
    assert config.failover.unit_timers == Timers(0.2, 1.0)
    config.editor().execute("failover polltime unit 3")
    assert config.failover.unit_timers == Timers(3.0, 15.0)
    config.editor().execute("no failover polltime unit 3")
    assert config.failover.unit_timers == Timers(1.0, 15.0)


def test_a_mate_takes_everything_but_its_own_name_and_key() -> None:
    config = parse_config(PAIR)
    mate = parse_config(PAIR.replace("unit primary", "unit secondary"))
    config.editor().execute("hostname two")
    shared = config.shared()
    assert "lan unit" not in shared
    assert "s3cret" not in shared
    generation = mate.generation
    assert mate.adopt(shared)
    assert mate.hostname == "two"
    assert mate.failover.unit == "secondary"
    assert mate.failover.key == "s3cret"
    assert mate.generation > generation
    assert not mate.adopt(shared)


def test_a_mates_configuration_that_cannot_be_used_changes_nothing() -> None:
    mate = parse_config(PAIR)
    with pytest.raises(ConfigError, match="the mate's configuration:1"):
        mate.adopt("failover polltime 99\n")
    assert mate.startup() == PAIR
