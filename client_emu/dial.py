"""Reaching the headend: TCP, TLS, trust, the login conversation, and CONNECT.

A `Dialer` turns options into an open tunnel. `reach` asks a server for its first answer, which is one packet
of the establishing phase (S81); `log_in` goes on with the conversation; `open_tunnel` sends CONNECT with the
token, on the connection that the login left open when it still stands. A name is resolved once for each
server that is reached and each one that it redirects to; later connections go to the address that answered
(S139).
"""

from __future__ import annotations

import functools
import ipaddress
import math
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import trio
from OpenSSL import SSL

from asa_emu.transport.contexts import client_context
from asa_emu.transport.stream import TlsStream
from asa_emu.wire.auth_xml import Profile as ProfileOffer
from asa_emu.wire.compression import STATELESS
from asa_emu.wire.errors import HeaderError
from asa_emu.wire.frames import MAX_SENT_PAYLOAD
from asa_emu.wire.headers import ConnectAnswer, ConnectRequest, parse_connect_answer_untrusted
from client_emu.exchange import DialFailed, Exchange, Line, Silent, limited
from client_emu.gateway import Gateway
from client_emu.login import Ask, LoggedIn, Login, LoginRefused, Step
from client_emu.network import Interface, Network
from client_emu.options import ClientOptions
from client_emu.request import MAX_BODY, Request, Response, shown
from client_emu.terms import Terms, terms_of
from client_emu.trust import check_server

PACKET_SECONDS: Final = 30.0  # DPD of the establishing phase, S36's default; the user's --dpd overrides it
RECONNECT_SECONDS: Final = 10.0  # one attempt to resume; three of them leave an interface within 30 s
DTLS_WORST_OVERHEAD: Final = 82 + 8  # record and UDP; what openconnect subtracts for X-CSTP-MTU

Asker = Callable[[Ask], Awaitable[str | None]]
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system finds them. Raises OSError."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


class LoginFailed(Exception):
    """The headend refused the login."""


class TokenRefused(Exception):
    """The headend does not know this session, or says in words why it has no tunnel for it (S50)."""


@dataclass(frozen=True, slots=True)
class OpenTunnel(Line):
    """What CONNECT gave: the connection, what was granted, and the first bytes of the tunnel."""

    answer: ConnectAnswer
    terms: Terms
    master_secret: bytes = field(repr=False)
    first_bytes: bytes = field(repr=False)


