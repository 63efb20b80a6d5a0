"""A laptop, its administrator and its network, for the tests of the source document's statements.

`Laptop` is a client that does only what it is told: it logs in on one connection, opens its tunnel on
another and DTLS on a socket of its own, and answers nothing unless `answer_tls` or `answer_dtls` runs.
`console` types a line as an administrator, `Shown` takes the answer apart, `Receiver` hears the messages.
`one_way_nat` stands between a
client and the headend and forgets quiet flows. All of it goes over real sockets, on a clock that jumps.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Self

import trio

from asa_emu.app import Running
from asa_emu.config import LogHost
from asa_emu.session.model import Session
from asa_emu.transport.contexts import client_context
from asa_emu.transport.openssl import TlsBroken
from asa_emu.transport.stream import TlsStream
from asa_emu.wire.auth_xml import auth_reply
from asa_emu.wire.frames import Frame, PacketType
from tests.headend_lab import (
    PASSWORD,
    PSK_HEADERS,
    Answer,
    RawClient,
    RawDtls,
    psk_secret,
    read_to_end,
)

MINUTE = 60.0
HOME = "127.0.0.1"
CAFE = "127.0.0.2"
_CONTEXT = client_context()
SILENT = ("anyconnect dpd-interval gateway none", "anyconnect ssl keepalive none")
"""Lines of a policy under which the headend never says anything by itself."""


def configured(*policy: str, webvpn: tuple[str, ...] = (), lines: str = "") -> str:
    """A configuration whose group-policy STAFF says these lines, the others only what they must."""
    said = "".join(f" {line}\n" for line in policy)
    inner = "".join(f"  {line}\n" for line in webvpn)
    return f"""\
{lines}hostname ciscoasa
ip local pool POOL 10.77.0.10-10.77.0.250 mask 255.255.255.0
interface GigabitEthernet0/0
 nameif outside
webvpn
 enable outside
 anyconnect enable
 tunnel-group-list enable
group-policy DfltGrpPolicy attributes
 vpn-tunnel-protocol ssl-client
 address-pools value POOL
group-policy STAFF internal
group-policy STAFF attributes
{said} webvpn
{inner}tunnel-group STAFF type remote-access
tunnel-group STAFF general-attributes
 default-group-policy STAFF
tunnel-group STAFF webvpn-attributes
 group-alias staff enable
tunnel-group OTHERS type remote-access
tunnel-group OTHERS webvpn-attributes
 group-alias others enable
