"""Which messages go where: severities, lists, switched-off messages, and sinks that insist."""

from asa_emu.config import parse_config
from asa_emu.session import DownReason
from asa_emu.syslog import Record, Syslog
from tests.syslog_lab import AT, SyslogLab, accepted, rejected, tls_up


def test_nothing_goes_anywhere_until_logging_is_enabled() -> None:
    lab = SyslogLab("logging trap debugging\nlogging buffered debugging\n")
    lab.connected(now=AT)
    assert lab.take() == []
    lab.config.editor().execute("logging enable")
    lab.hear(accepted())
    assert lab.take()
    lab.config.editor().execute("no logging enable")
    lab.hear(accepted())
    assert lab.take() == []


def test_a_host_gets_nothing_without_a_trap_level() -> None:
    lab = SyslogLab("logging enable\nlogging buffered debugging\n")
    lab.hear(accepted())
    assert lab.take() == []
    assert len(lab.syslog.buffer.lines) == 4


def test_a_level_takes_what_is_as_bad_or_worse() -> None:
    lab = SyslogLab("logging enable\nlogging trap warnings\n")
    lab.connected(now=AT)
    assert lab.numbers(7) == [722051]


def test_a_message_can_be_switched_off_and_on_again() -> None:
    lab = SyslogLab("logging enable\nlogging trap debugging\nno logging message 113008\n")
    lab.hear(accepted())
    assert lab.numbers() == [113012, 113009, 734001]
    lab.config.editor().execute("logging message 113008")
    lab.hear(accepted())
    assert 113008 in lab.numbers()


def test_a_message_can_have_another_severity() -> None:
    lab = SyslogLab("logging enable\nlogging trap errors\nlogging message 113012 level alerts\n")
    lab.hear(accepted())
    (record,) = lab.take()
    assert (record.number, record.severity) == (113012, 1)
    lab.config.editor().execute("no logging message 113012 level alerts")
    lab.hear(accepted())
    assert lab.take() == []


def test_a_list_takes_messages_by_number_class_and_level() -> None:
    config = """\
logging list VPN message 113019
logging list VPN message 716058-716059
logging list VPN level notifications class svc
logging enable
logging trap VPN
"""
    lab = SyslogLab(config)
    session = lab.connected(now=AT)
    assert lab.numbers() == [722051, 722033, 722033]
    lab.db.tunnel_lost(session.tunnels[1], DownReason.LOST, AT)
    assert lab.numbers() == [722037, 716058]


def test_destinations_have_their_own_filters_and_counts() -> None:
    lab = SyslogLab("logging enable\nlogging trap warnings\nlogging console debugging\n")
    console: list[Record] = []
    monitor: list[Record] = []
    lab.syslog.attach("console", console.append)
    detach = lab.syslog.attach("monitor", monitor.append)
    lab.hear(accepted())
    lab.hear(tls_up())
    assert (len(lab.take()), len(console), len(monitor)) == (0, 8, 0)
    assert lab.syslog.counts == {"console": 8}
    lab.config.editor().execute("logging monitor 6")
    lab.hear(tls_up())
    assert [record.number for record in monitor] == [725001, 725016, 725002]
    detach()
    lab.hear(tls_up())
    assert len(monitor) == 3


def test_a_sink_may_insist() -> None:
    syslog = Syslog(parse_config(""))
    records: list[Record] = []
    syslog.attach("trap", records.append, insists=6)
    syslog.hear(tls_up())
    assert [record.number for record in records] == [725001, 725016, 725002]
    # nobody could ask for stamps, so there are some
    assert records[0].wire().startswith("<166>Nov 30 2012 22:13:24: %ASA-6-725001: ")


def test_the_configuration_of_a_destination_goes_before_what_its_sink_insists_on() -> None:
    config = parse_config("logging enable\nlogging trap warnings\n")
    syslog = Syslog(config)
    records: list[Record] = []
    syslog.attach("trap", records.append, insists=6)
    syslog.hear(rejected())
    assert records == []
    config.editor().execute("no logging trap")
    syslog.hear(rejected())
    assert [record.number for record in records] == [113015, 716039]
    assert records[0].wire().startswith("<166>%ASA-6-113015: ")
