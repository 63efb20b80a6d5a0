"""What one session is apart from its traffic, as frozen values that can be compared, and carried elsewhere.

    Session -> `row_of` -> Row: who and where, the addresses, the tunnels, the stamps

A row changes only with an event of the database: whoever hears them knows which rows to look at again.
"""

from dataclasses import dataclass, field

from asa_emu.config.policy import Policy
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


def _row_of_tunnel(tunnel: Tunnel) -> TunnelRow:
    return TunnelRow(tunnel.number, tunnel.kind, tunnel.facts)
