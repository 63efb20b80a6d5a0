"""A headend inside the test, and clients that say exactly what they are told to.

`headend` runs the real composition root on a free port of loopback, in the test's own event loop, so that a
mock clock makes its timers exact. `RawClient` holds a TLS connection to it and knows just enough HTTP and
CSTP to get into a tunnel; everything it sends may be bent. `RawDtls` does the same over UDP.

The fixtures at the end are shared by the directories that name them in their `conftest.py`.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import pytest
import structlog
import trio
from OpenSSL import SSL
from trio.testing import MockClock

from asa_emu.app import HostPort, Options, Running, run_headend
from asa_emu.session.events import SessionEvent
from asa_emu.session.model import Session
from asa_emu.transport.contexts import client_context
from asa_emu.transport.openssl import MAX_RECORD, TlsBroken
from asa_emu.transport.stream import TlsStream
from asa_emu.wire.auth_xml import auth_reply
from asa_emu.wire.dtls import EXPORTER_LABEL, DtlsClient, Psk, Secret
from asa_emu.wire.frames import Frame, FrameReader, PacketType, encode_frame
from asa_emu.wire.packet import echo_request, parse_echo_untrusted
from client_emu.client import Client
from client_emu.gateway import Gateway
from client_emu.options import ClientOptions

EPOCH = 1_354_313_604.0  # 22:13:24 UTC on Friday, 30 November 2012
INSIDE = "10.77.0.1"
PASSWORD = "pw"
LIMIT = 60.0  # virtual seconds that a test waits for what must come

CONFIG = """\
hostname ciscoasa
ip local pool POOL 10.77.0.10-10.77.0.250 mask 255.255.255.0
!emu ipv6 local pool POOL6 fd00:77::10/64 200
interface GigabitEthernet0/0
 nameif outside
webvpn
 enable outside
 anyconnect enable
 tunnel-group-list enable
group-policy DfltGrpPolicy attributes
 vpn-tunnel-protocol ssl-client
 vpn-simultaneous-logins 2000
 address-pools value POOL
 ipv6-address-pools value POOL6
tunnel-group STAFF type remote-access
tunnel-group STAFF webvpn-attributes
 group-alias staff enable
