"""A VPN client as an object: entering it logs in, leaving it logs off, and between them it mends what breaks.

    async with Client(options) as vpn:
        await vpn.ping("10.20.30.1")

The client is the shell around `Lifecycle`: it turns what happens to sockets into facts for the machine and
does what the machine answers. `Dialer` opens tunnels, `Tunnel` and `DtlsChannel` carry them, an `Adapter`
stands at the inner end, `Network` is the outside world, `Journal` tells people. Outgoing packets take DTLS
when it is up and they fit, TLS otherwise, and wait in a bounded queue while there is neither. The events are
kept (the last thousand) and handed to `on_event` as they happen.
"""

from __future__ import annotations

import ipaddress
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio

from asa_emu.transport.stream import TlsStream
from asa_emu.wire.errors import DtlsError, ProtocolError
from asa_emu.wire.headers import ConnectAnswer
from asa_emu.wire.timeline import Timeline
from client_emu import adapter as adapters
from client_emu.dial import (
    Asker,
    Dialer,
    DialFailed,
    LoginFailed,
    OpenTunnel,
    Resolver,
    Silent,
    TokenRefused,
    resolve,
)
from client_emu.dtls_channel import DtlsChannel
from client_emu.events import AdapterChanged, Connected, Error, Event
from client_emu.journal import NEWER, TERMINATED, Journal, Message, Stage
from client_emu.kernel_adapter import KernelAdapter
from client_emu.lifecycle import Actions, Do, Emit, End, Lifecycle, Phase, Reach, Rebuild, Terms
from client_emu.login import Ask
from client_emu.network import Network
from client_emu.options import ClientOptions
from client_emu.profile import Profile
from client_emu.program_adapter import ProgramAdapter
from client_emu.trust import ServerNotTrusted
from client_emu.tunnel import BrokenPeer, Lost, Surroundings, ToldToEnd, Traffic, Tunnel
from client_emu.update import newer_package

KEPT_EVENTS: Final = 1000
EVERYTHING4: Final = ipaddress.ip_network("0.0.0.0/0")
EVERYTHING6: Final = ipaddress.ip_network("::/0")
BACKLOG: Final = 256  # packets sent by the adapter while there is no tunnel

SomeEvent = TypeVar("SomeEvent", bound=Event)


class ConnectFailed(Exception):
    """No session came to be; the text is the reason of the `failed` event."""


