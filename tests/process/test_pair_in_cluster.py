"""A member that is a failover pair: it is killed, and stays the member that it was, its clients with it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from client_emu.client import Client
from client_emu.gateway import Gateway
from client_emu.options import ClientOptions
from tests.balancing_lab import CLUSTER
from tests.pair_in_cluster import LONE, PAIR, PairInCluster, addresses, balancing, type_line
from tests.process_pair import wait_until
from tests.redis_lab import RedisServer

pytestmark = pytest.mark.peer("redis")

INSIDE = {PAIR: "10.77.0.1", LONE: "10.78.0.1"}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def client(cluster: PairInCluster, user: str, **options: Any) -> AsyncIterator[Client]:
    """A client that knows the cluster's address alone."""
    wanted = {"user": user, "password": "pw", "group": "staff", "pin": cluster.lone.pin, **options}
    async with Client(ClientOptions(gateway=Gateway(CLUSTER, cluster.port), **wanted)) as vpn:
        yield vpn


def is_of_the_pair(vpn: Client) -> bool:
    """Whether its address is one of the pair's pool."""
    return (vpn.ip4 or "").startswith("10.77.")


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await trio.to_thread.run_sync(function, *arguments)


async def until_back(vpn: Client, inside: str, limit: float = 15.0) -> None:
    """Wait until a ping comes back through the tunnel."""
    with trio.fail_after(limit):
        while (await vpn.ping(inside, limit=0.3)).received == 0:
            pass


@contextmanager
def watched(cluster: PairInCluster) -> Iterator[list[set[str]]]:
    """The members that the lone one sees in the meantime, again and again."""
    seen: list[set[str]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            seen.append(addresses(balancing(cluster.lone)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def logged(cluster: PairInCluster, *numbers: int) -> list[str]:
    """These messages of the lone member, about the pair or itself."""
    shown = type_line(cluster.lone, "show logging")
    return [number for number in re.findall(r"-(718\d+):", shown) if int(number) in numbers]


def rows(text: str) -> list[list[str]]:
    """The rows of members in `show vpn load-balancing`."""
    return [line.split() for line in text.splitlines() if "ASA-VASA" in line]


def status_row(text: str) -> list[str]:
    return text.splitlines()[3].split()


@pytest.mark.parametrize("directs", [True, False], ids=["director", "member"])
async def test_the_active_unit_is_killed(redis: RedisServer, tmp_path: Path, directs: bool) -> None:
    priorities = (10, 1) if directs else (1, 10)
    with PairInCluster(redis, tmp_path, priorities=priorities) as cluster:
        before = cluster.active
        after = cluster.other(before)
        director = cluster.pair_address if directs else cluster.lone.https
        async with AsyncExitStack() as stack:
            clients = []
            for number in range(4):
                clients.append(await stack.enter_async_context(client(cluster, f"user{number:03}")))
            assert {len(cluster.lone.sessions()), len(before.headend.sessions())} == {2}
            # the standby is nobody in the cluster
            assert balancing(after.headend) == {
                "role": "standby",
                "cluster_ip": CLUSTER,
                "address": None,
                "director": None,
                "redirected": 0,
                "members": [],
            }
            assert status_row(after.type("show vpn load-balancing")) == [
                *("Enabled", "n/a", "Standby", "Disabled", "0", CLUSTER)
            ]
            assert status_row(before.type("show vpn load-balancing")) == [
                *("Enabled", "Master" if directs else "Backup", "Active", "Disabled", "1", CLUSTER)
            ]
            mine = [vpn for vpn in clients if is_of_the_pair(vpn)]
            kept = [(vpn.ip4, vpn.token) for vpn in mine]
            others = [vpn.tcp_source for vpn in clients if vpn not in mine]
            await in_thread(wait_until, lambda: len(after.headend.sessions()) == 2)
            with watched(cluster) as seen:
                before.kill()
                for vpn in mine:
                    await until_back(vpn, INSIDE[PAIR])
                await in_thread(wait_until, lambda: balancing(after.headend)["director"] == director)
                await trio.sleep(1.0)
            assert [(vpn.ip4, vpn.token) for vpn in mine] == kept
            assert others == [vpn.tcp_source for vpn in clients if vpn not in mine]
            assert all(view == {cluster.pair_address, cluster.lone.https} for view in seen)
            assert logged(cluster, 718013, 718014, 718044) == []
            assert balancing(cluster.lone)["director"] == director
            assert rows(after.type("show vpn load-balancing")) == sorted(
                [
                    ["Master" if directs else "Backup", str(priorities[0]), "ASA-VASA", "4", f"{PAIR}*"],
                    ["Backup" if directs else "Master", str(priorities[1]), "ASA-VASA", "4", LONE],
                ],
                reverse=True,
            )
            # the cluster's address is served, and new clients come to both members
            for number in range(4, 6):
                await stack.enter_async_context(client(cluster, f"user{number:03}"))
            assert {len(cluster.lone.sessions()), len(after.headend.sessions())} == {3}
            # the dead unit comes back, as nobody
            before.start()
            await in_thread(before.wait_ready)
            assert balancing(before.headend)["role"] == "standby"
            assert addresses(balancing(cluster.lone)) == {cluster.pair_address, cluster.lone.https}


@pytest.mark.parametrize("order", ["no failover active", "stop", "freeze"])
async def test_the_active_unit_gives_way(redis: RedisServer, tmp_path: Path, order: str) -> None:
    with PairInCluster(redis, tmp_path) as cluster:
        before = cluster.active
        after = cluster.other(before)
        async with client(cluster, "user000") as vpn:
            assert is_of_the_pair(vpn)
            await until_back(vpn, INSIDE[PAIR])
            # this one has its tunnel over the cluster's address itself
            async with client(cluster, "user000", token=vpn.token) as vpn:
                await in_thread(wait_until, lambda: len(after.headend.sessions()) == 1)
                with watched(cluster) as seen:
                    if order == "stop":
                        assert await in_thread(before.stop) == 0
                    elif order == "freeze":
                        before.freeze()
                        await in_thread(wait_until, lambda: after.active)
                        vpn.reconnect()
                    else:
                        before.type(order)
                    try:
                        await until_back(vpn, INSIDE[PAIR])
                        await in_thread(wait_until, lambda: balancing(after.headend)["role"] == "director")
                    finally:
                        if order == "freeze":
                            before.thaw()
                    await trio.sleep(1.0)
                assert all(view == {cluster.pair_address, cluster.lone.https} for view in seen)
                assert logged(cluster, 718013, 718014, 718030, 718044, 718072) == []
                if order != "stop":
                    await in_thread(wait_until, lambda: before.failover()["state"] == "Standby Ready")
                    assert balancing(before.headend)["role"] == "standby"
                    (row,) = before.headend.sessions()
                    assert row["assigned_ip"] == vpn.ip4
                assert (await vpn.ping(INSIDE[PAIR])).received == 1


def test_both_units_die_and_the_lone_member_goes_on(redis: RedisServer, tmp_path: Path) -> None:
    with PairInCluster(redis, tmp_path) as cluster:
        for unit in cluster.units:
            unit.kill()
        killed_at = time.monotonic()
        wait_until(lambda: balancing(cluster.lone)["role"] == "director")
        assert time.monotonic() - killed_at < 4
        assert addresses(balancing(cluster.lone)) == {cluster.lone.https}
        assert logged(cluster, 718014, 718039, 718056, 718044, 718072) == [
            *("718014", "718039", "718056", "718044", "718072")
        ]
