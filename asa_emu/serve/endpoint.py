"""The VPN port's TCP side: listen, accept, admit, and hand each connection its first speaker.

An accepted socket becomes a `Connection` in the dispatcher; after the TLS handshake an `HttpExchange` speaks
on it. Unauthenticated connections are counted per address, so that one peer cannot hold them all; tunnels are
not counted.
"""

from __future__ import annotations

import errno
import math
import resource
import socket
from collections import Counter

import structlog
import trio
from OpenSSL import SSL

from asa_emu.serve.asgi import READ_LIMIT
from asa_emu.serve.connection import Connection
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.https import HttpExchange, Redirect, Site
from asa_emu.serve.tunnels import CstpTunnel
from asa_emu.session.model import Peer
from asa_emu.syslog.facts import TlsDown, TlsFailed, TlsUp

BACKLOG = 4096  # a reconnect storm arrives at once
MAX_UNAUTHENTICATED = 1024  # connections per address
_ACCEPTS = 16  # per turn of the dispatcher
_REST = 1.0  # seconds of run time in which nobody is accepted for want of descriptors
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EVERY_ADDRESS = ("0.0.0.0", "::")

_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 39\r\n\r\n"
)
_PLAIN_HTTP += b"This port speaks HTTPS. Use https://.\r\n"

log = structlog.get_logger(__name__)


def bind_tcp(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening, non-blocking TCP socket; `::` takes IPv4 too. Raises `OSError` when it cannot be bound.

    `shared` is for an address that a former holder, frozen perhaps, still listens on with the same option.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def shown_address(ip: str) -> str:
    """An address as people write it: IPv4 that came in over a dual-stack socket is IPv4."""
    return ip.removeprefix("::ffff:") if "." in ip else ip


def _allow_more_descriptors() -> bool:
    """Raise the limit that most shells set, 1,024, to what the system allows; whether there was room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log.info("https.descriptors", before=soft, now=hard)
    return True


def _local(sock: socket.socket) -> Peer:
    name = sock.getsockname()
    return Peer(shown_address(name[0]), name[1])


class HttpsEndpoint:
    """One listening socket of the VPN port; the dispatcher calls it as a handler."""

    def __init__(
        self,
        gateway: Gateway,
        listener: socket.socket,
        context: SSL.Context,
        site: Site,
        *,
        redirect: Redirect | None = None,
    ) -> None:
        self.gateway = gateway
        self.redirect = redirect
        """On the address of a load-balancing cluster: where a client is to log in."""
        self.dispatcher = gateway.dispatcher
        self.limits = gateway.limits
        self.context = context
        self._listener = listener
        self._bound = _local(listener)
        self._site = site
        self._connections: set[Connection] = set()
        self._unauthenticated: Counter[str] = Counter()
        self._closed_one = trio.Event()
        self._rests_until = math.inf

    def fileno(self) -> int:
        """The listener's descriptor."""
        return self._listener.fileno()

    def _local(self, connection: Connection) -> Peer:
        """Our end of a connection: the listener's own address, unless it listens on all."""
        return _local(connection.sock) if self._bound.ip in _EVERY_ADDRESS else self._bound

    def run_now(self) -> float:
        """Run time in seconds."""
        return self.gateway.run_now()

    def readable(self) -> None:
        """Accept some of those who wait."""
        for _ in range(_ACCEPTS):
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EMFILE and _allow_more_descriptors():
                    continue
                log.warning("https.accept_failed", error=error.strerror)
                if error.errno in _FULL:
                    self._rest()
                return  # or the peer gave up before we looked
            self._admit(sock, Peer(shown_address(address[0]), address[1]))

    def _rest(self) -> None:
        """Leave those who wait in the kernel's queue for a while: they would be reported again at once."""
        self.dispatcher.remove(self)
        self._rests_until = self.run_now() + _REST
        self.limits.add(self, self._rests_until)

    def next_deadline(self) -> float:
        """The instant of run time at which a rest is over."""
        return self._rests_until

    def on_deadline(self) -> None:
        """It is."""
        self.limits.discard(self)
        self.dispatcher.add(self)

    def _admit(self, sock: socket.socket, peer: Peer) -> None:
        if self._unauthenticated[peer.ip] >= MAX_UNAUTHENTICATED:
            log.warning("https.too_many_connections", peer=peer.ip, limit=MAX_UNAUTHENTICATED)
            sock.close()
            return
        sock.setblocking(False)
        connection = Connection(self, sock, peer, self._bound.port)
        self._connections.add(connection)
        self._unauthenticated[peer.ip] += 1
        self.dispatcher.add(connection)
        self.gateway.limit(connection)

    def writable(self) -> None:
        """A listener never writes."""

    def abort(self) -> None:
        """An error while accepting concerns one peer, not the listener."""

    def handshaken(self, connection: Connection) -> None:
        """TLS is up: the connection speaks HTTP, and its first request has a limit."""
        gateway, engine = self.gateway, connection.engine
        gateway.headend.emit(
            TlsUp(
                at=gateway.now(),
                peer=connection.peer,
                local=self._local(connection),
                protocol=engine.version,
                cipher=engine.cipher_name,
            )
        )
        connection.speaker = HttpExchange(self._site, connection)
        connection.set_deadline(self.run_now() + READ_LIMIT)

    def handshake_failed(self, connection: Connection, reason: str) -> bytes:
        """Say why in the log; what to say in clear to a peer that spoke plain HTTP, in its own language."""
        log.info("tls.handshake_failed", peer=connection.peer.ip, reason=reason)
        now, local = self.gateway.now(), self._local(connection)
        self.gateway.headend.emit(
            TlsFailed(at=now, peer=connection.peer, local=local, protocol="TLS", reason=reason)
        )
        # OpenSSL's words for GET and its like, and for CONNECT
        return _PLAIN_HTTP if reason in ("http request", "https proxy request") else b""

    def authenticated(self, connection: Connection) -> None:
        """It carries a tunnel now, and does not count as a stranger any more."""
        if not connection.authenticated:
            connection.authenticated = True
            self._release(connection.peer.ip)

    def _release(self, ip: str) -> None:
        self._unauthenticated[ip] -= 1
        if not self._unauthenticated[ip]:
            del self._unauthenticated[ip]

    def forget(self, connection: Connection) -> None:
        """It is about to close its socket."""
        self.dispatcher.remove(connection)
        self.limits.discard(connection)
        self._connections.discard(connection)
        self._closed_one.set()
        if not connection.authenticated:
            connection.authenticated = True
            self._release(connection.peer.ip)
        if connection.engine.handshaken:
            now, local = self.gateway.now(), self._local(connection)
            self.gateway.headend.emit(TlsDown(at=now, peer=connection.peer, local=local))

    async def tunnels_closed(self) -> None:
        """Wait until no connection carries a tunnel any more."""
        while any(isinstance(c.speaker, CstpTunnel) for c in self._connections):
            self._closed_one = trio.Event()
            await self._closed_one.wait()

    def close(self) -> None:
        """Close the listener and every connection, without a word to the clients."""
        self.limits.discard(self)
        self.dispatcher.remove(self)
        self._listener.close()
        for connection in list(self._connections):
            connection.drop("shutting down")

    def abandon(self) -> None:
        """The same, without a word to the database either: it has another unit's sessions now."""
        for connection in list(self._connections):
            if isinstance(connection.speaker, CstpTunnel):
                connection.close()
        self.close()
