"""What a row of the VPN session database is: a session and its tunnels, each with its own clocks.

A session is one parent (AnyConnect-Parent, or Clientless when it began in the web portal), at most one
SSL-Tunnel and at most one DTLS-Tunnel (S5a-S5c). The parent lives as long as the session; the other two come
and go. Two clocks must not be confused: *idle* is per tunnel and about traffic, *inactive* is per session and
about the SSL tunnel's absence (S30, S31). Everything here answers questions; who changes it, and in which
order that is told, is `SessionDb`.

The packet path writes to a tunnel directly: `last_use_at`, the six counters, and `liveness.last_received_at`
and `.last_sent_at`. None of that needs a call, because traffic moves deadlines only later.
"""

import math
from dataclasses import InitVar, dataclass, field
from enum import Enum
from typing import NamedTuple

from asa_emu.config.policy import Policy
from asa_emu.wire.liveness import Liveness


class TunnelKind(Enum):
    """The kinds of tunnels, by the names that `show vpn-sessiondb` prints."""

    PARENT = "AnyConnect-Parent"
    CLIENTLESS = "Clientless"
    SSL = "SSL-Tunnel"
    DTLS = "DTLS-Tunnel"


class DownReason(Enum):
    """Why a tunnel inside a session ended; the session may well live on."""

    DPD = "dpd"
    """The gateway's dead-peer detection gave it up: closed without a word, so that the client can resume."""
    IDLE = "idle"
    """No data for the idle timeout on SSL and DTLS together: the client is told."""
    LOST = "lost"
    """The transport broke or ended."""
    REPLACED = "replaced"
    """A newer tunnel of the same kind took its place: the old connection is told."""
    CLIENT = "client"
    """The client closed it with a DISCONNECT."""
    REKEY = "rekey"
    """A new handshake took its place because the keys were old."""
    SESSION_ENDED = "session-ended"
    """The whole session ended; the event has the reason."""
    TAKEOVER = "takeover"
    """Another unit became active: closed without a word."""


class EndReason(Enum):
    """Why a session ended, by the text of syslog message 113019."""

    USER_REQUESTED = "User Requested"
    IDLE_TIMEOUT = "Idle Timeout"
    SESSION_TIMEOUT = "Max time exceeded"
    ADMIN_RESET = "Administrator Reset"
    PORT_PREEMPTED = "Port Preempted"
    """Made room for a newer login of the same user."""
    MOVED = "Moved to the other unit"
    """Never told: this unit has stood by, and the session lives on in the other one."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where the client's end of a tunnel is."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class TunnelFacts:
    """What is known about a tunnel when it comes up, in the words the ASA shows."""

    peer: Peer
    local_port: int
    protocol: str
    """Such as `TLSv1.3` or `DTLSv1.2`; empty for a parent."""
    encryption: str
    hashing: str
    ciphersuite: str
    compression: str | None
    auth_mode: str
    """Such as `userPassword` or `Certificate`."""
    client_type: str
    client_ver: str
    client_os: str = ""


class Counters(NamedTuple):
    """Traffic as the ASA counts it: tx goes to the client, rx comes from it."""

    bytes_tx: int = 0
    bytes_rx: int = 0
    pkts_tx: int = 0
    pkts_rx: int = 0
    drops_tx: int = 0
    drops_rx: int = 0

    def plus(self, other: "Counters") -> "Counters":
        """The sums, field by field."""
        return Counters(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


NO_TRAFFIC = Counters()


@dataclass(frozen=True, slots=True)
class Addresses:
    """The inside addresses that a session holds until it ends (S95), each None when it has none of that
    family.
    """

    ip4: str | None = None
    ip4_netmask: str | None = None
    ip4_pool: str | None = None
    """None also for a framed address, which belongs to the user and not to a pool."""
    ip6: str | None = None
    ip6_prefixlen: int | None = None
    ip6_pool: str | None = None

    @property
    def held(self) -> tuple[str, ...]:
        """The addresses themselves, IPv4 first."""
        return tuple(address for address in (self.ip4, self.ip6) if address is not None)


NO_ADDRESSES = Addresses()


@dataclass(slots=True, eq=False, repr=False)
class Tunnel:
    """One tunnel of a session, or its parent.

    After the session has ended its parent has no attribute `session`.
    """

    session: "Session"
    number: int
    kind: TunnelKind
    facts: TunnelFacts
    opened_at: float
    liveness: Liveness | None = None
    """Dead-peer detection and keepalive; a parent has none."""
    link: object | None = None
    """The shell's connection object, opaque here; gone when the tunnel is down."""
    last_use_at: float = 0.0
    down_reason: DownReason | None = None
    index: int = 0
    """The session's."""
    bytes_tx: int = 0
    bytes_rx: int = 0
    pkts_tx: int = 0
    pkts_rx: int = 0
    drops_tx: int = 0
    drops_rx: int = 0

    def __post_init__(self) -> None:
        self.index = self.session.index
        self.last_use_at = self.opened_at

    def __repr__(self) -> str:
        state = "up" if self.down_reason is None else f"down:{self.down_reason.value}"
        return f"<Tunnel {self.id} {self.kind.value} {state}>"

    @property
    def id(self) -> str:
        """Session index and tunnel number, such as `1436.2`; a number is never used twice in a session."""
        return f"{self.index}.{self.number}"

    @property
    def up(self) -> bool:
        """Whether it is still part of its session."""
        return self.down_reason is None

    @property
    def counters(self) -> Counters:
        """The six counters together."""
        return Counters(
            self.bytes_tx, self.bytes_rx, self.pkts_tx, self.pkts_rx, self.drops_tx, self.drops_rx
        )

    def idle_left(self, now: float) -> float:
        """Seconds until its idle timer runs out, at least 0.

        A parent's timer runs while SSL or DTLS are up too, but ends nothing then; while the session is
        inactive it is the disconnected timeout (S91, S92).
        """
        session = self.session
        limit = session.idle_timeout
        if self is session.parent and session.inactive_since is not None:
            limit = session.disconnected_timeout
        return max(0.0, self.last_use_at + limit - now)

    def next_deadline(self) -> float:
        """When dead-peer detection or keepalive want the processor."""
        return math.inf if self.liveness is None else self.liveness.next_deadline()


