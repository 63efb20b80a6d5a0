"""A VPN client as an object: a connection, and what the one in front of it, or the world around it, can do.

    async with Client(options) as vpn:
        await vpn.ping("10.20.30.1")

`Connection` lives by itself. Here are the facts that people ask for, the orders of its user, the accidents
that a test wants to happen to it, and probes through the tunnel.
"""

from __future__ import annotations

import ipaddress

from client_emu.adapter import PING_SIZE, PingResult, UserAdapter
from client_emu.connection import Connection
from client_emu.lifecycle import Phase


class Client(Connection):
    """One VPN connection. Enter it to connect; leaving it disconnects. Raises ConnectFailed on entering."""

    # Facts

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
        return self._dtls.cipher if self._dtls is not None and self._dtls.up else None

    @property
    def tls_cipher(self) -> str | None:
        """Version and suite of the TLS tunnel; None while it is down."""
        if self._tunnel is None:
            return None
        engine = self._tunnel.stream.engine
        return f"{engine.version} {engine.cipher_name}"

    @property
    def tcp_source(self) -> tuple[str, int] | None:
        """Our address and port of the TLS tunnel; None while it is down."""
        return self._tunnel.stream.socket.getsockname()[:2] if self._tunnel is not None else None

    @property
    def udp_source_port(self) -> int | None:
        """Our port of the DTLS tunnel; None while it is down."""
        return self._dtls.local_port if self._dtls is not None and self._dtls.up else None

    @property
    def server(self) -> str | None:
        """The headend's address; None while the TLS tunnel is down."""
        return str(self._tunnel.opened.peer[0]) if self._tunnel is not None else None

    # Orders

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

    # Probes

    async def ping(
        self, destination: str, count: int = 1, limit: float = 2.0, size: int = PING_SIZE
    ) -> PingResult:
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

    def _user_adapter(self) -> UserAdapter:
        if not isinstance(self.adapter, UserAdapter):
            raise ValueError("probes need the adapter in user space; with another one, use its own tools")
        return self.adapter
