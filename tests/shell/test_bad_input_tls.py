"""What is no TLS, or breaks off: each peer gets a clear answer or a prompt close, nobody else notices."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio
from OpenSSL import SSL

from asa_emu.app import Running
from asa_emu.serve.connection import HANDSHAKE_LIMIT
from asa_emu.transport.contexts import client_context
from tests.headend_lab import RawClient, plain_socket, read_to_end, tunnel

FATAL = b"\x15\x03"  # a TLS alert record


def client_hello() -> bytes:
    """A ClientHello as a real client begins with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
        b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
    ids=["get", "long-post", "connect"],
)
async def test_plain_http_is_told_to_use_https(watched: Running, said: bytes) -> None:
    stream = await plain_socket(watched)
    async with stream:
        await stream.send_all(said)
        answer = await read_to_end(stream)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"https://" in body


@pytest.mark.parametrize(
    "said",
    [
        bytes(range(256)),
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"STF\x01\x00\x00\x03\x00",
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(range(37)),  # an SSLv2 hello
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(range(37)),  # the same, offering TLS 1.0
        b"\x17\x03\x03\x00\x20" + bytes(32),  # application data before any handshake
    ],
    ids=["bytes", "ssh", "cstp", "huge-record", "sslv2", "sslv2-tls", "data-first"],
)
async def test_what_is_no_tls_is_closed_at_once(watched: Running, said: bytes) -> None:
    begun = trio.current_time()
    async with await plain_socket(watched) as stream:
        await stream.send_all(said)
        await stream.send_eof()
        answer = await read_to_end(stream)
    assert answer[:2] in (FATAL, b"")
    assert trio.current_time() == begun


async def test_an_old_version_of_tls_gets_its_alert(watched: Running) -> None:
    hello = bytearray(client_hello())
    hello[9:11] = b"\x03\x01"  # offers TLS 1.0 at most
    versions = bytes(hello).find(b"\x00\x2b\x00")
    hello[versions : versions + 2] = b"\xfa\xfa"  # and says nothing of later ones
    async with await plain_socket(watched) as stream:
        await stream.send_all(hello)
        answer = await read_to_end(stream)
    assert answer == b"\x15\x03\x01\x00\x02\x02\x46"  # protocol_version


@pytest.mark.parametrize("part", [0, 1, 5, 60, None], ids=["nothing", "byte", "header", "half", "whole"])
async def test_a_handshake_left_half_way_is_given_up(watched: Running, part: int | None) -> None:
    begun = trio.current_time()
    async with await plain_socket(watched) as stream:
        await stream.send_all(client_hello()[:part])
        await read_to_end(stream)
    assert trio.current_time() - begun == pytest.approx(HANDSHAKE_LIMIT)


async def test_a_trickled_handshake_gets_no_more_time(watched: Running) -> None:
    begun = trio.current_time()
    async with await plain_socket(watched) as stream:
        for byte in client_hello()[: int(HANDSHAKE_LIMIT)]:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.99)
        await read_to_end(stream)
    assert trio.current_time() - begun == pytest.approx(HANDSHAKE_LIMIT)


async def test_a_handshake_may_come_byte_by_byte(watched: Running) -> None:
    async with await plain_socket(watched) as stream:
        for byte in client_hello():
            await stream.send_all(bytes([byte]))
        assert (await stream.receive_some())[:2] == b"\x16\x03"


async def test_a_reset_in_the_handshake_is_nobodys_concern(watched: Running) -> None:
    for _ in range(20):
        stream = await plain_socket(watched)
        await stream.send_all(client_hello())
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()


async def test_garbage_inside_tls_is_answered(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        await raw.say(bytes(range(256)) * 4 + b"\r\n\r\n")
        answer = await raw.answer()
        assert answer.status == 400
        assert answer.reason
        assert await raw.ended()


async def test_garbage_beneath_tls_ends_the_connection(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        await raw.stream.socket.send(b"\x17\x03\x03\x00\x40" + bytes(64))
        assert await raw.ended(1.0)


async def test_garbage_beneath_a_tunnel_is_a_silent_loss(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.ping()
        await raw.stream.socket.send(b"\x17\x03\x03\x00\x40" + bytes(64))
        assert await raw.ended(1.0)
        (session,) = watched.gateway.headend.db.by_user("user001")
        assert session.inactive


async def test_closing_without_close_notify_loses_the_tunnel_alone(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        raw.stream.socket.shutdown(socket.SHUT_WR)
        assert await raw.ended(1.0)
        (session,) = watched.gateway.headend.db.by_user("user001")
        assert session.inactive
        assert session.ip4 is not None


async def test_renegotiation_is_refused(watched: Running) -> None:
    context = client_context()
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    async with tunnel(watched, "user001", context=context) as raw:
        connection = raw.stream.engine._connection
        assert connection.renegotiate()
        with pytest.raises(SSL.Error):  # noqa: PT012 -- which of the two calls finds out is OpenSSL's affair
            for _ in range(3):
                try:
                    connection.do_handshake()
                except SSL.WantReadError:
                    pass
                await raw.stream.flush()
                with trio.move_on_after(1):
                    raw.stream.engine.feed(await raw.stream.socket.recv(65536))
