"""The session table as another unit keeps it: nothing but events flow in, rows come out.

A row is what one session is apart from its traffic, in frozen values: who and where, the addresses, the
tunnels, the stamps. A replica that applies the events of a database from the first on holds the rows that
`row_of` gives for the database itself; that this stays true is what makes the events fit for replication.
"""

from dataclasses import dataclass, field, replace

from asa_emu.config.policy import Policy
from asa_emu.session.events import (
    AddressAssigned,
    PolicyChanged,
    SessionCreated,
    SessionEnded,
    SessionEvent,
    SessionInactive,
    SessionResumed,
    TunnelDown,
    TunnelEvent,
    TunnelMoved,
    TunnelUp,
)
from asa_emu.session.model import (
    NO_ADDRESSES,
    NO_TRAFFIC,
    Addresses,
    Counters,
    Session,
    Tunnel,
    TunnelFacts,
    TunnelKind,
)


@dataclass(frozen=True, slots=True)
class TunnelRow:
    """A tunnel that is up."""

    number: int
    kind: TunnelKind
    facts: TunnelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A session without its traffic; the fields are those of `Session`."""

    index: int
    token_digest: bytes = field(repr=False)
    username: str
    tunnel_group: str
    policy: Policy = field(repr=False)
    login_at: float
    public_ip: str
    parent: TunnelRow
    ssl: TunnelRow | None = None
    dtls: TunnelRow | None = None
    addresses: Addresses = NO_ADDRESSES
    next_number: int = 2
    had_ssl: bool = False
    had_dtls: bool = False
    inactive_since: float | None = None
    gone: Counters = NO_TRAFFIC


def row_of(session: Session) -> Row:
    """The row of a session as it is now."""
    return Row(
        index=session.index,
        token_digest=session.token_digest,
        username=session.username,
        tunnel_group=session.tunnel_group,
        policy=session.policy,
        login_at=session.login_at,
        public_ip=session.public_ip,
        parent=_row_of_tunnel(session.parent),
        ssl=None if session.ssl is None else _row_of_tunnel(session.ssl),
        dtls=None if session.dtls is None else _row_of_tunnel(session.dtls),
        addresses=session.addresses,
        next_number=session.next_number,
        had_ssl=session.had_ssl,
        had_dtls=session.had_dtls,
        inactive_since=session.inactive_since,
        gone=session.gone,
    )


class Replica:
    """Rows by session index."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}

    def apply(self, event: SessionEvent) -> None:
        """Take over what one event says; KeyError for a session whose beginning was not heard."""
        if isinstance(event, SessionCreated):
            self.rows[event.index] = Row(
                index=event.index,
                token_digest=event.token_digest,
                username=event.username,
                tunnel_group=event.tunnel_group,
                policy=event.policy,
                login_at=event.at,
                public_ip=event.public_ip,
                parent=TunnelRow(1, event.kind, event.facts),
            )
        elif isinstance(event, SessionEnded):
            del self.rows[event.index]
        else:
            self.rows[event.index] = _after(self.rows[event.index], event)


def _after(row: Row, event: SessionEvent) -> Row:
    match event:
        case AddressAssigned(addresses=addresses):
            return replace(row, addresses=addresses)
        case PolicyChanged(policy=policy):
            return replace(row, policy=policy)
        case SessionInactive(at=at):
            return replace(row, inactive_since=at)
        case SessionResumed():
            return replace(row, inactive_since=None)
        case TunnelUp(number=number, public_ip=public_ip):
            row = replace(row, next_number=number + 1, public_ip=public_ip)
            return _with_tunnel(row, event, TunnelRow(number, event.kind, event.facts))
        case TunnelMoved(number=number):
            return _with_tunnel(row, event, TunnelRow(number, event.kind, event.facts))
        case TunnelDown(counters=counters):
            return _with_tunnel(replace(row, gone=row.gone.plus(counters)), event, None)
    return row


def _with_tunnel(row: Row, event: TunnelEvent, tunnel: TunnelRow | None) -> Row:
    if event.kind is TunnelKind.SSL:
        return replace(row, ssl=tunnel, had_ssl=True)
    return replace(row, dtls=tunnel, had_dtls=True)


def _row_of_tunnel(tunnel: Tunnel) -> TunnelRow:
    return TunnelRow(tunnel.number, tunnel.kind, tunnel.facts)
