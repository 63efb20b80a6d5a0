"""What stands before a message: priority, stamp, device, in each layout an ASA has."""

import re

import pytest

from asa_emu.config.logging import Layout
from tests.syslog_lab import AT, SyslogLab, accepted

TAG = "%ASA-6-113012: AAA user authentication Successful : local database : user = walter"
INSIDE = "interface Ethernet0\n nameif inside\n ip address 192.0.2.1 255.255.255.0\n"
ZONE = "clock timezone CEST 2\n"
CISCO_TAGGED_SYSLOG = re.compile(
    r"^<(?P<pri>[1-9]\d*)>(?P<stamp>[A-Z][a-z]{2} +\d{1,2}(?: \d{4})? \d\d:\d\d:\d\d)( (?P<host>\S+))? ?: "
    r"%(?P<tag>[A-Z0-9]+-\d-[A-Z0-9_]+):"
)
"""The pattern of that name in logstash, less its named sub-patterns."""


def wire(config: str, layout: Layout = "asa", at: float = AT) -> str:
    """What a host is sent for one message under this configuration."""
    lab = SyslogLab(f"logging enable\nlogging trap debugging\n{config}")
    lab.hear(accepted(at=at))
    return lab.records[0].wire(layout)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", f"<166>{TAG}"),
        ("logging timestamp\n", f"<166>Nov 30 2012 22:13:24: {TAG}"),
        ("logging timestamp\n" + ZONE, f"<166>Dec 01 2012 00:13:24: {TAG}"),
        ("clock timezone NST -3 30\nlogging timestamp\n", f"<166>Nov 30 2012 18:43:24: {TAG}"),
        ("logging timestamp rfc5424\n" + ZONE, f"<166>2012-11-30T22:13:24Z: {TAG}"),
        ("logging facility 23\n", f"<190>{TAG}"),
        ("hostname fw1\nlogging device-id hostname\n", f"<166>fw1 : {TAG}"),
        ("logging timestamp\nlogging device-id hostname\n", f"<166>Nov 30 2012 22:13:24 ciscoasa : {TAG}"),
        (
            "logging timestamp rfc5424\nlogging device-id string edge-7\n",
            f"<166>2012-11-30T22:13:24Z edge-7 : {TAG}",
        ),
        ("logging device-id context-name\n", f"<166>single : {TAG}"),
        (INSIDE + "logging device-id ipaddress inside\n", f"<166>192.0.2.1 : {TAG}"),
        ("logging device-id ipaddress inside\n", f"<166>{TAG}"),
        ("logging message 113012 level 3\n", f"<163>{TAG.replace('-6-', '-3-')}"),
    ],
)
def test_the_usual_layout(config: str, expected: str) -> None:
    assert wire(config) == expected


def test_emblem_names_the_zone_and_the_class() -> None:
    emblem = TAG.replace("%ASA-6", "%ASA-auth-6")
    assert wire("logging timestamp\n" + ZONE, "emblem") == f"<166>:Dec 01 00:13:24 CEST: {emblem}"
    assert wire("", "emblem") == f"<166>:{emblem}"


def test_emblem_for_all_is_in_the_buffer_too() -> None:
    lab = SyslogLab("logging enable\nlogging emblem\nlogging buffered debugging\nlogging trap debugging\n")
    lab.hear(accepted())
    assert lab.syslog.buffer.lines[0] == f":{TAG.replace('%ASA-6', '%ASA-auth-6')}"
    assert lab.records[0].wire() == lab.records[0].wire("emblem")


def test_the_real_rfc_5424_has_its_seven_fields() -> None:
    config = "hostname fw1\nlogging timestamp\n" + ZONE
    assert wire(config, "rfc5424") == f"<166>1 2012-11-30T22:13:24Z fw1 ASA - 113012 - {TAG}"


def test_a_stamp_changes_with_the_second() -> None:
    lab = SyslogLab()
    for at in (AT, AT + 0.9, AT + 1.0, AT - 1.0):
        lab.hear(accepted(at=at))
    stamps = [record.wire()[5:25] for record in lab.records if record.number == 113012]
    assert [stamp[-2:] for stamp in stamps] == ["24", "24", "25", "23"]


def test_logstash_takes_every_line_apart() -> None:
    for config in ("", "logging device-id hostname\n"):
        lab = SyslogLab(f"logging enable\nlogging timestamp\nlogging trap debugging\n{config}")
        lab.connected(now=AT)
        for record in lab.records:
            parts = CISCO_TAGGED_SYSLOG.match(record.wire())
            assert parts
            assert int(parts["pri"]) == 20 * 8 + record.severity
            assert parts["tag"] == f"ASA-{record.severity}-{record.number}"
