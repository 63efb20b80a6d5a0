"""UDP in batches: what a Python process needs to move 250,000 datagrams a second.

Never await for a datagram: wait until the socket is readable, `drain` what is there, answer, and send each
peer's datagrams with one system call. UDP_SEGMENT lets the kernel cut one buffer into datagrams of equal size
(0.5 µs each on loopback against 3.4 µs for `sendto`); UDP_GRO is the same on the way in. Either is given up
quietly when the kernel or the route refuses it.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
MAX_SEGMENTS: Final = 60  # the kernel's limit is 64 (UDP_MAX_SEGMENTS)
MAX_BATCH_BYTES: Final = 64000  # one IP packet's worth before it is cut
_BUFFER: Final = 4 * 1024 * 1024  # receive buffer asked of the kernel, bytes

Address = tuple[Any, ...]


class UdpSocket:
    """A bound, non-blocking UDP socket with batch calls. All methods return at once."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._gso = True
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        try:
            sock.setsockopt(SOL_UDP, UDP_GRO, 1)
            self._gro = True
        except OSError:
            self._gro = False

    def fileno(self) -> int:
        """The descriptor, for whoever waits until it is readable."""
        return self.socket.fileno()

    def drain(self, limit: int = 64) -> list[tuple[Address, list[bytes | memoryview]]]:
        """What waits on the socket, some `limit` datagrams of it: each peer's address and its own in order.

        No more, because what is not worked off at once has left the processor's cache when its turn comes.
        Errors that ICMP reports for an earlier datagram (port unreachable) are skipped: they say nothing of
        the datagrams that wait.
        """
        received: dict[Address, list[bytes | memoryview]] = {}
        receive = self.socket.recvmsg
        count = 0
        while count < limit:
            try:
                data, ancillary, _flags, address = receive(65535, 64)
            except BlockingIOError:
                break
            except OSError:
                count += 1
                continue
            datagrams = received.get(address)
            if datagrams is None:
                datagrams = received[address] = []
            size = 0
            for level, kind, value in ancillary:
                if level == SOL_UDP and kind == UDP_GRO:
                    size = int.from_bytes(value[:4], sys.byteorder)
            if size and size < len(data):
                view = memoryview(data)
                datagrams += [view[i : i + size] for i in range(0, len(data), size)]
                count += len(data) // size
            else:
                datagrams.append(data)
                count += 1
        return list(received.items())

    def send(self, datagrams: Sequence[bytes], address: Address) -> int:
        """Send to one peer; how many the kernel took. What it cannot take now is lost, as UDP may be."""
        if len(datagrams) == 1 or not self._gso:
            return self._send_each(datagrams, address)
        sent = start = 0
        while start < len(datagrams):
            end = _run_end(datagrams, start)
            batch = datagrams[start:end]
            start = end
            if len(batch) == 1 or not self._gso:
                sent += self._send_each(batch, address)
                continue
            control = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", len(batch[0])))]
            try:
                self.socket.sendmsg([b"".join(batch)], control, 0, address)
                sent += len(batch)
            except BlockingIOError:
                continue
            except OSError:
                # a device without checksum offload, or a segment above the path's MTU
                self._gso = False
                sent += self._send_each(batch, address)
        return sent

    def _send_each(self, datagrams: Sequence[bytes], address: Address) -> int:
        sent = 0
        for datagram in datagrams:
            try:
                self.socket.sendto(datagram, address)
                sent += 1
            except OSError:
                continue
        return sent

    def close(self) -> None:
        """Close the socket; idempotent."""
        self.socket.close()


def _run_end(datagrams: Sequence[bytes], start: int) -> int:
    """The end of the longest run that UDP_SEGMENT can carry: equal sizes, but for a shorter last one."""
    size = total = len(datagrams[start])
    end = start + 1
    while end < len(datagrams) and end - start < MAX_SEGMENTS:
        length = len(datagrams[end])
        if length > size or total + length > MAX_BATCH_BYTES:
            break
        total += length
        end += 1
        if length < size:
            break
    return end