class Client:
    """One VPN connection. Enter it to connect; leaving it disconnects."""

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
        """With a profile it connects to the first host of it, and `given` are further `ClientOptions`.

        Without `timeline` emulated time is the machine's; `resolver` finds the addresses of names. ValueError
        for a file that cannot be used.
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
        """Outgoing packets lost to full queues."""
        self.answer: ConnectAnswer | None = None
        self.token: str | None = options.token
        self.connected_at: float | None = None
        self.settings: adapters.AdapterSettings | None = None
        """What the adapter has; None before the first tunnel."""
        self.adapter = self._make_adapter()
        self._timeline = timeline
        self._on_event = on_event
        self._ask = ask
        self._dialer = Dialer(options, self.network, resolver)
        self._tunnel: Tunnel | None = None
        self._dtls: DtlsChannel | None = None
        self._handshaking: DtlsChannel | None = None
        self._attempt_scope = trio.CancelScope()
        self._parked: list[TlsStream] = []
        self._backlog: deque[bytes] = deque(maxlen=BACKLOG)
        self._settled = trio.Event()
        self._ended = trio.Event()
        self._poke = trio.Event()
        self._news = trio.Event()
        self._events_seen = self._events_total = 0

    def _make_adapter(self) -> adapters.Adapter:
        if self.options.tun:
            return KernelAdapter(self.options.tun, self.send_packet)
        if self.options.program:
            return ProgramAdapter(self.options.program, self.send_packet)
        return adapters.UserAdapter(self.send_packet)

    # Facts

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        return self.lifecycle.phase

    @property
    def ip4(self) -> str | None:
        """The IPv4 address inside the tunnel."""
        return str(self.settings.ip4.ip) if self.settings and self.settings.ip4 else None

    @property
    def ip6(self) -> str | None:
        """The IPv6 address inside the tunnel."""
        return str(self.settings.ip6.ip) if self.settings and self.settings.ip6 else None

    @property
    def mtu(self) -> int:
        """The largest packet inside the tunnel, bytes; 0 before the first one."""
        return self.settings.mtu if self.settings is not None else 0

    @property
    def routes(self) -> tuple[str, ...]:
        """What goes into the tunnel, CIDR; the default routes for a full tunnel."""
        return tuple(str(route) for route in self.settings.routes) if self.settings is not None else ()

    @property
    def dtls_cipher(self) -> str | None:
        """Version and suite of the DTLS tunnel, such as `DTLSv1.2 PSK-AES256-GCM-SHA384`; None
        while it is down.
        """
        return self._dtls.cipher if self._dtls is not None else None

    @property
    def tls_cipher(self) -> str | None:
        """Version and suite of the TLS tunnel; None while it is down."""
        engine = self._tunnel.stream.engine if self._tunnel is not None else None
        return f"{engine.version} {engine.cipher_name}" if engine is not None else None

    @property
    def tcp_source(self) -> tuple[str, int] | None:
        """Our address and port of the TLS tunnel; None while it is down."""
        return self._tunnel.stream.socket.getsockname()[:2] if self._tunnel is not None else None

    @property
    def udp_source_port(self) -> int | None:
        """Our port of the DTLS tunnel; None while it is down."""
        return self._dtls.local_port if self._dtls is not None else None

    @property
    def server(self) -> str | None:
        """The headend's address; None while the TLS tunnel is down."""
        return str(self._tunnel.stream.socket.getpeername()[0]) if self._tunnel is not None else None

    def now(self) -> float:
        """Emulated time."""
        return self.timeline.now(trio.current_time())

    @property
    def timeline(self) -> Timeline:
        """The line of emulated time; one's own begins with the machine's time, on a whole second."""
        if self._timeline is None:
            self._timeline = Timeline(trio.current_time(), float(int(time.time())))
        return self._timeline

    # Life

    async def __aenter__(self) -> Self:
        """Log in and connect. Raises ConnectFailed, after emitting `failed`."""
        self._around = Surroundings(self.network, self.timeline, self.adapter.deliver, self.options.dpd)
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        try:
            self.journal.stage(Stage.CONTACTING if self.token is None else Stage.LOGGED_IN, self.now())
            self._do(self.lifecycle.begin(self.now(), has_token=self.token is not None))
            await self._settled.wait()
        except BaseException:
            await self._close()
            raise
        if self.lifecycle.end is not None and self.connected_at is None:
            await self._close()
            raise ConnectFailed(self.lifecycle.end.event.reason)
        self._nursery.start_soon(self._pace)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.disconnect()
        finally:
            await self._close()

    async def _close(self) -> None:
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

    async def wait_settled(self) -> None:
        """Wait until the session stands, or has failed to; for others than the one who enters the client."""
        await self._settled.wait()

    async def wait_ended(self) -> End:
        """Wait until the connection has ended, by whomever; how."""
        await self._ended.wait()
        assert self.lifecycle.end is not None
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
            await self._news.wait()

    # Orders

    async def disconnect(self) -> None:
        """Log off: DISCONNECT to the headend, then close. Nothing happens when the connection has ended."""
        if self.phase is not Phase.ENDED:
            self.journal.stage(Stage.DISCONNECTING, self.now())
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            await tunnel.farewell("disconnected by the user")
        self._do(self.lifecycle.leave("disconnected by the user", self.now()))

    async def detach(self) -> None:
        """Leave without logging off: the session can be resumed with the token."""
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.abandon()
            await tunnel.stream.aclose()
        self._do(self.lifecycle.leave("detached", self.now()))

    def reconnect(self, source_address: str | None = None) -> None:
        """Replace the TLS tunnel now, over a network that works; with an address, over the radio instead of
        the present interface, as a laptop that leaves its desk.
        """
        if source_address is not None:
            self.network.unplug(self.network.in_use.name)
        if not self.network.carries(self.network.in_use):
            self._drop_tunnel()
        self.network.silence(False)
        if source_address is not None:
            self.network.plug("wireless", source_address)
            self._do(self.lifecycle.network_lost(self.now()))
        else:
            self._do(self.lifecycle.renew(self.now()))

    def suspend(self) -> None:
        """The machine goes to sleep: nothing is sent, nothing is read, no timer runs. ValueError while there
        is no session.
        """
        if self.phase not in (Phase.CONNECTED, Phase.RECONNECTING):
            raise ValueError("there is no session to suspend")
        self.network.sleep(True)
        self._do(self.lifecycle.suspend(self.now()))

    def resume(self) -> None:
        """It wakes up, and does what platform, version and profile make of that."""
        self.network.sleep(False)
        self._do(self.lifecycle.resume(self.now()))

    def unplug(self, name: str | None = None) -> None:
        """Unplug an interface, the one in use by default. ValueError when there is none of that name."""
        name = name or self.network.in_use.name
        if name not in self.network.interfaces:
            raise ValueError(f"no interface {name[:64]!r}; there are {', '.join(self.network.interfaces)}")
        if self.network.unplug(name) is self.network.in_use:
            self._do(self.lifecycle.network_lost(self.now()))

    def plug(self, name: str | None = None, address: str | None = None, mtu: int | None = None) -> None:
        """Plug an interface in, the last used by default; or give one another local address or MTU, which is
        a loss of everything over it (S53, S119). ValueError for an address that is none.
        """
        name = name or self.network.in_use.name
        if address is not None:
            ipaddress.ip_address(address)
        before = self.network.interfaces.get(name)
        facts = (before.plugged, before.address, before.mtu) if before is not None else (False, None, 0)
        after = self.network.plug(name, address, mtu)
        if after is self.network.in_use and facts[0] and facts[1:] != (after.address, after.mtu):
            self._do(self.lifecycle.network_lost(self.now()))
        else:
            self._do(self.lifecycle.network_found(self.now()))

    def lose_cable(self) -> None:
        """Everything stops without a word, in both directions, until `restore_cable` or `reconnect`."""
        self.network.silence(True)

    def restore_cable(self) -> None:
        """Let everything through again: the old connection goes on if neither end has given it up."""
        self.network.silence(False)

    def drop_tcp(self) -> None:
        """Kill the TCP connection under the tunnel with a reset, as a firewall or a crash does."""
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.abandon()
            tunnel.stream.abort()
            self._do(self.lifecycle.tunnel_lost(self.now()))

    def block_udp(self) -> None:
        """Lose every datagram from now on, silently."""
        self.network.udp_blocked = True

    def unblock_udp(self) -> None:
        """Let datagrams through again."""
        self.network.udp_blocked = False

    # Packets

    def send_packet(self, packet: bytes) -> None:
        """Send one IP packet into the tunnel; queued while there is none, dropped and counted beyond that."""
        if self._dtls is not None and self._dtls.send_packet(packet):
            return
        if self._tunnel is not None:
            self._tunnel.send_packet(packet)
            return
        if len(self._backlog) == BACKLOG:
            self.dropped += 1
        self._backlog.append(packet)

    async def ping(
        self, destination: str, count: int = 1, limit: float = 2.0, size: int = 56
    ) -> adapters.PingResult:
        """Ping through the tunnel; see `UserAdapter.ping`. ValueError with another adapter."""
        return await self._user_adapter().ping(destination, count, limit, size)

    async def udp(self, destination: str, port: int, payload: bytes, limit: float = 2.0) -> bytes | None:
        """Send a UDP datagram through the tunnel and wait for the answer; see `UserAdapter.udp`."""
        return await self._user_adapter().udp(destination, port, payload, limit)

    async def tcp(
        self, destination: str, port: int, payload: bytes = b"", limit: float = 2.0
    ) -> bytes | None:
        """Open a TCP connection through the tunnel and send something; see `UserAdapter.tcp`."""
        return await self._user_adapter().tcp(destination, port, payload, limit)

    def _user_adapter(self) -> adapters.UserAdapter:
        if not isinstance(self.adapter, adapters.UserAdapter):
            raise ValueError("probes need the adapter in user space; with another one, use its own tools")
        return self.adapter

    # The shell around the lifecycle

    def _emit(self, event: Event) -> None:
        self.events.append(event)
        self._events_total += 1
        self.journal.tell(event, self.now())
        self._news.set()
        self._news = trio.Event()
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
                    self._emit(self._connected())
                    self._settled.set()
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
                    self._ended.set()
                    self._settled.set()
        self._poke.set()

    async def _pace(self) -> None:
        while self.phase is not Phase.ENDED:
            self._poke = trio.Event()
            deadline = self.lifecycle.next_deadline()
            with trio.move_on_at(self.timeline.run_at(deadline)) as scope:
                await self._poke.wait()
            if scope.cancelled_caught:
                self._do(self.lifecycle.on_deadline(max(self.now(), deadline)))

    async def _reach(self, server: int) -> None:
        try:
            await self._dialer.reach(server)
        except DialFailed as error:
            silent = isinstance(error, Silent)
            self._do(self.lifecycle.unanswered(str(error), self.now(), silent=silent))
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
            try:
                newer = await newer_package(self._dialer, self.token, self.options.version)
            except (DialFailed, TokenRefused, ServerNotTrusted, ProtocolError):
                newer = None  # what cannot be told is no reason against a tunnel
            if newer is not None:
                self.journal.say("notice", NEWER.format(version=newer.version), self.now())
        self._do(self.lifecycle.logged_in(self.now()))

    async def _attempt(self, scope: trio.CancelScope) -> None:
        assert self.token is not None
        fact: Callable[[float], Actions]
        opened = None
        with scope:
            try:
                opened = await self._dialer.open_tunnel(self.token, self.answer)
                await self._prepare(opened)
                fact = partial(self._adopt, opened)
            except TokenRefused as error:
                fact = partial(self.lifecycle.session_gone, str(error))
            except ProtocolError as error:
                fact = partial(self.lifecycle.peer_broke_protocol, str(error))
            except (DialFailed, ServerNotTrusted, LoginFailed, adapters.AdapterFailed) as error:
                silent = isinstance(error, Silent)
                fact = partial(self.lifecycle.attempt_failed, str(error), silent=silent)
            if not scope.cancel_called:
                self._do(fact(self.now()))
        if opened is not None and (self._tunnel is None or self._tunnel.stream is not opened.stream):
            opened.stream.abort()

    async def _prepare(self, opened: OpenTunnel) -> None:
        """Let the adapter take what is new, before the tunnel is used."""
        rebuild, first = self.lifecycle.rebuild_for(_terms(opened)), self.answer is None
        if rebuild is Rebuild.NOTHING:
            return
        if first:
            await self._show_banner(opened.answer.banner or self._dialer.banner)
            self.journal.stage(Stage.CONFIGURING, self.now())
        restart = rebuild is Rebuild.ADAPTER and not first
        if restart:
            self._emit(AdapterChanged("down", self.mtu))
        self.settings = _settings(opened, self.options)
        try:
            await self.adapter.configure(self.settings, restart=restart)
        except adapters.AdapterFailed as error:
            if first:
                raise
            self._emit(Error(str(error)))
        if first:
            self._nursery.start_soon(self.adapter.run)
            return
        if restart:
            self._emit(AdapterChanged("up", self.mtu))
        self._emit(AdapterChanged("routes", self.mtu))

    async def _show_banner(self, banner: str) -> None:
        if banner and self.options.ask_all and self._ask is not None:
            self.journal.say("notice", "Please respond to banner.", self.now())
            question = Ask("accept? [y/n]:", False, "the banner was not accepted", banner, "y")
            if not ((await self._ask(question)) or "y").lower().startswith("y"):
                raise LoginFailed(question.refusal)

    def _adopt(self, opened: OpenTunnel, now: float) -> Actions:
        actions = self.lifecycle.opened(_terms(opened), now)
        if not actions or self.phase is not Phase.CONNECTED:
            return actions
        self.answer = opened.answer
        self.journal.negotiated(_negotiated(opened), now)
        self._tunnel = Tunnel(opened, self._around, self.tls_traffic)
        self._nursery.start_soon(self._run_tunnel, self._tunnel)
        for stream in self._parked:
            stream.abort()
        self._parked.clear()
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
            case None:
                pass

    async def _run_dtls(self) -> None:
        tunnel = self._tunnel
        if tunnel is None or tunnel.answer.dtls is None:
            return
        try:
            channel = DtlsChannel(tunnel, tunnel.answer.dtls, self._around, self.dtls_traffic)
        except (DtlsError, OSError):
            self._do(self.lifecycle.dtls_lost(self.now()))
            return
        self._handshaking = channel

        def on_up() -> None:
            self._handshaking, self._dtls = None, channel
            self._do(self.lifecycle.dtls_up(channel.cipher, self.now()))

        reason = await channel.run(on_up)
        if channel is self._dtls or channel is self._handshaking:
            self._dtls = self._handshaking = None
            if reason is not None:
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
        for channel in (self._dtls, self._handshaking):
            if channel is not None:
                channel.abandon()
        self._dtls = self._handshaking = None

    def _connected(self) -> Connected:
        settings = self.settings
        assert settings is not None
        return Connected(
            ip4=self.ip4,
            ip6=self.ip6,
            mtu=settings.mtu,
            routes=self.routes,
            dns=tuple(str(server) for server in settings.dns),
            domain=settings.domain or None,
            banner=(self.answer.banner if self.answer is not None else "") or None,
            cookie=self.token if self.options.show_cookie else None,
        )


