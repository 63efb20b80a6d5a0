"""The VPN port of a headend: its TCP and UDP sockets, bound for good or, in a pair, while it is active.

A unit that takes over shares the address with whatever the former active unit has left there. If that process
is frozen, its sockets are still bound, so both bind with SO_REUSEPORT, and the newest one tells the kernel to
choose it alone: a classic BPF program of one instruction that returns the place of its own socket, the last
one to come. When the other is closed later, that place does not exist any more, and the kernel falls back to
the one socket that is left. (Only with two frozen ones, of which one dies, would the other get a share.)
"""

from __future__ import annotations

import ctypes
import socket
import struct
from pathlib import Path

from OpenSSL import SSL

from asa_emu.serve.dtls import DtlsEndpoint
from asa_emu.serve.endpoint import HttpsEndpoint, bind_tcp
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.https import Site
from asa_emu.transport.udp import UdpSocket

SO_ATTACH_REUSEPORT_CBPF = 51
_BPF_RETURN = 0x06  # BPF_RET | BPF_K
_TCP_LISTEN = "0A"


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


def claim(host: str, port: int, *, dtls: bool) -> tuple[socket.socket, socket.socket | None]:
    """Bind the service address, and get all that comes from now on. Raises `OSError`."""
    tcp = bind_tcp(host, port, shared=True)
    try:
        attract(tcp)
        return tcp, claim_udp(host, port) if dtls else None
    except BaseException:
        tcp.close()
        raise


def claim_udp(host: str, port: int) -> socket.socket:
    """The UDP half of `claim`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
        attract(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def attract(sock: socket.socket) -> None:
    """Make the kernel choose this socket, the newest of those that share its address. Raises `OSError`."""
    place = max(0, _sharers(sock) - 1)
    instruction = struct.pack("HBBI", _BPF_RETURN, 0, 0, place)
    buffer = ctypes.create_string_buffer(instruction)
    program = struct.pack("HL", 1, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)


def _sharers(sock: socket.socket) -> int:
    """How many sockets share this one's address, itself included, as /proc lists them."""
    tcp = sock.type == socket.SOCK_STREAM
    table = Path(f"/proc/net/{'tcp' if tcp else 'udp'}{'6' if sock.family == socket.AF_INET6 else ''}")
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    inode = str(_inode(sock))
    listed = [(row[1], row[9]) for row in rows if not tcp or row[3] == _TCP_LISTEN]
    mine = next((address for address, number in listed if number == inode), None)
    return sum(1 for address, _ in listed if address == mine)


def _inode(sock: socket.socket) -> int:
    return Path(f"/proc/self/fd/{sock.fileno()}").stat().st_ino
