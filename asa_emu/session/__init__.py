"""The vpn-sessiondb: sessions, tunnels, timers, address pools, and the events that tell every change.

Pure: facts and `now` flow in, events and things to send flow out. `SessionDb` is the door; `model` says what
a session is, `pool` where its addresses come from, `events` what is told about it, `replica` its rows as
another unit keeps them.
"""

from asa_emu.session.db import Gone, Refusal, Refused, SessionDb
from asa_emu.session.events import (
    AddressAssigned,
    AddressReleased,
    PolicyChanged,
    SessionCreated,
    SessionEnded,
    SessionEvent,
    SessionInactive,
    SessionResumed,
    Timeout,
    TimeoutAlert,
    TunnelDown,
    TunnelMoved,
    TunnelUp,
)
from asa_emu.session.model import (
    Addresses,
    Counters,
    DownReason,
    EndReason,
    Peer,
    Session,
    Tunnel,
    TunnelFacts,
    TunnelKind,
)
from asa_emu.session.pool import AddressPool, AddressPools, PoolExhausted
from asa_emu.session.selection import Logoff
from asa_emu.session.table import SessionTable, Tally

__all__ = [
    "AddressAssigned",
    "AddressPool",
    "AddressPools",
    "AddressReleased",
    "Addresses",
    "Counters",
    "DownReason",
    "EndReason",
    "Gone",
    "Logoff",
    "Peer",
    "PolicyChanged",
    "PoolExhausted",
    "Refusal",
    "Refused",
    "Session",
    "SessionCreated",
    "SessionDb",
    "SessionEnded",
    "SessionEvent",
    "SessionInactive",
    "SessionResumed",
    "SessionTable",
    "Tally",
    "Timeout",
    "TimeoutAlert",
    "Tunnel",
    "TunnelDown",
    "TunnelFacts",
    "TunnelKind",
    "TunnelMoved",
    "TunnelUp",
]