class Dialer:
    """The way to one headend. One caller at a time."""

    def __init__(self, options: ClientOptions, network: Network, resolver: Resolver = resolve) -> None:
        self._options = options
        self._network = network
        self._resolver = resolver
        self._context = _context(options)
        self._packet_seconds = options.dpd or PACKET_SECONDS
        self.gateway = options.gateway
        """The headend after all redirects."""
        self._addresses: list[str] = []
        self._answering: str | None = None
        self._connection: Exchange | None = None
        self._login = Login(options, options.gateway)
        self._step: Step | None = None
        self.banner = ""
        """What the login's end said."""
        self.package_base: str | None = None
        """The directory of the headend's client software, when a login has named it."""
        self.profile: ProfileOffer | None = None
        """The AnyConnect profile that the headend hands out, likewise."""
        self._deadline = math.inf

    async def reach(self, server: int) -> None:
        """Get the first answer of a server: 0 is the primary, then come the backups.

        Raises Silent when there is none within a DPD interval, another DialFailed when there will be none,
        ServerNotTrusted.
        """
        gateway = (self._options.gateway, *self._options.backups)[server]
        await self.aclose()
        self._go_to(gateway)
        self._login = Login(self._options, gateway)
        self._limit(self._packet_seconds)
        step = self._login.begin()
        assert isinstance(step, Request)
        self._step = self._login.on_response(await self._exchange(step))

    async def log_in(self, ask: Asker | None) -> str:
        """Hold the rest of the conversation; the token. Raises DialFailed, LoginFailed, ServerNotTrusted."""
        while True:
            match self._step:
                case Request():
                    await trio.sleep(self._step.delay)
                    self._limit(float(self._options.preference("AuthenticationTimeout")))
                    self._step = self._login.on_response(await self._exchange(self._step))
                case Ask():
                    answer = await ask(self._step) if ask is not None else None
                    if answer is None:
                        raise LoginFailed(self._step.refusal)
                    self._step = self._login.on_answer(answer)
                case LoggedIn():
                    self.banner, self.package_base = self._step.banner, self._step.package_base
                    self.profile = self._step.profile
                    return self._step.token
                case LoginRefused():
                    raise LoginFailed(self._step.reason)
                case None:
                    raise RuntimeError("nobody was reached")

    async def open_tunnel(self, token: str, previous: ConnectAnswer | None) -> OpenTunnel:
        """CONNECT with the token; `previous` is what the session had before.

        Raises TokenRefused, DialFailed or ServerNotTrusted; ProtocolError when the answer makes no sense.
        """
        self._limit(self._packet_seconds if previous is None else RECONNECT_SECONDS)
        try:
            kept = self._connection
            if kept is not None and self._network.carries(kept.line.interface):
                try:
                    return await self._connect(kept, token, previous)
                except DialFailed as error:
                    if kept.answered or isinstance(error, Silent):
                        raise
            opened = await self._connect(await self._open(self.gateway), token, previous)
        except DialFailed:
            self._network.in_use.failures += 1
            raise
        opened.interface.failures = 0
        return opened

    async def fetch(self, path: str, token: str, max_body: int = MAX_BODY) -> bytes:
        """GET a file with the token, at most `max_body` bytes of it.

        Raises TokenRefused, DialFailed or ServerNotTrusted.
        """
        self._limit(self._packet_seconds)
        headers = [("Host", self.gateway.authority), ("User-Agent", self._options.user_agent)]
        headers += [("Cookie", f"webvpn={token}"), ("Accept", "*/*"), ("Content-Length", "0")]
        request = Request(self.gateway, "GET", path, tuple(headers), b"", max_body=max_body)
        response = await self._exchange(request)
        if response.status in (401, 403):
            raise TokenRefused(f"the headend refused {path}: {response.status}")
        if response.status != 200:
            raise DialFailed(f"the headend answered {response.status} to {path}")
        return response.body

    async def aclose(self) -> None:
        """Close the connection that no tunnel took over."""
        if self._connection is not None:
            await self._connection.line.stream.aclose()
            self._connection = None

    def _limit(self, seconds: float) -> None:
        self._deadline = trio.current_time() + seconds

    def _go_to(self, gateway: Gateway) -> None:
        if gateway.authority != self.gateway.authority:
            self._addresses, self._answering = [], None
        self.gateway = gateway

    async def _exchange(self, request: Request) -> Response:
        elsewhere = request.fresh or request.gateway.authority != self.gateway.authority
        if elsewhere or (self._connection is not None and self._connection.stale):
            await self.aclose()
        self._go_to(request.gateway)
        kept = self._connection
        try:
            return await self._request(request)
        except DialFailed as error:
            await self.aclose()
            if kept is None or kept.answered or request.once or isinstance(error, Silent):
                raise
            # a headend may close a kept connection at any time; the request was not answered
            return await self._request(request)

    async def _request(self, request: Request) -> Response:
        connection = self._connection = self._connection or await self._open(request.gateway)
        async with limited("waiting for the headend's answer", self._deadline):
            response, reusable = await connection.request(request)
        if not reusable:
            await self.aclose()
        return response

    async def _open(self, gateway: Gateway) -> Exchange:
        async with limited("connecting", self._deadline):
            interface = self._network.choose()
            await self._network.carrier(interface)
            stream = await self._open_stream(gateway, interface)
            try:
                check_server(stream.engine, gateway.host, self._options.pin)
                peer = stream.socket.getpeername()
            except BaseException:
                await stream.aclose()
                raise
        self._answering = peer[0]
        return Exchange(Line(stream, interface, peer))

    async def _open_stream(self, gateway: Gateway, interface: Interface) -> TlsStream:
        candidates = [self._answering] if self._answering else await self._candidates(gateway, interface)
        while True:
            address = candidates.pop(0)
            try:
                return await TlsStream.open(
                    address,
                    gateway.port,
                    self._context,
                    server_name=gateway.host,
                    source_address=interface.address,
                )
            except OSError:
                if not candidates:
                    raise
            except trio.Cancelled:
                if address in self._addresses:  # another packet tries the others first
                    self._addresses.remove(address)
                    self._addresses.append(address)
                raise

    async def _candidates(self, gateway: Gateway, interface: Interface) -> list[str]:
        """The addresses to try, of the families that the profile wants and the interface has."""
        if not self._addresses:
            numeric = _version(gateway.host) != 0
            found = [gateway.host] if numeric else await self._resolver(gateway.host, gateway.port)
            order = [int(family[-1]) for family in self._options.preference("IPProtocolSupport").split(",")]
            wanted = [address for address in found if _version(address) in order]
            self._addresses = sorted(wanted, key=lambda address: order.index(_version(address)))
        usable = [
            address
            for address in self._addresses
            if interface.address is None or _version(address) == _version(interface.address)
        ]
        if not usable:
            raise DialFailed(f"{gateway.host} has no address that this client may use")
        return usable

    async def _connect(self, connection: Exchange, token: str, previous: ConnectAnswer | None) -> OpenTunnel:
        self._connection, line = None, connection.line
        try:
            request = self._connect_request(line, token, previous)
            async with limited("waiting for the answer to CONNECT", self._deadline):
                response, headers, first_bytes = await connection.connect(request)
            if response.status != 200:
                raise _refusal(response)
            answer = parse_connect_answer_untrusted(headers)
            _check_encodings(request, answer)
            secret = request.master_secret or b""
            return OpenTunnel(
                line.stream, line.interface, line.peer, answer, terms_of(answer), secret, first_bytes
            )
        except BaseException:
            await line.stream.aclose()
            raise

    def _connect_request(self, line: Line, token: str, previous: ConnectAnswer | None) -> ConnectRequest:
        options, sock = self._options, line.stream.socket
        base_mtu = _path_mtu(sock, line.interface.mtu)
        header = 40 if sock.family == socket.AF_INET6 else 20
        request = ConnectRequest(
            token=token,
            host=self.gateway.authority,
            user_agent=options.user_agent,
            hostname=options.hostname,
            accept_encoding=options.compression,
            base_mtu=base_mtu,
            mtu=min(options.mtu or base_mtu - DTLS_WORST_OVERHEAD - header, MAX_SENT_PAYLOAD),
            address_types=("IPv6", "IPv4") if options.ipv6 else ("IPv4",),
            full_ipv6=options.ipv6,
            previous_ip4=previous.ip4 if previous is not None else None,
        )
        if not options.dtls:
            return request
        return replace(
            request,
            dtls_accept_encoding=tuple(name for name in options.compression if name in STATELESS),
            master_secret=secrets.token_bytes(48),
            dtls_ciphers=options.dtls_ciphers,
            dtls12_ciphers=options.dtls12_ciphers,
        )


