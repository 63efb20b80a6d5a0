"""The session table as a copy of another unit's: rows flow in, nothing is told, no time passes.

A standby keeps its table so. A row replaces whatever the table has under its index; who holds its token or
one of its addresses under another index must have ended, for on the unit that sent it neither was held twice.
Restored tunnels are entries without connection or dead-peer detection: they are to be seen and counted (S98),
and go down when the unit takes over (`SessionDb.take_over`).
"""

from asa_emu.session.model import Addresses, DownReason, EndReason, Session, Tunnel
from asa_emu.session.pool import AddressPools
from asa_emu.session.replica import Row, TunnelRow
from asa_emu.session.table import SessionTable
from asa_emu.wire.agenda import Agenda


class MirrorTable(SessionTable):
    """A table with its ledger of addresses, its deadlines and its next index, that rows can be put into."""

    def __init__(self, pools: AddressPools, first_index: int) -> None:
        super().__init__()
        self.pools = pools
        self.next_index = first_index
        """Of the next login; no index is used twice, also across units."""
        self._agenda: Agenda[Session | Tunnel] = Agenda()

    def restore(self, row: Row, used_at: float, now: float) -> Session:
        """Have the session that a row describes; stamps are on this unit's clock.

        `used_at` is when the parent's idle timer last began. ValueError, with nothing changed but what the
        row contradicts, when the ledger has one of its addresses for somebody who is no session.
        """
        session = self._sessions.get(row.index)
        if session is not None and session.token_digest != row.token_digest:
            self.forget(session)
            session = None
        rivals = [self._by_token.get(row.token_digest), *map(self._by_address.get, row.addresses.held)]
        for rival in rivals:
            if rival is not None and rival is not session and not rival.ended:
                self.forget(rival)
        own = () if session is None else session.addresses.held
        taken = [a for a in row.addresses.held if a not in own and a in self.pools]
        if taken:
            raise ValueError(f"address {taken[0]} is not for sessions here")
        if session is None:
            session = self._found(row)
        self._move_addresses(session, row.addresses)
        if row.had_ssl and not session.is_anyconnect:
            self.webvpn.active -= 1
            self.anyconnect.add()
        session.policy = row.policy
        session.public_ip = row.public_ip
        session.next_number = row.next_number
        session.had_ssl, session.had_dtls = row.had_ssl, row.had_dtls
        session.inactive_since = row.inactive_since
        session.gone = row.gone
        session.parent.last_use_at = used_at
        session.ssl = self._entry(session, session.ssl, row.ssl, now)
        session.dtls = self._entry(session, session.dtls, row.dtls, now)
        self._agenda.touch(session)
        return session

    def _found(self, row: Row) -> Session:
        session = Session(
            index=row.index,
            token_digest=row.token_digest,
            username=row.username,
            tunnel_group=row.tunnel_group,
            policy=row.policy,
            kind=row.parent.kind,
            facts=row.parent.facts,
            login_at=row.login_at,
        )
        self.next_index = max(self.next_index, row.index + 1)
        late = bool(self._sessions) and row.index < next(reversed(self._sessions))
        self._enter(session)
        if late:
            self._sessions = dict(sorted(self._sessions.items()))
        self._agenda.add(session, session.next_deadline())
        return session

    def _move_addresses(self, session: Session, addresses: Addresses) -> None:
        before, after = set(session.addresses.held), set(addresses.held)
        for address in before - after:
            del self._by_address[address]
            self.pools.give_back(address)
        for address in after - before:
            self.pools.hold(address)
        self._address(session, addresses)

    def _entry(
        self, session: Session, held: Tunnel | None, row: TunnelRow | None, now: float
    ) -> Tunnel | None:
        if held is not None and row is not None and held.number == row.number:
            held.facts = row.facts
            return held
        if held is not None:
            self._drop(held)
        if row is None:
            return None
        self.tunnels[row.kind].add()
        return Tunnel(session, row.number, row.kind, row.facts, now)

    def _drop(self, tunnel: Tunnel) -> None:
        tunnel.down_reason, tunnel.link = DownReason.TAKEOVER, None
        self._agenda.discard(tunnel)
        self.tunnels[tunnel.kind].active -= 1

    def forget(self, session: Session) -> None:
        """The session is no longer this unit's affair, without a word to anybody."""
        for tunnel in (session.dtls, session.ssl):
            if tunnel is not None:
                self._drop(tunnel)
        session.end_reason = EndReason.MOVED
        self._agenda.discard(session)
        self._strike(session)
        for address in session.addresses.held:
            self.pools.give_back(address)
        del session.parent.session  # as at every end: memory is free at once

    def forget_all(self) -> None:
        """An empty table, as at the start; the next index stays."""
        for session in self.sessions():
            self.forget(session)
