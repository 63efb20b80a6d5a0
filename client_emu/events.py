"""What happened to the connection, as facts: the stream that `--json`, the tests and a person at a terminal
read.

The client emits these values in the order in which things happened; nobody answers them. `as_json` gives the
one-line form that outside tools rely on; what a person reads is made in `journal`. No event carries a
password, and the token appears only where the user asked for it with `--show-cookie`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Final


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events; `name` is the value of `"event"` in the JSON form."""

    name: ClassVar[str] = "event"


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """The session stands and the adapter has its address. Routes are CIDR, `0.0.0.0/0` for a full tunnel."""

    name: ClassVar[str] = "connected"
    ip4: str | None
    ip6: str | None
    mtu: int
    routes: tuple[str, ...]
    dns: tuple[str, ...]
    domain: str | None
    banner: str | None
    cookie: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Dtls(Event):
    """Data moved to DTLS (`up`, with the suite's name) or back to TLS."""

    name: ClassVar[str] = "dtls"
    up: bool
    cipher: str | None


@dataclass(frozen=True, slots=True)
class Reconnecting(Event):
    """The TLS tunnel is lost and is tried again at this level (`tunnel` for 30 s, then `session`)."""

    name: ClassVar[str] = "reconnecting"
    level: str


@dataclass(frozen=True, slots=True)
class Reconnected(Event):
    """The session goes on over a new TLS tunnel, at the address it had."""

    name: ClassVar[str] = "reconnected"
    level: str
    ip4: str | None


@dataclass(frozen=True, slots=True)
class AdapterChanged(Event):
    """A reconnect touched the adapter: it went `down`, came `up`, or its `routes` were set anew."""

    name: ClassVar[str] = "adapter"
    change: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """A session that stood has ended: by the user, by the headend, or because it could not be resumed."""

    name: ClassVar[str] = "disconnected"
    reason: str


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """No session came to be, or the headend broke the protocol."""

    name: ClassVar[str] = "failed"
    reason: str


@dataclass(frozen=True, slots=True)
class Error(Event):
    """A command could not be carried out; the connection is as it was."""

    name: ClassVar[str] = "error"
    reason: str


EVENTS: Final[Mapping[str, frozenset[str]]] = {
    kind.name: frozenset(item.name for item in fields(kind))
    for kind in (Connected, Dtls, Reconnecting, Reconnected, AdapterChanged, Disconnected, Failed, Error)
}
"""The names of all events, each with the names of its facts."""


def as_json(event: Event) -> str:
    """One line of JSON without its newline. A cookie that is not shown is left out, other gaps are null."""
    facts = {item.name: getattr(event, item.name) for item in fields(event)}
    if facts.get("cookie", "") is None:
        del facts["cookie"]
    return json.dumps({"event": event.name, **facts})
