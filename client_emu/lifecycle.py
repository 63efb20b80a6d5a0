"""The life of one VPN connection as a machine: which losses are mended, for how long, and what ends it.

Facts flow in as method calls with the instant they became known; every method returns the actions for the
shell, in order. The machine owns no socket, no clock and no secret. It knows three levels that fail apart
from each other: DTLS (lost: data goes over TLS, DTLS is tried again), the TLS tunnel (lost: a new TLS
connection with the token, first at tunnel level, after 30 s at session level), and the session itself (gone:
the headend refused the token, gave another address, ended it, or the disconnected timeout ran out).

Call `on_deadline` once `next_deadline` has come. An `Attempt` is answered by exactly one of `resumed`,
`attempt_failed` and `session_gone`, unless the machine has ended meanwhile; a `StartDtls` by `dtls_up` and
later `dtls_lost`, or by `dtls_lost` alone.
"""

from __future__ import annotations

import enum
import ipaddress
import math
from dataclasses import dataclass
from typing import Final

from client_emu.events import Disconnected, Dtls, Event, Failed, Reconnected, Reconnecting

TUNNEL_LEVEL_SECONDS: Final = 30.0  # S116: "about 30 seconds" before the session level
DEFAULT_DISCONNECTED_TIMEOUT: Final = (
    1800.0  # S59 has no number for "no idle timeout and no max-connect time"
)
DTLS_RETRY_INTERVAL: Final = 60.0  # not documented for AnyConnect; openconnect's attempt period
ATTEMPT_PAUSES: Final = (
    0.0,
    1.0,
    2.0,
    4.0,
    8.0,
    10.0,
)  # seconds before each attempt, the last for all later ones

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface4 = ipaddress.IPv4Interface
Interface6 = ipaddress.IPv6Interface


class Level(enum.StrEnum):
    """How deep a reconnect goes: the tunnel alone, or the session's routes as well (S113-S117)."""

    TUNNEL = "tunnel"
    SESSION = "session"


class Phase(enum.Enum):
    """Where the connection stands."""

    CONNECTING = enum.auto()
    CONNECTED = enum.auto()
    RECONNECTING = enum.auto()
    ENDED = enum.auto()


