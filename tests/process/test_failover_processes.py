"""Failover between real processes: killed, frozen, woken, stopped, and a Redis that comes and goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from client_emu.client import Client
from client_emu.gateway import Gateway
from client_emu.options import ClientOptions
from tests.process_pair import CONFIG, HOLD, POLL, ProcessPair, Unit, boot_clock, wait_until
from tests.redis_lab import RedisServer

pytestmark = pytest.mark.peer("redis")

INSIDE = "10.77.0.1"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One that the test may kill."""
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def client(pair: ProcessPair, user: str) -> AsyncIterator[Client]:
    """A client of whichever unit serves."""
    options = ClientOptions(
        gateway=Gateway("127.0.0.1", pair.port),
        user=user,
        password="pw",
        group="staff",
        pin=pair.units[0].headend.pin,
    )
    async with Client(options) as vpn:
        yield vpn


async def until_back(vpn: Client, limit: float = 15.0) -> None:
    """Wait until a ping comes back through the tunnel."""
    with trio.fail_after(limit):
        while (await vpn.ping(INSIDE, limit=0.3)).received == 0:
            pass


async def ask(unit: Unit, path: str) -> object:
    return await trio.to_thread.run_sync(unit.headend.api, "GET", path)


async def becomes_active(unit: Unit, limit: float = 10 * HOLD) -> None:
    await trio.to_thread.run_sync(wait_until, lambda: unit.active, limit)


def spans(pair: ProcessPair) -> list[tuple[float, float, int]]:
    """From when to when the running units were active, by fencing number."""
    now = boot_clock()
    found = [
        (span["since"], span["until"] or now, span["fence"])
        for unit in pair.units
        if unit.running
        for span in unit.failover()["intervals"]
    ]
    return sorted(found)


def assert_never_two_active(pair: ProcessPair) -> None:
    found = spans(pair)
    for (_, ended, fence), (began, _, after) in zip(found, found[1:]):  # noqa: B905, RUF007
        assert ended <= began
        assert fence <= after


async def test_kill_and_come_back(redis: RedisServer, tmp_path: Path) -> None:
    with ProcessPair(redis, tmp_path) as pair:
        before = pair.active
        after = pair.other(before)
        async with client(pair, "user001") as vpn:
            address = vpn.ip4
            await until_back(vpn)
            (mine,) = before.headend.sessions()
            await trio.to_thread.run_sync(wait_until, lambda: len(after.headend.sessions()) == 1)
            before.kill()
            killed_at = boot_clock()
            await until_back(vpn)
            assert vpn.ip4 == address
            (row,) = after.headend.sessions()
            assert (row["index"], row["assigned_ip"], row["login_time"]) == (
                mine["index"],
                address,
                mine["login_time"],
            )
            (span,) = after.failover()["intervals"]
            assert 0 < span["since"] - killed_at < HOLD + 2 * POLL + 1
            assert "HELLO not heard from mate" in after.type("show logging")
            # the dead one comes back as standby, and takes over in its turn
            before.start()
            await trio.to_thread.run_sync(before.wait_ready)
            status = before.failover()
            assert (status["role"], status["state"]) == ("standby", "Standby Ready")
            assert [row["assigned_ip"] for row in before.headend.sessions()] == [address]
            after.kill()
            await until_back(vpn)
            assert vpn.ip4 == address
            assert before.failover()["fence"] == 3


async def test_a_frozen_unit_gets_nothing_and_finds_out_when_it_wakes(
    redis: RedisServer, tmp_path: Path
) -> None:
    with ProcessPair(redis, tmp_path) as pair:
        before = pair.active
        after = pair.other(before)
        async with client(pair, "user001") as vpn:
            await until_back(vpn)
            before.freeze()
            try:
                await becomes_active(after)
                # its listener still stands, and takes none of these
                for number in range(20):
                    async with client(pair, f"user{100 + number}"):
                        pass
                vpn.reconnect()
                await until_back(vpn)
            finally:
                before.thaw()
            await trio.to_thread.run_sync(
                wait_until, lambda: before.failover().get("state") == "Standby Ready", 10
            )
            assert (await vpn.ping(INSIDE)).received == 1
            assert after.active
            assert [row["user"] for row in before.headend.sessions()] == ["user001"]
            assert_never_two_active(pair)
            assert "Switching to STANDBY" in before.type("show logging")


async def test_no_failover_active_and_a_stop_hand_over_without_a_word_to_clients(
    redis: RedisServer, tmp_path: Path
) -> None:
    with ProcessPair(redis, tmp_path) as pair:
        before = pair.active
        after = pair.other(before)
        async with client(pair, "user001") as vpn:
            address = vpn.ip4
            await until_back(vpn)
            assert before.type("no failover active") == ""
            await becomes_active(after)
            await until_back(vpn)
            await trio.to_thread.run_sync(
                wait_until, lambda: before.failover().get("state") == "Standby Ready"
            )
            assert_never_two_active(pair)
            assert after.stop() == 0
            await becomes_active(before)
            await until_back(vpn)
            assert vpn.ip4 == address
            (row,) = before.headend.sessions()
            assert row["index"] == 1


async def test_a_unit_alone_tells_its_clients_when_it_stops(redis: RedisServer, tmp_path: Path) -> None:
    with ProcessPair(redis, tmp_path) as pair:
        last = pair.active
        pair.other(last).kill()
        async with client(pair, "user001") as vpn:
            await trio.to_thread.run_sync(wait_until, lambda: last.failover()["mate"] is None, 3 * HOLD)
            assert last.stop() == 0
            assert "Administrator Reset" in str(await vpn.wait_ended())


