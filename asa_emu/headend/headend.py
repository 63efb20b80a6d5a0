"""What the headend knows: its configuration, its sessions, and how it names the cryptography of a tunnel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from asa_emu.config import Config, Policy, effective_policy, inside_gateway
from asa_emu.session.db import SessionDb
from asa_emu.session.events import SessionEvent
from asa_emu.session.model import Peer, Session, Tunnel
from asa_emu.session.pool import AddressPool
from asa_emu.syslog import Syslog
from asa_emu.syslog.facts import ClientMessage, Fact, Farewell, whose
from asa_emu.wire.frames import Disconnect, DisconnectCode

RandomBytes = Callable[[int], bytes]

_FAREWELLS: dict[int | None, Farewell] = {
    None: Farewell.NORMAL,
    DisconnectCode.USER: Farewell.LOGOUT,
    DisconnectCode.PAUSED: Farewell.LOGOUT,
}


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


@dataclass(slots=True)
class LoginCounters:
    """How often the steps of a login were taken. A resume takes none of them (S136-S138)."""

    authentications: int = 0
    authorizations: int = 0
    host_scans: int = 0
    """Asked for."""
    host_scan_reports: int = 0


class Headend:
    """The state that the use cases share; called only between awaits, so it needs no lock."""

    def __init__(self, config: Config, random_bytes: RandomBytes, *, first_index: int = 1) -> None:
        self.config = config
        self.random_bytes = random_bytes
        self.counters = LoginCounters()
        self.syslog = Syslog(config)
        self.listeners: list[Callable[[Fact | SessionEvent], None]] = [self.syslog.hear]
        """Who hears `emit`; the session database's own events have their own subscribers."""
        self.loaded_generation = config.generation
        """Of the configuration that it was started with."""
        self.db = SessionDb(first_index=first_index)
        self._pools: dict[str, AddressPool] = {}
        self._gateways: set[str] = set()
        self.reconfigure()
        self.db.subscribe(self.syslog.hear)

    def emit(self, fact: Fact | SessionEvent) -> None:
        """Tell a fact that changes no session."""
        for listener in self.listeners:
            listener(fact)

    def client_disconnected(self, tunnel: Tunnel, goodbye: Disconnect, now: float) -> None:
        """A DISCONNECT came in over this tunnel: tell its words, then let it have its effect."""
        if tunnel.up and goodbye.text:
            farewell = _FAREWELLS.get(goodbye.code, Farewell.ERROR)
            self.emit(ClientMessage(**whose(tunnel.session, now), farewell=farewell, text=goodbye.text))
        self.db.client_disconnected(tunnel, goodbye.code, now)

    def policy(self, username: str, tunnel_group: str) -> Policy:
        """The policy of `username` in `tunnel_group`, every inheritance resolved."""
        return effective_policy(self.config, username, tunnel_group)

    def refresh_policy(self, session: Session, now: float) -> None:
        """Give a session the present state of its group-policy, for its next tunnel (S35, S43).

        What the session was logged in to stays: its group-policy is not chosen anew.
        """
        if self.config.generation != self.loaded_generation:
            policy = effective_policy(
                self.config, session.username, session.tunnel_group, session.group_policy
            )
            self.db.change_policy(session, policy, now)

    def reconfigure(self) -> None:
        """Take over what the configuration says now about logging, pools, the session limit and quirks.

        Group policies need nothing: whoever opens a session or a tunnel asks for them. A pool that did not
        change keeps its order of addresses; those that sessions hold stay held.
        """
        self.syslog.refresh()
        self.db.capacity = self.config.max_sessions
        self.db.quirks = set(self.config.quirks)
        ledger, wanted = self.db.pools, _address_pools(self.config)
        ledger.reuse_delay = self.config.reuse_delay
        for name in self._pools.keys() - wanted.keys():
            ledger.remove(name)
        for name, pool in wanted.items():
            if name not in self._pools or not _same(pool, self._pools[name]):
                self._pools[name] = pool
                ledger.add(pool)
        self._pools = {name: self._pools[name] for name in wanted}
        gateways = _gateways(self.config)
        for address in self._gateways - gateways:
            ledger.give_back(address)
        # an address that a session holds does not become the gateway's in the ledger while it does
        self._gateways = {a for a in gateways if a in self._gateways or ledger.hold(a)}


def _address_pools(config: Config) -> dict[str, AddressPool]:
    """The pools of the configuration; no name is both an IPv4 and an IPv6 pool's here."""
    pools = [
        AddressPool(pool.name, pool.first, pool.last, pool.network.prefixlen)
        for pool in config.pools.values()
    ]
    pools += [
        AddressPool(pool.name, pool.first, pool.last, pool.prefix_length)
        for pool in config.ipv6_pools.values()
    ]
    return {pool.name: pool for pool in pools}


def _same(one: AddressPool, other: AddressPool) -> bool:
    facts = ("version", "first", "last", "prefixlen")
    return all(getattr(one, fact) == getattr(other, fact) for fact in facts)


def _gateways(config: Config) -> set[str]:
    """The inside gateway's own addresses, which are not handed out."""
    found = (inside_gateway(config, 4), inside_gateway(config, 6))
    return {str(gateway.ip) for gateway in found if gateway is not None}


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
