"""The address of the headend on the inside network."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Literal

from asa_emu.config.model import Config


def inside_gateway(config: Config, family: Literal[4, 6]) -> IPv4Interface | IPv6Interface | None:
    """Return the inside address with its prefix length, or None when the inside has none of its own.

    It is that of the interface with `nameif inside`, else the first host address of the first pool's network
    that no pool hands out. An interface that takes its address from elsewhere does not count.
    """
    for interface in config.interfaces:
        if (interface.nameif or "").lower() == "inside":
            addresses = (interface.ip,) if family == 4 else interface.ip6
            for address in addresses:
                if address is not None:
                    return address
    pools = tuple(config.pools.values()) if family == 4 else tuple(config.ipv6_pools.values())
    for pool in pools:
        network = pool.network
        first = network.network_address + (1 if network.prefixlen < network.max_prefixlen - 1 else 0)
        if not any(first in other for other in pools):
            return ip_interface(f"{first}/{network.prefixlen}")
    return None
