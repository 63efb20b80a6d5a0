"""Any order of logins, tunnels, losses, resumes, log-offs and time keeps the session database honest."""

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asa_emu.session import (
    DownReason,
    EndReason,
    Logoff,
    Peer,
    PoolExhausted,
    Refused,
    Session,
    SessionEnded,
    Tunnel,
    TunnelKind,
)
from asa_emu.session.replica import Row, row_of
from asa_emu.wire.frames import DisconnectCode
from tests.session_lab import Lab, facts, pool

LIMITS = {"walter": 1, "maria": 2, "otto": 3, "nobody": 0}
CAPACITY = 5
QUIRKS = ("CSCts66926", "CSCtg33110")
CODES = (None, DisconnectCode.USER, DisconnectCode.LOCAL_ERROR, DisconnectCode.PAUSED)

timers = st.fixed_dictionaries(
    {
        "idle_timeout": st.sampled_from([8.0, 120.0, 1800.0]),
        "idle_alert_interval": st.sampled_from([None, 5.0, 60.0]),
        "session_timeout": st.sampled_from([None, None, 300.0, 7200.0]),
        "session_alert_interval": st.sampled_from([None, 60.0]),
        "disconnected_timeout": st.sampled_from([None, 6.0, 3600.0]),
        "dpd_gateway": st.sampled_from([None, 3.0, 30.0]),
        "keepalive": st.sampled_from([None, 20.0]),
    }
)
selectors = st.one_of(
    st.builds(Logoff, st.just("index"), st.integers(1, 12)),
    st.builds(Logoff, st.just("name"), st.sampled_from(list(LIMITS))),
    st.builds(Logoff, st.just("ipaddress"), st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"])),
    st.builds(Logoff, st.just("protocol"), st.sampled_from([kind.value for kind in TunnelKind])),
    st.builds(Logoff, st.sampled_from(["inactive", "anyconnect", "webvpn", "all"])),
)
reasons = st.sampled_from([DownReason.LOST, DownReason.DPD, DownReason.TAKEOVER])
peers = st.builds(Peer, st.sampled_from(["198.51.100.7", "203.0.113.9"]), st.integers(1, 65535))


class VpnSessiondb(RuleBasedStateMachine):
    """A database, its rows, and every session and tunnel there ever was."""

    def __init__(self) -> None:
        super().__init__()
        # Fewer addresses than sessions, and pools that overlap, so that both run out.
        self.lab = Lab(
            capacity=CAPACITY,
            pools=[
                pool("inside", "10.0.0.1", "10.0.0.2", 24),
                pool("more", "10.0.0.2", "10.0.0.4", 24),
                pool("inside6", "2001:db8::1", "2001:db8::3", 64),
            ],
        )
        self.db = self.lab.db
        self.now = 1000.0
        self.rows: dict[int, Row] = {}
        self.told: set[int] = set()
        """Of whom there were events since the rows were written down."""
        self.db.subscribe(lambda event: self.told.add(event.index))
        self.tokens: dict[str, Session] = {}
        self.tunnels: list[Tunnel] = []
        self.links: list[object] = []
        self.traffic: dict[int, int] = {}

    @initialize(quirks=st.sets(st.sampled_from(QUIRKS)))
    def choose_quirks(self, quirks: set[str]) -> None:
        self.db.quirks = quirks

    @rule(user=st.sampled_from(list(LIMITS)), clientless=st.booleans(), timers=timers)
    def login(self, user: str, clientless: bool, timers: dict[str, Any]) -> None:
        token = f"token {len(self.tokens)}"
        before = list(self.db.sessions())
        pools = ("more", "inside") if len(self.tokens) % 2 else ("inside",)
        try:
            session = self.lab.login(
                user,
                token=token,
                clientless=clientless,
                now=self.now,
                simultaneous_logins=LIMITS[user],
                address_pools=pools,
                **timers,
            )
        except Refused:
            assert list(self.db.sessions()) == before
            assert LIMITS[user] == 0 or len(before) == CAPACITY
            return
        self.tokens[token] = session
        assert len(self.db.by_user(user)) <= LIMITS[user]

    def draw_live(self, data: st.DataObject) -> Session:
        return data.draw(st.sampled_from(list(self.db.sessions())))

    def draw_tunnel(self, data: st.DataObject) -> Tunnel:
        """Any tunnel there ever was, the newest with preference."""
        return data.draw(st.sampled_from(self.tunnels[-3:]) | st.sampled_from(self.tunnels))

    @precondition(lambda self: len(self.db) > 0)
    @rule(data=st.data(), peer=peers, want_ip6=st.booleans(), with_dtls=st.booleans())
    def connect(self, data: st.DataObject, peer: Peer, want_ip6: bool, with_dtls: bool) -> None:
        session = self.draw_live(data)
        held = session.addresses
        try:
            addresses = self.db.assign_addresses(session, True, want_ip6, self.now)
        except PoolExhausted:
            assert session.addresses == held
            assert held.ip4 is None
            return
        assert held.ip4 in (None, addresses.ip4)
        assert held.ip6 in (None, addresses.ip6)
        self.opened(self.db.open_ssl(session, facts(peer.ip, peer.port), self.link(), self.now))
        if with_dtls:
            self.opened(self.db.open_dtls(session, facts(peer.ip, peer.port), self.link(), self.now))

    @precondition(lambda self: any(session.had_ssl for session in self.db.sessions()))
    @rule(data=st.data(), peer=peers)
    def open_dtls(self, data: st.DataObject, peer: Peer) -> None:
        session = data.draw(st.sampled_from([one for one in self.db.sessions() if one.had_ssl]))
        self.opened(self.db.open_dtls(session, facts(peer.ip, peer.port), self.link(), self.now))

    def link(self) -> object:
        self.links.append(object())
        return self.links[-1]

    def opened(self, tunnel: Tunnel) -> None:
        assert tunnel.number > max((t.number for t in self.tunnels if t.session is tunnel.session), default=1)
        self.tunnels.append(tunnel)

    @precondition(lambda self: self.tunnels)
    @rule(data=st.data(), reason=reasons)
    def lose(self, data: st.DataObject, reason: DownReason) -> None:
        tunnel = self.draw_tunnel(data)
        was_up, before = tunnel.up, len(self.lab.events)
        self.db.tunnel_lost(tunnel, reason, self.now)
        assert not tunnel.up
        assert was_up or len(self.lab.events) == before

    @precondition(lambda self: self.tunnels)
    @rule(data=st.data(), code=st.sampled_from(CODES))
    def disconnect(self, data: st.DataObject, code: int | None) -> None:
        tunnel = self.draw_tunnel(data)
        session, down_reason, before = tunnel.session, tunnel.down_reason, len(self.lab.events)
        self.db.client_disconnected(tunnel, code, self.now)
        if down_reason is None:
            assert not tunnel.up
            assert session.ended == (code == DisconnectCode.USER)
        elif len(self.lab.events) > before:
            assert (down_reason, code) == (DownReason.IDLE, DisconnectCode.USER)
            assert session.end_reason is EndReason.IDLE_TIMEOUT
            assert session.ssl is None

    @precondition(lambda self: self.tunnels)
    @rule(data=st.data(), size=st.integers(1, 1400))
    def use(self, data: st.DataObject, size: int) -> None:
        tunnel = self.draw_tunnel(data)
        if tunnel.up and tunnel.liveness is not None:
            tunnel.last_use_at = tunnel.liveness.last_received_at = self.now
            tunnel.bytes_rx += size
            index = tunnel.session.index
            self.traffic[index] = self.traffic.get(index, 0) + size

    @precondition(lambda self: self.tunnels)
    @rule(data=st.data(), peer=peers)
    def roam(self, data: st.DataObject, peer: Peer) -> None:
        self.db.move_dtls(self.draw_tunnel(data), peer, self.now)

    @precondition(lambda self: len(self.db) > 0)
    @rule(data=st.data(), timers=timers)
    def change_policy(self, data: st.DataObject, timers: dict[str, Any]) -> None:
        session = self.draw_live(data)
        self.db.change_policy(session, replace(session.policy, **timers), self.now)

    @rule(selector=selectors)
    def logoff(self, selector: Logoff) -> None:
        before = len(self.db)
        assert self.db.logoff(selector, self.now) == before - len(self.db)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), reason=st.sampled_from(EndReason))
    def end(self, data: st.DataObject, reason: EndReason) -> None:
        self.db.end(self.tokens[data.draw(st.sampled_from(sorted(self.tokens)))], reason, self.now)

    @rule(
        seconds=st.sampled_from([0.0, 0.3, 6.0, 31.0, 119.0, 1801.0]) | st.floats(0, 60), step=st.booleans()
    )
    def advance(self, seconds: float, step: bool) -> None:
        self.now += seconds
        if step:
            for _, _, action in self.lab.run_until(self.now):
                assert action.name in ("SEND_DPD", "SEND_KEEPALIVE")
        else:
            assert all(tunnel.up for tunnel, _ in self.db.on_deadline(self.now))

    @invariant()
    def no_deadline_lies_in_the_past(self) -> None:
        # What facts brought forward is due at the next call, which the shell makes at once.
        self.db.on_deadline(self.now)
        assert self.db.next_deadline() > self.now
        for session in self.db.sessions():
            assert self.db.next_deadline() <= session.next_deadline()
            for tunnel in session.tunnels:
                assert self.db.next_deadline() <= tunnel.next_deadline()

    @invariant()
    def an_address_has_one_holder_exactly_while_its_session_lives(self) -> None:
        held = [address for session in self.db.sessions() for address in session.addresses.held]
        assert len(held) == len(set(held))
        assert {address for address in ADDRESSES if address in self.db.pools} == set(held)

    @invariant()
    def inactive_means_no_ssl_tunnel(self) -> None:
        for session in self.db.sessions():
            assert session.inactive == (session.ssl is None and session.is_anyconnect)
            assert (session.inactive_since is not None) == (session.ssl is None and session.had_ssl)

    @invariant()
    def every_session_has_one_parent_and_at_most_one_of_each_tunnel(self) -> None:
        for session in self.db.sessions():
            kinds = [tunnel.kind for tunnel in session.tunnels]
            assert kinds[0] in (TunnelKind.PARENT, TunnelKind.CLIENTLESS)
            assert kinds[1:] in (
                [],
                [TunnelKind.SSL],
                [TunnelKind.DTLS],
                [TunnelKind.SSL, TunnelKind.DTLS],
            )
            assert session.parent.number == 1
            assert all(tunnel.up and tunnel.session is session for tunnel in session.tunnels)

    @invariant()
    def limits_hold(self) -> None:
        users = Counter(session.username for session in self.db.sessions())
        assert all(count <= LIMITS[user] for user, count in users.items())
        assert len(self.db) <= CAPACITY

    @invariant()
    def live_tokens_are_found_and_dead_ones_stay_dead(self) -> None:
        live = list(self.db.sessions())
        for token, session in self.tokens.items():
            assert self.db.by_token(token) is (None if session.ended else session)
            assert (session in live) != session.ended
            assert self.db.by_index(session.index) is (None if session.ended else session)
        assert [session.index for session in live] == sorted(session.index for session in live)

    @invariant()
    def no_row_changes_without_an_event(self) -> None:
        rows = {session.index: row_of(session) for session in self.db.sessions()}
        for index in (rows.keys() | self.rows.keys()) - self.told:
            assert rows.get(index) == self.rows.get(index)
        self.rows = rows
        self.told.clear()

    @invariant()
    def each_link_is_handed_back_once_and_only_when_its_tunnel_is_down(self) -> None:
        closed = [link for link, _ in self.lab.closed]
        assert len(closed) == len(set(map(id, closed)))
        open_links = [tunnel.link for tunnel in self.tunnels if tunnel.up]
        assert set(map(id, open_links)) | set(map(id, closed)) == set(map(id, self.links))
        assert all(tunnel.link is None for tunnel in self.tunnels if not tunnel.up)

    @invariant()
    def nothing_carried_is_forgotten(self) -> None:
        for session in self.tokens.values():
            assert session.totals.bytes_rx == self.traffic.get(session.index, 0)
        for event in self.lab.told(SessionEnded):
            assert event.totals.bytes_rx == self.traffic.get(event.index, 0)

    @invariant()
    def tallies_agree_with_the_table(self) -> None:
        kinds = Counter(tunnel.kind for session in self.db.sessions() for tunnel in session.tunnels)
        assert {kind: tally.active for kind, tally in self.db.tunnels.items() if tally.active} == kinds
        anyconnect = sum(session.is_anyconnect for session in self.db.sessions())
        assert self.db.anyconnect.active == anyconnect
        assert self.db.webvpn.active == len(self.db) - anyconnect
        for tally in (self.db.anyconnect, self.db.webvpn, *self.db.tunnels.values()):
            assert tally.active <= tally.peak <= tally.cumulative


ADDRESSES = {f"10.0.0.{n}" for n in range(1, 5)} | {f"2001:db8::{n}" for n in range(1, 4)}

TestVpnSessiondb = VpnSessiondb.TestCase
TestVpnSessiondb.settings = settings(
    stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
