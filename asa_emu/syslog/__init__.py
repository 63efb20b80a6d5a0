"""Syslog as an ASA speaks it: real message numbers, severities and layouts, and the `logging` commands.

    session events, facts -> `render` (which messages, in which order) -> `syslog` (who wants them, and how
    they look: `headers`) -> the buffer of `show logging`, and sinks that the shells attach

Pure: instants come with the events, sending is a sink's business. Nothing is formatted that nobody wants.
"""

from asa_emu.syslog.syslog import Channel, Record, Syslog

__all__ = ["Channel", "Record", "Syslog"]
