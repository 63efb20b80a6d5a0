"""The physical network as this client sees it: interfaces that are plugged and unplugged, a machine that
sleeps, a network that swallows packets.

Nothing here touches the machine's real interfaces. Whoever sends or receives asks first: an interface that
carries nothing holds TCP back (the kernel keeps what arrives, as the network would retransmit it) and loses
datagrams. That is what makes a silent loss possible in one process, with both ends alive and no reset to give
it away.

`choose` says which interface the next connection takes: the one in use until it is unplugged or has failed
three times in a row, then the next one that is plugged in (S131).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import trio

FAILURES_PER_INTERFACE: Final = 3  # S131 speaks of "some failure threshold"; the number is our choice
ETHERNET_MTU: Final = 1500


class NetworkDown(Exception):
    """No interface is plugged in."""


@dataclass(slots=True)
class Interface:
    """One way out of the machine; `mtu` in bytes."""

    name: str
    address: str | None = None
    """Local address of the connections it carries; None leaves it to the kernel."""
    mtu: int = ETHERNET_MTU
    plugged: bool = True
    failures: int = 0


class Network:
    """All interfaces of one client, by default a cable, and a radio that is off; the first is used first."""

    def __init__(self, interfaces: Iterable[Interface] = ()) -> None:
        given = tuple(interfaces) or (Interface("wired"), Interface("wireless", plugged=False))
        self.interfaces = {each.name: replace(each) for each in given}
        self.in_use = next(iter(self.interfaces.values()))
        self.udp_blocked = False
        self._silent = False
        self._asleep = False
        self._changed = trio.lowlevel.ParkingLot()

    def choose(self) -> Interface:
        """The interface for the next connection. Raises NetworkDown."""
        plugged = [interface for interface in self.interfaces.values() if interface.plugged]
        if not plugged:
            raise NetworkDown("no network interface is plugged in")
        self.in_use = min(plugged, key=lambda i: (i.failures // FAILURES_PER_INTERFACE, i is not self.in_use))
        return self.in_use

    def carries(self, interface: Interface) -> bool:
        """Whether anything gets through."""
        return interface.plugged and not (self._silent or self._asleep)

    def carries_udp(self, interface: Interface) -> bool:
        """Whether a datagram gets through."""
        return self.carries(interface) and not self.udp_blocked

    async def carrier(self, interface: Interface) -> None:
        """Wait until something gets through."""
        while not self.carries(interface):
            await self._changed.park()

    async def awake(self) -> None:
        """Wait until the machine does not sleep."""
        while self._asleep:
            await self._changed.park()

    def plug(self, name: str, address: str | None = None, mtu: int | None = None) -> Interface:
        """Plug an interface in; one of a new name is made."""
        interface = self.interfaces.setdefault(name, Interface(name))
        interface.plugged = True
        interface.failures = 0
        interface.address = address or interface.address
        interface.mtu = mtu or interface.mtu
        self._changed.unpark_all()
        return interface

    def unplug(self, name: str) -> Interface:
        """Unplug an interface. KeyError when there is none of that name."""
        interface = self.interfaces[name]
        interface.plugged = False
        return interface

    def silence(self, silent: bool) -> None:
        """Swallow everything from now on, with every cable in place, or stop doing so."""
        self._silent = silent
        self._changed.unpark_all()

    def sleep(self, asleep: bool) -> None:
        """Put the machine to sleep, or wake it up."""
        self._asleep = asleep
        self._changed.unpark_all()
