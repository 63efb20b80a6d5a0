"""What the headend knows: its configuration, its sessions, and how it names the cryptography of a tunnel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from asa_emu.config import Config, Policy, effective_policy, inside_gateway
from asa_emu.session.db import SessionDb
from asa_emu.session.model import Peer
from asa_emu.session.pool import AddressPool, AddressPools

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client's TLS certificate: subject fields by short name (`CN`, `UID`, `OU` …), and its verdict."""

    subject: dict[str, str]
    error: str | None
    """Why it does not verify against the client CA; None when it does."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as far as the transport can tell."""

    peer: Peer
    local_port: int
    host: str
    """The Host header, for group-urls."""
    user_agent: str
    tls_version: str
    cipher: str
    """OpenSSL's name of the cipher suite."""
    certificate: ClientCertificate | None = None


class Headend:
    """The state that the use cases share; called only between awaits, so it needs no lock."""

    def __init__(self, config: Config, random_bytes: RandomBytes, *, first_index: int = 1) -> None:
        self.config = config
        self.random_bytes = random_bytes
        self.db = SessionDb(
            capacity=config.max_sessions,
            quirks=config.quirks,
            first_index=first_index,
            pools=_address_pools(config),
        )

    def policy(self, username: str, tunnel_group: str) -> Policy:
        """The policy of `username` in `tunnel_group`, every inheritance resolved."""
        return effective_policy(self.config, username, tunnel_group)


def _address_pools(config: Config) -> AddressPools:
    """The pools of the configuration; the inside gateway's own addresses are not handed out."""
    pools = [
        AddressPool(pool.name, pool.first, pool.last, pool.network.prefixlen)
        for pool in config.pools.values()
    ]
    pools += [
        AddressPool(pool.name, pool.first, pool.last, pool.prefix_length)
        for pool in config.ipv6_pools.values()
    ]
    gateways = (inside_gateway(config, 4), inside_gateway(config, 6))
    return AddressPools(pools, reserved=[str(gateway.ip) for gateway in gateways if gateway is not None])


@dataclass(frozen=True, slots=True)
class SuiteNames:
    """A cipher suite as `show vpn-sessiondb` names it."""

    encryption: str
    hashing: str
    ciphersuite: str = field(default="")


def suite_names(openssl_name: str) -> SuiteNames:
    """An ASA's words for an OpenSSL suite name: `TLS_AES_256_GCM_SHA384` is AES-GCM-256 and SHA384."""
    name = openssl_name.upper().replace("_", "-")
    hashing = next((h for h in ("SHA384", "SHA256", "MD5") if name.endswith(h)), "SHA1")
    if "CHACHA20" in name:
        return SuiteNames("CHACHA20-POLY1305", "SHA256", openssl_name)
    for bits in ("256", "128"):
        if f"AES{bits}" in name or f"AES-{bits}" in name:
            kind = f"AES-GCM-{bits}" if "GCM" in name else f"AES{bits}"
            return SuiteNames(kind, hashing, openssl_name)
    return SuiteNames("none", "none", openssl_name)
