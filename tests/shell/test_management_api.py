"""The management API as outside tools see it: every route, its errors in words, and the stream of events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import h11
import pytest
import trio

from asa_emu.app import Running
from asa_emu.serve.asgi import MAX_BODY, MAX_HEAD, READ_LIMIT
from asa_emu.serve.management import PING_INTERVAL
from client_emu.client import Client
from client_emu.events import Disconnected, Dtls, Reconnected
from tests.headend_lab import EPOCH, INSIDE, PASSWORD, RawClient, client, session_of, tunnel

ROUTES = {
    ("GET", "/v1/sessions"): b"",
    ("GET", "/v1/load-balancing"): b"",
    ("POST", "/v1/logoff"): b'{"all": true}',
    ("POST", "/v1/clock"): b'{"advance": 1}',
    ("GET", "/v1/events"): b"",
}


@dataclass
class Reply:
    """What came back: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """What the API says was wrong."""
        text: str = self.json["error"]
        return text


@dataclass
class Api:
    """One connection to the management port."""

    stream: trio.SocketStream
    token: str
    http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    async def next_event(self, limit: float = 60.0) -> h11.Event:
        """The next piece of the answer."""
        with trio.fail_after(limit):
            while True:
                event = self.http.next_event()
                if isinstance(event, h11.Event):
                    return event
                self.http.receive_data(await self.stream.receive_some(65536))

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        """Send a request and read the head of the answer, and the body unless it is an endless one."""
        wanted = {"Host": "localhost", "Authorization": f"Bearer {self.token}"}
        wanted |= {"Content-Length": str(len(body))} | headers
        request = h11.Request(
            method=method,
            target=path,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in wanted.items()],
        )
        for part in (request, h11.Data(data=body), h11.EndOfMessage()):
            await self.stream.send_all(self.http.send(part) or b"")
        response = await self.next_event()
        assert isinstance(response, h11.Response)
        reply = Reply(response.status_code, {n.decode(): v.decode() for n, v in response.headers})
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            return reply
        while isinstance(event := await self.next_event(), h11.Data):
            reply.body += event.data
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        return reply

    async def get(self, path: str) -> Any:
        """The JSON at this path."""
        reply = await self.ask("GET", path)
        assert reply.status == 200, reply
        return reply.json

    async def post(self, path: str, **body: Any) -> Any:
        """What the API answers to this body."""
        reply = await self.ask("POST", path, json.dumps(body).encode())
        assert reply.status == 200, reply
        return reply.json

    async def event(self, limit: float = 60.0) -> dict[str, Any]:
        """The next server-sent event, comments skipped."""
        while True:
            piece = await self.next_event(limit)
            assert isinstance(piece, h11.Data)
            record = bytes(piece.data).decode()
            assert record.endswith("\n\n")
            if record.startswith(":"):
                continue
            name, data = record.strip().split("\n")
            facts: dict[str, Any] = json.loads(data.removeprefix("data: "))
            assert name == f"event: {facts['event']}"
            return facts


@asynccontextmanager
async def management(asa: Running, token: str | None = None) -> AsyncIterator[Api]:
    """A connection to the API of a headend."""
    stream = await trio.open_tcp_stream(asa.manage.host, asa.manage.port)
    async with stream:
        yield Api(stream, asa.manage_token if token is None else token)


async def test_readyz_needs_no_token(asa: Running) -> None:
    async with management(asa, "none") as api:
        assert (await api.ask("GET", "/readyz")).status == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("value", ["", "Bearer", "Bearer wrong", "Basic {token}", "Bearer \xe9", "{token}"])
async def test_every_other_route_needs_the_token(asa: Running, method: str, path: str, value: str) -> None:
    async with tunnel(asa, "user001"), management(asa) as api:
        said = value.replace("{token}", asa.manage_token)
        reply = await api.ask(method, path, ROUTES[method, path], Authorization=said)
        assert reply.status == 401
        assert "manage_token" in reply.error
        assert asa.manage_token not in reply.error
        assert len(asa.gateway.headend.db) == 1


async def test_the_token_is_long_and_never_the_same(asa: Running) -> None:
    assert len(asa.manage_token) >= 22  # 128 bits in base64
    assert asa.manage_token not in repr(asa)
    assert asa.manage_token not in asa.ready_line()