def _refusal(response: Response) -> Exception:
    said = response.header("x-reason")
    why = shown(said or response.reason)
    if said or response.status in (401, 403):
        return TokenRefused(f"the headend refused the session: {why or response.status}")
    return DialFailed(f"the headend answered CONNECT with {response.status} {why}".rstrip())


def _context(options: ClientOptions) -> SSL.Context:
    files = (options.ca, options.certificate, options.key)
    try:
        stamps = tuple(file.stat().st_mtime_ns if file is not None else 0 for file in files)
        return _shared_context(*files, stamps)
    except (OSError, SSL.Error) as error:
        raise ValueError(f"the certificate, key or CA file cannot be used: {error}") from error


@functools.lru_cache(maxsize=8)
def _shared_context(
    ca: Path | None, certificate: Path | None, key: Path | None, stamps: tuple[int, ...]
) -> SSL.Context:
    """One context for a thousand clients: the system's authorities alone take 600 KiB and 15 ms to load."""
    return client_context(ca=ca, certificate=certificate, key=key)


def _check_encodings(request: ConnectRequest, answer: ConnectAnswer) -> None:
    for chosen, offered in (
        (answer.content_encoding, request.accept_encoding),
        (answer.dtls.content_encoding if answer.dtls is not None else None, request.dtls_accept_encoding),
    ):
        if chosen is not None and chosen not in offered:
            raise HeaderError(f"the headend chose compression {chosen}, which was not offered")


def _version(host: str) -> int:
    """4 or 6, or 0 for what is no address."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return 0


def _path_mtu(sock: trio.socket.SocketType, interface_mtu: int) -> int:
    """The kernel's idea of the path MTU, at most that of the interface (a loopback would say 65,536)."""
    # IPV6_MTU and IP_MTU of Linux
    option = (socket.IPPROTO_IPV6, 24) if sock.family == socket.AF_INET6 else (socket.IPPROTO_IP, 14)
    try:
        return min(sock.getsockopt(*option), interface_mtu)
    except OSError:
        return interface_mtu
