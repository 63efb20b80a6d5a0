"""The `vpn load-balancing` block: what its lines stand for, and all of them together as one view."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from asa_emu.config.document import Block, Setting
from asa_emu.config.facts import MASKED
from asa_emu.config.syntax import Said


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """Everything that the configuration says about VPN load balancing; unsaid is an ASA's default."""

    cluster_ip: str | None = None
    """The address that clients are told of, which the director listens on."""
    port: int = 9023
    """UDP, of Cisco's own protocol between members, which is not spoken here."""
    key: str = field(default="", repr=False)
    encryption: bool = False
    priority: int = 5
    """1 to 10."""
    nat: str | None = None
    """What the director sends clients to instead of the member's own address."""
    redirect_fqdn: bool = False
    """Whether the director sends clients to names."""
    public_interface: str = "outside"
    participate: bool = False


def key(said: Said) -> str:
    """Return the cluster key, 4 to 16 characters."""
    secret = said.text("SECRET")
    if not 4 <= len(secret) <= 16 and not said.freed:
        raise ValueError("a cluster key has 4 to 16 characters")
    return secret


def key_texts(said: Said, value: object) -> tuple[str, str]:
    """Spell a `cluster key` line again."""
    directive = "" if 4 <= len(str(value)) <= 16 else "!emu "
    return f"{directive}cluster key {value}", f"{directive}cluster key {MASKED}"


_CLUSTER_IP: Final = Setting[IPv4Address | None]("cluster ip address", None)
_PORT: Final = Setting[int]("cluster port", 9023)
_KEY: Final = Setting[str]("cluster key", "")
_ENCRYPTION: Final = Setting[bool]("cluster encryption", False)
_PRIORITY: Final = Setting[int]("priority", 5)
_NAT: Final = Setting[IPv4Address | None]("nat", None)
_REDIRECT_FQDN: Final = Setting[bool]("redirect-fqdn", False)
_PUBLIC: Final = Setting[str]("interface lbpublic", "outside")
_PARTICIPATE: Final = Setting[bool]("participate", False)


def read_load_balancing(block: Block) -> LoadBalancing:
    """Return what a `vpn load-balancing` block says."""
    cluster_ip, nat = block.value(_CLUSTER_IP), block.value(_NAT)
    return LoadBalancing(
        cluster_ip=None if cluster_ip is None else str(cluster_ip),
        port=block.value(_PORT),
        key=block.value(_KEY),
        encryption=block.value(_ENCRYPTION),
        priority=block.value(_PRIORITY),
        nat=None if nat is None else str(nat),
        redirect_fqdn=block.value(_REDIRECT_FQDN),
        public_interface=block.value(_PUBLIC),
        participate=block.value(_PARTICIPATE),
    )