!emu users user 000-099 password pw
"""


@asynccontextmanager
async def headend(state: Path, config: str = CONFIG, **options: Any) -> AsyncIterator[Running]:
    """Run a headend around a block; `options` are further `Options` of it."""
    wanted: dict[str, Any] = {
        "config_text": config,
        "listen": HostPort("127.0.0.1", 0),
        "state": state,
        "epoch": EPOCH,
        **options,
    }
    async with trio.open_nursery() as nursery:
        running: Running = await nursery.start(run_headend, Options(**wanted))
        try:
            yield running
        finally:
            nursery.cancel_scope.cancel()


def client(running: Running, user: str, **options: Any) -> Client:
    """A real client, not connected yet."""
    wanted: dict[str, Any] = {
        "gateway": Gateway("127.0.0.1", running.https.port),
        "user": user,
        "password": PASSWORD,
        "group": "staff",
        "pin": running.pin,
        **options,
    }
    return Client(ClientOptions(**wanted), timeline=running.gateway.timeline)


def session_of(running: Running, user: str) -> Session:
    """The one session of a user."""
    (session,) = running.gateway.headend.db.by_user(user)
    return session


def record_events(running: Running) -> list[SessionEvent]:
    """What the database tells from now on."""
    told: list[SessionEvent] = []
    running.gateway.headend.db.subscribe(told.append)
    return told


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names in lower case, of repeated ones the last."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def reason(self) -> str:
        """X-Reason, which says in words what was wrong."""
        return self.headers.get("x-reason", "")


class RawClient:
    """One TLS connection to the VPN port, and what was read from it."""

    def __init__(self, stream: TlsStream) -> None:
        self.stream = stream
        self.frames: list[Frame] = []
        self.ip4 = self.ip6 = b""
        self._reader = FrameReader()
        self.unread = b""

    @classmethod
    async def open(
        cls, running: Running, *, context: SSL.Context | None = None, source: str | None = None
    ) -> Self:
        """Connect and shake hands."""
        context = context or client_context()
        return cls(await TlsStream.open("127.0.0.1", running.https.port, context, source_address=source))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()

    async def say(self, *records: bytes) -> None:
        """Send plaintext, each piece as a TLS record of its own, or several when it is too long for one."""
        for record in records:
            for at in range(0, len(record), MAX_RECORD):
                self.stream.write_record(record[at : at + MAX_RECORD])
        await self.stream.flush()

    async def answer(self, limit: float = LIMIT) -> Answer:
        """The next HTTP answer."""
        with trio.fail_after(limit):
            while b"\r\n\r\n" not in self.unread:
                await self.more()
            head, _, self.unread = self.unread.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {}
            for line in lines:
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            length = int(headers.get("content-length", 0))
            while len(self.unread) < length:
                await self.more()
            body, self.unread = self.unread[:length], self.unread[length:]
        return Answer(int(first.split(" ")[1]), headers, body)

    async def more(self) -> None:
        """Read on into `unread`."""
        data = await self.stream.receive_some()
        if not data:
            raise TlsBroken("the headend closed the connection")
        self.unread += data

    async def ended(self, limit: float = LIMIT) -> bool:
        """Wait until the headend closes the connection, in whatever way; what it says before is kept."""
        with trio.move_on_after(limit):
            try:
                while data := await self.stream.receive_some():
                    self.unread += data
            except TlsBroken:
                pass
            return True
        return False

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        """Ask and wait for the answer."""
        await self.say(request(method, target, body, headers))
        return await self.answer()

    async def log_in(self, user: str, password: str = PASSWORD) -> str:
        """Log in by XML; the token."""
        answer = await self.request("POST", "/", login_document(user, password))
        assert answer.status == 200, answer
        token = answer.body.partition(b"<session-token>")[2].partition(b"</session-token>")[0].decode()
        assert token, answer.body
        return token

    async def connect(self, token: str | None, *headers: tuple[str, str], pipelined: bytes = b"") -> Answer:
        """CONNECT; `pipelined` goes out in the same TLS record."""
        await self.say(connect_request(token, *headers) + pipelined)
        return await self.connect_answer()

    async def connect_answer(self) -> Answer:
        """The answer to a CONNECT that was sent; from then on the addresses are ours."""
        answer = await self.answer()
        if answer.status == 200:
            if "x-cstp-address" in answer.headers:
                self.ip4 = ip_address(answer.headers["x-cstp-address"]).packed
            if "x-cstp-address-ip6" in answer.headers:
                self.ip6 = ip_address(answer.headers["x-cstp-address-ip6"].partition("/")[0]).packed
        return answer

    async def send(self, kind: int, payload: bytes = b"") -> None:
        """Send one frame in one record."""
        await self.say(encode_frame(kind, payload))

    async def receive(self, limit: float = LIMIT) -> Frame:
        """The next frame."""
        with trio.fail_after(limit):
            while not self.frames:
                data, self.unread = self.unread, b""
                data = data or await self.stream.receive_some()
                if not data:
                    raise TlsBroken("the headend closed the tunnel")
                self.frames += self._reader.feed(data)
        return self.frames.pop(0)

    async def expect(self, kind: int, limit: float = LIMIT) -> bytes:
        """The payload of the next frame, which must be of this kind."""
        frame = await self.receive(limit)
        assert frame.kind == kind, frame
        return frame.payload

    def echo(self, sequence: int = 1, *, size: int = 16, destination: str = INSIDE) -> bytes:
        """An echo request from our address."""
        target = ip_address(destination)
        source = self.ip4 if target.version == 4 else self.ip6
        return echo_request(source, target.packed, 7, sequence, bytes(size))

    async def ping(self, sequence: int = 1, *, destination: str = INSIDE, limit: float = 5.0) -> None:
        """Ping an inside host over TLS; nothing else may arrive meanwhile."""
        await self.send(PacketType.DATA, self.echo(sequence, destination=destination))
        await self.expect_reply(sequence, limit)

    async def expect_reply(self, sequence: int, limit: float = 5.0) -> None:
        """The next frame is the reply to that ping."""
        reply = parse_echo_untrusted(await self.expect(PacketType.DATA, limit))
        assert reply is not None
        assert reply.is_reply
        assert reply.sequence == sequence


@asynccontextmanager
async def tunnel(
    running: Running, user: str, *headers: tuple[str, str], **options: Any
) -> AsyncIterator[RawClient]:
    """A raw client inside its tunnel."""
    async with await RawClient.open(running, **options) as raw:
        answer = await raw.connect(await raw.log_in(user), *headers)
        assert answer.status == 200, answer
        yield raw


def request(method: str, target: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: vpn.example.test"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def connect_request(token: str | None, *headers: tuple[str, str]) -> bytes:
    """The bytes of a CONNECT."""
    cookie = [] if token is None else [("Cookie", f"webvpn={token}")]
    return request("CONNECT", "/CSCOSSLC/tunnel", b"", [*cookie, ("X-CSTP-Version", "1"), *headers])


def login_document(user: str, password: str = PASSWORD) -> bytes:
    """The filled-in form."""
    fields = {"username": user, "password": password}
    return auth_reply(fields, version="v9.01", device_id="linux-64", group_select="staff")


PSK_HEADERS = (("X-DTLS-CipherSuite", "PSK-NEGOTIATE"),)


def psk_secret(raw: RawClient, answer: Answer) -> Psk:
    """The secret of a PSK-NEGOTIATE that was granted."""
    app_id = bytes.fromhex(answer.headers["x-dtls-app-id"])
    return Psk(raw.stream.engine.exporter(EXPORTER_LABEL, 32), app_id)


@dataclass
class RawDtls:
    """A UDP socket that shakes hands with the headend, as far as it is told to."""

    running: Running
    secret: Secret
    source: str = "127.0.0.1"
    machine: DtlsClient = field(init=False)
    sock: trio.socket.SocketType = field(init=False)

    async def __aenter__(self) -> Self:
        self.sock = await udp_socket(self.source)
        self.restart()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def server(self) -> tuple[str, int]:
        """Where the headend listens."""
        assert self.running.dtls is not None
        return self.running.dtls.host, self.running.dtls.port

    def restart(self) -> None:
        """A new association, whose hello is not sent yet."""
        self.machine = DtlsClient(self.secret, now=trio.current_time(), rng=secrets.token_bytes)

    async def flush(self) -> None:
        """Send what the handshake wants sent."""
        for datagram in self.machine.datagrams_to_send():
            await self.send_datagram(datagram)

    async def send_datagram(self, datagram: bytes) -> None:
        """Send any bytes."""
        await self.sock.sendto(datagram, self.server)

    async def receive_datagram(self, limit: float = 5.0) -> bytes | None:
        """The next datagram as it comes, None when none does."""
        with trio.move_on_after(limit):
            return await self.sock.recv(65535)
        return None

    async def shake_hands(self) -> None:
        """The whole handshake."""
        await self.flush()
        while not self.machine.established:
            datagram = await self.receive_datagram()
            assert datagram is not None, "the headend does not answer the handshake"
            self.machine.receive(datagram, trio.current_time())
            await self.flush()
            assert not self.machine.closed, self.machine.failure

    async def send(self, kind: int, payload: bytes = b"") -> bytes:
        """Send one packet; the datagram that carried it."""
        datagram = self.machine.seal(bytes([kind]) + payload)
        await self.send_datagram(datagram)
        return datagram

    async def receive(self, limit: float = 5.0) -> bytes | None:
        """The next payload, type byte first; None when none comes."""
        with trio.move_on_after(limit):
            while True:
                datagram = await self.sock.recv(65535)
                for payload in self.machine.receive(datagram, trio.current_time()):
                    return payload
        return None

    async def drain(self) -> None:
        """Take and forget what has arrived, such as the gateway's DPD."""
        while await self.receive(0.1) is not None:
            pass

    async def ping(self, raw: RawClient, sequence: int = 1) -> None:
        """Ping an inside host over DTLS from the address of `raw`."""
        await self.send(PacketType.DATA, raw.echo(sequence))
        await self.expect_reply(sequence)

    async def expect_reply(self, sequence: int) -> None:
        """The next payload is the reply to that ping."""
        payload = await self.receive()
        assert payload is not None, "no answer over DTLS"
        assert payload[0] == PacketType.DATA
        reply = parse_echo_untrusted(payload[1:])
        assert reply is not None
        assert reply.is_reply
        assert reply.sequence == sequence