@dataclass(frozen=True, slots=True)
class Terms:
    """What the headend granted in its answer to CONNECT; timeouts in seconds, None for none."""

    ip4: Interface4 | None
    ip6: Interface6 | None
    mtu: int
    idle_timeout: float | None = None
    session_timeout: float | None = None
    disconnected_timeout: float | None = None
    dtls_offered: bool = False

    @property
    def reconnect_limit(self) -> float:
        """How long a lost session is worth trying: the headend's word, else the smaller timeout (S59)."""
        if self.disconnected_timeout:
            return self.disconnected_timeout
        known = [timeout for timeout in (self.idle_timeout, self.session_timeout) if timeout]
        return min(known, default=DEFAULT_DISCONNECTED_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Open a new TLS connection and CONNECT with the token."""

    level: Level


@dataclass(frozen=True, slots=True)
class DropTunnel:
    """Close the TLS tunnel without a word: the session is to be resumed (a DISCONNECT would end it)."""


@dataclass(frozen=True, slots=True)
class StartDtls:
    """Begin a DTLS handshake with the keys of the present TLS tunnel."""


@dataclass(frozen=True, slots=True)
class DropDtls:
    """Close the DTLS channel; its keys belong to a tunnel that is gone."""


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the world."""

    event: Event


@dataclass(frozen=True, slots=True)
class End:
    """The last action: close everything. `exit_code` is 0 when somebody wanted it so, 1 when it was lost."""

    event: Disconnected | Failed
    exit_code: int


Action = Attempt | DropTunnel | StartDtls | DropDtls | Emit | End


class Lifecycle:
    """One connection from its first tunnel to its end."""

    def __init__(self) -> None:
        self.phase = Phase.CONNECTING
        self.level = Level.TUNNEL
        self.terms: Terms | None = None
        self.end: End | None = None
        self._lost_at = math.inf
        self._attempts = 0
        self._attempt_at = math.inf
        self._dtls_is_up = False
        self._dtls_at = math.inf

    @property
    def give_up_at(self) -> float:
        """When a lost session is no longer tried (S58); infinite while nothing is lost."""
        return self._lost_at + self.terms.reconnect_limit if self.terms is not None else math.inf

    def connected(self, terms: Terms, now: float) -> tuple[Action, ...]:
        """The first tunnel stands; the shell has told the world."""
        self.phase = Phase.CONNECTED
        self.terms = terms
        return self._start_dtls()

    def tunnel_lost(self, now: float) -> tuple[Action, ...]:
        """TLS ended without a DISCONNECT, its peer fell silent, or its rekey is due: resume with
        the token.
        """
        if self.phase is not Phase.CONNECTED:
            return ()
        self.phase = Phase.RECONNECTING
        self.level = Level.TUNNEL
        self._lost_at = now
        self._attempts = 0
        self._attempt_at = now
        return (DropTunnel(), *self._drop_dtls(), Emit(Reconnecting(self.level)), *self.on_deadline(now))

    def reconnect(self, now: float) -> tuple[Action, ...]:
        """The user, or another network, asks for a new tunnel: at once, also between two attempts."""
        if self.phase is Phase.CONNECTED:
            return self.tunnel_lost(now)
        if self.phase is Phase.RECONNECTING and self._attempt_at != math.inf:
            self._attempts = 0
            self._attempt_at = now
            return self.on_deadline(now)
        return ()

    def attempt_failed(self, now: float) -> tuple[Action, ...]:
        """No tunnel came of it, and the session may still be there."""
        if self.phase is not Phase.RECONNECTING:
            return ()
        self._attempt_at = now + ATTEMPT_PAUSES[min(self._attempts, len(ATTEMPT_PAUSES) - 1)]
        return self.on_deadline(now)

    def resumed(self, terms: Terms, now: float) -> tuple[Action, ...]:
        """The headend took the token. Another address means another session, which is refused."""
        if self.phase is not Phase.RECONNECTING:
            return ()
        assert self.terms is not None
        if (terms.ip4, terms.ip6) != (self.terms.ip4, self.terms.ip6):
            return self._end(Disconnected(_changed_address(self.terms, terms)), 1)
        self.phase = Phase.CONNECTED
        self.terms = terms
        self._lost_at = self._attempt_at = math.inf
        ip4 = str(terms.ip4.ip) if terms.ip4 is not None else None
        return (Emit(Reconnected(self.level, ip4)), *self._start_dtls())

    def session_gone(self, reason: str, now: float) -> tuple[Action, ...]:
        """The headend refused the token: no retry (S50, S51)."""
        return self._end(Disconnected(reason), 1)

    def told_to_end(self, reason: str, now: float) -> tuple[Action, ...]:
        """The headend sent DISCONNECT or TERMINATE; a client that is told so abandons the session."""
        return self._end(Disconnected(reason), 0)

    def peer_broke_protocol(self, reason: str, now: float) -> tuple[Action, ...]:
        """What arrived cannot be a headend's; a new connection would bring the same."""
        return self._end(Failed(reason), 1)

    def leave(self, reason: str, now: float) -> tuple[Action, ...]:
        """The user disconnects or detaches."""
        return self._end(Disconnected(reason), 0)

    def dtls_up(self, cipher: str, now: float) -> tuple[Action, ...]:
        """The DTLS handshake is done: data moves to it."""
        if self.phase is not Phase.CONNECTED:
            return ()
        self._dtls_is_up = True
        return (Emit(Dtls(up=True, cipher=cipher)),)

    def dtls_lost(self, now: float) -> tuple[Action, ...]:
        """A handshake failed, or a channel that was up died; the tunnel does not mind (S115)."""
        if self.phase is not Phase.CONNECTED:
            return ()
        if self._dtls_is_up:
            self._dtls_is_up = False
            self._dtls_at = math.inf
            return (Emit(Dtls(up=False, cipher=None)), StartDtls())
        self._dtls_at = now + DTLS_RETRY_INTERVAL
        return ()

    def next_deadline(self) -> float:
        """When `on_deadline` has something to do."""
        if self.phase is Phase.CONNECTED:
            return self._dtls_at
        if self.phase is Phase.RECONNECTING:
            session_level_at = (
                self._lost_at + TUNNEL_LEVEL_SECONDS if self.level is Level.TUNNEL else math.inf
            )
            return min(self._attempt_at, session_level_at, self.give_up_at)
        return math.inf

    def on_deadline(self, now: float) -> tuple[Action, ...]:
        """Do what is due; nothing when called early."""
        if self.phase is Phase.CONNECTED and self._dtls_at <= now:
            return self._start_dtls()
        if self.phase is not Phase.RECONNECTING:
            return ()
        if self.give_up_at <= now:
            return self._end(
                Disconnected("the session could not be resumed before its disconnected timeout"), 1
            )
        actions: list[Action] = []
        if self.level is Level.TUNNEL and self._lost_at + TUNNEL_LEVEL_SECONDS <= now:
            self.level = Level.SESSION
            actions.append(Emit(Reconnecting(self.level)))
        if self._attempt_at <= now:
            self._attempt_at = math.inf
            self._attempts += 1
            actions.append(Attempt(self.level))
        return tuple(actions)

    def _start_dtls(self) -> tuple[Action, ...]:
        self._dtls_at = math.inf
        return (StartDtls(),) if self.terms is not None and self.terms.dtls_offered else ()

    def _drop_dtls(self) -> tuple[Action, ...]:
        self._dtls_at = math.inf
        if not self._dtls_is_up:
            return (DropDtls(),)
        self._dtls_is_up = False
        return (DropDtls(), Emit(Dtls(up=False, cipher=None)))

    def _end(self, event: Disconnected | Failed, exit_code: int) -> tuple[Action, ...]:
        if self.phase is Phase.ENDED:
            return ()
        self.phase = Phase.ENDED
        self.end = End(event, exit_code)
        return (self.end,)


def _changed_address(old: Terms, new: Terms) -> str:
    was = " ".join(str(address) for address in (old.ip4, old.ip6) if address is not None)
    now = " ".join(str(address) for address in (new.ip4, new.ip6) if address is not None)
    return f"the headend changed the address of the session from {was} to {now}"
