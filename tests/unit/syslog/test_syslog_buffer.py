"""The buffer of `logging buffered`, and `show logging`."""

from ntc_templates.parse import parse_output

from asa_emu.config import LogHost
from asa_emu.syslog import Channel
from asa_emu.syslog.buffer import Buffer
from tests.syslog_lab import AT, SyslogLab, accepted

STATUS = """\
Syslog logging: enabled
    Facility: 20
    Timestamp logging: enabled
    Hide Username logging: enabled
    Standby logging: disabled
    Debug-trace logging: disabled
    Console logging: disabled
    Monitor logging: list VPN, 0 messages logged
    Buffer logging: level debugging, 4 messages logged
    Trap logging: level warnings, facility 20, 0 messages logged
        Logging to inside 192.0.2.7, UDP TX:12 errors: 3  dropped: 1
        Logging to 127.0.0.1 tcp/1470, not connected TX:0 errors: 2  dropped: 5
    Global TCP syslog stats::
        NOT_PUTABLE: 0, ALL_CHANNEL_DOWN: 0
        CHANNEL_FLAP_CNT: 0, SYSLOG_PKT_LOSS: 5
        PARTIAL_REWRITE_CNT: 0
    Permit-hostdown logging: disabled
    History logging: disabled
    Device ID: hostname
    Mail logging: disabled
    ASDM logging: disabled
"""


def test_the_oldest_lines_make_room() -> None:
    buffer = Buffer(10)
    for line in ("abc", "def", "gh"):
        buffer.append(line)
    assert list(buffer.lines) == ["def", "gh"]
    buffer.append("ü")
    assert list(buffer.lines) == ["def", "gh", "ü"]
    buffer.resize(6)
    assert list(buffer.lines) == ["gh", "ü"]
    buffer.append("x" * 10)
    assert list(buffer.lines) == []


def test_a_cleared_buffer_has_all_its_room() -> None:
    buffer = Buffer(4)
    buffer.append("abc")
    buffer.clear()
    buffer.append("def")
    assert buffer.lines == ("def",)


def test_its_size_is_configured_live() -> None:
    lab = SyslogLab("logging enable\nlogging buffered informational\n")
    for _ in range(100):
        lab.hear(accepted())
    held = sum(len(line) + 1 for line in lab.syslog.buffer.lines)
    assert 4096 - 200 < held <= 4096
    lab.config.editor().execute("logging buffer-size 8192")
    for _ in range(100):
        lab.hear(accepted())
    assert 8192 - 200 < sum(len(line) + 1 for line in lab.syslog.buffer.lines) <= 8192


def shown() -> SyslogLab:
    config = """\
logging enable
logging timestamp
logging list VPN message 113019
logging monitor VPN
logging buffered debugging
logging trap warnings
logging device-id hostname
"""
    lab = SyslogLab(config)
    lab.syslog.channels = [
        Channel(LogHost("inside", "192.0.2.7"), sent=12, errors=3, dropped=1),
        Channel(LogHost("", "127.0.0.1", "tcp", 1470), errors=2, dropped=5, connected=False),
    ]
    lab.hear(accepted())
    return lab


def test_show_logging_tells_how_it_is_set_up() -> None:
    assert shown().syslog.show_logging(setting=True) == STATUS


def test_show_logging_ends_with_the_buffer() -> None:
    text = shown().syslog.show_logging()
    assert text.startswith(STATUS)
    lines = text.removeprefix(STATUS).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("Nov 30 2012 22:13:24 ciscoasa : %ASA-6-113012: AAA user authentication ")


def test_nothing_is_set_up_unless_the_configuration_says() -> None:
    text = SyslogLab("").syslog.show_logging()
    assert "Syslog logging: disabled\n" in text
    assert text.count("enabled") == 1  # hide username


def test_ntc_templates_reads_the_lines() -> None:
    for config in ("", "logging device-id hostname\n", "logging timestamp\n"):
        lab = SyslogLab(f"logging enable\nlogging buffered debugging\nlogging buffer-size 65536\n{config}")
        lab.connected(now=AT)
        rows = parse_output(platform="cisco_asa", command="show logging", data=lab.syslog.show_logging())
        assert len(rows) == len(lab.syslog.buffer.lines)
        assert rows[-1]["mnemonic"] == "722022"
        assert rows[-1]["message"] == [
            "Group <staff> User <walter> IP <198.51.100.7> UDP SVC connection established without compression"
        ]
