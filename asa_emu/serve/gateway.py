"""The running headend: what its shells share, and the one place that turns deadlines and events into I/O.

    sockets -> dispatcher -> connection / dtls -> headend (pure) -> events -> `_on_event` closes what is over
                                                                -> deadlines -> `keep_time` sends what is due

There are two time lines. `run_now` is trio's clock: handshakes, request limits, DTLS retransmission, filed in
`limits`. `now` is emulated time, which the session database lives by. `keep_time` sleeps until the earlier of
the two and is woken when a deadline moves forward, which `after_batch` notices by comparing two numbers.
"""

from __future__ import annotations

import math
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

import trio

from asa_emu.dataplane.hub import Hub
from asa_emu.ha.journal import Journal
from asa_emu.headend.headend import Headend
from asa_emu.serve.dispatcher import Dispatcher
from asa_emu.serve.dtls import DtlsEndpoint, DtlsTunnel
from asa_emu.serve.gate import Gate
from asa_emu.serve.tunnels import CstpTunnel, SessionLink
from asa_emu.session.events import SessionEnded, SessionEvent, TunnelDown
from asa_emu.session.model import DownReason, Session
from asa_emu.transport.contexts import KeylogSink
from asa_emu.wire.agenda import Agenda
from asa_emu.wire.liveness import Action
from asa_emu.wire.timeline import Timeline

_SHELLS = (CstpTunnel, DtlsTunnel)


class Limited(Protocol):
    """Something with an absolute limit on run time."""

    def next_deadline(self) -> float:
        """The instant of run time, inf for none."""

    def on_deadline(self) -> None:
        """The instant has come."""


class Flushable(Protocol):
    """A tunnel that was given packets in this batch."""

    def flush(self, now: float) -> None:
        """Send them; `now` is the emulated time of their sending."""


class Gateway:
    """Everything that the endpoints share."""

    def __init__(self, headend: Headend, hub: Hub, timeline: Timeline) -> None:
        self.headend = headend
        self.hub = hub
        self.timeline = timeline
        self.dtls: DtlsEndpoint | None = None
        """None when UDP is not served."""
        self.keylog: KeylogSink | None = None
        self.limits: Agenda[Limited] = Agenda()
        self.dispatcher = Dispatcher(self.after_batch)
        self.dirty: list[Flushable] = []
        self.links: dict[int, SessionLink] = {}
        """What of a session lives in this process, by session index."""
        self.gate: Gate | None = None
        """Of a unit of a failover pair: whether it may act now."""
        self.journal: Journal | None = None
        """What such a unit has not told its mate yet."""
        self._sleeping_until = -math.inf
        self._wake = trio.Event()
        headend.db.on_link_down = self._link_down
        headend.db.subscribe(self._on_event)

    @property
    def acts(self) -> bool:
        """Whether this headend may do anything on its own now: not as a standby."""
        return self.gate is None or self.gate.is_open

    def run_now(self) -> float:
        """Run time in seconds."""
        return trio.current_time()

    def now(self) -> float:
        """Emulated Unix time in seconds."""
        return self.timeline.now(trio.current_time())

    def limit(self, item: Limited) -> None:
        """Watch an item's absolute limit until it is discarded from `limits`."""
        self.limits.add(item, item.next_deadline())

    def after_batch(self) -> None:
        """Flush what got packets, notice deadlines that moved forward; for after any call of the core."""
        if self.dirty and self.acts:
            dirty, self.dirty = self.dirty, []
            now = self.now()
            for tunnel in dirty:
                tunnel.flush(now)
        if self._next_run_deadline() < self._sleeping_until:
            self._wake.set()

    def _next_run_deadline(self) -> float:
        if not self.acts:
            return math.inf
        return min(self.limits.next_deadline(), self.timeline.run_at(self.headend.db.next_deadline()))

    async def safe(self) -> bool:
        """Wait until the mate knows all that has happened; False when this unit stands by meanwhile."""
        if self.journal is None:
            return True
        outcome: list[bool] = []
        known = trio.Event()

        def tell(safe: bool) -> None:
            outcome.append(safe)
            known.set()

        self.journal.wait_for_all(tell)
        await known.wait()
        return outcome[0]

    def let_go(self) -> None:
        """Nothing of any session lives in this process any more."""
        for link in self.links.values():
            link.detach()
        self.links.clear()
        self.dirty.clear()

    def link_for(self, session: Session, mtu: int) -> SessionLink:
        """The session's link, with the MTU of its newest CONNECT; its addresses lead to it from now on."""
        link = self.links.get(session.index)
        if link is None:
            link = self.links[session.index] = SessionLink(self, session, mtu)
        port = link.port
        port.mtu = mtu
        port.source4 = IPv4Address(session.ip4).packed if session.ip4 else b""
        port.source6 = IPv6Address(session.ip6).packed if session.ip6 else b""
        self.hub.attach(port)
        return link

    def close_dtls(self, link: SessionLink, now: float) -> None:
        """The session's DTLS tunnel is over, because a newer CONNECT brings another."""
        if link.dtls is not None and link.dtls.tunnel is not None:
            self.headend.db.tunnel_lost(link.dtls.tunnel, DownReason.REPLACED, now)

    def forget_dtls_id(self, link: SessionLink) -> None:
        """No DTLS handshake is expected for this session any more."""
        if self.dtls is not None:
            self.dtls.withdraw(link)

    def write_keylog(self, line: str) -> None:
        """Add a line to the key log, when there is one."""
        if self.keylog is not None and line:
            self.keylog(line.encode())

    def wake(self) -> None:
        """The time line was bent, or the gate opened: look at all deadlines again."""
        self._wake.set()

    def bend_time(self, *, advance: float = 0.0, rate: float | None = None) -> None:
        """Jump ahead by emulated seconds, then go on at another rate; what is due happens at once."""
        self.timeline.advance(advance, self.run_now())
        if rate is not None:
            self.timeline.set_rate(rate, self.run_now())
        self.expire()
        self.wake()

    async def keep_time(self) -> None:
        """Sleep from deadline to deadline until cancelled."""
        while True:
            self._wake = trio.Event()
            self._sleeping_until = self._next_run_deadline()
            with trio.move_on_at(self._sleeping_until):
                await self._wake.wait()
            self._sleeping_until = -math.inf
            self.expire()
            await trio.lowlevel.checkpoint()

    def expire(self) -> None:
        """Everything that is due by now, on both time lines; nothing while others act in our place."""
        if not self.acts:
            return
        run_now = self.run_now()
        for item in self.limits.pop_due(run_now):
            item.on_deadline()
            self.limits.touch(item)
        db = self.headend.db
        # a deadline that went through the time line and back may read a hair early
        now = self.timeline.now(run_now)
        due = db.next_deadline()
        if now < due <= now + 1e-6:
            now = due
        for tunnel, action in db.on_deadline(now):
            shell = tunnel.link
            if not isinstance(shell, _SHELLS):
                continue
            if action is Action.SEND_DPD:
                shell.send_dpd()
            elif action is Action.SEND_KEEPALIVE:
                shell.send_keepalive()
        self.after_batch()

    def _link_down(self, shell: object, event: TunnelDown) -> None:
        if isinstance(shell, _SHELLS):
            shell.went_down(event)

    def _on_event(self, event: SessionEvent) -> None:
        if isinstance(event, SessionEnded):
            link = self.links.pop(event.index, None)
            if link is not None:
                link.detach()
