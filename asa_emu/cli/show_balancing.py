"""`show vpn load-balancing`: the state of this unit, the members, and how loaded each of them is."""

from __future__ import annotations

from asa_emu.cli import unverified as u
from asa_emu.cli.console import Console
from asa_emu.config.syntax import Said
from asa_emu.ha.balance import Balancer

_DASHES = "-" * 74 + "\n"
_MODEL, _VERSION = "ASA-VASA", 4
_ROLES = {True: "Master", False: "Backup"}


def show_load_balancing(console: Console, _said: Said) -> str:
    """Return the three tables; the last two are of the members, this unit with an asterisk.

    The standby of a failover pair has nobody there: the active unit is the member.
    """
    balancer, unit = console.services.balancer or Balancer(), console.services.unit
    said = console.headend.config.load_balancing
    me, members = balancer.me, balancer.members
    role = u.NO_ROLE if me is None else _ROLES[balancer.directs]
    failover = "n/a" if unit is None else u.BALANCING_FAILOVER[unit.active]
    enabled = me is not None or (unit is not None and not unit.active and said.participate)
    text = (
        f"{_DASHES} Status     Role     Failover   Encryption   Peers     Cluster IP        \n{_DASHES}"
        f" {'Enabled' if enabled else 'Disabled':<10} {role:<8} {failover:<10}"
        f" {'Enabled' if said.encryption else 'Disabled':<12} {max(0, len(members) - 1):>5}"
        f"     {said.cluster_ip or u.NO_CLUSTER_IP}\n\n"
        f" Peers:\n{_DASHES}"
        f" Role    Pri  Model             Load-Balancing Version  Public IP         \n{_DASHES}"
    )
    loads = ""
    for member in members:
        shown = member.ip + "*" * (me is not None and member.address == me.address)
        directs = _ROLES[member.address == balancer.director]
        text += f" {directs:<6} {member.priority:>4}  {_MODEL:<17} {_VERSION:>22}  {shown}\n"
        loads += f"  {member.limit:>6} {member.used:>7} {member.load:>6}%"
        loads += f"  {0:>12} {0:>7} {0:>6}%  {shown}\n"
    return (
        f"{text}\n Total License Load:\n{_DASHES}"
        "  AnyConnect Premium/Essentials        Other VPN         Public IP         \n"
        "  -----------------------------   ---------------------                    \n"
        f"   Limit    Used   Load          Limit    Used   Load                     \n{_DASHES}{loads}"
    )