async def test_redis_is_killed_and_started_again(own_redis: RedisServer, tmp_path: Path) -> None:
    redis = own_redis
    with ProcessPair(redis, tmp_path) as pair:
        active = pair.active
        standby = pair.other(active)
        async with client(pair, "user001") as vpn:
            source = vpn.tcp_source
            redis.kill()
            await trio.sleep(2 * HOLD)
            assert (await vpn.ping(INSIDE)).received == 1
            async with client(pair, "user002") as other:
                assert (await other.ping(INSIDE)).received == 1
                status = active.failover()
                assert (status["role"], status["link"]) == ("active", "down")
                assert "(down)" in active.type("show failover")
                assert "Failover interface failed" in active.type("show logging")
                assert not standby.active
                redis.start()
                await trio.to_thread.run_sync(
                    wait_until, lambda: len(standby.headend.sessions()) == 2, 5 * HOLD
                )
                assert active.active
                assert active.failover()["link"] == "up"
                assert "Failover interface OK" in active.type("show logging")
                assert vpn.tcp_source == source
                active.kill()
                await until_back(vpn)
                await until_back(other)
            assert standby.active


async def test_a_redis_that_is_silent_stops_the_active_unit(own_redis: RedisServer, tmp_path: Path) -> None:
    redis = own_redis
    with ProcessPair(redis, tmp_path) as pair:
        active = pair.active
        async with client(pair, "user001") as vpn:
            await until_back(vpn)
            redis.freeze()
            try:
                await trio.sleep(2 * HOLD)
                assert (await vpn.ping(INSIDE, limit=0.3)).received == 0
                assert active.failover()["link"] == "silent"
                for unit in pair.units:
                    assert not [span for span in unit.failover()["intervals"] if span["until"] is None]
            finally:
                redis.thaw()
            await until_back(vpn)
            assert_never_two_active(pair)


async def test_strangers_in_redis_stop_nobody(redis: RedisServer, tmp_path: Path) -> None:
    with ProcessPair(redis, tmp_path) as pair:
        active = pair.active
        async with client(pair, "user001") as vpn:
            prefix = f"asa:{{127.0.0.1:{pair.port}}}:"
            for command in (
                ("XADD", f"{prefix}log", "*", "h", "garbage", "r", "more of it"),
                ("XADD", f"{prefix}log", "*", "other", "field"),
                ("SET", f"{prefix}lease", "mine"),
                ("LPUSH", f"{prefix}hello:secondary", "x"),
                ("DEL", f"{prefix}sessions"),
                ("SET", f"{prefix}sessions", "x"),
                ("SET", f"{prefix}head", "asa-emu/2 head 00 {}"),
                ("SET", f"{prefix}fence", "many"),
                ("FLUSHALL",),
            ):
                subprocess.run(
                    ["redis-cli", "-p", str(redis.port), *command], check=True, capture_output=True
                )
                await trio.sleep(2 * POLL)
                assert (await vpn.ping(INSIDE)).received == 1
            await trio.sleep(HOLD)
            assert active.active
            assert_never_two_active(pair)
            standby = pair.other(active)
            async with client(pair, "user002"):
                await trio.to_thread.run_sync(wait_until, lambda: len(standby.headend.sessions()) == 2)
            active.kill()
            await until_back(vpn)


def test_both_units_show_one_certificate_whatever_lies_in_its_place(
    redis: RedisServer, tmp_path: Path
) -> None:
    pair = ProcessPair(redis, tmp_path)
    key = f"asa:{{127.0.0.1:{pair.port}}}:identity"
    subprocess.run(
        ["redis-cli", "-p", str(redis.port), "SET", key, "garbage"], check=True, capture_output=True
    )
    with pair:
        primary, secondary = pair.units
        assert primary.headend.pin == secondary.headend.pin
        pin = primary.headend.pin
        secondary.kill()
        subprocess.run(["redis-cli", "-p", str(redis.port), "DEL", key], check=True, capture_output=True)
        secondary.start()
        assert secondary.wait_ready().headend.pin == pin


def test_a_unit_waits_for_its_store_and_can_be_stopped(tmp_path: Path) -> None:
    config = CONFIG.format(unit="primary", poll=POLL, hold=HOLD)
    unit = Unit("primary", tmp_path, "127.0.0.1:14999", "redis://127.0.0.1:1/0", config)
    unit.start()
    wait_until(lambda: "waiting_for_store" in unit.log.read_text(), 20)
    assert not unit.ready
    assert unit.stop() == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("failover lan unit primary\n", "failover without `failover lan unit"),
        ("127.0.0.1:0", "need the same port"),
        ("http://127.0.0.1:1", "write redis://HOST:PORT/DB"),
    ],
)
def test_what_cannot_be_a_unit_is_a_usage_error(tmp_path: Path, change: str, reason: str) -> None:
    text = CONFIG.format(unit="primary", poll=POLL, hold=HOLD)
    config = tmp_path / "running-config"
    config.write_text(text.replace(change, "") if change in text else text)
    listen = change if change.startswith("127") else "127.0.0.1:14998"
    link = change if change.startswith("http") else "redis://127.0.0.1:1/0"
    line = [sys.executable, "-m", "asa_emu", "serve", str(config), "--listen", listen, "--state-link", link]
    done = subprocess.run(
        [*line, "--state", str(tmp_path / "state")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr
