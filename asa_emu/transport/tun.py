"""A Linux TUN device: whole IP packets in and out of the kernel, as `--tun NAME` of both programs wants them.

`Tun.open` makes the device (or attaches to a persistent one), `configure` gives it addresses, MTU and routes
over netlink, and then `wait_readable` + `drain` take out what the kernel sends into the tunnel, `write`
gives it what came out. The descriptor does not block: a packet the kernel will not take is dropped and
counted. Device, addresses and its routes vanish when the descriptor is closed; only bypass routes outlive
it, and `aclose` removes those.

Opening needs /dev/net/tun and CAP_NET_ADMIN; netlink is spoken by pyroute2 (extra `tun`), which blocks for
some milliseconds and so runs in a thread.
"""

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from pathlib import Path
from struct import Struct
from typing import Any

import trio

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

_DEVICE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_IFREQ = Struct("16sH22x")
_MAX_NAME = 15
_MAX_PACKET = 65_535
_DRAIN = 64
"""Packets taken out in one turn, so that others on the loop get theirs."""
_LEAST_IPV6_MTU = 1280
_RTN_UNICAST = 1
_RTNH_F_DEAD_OR_DOWN = 1 | 16
_RTPROT_STATIC = 4  # what pyroute2 adds
_RT_TABLE_MAIN = 254
_IFA_F_NODAD = 2


class TunError(Exception):
    """The device could not be opened or set up; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class TunSettings:
    """What a device gets before it is used."""

    mtu: int
    """Largest IP packet in bytes, 576 to 65535; at least 1280 with an IPv6 address."""
    addresses: tuple[Interface, ...] = ()
    """With prefix length; none at all leaves the device unnumbered."""
    routes: tuple[Network, ...] = ()
    """Into the tunnel. A default route is set as its two halves and so leaves the machine's own untouched."""
    bypass: tuple[Network, ...] = ()
    """Keep the way they have now, if any: the headend's own address, split-exclude networks."""


