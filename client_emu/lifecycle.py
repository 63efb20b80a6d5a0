"""The life of one VPN connection as a machine: how a headend is reached, which losses are mended, for how
long, and what ends it.

Facts flow in as method calls with the instant they became known; every method returns the actions for the
shell, in order. The machine owns no socket, no clock and no secret.

    CONNECTING     Reach a server, log in, CONNECT. A packet that nobody answers is sent four times, then the
                   next backup server is reached; not once a login has begun: no password goes out twice.
    CONNECTED      DTLS lost: data goes over TLS, DTLS is tried again. TLS lost: RECONNECTING; a DTLS tunnel
                   that still works carries the data meanwhile.
    RECONNECTING   Attempts with the token, first at tunnel level, after 30 s at session level, until the
                   disconnected timeout.
    ENDED          for good: token refused, another address, told to end, or out of time.

A suspended machine does nothing until `resume`. Call `on_deadline` once `next_deadline` has come. `Reach` is
answered by `answered` or `unanswered`, `LOG_IN` by `logged_in` or `refused`, `ATTEMPT` by exactly one of
`opened`, `attempt_failed` and `session_gone` unless a `DROP_ATTEMPT` takes it back; `START_DTLS` by `dtls_up`
and later `dtls_lost`, or by `dtls_lost` alone.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Final

from client_emu.events import Disconnected, Dtls, Event, Failed, Reconnected, Reconnecting
from client_emu.terms import Terms

ESTABLISHING_PACKETS: Final = 4  # S81: one and three retries
IKEV2_DPD_PACKETS: Final = 7  # S84: one and six retries, whoever speaks IKEv2; TLS and DTLS do not use it
TUNNEL_LEVEL_SECONDS: Final = 30.0  # S114, S116: "about 30 seconds" before the session level
DTLS_RETRY_SECONDS: Final = 60.0  # not documented for AnyConnect; openconnect's attempt period
DTLS_WORTHWHILE_SECONDS: Final = 1.0  # a channel that lived shorter is not tried again at once
# seconds before each attempt, the last for all later ones; our choice, Cisco documents none
ATTEMPT_PAUSES: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 10.0)

GAVE_UP: Final = "the session could not be resumed before its disconnected timeout"


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


class Rebuild(enum.Enum):
    """What a new tunnel means for the adapter: nothing, its routes, or off and on again (S113-S120)."""

    NOTHING = enum.auto()
    ROUTES = enum.auto()
    ADAPTER = enum.auto()


@dataclass(frozen=True, slots=True)
class Rules:
    """How this client behaves, out of its profile, platform and version."""

    servers: int = 1
    """The primary server and its backups."""
    auto_reconnect: bool = True
    notices_resume: bool = True
    reconnects_after_resume: bool = False
    """S76: DisconnectOnSuspend is the default."""


@dataclass(frozen=True, slots=True)
class Reach:
    """One packet of S81: connect to this server (0 is the primary) and send the first request."""

    server: int


class Do(enum.Enum):
    """Actions that need no more words."""

    LOG_IN = enum.auto()  # go on with the login at the server that answered
    ATTEMPT = enum.auto()  # open a TLS connection and CONNECT with the token
    DROP_ATTEMPT = enum.auto()  # give the attempt under way up; nothing is told about it afterwards
    ANNOUNCE = enum.auto()  # the session stands for the first time: tell the world what it is
    DROP_TUNNEL = enum.auto()  # close TLS without a word: a DISCONNECT would end the session
    START_DTLS = enum.auto()  # begin a DTLS handshake with the keys of the present TLS tunnel
    DROP_DTLS = enum.auto()  # close the DTLS channel, or give its handshake up


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the world."""

    event: Event


@dataclass(frozen=True, slots=True)
class End:
    """The last action: close everything. `exit_code` is 0 when somebody wanted it so, 1 when it was lost."""

    event: Disconnected | Failed
    exit_code: int