def _settings(opened: OpenTunnel, options: ClientOptions) -> adapters.AdapterSettings:
    answer = opened.answer
    ip6 = opened.ip6 if options.ipv6 else None
    # each family has its own split policy: what is not split goes into the tunnel whole
    included: list[adapters.Network] = [*answer.split_include, *answer.split_include_ip6]
    if not answer.split_include and opened.ip4 is not None:
        included.insert(0, EVERYTHING4)
    if not answer.split_include_ip6 and ip6 is not None:
        included.append(EVERYTHING6)
    return adapters.AdapterSettings(
        ip4=opened.ip4,
        ip6=ip6,
        mtu=min(answer.mtu, options.mtu or answer.mtu),
        routes=tuple(included),
        excluded=(*answer.split_exclude, *answer.split_exclude_ip6),
        dns=answer.dns,
        domain=answer.default_domain,
        headend=ipaddress.ip_address(opened.stream.socket.getpeername()[0]),
    )


def _terms(opened: OpenTunnel) -> Terms:
    answer = opened.answer
    return Terms(
        ip4=opened.ip4,
        ip6=opened.ip6,
        mtu=answer.mtu,
        idle_timeout=answer.idle_timeout,
        session_timeout=answer.session_timeout,
        session_timeout_left=answer.session_timeout_remaining,
        disconnected_timeout=answer.disconnected_timeout,
        dtls_offered=answer.dtls is not None,
    )


def _negotiated(opened: OpenTunnel) -> dict[str, str]:
    """The settings by name, as the event viewer lists them."""
    answer, terms = opened.answer, _terms(opened)
    seconds = {
        "Idle Timeout": answer.idle_timeout,
        "Session Timeout": answer.session_timeout,
        "Disconnected Timeout": terms.reconnect_limit,
        "Keepalive": answer.keepalive,
        "DPD": answer.dpd,
    }
    listed = {name: f"{value:g} seconds" if value else "none" for name, value in seconds.items()}
    return {"IP Address": str(terms.ip4 or terms.ip6), "MTU": str(answer.mtu), **listed}
