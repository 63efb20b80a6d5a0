"""A headend that does what a test wants, however wrong: TLS and HTTP by hand, in the test's own process.

Each connection runs the `script` with a `Peer`; `Peer.log_in` and `Peer.grant` are the honest steps for those
who misbehave only later. Addresses are numeric loopback, so trio's mock clock may run.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from asa_emu.transport.certificates import open_server_identity
from asa_emu.transport.contexts import server_context
from asa_emu.transport.openssl import TlsBroken, TlsEngine
from asa_emu.transport.stream import TlsStream
from asa_emu.wire.auth_xml import auth_complete
from asa_emu.wire.frames import Frame, FrameReader

TOKEN = "tok-1"
PLAIN = {"X-CSTP-Address": "10.1.1.5", "X-CSTP-Netmask": "255.255.255.0", "X-CSTP-MTU": "1390"}


@dataclass(slots=True)
class Peer:
    """One connection of the client, on the headend's side."""

    stream: TlsStream
    number: int
    """Counts the connections from 0."""
    received: bytes = b""
    frames: list[Frame] = field(default_factory=list)
    _reader: FrameReader = field(default_factory=FrameReader)

    async def request(self) -> bytes:
        """One whole request: head and body."""
        while b"\r\n\r\n" not in self.received:
            await self._more()
        head, _, _ = self.received.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(self.received) < len(head) + 4 + length:
            await self._more()
        request = self.received[: len(head) + 4 + length]
        self.received = self.received[len(request) :]
        return request

    async def answer(self, body: bytes, *lines: str, status: str = "200 OK") -> None:
        """An answer with its length."""
        head = "\r\n".join((f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", ""))
        await self.say(head.encode() + body)

    async def log_in(self) -> None:
        """Accept whoever comes."""
        await self.request()
        await self.answer(auth_complete(TOKEN))

    async def grant(self, headers: dict[str, str] | None = None) -> bytes:
        """Answer CONNECT; the request."""
        request = await self.request()
        assert request.startswith(b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\n")
        assert f"Cookie: webvpn={TOKEN}\r\n".encode() in request
        lines = [f"{name}: {value}" for name, value in (PLAIN | (headers or {})).items()]
        await self.say("\r\n".join(("HTTP/1.1 200 CONNECTED", *lines, "", "")).encode())
        return request

    async def frame(self) -> Frame:
        """The next frame of the client."""
        while not self.frames:
            data, self.received = self.received, b""
            self.frames += self._reader.feed(data or await self._receive())
        return self.frames.pop(0)

    async def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        for start in range(0, len(data), 16384):
            await self.stream.send_all(data[start : start + 16384])

    async def _more(self) -> None:
        self.received += await self._receive()

    async def _receive(self) -> bytes:
        data = await self.stream.receive_some()
        if not data:
            raise TlsBroken("the client closed")
        return data


Script = Callable[[Peer], Awaitable[None]]


@dataclass(slots=True)
class FakeHeadend:
    """Where it listens, the pin of its key, and how many connections came."""

    port: int
    pin: str
    connections: int = 0


@contextlib.asynccontextmanager
async def fake_headend(
    directory: Path, script: Script, name: str = "127.0.0.1", address: str = "127.0.0.1"
) -> AsyncIterator[FakeHeadend]:
    """Listen on a free port with a certificate for `name`; run `script` on each connection."""
    identity = open_server_identity(directory, [name])
    context = server_context(directory / "server.pem", directory / "server.key")
    listener = trio.socket.socket()
    await listener.bind((address, 0))
    listener.listen()
    headend = FakeHeadend(listener.getsockname()[1], identity.pin)

    async def serve(sock: trio.socket.SocketType, number: int) -> None:
        stream = TlsStream(TlsEngine(context, server_side=True), sock)
        with sock, contextlib.suppress(TlsBroken, trio.BrokenResourceError):
            await stream.handshake()
            await script(Peer(stream, number))
            await stream.aclose()

    async def accept() -> None:
        while True:
            sock, _ = await listener.accept()
            # Nagle would keep an answer in the kernel for 40 ms, which an autojumping clock takes for an hour
            sock.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
            nursery.start_soon(serve, sock, headend.connections)
            headend.connections += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        try:
            yield headend
        finally:
            nursery.cancel_scope.cancel()
            listener.close()
