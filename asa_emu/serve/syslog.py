"""Messages to where they are wanted: the syslog hosts of the configuration, and the one of `--syslog`.

    Syslog (pure) -> Record -> UDP: one datagram, sent at once and never waited for
                            -> TCP: a queue, and a task that connects again and again

Nothing here holds the headend up. A real ASA stops taking new VPN sessions while a TCP host is down, unless
`logging permit-hostdown` is configured; the emulator always goes on, and drops and counts what the queue does
not hold. Lines end in a newline on TCP.
"""

from __future__ import annotations

import socket
from collections import deque

import trio

from asa_emu.config import Logging, LogHost
from asa_emu.syslog import Channel, Record, Syslog

LARGEST_QUEUE = 8192  # lines for one TCP host; what `logging queue 0` means
FIRST_PAUSE = 0.5  # seconds of run time before a TCP host is tried again, doubled each time …
LONGEST_PAUSE = 30.0  # … up to this
FLAG_LEVEL = 6  # what --syslog sends when the configuration does not say


class _UdpHost:
    """A host that is sent datagrams."""

    def __init__(self, host: LogHost) -> None:
        self.channel = Channel(host)
        self._socket: socket.socket | None = None

    def put(self, record: Record) -> None:
        """Send a message, or count why not."""
        data = record.wire(self.channel.host.layout).encode()
        try:
            try:
                self._connected().send(data)
            except ConnectionRefusedError:
                # That was said about an earlier datagram, and this one was not sent because of it.
                self.channel.errors += 1
                self._connected().send(data)
            self.channel.sent += 1
        except BlockingIOError:
            self.channel.dropped += 1
        except OSError:
            self.channel.errors += 1

    def _connected(self) -> socket.socket:
        if self._socket is None:
            host = self.channel.host
            family = socket.AF_INET6 if ":" in host.address else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.connect((host.address, host.port))
            except OSError:
                sock.close()
                raise
            self._socket = sock
        return self._socket

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()


class _TcpHost:
    """A host that is sent lines over a connection, which is made again whenever it breaks."""

    def __init__(self, host: LogHost, queue: int) -> None:
        self.channel = Channel(host, connected=False)
        self._limit = queue or LARGEST_QUEUE
        self._waiting: deque[bytes] = deque()
        self._more = trio.Event()
        self._scope = trio.CancelScope()

    def put(self, record: Record) -> None:
        """Queue a message, or count that it was dropped."""
        if len(self._waiting) >= self._limit:
            self.channel.dropped += 1
            return
        self._waiting.append(record.wire(self.channel.host.layout).encode() + b"\n")
        self._more.set()

    async def run(self) -> None:
        """Connect and send until closed."""
        host, pause = self.channel.host, FIRST_PAUSE
        with self._scope:
            while True:
                try:
                    stream = await trio.open_tcp_stream(host.address, host.port)
                except OSError:
                    self.channel.errors += 1
                else:
                    pause = FIRST_PAUSE
                    async with stream:
                        await self._converse(stream)
                await trio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _converse(self, stream: trio.SocketStream) -> None:
        """Send until the host ends the connection; it has nothing to say that matters."""
        self.channel.connected = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, stream)
                try:
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
                nursery.cancel_scope.cancel()
        finally:
            self.channel.connected = False

    async def _send(self, stream: trio.SocketStream) -> None:
        while True:
            await self._more.wait()
            self._more = trio.Event()
            lines = list(self._waiting)
            self._waiting.clear()
            try:
                await stream.send_all(b"".join(lines))
            except trio.BrokenResourceError:
                self.channel.errors += 1
                return  # whoever reads notices too
            self.channel.sent += len(lines)

    def close(self) -> None:
        """Send no more."""
        self._scope.cancel()


class SyslogSender:
    """Sends a headend's messages to its syslog hosts, whichever the configuration names at the time."""

    def __init__(self, syslog: Syslog, flag: LogHost | None = None) -> None:
        self._syslog = syslog
        self._flag = flag
        self._hosts: dict[LogHost, _UdpHost | _TcpHost] = {}
        self._nursery: trio.Nursery

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled."""
        syslog = self._syslog
        async with trio.open_nursery() as self._nursery:
            detach = [syslog.attach("trap", self._to_hosts)]
            flagged = None if self._flag is None else self._open(self._flag, 0)
            if flagged is not None:
                detach.append(syslog.attach("trap", flagged.put, insists=FLAG_LEVEL))
            syslog.on_refresh = self._follow
            self._follow(syslog.logging)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                syslog.on_refresh = None
                for stop in detach:
                    stop()
                for host in (*self._hosts.values(), flagged):
                    if host is not None:
                        host.close()

    def _to_hosts(self, record: Record) -> None:
        for host in self._hosts.values():
            host.put(record)

    def _open(self, host: LogHost, queue: int) -> _UdpHost | _TcpHost:
        if host.protocol == "udp":
            return _UdpHost(host)
        opened = _TcpHost(host, queue)
        self._nursery.start_soon(opened.run)
        return opened

    def _follow(self, said: Logging) -> None:
        """Open what the configuration names anew, close what it names no more."""
        for host in self._hosts.keys() - set(said.hosts):
            self._hosts.pop(host).close()
        for host in said.hosts:
            if host not in self._hosts:
                self._hosts[host] = self._open(host, said.queue)
        self._syslog.channels = [self._hosts[host].channel for host in said.hosts]
