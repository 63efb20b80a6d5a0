"""What the tests of the session database share: one that remembers what it told, and short verbs for it."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, TypeVar

from asa_emu.config import LANDING_GROUP, Policy, built_in_config, effective_policy
from asa_emu.session import (
    AddressPool,
    AddressPools,
    Peer,
    Session,
    SessionDb,
    SessionEvent,
    Tunnel,
    TunnelDown,
    TunnelFacts,
)
from asa_emu.wire.liveness import Action

EventT = TypeVar("EventT", bound=SessionEvent)

HOME = "198.51.100.7"
CAFE = "203.0.113.9"
MINUTE = 60.0


BASE = replace(
    effective_policy(built_in_config(), None, LANDING_GROUP),
    group_policy="staff",
    idle_timeout=30 * MINUTE,
    idle_alert_interval=None,
    session_timeout=None,
    session_alert_interval=None,
    disconnected_timeout=None,
    address_pools=("inside",),
    ipv6_address_pools=("inside6",),
    dpd_gateway=None,
    keepalive=None,
)


def policy(**settings: Any) -> Policy:
    """A policy with an idle timeout of 30 minutes, and no other timer unless named."""
    return replace(BASE, **settings)


def pool(name: str, first: str, last: str, prefixlen: int) -> AddressPool:
    return AddressPool(name, ip_address(first), ip_address(last), prefixlen)


def facts(ip: str = HOME, port: int = 50_001, *, client_ver: str = "5.1.0") -> TunnelFacts:
    """A tunnel of a client at this address."""
    return TunnelFacts(
        Peer(ip, port),
        local_port=443,
        protocol="TLSv1.3",
        encryption="AES-GCM-256",
        hashing="SHA384",
        ciphersuite="TLS_AES_256_GCM_SHA384",
        compression=None,
        auth_mode="userPassword",
        client_type="AnyConnect",
        client_ver=client_ver,
    )


class Lab:
    """A session database, its events, and the links that it wanted closed."""

    def __init__(
        self,
        *,
        capacity: int = 100,
        quirks: Collection[str] = (),
        first_index: int = 1,
        pools: Iterable[AddressPool] | None = None,
    ) -> None:
        if pools is None:
            pools = (
                pool("inside", "192.168.1.4", "192.168.1.6", 24),
                pool("inside6", "2001:db8::4", "2001:db8::ffff", 64),
            )
        self.events: list[SessionEvent] = []
        self.closed: list[tuple[object, TunnelDown]] = []
        self.db = SessionDb(
            capacity=capacity,
            quirks=quirks,
            first_index=first_index,
            pools=AddressPools(pools),
            on_link_down=lambda link, event: self.closed.append((link, event)),
        )
        self.db.subscribe(self.events.append)
        self._tokens = 0

    def login(
        self,
        username: str = "walter",
        *,
        now: float,
        token: str | None = None,
        tunnel_group: str = "Staff",
        clientless: bool = False,
        ip: str = HOME,
        **settings: Any,
    ) -> Session:
        """A user logs in, under a policy with these settings."""
        self._tokens += 1
        return self.db.login(
            token=token or f"token-{self._tokens}",
            username=username,
            tunnel_group=tunnel_group,
            policy=policy(**settings),
            facts=facts(ip),
            clientless=clientless,
            now=now,
        )

    def ssl(self, session: Session, *, now: float, ip: str = HOME, port: int = 50_002) -> Tunnel:
        """CONNECT: an address and an SSL tunnel, whose link is the text `ssl N`."""
        self.db.assign_addresses(session, True, True, now)
        return self.db.open_ssl(session, facts(ip, port), f"ssl {session.next_number}", now)

    def dtls(self, session: Session, *, now: float, ip: str = HOME, port: int = 50_003) -> Tunnel:
        """A DTLS tunnel, whose link is the text `dtls N`."""
        return self.db.open_dtls(session, facts(ip, port), f"dtls {session.next_number}", now)

    def connected(self, username: str = "walter", *, now: float, **settings: Any) -> Session:
        """A user logs in and brings up SSL and DTLS, all at one instant."""
        session = self.login(username, now=now, **settings)
        self.ssl(session, now=now)
        self.dtls(session, now=now)
        return session

    def run_until(self, end: float) -> list[tuple[float, str, Action]]:
        """Let time pass, stopping at each deadline; what had to be sent, with its instant and tunnel."""
        sent: list[tuple[float, str, Action]] = []
        while (at := self.db.next_deadline()) <= end:
            sent.extend((at, tunnel.id, action) for tunnel, action in self.db.on_deadline(at))
        sent.extend((end, tunnel.id, action) for tunnel, action in self.db.on_deadline(end))
        return sent

    def told(self, kind: type[EventT]) -> list[EventT]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def protocol(self, session: Session) -> str:
        """The session's tunnels as the `Protocol` line names them."""
        return " ".join(tunnel.kind.value for tunnel in session.tunnels)
