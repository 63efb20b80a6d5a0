"""Failover between real processes: killed, frozen, woken, stopped, and a Redis that comes and goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from asa_emu.ha.store import RawAsk, RawTold
from asa_emu.serve.redis_store import RedisStore, redis_store
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


async def keeps_answering(vpn: Client, seconds: float) -> None:
    """Ping through the tunnel for so long, and miss no answer."""
    until = boot_clock() + seconds
    while boot_clock() < until:
        assert (await vpn.ping(INSIDE)).received == 1
        await trio.sleep(0.05)


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
            (row,) = before.headend.sessions()
            mine = f'"src_port":{row["tunnels"][1]["src_port"]},'.encode()
            before.freeze()
            try:
                await becomes_active(after)
                asked = await asks(before, "/v1/sessions")
                # its listener still stands, and takes none of these
                for number in range(20):
                    async with client(pair, f"user{100 + number}"):
                        pass
                vpn.reconnect()
                await until_back(vpn)
            finally:
                before.thaw()
            assert mine not in await answer_of(asked)  # what it knew when it fell asleep
            await trio.to_thread.run_sync(
                wait_until, lambda: before.failover().get("state") == "Standby Ready", 10
            )
            assert (await vpn.ping(INSIDE)).received == 1
            assert after.active
            assert [row["user"] for row in before.headend.sessions()] == ["user001"]
            assert_never_two_active(pair)
            assert "Switching to STANDBY" in before.type("show logging")


async def asks(unit: Unit, path: str) -> trio.SocketStream:
    """Ask the management API, whose answer may take."""
    host, _, port = unit.headend.manage.rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    await stream.send_all(f"{head}Authorization: Bearer {unit.headend.manage_token}\r\n\r\n".encode())
    return stream


async def answer_of(asked: trio.SocketStream) -> bytes:
    """The whole answer."""
    answer = b""
    async with asked:
        with trio.fail_after(10):
            async for part in asked:
                answer += part
    assert b" 200 " in answer
    return answer


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


async def test_units_are_started_anew_one_after_the_other(redis: RedisServer, tmp_path: Path) -> None:
    with ProcessPair(redis, tmp_path) as pair:
        first = pair.active
        second = pair.other(first)
        async with client(pair, "user001") as vpn:
            await until_back(vpn)
            for stops, stays in ((second, first), (first, second)):
                assert stops.stop() == 0
                stops.start()
                await trio.to_thread.run_sync(stops.wait_ready)
                assert stays.active
                await until_back(vpn)
            assert second.stop() == 0
            await until_back(vpn)
            (row,) = first.headend.sessions()
            assert row["index"] == 1


async def test_a_unit_alone_tells_its_clients_when_it_stops(redis: RedisServer, tmp_path: Path) -> None:
    with ProcessPair(redis, tmp_path) as pair:
        last = pair.active
        wait_until(lambda: (last.failover()["mate"] or {}).get("state") == "Standby Ready")
        pair.other(last).kill()
        async with client(pair, "user001") as vpn:
            await trio.to_thread.run_sync(wait_until, lambda: last.failover()["mate"] is None, 3 * HOLD)
            assert last.stop() == 0
            with trio.fail_after(10):
                assert "Administrator Reset" in str(await vpn.wait_ended())


async def test_redis_is_killed_and_started_again(own_redis: RedisServer, tmp_path: Path) -> None:
    redis = own_redis
    with ProcessPair(redis, tmp_path) as pair:
        active = pair.active
        standby = pair.other(active)
        async with client(pair, "user001") as vpn:
            source = vpn.tcp_source
            redis.kill()
            await keeps_answering(vpn, 2 * HOLD)
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


async def test_a_redis_that_comes_back_as_it_was_brings_nobody_back(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    with ProcessPair(own_redis, tmp_path) as pair:
        active = pair.active
        standby = pair.other(active)
        async with client(pair, "user001") as vpn:
            async with client(pair, "user002"):
                await trio.to_thread.run_sync(wait_until, lambda: len(standby.headend.sessions()) == 2)
                own_redis.tell("SAVE")
            await trio.to_thread.run_sync(wait_until, lambda: len(standby.headend.sessions()) == 1)
            own_redis.kill()
            active.kill()
            own_redis.start()
            await until_back(vpn)
            assert standby.active
            assert [row["user"] for row in standby.headend.sessions()] == ["user001"]


async def test_a_redis_that_is_silent_stops_the_active_unit(own_redis: RedisServer, tmp_path: Path) -> None:
    redis = own_redis
    with ProcessPair(redis, tmp_path) as pair:
        active = pair.active
        async with client(pair, "user001") as vpn:
            await until_back(vpn)
            redis.freeze()
            try:
                await trio.to_thread.run_sync(wait_until, lambda: not any(unit.active for unit in pair.units))
                assert (await vpn.ping(INSIDE, limit=0.3)).received == 0
                assert active.failover()["link"] == "silent"
                for unit in pair.units:
                    assert not [span for span in unit.failover()["intervals"] if span["until"] is None]
            finally:
                redis.thaw()
            await until_back(vpn)
            assert_never_two_active(pair)


async def test_a_redis_that_has_no_memory_or_no_ids_left_stops_nobody(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    with ProcessPair(own_redis, tmp_path) as pair:
        active = pair.active
        standby = pair.other(active)
        log = f"asa:{{127.0.0.1:{pair.port}}}:log"
        async with client(pair, "user001") as vpn:
            own_redis.tell("CONFIG", "SET", "maxmemory", "1mb")
            await keeps_answering(vpn, 2 * HOLD)
            async with client(pair, "user002"):
                await trio.to_thread.run_sync(wait_until, lambda: len(standby.headend.sessions()) == 2)
                own_redis.tell("CONFIG", "SET", "maxmemory", "0")
                own_redis.tell("XADD", log, f"{2**64 - 1}-{2**64 - 1}", "h", "the last id")
                async with client(pair, "user003"):
                    await trio.to_thread.run_sync(wait_until, lambda: len(standby.headend.sessions()) == 3)
            assert active.active
            active.kill()
            await until_back(vpn)


async def test_the_age_of_what_the_mate_said_does_not_depend_on_its_hold_time(redis: RedisServer) -> None:
    async def poll(store: RedisStore, unit: str, mate: str) -> RawTold:
        return await store.poll(RawAsk(unit, mate, b"how it is", None, 0, False, None, 0, None))

    async with redis_store(redis.url, "ages", 1.0) as one, redis_store(redis.url, "ages", 9.0) as other:
        await poll(one, "primary", "secondary")
        told = await poll(other, "secondary", "primary")
        assert told.hello == b"how it is"
        assert told.age < 1
        await trio.sleep(0.1)
        assert 0.1 <= (await poll(one, "primary", "secondary")).age < 1


def test_two_primaries_are_told_so(redis: RedisServer, tmp_path: Path) -> None:
    pair = ProcessPair(redis, tmp_path)
    one, other = pair.units
    other.config.write_text(one.config.read_text())
    with pair:
        standby = pair.other(pair.active)
        wait_until(lambda: "failover.same_unit" in standby.log.read_text())


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
                redis.tell(*command)
                await keeps_answering(vpn, 2 * POLL)
            await keeps_answering(vpn, HOLD)
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
    redis.tell("SET", key, "garbage")
    with pair:
        primary, secondary = pair.units
        assert primary.headend.pin == secondary.headend.pin
        pin = primary.headend.pin
        secondary.kill()
        redis.tell("DEL", key)
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
