"""Inside addresses: pools that hand them out, and one ledger of which are held.

A session asks for an address by the names of its policy's pools, in order. A pool gives the most recently
freed one first, which is why the same user gets the same address again (S22), else the next it never gave. It
keeps no list of what is free from the start, so a pool of 65,536 or 2**64 addresses costs nothing until it is
used. The ledger spans all pools: overlapping pools, framed addresses of users and the gateway's own address
can never be given twice. Taking and giving back take constant time for a given number of pools.

With a reuse delay (`vpn-addr-assign local reuse-delay`) an address rests before its pools have it again.
"""

import math
from collections.abc import Container, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address


class PoolExhausted(Exception):
    """There is no address for the session; the text says of which family and from which pools."""


class AddressPool:
    """One `ip local pool` or `ipv6 local pool`: the addresses `first` to `last`, both included.

    `prefixlen` is what clients are told about the network, 0-32 or 0-128. ValueError for a range that is
    none.
    """

    __slots__ = ("_freed", "_fresh", "_ipv", "first", "last", "name", "prefixlen")

    def __init__(self, name: str, first: Address, last: Address, prefixlen: int) -> None:
        if type(first) is not type(last) or int(first) > int(last):
            raise ValueError(f"{first}-{last} is not a range of addresses")
        if not 0 <= prefixlen <= first.max_prefixlen:
            raise ValueError(f"prefix length {prefixlen}")
        self.name = name
        self.prefixlen = prefixlen
        self.first = int(first)
        self.last = int(last)
        self._ipv = type(first)
        self._fresh = self.first
        self._freed: dict[int, None] = {}

    def __repr__(self) -> str:
        return f"<AddressPool {self.name} {self._ipv(self.first)}-{self._ipv(self.last)}/{self.prefixlen}>"

    def __contains__(self, address: object) -> bool:
        return isinstance(address, self._ipv) and self.first <= int(address) <= self.last

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if self._ipv is IPv4Address else 6

    @property
    def netmask(self) -> str:
        """The prefix length in dotted form (IPv4), as X-CSTP-Netmask has it."""
        return str(IPv4Address((0xFFFFFFFF << (32 - self.prefixlen)) & 0xFFFFFFFF))

    def take(self, held: Container[str], resting: Container[str] = ()) -> str | None:
        """An address that is neither in `held` nor in `resting`, or None."""
        while self._freed:
            address = str(self._ipv(self._freed.popitem()[0]))
            if address not in held and address not in resting:
                return address
        while self._fresh <= self.last:
            address = str(self._ipv(self._fresh))
            self._fresh += 1
            if address not in held and address not in resting:
                return address
        return None

    def give_back(self, address: Address) -> None:
        """An address of this range is free again, and will be the first to be taken."""
        number = int(address)
        if number < self._fresh:
            self._freed.pop(number, None)
            self._freed[number] = None


class AddressPools:
    """All pools by name, and the ledger of the addresses that somebody holds."""

    __slots__ = ("_held", "_pools", "_resting", "reuse_delay")

    def __init__(self, pools: Iterable[AddressPool] = (), *, reserved: Iterable[str] = ()) -> None:
        self.reuse_delay = 0.0
        """Seconds that an address rests after it was given back."""
        self._held: dict[str, None] = {}
        self._resting: dict[str, float] = {}
        """Until when, in the order in which they were given back."""
        self._pools: dict[str, AddressPool] = {}
        for pool in pools:
            self.add(pool)
        for address in reserved:
            self.hold(address)

    def __contains__(self, address: str) -> bool:
        """Whether somebody holds the address."""
        return address in self._held

    def __getitem__(self, name: str) -> AddressPool:
        return self._pools[name]

    def add(self, pool: AddressPool) -> None:
        """Bring in a pool, or replace the one of that name; what is held stays held."""
        self._pools[pool.name] = pool

    def remove(self, name: str) -> None:
        """Forget a pool; addresses held from it stay held."""
        self._pools.pop(name, None)

    def take(
        self, names: Iterable[str], version: int, now: float = math.inf
    ) -> tuple[str, AddressPool] | None:
        """An address of IP `version` from the first of the named pools that has one; unknown names are
        skipped.
        """
        self._rested(now)
        for name in names:
            pool = self._pools.get(name)
            if pool is None or pool.version != version:
                continue
            address = pool.take(self._held, self._resting)
            if address is not None:
                self._held[address] = None
                return address, pool
        return None

    def hold(self, address: str) -> bool:
        """Hold one particular address (a framed one, the gateway's own); False when it is held already."""
        text = str(ip_address(address))
        if text in self._held:
            return False
        self._resting.pop(text, None)
        self._held[text] = None
        return True

    def give_back(self, address: str, now: float = 0.0) -> None:
        """The address is free again for every pool that it belongs to, at once or after the reuse delay;
        KeyError when nobody holds it.
        """
        del self._held[address]
        if self.reuse_delay > 0:
            self._resting[address] = now + self.reuse_delay
        else:
            self._free(address)

    def _rested(self, now: float) -> None:
        """Free what has rested long enough."""
        while self._resting:
            address, until = next(iter(self._resting.items()))
            if until > now and self.reuse_delay > 0:
                return
            del self._resting[address]
            self._free(address)

    def _free(self, address: str) -> None:
        number = ip_address(address)
        for pool in self._pools.values():
            if number in pool:
                pool.give_back(number)

    def resting(self, name: str, now: float) -> set[str]:
        """The addresses of a pool's range that may not be handed out yet; counts them, for display."""
        self._rested(now)
        pool = self._pools[name]
        return {address for address in self._resting if ip_address(address) in pool}

    def in_use(self, name: str) -> int:
        """How many addresses of a pool's range are held; counts them, for display."""
        pool = self._pools[name]
        return sum(1 for address in self._held if ip_address(address) in pool)
