"""What the same calls cost with nothing round them: the floor that the headend's figures stand on.

Microseconds of CPU, in this process and in memory but for the datagrams, which cross loopback: the server's
part of a TLS handshake, a record of one 1,400-byte packet in and out through `TlsEngine`, and a datagram of
that size received by Python without a look at it. The best of many rounds counts.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from asa_emu.transport.certificates import open_server_identity
from asa_emu.transport.contexts import server_context
from asa_emu.transport.openssl import Scratch, TlsEngine
from asa_emu.transport.udp import UdpSocket
from bench.client import client_context

BATCH = 32
PACKET = bytes(1400)
FRAME = bytes(8 + 1400)
_DATAGRAM = bytes(1438)
_FIGURES = 5


def _handshake(context: SSL.Context, client: SSL.Context) -> tuple[float, TlsEngine, TlsEngine]:
    """The server's seconds, and both ends."""
    there = TlsEngine(client, server_side=False)
    there.handshake()
    hello = there.output()
    begun = time.process_time()
    here = TlsEngine(context, server_side=True)
    here.feed(hello)
    here.handshake()
    flight = here.output()
    spent = time.process_time() - begun
    there.feed(flight)
    there.handshake()
    finished = there.output()
    begun = time.process_time()
    here.feed(finished)
    here.handshake()
    tickets = here.output()
    spent += time.process_time() - begun
    there.feed(tickets)
    there.read_into(Scratch(32768))
    return spent, here, there


def _records(here: TlsEngine, there: TlsEngine, scratch: Scratch) -> tuple[float, float]:
    """Seconds to read and to write a batch."""
    for _ in range(BATCH):
        there.write(FRAME)
    wire = there.output()
    begun = time.process_time()
    here.feed(wire)
    here.read_into(scratch)
    middle = time.process_time()
    for _ in range(BATCH):
        here.write(FRAME)
    wire = here.output()
    ended = time.process_time()
    there.feed(wire)
    there.read_into(scratch)
    return middle - begun, ended - middle


def _datagrams(far: UdpSocket, near: UdpSocket, *, segmented: bool) -> float:
    """Seconds to receive a batch."""
    address = near.socket.getsockname()
    if segmented:
        far.send([_DATAGRAM] * BATCH, address)
    else:
        for _ in range(BATCH):
            far.send([_DATAGRAM], address)
    begun = time.process_time()
    near.drain(BATCH)
    return time.process_time() - begun


def _best(seconds: float, run: Callable[[], float]) -> float:
    best = float("inf")
    ends_at = time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < ends_at:
        best = min(best, run())
    return round(best * 1e6, 2)


def run(seconds: float) -> dict[str, Any]:
    """Spend about so long on all figures together."""
    each = seconds / _FIGURES
    client = client_context()
    with tempfile.TemporaryDirectory() as folder:
        open_server_identity(Path(folder), ["127.0.0.1"])
        context = server_context(Path(folder, "server.pem"), Path(folder, "server.key"))
    _, here, there = _handshake(context, client)
    scratch = Scratch(128 * 1024)
    near, far = (UdpSocket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
    near.socket.bind(("127.0.0.1", 0))
    try:
        return {
            "unit": "us",
            "size": len(PACKET),
            "figures": {
                "tls_handshake": _best(each, lambda: _handshake(context, client)[0]),
                "tls_read": _best(each, lambda: _records(here, there, scratch)[0] / BATCH),
                "tls_write": _best(each, lambda: _records(here, there, scratch)[1] / BATCH),
                "udp_receive": _best(each, lambda: _datagrams(far, near, segmented=False) / BATCH),
                "udp_receive_segmented": _best(each, lambda: _datagrams(far, near, segmented=True) / BATCH),
            },
        }
    finally:
        near.close()
        far.close()
