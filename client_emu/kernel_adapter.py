"""The adapter as a kernel TUN device, for `--tun NAME`: the whole machine's packets, by the routes granted.

The device is opened when it is first configured, and its addresses, MTU and routes vanish with it. The way to
the headend itself and the excluded networks keep the routes they have.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final

import trio

from asa_emu.transport.tun import Tun, TunError, TunSettings
from client_emu.adapter import AdapterFailed
from client_emu.terms import AdapterSettings

# "whatever the client is attached to", never a route
LOCAL_NETWORK: Final = ipaddress.ip_network("0.0.0.0/32")


class KernelAdapter:
    """A TUN device of this machine."""

    def __init__(self, name: str, send: Callable[[bytes], None]) -> None:
        self._name = name
        self._send = send
        self._tun: Tun | None = None

    async def configure(self, settings: AdapterSettings, *, restart: bool = False) -> None:
        """Open the device if need be; give it addresses, MTU and routes."""
        headend = [ipaddress.ip_network(settings.headend)] if settings.headend is not None else []
        excluded = [network for network in settings.excluded if network != LOCAL_NETWORK]
        try:
            if restart:
                await self.aclose()
            if self._tun is None:
                self._tun = Tun.open(self._name)
            await self._tun.configure(
                TunSettings(
                    mtu=settings.mtu,
                    addresses=tuple(found for found in (settings.ip4, settings.ip6) if found is not None),
                    routes=settings.routes,
                    bypass=(*headend, *excluded),
                )
            )
        except TunError as error:
            raise AdapterFailed(str(error)) from error

    async def reroute(self) -> None:
        """Find the way to the headend anew: where it went through an address that is gone, it goes into the
        tunnel.
        """
        try:
            if self._tun is not None:
                await self._tun.reroute()
        except TunError as error:
            raise AdapterFailed(str(error)) from error

    def deliver(self, packets: list[bytes]) -> None:
        """Give the kernel what came out of the tunnel."""
        if self._tun is not None:
            for packet in packets:
                self._tun.write(packet)

    async def run(self) -> None:
        """Send what the kernel routes into the tunnel. Raises AdapterFailed when the device was deleted."""
        while (tun := self._tun) is not None:
            try:
                await tun.wait_readable()
            except trio.ClosedResourceError:
                continue  # closed for good, or opened anew
            try:
                packets = tun.drain()
            except TunError as error:
                raise AdapterFailed(str(error)) from error
            for packet in packets:
                self._send(packet)

    async def aclose(self) -> None:
        """Close the device, which takes its routes with it."""
        if self._tun is not None:
            await self._tun.aclose()
            self._tun = None
