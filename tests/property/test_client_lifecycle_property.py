"""Any order of losses, interface changes, sleep, answers and time keeps the lifecycle honest."""

import ipaddress
import math

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from client_emu.lifecycle import (
    ESTABLISHING_PACKETS,
    Actions,
    Do,
    End,
    Lifecycle,
    Phase,
    Reach,
    Rebuild,
    Rules,
)
from client_emu.terms import Terms

ADDRESS = ipaddress.IPv4Interface("10.1.1.5/24")
timeouts = st.none() | st.floats(1.0, 7200.0)


class AnyLife(RuleBasedStateMachine):
    """A shell that does what the machine says, and a world that does what it likes."""

    @initialize(
        servers=st.integers(1, 3), auto=st.booleans(), notices=st.booleans(), reconnects=st.booleans()
    )
    def begin(self, servers: int, auto: bool, notices: bool, reconnects: bool) -> None:
        self.now = 1000.0
        self.given = Rules(servers, auto, notices, reconnects)
        self.machine = Lifecycle(self.given)
        self.reaching = self.logging_in = self.attempting = self.handshaking = False
        self.logins = self.ends = 0
        self.reached: list[int] = []
        self.held: object = None
        self.terms: Terms | None = None
        self.lost_at = math.inf
        self.take(self.machine.begin(self.now))

    def take(self, actions: Actions) -> None:
        before = self.lost_at
        if self.machine.phase is Phase.RECONNECTING:
            self.lost_at = min(self.lost_at, self.now)
        for action in actions:
            match action:
                case Reach(server):
                    assert self.logins == 0
                    self.reaching = True
                    self.reached.append(server)
                case Do.LOG_IN:
                    self.logins += 1
                    self.logging_in = True
                case Do.ATTEMPT:
                    assert not self.attempting
                    assert self.machine.suspended_at is None
                    if self.terms is not None:
                        assert self.now < min(before, self.lost_at) + self.terms.reconnect_limit
                    self.attempting = True
                case Do.DROP_ATTEMPT:
                    assert self.attempting
                    self.attempting = False
                case Do.START_DTLS:
                    assert self.machine.phase is Phase.CONNECTED
                    self.handshaking = True
                case End():
                    self.ends += 1
                    self.reaching = self.logging_in = self.attempting = False
                case _:
                    pass

    @precondition(lambda self: self.reaching)
    @rule(fate=st.sampled_from(["answers", "silent", "refuses"]))
    def packet(self, fate: str) -> None:
        self.reaching = False
        if fate == "answers":
            self.take(self.machine.answered(self.now))
        else:
            self.take(self.machine.unanswered("no", self.now, silent=fate == "silent"))

    @precondition(lambda self: self.logging_in)
    @rule(accepted=st.booleans())
    def login(self, accepted: bool) -> None:
        self.logging_in = False
        self.take(self.machine.logged_in(self.now) if accepted else self.machine.refused("no", self.now))

    @precondition(lambda self: self.attempting)
    @rule(silent=st.booleans())
    def fail_attempt(self, silent: bool) -> None:
        self.attempting = False
        self.take(self.machine.attempt_failed("no", self.now, silent=silent))

    @precondition(lambda self: self.attempting)
    @rule(
        same=st.booleans(),
        mtu=st.sampled_from([1390, 1300]),
        idle=timeouts,
        session=timeouts,
        left=timeouts,
    )
    def grant(
        self, same: bool, mtu: int, idle: float | None, session: float | None, left: float | None
    ) -> None:
        self.attempting = False
        address = ADDRESS if same else ADDRESS + 1
        terms = Terms(address, None, mtu, idle, session, left, dtls_offered=True)
        rebuild = self.machine.rebuild_for(terms)
        self.take(self.machine.opened(terms, self.now))
        if self.held in (None, address.ip):
            assert self.machine.phase is Phase.CONNECTED
            assert (rebuild is Rebuild.ADAPTER) == (self.terms is None or self.terms.mtu != mtu)
            self.held, self.terms, self.lost_at = address.ip, terms, math.inf
        else:
            assert rebuild is Rebuild.NOTHING
            assert self.machine.phase is Phase.ENDED

    @precondition(lambda self: self.attempting)
    @rule()
    def refuse(self) -> None:
        self.take(self.machine.session_gone("401", self.now))
        assert self.machine.phase is Phase.ENDED

    @rule(fact=st.sampled_from(["tunnel_lost", "network_lost", "network_found", "renew"]))
    def network_happens(self, fact: str) -> None:
        self.take(getattr(self.machine, fact)(self.now))

    @rule()
    def suspend(self) -> None:
        self.take(self.machine.suspend(self.now))

    @precondition(lambda self: self.machine.suspended_at is not None)
    @rule()
    def resume(self) -> None:
        slept_at = self.machine.suspended_at
        assert slept_at is not None
        if self.given.notices_resume and self.machine.phase is not Phase.ENDED:
            self.lost_at = min(self.lost_at, slept_at)
        self.take(self.machine.resume(self.now))
        assert self.machine.suspended_at is None
        if self.given.notices_resume and not self.given.reconnects_after_resume:
            assert self.machine.phase is Phase.ENDED

    @precondition(lambda self: self.handshaking)
    @rule(up=st.booleans())
    def dtls_news(self, up: bool) -> None:
        self.take(self.machine.dtls_up("suite", self.now) if up else self.machine.dtls_lost(self.now))

    @rule(end=st.sampled_from(["told_to_end", "peer_broke_protocol", "leave"]))
    def end_it(self, end: str) -> None:
        self.take(getattr(self.machine, end)("why", self.now))

    @rule(seconds=st.floats(0.0, 600.0))
    def let_time_pass(self, seconds: float) -> None:
        until = self.now + seconds
        while (at := self.machine.next_deadline()) <= until:
            self.now = max(self.now, at)
            before = (self.machine.next_deadline(), self.machine.level)
            self.take(self.machine.on_deadline(self.now))
            assert (self.machine.next_deadline(), self.machine.level) != before
        self.now = until

    @invariant()
    def sends_the_password_to_one_server_once(self) -> None:
        assert self.logins <= 1

    @invariant()
    def asks_each_server_four_times_at_most_and_in_order(self) -> None:
        assert self.reached == sorted(self.reached)
        assert all(self.reached.count(server) <= ESTABLISHING_PACKETS for server in set(self.reached))
        assert max(self.reached) < self.given.servers

    @invariant()
    def ends_once_and_for_all(self) -> None:
        assert self.ends == (self.machine.phase is Phase.ENDED)
        assert (self.machine.end is None) == (self.ends == 0)
        if self.ends:
            assert self.machine.next_deadline() == math.inf

    @invariant()
    def has_something_under_way_or_a_deadline_unless_connected_or_asleep(self) -> None:
        waiting = self.reaching or self.logging_in or self.attempting
        match self.machine.phase:
            case Phase.CONNECTING:
                assert waiting
            case Phase.RECONNECTING if self.machine.suspended_at is None:
                assert waiting or self.machine.next_deadline() < math.inf
            case _:
                assert not waiting or self.machine.phase is not Phase.ENDED

    @invariant()
    def never_tries_past_the_disconnected_timeout(self) -> None:
        if self.machine.phase is Phase.RECONNECTING and self.machine.suspended_at is None:
            assert self.terms is not None
            assert self.machine.next_deadline() <= self.lost_at + self.terms.reconnect_limit

    @invariant()
    def keeps_only_the_address_that_the_headend_gave(self) -> None:
        if self.machine.terms is not None:
            assert self.machine.terms.addresses[0] == self.held


TestAnyLife = AnyLife.TestCase
