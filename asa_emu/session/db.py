"""The VPN session database: who is logged in, over which tunnels, and what time does to it.

The shell calls it with facts (a login, a CONNECT, a lost connection, a DISCONNECT) and with time; it changes
the table and tells every change as an event. Three rules shape all of it. Dead-peer detection ends tunnels,
never a session (S38, S39). A session is inactive from the loss of its SSL tunnel, and from then the parent's
timer runs as the disconnected timeout (S30, S91-S94). An address is held exactly as long as its session lives
(S95).

Events are delivered when the table is consistent again, in the order in which things happened, and a
subscriber may call back into the database. A tunnel's link is handed to `on_link_down` after the event about
it, so that the shell closes the connection: with a farewell or in silence, as the reason says.

Time: `next_deadline()` and `on_deadline(now)`. Each session has one entry in the agenda for its timeouts,
each SSL and DTLS tunnel one for dead-peer detection and keepalive. What time does carries the instant of the
call, not that of the deadline, so a clock that jumps gives everybody a chance to answer.
"""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from enum import Enum
from functools import lru_cache
from typing import TypeVar

from asa_emu.config.model import DEFAULT_CAPACITY
from asa_emu.config.policy import Policy
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
from asa_emu.session.mirror import MirrorTable
from asa_emu.session.model import (
    Addresses,
    DownReason,
    EndReason,
    Peer,
    Session,
    Tunnel,
    TunnelFacts,
    TunnelKind,
)
from asa_emu.session.pool import AddressPools, PoolExhausted
from asa_emu.session.selection import Logoff
from asa_emu.session.table import digest_of
from asa_emu.wire.frames import DisconnectCode
from asa_emu.wire.liveness import Action, Liveness, LivenessTimers

EventT = TypeVar("EventT", bound=SessionEvent)


class Refusal(Enum):
    """Why a login with good credentials gets no session."""

    FORBIDDEN = "vpn-simultaneous-logins 0"
    CAPACITY = "session limit reached"