@pytest.mark.statement("S5")
async def test_sessions_show_three_tunnels(asa: Running) -> None:
    async with management(asa) as api:
        assert await api.get("/v1/sessions") == []
        async with client(asa, "user001") as vpn:
            await vpn.next_event(Dtls)
            await vpn.ping(INSIDE, count=3)
            await trio.sleep(5)
            (row,) = await api.get("/v1/sessions")
        assert await api.get("/v1/sessions") == []
    assert row["user"] == "user001"
    assert row["group_policy"] == "DfltGrpPolicy"
    assert row["tunnel_group"] == "STAFF"
    assert (row["assigned_ip"], row["assigned_ip6"]) == ("10.77.0.10", "fd00:77::10")
    assert row["public_ip"] == "127.0.0.1"
    assert row["state"] == "active"
    assert row["login_time"] == "2012-11-30T22:13:24.000Z"
    assert row["inactivity"] == 0
    assert row["duration"] == pytest.approx(5, abs=0.5)
    parent, ssl, dtls = row["tunnels"]
    assert [tunnel["id"] for tunnel in row["tunnels"]] == [f"{row['index']}.{n}" for n in (1, 2, 3)]
    assert [tunnel["kind"] for tunnel in row["tunnels"]] == ["parent", "ssl", "dtls"]
    assert ssl["protocol"] == "TLSv1.3"
    assert dtls["protocol"] == "DTLSv1.2"
    assert "GCM" in dtls["cipher"]
    assert len({parent["src_port"], ssl["src_port"], dtls["src_port"]}) >= 2
    assert dtls["pkts_rx"] == dtls["pkts_tx"] == 3
    assert dtls["bytes_rx"] == 3 * 84
    assert row["pkts_rx"] == 3
    assert 1790 <= ssl["idle_left"] <= 1800


@pytest.mark.parametrize(
    ("selector", "ended"),
    [
        ({"name": "user001"}, {"user001"}),
        ({"name": "nobody"}, set()),
        ({"ipaddress": "10.77.0.11"}, {"user002"}),
        ({"ipaddress": "fd00:77:0:0::10"}, {"user001"}),
        ({"ipaddress": "no address"}, set()),
        ({"tunnel_group": "STAFF"}, {"user001", "user002", "user003"}),
        ({"tunnel_group": "NONE"}, set()),
        ({"protocol": "ssl-tunnel"}, {"user001", "user002"}),
        ({"protocol": "anyconnect-parent"}, {"user001", "user002", "user003"}),
        ({"protocol": "carrier-pigeon"}, set()),
        ({"inactive": True}, {"user003"}),
        ({"inactive": False}, set()),
        ({"all": True}, {"user001", "user002", "user003"}),
        ({"all": False}, set()),
        ({"index": 1}, {"user001"}),
        ({"index": 999}, set()),
        ({"index": -1}, set()),
    ],
)
@pytest.mark.statement("S89")
async def test_logoff_ends_whom_it_names(asa: Running, selector: dict[str, Any], ended: set[str]) -> None:
    async with tunnel(asa, "user001"), tunnel(asa, "user002"), tunnel(asa, "user003") as third:
        third.stream.abort()
        await trio.testing.wait_all_tasks_blocked()
        async with management(asa) as api:
            assert await api.post("/v1/logoff", **selector) == {"logged_off": len(ended)}
            left = {row["user"] for row in await api.get("/v1/sessions")}
    assert left == {"user001", "user002", "user003"} - ended


