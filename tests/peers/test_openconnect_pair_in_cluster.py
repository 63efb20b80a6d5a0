"""openconnect and a cluster with a failover pair in it: it stays at the pair when a unit is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from asa_emu.testing import HeadendProcess
from tests.balancing_lab import CLUSTER
from tests.pair_in_cluster import PAIR, PairInCluster, balancing
from tests.peers.openconnect import Openconnect
from tests.process_pair import wait_until
from tests.redis_lab import RedisServer

pytestmark = pytest.mark.peer("openconnect", "redis")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[PairInCluster]:
    with RedisServer() as redis, PairInCluster(redis, tmp_path) as made:
        yield made


def session(headend: HeadendProcess) -> dict[str, object]:
    """The one that it has."""
    (row,) = headend.sessions()
    return dict(row)


def test_openconnect_is_sent_to_the_pair_and_resumes_there(cluster: PairInCluster) -> None:
    before = cluster.active
    after = cluster.other(before)
    url = f"https://{CLUSTER}:{cluster.port}"
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                Openconnect(url, "--authgroup", "staff", pin=cluster.lone.pin, user=user, passwords=["pw"])
            )
            for user in ("user001", "user002")
        ]
        for vpn in clients:
            vpn.wait_dtls()
        vpn = next(vpn for vpn in clients if f"https://{PAIR}:{cluster.port}/" in vpn.transcript())
        (other,) = (each for each in clients if each is not vpn)
        mine, elsewhere = session(before.headend), session(cluster.lone)
        wait_until(lambda: len(after.headend.sessions()) == 1)
        mark = other.mark()
        before.kill()
        # openconnect waits ten seconds after an attempt that was refused
        wait_until(lambda: after.active and session(after.headend)["state"] == "active", 30)
        vpn.ping("10.77.0.1")
        now = session(after.headend)
        for fact in ("index", "user", "assigned_ip", "login_time"):
            assert now[fact] == mine[fact]
        # nobody was sent anywhere again, and the other client has noticed nothing
        assert balancing(after.headend)["redirected"] == 0
        assert balancing(after.headend)["role"] == "director"
        other.ping("10.78.0.1")
        assert session(cluster.lone)["tunnels"] != []
        assert session(cluster.lone)["login_time"] == elsewhere["login_time"]
        assert not [line for line in other.lines[mark:] if "CONNECT" in line]
        assert vpn.log_off() == 0