async def udp_socket(source: str = "127.0.0.1") -> trio.socket.SocketType:
    """A bound UDP socket."""
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await sock.bind((source, 0))
    return sock


async def plain_socket(running: Running, source: str = "127.0.0.1") -> trio.SocketStream:
    """A TCP connection to the VPN port without TLS."""
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        await sock.bind((source, 0))
        await sock.connect(("127.0.0.1", running.https.port))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise


async def read_to_end(stream: trio.SocketStream, limit: float = LIMIT) -> bytes:
    """All that comes until the headend closes in order; a reset raises BrokenResourceError."""
    received = b""
    with trio.fail_after(limit):
        while data := await stream.receive_some(65536):
            received += data
    return received


def run_in_mock_time(*arguments: Any, clock: MockClock | None = None, **options: Any) -> Any:
    """`trio.run` on a clock that jumps to whatever is waited for next."""
    return trio.run(*arguments, clock=clock or MockClock(autojump_threshold=0), **options)


@pytest.fixture
def mock_time() -> None:
    """Makes a test run in mock time; pytest-trio itself sees only a clock that the test names."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that use `mock_time`, directly or not, on a mock clock."""
    for item in items:
        if "mock_time" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=run_in_mock_time), append=False)


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory for all headends, whose keys are made once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def log() -> Iterator[list[structlog.typing.EventDict]]:
    """What was logged; an error in it fails the test, because no peer may cause one."""
    with structlog.testing.capture_logs() as entries:
        yield entries
    assert [entry for entry in entries if entry["log_level"] in ("error", "critical")] == []


@pytest.fixture
async def asa(mock_time: None, state: Path, log: object) -> AsyncIterator[Running]:
    """A headend with the configuration above."""
    async with headend(state) as running:
        yield running
