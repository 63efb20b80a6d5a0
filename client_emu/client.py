"""A VPN client as an object: entering it logs in, leaving it logs off, and between them it mends what breaks.

    async with Client(options) as vpn:
        await vpn.ping("10.20.30.1")

The client is the shell around `Lifecycle`: it turns what happens to sockets into facts for the machine and
does what the machine answers. `Dialer` opens tunnels, `Tunnel` and `DtlsChannel` carry them, an `Adapter`
stands at the inner end. Outgoing packets take DTLS when it is up and they fit, TLS otherwise, and wait in a
bounded queue while there is neither. The events are kept (the last thousand) and handed to `on_event` as they
happen.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self, TypeVar

import trio

from asa_emu.transport.stream import TlsStream
from asa_emu.wire.errors import DtlsError, ProtocolError
from asa_emu.wire.headers import ConnectAnswer
from asa_emu.wire.timeline import Timeline
from client_emu import adapter as adapters
from client_emu.dial import Asker, Dialer, DialFailed, LoginFailed, OpenTunnel, TokenRefused
from client_emu.dtls_channel import DtlsChannel
from client_emu.events import Connected, Error, Event, Failed
from client_emu.kernel_adapter import KernelAdapter
from client_emu.lifecycle import (
    Action,
    Attempt,
    DropDtls,
    DropTunnel,
    Emit,
    End,
    Lifecycle,
    Phase,
    StartDtls,
    Terms,
)
from client_emu.network import Network
from client_emu.options import ClientOptions
from client_emu.trust import ServerNotTrusted
from client_emu.tunnel import BrokenPeer, Lost, ToldToEnd, Traffic, Tunnel

KEPT_EVENTS: Final = 1000
BACKLOG: Final = 256  # packets sent by the adapter while there is no tunnel

SomeEvent = TypeVar("SomeEvent", bound=Event)


class ConnectFailed(Exception):
    """No session came to be; the text is the reason of the `failed` event."""


class Client:
    """One VPN connection. Enter it to connect; leaving it disconnects."""

    _settings: adapters.AdapterSettings

    def __init__(
        self,
        options: ClientOptions,
        *,
        timeline: Timeline | None = None,
        on_event: Callable[[Event], None] | None = None,
        ask: Asker | None = None,
    ) -> None:
        self.options = options
        self.network = Network(options.source_address)
        self.lifecycle = Lifecycle()
        self.events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self.tls_traffic = Traffic()
        self.dtls_traffic = Traffic()
        self.dropped = 0
        """Outgoing packets lost to full queues."""
        self.answer: ConnectAnswer | None = None
        self.token: str | None = options.token
        self.adapter: adapters.Adapter = (
            KernelAdapter(options.tun, self.send_packet)
            if options.tun
            else adapters.UserAdapter(self.send_packet)
        )
        self._timeline = timeline
        self._on_event = on_event
        self._ask = ask
        self._dialer = Dialer(options, self.network)
        self._tunnel: Tunnel | None = None
        self._dtls: DtlsChannel | None = None
        self._handshaking: DtlsChannel | None = None
        self._parked: list[TlsStream] = []
        self._backlog: deque[bytes] = deque(maxlen=BACKLOG)
        self._ended = trio.Event()
        self._poke = trio.Event()
        self._news = trio.Event()
        self._events_seen = self._events_total = 0

    # Facts

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        return self.lifecycle.phase

    @property
    def ip4(self) -> str | None:
        """The IPv4 address inside the tunnel."""
        return None if self._settings.ip4 is None else str(self._settings.ip4.ip)

    @property
    def ip6(self) -> str | None:
        """The IPv6 address inside the tunnel."""
        return None if self._settings.ip6 is None else str(self._settings.ip6.ip)

    @property
    def mtu(self) -> int:
        """The largest packet inside the tunnel, bytes."""
        return self._settings.mtu

    @property
    def routes(self) -> tuple[str, ...]:
        """What goes into the tunnel, CIDR; the default routes for a full tunnel."""
        return tuple(str(route) for route in self._settings.routes)

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

    # Life

    async def __aenter__(self) -> Self:
        """Log in and connect. Raises ConnectFailed, after emitting `failed`."""
        if self._timeline is None:
            self._timeline = Timeline(trio.current_time(), trio.current_time())
        try:
            if self.token is None:
                self.token = await self._dialer.log_in(self._ask)
            opened = await self._dialer.open_tunnel(self.token, None)
        except (DialFailed, LoginFailed, ServerNotTrusted, TokenRefused, ProtocolError) as error:
            raise self._failed(error) from error
        finally:
            await self._dialer.aclose()
        try:
            await self._configure(opened)
        except BaseException as error:
            opened.stream.abort()
            await self.adapter.aclose()
            if isinstance(error, adapters.AdapterFailed):
                raise self._failed(error) from error
            raise
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        self._emit(self._connected())
        self._nursery.start_soon(self.adapter.run)
        self._nursery.start_soon(self._pace)
        self._use(opened)
        self._do(self.lifecycle.connected(_terms(opened), self._now()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.disconnect()
        finally:
            for stream in self._parked:
                stream.abort()
            self._nursery.cancel_scope.cancel()
            try:
                # the body's own exception passes by the nursery, so that it is not wrapped into a group
                await self._nursery_manager.__aexit__(None, None, None)
            finally:
                await self.adapter.aclose()

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
        if self.phase is not Phase.ENDED and self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            await tunnel.farewell("disconnected by the user")
        self._do(self.lifecycle.leave("disconnected by the user", self._now()))

    async def detach(self) -> None:
        """Leave without logging off: the session can be resumed with the token."""
        if self.phase is not Phase.ENDED and self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.abandon()
            await tunnel.stream.aclose()
        self._do(self.lifecycle.leave("detached", self._now()))

    def reconnect(self, source_address: str | None = None) -> None:
        """Replace the TLS tunnel now, over a network that works, from another local address if given."""
        if not self.network.up:
            self._drop_tunnel()
        self.network.plug()
        if source_address is not None:
            self.network.source_address = source_address
        self._do(self.lifecycle.reconnect(self._now()))

    def lose_cable(self) -> None:
        """Everything stops without a word, in both directions, until `restore_cable` or `reconnect`."""
        self.network.unplug()

    def restore_cable(self) -> None:
        """Plug the cable in again: the old connection goes on if neither end has given it up."""
        self.network.plug()

    def drop_tcp(self) -> None:
        """Kill the TCP connection under the tunnel with a reset, as a firewall or a crash does."""
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.abandon()
            tunnel.stream.abort()
            self._do(self.lifecycle.tunnel_lost(self._now()))

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

    def _user_adapter(self) -> adapters.UserAdapter:
        if not isinstance(self.adapter, adapters.UserAdapter):
            raise ValueError(
                "probes need the adapter in user space; with a kernel TUN, use the system's tools"
            )
        return self.adapter

    # The shell around the lifecycle

    def _now(self) -> float:
        assert self._timeline is not None
        return self._timeline.now(trio.current_time())

    def _failed(self, error: Exception) -> ConnectFailed:
        self._emit(Failed(str(error)))
        return ConnectFailed(str(error))

    def _emit(self, event: Event) -> None:
        self.events.append(event)
        self._events_total += 1
        self._news.set()
        self._news = trio.Event()
        if self._on_event is not None:
            self._on_event(event)

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Attempt():
                    self._nursery.start_soon(self._attempt)
                case DropTunnel():
                    self._drop_tunnel()
                case StartDtls():
                    self._nursery.start_soon(self._run_dtls)
                case DropDtls():
                    self._drop_dtls()
                case Emit():
                    self._emit(action.event)
                case End():
                    self._drop_dtls()
                    self._drop_tunnel()
                    self._emit(action.event)
                    self._ended.set()
        self._poke.set()

    async def _pace(self) -> None:
        assert self._timeline is not None
        while self.phase is not Phase.ENDED:
            self._poke = trio.Event()
            deadline = self.lifecycle.next_deadline()
            with trio.move_on_at(self._timeline.run_at(deadline)) as scope:
                await self._poke.wait()
            if scope.cancelled_caught:
                self._do(self.lifecycle.on_deadline(max(self._now(), deadline)))

    async def _attempt(self) -> None:
        assert self.token is not None
        try:
            opened = await self._dialer.open_tunnel(self.token, self.answer)
        except TokenRefused as error:
            self._do(self.lifecycle.session_gone(str(error), self._now()))
            return
        except ProtocolError as error:
            self._do(self.lifecycle.peer_broke_protocol(str(error), self._now()))
            return
        except (DialFailed, ServerNotTrusted):
            self._do(self.lifecycle.attempt_failed(self._now()))
            return
        actions = self.lifecycle.resumed(_terms(opened), self._now())
        if self.phase is not Phase.CONNECTED or not actions:
            opened.stream.abort()
            self._do(actions)
            return
        self._use(opened)
        self._do(actions)
        try:
            await self._configure(opened)
        except adapters.AdapterFailed as error:
            self._emit(Error(str(error)))

    def _use(self, opened: OpenTunnel) -> None:
        assert self._timeline is not None
        tunnel = Tunnel(
            opened,
            self.network,
            self._timeline,
            self.adapter.deliver,
            self.tls_traffic,
            self.options.dpd,
        )
        for stream in self._parked:
            stream.abort()
        self._parked.clear()
        self._tunnel = tunnel
        self._nursery.start_soon(self._run_tunnel, tunnel)
        while self._backlog:
            tunnel.send_packet(self._backlog.popleft())

    async def _run_tunnel(self, tunnel: Tunnel) -> None:
        outcome = await tunnel.run()
        self.dropped += tunnel.dropped
        if tunnel is not self._tunnel:
            return
        match outcome:
            case Lost():
                self._do(self.lifecycle.tunnel_lost(self._now()))
            case ToldToEnd():
                self._tunnel = None
                await tunnel.farewell("server request")
                self._do(self.lifecycle.told_to_end(outcome.reason, self._now()))
            case BrokenPeer():
                self._do(self.lifecycle.peer_broke_protocol(outcome.reason, self._now()))
            case None:
                pass

    async def _run_dtls(self) -> None:
        tunnel = self._tunnel
        if tunnel is None or tunnel.answer.dtls is None:
            return
        assert self._timeline is not None
        try:
            channel = DtlsChannel(
                tunnel,
                tunnel.answer.dtls,
                self.network,
                self._timeline,
                self.adapter.deliver,
                self.dtls_traffic,
                self.options.dpd,
            )
        except (DtlsError, OSError):
            self._do(self.lifecycle.dtls_lost(self._now()))
            return
        self._handshaking = channel

        def on_up() -> None:
            self._handshaking, self._dtls = None, channel
            self._do(self.lifecycle.dtls_up(channel.cipher, self._now()))

        reason = await channel.run(on_up)
        if channel is self._dtls or channel is self._handshaking:
            self._dtls = self._handshaking = None
        if reason is not None:
            self._do(self.lifecycle.dtls_lost(self._now()))

    def _drop_tunnel(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is None:
            return
        tunnel.abandon()
        if self.network.up:
            self._nursery.start_soon(tunnel.stream.aclose)
        else:
            # a pulled cable carries no reset: the headend must find out by itself
            self._parked.append(tunnel.stream)

    def _drop_dtls(self) -> None:
        for channel in (self._dtls, self._handshaking):
            if channel is not None:
                channel.abandon()
        self._dtls = self._handshaking = None

    async def _configure(self, opened: OpenTunnel) -> None:
        settings = _settings(opened, self.options)
        if self.answer is None or settings != self._settings:
            await self.adapter.configure(settings)
        self.answer, self._settings = opened.answer, settings

    def _connected(self) -> Connected:
        settings = self._settings
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
    included: tuple[adapters.Network, ...] = (*answer.split_include, *answer.split_include_ip6)
    if not included:
        everything = ("0.0.0.0/0",) * (opened.ip4 is not None) + ("::/0",) * (ip6 is not None)
        included = tuple(ipaddress.ip_network(network) for network in everything)
    return adapters.AdapterSettings(
        ip4=opened.ip4,
        ip6=ip6,
        mtu=min(answer.mtu, options.mtu or answer.mtu),
        routes=included,
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
        disconnected_timeout=answer.disconnected_timeout,
        dtls_offered=answer.dtls is not None,
    )
