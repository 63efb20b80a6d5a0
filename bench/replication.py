"""How fast sessions get from the active unit of a pair to its standby, by a Redis on the other core.

Both units run in this process, without sockets: what is measured is the state link. Sessions live in bursts
of changes (log in, tunnels up, tunnel lost, resume, log off), so many a session changes twice between two
entries, as under a storm.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import structlog
import trio

from asa_emu.config import parse_config
from asa_emu.config.failover import Timers, UnitName
from asa_emu.dataplane.hub import Hub
from asa_emu.ha.records import derive_key
from asa_emu.headend.headend import Headend
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.redis_store import redis_store
from asa_emu.serve.state_link import StateLink
from asa_emu.session.model import DownReason, EndReason, Peer, TunnelFacts
from asa_emu.testing.redis_server import has_redis_server, redis_server
from asa_emu.wire.timeline import Timeline
from bench.headend import cores

OFFERED = 1500  # changes a second in the measurement of the lag
JOINED = 10_000
_CONFIG = """\
hostname bench
ip local pool POOL 10.32.0.10-10.32.250.254 mask 255.255.0.0
group-policy DfltGrpPolicy attributes
 vpn-simultaneous-logins 0
 address-pools value POOL
"""
_FACTS = TunnelFacts(
    peer=Peer("127.0.0.1", 50_000),
    local_port=443,
    protocol="TLSv1.3",
    encryption="AES-GCM-256",
    hashing="SHA384",
    ciphersuite="TLS_AES_256_GCM_SHA384",
    compression=None,
    auth_mode="userPassword",
    client_type="AnyConnect",
    client_ver="Open AnyConnect VPN Agent v9.01",
)


class _NoPort:
    """A VPN port that nobody calls at."""

    def close(self, *, abandon: bool = False) -> None:
        """There is nothing to close."""


class Bench:
    """One unit without sockets."""

    def __init__(self, store: Any, name: UnitName) -> None:
        config = parse_config(_CONFIG)
        self.headend = Headend(config, os.urandom)
        self.gateway = Gateway(self.headend, Hub(None), Timeline(trio.current_time(), time.time(), 1.0))
        said = replace(config.failover, enabled=True, unit=name, unit_timers=Timers(0.2, 2.0))
        self.link = StateLink(
            self.gateway,
            _NoPort(),  # type: ignore[arg-type]
            store,
            said,
            derive_key("bench", ""),
            name,
            bind=lambda port: None,
            reconfigured=lambda: None,
        )
        self.policy = replace(self.headend.policy("anybody", "DefaultWEBVPNGroup"), simultaneous_logins=3)
        self._changes = self._lives()

    def change(self) -> None:
        """One change of one session."""
        next(self._changes)

    def _lives(self) -> Any:
        db, number = self.headend.db, 0
        while True:
            number += 1
            now = self.gateway.now()
            session = self.log_in(number)
            yield
            db.assign_addresses(session, True, False, now)
            ssl = db.open_ssl(session, _FACTS, None, now)
            yield
            db.open_dtls(session, _FACTS, None, now)
            yield
            db.tunnel_lost(ssl, DownReason.LOST, now)
            yield
            db.open_ssl(session, _FACTS, None, now)
            yield
            if number % 2:
                db.end(session, EndReason.USER_REQUESTED, now)
                yield

    def log_in(self, number: int) -> Any:
        """A session of another user each time."""
        return self.headend.db.login(
            token=f"token {number}",
            username=f"user{number}",
            tunnel_group="DefaultWEBVPNGroup",
            policy=self.policy,
            facts=_FACTS,
            now=self.gateway.now(),
        )


@asynccontextmanager
async def _unit(url: str, name: UnitName, nursery: trio.Nursery) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(redis_store(url, "bench", 2.0))
        unit = Bench(store, name)
        nursery.start_soon(unit.link.run)
        await unit.link.ready.wait()
        yield unit


async def _lag(url: str, seconds: float) -> dict[str, Any]:
    async with (
        trio.open_nursery() as nursery,
        _unit(url, "primary", nursery) as active,
        _unit(url, "secondary", nursery) as standby,
    ):
        began, cpu, made = trio.current_time(), time.process_time(), 0
        while (passed := trio.current_time() - began) < seconds:
            while made < passed * OFFERED:
                active.change()
                made += 1
            await trio.sleep(0.002)
        wall, cpu = trio.current_time() - began, time.process_time() - cpu
        await active.gateway.safe()
        await trio.sleep(0.5)
        if len(standby.headend.db) != len(active.headend.db):
            raise RuntimeError("the standby has not caught up")
        facts = {
            "unit": "changes/s",
            "aim": 1000,
            "value": round(made / wall),
            "lag_p99_ms": round(standby.link.status().lag_p99 * 1000, 1),
            "acknowledged_p99_ms": round(active.link.status().lag_p99 * 1000, 1),
            "cpu_share_of_both_units": round(cpu / wall, 2),
            "records": active.link.status().sent,
        }
        nursery.cancel_scope.cancel()
    return facts


async def _join(url: str) -> dict[str, Any]:
    async with trio.open_nursery() as nursery, _unit(url, "primary", nursery) as active:
        for number in range(JOINED):
            session = active.log_in(number)
            active.headend.db.assign_addresses(session, True, False, active.gateway.now())
            active.headend.db.open_ssl(session, _FACTS, None, active.gateway.now())
            if number % 100 == 0:
                await trio.lowlevel.checkpoint()
        await active.gateway.safe()
        began = trio.current_time()
        async with _unit(url, "secondary", nursery) as standby:
            took = trio.current_time() - began
            assert len(standby.headend.db) == JOINED
            nursery.cancel_scope.cancel()
    return {"unit": "s", "aim": 10, "value": round(took, 2), "sessions": JOINED}


def _run(measure: Any, *arguments: Any) -> dict[str, Any]:
    if not has_redis_server():
        return {"skipped": "needs redis-server"}
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    own, other = cores()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {other})  # inherited by Redis
    try:
        with redis_server() as url:
            os.sched_setaffinity(0, {own})
            time.sleep(4.1)  # it gives a lease to nobody before it has been there for two hold times
            facts: dict[str, Any] = trio.run(measure, url, *arguments)
            return facts
    finally:
        os.sched_setaffinity(0, before)


def replication(seconds: float) -> dict[str, Any]:
    """Changes at a steady pace, both units on one core: how old they are when the standby has them."""
    return _run(_lag, seconds)


def joining(_seconds: float) -> dict[str, Any]:
    """A standby that comes to an active unit with ten thousand sessions, from nothing to ready."""
    return _run(_join)
