"""A unit of a failover pair: its mate, the store they share, and the link it lives by."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from asa_emu.config import (
    Config,
    Failover,
)
from asa_emu.ha.records import derive_key
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.state_link import CannotServe, StateLink
from asa_emu.serve.store import Store
from asa_emu.serve.vpn_port import VpnPort, claim
from asa_emu.transport.certificates import (
    Identity,
    load_identity,
)

if TYPE_CHECKING:
    from asa_emu.serve.redis_store import RedisStore
from asa_emu.app.options import BindError, HostPort, Options, UsageError, default_state_directory

log = structlog.get_logger(__name__)


def unit_settings(options: Options, config: Config, listen: HostPort) -> Failover | None:
    """What the configuration says about failover, None for a headend without a mate."""
    said = config.failover
    if not said.enabled:
        return None
    if options.state_link is None and options.store is None:
        log.warning("failover.alone", reason="there is no --state-link to a mate")
        return None
    if said.unit is None:
        raise UsageError(f"{config.source}: failover without `failover lan unit {{primary|secondary}}`")
    if not listen.port:
        raise UsageError(f"--listen {listen}: both units of a failover pair need the same port")
    if said.link is None:
        log.warning("failover.no_link", reason="without `failover link` an ASA would carry no sessions")
    if not said.key and options.state_link is not None:
        log.warning("failover.no_key", reason="without `failover key` anybody can sign records of this pair")
    return said


def check_state_link(options: Options, config: Config, listen: HostPort) -> None:
    """Say when a --state-link is of no use, when one is missing, and who meets others there in vain.

    Raises `UsageError` for one that leads nowhere.
    """
    balancing = config.load_balancing
    if balancing.participate and ip_address(listen.host).is_unspecified:
        reason = f"whoever listens on {listen} cannot have the cluster's address besides"
        log.warning("balancing.never_directs", reason=reason)
    if options.state_link is not None and not _names_a_store(options.state_link):
        raise bad_state_link(options.state_link)
    if options.state_link is None:
        if balancing.participate and options.meeting is None:
            log.warning("balancing.alone", reason="there is no --state-link to other members of the cluster")
    elif balancing.participate:
        if not balancing.key:
            log.warning("balancing.no_key", reason="without `cluster key` anybody can sign as a member")
    elif not config.failover.enabled:
        reason = "the configuration has neither `failover` nor `participate` under `vpn load-balancing`"
        log.warning("state_link.unused", reason=reason)


@asynccontextmanager
async def shared_store(
    options: Options, said: Failover | None, listen: HostPort
) -> AsyncIterator[Store | None]:
    """Where the units of a failover pair meet: in Redis, or in this process."""
    if said is None or options.state_link is None:
        yield None if said is None else options.store
        return
    async with _redis_store(options.state_link, said, listen) as store:
        yield store


def _redis_store(url: str, said: Failover, listen: HostPort) -> AbstractAsyncContextManager[RedisStore]:
    try:
        from asa_emu.serve.redis_store import redis_store
    except ImportError as error:
        raise UsageError(f"--state-link needs the extra: pip install asa-emu[cluster] ({error})") from error
    try:
        return redis_store(url, str(listen), said.unit_timers.hold)
    except ValueError as error:
        raise bad_state_link(url) from error


def _names_a_store(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("redis", "rediss")
            and re.fullmatch(r"[^\s/]+", parts.hostname or "") is not None
            and parts.port != 0
            and re.fullmatch(r"/?[0-9]*", parts.path) is not None
        )
    except ValueError:
        return False


def bad_state_link(url: str) -> UsageError:
    """What is wrong with a --state-link, without the password in it."""
    without_password = re.sub(r"//.*@", "//", url)
    return UsageError(f"--state-link {without_password}: write redis://HOST:PORT/DB")


async def pair_identity(
    options: Options, said: Failover, listen: HostPort, certificate: Path, key: Path
) -> tuple[Identity, Path, Path]:
    """The certificate that both units of a pair show."""
    if options.state_link is not None:
        directory = options.state or default_state_directory()
        kept = directory / f"pair-{listen.port}.pem", directory / f"pair-{listen.port}.key"
        async with _redis_store(options.state_link, said, listen) as store:
            from asa_emu.serve.pair_identity import agree

            certificate, key = await agree(store, derive_key(str(listen), said.key), (certificate, key), kept)
    return load_identity(certificate, key), certificate, key


def state_link_of(
    store: Store,
    gateway: Gateway,
    port: VpnPort,
    said: Failover,
    at: tuple[HostPort, HostPort | None],
    reconfigured: Callable[[], None],
) -> StateLink:
    """The link of this unit, which opens the service's sockets when the unit becomes active."""
    https, dtls = at
    key = derive_key(str(https), said.key)

    def bind(port: VpnPort) -> None:
        port.open(*claim((https.host, https.port), None if dtls is None else (dtls.host, dtls.port)))

    instance = secrets.token_hex(8)
    return StateLink(gateway, port, store, said, key, instance, bind=bind, reconfigured=reconfigured)


async def run_link(link: StateLink, listen: HostPort) -> None:
    """Live by the state link. Raises `BindError` when the unit is to act and cannot listen."""
    try:
        await link.run()
    except* CannotServe as group:
        raise BindError(f"cannot listen on {listen} (--listen): {group.exceptions[0]}") from group