!emu users user 000-099 password pw
"""


class Laptop:
    """A client at rest; its methods put one thing after the other on the wire."""

    def __init__(self, running: Running, user: str = "user000", source: str = HOME) -> None:
        self.running = running
        self.user = user
        self.source = source
        self.agent = "AnyConnect Linux_64 4.10.07061"
        self.group = "staff"
        self.context = _CONTEXT
        self.token = ""
        self.login_port = 0
        self.answer: Answer
        """Of the newest CONNECT."""
        self.tls: RawClient
        self.dtls: RawDtls | None = None
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await self._open.aclose()

    async def _dial(self, port: int | None) -> RawClient:
        port = port or self.running.https.port
        stream = await TlsStream.open(HOME, port, self.context, source_address=self.source)
        raw = RawClient(stream)
        self._open.callback(stream.abort)
        return raw

    async def log_in(self) -> Self:
        """Log in on a connection of its own."""
        raw = await self._dial(None)
        self.login_port = port_of(raw)
        document = auth_reply(
            {"username": self.user, "password": PASSWORD},
            version="4.10.07061",
            device_id="linux-64",
            group_select=self.group,
        )
        answer = await raw.request("POST", "/", document, [("User-Agent", self.agent)])
        self.token = token_of(answer)
        raw.stream.abort()
        return self

    async def connect(self, *headers: tuple[str, str], dtls: bool = True, port: int | None = None) -> Self:
        """CONNECT with the token, log in before if there is none, and bring DTLS up if wanted."""
        if not self.token:
            await self.log_in()
        answer = await self.try_connect(*headers, *(PSK_HEADERS if dtls else ()), port=port)
        assert answer.status == 200, answer
        if dtls:
            await self.open_dtls()
        return self

    async def try_connect(self, *headers: tuple[str, str], port: int | None = None) -> Answer:
        """CONNECT with the token; the answer, whatever it is."""
        self.tls = await self._dial(port)
        self.answer = await self.tls.connect(self.token, *headers)
        return self.answer

    async def open_dtls(self) -> RawDtls:
        """A handshake on a new UDP socket, by the secret of the newest CONNECT."""
        secret = psk_secret(self.tls, self.answer)
        self.dtls = await self._open.enter_async_context(RawDtls(self.running, secret, self.source))
        await self.dtls.shake_hands()
        # the last flight is still on its way when our side is done
        await until(
            lambda: self.session.dtls is not None and self.session.dtls.facts.peer.port == self.udp_port
        )
        return self.dtls

    @property
    def udp(self) -> RawDtls:
        """The DTLS association, which must be there."""
        assert self.dtls is not None
        return self.dtls

    @property
    def tls_port(self) -> int:
        """Our port of the TLS tunnel."""
        return port_of(self.tls)

    @property
    def udp_port(self) -> int:
        """Our port of the DTLS tunnel."""
        return int(self.udp.sock.getsockname()[1])

    @property
    def session(self) -> Session:
        """Its row in the database."""
        session = self.running.gateway.headend.db.by_token(self.token)
        assert session is not None, "the session is over"
        return session

    def alive(self) -> bool:
        """Whether the headend still has the session."""
        return self.running.gateway.headend.db.by_token(self.token) is not None

    @property
    def protocol(self) -> str:
        """The session's tunnels as the Protocol line names them."""
        return " ".join(tunnel.kind.value for tunnel in self.session.tunnels)

    def header(self, name: str) -> str:
        """A header of the newest CONNECT's answer."""
        return self.answer.headers[name.lower()]

    async def cut_tls(self) -> None:
        """Lose the TCP connection without a CSTP DISCONNECT, and wait until the headend knows."""
        ssl = self.session.ssl
        self.tls.stream.abort()
        await until(lambda: self.session.ssl is not ssl)

    async def cut_dtls(self) -> None:
        """End the DTLS association by an alert, and wait until the headend knows."""
        await self.udp.send_datagram(self.udp.machine.close())
        await until(lambda: self.session.dtls is None)

    async def ping(self, sequence: int = 1) -> None:
        """Ping an inside host over the newest tunnel."""
        if self.dtls is not None and self.session.dtls is not None:
            await self.udp.ping(self.tls, sequence)
        else:
            await self.tls.ping(sequence)

    async def answer_tls(self, frames: list[Frame] | None = None) -> None:
        """Answer DPD on TLS for ever, as a client does; note every frame in `frames`."""
        while True:
            frame = await self.tls.receive(limit=1e6)
            if frames is not None:
                frames.append(frame)
            if frame.kind == PacketType.DPD_REQUEST:
                await self.tls.send(PacketType.DPD_RESPONSE)

    async def answer_dtls(self) -> None:
        """Answer DPD on DTLS for ever."""
        while True:
            payload = await self.udp.receive(limit=1e6)
            if payload is not None and payload[0] == PacketType.DPD_REQUEST:
                await self.udp.send(PacketType.DPD_RESPONSE)


def token_of(answer: Answer) -> str:
    """The token of a login that succeeded, empty when it did not."""
    return answer.body.partition(b"<session-token>")[2].partition(b"</session-token>")[0].decode()


def port_of(raw: RawClient) -> int:
    """The local port of a connection."""
    return int(raw.stream.socket.getsockname()[1])


async def until(fact: Any, limit: float = 5.0) -> None:
    """Wait for a fact that bytes on their way bring about."""
    with trio.fail_after(limit):
        while True:
            if fact():
                return
            await trio.sleep(0.001)


async def console(running: Running, line: str, session: str | None = None) -> str:
    """Type a line over the management socket; a named session keeps its mode. The text of the answer."""
    body: dict[str, str] = {"line": line} if session is None else {"line": line, "session": session}
    return str((await manage(running, "POST", "/v1/cli", body))["text"])


