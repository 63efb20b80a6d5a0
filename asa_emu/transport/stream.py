"""A TLS stream on trio: the awaiting wrapper of `TlsEngine`, for whoever handles few connections.

The headend's tunnels do not come through here (they run in its dispatcher); the client emulator and the
management clients do. `write_record` only encrypts and queues, `flush` sends what is queued, so a caller with
many packets pays for one system call.
"""

from __future__ import annotations

import ipaddress
import socket as stdlib_socket

import trio
from OpenSSL import SSL

from asa_emu.transport.openssl import Scratch, TlsBroken, TlsClosed, TlsEngine

_RECEIVE = 65536
_scratch = Scratch(_RECEIVE + 32768)


class TlsStream:
    """One TLS connection over one trio socket. Sending and receiving may be done by different tasks."""

    def __init__(self, engine: TlsEngine, sock: trio.socket.SocketType) -> None:
        self.engine = engine
        self.socket = sock
        self._flushing = trio.Lock()
        self._unsent = b""

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        context: SSL.Context,
        *,
        server_name: str | None = None,
        source_address: str | None = None,
    ) -> TlsStream:
        """Connect to `host` and shake hands; SNI is sent when `server_name` is a name, not an address.

        Raises `OSError` when TCP fails and `TlsBroken` when TLS does. Numeric hosts are not looked up, so
        that a mock clock may run.
        """
        sock = await _connect(host, port, source_address)
        try:
            name = server_name if server_name and not _is_address(server_name) else None
            stream = cls(TlsEngine(context, server_side=False, server_name=name), sock)
            await stream.handshake()
        except BaseException:
            sock.close()
            raise
        return stream

    async def handshake(self) -> None:
        """Run the handshake to its end. Raises `TlsBroken`, also when the peer hangs up in the middle."""
        while True:
            try:
                done = self.engine.handshake()
            finally:
                await self.flush()
            if done:
                return
            data = await self.socket.recv(_RECEIVE)
            if not data:
                raise TlsBroken("the peer closed the connection during the TLS handshake")
            self.engine.feed(data)

    def write_record(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt `data` as one record and queue it; nothing is sent until `flush`."""
        self.engine.write(data)

    async def flush(self) -> None:
        """Send everything queued. Raises `TlsBroken` when the connection is gone.

        What is left when this is cancelled goes out with the next call: a record that was lost would spoil
        all that follow it.
        """
        async with self._flushing:
            while output := self._unsent + self.engine.output():
                self._unsent = output
                try:
                    sent = await self.socket.send(output)
                except (OSError, trio.ClosedResourceError) as error:
                    raise TlsBroken(f"connection lost: {error}") from error
                self._unsent = output[sent:]

    async def send_all(self, data: bytes) -> None:
        """Send `data` (at most 16,384 bytes) as one TLS record."""
        self.write_record(data)
        await self.flush()

    async def receive_some(self) -> bytes:
        """The next plaintext, up to 64 KiB; empty when the peer ended the connection in either way.

        Raises `TlsBroken` on a TCP reset or a record that does not decrypt.
        """
        while True:
            if count := self.engine.read_into(_scratch):
                return bytes(_scratch.view[:count])
            if self.engine.ended is not None:
                if isinstance(self.engine.ended, TlsClosed):
                    return b""
                raise self.engine.ended
            try:
                data = await self.socket.recv(_RECEIVE)
            except (OSError, trio.ClosedResourceError) as error:
                raise TlsBroken(f"connection lost: {error}") from error
            if not data:
                return b""
            self.engine.feed(data)

    async def aclose(self) -> None:
        """Say close_notify if the socket takes it at once, then close."""
        self.engine.close_notify()
        with trio.move_on_after(1) as scope:
            scope.shield = True
            try:
                await self.flush()
            except TlsBroken:
                pass  # closing anyway
        self.socket.close()

    def abort(self) -> None:
        """Close with a TCP reset and no close_notify, as a crashed host would."""
        try:
            self.socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except OSError:
            pass
        self.socket.close()


async def _connect(host: str, port: int, source_address: str | None) -> trio.socket.SocketType:
    if not _is_address(host):
        stream = await trio.open_tcp_stream(host, port, local_address=source_address)
        stream.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
        return stream.socket
    family = stdlib_socket.AF_INET6 if ":" in host else stdlib_socket.AF_INET
    sock = trio.socket.socket(family, stdlib_socket.SOCK_STREAM)
    try:
        sock.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
        if source_address is not None:
            await sock.bind((source_address, 0))
        await sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
