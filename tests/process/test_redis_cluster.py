"""Members of a cluster that meet in a real Redis server, which goes, comes back, freezes and is lied in."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path

import coredis
import pytest
import structlog.testing
import trio

from asa_emu.ha.balance import HOLD, POLL
from asa_emu.serve.redis_meeting import redis_meeting
from asa_emu.serve.redis_store import nobody_listens
from asa_emu.testing import HeadendProcess, running
from asa_emu.transport.certificates import Authority
from tests.balancing_lab import CLUSTER, Members, free_port, members
from tests.headend_lab import CONFIG, INSIDE
from tests.redis_lab import RedisServer

pytestmark = [
    pytest.mark.peer("redis"),
    # the Redis client leaves its own channels to the garbage collector
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
]


def keys(port: int) -> tuple[str, str]:
    """Where the heartbeats lie, and whose the role is."""
    return f"asa:lb:{CLUSTER}:{port}:members", f"asa:lb:{CLUSTER}:{port}:director"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@asynccontextmanager
async def meeting_in(redis: RedisServer, state: Path, *numbers: int) -> AsyncIterator[Members]:
    async with redis_meeting(redis.url) as meeting, members(state, *numbers, meeting=meeting) as made:
        yield made


async def until(condition: Callable[[], bool], limit: float = 4 * HOLD) -> None:
    """Poll on the real clock."""
    with trio.fail_after(limit):
        while not condition():  # noqa: ASYNC110 -- there is nothing to be notified by
            await trio.sleep(0.02)


@contextmanager
def processes(redis: RedisServer, directory: Path, count: int) -> Iterator[list[HeadendProcess]]:
    """Members as processes of their own, at 127.0.0.2 and so on."""
    authority = Authority.create()
    files = directory / "server.pem", directory / "server.key"
    authority.issue_server([f"127.0.0.{number}" for number in range(1, 6)]).save(*files)
    port = free_port()
    flags = ["--state-link", redis.url, "--cert", str(files[0]), "--key", str(files[1])]
    with ExitStack() as stack:
        made = []
        for number in range(1, count + 1):
            block = (
                "vpn load-balancing",
                f"cluster ip address {CLUSTER}",
                f"priority {10 - number}",
                "participate",
            )
            config = CONFIG + "\n ".join(block) + "\n"
            listen = f"127.0.0.{1 + number}:{port}"
            made.append(stack.enter_context(running(config, listen=listen, options=flags)))
        yield made


def roles(made: list[HeadendProcess]) -> list[str]:
    return [each.api("GET", "/v1/load-balancing")["role"] for each in made]


def location(port: int, timeout: float = 5.0) -> str:
    """Where the cluster's address sends a new client; empty when it hangs up."""
    connection = http.client.HTTPSConnection(
        CLUSTER, port, timeout=timeout, context=ssl._create_unverified_context()
    )
    with closing(connection):
        try:
            connection.request("GET", "/")
            return connection.getresponse().headers["location"] or ""
        except (ConnectionError, ssl.SSLError, http.client.RemoteDisconnected):
            return ""


def wait_until(condition: Callable[[], bool], limit: float = 3 * HOLD) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_processes_and_a_director_that_freezes_wakes_and_is_killed(
    redis: RedisServer, tmp_path: Path
) -> None:
    with processes(redis, tmp_path, 3) as made, ThreadPoolExecutor() as executor:
        first, second, third = made
        wait_until(lambda: roles(made) == ["director", "member", "member"])
        os.kill(first.pid, signal.SIGSTOP)
        early = executor.submit(location, first.port, 20.0)
        try:
            wait_until(lambda: roles([second]) == ["director"])
            # the frozen one's socket is still there, and gets nothing
            sent = Counter(location(first.port) for _ in range(50))
            assert sent.total() == 50
            assert set(sent) == {f"{each.url}/" for each in (second, third)}
        finally:
            os.kill(first.pid, signal.SIGCONT)
        # who came just after it froze is not sent anywhere by one that does not direct any more
        assert early.result() == ""
        wait_until(lambda: roles(made) == ["member", "director", "member"])
        shown = first.api("POST", "/v1/cli", {"line": "show vpn load-balancing"})["text"]
        assert re.search(r"^ Master +8 .* 127\.0\.0\.3$", shown, re.MULTILINE)
        os.kill(second.pid, signal.SIGKILL)
        wait_until(lambda: roles([first, third]) == ["director", "member"])
        assert {location(first.port) for _ in range(4)} == {f"{each.url}/" for each in (first, third)}


async def test_the_role_changes_hands_when_the_director_dies(redis: RedisServer, state: Path) -> None:
    async with (
        meeting_in(redis, state, 1, 2, 3) as made,
        made.client("user000"),
        made.client("user001") as vpn,
    ):
        assert made.directors == [1]
        assert made.sessions == {1: 1, 2: 1, 3: 0}
        made.kill(1)
        began = time.monotonic()
        await until(lambda: made.directors == [2])
        assert time.monotonic() - began < HOLD + 2 * POLL
        assert (await vpn.ping(INSIDE)).received == 1
        async with made.client("user002"):
            assert made.sessions == {2: 1, 3: 1}


async def test_without_redis_the_director_goes_on(redis: RedisServer, state: Path) -> None:
    async with meeting_in(redis, state, 1, 2) as made:
        await until(lambda: len(made.running[1].balancing.balancer.members) == 2)
        redis.kill()
        await until(lambda: 718005 in made.notices[1] and 718039 in made.notices[2])
        await trio.sleep(HOLD)
        assert made.directors == [1]
        async with made.client("user000"):
            # it knows of nobody else
            assert made.sessions == {1: 1, 2: 0}
        redis.start()
        await until(lambda: len(made.running[1].balancing.balancer.members) == 2)
        await trio.sleep(HOLD + POLL)
        assert made.directors == [1]
        assert made.notices[1].count(718072) == 1
        assert 718072 not in made.notices[2]


