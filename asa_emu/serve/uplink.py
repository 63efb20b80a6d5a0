"""The kernel as the inside network: a TUN device whose packets go to the sessions, and theirs to it.

With `--tun` there is no emulated network; the kernel routes the pools here and answers, or forwards, what the
clients send.
"""

from __future__ import annotations

import structlog

from asa_emu.config import Config, inside_gateway
from asa_emu.dataplane.hub import Hub
from asa_emu.serve.dispatcher import Dispatcher
from asa_emu.transport.tun import Interface, Network, Tun, TunError, TunSettings

log = structlog.get_logger(__name__)

TUN_MTU = 1406  # `anyconnect mtu`'s default; sessions with less get fragments or an ICMP error


class TunUplink:
    """The device as the dispatcher's handler."""

    def __init__(self, tun: Tun, hub: Hub, dispatcher: Dispatcher) -> None:
        self._tun = tun
        self._hub = hub
        self._dispatcher = dispatcher

    def fileno(self) -> int:
        """The device's descriptor."""
        return self._tun.fileno()

    def readable(self) -> None:
        """Hand what the kernel sent to the sessions it is for; a deleted device is heard no more."""
        try:
            packets = self._tun.drain()
        except TunError as error:
            log.error("uplink.lost", reason=str(error))
            self._dispatcher.remove(self)
            return
        for packet in packets:
            self._hub.from_inside(packet)

    def writable(self) -> None:
        """Writes never wait: what the kernel does not take is dropped."""

    def abort(self) -> None:
        """An error over one packet does not concern the device."""


def tun_settings(config: Config) -> TunSettings:
    """The inside gateway's addresses, when it has any, and a route to every pool that they do not cover."""
    found = (inside_gateway(config, 4), inside_gateway(config, 6))
    addresses: tuple[Interface, ...] = tuple(address for address in found if address is not None)
    pools: list[Network] = [pool.network for pool in config.pools.values()]
    pools += [pool.network for pool in config.ipv6_pools.values()]
    covered = {address.network for address in addresses}
    routes = tuple(network for network in dict.fromkeys(pools) if network not in covered)
    return TunSettings(mtu=TUN_MTU, addresses=addresses, routes=routes)