class Refused(Exception):
    """No session for this login."""

    def __init__(self, reason: Refusal, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class Gone(Exception):
    """The session ended while the caller was still busy with it."""


class SessionDb(MirrorTable):
    """All sessions of one headend, and their life.

    `quirks` holds the ids of the Cisco bugs to show (CSCts66926, CSCtg33110); it may change at any time, and
    so may `capacity`, the most sessions there may be, inactive ones included. `on_link_down(link, event)`
    gets the link of each tunnel that went down.
    """

    def __init__(
        self,
        *,
        capacity: int = DEFAULT_CAPACITY,
        quirks: Collection[str] = (),
        first_index: int = 1,
        pools: AddressPools | None = None,
        on_link_down: Callable[[object, TunnelDown], None] | None = None,
    ) -> None:
        super().__init__(AddressPools() if pools is None else pools, first_index)
        self.capacity = capacity
        self.quirks = set(quirks)
        self.on_link_down = on_link_down
        self._subscribers: list[Callable[[SessionEvent], None]] = []
        self._untold: deque[tuple[SessionEvent, object | None]] = deque()
        self._telling = False

    def subscribe(self, subscriber: Callable[[SessionEvent], None]) -> Callable[[], None]:
        """Have every event from now on, until the function that this returns is called. Must not raise."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def login(
        self,
        *,
        token: str,
        username: str,
        tunnel_group: str,
        policy: Policy,
        facts: TunnelFacts,
        clientless: bool = False,
        now: float,
    ) -> Session:
        """A new session with its parent tunnel, for a user whose credentials were good.

        `token` must be fresh and unguessable; that is the caller's affair. A user with as many sessions as
        `vpn-simultaneous-logins` allows, inactive ones included, loses the one that has been idle longest, of
        equals the oldest (S97, reason Port Preempted). Refused when the policy allows none at all, or when
        the database is full even so.
        """
        digest = digest_of(token)
        if digest in self._by_token:
            raise ValueError("the token belongs to a session already")
        victims = self._preempted(username, policy)
        if len(self._sessions) - len(victims) >= self.capacity:
            raise Refused(Refusal.CAPACITY, f"session limit of {self.capacity} reached")
        session = Session(
            index=self.next_index,
            token_digest=digest,
            username=username,
            tunnel_group=tunnel_group,
            policy=policy,
            kind=TunnelKind.CLIENTLESS if clientless else TunnelKind.PARENT,
            facts=facts,
            login_at=now,
        )
        self.next_index += 1
        # The ASA tells the new session first and then the end of the old one.
        kind = session.parent.kind
        self._tell(SessionCreated, session, now, token_digest=digest, policy=policy, kind=kind, facts=facts)
        for victim in victims:
            self._end(victim, EndReason.PORT_PREEMPTED, now)
        self._enter(session)
        self._agenda.add(session, session.next_deadline())
        self._deliver()
        return session

    def change_policy(self, session: Session, policy: Policy, now: float) -> None:
        """The session's policy says something else from now on.

        Its timeouts follow at once; dead-peer detection and keepalive of a tunnel stay as they were when it
        came up, and addresses stay (S35, S43). Gone when the session has ended.
        """
        self._require(session)
        if policy == session.policy:
            return
        session.policy = policy
        session.session_alerted = False
        self._agenda.touch(session)
        self._tell(PolicyChanged, session, now, policy=policy)
        self._deliver()

    def assign_addresses(self, session: Session, want_ip4: bool, want_ip6: bool, now: float) -> Addresses:
        """The session's inside addresses: those it holds already, else new ones from its policy's pools.

        A user's framed address goes before any pool. PoolExhausted, with nothing changed, when IPv4 is wanted
        and has pools or a framed address but none is free, and when there would be no address at all. IPv6
        alone missing is no reason to refuse (722041).
        """
        self._require(session)
        held = session.addresses
        if want_ip4 and held.ip4 is None:
            held = self._with_ip4(session.policy, held, now)
        if want_ip6 and held.ip6 is None:
            held = self._with_ip6(session.policy, held, now)
        if not held.held:
            raise PoolExhausted("no address: no pool for what the client wants, or no address free in it")
        if held != session.addresses:
            self._address(session, held)
            self._tell(AddressAssigned, session, now, addresses=held, wanted_ip6=want_ip6)
            self._deliver()
        return held

    def open_ssl(
        self,
        session: Session,
        facts: TunnelFacts,
        link: object | None,
        now: float,
        *,
        replacing: DownReason = DownReason.REPLACED,
    ) -> Tunnel:
        """A CONNECT with the session's token succeeded: the first one, a resume, or a replacement.

        A live SSL tunnel goes down first, with the reason `replacing`; a DTLS tunnel stays. Inactivity ends
        and all idle timers are full again (S64c, S64d). Gone when the session has ended.
        """
        self._require(session)
        resumed = session.inactive_since is not None
        first = not session.had_ssl
        if first and not session.is_anyconnect:
            self.webvpn.active -= 1
            self.anyconnect.add()
        session.had_ssl = True
        replaced = session.ssl
        if replaced is not None:
            self._down(replaced, replacing, now)
        if resumed:
            inactive_for = session.inactivity(now)
            session.inactive_since = None
            self._tell(SessionResumed, session, now, peer=facts.peer, inactive_for=inactive_for)
        # CSCtg33110: the database keeps the address that the client first connected from.
        if first or "CSCtg33110" not in self.quirks:
            session.public_ip = facts.peer.ip
        session.idled_out = 0
        session.parent.last_use_at = now
        if session.dtls is not None:
            session.dtls.last_use_at = now
        tunnel = session.ssl = self._up(session, TunnelKind.SSL, facts, link, now, first, replaced)
        self._agenda.touch(session)
        self._deliver()
        return tunnel

    def open_dtls(
        self,
        session: Session,
        facts: TunnelFacts,
        link: object | None,
        now: float,
        *,
        replacing: DownReason = DownReason.REPLACED,
    ) -> Tunnel:
        """A DTLS handshake finished; a live DTLS tunnel goes down first, with the reason `replacing`.

        Its secret came over an SSL tunnel, which may be lost again by now. Gone when the session has ended;
        ValueError for a session that never had an SSL tunnel.
        """
        self._require(session)
        if not session.had_ssl:
            raise ValueError(f"DTLS before SSL in {session!r}")
        replaced = session.dtls
        if replaced is not None:
            self._down(replaced, replacing, now)
        first = not session.had_dtls
        session.had_dtls = True
        tunnel = session.dtls = self._up(session, TunnelKind.DTLS, facts, link, now, first, replaced)
        if replaced is not None:
            # A handshake is no use: a client that only renews its keys must still idle out.
            tunnel.last_use_at = replaced.last_use_at
        self._agenda.touch(session)
        self._deliver()
        return tunnel

    def move_dtls(self, tunnel: Tunnel, peer: Peer, now: float) -> None:
        """Authentic data for a DTLS tunnel came from another address; means nothing for one that is down."""
        if not tunnel.up or tunnel.facts.peer == peer:
            return
        tunnel.facts = replace(tunnel.facts, peer=peer)
        self._tell(
            TunnelMoved, tunnel.session, now, number=tunnel.number, kind=tunnel.kind, facts=tunnel.facts
        )
        self._deliver()

    def tunnel_lost(self, tunnel: Tunnel, reason: DownReason, now: float) -> None:
        """An SSL or DTLS tunnel ended and its session lives on; nothing happens for one that is down."""
        if tunnel.up:
            self._lose(tunnel, reason, now)
            self._agenda.touch(tunnel.session)
            self._deliver()

    def client_disconnected(self, tunnel: Tunnel, code: int | None, now: float) -> None:
        """A DISCONNECT came in over this tunnel.

        `b0` logs off (User Requested); another code, or none, closes the tunnel and keeps the session. The
        client's answer to being told "Idle Timeout" ends the session with that reason. Over any other tunnel
        that is down, a replaced one above all, it means nothing to the session.
        """
        if tunnel.up:
            if code == DisconnectCode.USER:
                self._end(tunnel.session, EndReason.USER_REQUESTED, now, said_by=tunnel)
            else:
                self._lose(tunnel, DownReason.CLIENT, now)
                self._agenda.touch(tunnel.session)
        elif code == DisconnectCode.USER and tunnel.down_reason is DownReason.IDLE:
            session = tunnel.session
            if not session.ended and session.idled_out == tunnel.number:
                self._end(session, EndReason.IDLE_TIMEOUT, now)
        self._deliver()

    def end(self, session: Session, reason: EndReason, now: float) -> None:
        """The session is over: tunnels down, addresses free, token dead. Nothing happens the second time."""
        if not session.ended:
            self._end(session, reason, now)
            self._deliver()

    def logoff(self, selector: Logoff, now: float) -> int:
        """End the selected sessions as an administrator does; how many there were."""
        chosen = [session for session in self._sessions.values() if selector.matches(session)]
        for session in chosen:
            self._end(session, EndReason.ADMIN_RESET, now)
        self._deliver()
        return len(chosen)

    def take_over(self, now: float) -> None:
        """This unit becomes active: the tunnels that the other one carried are down.

        Their sessions are inactive from now on, and have a fresh disconnected timeout to resume in. Those
        that were inactive already go on waiting.
        """
        for session in self._sessions.values():
            for tunnel in (session.dtls, session.ssl):
                if tunnel is not None:
                    self._lose(tunnel, DownReason.TAKEOVER, now)
            self._agenda.touch(session)
        self._deliver()

    def next_deadline(self) -> float:
        """When to call `on_deadline`; perhaps earlier than anything is due, never later. inf for never."""
        return self._agenda.next_deadline()

    def on_deadline(self, now: float) -> list[tuple[Tunnel, Action]]:
        """Let time pass: timeouts, and tunnels whose client the gateway's dead-peer detection gives up.

        The answer is what the shell must send now, SEND_DPD and SEND_KEEPALIVE, all of it on tunnels that are
        up.
        """
        wanted: list[tuple[Tunnel, Action]] = []
        for item in self._agenda.pop_due(now):
            if isinstance(item, Tunnel):
                if not item.up or item.liveness is None:
                    continue
                for action in item.liveness.on_deadline(now):
                    if action is Action.DEAD:
                        self._dead(item, item.liveness, now)
                    else:
                        wanted.append((item, action))
                self._agenda.touch(item)
            else:
                self._expire(item, now)
                # A tunnel found dead in this pass may have filed the session under what has passed by now.
                if not item.ended:
                    self._agenda.add(item, item.next_deadline())
        if self._untold:
            wanted = [(tunnel, action) for tunnel, action in wanted if tunnel.up]
            self._deliver()
        return wanted

    def _dead(self, tunnel: Tunnel, liveness: Liveness, now: float) -> None:
        # CSCts66926: dead-peer detection does not end a DTLS tunnel; it stays until it is idle for too long.
        if tunnel.kind is TunnelKind.DTLS and "CSCts66926" in self.quirks:
            liveness.restart(now)
        else:
            self._lose(tunnel, DownReason.DPD, now)
            self._agenda.touch(tunnel.session)

    def _expire(self, session: Session, now: float) -> None:
        if session.session_ends_at <= now:
            self._end(session, EndReason.SESSION_TIMEOUT, now)
            return
        if session.parent_ends_at <= now:
            self._end(session, EndReason.IDLE_TIMEOUT, now)
            return
        if session.idles_out_at <= now:
            ssl = session.ssl
            if session.dtls is not None:
                self._lose(session.dtls, DownReason.IDLE, now)
            if ssl is not None:
                self._lose(ssl, DownReason.IDLE, now)
                session.idled_out = ssl.number
        if session.session_alert_at <= now:
            session.session_alerted = True
            left = session.session_ends_at - now
            self._tell(TimeoutAlert, session, now, timeout=Timeout.SESSION, left=left)
        if session.idle_alert_at <= now:
            session.idle_alerted_for = session.idles_out_at
            left = session.idles_out_at - now
            self._tell(TimeoutAlert, session, now, timeout=Timeout.IDLE, left=left)

    # The steps that public calls are made of. They only queue events: a caller delivers them when it is done.

    def _require(self, session: Session) -> None:
        if session.ended:
            raise Gone(f"{session!r}")

    def _preempted(self, username: str, policy: Policy) -> list[Session]:
        limit = policy.simultaneous_logins
        if limit < 1:
            raise Refused(Refusal.FORBIDDEN, "login denied: the group policy allows no simultaneous logins")
        mine = self.by_user(username)
        if len(mine) < limit:
            return []
        # sorted() is stable and they are in order of login, so equals come oldest first.
        return sorted(mine, key=lambda session: session.last_use_at)[: len(mine) - limit + 1]

    def _with_ip4(self, policy: Policy, held: Addresses, now: float) -> Addresses:
        if policy.framed_ip is not None:
            framed = str(policy.framed_ip)
            if not self.pools.hold(framed):
                raise PoolExhausted(f"the framed address {framed} is in use")
            mask = None if policy.framed_netmask is None else str(policy.framed_netmask)
            return replace(held, ip4=framed, ip4_netmask=mask)
        if not policy.address_pools:
            return held
        taken = self.pools.take(policy.address_pools, 4, now)
        if taken is None:
            raise PoolExhausted(f"no IPv4 address free in {', '.join(policy.address_pools)}")
        address, pool = taken
        return replace(held, ip4=address, ip4_netmask=pool.netmask, ip4_pool=pool.name)

    def _with_ip6(self, policy: Policy, held: Addresses, now: float) -> Addresses:
        framed = policy.framed_ip6
        if framed is not None and self.pools.hold(str(framed.ip)):
            return replace(held, ip6=str(framed.ip), ip6_prefixlen=framed.network.prefixlen)
        taken = None if framed is not None else self.pools.take(policy.ipv6_address_pools, 6, now)
        if taken is None:
            return held
        address, pool = taken
        return replace(held, ip6=address, ip6_prefixlen=pool.prefixlen, ip6_pool=pool.name)

    def _up(
        self,
        session: Session,
        kind: TunnelKind,
        facts: TunnelFacts,
        link: object | None,
        now: float,
        first: bool,
        replaced: Tunnel | None,
    ) -> Tunnel:
        policy = session.policy
        timers = _timers(policy.dpd_gateway, policy.dpd_gateway_retries, policy.keepalive)
        tunnel = Tunnel(session, session.next_number, kind, facts, now, Liveness(timers, now), link)
        session.next_number += 1
        self.tunnels[kind].add()
        self._agenda.add(tunnel, tunnel.next_deadline())
        self._tell(
            TunnelUp,
            session,
            now,
            number=tunnel.number,
            kind=kind,
            facts=facts,
            first=first,
            replaces=None if replaced is None else replaced.number,
        )
        return tunnel

    def _down(
        self, tunnel: Tunnel, reason: DownReason, now: float, end_reason: EndReason | None = None
    ) -> None:
        session = tunnel.session
        if tunnel is session.ssl:
            session.ssl = None
        elif tunnel is session.dtls:
            session.dtls = None
        else:
            raise ValueError(f"{tunnel!r} lives and dies with its session")
        tunnel.down_reason = reason
        session.gone = session.gone.plus(tunnel.counters)
        self.tunnels[tunnel.kind].active -= 1
        self._agenda.discard(tunnel)
        link, tunnel.link = tunnel.link, None
        self._tell(
            TunnelDown,
            session,
            now,
            link,
            number=tunnel.number,
            kind=tunnel.kind,
            reason=reason,
            end_reason=end_reason,
            facts=tunnel.facts,
            counters=tunnel.counters,
        )

    def _lose(self, tunnel: Tunnel, reason: DownReason, now: float) -> None:
        session = tunnel.session
        self._down(tunnel, reason, now)
        if tunnel.kind is TunnelKind.SSL:
            session.inactive_since = now
            session.parent.last_use_at = now
            ends_at = min(session.parent_ends_at, session.session_ends_at)
            self._tell(SessionInactive, session, now, reason=reason, ends_at=ends_at)
        elif session.ssl is not None:
            # The parent's timer starts afresh (S91), but for a DTLS tunnel that outlived its SSL tunnel: the
            # disconnected timeout already runs, and the client has not come back.
            session.parent.last_use_at = now

    def _end(self, session: Session, reason: EndReason, now: float, *, said_by: Tunnel | None = None) -> None:
        for tunnel in (session.dtls, session.ssl):
            if tunnel is not None:
                down = DownReason.CLIENT if tunnel is said_by else DownReason.SESSION_ENDED
                self._down(tunnel, down, now, reason)
        parent = session.parent
        parent.down_reason = DownReason.SESSION_ENDED
        session.gone = session.gone.plus(parent.counters)
        session.end_reason = reason
        self._agenda.discard(session)
        self._strike(session)
        if session.addresses.held:
            for address in session.addresses.held:
                self.pools.give_back(address, now)
            self._tell(AddressReleased, session, now, addresses=session.addresses)
        self._tell(
            SessionEnded,
            session,
            now,
            reason=reason,
            kind=parent.kind,
            is_anyconnect=session.is_anyconnect,
            login_at=session.login_at,
            totals=session.gone,
        )
        # Session and parent point at each other: undone, memory is free at once, not at the next collection.
        del parent.session

    def _tell(
        self,
        event: Callable[..., EventT],
        session: Session,
        now: float,
        link: object | None = None,
        **facts: object,
    ) -> None:
        told = event(
            at=now,
            index=session.index,
            username=session.username,
            tunnel_group=session.tunnel_group,
            group_policy=session.group_policy,
            public_ip=session.public_ip,
            **facts,
        )
        self._untold.append((told, link))

    def _deliver(self) -> None:
        """Tell what is untold, unless that is going on already further up the stack."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._untold:
                event, link = self._untold.popleft()
                for subscriber in tuple(self._subscribers):
                    subscriber(event)
                if link is not None and self.on_link_down is not None and isinstance(event, TunnelDown):
                    self.on_link_down(link, event)
        finally:
            self._telling = False


@lru_cache(maxsize=64)
def _timers(dpd: float | None, retries: int, keepalive: float | None) -> LivenessTimers:
    return LivenessTimers(dpd, retries, keepalive)
