"""`show vpn load-balancing`, read by the patterns of the public parser that knows it (genie)."""

import re
from typing import Any

from asa_emu.ha.balance import Balancer, Member
from tests.cli_lab import CONFIG, Desk

STATUS = re.compile(
    r"^(?P<status>\S+) +(?P<role>\S+) +(?P<failover>\S+) +(?P<encryption>\S+) +"
    r"(?P<peers>\d+) +(?P<cluster_ip>\S+)$"
)
PEER = re.compile(r"^(?P<role>\S+) +(?P<pri>\d+) +(?P<model>\S+) +(?P<version>\d+) +(?P<public_ip>\S+)$")
LOAD = re.compile(
    r"^(?P<limit_1>\d+) +(?P<used_1>\d+) +(?P<load_1>\d+)\% +"
    r"(?P<limit_2>\d+) +(?P<used_2>\d+) +(?P<load_2>\d+)% +(?P<public_ip>\S+)$"
)
BLOCK = """\
vpn load-balancing
 cluster ip address 192.0.2.10
 cluster key lionking
 cluster encryption
 participate
"""


def parsed(text: str) -> dict[str, list[tuple[Any, ...]]]:
    """What the parser makes of it: the first pattern that matches a stripped line takes it."""
    found: dict[str, list[tuple[Any, ...]]] = {"status": [], "peers": [], "loads": []}
    for line in map(str.strip, text.splitlines()):
        for name, pattern in (("status", STATUS), ("peers", PEER), ("loads", LOAD)):
            if match := pattern.match(line):
                found[name].append(match.groups())
                break
    return found


def test_the_cluster_is_read_by_the_public_parser() -> None:
    desk = Desk(CONFIG + BLOCK)
    balancer = desk.services.balancer = Balancer()
    me, other = Member("192.0.2.12", 443, 5, 0, 20_000), Member("192.0.2.11", 443, 9, 512, 1000)
    balancer.take_part(me, 0.0)
    balancer.heard(other, 0.0)
    balancer.leased(other.address, 2.0, 0.0)
    text = desk.type("show vpn load-balancing")
    assert parsed(text) == {
        "status": [("Enabled", "Backup", "n/a", "Enabled", "1", "192.0.2.10")],
        "peers": [
            ("Master", "9", "ASA-VASA", "4", "192.0.2.11"),
            ("Backup", "5", "ASA-VASA", "4", "192.0.2.12*"),
        ],
        "loads": [
            ("1000", "512", "51", "0", "0", "0", "192.0.2.11"),
            ("20000", "0", "0", "0", "0", "0", "192.0.2.12*"),
        ],
    }
    assert {len(line) for line in text.splitlines() if line.startswith("---")} == {74}
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_layout_is_that_of_the_known_sample() -> None:
    desk = Desk(CONFIG + BLOCK)
    balancer = desk.services.balancer = Balancer()
    balancer.take_part(Member("192.0.2.11", 443, 5, 0, 250), 0.0)
    balancer.leased("192.0.2.11:443", 2.0, 0.0)
    lines = desk.type("show vpn load-balancing").splitlines()
    assert lines[3] == " Enabled    Master   n/a        Enabled          0     192.0.2.10"
    assert lines[9] == " Master    5  ASA-VASA                               4  192.0.2.11*"
    assert lines[-1] == "     250       0      0%             0       0      0%  192.0.2.11*"


def test_off_is_told_and_its_lines_are_a_section_of_the_configuration() -> None:
    desk = Desk(CONFIG)
    assert parsed(desk.type("show vpn load-balancing"))["status"] == [
        ("Disabled", "n/a", "n/a", "Disabled", "0", "0.0.0.0")
    ]
    desk = Desk(CONFIG + BLOCK)
    shown = desk.type("show running-config vpn load-balancing")
    assert shown == BLOCK.replace("lionking", "*****")