async def test_a_client_that_is_logged_off_is_told(asa: Running) -> None:
    async with management(asa) as api, client(asa, "user001") as vpn:
        await api.post("/v1/logoff", all=True)
        assert (await vpn.next_event(Disconnected)).reason == "Administrator Reset"


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/v1/logoff", b"", "exactly one"),
        ("/v1/logoff", b"{}", "exactly one"),
        ("/v1/logoff", b'{"name": "a", "all": true}', "exactly one"),
        ("/v1/logoff", b'{"name": null}', "exactly one"),
        ("/v1/logoff", b'{"user": "a"}', "user"),
        ("/v1/logoff", b'{"index": "one"}', "index"),
        ("/v1/logoff", b'{"index": true}', "index"),
        ("/v1/logoff", b'{"index": 1.5}', "index"),
        ("/v1/logoff", b'{"all": "yes"}', "all"),
        ("/v1/logoff", b"[]", "object"),
        ("/v1/logoff", b"null", "object"),
        ("/v1/logoff", b"{", "JSON"),
        ("/v1/logoff", b"\xff\xfe", "JSON"),
        ("/v1/logoff", b'{"name": "' + b"[" * 50_000 + b'"', "JSON"),
        ("/v1/logoff", b"[" * 60_000, "JSON"),
        ("/v1/clock", b"", "advance"),
        ("/v1/clock", b"{}", "advance"),
        ("/v1/clock", b'{"advance": -1}', "advance"),
        ("/v1/clock", b'{"advance": 1e300}', "advance"),
        ("/v1/clock", b'{"advance": NaN}', "advance"),
        ("/v1/clock", b'{"advance": Infinity}', "advance"),
        ("/v1/clock", b'{"advance": true}', "advance"),
        ("/v1/clock", b'{"advance": "1800"}', "a number with a unit"),
        ("/v1/clock", b'{"advance": "-30m"}', "a number with a unit"),
        ("/v1/clock", b'{"rate": 0}', "rate"),
        ("/v1/clock", b'{"rate": -60}', "rate"),
        ("/v1/clock", b'{"rate": 1e9}', "rate"),
        ("/v1/clock", b'{"speed": 60}', "speed"),
    ],
)
async def test_a_bad_body_is_422_with_a_reason(asa: Running, path: str, body: bytes, word: str) -> None:
    async with tunnel(asa, "user001"), management(asa) as api:
        reply = await api.ask("POST", path, body)
        assert reply.status == 422
        assert word in reply.error
        assert len(await api.get("/v1/sessions")) == 1
    assert asa.gateway.now() - EPOCH < 60


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/sessions/1", 404),
        ("GET", "/v1/../readyz", 404),
        ("GET", "/%2e%2e/", 404),
        ("POST", "/v1/sessions", 405),
        ("DELETE", "/v1/sessions", 405),
        ("GET", "/v1/logoff", 405),
        ("PUT", "/v1/clock", 405),
        ("POST", "/readyz", 405),
        ("BREW", "/v1/events", 405),
    ],
)
async def test_what_there_is_not_is_said_in_json(asa: Running, method: str, path: str, status: int) -> None:
    async with management(asa) as api:
        reply = await api.ask(method, path)
        assert reply.status == status
        assert unquote(path) in reply.error
        assert (status == 405) == ("allow" in reply.headers)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"POST /v1/logoff HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY * 20), 413),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * MAX_HEAD, 431),
        (b"GET /readyz HTTP/1.1\r\nHost: a\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
    ],
    ids=["body", "head", "whole-head", "nonsense", "tls", "no-host"],
)
async def test_what_is_no_request_is_answered(asa: Running, said: bytes, status: int) -> None:
    async with management(asa) as api:
        await api.stream.send_all(said)
        if status == 413:
            await api.stream.send_all(b"x" * MAX_BODY * 20)
        answer = b""
        with trio.fail_after(READ_LIMIT + 5):
            while piece := await api.stream.receive_some(65536):
                answer += piece
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "said", [b"GET / HT", b"POST /v1/logoff HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_a_slow_request_is_given_up(asa: Running, said: bytes) -> None:
    begun = trio.current_time()
    async with management(asa) as api:
        await api.stream.send_all(said)
        assert (await api.stream.receive_some(65536)).startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - begun == pytest.approx(READ_LIMIT)


async def test_requests_may_follow_each_other_on_one_connection(asa: Running) -> None:
    async with management(asa) as api:
        for _ in range(5):
            assert await api.get("/v1/sessions") == []
            assert (await api.ask("GET", "/nothing")).status == 404


# the clock


@pytest.mark.parametrize("advance", [1800, "30m", "1800s", "0.5h"])
async def test_time_jumps_ahead(asa: Running, advance: object) -> None:
    async with management(asa) as api:
        answer = await api.post("/v1/clock", advance=advance)
        assert answer == {"now": "2012-11-30T22:43:24.000Z", "rate": 1.0}


async def test_time_runs_faster(asa: Running) -> None:
    async with management(asa) as api:
        assert (await api.post("/v1/clock", rate=60))["rate"] == 60
        await trio.sleep(10)
        assert asa.gateway.now() - EPOCH == pytest.approx(600)
        assert (await api.post("/v1/clock", advance=10, rate=1))["now"] == "2012-11-30T22:23:34.000Z"


@pytest.mark.statement("S8")
async def test_a_jump_over_every_timer_ends_an_inactive_session(asa: Running) -> None:
    async with management(asa) as api:
        async with tunnel(asa, "user001") as raw:
            raw.stream.abort()
        await trio.testing.wait_all_tasks_blocked()
        (row,) = await api.get("/v1/sessions")
        assert row["state"] == "inactive"
        await api.post("/v1/clock", advance=60)
        (row,) = await api.get("/v1/sessions")
        assert row["inactivity"] == 60
        await api.post("/v1/clock", advance=1740)
        assert await api.get("/v1/sessions") == []


async def test_a_jump_gives_a_live_client_the_chance_to_answer(asa: Running) -> None:
    """Half an hour on, the gateway probes; it does not bury whoever could not know of the jump."""
    async with management(asa) as api, client(asa, "user001") as vpn:
        await vpn.next_event(Dtls)
        await api.post("/v1/clock", advance=1000)
        await trio.sleep(1)
        assert (await vpn.ping(INSIDE)).received == 1
        assert len(session_of(asa, "user001").tunnels) == 3


# events


async def life_of(vpn: Client, asa: Running) -> None:
    """Log in, both tunnels, a loss, a resume from elsewhere, and the end."""
    async with vpn:
        await vpn.next_event(Dtls)
        vpn.lose_cable()
        await trio.sleep(200)
        assert session_of(asa, "user001").inactive
        vpn.reconnect("127.0.0.2")
        await vpn.next_event(Reconnected)
        while not (await vpn.next_event(Dtls)).up:
            pass


async def test_events_arrive_in_order(asa: Running) -> None:
    async with management(asa) as api:
        reply = await api.ask("GET", "/v1/events")
        assert reply.status == 200
        assert reply.headers["cache-control"] == "no-store"
        vpn = client(asa, "user001")
        await life_of(vpn, asa)
        events = [await api.event()]
        while events[-1]["event"] != "SessionEnded":
            events.append(await api.event())
    names = [(event["event"], event.get("tunnel"), event.get("reason")) for event in events]
    assert names[:4] == [
        ("SessionCreated", None, None),
        ("AddressAssigned", None, None),
        ("TunnelUp", "1.2", None),
        ("TunnelUp", "1.3", None),
    ]
    # gateway DPD gives both tunnels up at one instant
    assert sorted(name for name in names[4:7] if name[0] == "TunnelDown") == [
        ("TunnelDown", "1.2", "dpd"),
        ("TunnelDown", "1.3", "dpd"),
    ]
    assert names[names.index(("TunnelDown", "1.2", "dpd")) + 1] == ("SessionInactive", None, "dpd")
    assert names[7:10] == [
        ("SessionResumed", None, None),
        ("TunnelUp", "1.4", None),
        ("TunnelUp", "1.5", None),
    ]
    assert events[8]["facts"]["peer"]["ip"] == "127.0.0.2"
    assert names[-2:] == [("AddressReleased", None, None), ("SessionEnded", None, "User Requested")]
    assert all(event["username"] == "user001" for event in events)
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    # nothing in them that opens a session
    told = json.dumps(events)
    assert vpn.token is not None
    assert vpn.token not in told
    assert f'"{PASSWORD}"' not in told
    assert not {"token", "token_digest", "policy"} & {key for event in events for key in event}


async def test_a_quiet_stream_says_that_it_lives(asa: Running) -> None:
    async with management(asa) as api:
        await api.ask("GET", "/v1/events")
        begun = trio.current_time()
        assert bytes((await api.next_event()).data) == b": listening\n\n"  # type: ignore[attr-defined]
        assert bytes((await api.next_event()).data) == b": ping\n\n"  # type: ignore[attr-defined]
        assert trio.current_time() - begun == pytest.approx(PING_INTERVAL)


async def test_listeners_come_and_go(asa: Running) -> None:
    """One hangs up, one resets, one never reads; the database forgets them, and the others hear on."""
    before = len(asa.gateway.headend.db._subscribers)
    async with management(asa) as stays:
        await stays.ask("GET", "/v1/events")
        for abrupt in (False, True):
            async with management(asa) as goes:
                await goes.ask("GET", "/v1/events")
                if abrupt:
                    goes.stream.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0: a reset
        async with tunnel(asa, "user001"):
            assert (await stays.event())["event"] == "SessionCreated"
        await trio.sleep(2 * PING_INTERVAL)
        assert len(asa.gateway.headend.db._subscribers) == before + 1
    await trio.sleep(2 * PING_INTERVAL)
    assert len(asa.gateway.headend.db._subscribers) == before


async def test_a_listener_that_does_not_read_holds_nobody_up(asa: Running) -> None:
    async with management(asa) as deaf, management(asa) as api, tunnel(asa, "user001") as raw:
        await deaf.ask("GET", "/v1/events")
        async with await RawClient.open(asa) as rival:
            token = await rival.log_in("user002")
            for _ in range(60):
                async with await RawClient.open(asa) as other:
                    await other.connect(token)
        await raw.ping()
        assert len(await api.get("/v1/sessions")) == 2
