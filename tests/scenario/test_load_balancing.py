"""A load-balancing cluster and its clients in one process: who is sent where, who dies, who takes over."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from asa_emu.app import HostPort, Options, UsageError
from asa_emu.cluster import Cluster, run_cluster
from asa_emu.config import LoadBalancing
from asa_emu.ha.balance import HOLD, POLL, Member, Roll
from asa_emu.serve.balancing import LocalMeeting
from asa_emu.transport.contexts import client_context
from asa_emu.transport.stream import TlsStream
from asa_emu.wire.auth_xml import init
from client_emu.connection import ConnectFailed
from client_emu.events import Reconnected, Reconnecting
from tests.balancing_lab import CLUSTER, Members, members
from tests.headend_lab import CONFIG, INSIDE, Answer, RawClient, login_document, session_of
from tests.statement_lab import configure, console, manage

pytestmark = pytest.mark.usefixtures("mock_time")

INIT = init("https://vpn.example.test/", version="v9.01", device_id="linux-64")


async def ask(made: Members, method: str, target: str, body: bytes = b"", *, at: str = CLUSTER) -> Answer:
    """One request on a connection of its own."""
    async with RawClient(await TlsStream.open(at, made.port, client_context())) as raw:
        return await raw.request(method, target, body)


def member_of(answer: Answer) -> str:
    """Where an answer sends the client on to."""
    assert answer.status == 302, answer
    return answer.headers["location"]


async def test_each_new_client_goes_to_the_least_loaded_member(state: Path) -> None:
    async with members(state, 1, 2, 3) as made, AsyncExitStack() as stack:
        assert made.directors == [1]
        for number in range(6):
            vpn = await stack.enter_async_context(made.client(f"user{number:03}"))
            assert (await vpn.ping(INSIDE)).received == 1
            await trio.sleep(2 * POLL)
        assert made.sessions == {1: 2, 2: 2, 3: 2}
        await configure(made.running[2], "vpn-sessiondb max-anyconnect-premium-or-essentials-limit 2000")
        for number in range(6, 10):
            await trio.sleep(2 * POLL)
            await stack.enter_async_context(made.client(f"user{number:03}"))
        # 2 of 2,000 is more than 3 of 20,000
        assert made.sessions == {1: 4, 2: 2, 3: 4}


async def test_only_what_begins_a_login_is_sent_on(state: Path) -> None:
    async with members(state, 1, 2) as made:
        port = made.port
        first = member_of(await ask(made, "POST", "/", INIT))
        second = member_of(await ask(made, "GET", "/staff?a=b"))
        assert {first, second} == {f"https://127.0.0.2:{port}/", f"https://127.0.0.3:{port}/staff?a=b"}
        assert "location" in (await ask(made, "HEAD", "/")).headers
        # the rest of a conversation, and tunnels, are served where they arrive
        assert (await ask(made, "POST", "/", login_document("user000", "wrong"))).status == 200
        assert (await ask(made, "POST", "/", b"<config-auth")).status == 400
        assert (await ask(made, "CONNECT", "/CSCOSSLC/tunnel")).status == 401
        for ip in ("127.0.0.2", "127.0.0.3"):
            assert (await ask(made, "POST", "/", INIT, at=ip)).status == 200
            assert (await ask(made, "GET", "/", at=ip)).status == 200


class Names(trio.abc.HostnameResolver):
    """A name server that counts what it is asked."""

    def __init__(self, **known: str) -> None:
        self.known = known
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        self.asked.append(str(host.decode() if isinstance(host, bytes) else host))
        address = self.known[self.asked[-1].partition(".")[0].replace("-", "_")]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async def getnameinfo(self, *_: Any) -> Any:
        raise AssertionError


@pytest.mark.statement("S139")
async def test_a_resume_goes_straight_to_the_member_and_asks_no_name_server(state: Path) -> None:
    names = Names(vpn=CLUSTER, lab_1="127.0.0.2", lab_2="127.0.0.3")
    by_name = ("redirect-fqdn enable", "domain-name example.test", "vpn load-balancing")
    async with members(state, 1, 2, typed=by_name) as made:
        before = trio.socket.set_custom_hostname_resolver(names)
        try:
            async with (
                made.client("user000", "vpn.example.test"),
                made.client("user001", "vpn.example.test") as vpn,
            ):
                assert names.asked == [
                    *("vpn.example.test", "lab-1.example.test"),
                    *("vpn.example.test", "lab-2.example.test"),
                ]
                assert len(made.visitors) == 2
                session = session_of(made.running[2], "user001")
                address, ports = vpn.ip4, vpn.tcp_source
                for _ in range(3):
                    vpn.drop_tcp()
                    assert (await vpn.next_event(Reconnected)).ip4 == address
                    assert vpn.tcp_source != ports
                    assert (await vpn.ping(INSIDE)).received == 1
                assert session_of(made.running[2], "user001") is session
                assert len(names.asked) == 4
                assert len(made.visitors) == 2
                assert made.running[1].balancing.balancer.picks == 2
        finally:
            trio.socket.set_custom_hostname_resolver(before)


async def test_the_director_dies_and_the_next_priority_takes_the_clusters_address(state: Path) -> None:
    async with members(state, 1, 2, 3) as made, AsyncExitStack() as stack:
        await stack.enter_async_context(made.client("user000", dtls=False))
        await trio.sleep(POLL)
        vpn = await stack.enter_async_context(made.client("user001"))
        assert made.sessions == {1: 1, 2: 1, 3: 0}
        made.notices[2].clear()
        made.kill(1)
        await trio.sleep(POLL)
        with pytest.raises(ConnectFailed):
            await made.client("user002").__aenter__()
        await trio.sleep(HOLD)
        assert made.directors == [2]
        assert made.notices[2] == [718014, 718039, 718056, 718044, 718072]
        # who was logged in elsewhere has noticed nothing
        assert (await vpn.ping(INSIDE)).received == 1
        # who was on it logs in anew
        await stack.enter_async_context(made.client("user000"))
        await stack.enter_async_context(made.client("user002"))
        assert made.sessions == {2: 2, 3: 1} or made.sessions == {2: 1, 3: 2}


async def test_a_member_dies_and_its_clients_log_in_anew_elsewhere(state: Path) -> None:
    async with members(state, 1, 2) as made, made.client("user000"), made.client("user001") as vpn:
        assert made.sessions == {1: 1, 2: 1}
        made.kill(2)
        await vpn.next_event(Reconnecting)
        await trio.sleep(HOLD + POLL)
        assert made.notices[1][-3:] == [718013, 718039, 718044]
        # the session is gone: the director knows nothing of it
        with pytest.raises(ConnectFailed, match="refused the session"):
            await made.client("user001", token=vpn.token).__aenter__()
        async with made.client("user001") as again:
            assert (await again.ping(INSIDE)).received == 1
            assert made.sessions == {1: 2}
            # the member comes back, and gets the next ones
            await made.start(2)
            await trio.sleep(2 * POLL)
            assert made.directors == [1]
            assert made.notices[1][-3:] == [718015, 718010, 718045]
            async with made.client("user002"):
                assert made.sessions == {1: 2, 2: 1}


async def test_leaving_in_order_hands_the_role_over_at_once(state: Path) -> None:
    async with members(state, 1, 2) as made:
        await trio.sleep(2 * POLL)
        assert made.notices[2] == [718068, 718012, 718045, 718073]
        began = trio.current_time()
        await configure(made.running[1], "vpn load-balancing", "no participate")
        await made.running[2].balancing.has_listened.wait()
        assert trio.current_time() - began <= POLL
        assert made.notices[1][-2:] == [718029, 718069]
        assert made.notices[2][4:] == [718030, 718044, 718072]
        assert " Disabled   n/a " in await console(made.running[1], "show vpn load-balancing")
        assert member_of(await ask(made, "POST", "/", INIT)) == f"https://127.0.0.3:{made.port}/"
        # and it may come again, as one that does not direct
        await configure(made.running[1], "vpn load-balancing", "participate")
        await trio.sleep(2 * POLL)
        assert made.directors == [2]
        made.running[2].stopping.set()
        await trio.sleep(2 * POLL)
        del made.running[2]
        assert made.directors == [1]


class Silent(LocalMeeting):
    """A meeting that stops answering."""

    is_silent = False

    async def meet(self, said: LoadBalancing, mine: Member, wants_role: bool) -> Roll:
        if self.is_silent:
            await trio.sleep_forever()
        return await super().meet(said, mine, wants_role)


async def test_clients_are_told_of_a_stop_even_if_the_others_cannot_be(state: Path) -> None:
    meeting = Silent()
    async with members(state, 1, meeting=meeting) as made, made.client("user000") as vpn:
        meeting.is_silent = True
        made.running[1].stopping.set()
        assert "Administrator Reset" in str(await vpn.wait_ended())


async def test_a_member_that_is_back_at_once_has_its_role_still(state: Path) -> None:
    async with members(state, 1, 2) as made:
        await trio.sleep(2 * POLL)
        made.notices[2].clear()
        made.kill(1)
        await trio.sleep(POLL)
        await made.start(1)
        await trio.sleep(3 * HOLD)
        assert made.directors == [1]
        assert made.notices[2] == []


async def test_the_cluster_is_told_by_every_member(state: Path) -> None:
    async with members(state, 1, 2) as made, made.client("user000"):
        await trio.sleep(2 * POLL)
        status, rows = {}, {}
        for number in (1, 2):
            status[number] = await manage(made.running[number], "GET", "/v1/load-balancing")
            shown = await console(made.running[number], "show vpn load-balancing")
            rows[number] = [line.split() for line in shown.splitlines() if "ASA-VASA" in line]
        port = made.port
        assert status[2] == {
            "role": "member",
            "cluster_ip": CLUSTER,
            "address": f"127.0.0.3:{port}",
            "director": f"127.0.0.2:{port}",
            "redirected": 0,
            "members": [
                {
                    "address": f"127.0.0.{1 + number}:{port}",
                    "name": None,
                    "priority": 10 - number,
                    "role": role,
                    "sessions": used,
                    "limit": 20_000,
                    "load": 0,
                }
                for number, role, used in ((1, "director", 1), (2, "member", 0))
            ],
        }
        assert status[1] == {
            **status[2],
            "role": "director",
            "address": f"127.0.0.2:{port}",
            "redirected": 1,
        }
        assert rows[2] == [
            ["Master", "9", "ASA-VASA", "4", "127.0.0.2"],
            ["Backup", "8", "ASA-VASA", "4", "127.0.0.3*"],
        ]


async def test_what_stands_in_the_way_is_told(state: Path) -> None:
    async with members(state, 1) as made:
        running = made.running[1]
        made.notices[1].clear()
        await configure(running, "vpn load-balancing", "cluster ip address 192.0.2.10")
        await trio.sleep(4 * POLL)
        assert made.notices[1] == [718029, 718069, 718008, 718068, 718012]
        assert made.directors == []
        made.notices[1].clear()
        interface = ("interface GigabitEthernet0/0", "ip address 198.51.100.1 255.255.255.0")
        await configure(running, *interface, "vpn load-balancing", "cluster ip address 127.0.0.1")
        await trio.sleep(4 * POLL)
        assert made.notices[1] == [718029, 718069, 718068, 718012, 718084, 718072]
        assert made.directors == [1]


async def test_a_cluster_by_one_command(state: Path) -> None:
    start = partial(run_cluster, count=2)
    shared = CONFIG + "vpn load-balancing\n nat 198.51.100.7\n cluster ip address 192.0.2.1\n priority 3\n"
    options = Options(config_text=shared, listen=HostPort(CLUSTER, 0), state=state)
    async with trio.open_nursery() as nursery:
        made: Cluster = await nursery.start(start, options)
        assert made.director is made.members[0]
        assert [member.balancing.listens for member in made.members] == [True, False]
        port = made.address.port
        assert made.ready_line().startswith(
            f"asa-emu ready cluster=127.0.0.1:{port} members=127.0.0.2:{port},127.0.0.3:{port} manage="
        )
        record = made.ready_record()
        assert [each["https"] for each in record["members"]] == [f"127.0.0.2:{port}", f"127.0.0.3:{port}"]
        assert record["https"] == f"127.0.0.1:{port}"
        assert record["pin"] == made.members[1].pin
        assert (await console(made.members[1], "show running-config hostname")) == "hostname ciscoasa-2\n"
        made.stopping.set()


@pytest.mark.parametrize(
    ("count", "listen", "reason"),
    [
        *((0, "127.0.0.1", "1 to 10 members"), (11, "127.0.0.1", "1 to 10"), (2, "::1", "one IPv4 address")),
        (2, "255.255.255.254", "no 2 addresses after it"),
    ],
)
async def test_a_cluster_that_cannot_be(state: Path, count: int, listen: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        await run_cluster(Options(listen=HostPort(listen, 0), state=state), count=count)