Action = Reach | Do | Emit | End
Actions = tuple[Action, ...]


class Lifecycle:
    """One connection from its first packet to its end."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.phase = Phase.CONNECTING
        self.level = Level.SESSION
        self.terms: Terms | None = None
        self.end: End | None = None
        self.suspended_at: float | None = None
        self._server = 0
        self._packets = 0
        self._session_ends_at = math.inf
        self._lost_at = math.inf
        self._attempts = 0
        self._attempt_at = math.inf
        self._attempt_open = False
        self._dtls_is_up = False
        self._dtls_up_at = -math.inf
        self._dtls_at = math.inf

    @property
    def give_up_at(self) -> float:
        """When a lost session is no longer tried: its disconnected timeout (S58), or its end (S48)."""
        limit = self.terms.reconnect_limit if self.terms is not None else math.inf
        return min(self._lost_at + limit, self._session_ends_at)

    # Establishing

    def begin(self, now: float, *, has_token: bool = False) -> Actions:
        """Start; with a token there is no login, and no server but the one that gave it."""
        self._packets = 1
        return self._attempt() if has_token else (Reach(self._server),)

    def answered(self, now: float) -> Actions:
        """The server answered the first request."""
        return (Do.LOG_IN,) if self.phase is Phase.CONNECTING else ()

    def unanswered(self, reason: str, now: float, *, silent: bool) -> Actions:
        """It did not: it was `silent` for a DPD interval, or cannot be talked to at all."""
        if self.phase is not Phase.CONNECTING:
            return ()
        if self._may_try_again(silent):
            return (Reach(self._server),)
        if self._server + 1 < self.rules.servers:
            self._server += 1
            self._packets = 1
            return (Reach(self._server),)
        return self._end(Failed(reason), 1)

    def logged_in(self, now: float) -> Actions:
        """There is a token."""
        self._packets = 1
        return self._attempt() if self.phase is Phase.CONNECTING else ()

    def refused(self, reason: str, now: float) -> Actions:
        """There will be none."""
        return self._end(Failed(reason), 1) if self.phase is Phase.CONNECTING else ()

    # Attempts

    def rebuild_for(self, terms: Terms) -> Rebuild:
        """What the adapter has to take before a tunnel with these terms is used."""
        if self.terms is None:
            return Rebuild.ADAPTER
        if not terms.keeps(self.terms):
            return Rebuild.NOTHING  # the session will be refused
        if (terms.ip4, terms.ip6, terms.mtu) != (self.terms.ip4, self.terms.ip6, self.terms.mtu):
            return Rebuild.ADAPTER
        return Rebuild.ROUTES if self.level is Level.SESSION else Rebuild.NOTHING

    def opened(self, terms: Terms, now: float) -> Actions:
        """The headend took the token. Another address means another session, which is refused."""
        if not self._attempt_open:
            return ()
        before, rebuild = self.terms, self.rebuild_for(terms)
        self._attempt_open = False
        if before is not None and not terms.keeps(before):
            return self._end(Disconnected(_changed_address(before, terms)), 1)
        if rebuild is Rebuild.ADAPTER:
            self.level = Level.SESSION  # S119, S120
        self.phase = Phase.CONNECTED
        self.terms = terms
        self._lost_at = self._attempt_at = math.inf
        left = terms.session_timeout_left
        if left is None and before is None:
            left = terms.session_timeout
        if left is not None:
            self._session_ends_at = now + left
        ip4 = str(terms.ip4.ip) if terms.ip4 is not None else None
        told = Do.ANNOUNCE if before is None else Emit(Reconnected(self.level, ip4))
        return (*self._drop_dtls(), told, *self._start_dtls())

    def attempt_failed(self, reason: str, now: float, *, silent: bool = False) -> Actions:
        """No tunnel came of it, and the session may still be there."""
        if not self._attempt_open:
            return ()
        self._attempt_open = False
        if self.phase is Phase.CONNECTING:
            if self._may_try_again(silent):
                return self._attempt()
            return self._end(Failed(reason), 1)
        self._attempt_at = now + ATTEMPT_PAUSES[min(self._attempts, len(ATTEMPT_PAUSES) - 1)]
        return self.on_deadline(now)

    def session_gone(self, reason: str, now: float) -> Actions:
        """The headend refused the token: no retry (S50, S51)."""
        event = Failed(reason) if self.phase is Phase.CONNECTING else Disconnected(reason)
        return self._end(event, 1)

    # Losses

    def tunnel_lost(self, now: float) -> Actions:
        """TLS ended without a DISCONNECT, or its peer fell silent. DTLS may still work (S55)."""
        return self._lose(now, dtls_too=False)

    def network_lost(self, now: float) -> Actions:
        """The interface under everything is gone, or not what it was (S133): at once, whatever goes on."""
        if self.phase is Phase.CONNECTED:
            return self._lose(now, dtls_too=True)
        return (*self._drop_dtls(), *self._try_now(now))

    def network_found(self, now: float) -> Actions:
        """An interface was plugged in: no reason to wait any longer (S122)."""
        return () if self._attempt_open else self._try_now(now)

    def renew(self, now: float) -> Actions:
        """The tunnel is to be replaced at once: its rekey is due, or the user wants it."""
        if self.phase is Phase.CONNECTED:
            return self._lose(now, dtls_too=False, planned=True)
        return self.network_found(now)

    def told_to_end(self, reason: str, now: float) -> Actions:
        """The headend sent DISCONNECT or TERMINATE; a client that is told so abandons the session."""
        return self._end(Disconnected(reason), 0)

    def peer_broke_protocol(self, reason: str, now: float) -> Actions:
        """What arrived cannot be a headend's; a new connection would bring the same."""
        return self._end(Failed(reason), 1)

    def leave(self, reason: str, now: float, *, exit_code: int = 0) -> Actions:
        """The user disconnects or detaches; with exit code 1, something on this machine failed."""
        return self._end(Disconnected(reason), exit_code)

    # Suspend and resume

    def suspend(self, now: float) -> Actions:
        """The machine goes to sleep. Nothing is torn down (S70), nothing goes on."""
        if self.phase not in (Phase.CONNECTED, Phase.RECONNECTING) or self.suspended_at is not None:
            return ()
        self.suspended_at = now
        return self._take_back_attempt(now)

    def resume(self, now: float) -> Actions:
        """It wakes up. What that means is a matter of platform, version and profile (S75-S79, S129)."""
        slept_at, self.suspended_at = self.suspended_at, None
        if slept_at is None or self.phase is Phase.ENDED:
            return ()
        if not self.rules.notices_resume:
            return self.on_deadline(now)
        if not self.rules.reconnects_after_resume:
            return self._end(Disconnected("the system was suspended"), 0)
        self.phase = Phase.RECONNECTING
        self.level = Level.SESSION
        self._lost_at = min(self._lost_at, slept_at)
        if self.give_up_at <= now:
            return self.on_deadline(now)
        return (Do.DROP_TUNNEL, *self._drop_dtls(), Emit(Reconnecting(self.level)), *self._try_now(now))

    # DTLS

    def dtls_up(self, cipher: str, now: float) -> Actions:
        """The DTLS handshake is done: data moves to it."""
        if self.phase is not Phase.CONNECTED:
            return ()
        self._dtls_is_up = True
        self._dtls_at = math.inf
        self._dtls_up_at = now
        return (Emit(Dtls(up=True, cipher=cipher)),)

    def dtls_lost(self, now: float) -> Actions:
        """A handshake failed, or a channel that was up died; the tunnel does not mind (S115)."""
        was_up, self._dtls_is_up = self._dtls_is_up, False
        lost = (Emit(Dtls(up=False, cipher=None)),) if was_up else ()
        if self.phase is not Phase.CONNECTED:
            return lost if self.phase is Phase.RECONNECTING else ()
        if was_up and now - self._dtls_up_at >= DTLS_WORTHWHILE_SECONDS:
            return (*lost, *self._start_dtls())
        self._dtls_at = now + DTLS_RETRY_SECONDS
        return lost

    # Time

    def next_deadline(self) -> float:
        """When `on_deadline` has something to do."""
        if self.suspended_at is not None:
            return math.inf
        if self.phase is Phase.CONNECTED:
            return self._dtls_at
        if self.phase is Phase.RECONNECTING:
            return min(self._attempt_at, self._session_level_at, self.give_up_at)
        return math.inf

    def on_deadline(self, now: float) -> Actions:
        """Do what is due; nothing when called early."""
        if self.suspended_at is not None:
            return ()
        if self.phase is Phase.CONNECTED and self._dtls_at <= now:
            return self._start_dtls()
        if self.phase is not Phase.RECONNECTING:
            return ()
        if self.give_up_at <= now:
            return self._end(Disconnected(GAVE_UP), 1)
        actions: list[Action] = []
        if self._session_level_at <= now:
            self.level = Level.SESSION
            actions.append(Emit(Reconnecting(self.level)))
        if self._attempt_at <= now:
            actions += self._attempt()
        return tuple(actions)

    @property
    def _session_level_at(self) -> float:
        return self._lost_at + TUNNEL_LEVEL_SECONDS if self.level is Level.TUNNEL else math.inf

    def _may_try_again(self, silent: bool) -> bool:
        self._packets += silent
        return silent and self._packets <= ESTABLISHING_PACKETS

    def _lose(self, now: float, *, dtls_too: bool, planned: bool = False) -> Actions:
        if self.phase is not Phase.CONNECTED:
            return ()
        if not (self.rules.auto_reconnect or planned):
            return self._end(Disconnected("the connection was lost, and AutoReconnect is off"), 1)
        self.phase = Phase.RECONNECTING
        self.level = Level.TUNNEL
        self._lost_at = now
        self._dtls_at = math.inf
        dropped = (Do.DROP_TUNNEL, *(self._drop_dtls() if dtls_too or not self._dtls_is_up else ()))
        return (*dropped, Emit(Reconnecting(self.level)), *self._try_now(now))

    def _try_now(self, now: float) -> Actions:
        if self.phase is not Phase.RECONNECTING or self.suspended_at is not None:
            return ()
        taken_back = self._take_back_attempt(now)
        self._attempts = 0
        self._attempt_at = now
        return (*taken_back, *self.on_deadline(now))

    def _take_back_attempt(self, now: float) -> Actions:
        if not self._attempt_open:
            return ()
        self._attempt_open = False
        self._attempt_at = now
        return (Do.DROP_ATTEMPT,)

    def _attempt(self) -> Actions:
        self._attempt_at = math.inf
        self._attempt_open = True
        self._attempts += 1
        return (Do.ATTEMPT,)

    def _start_dtls(self) -> Actions:
        self._dtls_at = math.inf
        return (Do.START_DTLS,) if self.terms is not None and self.terms.dtls_offered else ()

    def _drop_dtls(self) -> Actions:
        self._dtls_at = math.inf
        if not self._dtls_is_up:
            return (Do.DROP_DTLS,)
        self._dtls_is_up = False
        return (Do.DROP_DTLS, Emit(Dtls(up=False, cipher=None)))

    def _end(self, event: Disconnected | Failed, exit_code: int) -> Actions:
        if self.phase is Phase.ENDED:
            return ()
        self.phase = Phase.ENDED
        self._attempt_open = False
        self.end = End(event, exit_code)
        return (self.end,)


def _changed_address(old: Terms, new: Terms) -> str:
    was, now = (" ".join(str(ip) for ip in (terms.ip4, terms.ip6) if ip is not None) for terms in (old, new))
    return f"the headend changed the address of the session from {was} to {now}"