@dataclass(slots=True, eq=False, repr=False, kw_only=True)
class Session:
    """One VPN session. It is found by its token, of which only the digest is kept."""

    index: int
    token_digest: bytes
    username: str
    tunnel_group: str
    policy: Policy
    kind: InitVar[TunnelKind]
    facts: InitVar[TunnelFacts]
    login_at: float
    public_ip: str = ""
    addresses: Addresses = NO_ADDRESSES
    parent: Tunnel = field(init=False)
    ssl: Tunnel | None = None
    dtls: Tunnel | None = None
    next_number: int = 2
    """Of the next tunnel; none is used twice."""
    had_ssl: bool = False
    had_dtls: bool = False
    inactive_since: float | None = None
    """When the SSL tunnel went (S31); None while there is one, and before there ever was one."""
    idled_out: int = 0
    """The number of the SSL tunnel that the idle timeout closed, until another follows; else 0."""
    gone: Counters = NO_TRAFFIC
    """What the tunnels that are no more have carried."""
    session_alerted: bool = False
    idle_alerted_for: float = -math.inf
    """The `idles_out_at` that was announced last."""
    end_reason: EndReason | None = None

    def __post_init__(self, kind: TunnelKind, facts: TunnelFacts) -> None:
        self.public_ip = facts.peer.ip
        self.parent = Tunnel(self, 1, kind, facts, self.login_at)

    def __repr__(self) -> str:
        protocols = " ".join(tunnel.kind.value for tunnel in self.tunnels)
        state = "" if self.end_reason is None else f" ended:{self.end_reason.value!r}"
        return f"<Session {self.index} {self.username!r} {protocols}{state}>"

    @property
    def group_policy(self) -> str:
        """The name of the group-policy in force."""
        return self.policy.group_policy

    @property
    def ip4(self) -> str | None:
        """The inside IPv4 address it holds."""
        return self.addresses.ip4

    @property
    def ip6(self) -> str | None:
        """The inside IPv6 address it holds."""
        return self.addresses.ip6

    @property
    def ended(self) -> bool:
        """Whether it is out of the database, for good."""
        return self.end_reason is not None

    @property
    def tunnels(self) -> tuple[Tunnel, ...]:
        """What it consists of, in the order the ASA lists it: parent, SSL, DTLS."""
        return tuple(tunnel for tunnel in (self.parent, self.ssl, self.dtls) if tunnel is not None)

    @property
    def is_anyconnect(self) -> bool:
        """False for a portal session that has never opened a tunnel: type WebVPN, not AnyConnect."""
        return self.had_ssl or self.parent.kind is TunnelKind.PARENT

    @property
    def inactive(self) -> bool:
        """An AnyConnect session without an SSL tunnel (S30, S87), though it may never have had one.

        Whether it *lost* one, and when, is `inactive_since`.
        """
        return self.ssl is None and self.is_anyconnect

    def inactivity(self, now: float) -> float:
        """Seconds since the SSL tunnel was lost; 0 when there is one, or never was (S64d)."""
        return 0.0 if self.inactive_since is None else now - self.inactive_since

    def duration(self, now: float) -> float:
        """Seconds since login: losses and resumes do not stop it (S32)."""
        return now - self.login_at

    @property
    def totals(self) -> Counters:
        """Everything the session has carried, the tunnels that are gone included (S15, S32)."""
        total = self.gone
        if self.end_reason is None:
            for tunnel in self.tunnels:
                total = total.plus(tunnel.counters)
        return total

    @property
    def idle_timeout(self) -> float:
        """Seconds that a tunnel may be without data."""
        return self.policy.idle_timeout

    @property
    def disconnected_timeout(self) -> float:
        """Seconds from the loss of the SSL tunnel to the end of the session.

        The smaller of idle timeout and session timeout (S59), unless the policy sets one of its own, which no
        ASA can (CSCsl52873).
        """
        if self.policy.disconnected_timeout is not None:
            return self.policy.disconnected_timeout
        limit = self.policy.session_timeout
        return self.idle_timeout if limit is None else min(self.idle_timeout, limit)

    def session_timeout_left(self, now: float) -> float | None:
        """Seconds of the maximum connect time left, at least 0; None without such a limit."""
        return None if self.policy.session_timeout is None else max(0.0, self.session_ends_at - now)

    @property
    def last_use_at(self) -> float:
        """When data last passed, over whichever tunnel is up; else when the parent's timer last began."""
        if self.ssl is None:
            return self.parent.last_use_at if self.dtls is None else self.dtls.last_use_at
        if self.dtls is None:
            return self.ssl.last_use_at
        return max(self.ssl.last_use_at, self.dtls.last_use_at)

    @property
    def session_ends_at(self) -> float:
        """When the maximum connect time is over; it counts from login whatever happens in between."""
        limit = self.policy.session_timeout
        return math.inf if limit is None else self.login_at + limit

    @property
    def parent_ends_at(self) -> float:
        """When the parent's timer ends the session; inf while an SSL tunnel is up.

        Before the first SSL tunnel that is the idle timeout, after the loss of one the disconnected timeout
        (S92).
        """
        if self.ssl is not None:
            return math.inf
        limit = self.idle_timeout if self.inactive_since is None else self.disconnected_timeout
        return self.parent.last_use_at + limit

    @property
    def idles_out_at(self) -> float:
        """When the tunnels have been idle too long: SSL and DTLS together (S34b), or a DTLS left alone."""
        if self.ssl is None and self.dtls is None:
            return math.inf
        return self.last_use_at + self.idle_timeout

    @property
    def session_alert_at(self) -> float:
        """When the session timeout is to be announced; inf once done, or with too long an interval."""
        limit, interval = self.policy.session_timeout, self.policy.session_alert_interval
        if self.session_alerted or limit is None or interval is None or interval >= limit:
            return math.inf
        return self.session_ends_at - interval

    @property
    def idle_alert_at(self) -> float:
        """When the idle timeout is to be announced: once, until data passes again.

        With an interval of more than half the timeout a repeated announcement may come late, because no
        packet is made to wake a timer for it.
        """
        interval = self.policy.idle_alert_interval
        if self.ssl is None or interval is None or interval >= self.idle_timeout:
            return math.inf
        ends_at = self.idles_out_at
        return math.inf if ends_at == self.idle_alerted_for else ends_at - interval

    def next_deadline(self) -> float:
        """The earliest instant at which time alone changes this session."""
        return min(
            self.session_ends_at,
            self.parent_ends_at,
            self.idles_out_at,
            self.session_alert_at,
            self.idle_alert_at,
        )