def testnobody_listens_when_every_address_of_a_name_refuses() -> None:
    refused = [OSError("no way"), ConnectionRefusedError()]
    refused[0].__cause__ = ConnectionRefusedError()
    assert nobody_listens(ExceptionGroup("", refused))
    assert not nobody_listens(ExceptionGroup("", [*refused, TimeoutError()]))


async def test_with_redis_silent_nobody_directs_until_it_answers(redis: RedisServer, state: Path) -> None:
    async with meeting_in(redis, state, 1, 2) as made:
        redis.freeze()
        try:
            await until(lambda: made.directors == [])
        finally:
            redis.thaw()
        await until(lambda: len(made.directors) == 1)


async def test_what_others_write_there_is_refused(redis: RedisServer, state: Path) -> None:
    def refusals() -> set[str]:
        return {entry["reason"] for entry in log if entry["event"] == "balancing.heartbeat_refused"}

    with structlog.testing.capture_logs() as log:
        async with (
            coredis.Redis.from_url(redis.url, decode_responses=True) as liar,
            meeting_in(redis, state, 1, 2) as made,
        ):
            members, _ = keys(made.port)
            for at, record in enumerate(
                ("", "x", "asa-emu/9 member 00 {}", f"asa-emu/1 member 00 {json.dumps({})}")
            ):
                await liar.hset(members, {f"192.0.2.{at}:443": f"{await stamp(liar)} {record}"})
            (genuine,) = await liar.hmget(members, [f"127.0.0.3:{made.port}"])
            assert genuine
            await liar.hset(members, {f"127.0.0.3:{made.port}": genuine[:-10]})
            await until(lambda: len(refusals()) == 3)
            assert made.directors == [1]
            assert [len(each.balancing.balancer.members) for each in made.running.values()] == [2, 2]
            async with made.client("user000") as vpn:
                assert (await vpn.ping(INSIDE)).received == 1
    assert len(refusals()) == 3
    assert any("asa-emu/9" in reason for reason in refusals())
    assert not [entry for entry in log if entry["log_level"] in ("error", "critical")]


async def stamp(redis: coredis.Redis[str]) -> int:
    """Redis' time as heartbeats have it."""
    return int((await redis.time()).timestamp() * 1000)


async def test_what_no_member_can_have_written_is_thrown_away(redis: RedisServer, state: Path) -> None:
    async with (
        coredis.Redis.from_url(redis.url, decode_responses=True) as liar,
        meeting_in(redis, state, 1, 2) as made,
    ):
        members, director = keys(made.port)

        async def lies(what: Callable[[], Awaitable[object]]) -> None:
            """Both live with it: one of them directs, and they know of each other."""
            await what()
            await trio.sleep(2 * POLL + 0.1)
            await until(lambda: len(made.directors) == 1, HOLD + 2 * POLL)
            for each in made.running.values():
                assert len(each.balancing.balancer.members) == 2

        await lies(lambda: liar.hset(members, {"nonsense": "nonsense"}))
        await lies(lambda: liar.hset(members, {"192.0.2.1:443": "9" * 400 + " x"}))
        assert set(await liar.hgetall(members)) == {f"127.0.0.{n}:{made.port}" for n in (2, 3)}
        # whose role it is, for ever
        await lies(lambda: liar.set(director, "192.0.2.1:443"))
        await lies(lambda: liar.set(director, "192.0.2.1:443", px=10**9))
        await lies(lambda: liar.set(director, "x" * 10**6, px=1500))
        # other kinds of values
        await liar.delete([members, director])
        await lies(lambda: liar.set(members, "a string"))
        await liar.delete([members, director])
        await lies(lambda: liar.lpush(director, ["a", "list"]))
        await lies(lambda: liar.flushall())
        await lies(lambda: liar.config_set({"maxmemory": 1}))
        await liar.config_set({"maxmemory": 0})
        # too much, and too many
        await lies(lambda: liar.hset(members, {"192.0.2.1:443": "1 " + "x" * 10**7}))
        now = await stamp(liar)
        await lies(lambda: liar.hset(members, {f"192.0.2.1:{n}": f"{now} x" for n in range(20_000)}))


async def test_a_heartbeat_from_the_future_keeps_nobody_alive(redis: RedisServer, state: Path) -> None:
    async with (
        coredis.Redis.from_url(redis.url, decode_responses=True) as liar,
        meeting_in(redis, state, 1, 2) as made,
    ):
        members, _ = keys(made.port)
        dead = f"127.0.0.3:{made.port}"
        (row,) = await liar.hmget(members, [dead])
        assert row
        made.kill(2)
        record = row.partition(" ")[2]
        for ahead in (10**9, int(HOLD * 1000) - 100):
            await liar.hset(members, {dead: f"{await stamp(liar) + ahead} {record}"})
            await trio.sleep(POLL)
        await until(lambda: len(made.running[1].balancing.balancer.members) == 1, 3 * HOLD)


async def test_members_at_other_ports_or_with_another_key_are_strangers(
    redis: RedisServer, state: Path
) -> None:
    async with meeting_in(redis, state, 1) as made, meeting_in(redis, state, 2) as others:
        await made.start(3, "cluster key 1234")
        await trio.sleep(HOLD)
        assert (made.directors, others.directors) == ([1], [2])
        views = [*made.running.values(), *others.running.values()]
        assert [len(each.balancing.balancer.members) for each in views] == [1, 1, 1]
