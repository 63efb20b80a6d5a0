"""One VPN connection, alive: the shell around `Lifecycle`.

Entering it logs in and connects, leaving it logs off. What happens to sockets becomes a fact for the machine,
and what the machine answers is done here: `Dialer` opens tunnels, `Tunnel` and `DtlsChannel` carry them, an
`Adapter` stands at the inner end, `Network` is the outside world, `Journal` tells people. Outgoing packets
take DTLS when it is up and they fit, TLS otherwise, and wait in a bounded queue while there is neither. The
events are kept (the last thousand) and handed to `on_event` as they happen.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Self, TypeVar

import trio

from asa_emu.transport.stream import TlsStream
from asa_emu.wire.errors import DtlsError, ProtocolError
from asa_emu.wire.frames import MAX_SENT_PAYLOAD
from asa_emu.wire.headers import ConnectAnswer
from asa_emu.wire.timeline import Timeline
from client_emu.adapter import Adapter, AdapterFailed, UserAdapter
from client_emu.channel import BrokenPeer, Lost, Surroundings, ToldToEnd, Traffic
from client_emu.dial import Asker, Dialer, LoginFailed, OpenTunnel, Resolver, TokenRefused, resolve
from client_emu.dtls_channel import DtlsChannel
from client_emu.events import AdapterChanged, Error, Event
from client_emu.exchange import DialFailed, Silent
from client_emu.journal import NEW_PROFILE, NEWER, NO_PROFILE, TERMINATED, Journal, Message, Stage
from client_emu.kernel_adapter import KernelAdapter
from client_emu.lifecycle import Actions, Do, Emit, End, Lifecycle, Phase, Reach, Rebuild
from client_emu.login import Ask
from client_emu.network import Network
from client_emu.options import ClientOptions
from client_emu.profile import Profile, ProfileError
from client_emu.program_adapter import ProgramAdapter
from client_emu.terms import AdapterSettings, connected, negotiated, settings_of
from client_emu.trust import ServerNotTrusted
from client_emu.tunnel import Tunnel
from client_emu.update import newer_package, newer_profile

KEPT_EVENTS: Final = 1000
BACKLOG: Final = 256  # packets sent by the adapter while there is no tunnel

SomeEvent = TypeVar("SomeEvent", bound=Event)


class ConnectFailed(Exception):
    """No session came to be; the text is the reason of the `failed` event."""


class Connection:
    """A connection that mends what breaks."""

    def __init__(
        self,
        options: ClientOptions | Profile,
        *,
        timeline: Timeline | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_message: Callable[[Message], None] | None = None,
        ask: Asker | None = None,
        resolver: Resolver = resolve,
        **given: Any,
    ) -> None:
        """With a profile, to the first host of it, and `given` are further `ClientOptions`. Without
        `timeline` emulated time is the machine's. ValueError for a file that cannot be used.
        """
        if isinstance(options, Profile):
            options = ClientOptions.from_profile(options, **given)
        self.options = options
        self.network = Network(options.interfaces)
        self.lifecycle = Lifecycle(options.rules)
        self.journal = Journal(options.gateway.host, on_message)
        self.events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self.tls_traffic = Traffic()
        self.dtls_traffic = Traffic()
        self.dropped = 0
        """Outgoing packets lost to full queues, or too long for a frame."""
        self.handed_profile: bytes | None = None
        """The profile that the headend handed out at the login, unless it is the one that we have."""
        self.answer: ConnectAnswer | None = None
        self.token: str | None = options.token
        self.connected_at: float | None = None
        self.settings: AdapterSettings | None = None
        """What the adapter has; None before the first tunnel."""
        self.adapter: Adapter = UserAdapter(self.send_packet)
        if options.tun:
            self.adapter = KernelAdapter(options.tun, self.send_packet)
        elif options.program:
            self.adapter = ProgramAdapter(options.program, self.send_packet)
        self._timeline = timeline
        self._on_event = on_event
        self._ask = ask
        self._dialer = Dialer(options, self.network, resolver)
        self._tunnel: Tunnel | None = None
        self._dtls: DtlsChannel | None = None
        self._attempt_scope = trio.CancelScope()
        self._parked: list[TlsStream] = []
        self._backlog: deque[bytes] = deque(maxlen=BACKLOG)
        self._news = trio.lowlevel.ParkingLot()
        self._events_seen = self._events_total = 0

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        return self.lifecycle.phase

    @property
    def timeline(self) -> Timeline:
        """The line of emulated time; one's own begins with the machine's time, on a whole second."""
        if self._timeline is None:
            self._timeline = Timeline(trio.current_time(), float(int(time.time())))
        return self._timeline

    def now(self) -> float:
        """Emulated time."""
        return self.timeline.now(trio.current_time())

    # Life

    async def __aenter__(self) -> Self:
        """Log in and connect. Raises ConnectFailed, after emitting `failed`."""
        self._around = Surroundings(self.network, self.timeline, self.adapter.deliver, self.options.dpd)
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        try:
            self.journal.stage(Stage.CONTACTING if self.token is None else Stage.LOGGED_IN, self.now())
            self._do(self.lifecycle.begin(self.now(), has_token=self.token is not None))
            await self.wait_settled()
        except BaseException:
            await self._close()
            raise
        if self.lifecycle.end is not None and self.connected_at is None:
            await self._close()
            raise ConnectFailed(self.lifecycle.end.event.reason)
        self._nursery.start_soon(self._pace)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.disconnect()
        finally:
            await self._close()

    async def _close(self) -> None:
        self._drop_tunnel()
        for stream in self._parked:
            stream.abort()
        self._nursery.cancel_scope.cancel()
        try:
            # the body's own exception passes by the nursery, so that it is not wrapped into a group
            await self._nursery_manager.__aexit__(None, None, None)
        finally:
            with trio.CancelScope(shield=True):
                await self._dialer.aclose()
                await self.adapter.aclose()

    async def disconnect(self) -> None:
        """Log off: DISCONNECT to the headend, then close. Nothing happens when the connection has ended."""
        await self._log_off("disconnected by the user", 0)

    async def _log_off(self, reason: str, exit_code: int) -> None:
        if self.phase is not Phase.ENDED:
            self.journal.stage(Stage.DISCONNECTING, self.now())
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            await tunnel.farewell(reason)
        self._do(self.lifecycle.leave(reason, self.now(), exit_code=exit_code))

    async def wait_settled(self) -> None:
        """Wait until the session stands, or has failed to; for others than the one who enters the client."""
        while self.connected_at is None and self.lifecycle.end is None:
            await self._news.park()

    async def wait_ended(self) -> End:
        """Wait until the connection has ended, by whomever; how."""
        while self.lifecycle.end is None:
            await self._news.park()
        return self.lifecycle.end

    async def next_event(self, kind: type[SomeEvent]) -> SomeEvent:
        """The next event of this kind, skipping others; each call goes on where the last one stopped."""
        while True:
            self._events_seen = max(self._events_seen, self._events_total - len(self.events))
            while self._events_seen < self._events_total:
                event = self.events[self._events_seen - self._events_total]
                self._events_seen += 1
                if isinstance(event, kind):
                    return event
            await self._news.park()

    def send_packet(self, packet: bytes) -> None:
        """Send one IP packet into the tunnel; queued while there is none, dropped and counted beyond that."""
        if self._dtls is not None and self._dtls.send_packet(packet):
            return
        if len(packet) > MAX_SENT_PAYLOAD:
            self.dropped += 1
        elif self._tunnel is not None:
            self._tunnel.send_packet(packet)
        else:
            self.dropped += len(self._backlog) == BACKLOG
            self._backlog.append(packet)

    # What the machine says

    def _emit(self, event: Event) -> None:
        self.events.append(event)
        self._events_total += 1
        self.journal.tell(event, self.now())
        self._news.unpark_all()
        if self._on_event is not None:
            self._on_event(event)

    def _do(self, actions: Actions) -> None:
        for action in actions:
            match action:
                case Reach():
                    self._nursery.start_soon(self._reach, action.server)
                case Do.LOG_IN:
                    self._nursery.start_soon(self._log_in)
                case Do.ATTEMPT:
                    self._attempt_scope = trio.CancelScope()
                    self._nursery.start_soon(self._attempt, self._attempt_scope)
                case Do.DROP_ATTEMPT:
                    self._attempt_scope.cancel()
                case Do.ANNOUNCE:
                    self.connected_at = self.now()
                    assert self.settings is not None
                    assert self.answer is not None
                    cookie = self.token if self.options.show_cookie else None
                    self._emit(connected(self.settings, self.answer.banner, cookie))
                case Do.DROP_TUNNEL:
                    self._drop_tunnel()
                case Do.START_DTLS:
                    self._nursery.start_soon(self._run_dtls)
                case Do.DROP_DTLS:
                    self._drop_dtls()
                case Emit():
                    self._emit(action.event)
                case End():
                    self._attempt_scope.cancel()
                    self._drop_dtls()
                    self._drop_tunnel()
                    self._emit(action.event)
        self._news.unpark_all()

    async def _pace(self) -> None:
        while self.phase is not Phase.ENDED:
            deadline = self.lifecycle.next_deadline()
            with trio.move_on_at(self.timeline.run_at(deadline)) as scope:
                await self._news.park()
            if scope.cancelled_caught:
                self._do(self.lifecycle.on_deadline(max(self.now(), deadline)))

    # Reaching

    async def _reach(self, server: int) -> None:
        try:
            await self._dialer.reach(server)
        except DialFailed as error:
            self._do(self.lifecycle.unanswered(str(error), self.now(), silent=isinstance(error, Silent)))
        except ServerNotTrusted as error:
            self._do(self.lifecycle.refused(str(error), self.now()))
        else:
            self._do(self.lifecycle.answered(self.now()))

    async def _log_in(self) -> None:
        try:
            self.token = await self._dialer.log_in(self._ask)
        except (DialFailed, LoginFailed, ServerNotTrusted, ProtocolError) as error:
            self._do(self.lifecycle.refused(str(error), self.now()))
            return
        self.journal.stage(Stage.LOGGED_IN, self.now())
        if self._dialer.package_base is not None and self.options.preference("AutoUpdate") == "true":
            # what cannot be told is no reason against a tunnel
            with suppress(DialFailed, TokenRefused, ServerNotTrusted, ProtocolError):
                if newer := await newer_package(self._dialer, self.token, self.options.version):
                    self.journal.say("notice", NEWER.format(version=newer.version), self.now())
        try:
            self.handed_profile = await newer_profile(self._dialer, self.token, self.options.profile)
        except (DialFailed, TokenRefused, ServerNotTrusted, ProtocolError, ProfileError) as error:
            self.journal.say("warning", NO_PROFILE.format(reason=error), self.now())
        else:
            if self.handed_profile is not None:
                self.journal.say("notice", NEW_PROFILE, self.now())
        self._do(self.lifecycle.logged_in(self.now()))

    async def _attempt(self, scope: trio.CancelScope) -> None:
        assert self.token is not None
        fact: Callable[[float], Actions]
        opened = None
        try:
            with scope:
                try:
                    await self.adapter.reroute()
                    opened = await self._dialer.open_tunnel(self.token, self.answer)
                    await self._prepare(opened)
                    fact = partial(self._adopt, opened)
                except TokenRefused as error:
                    fact = partial(self.lifecycle.session_gone, str(error))
                except ProtocolError as error:
                    fact = partial(self.lifecycle.peer_broke_protocol, str(error))
                except (DialFailed, ServerNotTrusted, LoginFailed, AdapterFailed) as error:
                    silent = isinstance(error, Silent)
                    fact = partial(self.lifecycle.attempt_failed, str(error), silent=silent)
                    if opened is not None and self.answer is None:
                        # nobody comes back for it: without a word it would be held until its timer runs out
                        await Tunnel(opened, self._around, self.tls_traffic).farewell(str(error))
                if not scope.cancel_called:
                    self._do(fact(self.now()))
        finally:
            if opened is not None and (self._tunnel is None or self._tunnel.opened is not opened):
                opened.stream.abort()

    async def _prepare(self, opened: OpenTunnel) -> None:
        """Let the adapter take what is new, before the tunnel is used."""
        rebuild, first = self.lifecycle.rebuild_for(opened.terms), self.answer is None
        if rebuild is Rebuild.NOTHING:
            return
        restart = rebuild is Rebuild.ADAPTER and not first
        if first:
            await self._show_banner(opened.answer.banner or self._dialer.banner)
            self.journal.stage(Stage.CONFIGURING, self.now())
        elif restart and self.settings is not None:
            self._emit(AdapterChanged("down", self.settings.mtu))
        mtu, ipv6 = self.options.mtu, self.options.ipv6
        self.settings = settings_of(opened.terms, opened.answer, opened.peer[0], mtu=mtu, ipv6=ipv6)
        try:
            await self.adapter.configure(self.settings, restart=restart)
        except AdapterFailed as error:
            if first:
                raise
            self._emit(Error(str(error)))
        if first:
            self._nursery.start_soon(self._run_adapter)
            return
        for change in ("up", "routes") if restart else ("routes",):
            self._emit(AdapterChanged(change, self.settings.mtu))

    async def _run_adapter(self) -> None:
        try:
            await self.adapter.run()
        except AdapterFailed as error:
            await self._log_off(str(error), 1)

    async def _show_banner(self, banner: str) -> None:
        if banner and self.options.ask_all and self._ask is not None:
            self.journal.say("notice", "Please respond to banner.", self.now())
            question = Ask("accept? [y/n]:", False, "the banner was not accepted", banner, "y")
            if not (await self._ask(question) or "y").lower().startswith("y"):
                raise LoginFailed(question.refusal)

    # Tunnels

    def _adopt(self, opened: OpenTunnel, now: float) -> Actions:
        actions = self.lifecycle.opened(opened.terms, now)
        if not actions or self.phase is not Phase.CONNECTED:
            return actions
        self.answer = opened.answer
        self.journal.negotiated(negotiated(opened.terms, opened.answer), now)
        self._tunnel = Tunnel(opened, self._around, self.tls_traffic)
        self._nursery.start_soon(self._run_tunnel, self._tunnel)
        while self._parked:
            self._parked.pop().abort()
        while self._backlog:
            self._tunnel.send_packet(self._backlog.popleft())
        return actions

    async def _run_tunnel(self, tunnel: Tunnel) -> None:
        outcome = await tunnel.run()
        self.dropped += tunnel.dropped
        if tunnel is not self._tunnel:
            return
        match outcome:
            case Lost(planned=True):
                self._do(self.lifecycle.renew(self.now()))
            case Lost():
                self._do(self.lifecycle.tunnel_lost(self.now()))
            case ToldToEnd():
                self._tunnel = None
                await tunnel.farewell("server request")
                self.journal.say("notice", TERMINATED.format(reason=outcome.reason), self.now())
                self._do(self.lifecycle.told_to_end(outcome.reason, self.now()))
            case BrokenPeer():
                self._do(self.lifecycle.peer_broke_protocol(outcome.reason, self.now()))

    async def _run_dtls(self) -> None:
        opened = self._tunnel.opened if self._tunnel is not None else None
        if opened is None or opened.answer.dtls is None:
            return
        try:
            channel = DtlsChannel(opened, opened.answer.dtls, self._around, self.dtls_traffic)
        except (DtlsError, OSError):
            self._do(self.lifecycle.dtls_lost(self.now()))
            return
        self._dtls = channel
        outcome = await channel.run(lambda: self._do(self.lifecycle.dtls_up(channel.cipher, self.now())))
        if channel is self._dtls:
            self._dtls = None
            if outcome is not None:
                self._do(self.lifecycle.dtls_lost(self.now()))

    def _drop_tunnel(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is None:
            return
        tunnel.abandon()
        if self.network.carries(tunnel.interface):
            self._nursery.start_soon(tunnel.stream.aclose)
        else:
            # a pulled cable carries no reset: the headend must find out by itself
            self._parked.append(tunnel.stream)

    def _drop_dtls(self) -> None:
        channel, self._dtls = self._dtls, None
        if channel is not None:
            channel.abandon()
