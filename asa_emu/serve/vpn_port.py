"""The VPN port of a headend: its TCP and UDP sockets, bound for good or, in a pair, while it is active.

A unit that takes over shares the address with whatever the former active unit has left there: a process that
is frozen still has its sockets (`takeover` says how all that comes is led past them).
"""

from __future__ import annotations

import socket

from OpenSSL import SSL

from asa_emu.serve.dtls import DtlsEndpoint
from asa_emu.serve.endpoint import HttpsEndpoint, bind_tcp
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.https import Site
from asa_emu.serve.takeover import claim_address, share_address
from asa_emu.transport.udp import UdpSocket


class VpnPort:
    """The sockets of the VPN port, and who serves them."""

    def __init__(self, gateway: Gateway, site: Site, context: SSL.Context) -> None:
        self._gateway = gateway
        self._site = site
        self._context = context
        self.https: HttpsEndpoint | None = None
        """None while nothing is bound."""

    @property
    def context(self) -> SSL.Context:
        """TLS for connections that come."""
        return self._context

    @context.setter
    def context(self, context: SSL.Context) -> None:
        self._context = context
        if self.https is not None:
            self.https.context = context

    def open(self, tcp: socket.socket, udp: socket.socket | None) -> None:
        """Serve on these sockets."""
        gateway = self._gateway
        self.https = HttpsEndpoint(gateway, tcp, self._context, self._site)
        if udp is not None:
            gateway.dtls = DtlsEndpoint(gateway, UdpSocket(udp), udp.getsockname()[1])
            gateway.dispatcher.add(gateway.dtls)
        gateway.dispatcher.add(self.https)

    def close(self, *, abandon: bool = False) -> None:
        """Close all sockets without a word; with `abandon` the database does not hear of it."""
        https, self.https = self.https, None
        dtls, self._gateway.dtls = self._gateway.dtls, None
        if dtls is not None:
            dtls.close()
        if https is not None:
            (https.abandon if abandon else https.close)()

    async def tunnels_closed(self) -> None:
        """Wait until no connection carries a tunnel any more."""
        if self.https is not None:
            await self.https.tunnels_closed()


def claim(https: tuple[str, int], dtls: tuple[str, int] | None) -> tuple[socket.socket, socket.socket | None]:
    """Bind the service address, and get all that comes from now on. Raises `OSError`."""
    tcp = bind_tcp(*https, shared=True)
    try:
        claim_address(tcp)
        return tcp, None if dtls is None else _claim_udp(*dtls)
    except BaseException:
        tcp.close()
        raise


def _claim_udp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        share_address(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
        claim_address(sock)
    except BaseException:
        sock.close()
        raise
    return sock
