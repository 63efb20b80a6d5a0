"""The facts that the session database tells, one frozen value for each change of state, in order.

Syslog, the management API's event stream, replication and tests listen to the same stream, so an event holds
all that they need: a session may already be out of the database when its event is heard.
No row (`asa_emu.session.replica`) changes without one. Traffic is not told packet by packet: counters
travel with the end of a tunnel or session, and times of last use not at all. No event holds a token, only the
digest by which a replica can recognise it.
"""

from dataclasses import dataclass, field
from enum import Enum

from asa_emu.config.policy import Policy
from asa_emu.session.model import (
    Addresses,
    Counters,
    DownReason,
    EndReason,
    Peer,
    TunnelFacts,
    TunnelKind,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent:
    """What every event says: when (emulated seconds), and whose session."""

    at: float
    index: int
    username: str
    tunnel_group: str
    group_policy: str
    public_ip: str
    """As the database showed it; a resume brings the new one with its `TunnelUp`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated(SessionEvent):
    """A login was completed; the parent, number 1, is up."""

    token_digest: bytes = field(repr=False)
    policy: Policy = field(repr=False)
    kind: TunnelKind
    facts: TunnelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged(SessionEvent):
    """The session goes on under a policy that says something else than before."""

    policy: Policy = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressAssigned(SessionEvent):
    """The session holds these addresses from now on; a later event says them all again and one more."""

    addresses: Addresses
    wanted_ip6: bool
    """The client asked for IPv6; an ASA complains when it has none to give (722041)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressReleased(SessionEvent):
    """The addresses are free again; only the end of the session does that."""

    addresses: Addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed(SessionEvent):
    """An inactive session has an SSL tunnel again, by its token alone; the `TunnelUp` follows."""

    peer: Peer
    """Where the client is now, even when the database does not show it (CSCtg33110)."""
    inactive_for: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelEvent(SessionEvent):
    """What every event about an SSL or DTLS tunnel says."""

    number: int
    kind: TunnelKind
    facts: TunnelFacts

    @property
    def tunnel(self) -> str:
        """The tunnel's id, such as `1436.2`."""
        return f"{self.index}.{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelUp(TunnelEvent):
    """A tunnel joined the session."""

    first: bool
    """No tunnel of this kind was in the session before."""
    replaces: int | None
    """The number of the tunnel whose `TunnelDown` came just before because of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelMoved(TunnelEvent):
    """The client's end of a DTLS tunnel sends from another address; `facts` has the new peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelDown(TunnelEvent):
    """A tunnel left the session."""

    reason: DownReason
    end_reason: EndReason | None
    """Why the session ends, when it does."""
    counters: Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInactive(SessionEvent):
    """The SSL tunnel is gone and the session waits to be resumed (S34a)."""

    reason: DownReason
    ends_at: float
    """When the disconnected timeout, or the session timeout before it, ends the wait."""


class Timeout(Enum):
    """Which timeout an alert is about."""

    IDLE = "idle"
    SESSION = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutAlert(SessionEvent):
    """A timeout is near: the alert interval before it has begun."""

    timeout: Timeout
    left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(SessionEvent):
    """The session is out of the database and its token is dead."""

    reason: EndReason
    kind: TunnelKind
    """Of the parent."""
    is_anyconnect: bool
    login_at: float
    totals: Counters

    @property
    def duration(self) -> float:
        """Seconds from login to end."""
        return self.at - self.login_at
