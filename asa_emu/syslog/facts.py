"""Facts that are worth a message and change no session: handshakes, verdicts, refusals, what a client says.

The headend's use cases and the shells emit them through `Headend.emit`, one frozen value each; what changes a
session is told by the session database itself (`asa_emu.session.events`). No fact holds a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from asa_emu.session.events import SessionEvent
from asa_emu.session.model import Peer, Session

LOCAL = "LOCAL"
"""The server group that is the configuration's own users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What every fact says: when, in emulated seconds."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFact(Fact):
    """What every fact about a TLS or DTLS connection says."""

    peer: Peer
    local: Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsUp(TlsFact):
    """A handshake was completed."""

    protocol: str
    """Such as `TLSv1.3` or `DTLSv1.2`."""
    cipher: str
    """OpenSSL's name of the suite."""
    asked_to_resume: bool = False
    """A DTLS client with X-DTLS-Master-Secret names a session that never was (725003)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFailed(TlsFact):
    """A handshake failed."""

    protocol: str
    """`TLS` or `DTLS`: no version was agreed on."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsDown(TlsFact):
    """A connection whose handshake had been completed is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFact(Fact):
    """What every verdict on a login says."""

    username: str
    tunnel_group: str
    group_policy: str
    ip: str
    """The client's public address."""
    clientless: bool = False
    """It came from the web portal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginAccepted(LoginFact):
    """The credentials were good; a session follows, or a `LoginBarred`."""

    server: str | None = LOCAL
    """Who said so: LOCAL, an AAA server's address, or None for a certificate alone."""
    own_policy: bool = False
    """The group-policy is the user's own, not the connection profile's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRejected(LoginFact):
    """The credentials were bad."""

    reason: str
    """Such as `Invalid password` or `User was not found`, as an ASA words it."""
    server: str = LOCAL


class Bar(Enum):
    """Why good credentials get no session."""

    GROUP_LOCK = auto()
    """`group-lock`; the detail is the connection profile that the user is locked to."""
    PROTOCOL = auto()
    """`vpn-tunnel-protocol` without ssl-client."""
    CAPACITY = auto()
    """The database is full; the detail is how many sessions it holds."""
    FORBIDDEN = auto()
    """`vpn-simultaneous-logins 0`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginBarred(LoginFact):
    """The credentials were good, and still there is no session."""

    bar: Bar
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRefused(Fact):
    """A CONNECT came with a token that is missing, unknown or dead."""

    ip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Fact):
    """Something about the device itself, told by just these messages, in this order."""

    numbers: tuple[int, ...]
    words: dict[str, object]
    """The fields of their texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAddress(SessionEvent):
    """A CONNECT found no free address."""


class Farewell(Enum):
    """What a client's DISCONNECT means, by the type that message 722012 prints."""

    NORMAL = 0
    LOGOUT = 16
    ERROR = 17
    REKEY = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMessage(SessionEvent):
    """The client said something in words, with a DISCONNECT; its consequences follow."""

    farewell: Farewell
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRefused(SessionEvent):
    """What came over the SSL tunnel was no frame, which costs the tunnel, or one of an unknown type."""

    head: bytes
    """The eight bytes that should have been its header."""


def whose(session: Session, now: float) -> dict[str, Any]:
    """Return the fields that every fact about a session begins with."""
    return {
        "at": now,
        "index": session.index,
        "username": session.username,
        "tunnel_group": session.tunnel_group,
        "group_policy": session.group_policy,
        "public_ip": session.public_ip,
    }