class Tun:
    """An open TUN device; make it with `open`."""

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        """The kernel's name for it, which differs from the one asked for when that held `%d`."""
        self.dropped = 0
        """Packets the kernel did not take: malformed, device down, queue full."""
        self._fd = fd
        self._bypass: list[dict[str, Any]] = []

    @classmethod
    def open(cls, name: str) -> "Tun":
        """Makes the device or attaches to it. TunError when machine, rights or name do not allow it."""
        if not sys.platform.startswith("linux"):
            raise TunError("a TUN device needs Linux")
        if not 0 < len(name.encode()) <= _MAX_NAME:
            raise TunError(f"a device name has 1 to {_MAX_NAME} bytes, not {name!r}")
        try:
            fd = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as problem:
            raise TunError(f"{_DEVICE}: {problem.strerror}") from problem
        try:
            answer = fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TUN | _IFF_NO_PI))
        except OSError as problem:
            os.close(fd)
            why = "needs root (CAP_NET_ADMIN)" if problem.errno == errno.EPERM else problem.strerror
            raise TunError(f"TUN device {name}: {why}") from problem
        return cls(fd, _IFREQ.unpack(answer)[0].rstrip(b"\0").decode())

    def fileno(self) -> int:
        """The descriptor, for an epoll set; -1 when closed."""
        return self._fd

    async def wait_readable(self) -> None:
        """Until the kernel has a packet; trio.ClosedResourceError when the device is closed meanwhile."""
        await trio.lowlevel.wait_readable(self._fd)

    def drain(self) -> list[bytes]:
        """The packets that wait, 64 at most; empty when there is none. TunError when the device was deleted:
        its descriptor is readable for ever then.
        """
        packets = []
        try:
            for _ in range(_DRAIN):
                packets.append(os.read(self._fd, _MAX_PACKET))
        except BlockingIOError:
            pass
        except OSError as problem:
            if problem.errno == errno.EBADFD:
                raise TunError(f"TUN device {self.name} is gone") from problem
            if problem.errno != errno.EIO:  # it is down; packets come again when it is up
                raise
        return packets

    def write(self, packet: bytes | bytearray | memoryview) -> None:
        """Gives the kernel one IP packet; what it refuses is dropped and counted."""
        try:
            os.write(self._fd, packet)
        except OSError:
            self.dropped += 1

    async def configure(self, settings: TunSettings) -> None:
        """Sets MTU, addresses and routes and brings the device up. TunError names the step that failed."""
        if settings.mtu < _LEAST_IPV6_MTU and any(address.version == 6 for address in settings.addresses):
            raise TunError(f"IPv6 needs an MTU of {_LEAST_IPV6_MTU}, {self.name} is to have {settings.mtu}")
        await trio.to_thread.run_sync(self._configure, settings)

    async def reroute(self) -> None:
        """Lets the bypassed networks take the way that the machine has now, past the tunnel: a route through
        an interface goes when the interface or its address does. TunError as for `configure`.
        """
        if self._bypass:
            await trio.to_thread.run_sync(self._reroute)

    async def aclose(self) -> None:
        """Removes the bypass routes and closes the device, which takes everything else with it."""
        if self._bypass:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._withdraw)
        self.close()

    def close(self) -> None:
        """Closes the device; bypass routes stay. For a `finally` that cannot await."""
        if self._fd < 0:
            return
        try:
            trio.lowlevel.notify_closing(self._fd)
        except RuntimeError:
            pass  # outside of trio nobody waits
        os.close(self._fd)
        self._fd = -1

    def _configure(self, settings: TunSettings) -> None:
        with _netlink() as netlink:
            index = socket.if_nametoindex(self.name)
            for network in settings.bypass:
                self._keep_route(netlink, network)
            with _naming(f"{self.name}: MTU {settings.mtu}"):
                netlink.link("set", index=index, mtu=settings.mtu, state="up")
            for address in settings.addresses:
                if address.version == 6:
                    self._enable_ipv6()
                length = address.network.prefixlen
                with _naming(f"{self.name}: address {address}"):
                    # nobody else is on this link; without the flag an IPv6 address is not usable at once
                    flags = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
                    netlink.addr("replace", index=index, address=str(address.ip), prefixlen=length, **flags)
            for network in settings.routes:
                for part in _halves(network):
                    self._add_route(netlink, part, index)

    def _keep_route(self, netlink: Any, network: Network) -> None:
        """Pins the way that a network has now, before a wider route leads it into the tunnel."""
        present = _present_route(netlink, network)
        if present is None or present["type"] != _RTN_UNICAST:
            return  # unreachable, or this very machine: the tunnel's routes cannot take it away
        route = _same_way(network, present)
        with _naming(f"bypass route to {network}", tolerated=errno.EEXIST) as outcome:
            netlink.route("add", **route)
        if outcome.done:
            self._bypass.append(route)

    def _add_route(self, netlink: Any, network: Network, index: int) -> None:
        """Leads a network into the tunnel; a route that the machine already has is never overwritten."""
        with _naming(f"{self.name}: route to {network}", tolerated=errno.EEXIST) as outcome:
            netlink.route("add", **_route(network, oif=index))
        if not outcome.done:
            present = _present_route(netlink, network)
            if present is None or present.get_attr("RTA_OIF") != index:
                raise TunError(f"{self.name}: this machine has a route of its own to {network}")

    def _enable_ipv6(self) -> None:
        switch = Path(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6")
        try:
            if switch.read_text() != "0\n":
                switch.write_text("0")
        except OSError as problem:
            raise TunError(f"{self.name}: IPv6 is off on this machine ({problem.strerror})") from problem

    def _reroute(self) -> None:
        with _netlink() as netlink:
            index = socket.if_nametoindex(self.name)
            for number, kept in enumerate(self._bypass):
                network = ip_network(kept["dst"])
                present = netlink.get_routes(family=kept["family"], table=_RT_TABLE_MAIN)
                if (way := _best_way(network, present, index)) is not None:
                    with _naming(f"bypass route to {network}"):
                        netlink.route("replace", **way)
                    self._bypass[number] = way

    def _withdraw(self) -> None:
        with _netlink() as netlink:
            while self._bypass:
                with _naming("bypass route", tolerated=errno.ESRCH):
                    netlink.route("del", **self._bypass.pop())


def _netlink() -> Any:
    try:
        from pyroute2 import IPRoute
    except ImportError as problem:
        raise TunError("setting up a TUN device needs pyroute2: pip install 'asa-emu[tun]'") from problem
    return IPRoute()


@dataclass(slots=True)
class _Outcome:
    done: bool = True


@contextmanager
def _naming(step: str, tolerated: int = 0) -> Iterator[_Outcome]:
    """Turns what netlink refuses into a TunError that names the step; `tolerated` only leaves it undone."""
    from pyroute2.netlink.exceptions import NetlinkError

    outcome = _Outcome()
    try:
        yield outcome
    except NetlinkError as problem:
        outcome.done = False
        if problem.code != tolerated:
            raise TunError(f"{step}: {os.strerror(problem.code)}") from problem


def _route(network: Network, *, oif: int) -> dict[str, Any]:
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    return {"dst": str(network), "family": family, "oif": oif}


def _present_route(netlink: Any, network: Network) -> Any | None:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        found = netlink.route("get", dst=str(network.network_address))
    except NetlinkError:
        return None
    return found[0] if found else None


def _same_way(network: Network, present: Any) -> dict[str, Any]:
    route = _route(network, oif=present.get_attr("RTA_OIF"))
    gateway = present.get_attr("RTA_GATEWAY")
    return route if gateway is None else {**route, "gateway": gateway}


def _best_way(network: Network, present: Iterable[Any], tun: int) -> dict[str, Any] | None:
    """The way to a network by the routes at hand, less the tunnel's and the one that pins this network."""
    found: list[tuple[int, int, int, Any]] = []
    for route in present:
        anywhere = "0.0.0.0" if network.version == 4 else "::"
        target = ip_network((route.get_attr("RTA_DST") or anywhere, route["dst_len"]))
        usable = route["type"] == _RTN_UNICAST and not route["flags"] & _RTNH_F_DEAD_OR_DOWN
        pins = target == network and route["proto"] == _RTPROT_STATIC
        if usable and not pins and route.get_attr("RTA_OIF") not in (None, tun) and _holds(target, network):
            found.append((target.prefixlen, -(route.get_attr("RTA_PRIORITY") or 0), len(found), route))
    return _same_way(network, max(found)[-1]) if found else None


def _holds(wide: Network, narrow: Network) -> bool:
    if isinstance(wide, IPv4Network):
        return isinstance(narrow, IPv4Network) and narrow.subnet_of(wide)
    return isinstance(narrow, IPv6Network) and narrow.subnet_of(wide)


def _halves(network: Network) -> list[Network]:
    """A default route as two routes that win over the machine's own without replacing it."""
    return [network] if network.prefixlen else list(network.subnets())
