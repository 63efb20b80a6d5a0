"""Any order of losses, orders, answers and time keeps the lifecycle honest."""

import ipaddress
import math

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from client_emu.lifecycle import Action, Attempt, End, Lifecycle, Phase, StartDtls, Terms

ADDRESS = ipaddress.IPv4Interface("10.1.1.5/24")
timeouts = st.none() | st.floats(1.0, 7200.0)


class AnyLife(RuleBasedStateMachine):
    """A shell that does what the machine says, and a world that does what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.machine = Lifecycle()
        self.attempts_open = 0
        self.ends = 0
        self.lost_at = math.inf
        self.handshake = False
        self.terms = Terms(ADDRESS, None, 1390, idle_timeout=300.0, dtls_offered=True)
        self.take(self.machine.connected(self.terms, self.now))

    def take(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if isinstance(action, Attempt):
                assert self.attempts_open == 0
                assert self.now < self.lost_at + self.terms.reconnect_limit
                self.attempts_open = 1
            self.ends += isinstance(action, End)
            self.handshake = self.handshake or isinstance(action, StartDtls)

    @rule()
    def lose_tunnel(self) -> None:
        if self.machine.phase is Phase.CONNECTED:
            self.lost_at = self.now
        self.take(self.machine.tunnel_lost(self.now))

    @rule()
    def reconnect(self) -> None:
        if self.machine.phase is Phase.CONNECTED:
            self.lost_at = self.now
        self.take(self.machine.reconnect(self.now))

    @precondition(lambda self: self.attempts_open)
    @rule()
    def fail_attempt(self) -> None:
        self.attempts_open = 0
        self.take(self.machine.attempt_failed(self.now))

    @precondition(lambda self: self.attempts_open)
    @rule(same=st.booleans(), idle=timeouts, session=timeouts)
    def resume(self, same: bool, idle: float | None, session: float | None) -> None:
        self.attempts_open = 0
        alive = self.machine.phase is Phase.RECONNECTING
        terms = Terms(ADDRESS if same else ADDRESS + 1, None, 1390, idle, session, dtls_offered=True)
        self.take(self.machine.resumed(terms, self.now))
        if alive:
            assert self.machine.phase is (Phase.CONNECTED if same else Phase.ENDED)
            self.terms, self.lost_at = terms, math.inf

    @precondition(lambda self: self.attempts_open)
    @rule()
    def refuse(self) -> None:
        self.attempts_open = 0
        self.take(self.machine.session_gone("401", self.now))
        assert self.machine.phase is Phase.ENDED

    @rule(up=st.booleans())
    def dtls_news(self, up: bool) -> None:
        if self.handshake:
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
    def ends_once_and_for_all(self) -> None:
        assert self.ends == (self.machine.phase is Phase.ENDED)
        assert (self.machine.end is None) == (self.ends == 0)
        if self.ends:
            assert self.machine.next_deadline() == math.inf

    @invariant()
    def never_tries_past_the_disconnected_timeout(self) -> None:
        if self.machine.phase is Phase.RECONNECTING:
            assert self.machine.next_deadline() <= self.lost_at + self.terms.reconnect_limit


TestAnyLife = AnyLife.TestCase