async def manage(running: Running, method: str, path: str, body: object = None) -> Any:
    """Ask the management API."""
    sent = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: manage\r\nAuthorization: Bearer {running.manage_token}\r\n"
        f"Content-Length: {len(sent)}\r\nConnection: close\r\n\r\n"
    )
    stream = await trio.open_tcp_stream(running.manage.host, running.manage.port)
    async with stream:
        await stream.send_all(head.encode() + sent)
        received = await read_to_end(stream)
    status, _, rest = received.partition(b"\r\n")
    assert b" 200 " in status, received
    return json.loads(rest.partition(b"\r\n\r\n")[2])


async def configure(running: Running, *lines: str) -> str:
    """Change the live configuration from the console; what it said."""
    said = [await console(running, line, "configure") for line in ("configure terminal", *lines, "end")]
    return "".join(said)


class Shown:
    """`show vpn-sessiondb detail anyconnect` of one session, by field and block."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.session: dict[str, str] = {}
        self.blocks: dict[str, dict[str, str]] = {}
        self.counts: dict[str, str] = {}
        into = self.session
        for line in text.splitlines():
            if line.endswith(":") and not line.startswith(" "):
                into = self.blocks.setdefault(line[:-1], {})
            elif " Tunnels: " in line:
                kind, _, count = line.partition(" Tunnels: ")
                self.counts[kind] = count
            else:
                into.update(fields(line.removeprefix("  ") if into is not self.session else line))

    @classmethod
    async def of(cls, running: Running, what: str = "detail anyconnect") -> Self:
        """Ask the console now."""
        return cls(await console(running, f"show vpn-sessiondb {what}"))


def fields(line: str) -> dict[str, str]:
    """One line's label and value, or two, by columns."""
    if line[13:15] != ": ":
        return {}
    found = {line[:13].strip(): line[15:].strip()}
    if line[37:38] == " " and line[38:39].strip() and line[51:53] == ": ":
        found = {line[:13].strip(): line[15:37].strip(), line[38:51].strip(): line[53:].strip()}
    return found


class Receiver:
    """A syslog receiver on a UDP socket of its own."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOME, 0))
        self._socket.setblocking(False)
        self._lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def host(self) -> LogHost:
        """What a headend has to know about it."""
        return LogHost("", HOME, port=self._socket.getsockname()[1])

    @property
    def lines(self) -> list[str]:
        """Every message so far."""
        with suppress(BlockingIOError):
            while True:
                self._lines.append(self._socket.recv(65535).decode())
        return self._lines

    def about(self, *numbers: int) -> list[str]:
        """The messages with one of these numbers."""
        return [line for line in self.lines if any(f"-{number}: " in line for number in numbers)]


@asynccontextmanager
async def one_way_nat(running: Running, forgets_after: float) -> AsyncIterator[int]:
    """A device before the headend that forgets the way back of a flow silent for so long; its TCP port."""
    async with trio.open_nursery() as nursery:

        async def carry(inside: trio.SocketStream) -> None:
            outside = await trio.open_tcp_stream(HOME, running.https.port)
            heard = trio.current_time()
            async with inside, outside, trio.open_nursery() as flow:

                async def there() -> None:
                    async for data in inside:
                        await outside.send_all(data)
                    await outside.send_eof()

                async def back() -> None:
                    nonlocal heard
                    async for data in outside:
                        if trio.current_time() - heard >= forgets_after:
                            return
                        heard = trio.current_time()
                        await inside.send_all(data)

                flow.start_soon(there)
                await back()
                async for _ in outside:
                    pass

        listener = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        await listener.bind((HOME, 0))
        listener.listen()
        with listener:

            async def accept() -> None:
                while True:
                    connection, _ = await listener.accept()
                    nursery.start_soon(_quietly, carry, trio.SocketStream(connection))

            nursery.start_soon(accept)
            yield listener.getsockname()[1]
            nursery.cancel_scope.cancel()


async def _quietly(carry: Any, stream: trio.SocketStream) -> None:
    try:
        await carry(stream)
    except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        pass  # one side was reset


async def told_to_end(raw: RawClient, limit: float = 10.0) -> Frame | None:
    """The DISCONNECT or TERMINATE that comes before the headend closes; None when it closes in silence."""
    try:
        with trio.fail_after(limit):
            while True:
                frame = await raw.receive(limit)
                if frame.kind in (PacketType.DISCONNECT, PacketType.TERMINATE):
                    return frame
    except TlsBroken:
        return None
