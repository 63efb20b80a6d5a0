"""An address is taken over from a socket that nobody reads any more, over TCP and UDP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from asa_emu.serve.takeover import claim_address, count_holders, share_address

TRIES = 50


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def bound(stack: ExitStack, kind: socket.SocketKind, address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = stack.enter_context(socket.socket(family, kind))
    share_address(sock)
    sock.bind(address)
    if kind == socket.SOCK_STREAM:
        sock.listen(4 * TRIES)
    sock.setblocking(False)
    claim_address(sock)
    return sock


def arrivals(stack: ExitStack, kind: socket.SocketKind, sock: socket.socket) -> int:
    """How many of so many clients come to this socket."""
    address = sock.getsockname()[:2]
    for _ in range(TRIES):
        client = stack.enter_context(socket.socket(sock.family, kind))
        client.connect(address)
        if kind == socket.SOCK_DGRAM:
            client.send(b"x")
    count = 0
    while True:
        try:
            if kind == socket.SOCK_STREAM:
                stack.enter_context(sock.accept()[0])
            else:
                sock.recv(1)
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_the_last_one_gets_everything(stack: ExitStack, kind: socket.SocketKind, host: str) -> None:
    frozen = bound(stack, kind, (host, 0))
    address = (host, frozen.getsockname()[1])
    assert arrivals(stack, kind, frozen) == TRIES
    second = bound(stack, kind, address)
    assert arrivals(stack, kind, second) == TRIES
    third = bound(stack, kind, address)
    assert arrivals(stack, kind, third) == TRIES
    frozen.close()
    second.close()
    assert arrivals(stack, kind, third) == TRIES
    # the former holder has gone in the meantime, and there is a place to be found anew
    fourth = bound(stack, kind, address)
    assert arrivals(stack, kind, fourth) == TRIES
    third.close()
    assert arrivals(stack, kind, fourth) == TRIES


def test_without_sharing_an_address_is_not_to_be_had(stack: ExitStack) -> None:
    held = bound(stack, socket.SOCK_STREAM, ("127.0.0.1", 0))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(held.getsockname())


def test_listeners_are_counted_without_a_look_at_the_connections() -> None:
    def table() -> Iterator[str]:
        yield "   0: 0100007F:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0"
        yield "   1: 0900007F:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0"
        yield "   2: 0100007F:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0"
        yield "   3: 0100007F:01BB 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0"
        pytest.fail("there may be very many connections")

    assert count_holders(table(), "0100007F:01BB", listening=True) == 2
