"""`show failover` as parsers expect it, and the commands that change the role."""

from __future__ import annotations

from dataclasses import replace

from ntc_templates.parse import parse_output

from asa_emu.ha.status import Status
from asa_emu.ha.unit import State
from tests.cli_lab import CONFIG, Desk

PAIR = f"""\
ASA Version 9.12(4)37
failover
failover lan unit secondary
failover lan interface folink GigabitEthernet0/7
failover link statelink GigabitEthernet0/6
failover polltime unit msec 200 holdtime 3
failover replication http
{CONFIG}"""

STATUS = Status(
    unit="secondary",
    state=State.ACTIVE,
    mate="primary",
    mate_state="Standby Ready",
    poll=0.25,
    hold=2.0,
    active_for=29083269.4,
    mate_active_for=258.0,
    fence=7,
    link="up",
    lag=0.0,
    lag_p99=0.0,
    switched_at=1_643_223_955.0,
    sent=870845,
    not_sent=1,
    received=898543,
    refused=2,
    waiting=3,
    most_waiting=206,
    intervals=(),
)


class Unit:
    """A unit that remembers what it was told."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self.told: list[bool] = []

    @property
    def active(self) -> bool:
        return self._status.state is State.ACTIVE

    def status(self) -> Status:
        return self._status

    def switch(self, active: bool) -> None:
        self.told.append(active)

    async def certain(self) -> None:
        """It never sleeps."""


def desk(config: str = PAIR, status: Status | None = STATUS) -> Desk:
    made = Desk(config)
    made.services.unit = None if status is None else Unit(status)
    return made


def test_show_failover_line_by_line() -> None:
    text = desk().type("show failover")
    for line in (
        "Failover On",
        "Failover unit Secondary",
        "Failover LAN Interface: folink GigabitEthernet0/7 (up)",
        "Unit Poll frequency 250 milliseconds, holdtime 2 seconds",
        "Interface Poll frequency 5 seconds, holdtime 25 seconds",
        "failover replication http",
        "Version: Ours 9.12(4)37, Mate 9.12(4)37",
        "Last Failover at: 19:05:55 UTC Jan 26 2022",
        "        This host: Secondary - Active",
        "                Active time: 29083269 (sec)",
        "        Other host: Primary - Standby Ready",
        "        Link : statelink GigabitEthernet0/6 (up)",
        "        Stateful Obj    xmit       xerr       rcv        rerr",
        "        General         870845     1          898543     2",
        "        sys cmd         0          0          0          0",
        "        Xmit Q:         3       206     870845",
    ):
        assert line in text.splitlines(), line


def test_show_failover_is_read_by_ntc_templates() -> None:
    (row,) = parse_output(platform="cisco_asa", command="show failover", data=desk().type("show failover"))
    assert (row["state"], row["role"]) == ("On", "Secondary")
    assert (row["lan_intf_name"], row["lan_intf"], row["lan_intf_state"]) == (
        "folink",
        "GigabitEthernet0/7",
        "up",
    )
    assert (row["sw_version"], row["sw_version_mate"]) == ("9.12(4)37",) * 2
    assert (row["service_state"], row["service_state_mate"]) == (["Active"], ["Standby Ready"])
    assert row["interfaces"] == row["interfaces_mate"]
    assert row["last_failover_year"] == ["2022"]


def test_a_mate_that_is_not_heard_and_a_link_that_is_down() -> None:
    text = desk(status=replace(STATUS, mate_state=None, link="silent")).type("show failover")
    assert "Other host: Primary - Not Detected" in text
    assert "(down)" in text
    assert "Mate Unknown" in text
    assert parse_output(platform="cisco_asa", command="show failover", data=text)


def test_a_unit_without_a_state_link_says_what_is_configured() -> None:
    text = desk(status=None).type("show failover")
    assert "This host: Secondary - Active" in text
    assert "Last Failover at: Not Available" in text


def test_failover_off() -> None:
    text = Desk(CONFIG).type("show failover")
    assert text.startswith("Failover Off\nFailover unit Primary\n")


def test_the_role_is_changed_without_an_answer() -> None:
    made = desk()
    assert (
        made.type("no failover active", "failover active", "configure terminal", "no failover active") == ""
    )
    assert isinstance(made.services.unit, Unit)
    assert made.services.unit.told == [False, True, False]


def test_without_failover_there_is_no_role_to_change() -> None:
    assert "ERROR: failover is off" in desk(status=None).type("failover active")


def test_a_standby_logs_nobody_off_and_warns_of_configuring_it() -> None:
    made = desk(status=replace(STATUS, state=State.READY))
    assert "ERROR: this unit is not active" in made.type("vpn-sessiondb logoff all noconfirm")
    assert "NOT performed from Standby" in made.type("configure terminal")
