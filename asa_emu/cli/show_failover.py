"""`show failover`: both units of the pair, the link between them, and what has gone over it.

The one kind of object that is carried here stands under General; an ASA has no row of its own for AnyConnect
sessions. Commands that change the role answer nothing, as there: the other unit's messages tell.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from asa_emu.cli import unverified as u
from asa_emu.cli.console import Console
from asa_emu.cli.show import version
from asa_emu.config import Timezone
from asa_emu.config.failover import Interface, Timers
from asa_emu.config.syntax import Fault, Said
from asa_emu.ha.status import Status
from asa_emu.ha.unit import State

_REPLICATES_HTTP: Final = "failover replication http\n"
_OBJECTS: Final = (
    *("sys cmd", "up time", "RPC services", "TCP conn", "UDP conn", "ARP tbl", "Xlate_Timeout"),
    *("IPv6 ND tbl", "VPN IKEv1 SA", "VPN IKEv1 P2", "VPN IKEv2 SA", "VPN IKEv2 P2", "VPN CTCP upd"),
    *("VPN SDI upd", "VPN DHCP upd", "SIP Session", "Route Session", "User-Identity"),
)


def show_failover(console: Console, _said: Said) -> str:
    """Return the state of the pair; of a unit without a mate, what is configured."""
    said, unit = console.headend.config.failover, console.services.unit
    if not said.enabled:
        return u.FAILOVER_OFF.format(unit=(said.unit or "primary").capitalize())
    status = None if unit is None else unit.status()
    link = "up" if status is not None and status.link == "up" else "down"
    host, mate = _hosts(console, status)
    release = version(console)
    timers = said.unit_timers if status is None else Timers(status.poll, status.hold)
    interface_timers = said.interface_timers
    return (
        "Failover On\n"
        f"Failover unit {(said.unit or 'primary').capitalize()}\n"
        f"Failover LAN Interface: {_interface(said.lan, u.LAN_INTERFACE)} ({link})\n"
        "Reconnect timeout 0:00:00\n"
        f"Unit Poll frequency {_span(timers.poll)}, holdtime {_span(timers.hold)}\n"
        f"Interface Poll frequency {_span(interface_timers.poll)}, holdtime {_span(interface_timers.hold)}\n"
        f"Interface Policy {said.interface_policy}\n"
        f"Monitored Interfaces {len(console.headend.config.webvpn.interfaces)} of 1299 maximum\n"
        "MAC Address Move Notification Interval not set\n"
        f"{_REPLICATES_HTTP if said.replicates_http else ''}"
        f"Version: Ours {release}, Mate {release if status and status.mate_state else 'Unknown'}\n"
        f"Serial Number: Ours {u.SERIAL_NUMBER}, Mate {u.MATE_SERIAL_NUMBER}\n"
        f"Last Failover at: {_last(status, console.headend.config.timezone)}\n"
        f"{host}{mate}\n"
        "Stateful Failover Logical Update Statistics\n"
        f"        Link : {_interface(said.link, u.STATE_INTERFACE)} ({link})\n"
        f"{_statistics(status)}"
    )


def _interface(said: Interface | None, default: str) -> str:
    return default if said is None else f"{said.name} {said.hardware or u.STATE_LINK}"


def _span(seconds: float) -> str:
    return f"{seconds:g} seconds" if seconds >= 1 else f"{seconds * 1000:g} milliseconds"


def _last(status: Status | None, zone: Timezone) -> str:
    if status is None or status.switched_at is None:
        return u.NO_FAILOVER_YET
    local = datetime.fromtimestamp(status.switched_at + zone.offset, UTC)
    return f"{local:%H:%M:%S} {zone.name} {local:%b} {local.day} {local.year}"


def _hosts(console: Console, status: Status | None) -> tuple[str, str]:
    said = console.headend.config.failover
    own = said.unit or "primary"
    other = "secondary" if own == "primary" else "primary"
    state = State.ACTIVE.value if status is None else status.state.value
    mate = u.NO_MATE if status is None or status.mate_state is None else status.mate_state
    return (
        _host(console, "This", own, state, 0.0 if status is None else status.active_for),
        _host(console, "Other", other, mate, 0.0 if status is None else status.mate_active_for),
    )


def _host(console: Console, which: str, unit: str, state: str, active_for: float) -> str:
    text = f"        {which} host: {unit.capitalize()} - {state}\n"
    text += f"                Active time: {active_for:.0f} (sec)\n"
    well = state not in (u.NO_MATE, State.FAILED.value)
    status = "Up Sys" if well else "Unknown/Unknown"
    text += f"                slot 0: ASAv hw/sw rev (/{version(console)}) status ({status})\n"
    interfaces = console.headend.config.interfaces
    for name in console.headend.config.webvpn.interfaces:
        address = next((str(i.ip.ip) for i in interfaces if i.nameif == name and i.ip is not None), "0.0.0.0")
        condition = "Normal (Monitored)" if well else "Unknown (Waiting)"
        text += f"                  Interface {name} ({address}): {condition}\n"
    return text


def _statistics(status: Status | None) -> str:
    sent, lost, received, refused, now, most = (0,) * 6
    if status is not None:
        sent, lost, received, refused = status.sent, status.not_sent, status.received, status.refused
        now, most = status.waiting, status.most_waiting
    rows = [("Stateful Obj", "xmit", "xerr", "rcv", "rerr"), ("General", sent, lost, received, refused)]
    rows += [(name, 0, 0, 0, 0) for name in _OBJECTS]
    table = "".join(f"        {a:<16}{b:<10} {c:<10} {d:<10} {e}\n" for a, b, c, d, e in rows)
    queues = [("", "Cur", "Max", "Total"), ("Recv Q:", 0, 0, received), ("Xmit Q:", now, most, sent)]
    return f"{table}\n        Logical Update Queue Information\n" + "".join(
        f"        {a:<16}{b:<8}{c:<8}{d}\n" for a, b, c, d in queues
    )


def failover_active(console: Console, _said: Said) -> str:
    """`failover active`: this unit wants to be the active one."""
    return _switch(console, active=True)


def no_failover_active(console: Console, _said: Said) -> str:
    """`no failover active`: the other one is to be it."""
    return _switch(console, active=False)


def _switch(console: Console, *, active: bool) -> str:
    if console.services.unit is None:
        raise Fault("semantic", u.NO_FAILOVER)
    console.services.unit.switch(active)
    return ""
