"""The text of `show logging`: how logging is set up, what it has done, and the buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asa_emu.config.facts import LEVELS
from asa_emu.syslog.unverified import TCP_HOST

if TYPE_CHECKING:
    from asa_emu.syslog.syslog import Channel, Syslog

_UDP_HOST = "%(where)s, UDP TX:%(sent)d"


def show_logging(syslog: Syslog, *, setting: bool) -> str:
    """Return the status, one line a fact, and unless `setting` the lines of the buffer after it."""
    said = syslog.logging
    device = said.device_id
    lines = [
        f"Syslog logging: {_switch(said.enabled)}",
        f"    Facility: {said.facility}",
        f"    Timestamp logging: {_switch(said.timestamp is not None and said.said)}",
        f"    Hide Username logging: {_switch(said.hide_username)}",
        "    Standby logging: disabled",
        "    Debug-trace logging: disabled",
        f"    Console logging: {_destination(syslog, 'console')}",
        f"    Monitor logging: {_destination(syslog, 'monitor')}",
        f"    Buffer logging: {_destination(syslog, 'buffered')}",
        f"    Trap logging: {_destination(syslog, 'trap')}",
        *(_host(channel) for channel in syslog.channels),
        "    Global TCP syslog stats::",
        "        NOT_PUTABLE: 0, ALL_CHANNEL_DOWN: 0",
        f"        CHANNEL_FLAP_CNT: 0, SYSLOG_PKT_LOSS: {_lost(syslog)}",
        "        PARTIAL_REWRITE_CNT: 0",
        f"    Permit-hostdown logging: {_switch(said.permit_hostdown)}",
        "    History logging: disabled",
        f"    Device ID: {'disabled' if device is None else f'{device.kind} {device.argument}'.strip()}",
        "    Mail logging: disabled",
        "    ASDM logging: disabled",
    ]
    if not setting:
        lines += syslog.buffer.lines
    return "".join(f"{line}\n" for line in lines)


def _switch(on: bool) -> str:
    return "enabled" if on else "disabled"


def _destination(syslog: Syslog, name: str) -> str:
    filter_ = syslog.logging.filters.get(name)
    if filter_ is None:
        return "disabled"
    kind = "level" if filter_.name in LEVELS else "list"
    facility = f" facility {syslog.logging.facility}," if name == "trap" else ""
    return f"{kind} {filter_.name},{facility} {syslog.counts[name]} messages logged"


def _host(channel: Channel) -> str:
    host = channel.host
    where = f"{host.interface} {host.address}".strip()
    state = "connected" if channel.connected else "not connected"
    fields = {"where": where, "port": host.port, "state": state, "sent": channel.sent}
    what = (_UDP_HOST if host.protocol == "udp" else TCP_HOST) % fields
    return f"        Logging to {what} errors: {channel.errors}  dropped: {channel.dropped}"


def _lost(syslog: Syslog) -> int:
    return sum(channel.dropped for channel in syslog.channels if channel.host.protocol == "tcp")
