"""What the timers of many sessions cost: an emulated hour of dead-peer detection and keepalive.

Sessions log in over one emulated minute and bring up SSL and DTLS; then an hour passes in which every client
answers each probe, on the pure core alone and on one core. A tenth as many sessions go first: where a timer
costs O(log n), the microseconds per action of the two runs differ little. `seconds` is CPU time of this
process; `kib_per_session` is what Python has allocated for a session with both tunnels, divided out.
"""

import gc
import time
import tracemalloc
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from asa_emu.config import LANDING_GROUP, built_in_config, effective_policy
from asa_emu.session import AddressPool, AddressPools, Peer, SessionDb, TunnelFacts
from asa_emu.wire.liveness import Action

EPOCH = 1_700_000_000.0
HOUR_S = 3600.0
LOGINS_WITHIN_S = 60.0
ANSWER_AFTER_S = 0.03

POLICY = replace(
    effective_policy(built_in_config(), None, LANDING_GROUP),
    dpd_gateway=30.0,
    keepalive=20.0,
    idle_timeout=2 * HOUR_S,
    address_pools=("inside",),
    ipv6_address_pools=("inside6",),
)


def facts(number: int, protocol: str) -> TunnelFacts:
    """A tunnel as the shell describes it: strings that are the same for all are shared."""
    return TunnelFacts(
        peer=Peer(str(IPv4Address(0x0A800000 + number)), 49152 + number % 16384),
        local_port=443,
        protocol=protocol,
        encryption="AES-GCM-256",
        hashing="SHA384",
        ciphersuite="TLS_AES_256_GCM_SHA384",
        compression=None,
        auth_mode="userPassword",
        client_type="AnyConnect",
        client_ver="AnyConnect Linux_64 5.1.0",
    )


def connect(db: SessionDb, number: int, now: float) -> None:
    """Log one user in and bring both tunnels up."""
    session = db.login(
        token=f"{number:064x}",
        username=f"user{number:05}",
        tunnel_group="Staff",
        policy=POLICY,
        facts=facts(number, ""),
        now=now,
    )
    db.assign_addresses(session, True, True, now)
    db.open_ssl(session, facts(number, "TLSv1.3"), None, now)
    db.open_dtls(session, facts(number, "DTLSv1.2"), None, now)


def filled(sessions: int) -> SessionDb:
    """A database with that many connected sessions."""
    pools = AddressPools(
        [
            AddressPool("inside", IPv4Address("10.1.0.1"), IPv4Address("10.1.255.254"), 16),
            AddressPool("inside6", IPv6Address("2001:db8::1"), IPv6Address("2001:db8::ffff"), 64),
        ]
    )
    db = SessionDb(capacity=sessions, pools=pools)
    for number in range(sessions):
        connect(db, number, EPOCH + LOGINS_WITHIN_S * number / sessions)
    return db


def hour(sessions: int) -> dict[str, float]:
    """Let an hour pass for that many sessions."""
    started = time.process_time()
    db = filled(sessions)
    filled_in = time.process_time() - started
    start = EPOCH + LOGINS_WITHIN_S
    wake_ups = probes = keepalives = 0
    started = time.process_time()
    while (now := db.next_deadline()) <= start + HOUR_S:
        wake_ups += 1
        for tunnel, action in db.on_deadline(now):
            if action is Action.SEND_DPD:
                probes += 1
                if tunnel.liveness is not None:
                    tunnel.liveness.last_received_at = now + ANSWER_AFTER_S
            else:
                keepalives += 1
    seconds = time.process_time() - started
    if any(len(session.tunnels) != 3 for session in db.sessions()):
        raise SystemExit("a client that answered was taken for dead")
    return {
        "sessions": sessions,
        "seconds": round(seconds, 2),
        "dpd_requests": probes,
        "keepalives": keepalives,
        "wake_ups": wake_ups,
        "us_per_action": round(seconds / (probes + keepalives) * 1e6, 2),
        "us_per_session_second": round(seconds / sessions / HOUR_S * 1e6, 3),
        "us_per_session_filled": round(filled_in / sessions * 1e6, 1),
    }


def kib_per_session(sessions: int) -> float:
    """What a connected session occupies in the pure core."""
    gc.collect()
    tracemalloc.start()
    db = filled(sessions)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round(size / len(db) / 1024, 2)


def run(seconds: float) -> dict[str, Any]:
    """Both sizes: as many sessions as take about `seconds` of CPU, at most 10,000, and a tenth of them."""
    sessions = min(10_000, max(10, int(500 * seconds)))
    return {
        "tenth": hour(max(1, sessions // 10)),
        "full": hour(sessions),
        "kib_per_session": kib_per_session(min(sessions, 2000)),
    }
