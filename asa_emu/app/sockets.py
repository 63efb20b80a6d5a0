"""The addresses a headend listens on. What cannot be bound raises `BindError`, which names the flag."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from asa_emu.app.options import BindError, HostPort
from asa_emu.serve.endpoint import bind_tcp


def name_of(sock: socket.socket) -> HostPort:
    """The address a socket is bound to."""
    return HostPort(*sock.getsockname()[:2])


async def start_listening(
    nursery: trio.Nursery, serve: Callable[..., Awaitable[None]], at: HostPort, flag: str
) -> HostPort:
    """Start `serve(host, port)`, which reports where it listens."""
    try:
        bound = await nursery.start(partial(serve, at.host, at.port))
    except OSError as error:
        raise BindError(f"cannot listen on {at} ({flag}): {error.strerror}") from error
    return HostPort(*bound[:2])


def bind_both(listen: HostPort, dtls_port: int, dtls: bool) -> tuple[socket.socket, socket.socket | None]:
    """The TCP listener and the UDP socket; with port 0 both get the same free number."""
    attempts = 20 if listen.port == 0 else 1
    while True:
        attempts -= 1
        try:
            tcp = bind_tcp(listen.host, listen.port)
        except OSError as error:
            raise BindError(f"cannot listen on TCP {listen} (--listen): {error.strerror}") from error
        if not dtls:
            return tcp, None
        port = dtls_port or tcp.getsockname()[1]
        try:
            return tcp, _bind_udp(listen.host, port)
        except OSError as error:
            tcp.close()
            if not attempts:
                raise BindError(
                    f"cannot listen on UDP {HostPort(listen.host, port)} (--listen): {error.strerror}"
                ) from error


def _bind_udp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock
