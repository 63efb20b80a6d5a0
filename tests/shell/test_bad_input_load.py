"""Peers that take too much or give too little: queues stay bounded, everybody else goes on."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest
import trio

from asa_emu.app import Running
from asa_emu.serve.endpoint import MAX_UNAUTHENTICATED
from asa_emu.serve.tunnels import MAX_QUEUED, CstpTunnel
from asa_emu.wire.frames import PacketType, encode_frame
from asa_emu.wire.packet import echo_request, parse_echo_untrusted
from tests.headend_lab import INSIDE, RawClient, client, plain_socket, read_to_end, session_of, tunnel


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for both ends of thousands of connections in one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if wanted < 4096:
        pytest.skip(f"needs 4096 file descriptors (ulimit -n), {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_client_that_never_reads_is_bounded_and_catches_up(watched: Running) -> None:
    async with tunnel(watched, "user001") as deaf, tunnel(watched, "user002") as loud:
        shell = watched.gateway.links[session_of(watched, "user001").index].cstp
        assert isinstance(shell, CstpTunnel)
        ssl = session_of(watched, "user001").ssl
        assert ssl is not None
        largest = 0
        # 24 MB: more than any socket buffer takes
        for round_ in range(300):
            packets = [echo_request(loud.ip4, deaf.ip4, 7, round_, bytes(1300)) for _ in range(60)]
            await loud.say(*(encode_frame(PacketType.DATA, packet) for packet in packets))
            await loud.send(PacketType.DPD_REQUEST, b"taken")
            await loud.expect(PacketType.DPD_RESPONSE)
            largest = max(largest, len(shell._queue or ()))
        assert shell.connection.blocked
        assert largest == MAX_QUEUED
        assert ssl.drops_tx > 0
        assert len(shell.connection._unsent) < 1_000_000
        await loud.ping()  # others are not held up
        received = 0
        with trio.move_on_after(5):
            while True:
                await deaf.expect(PacketType.DATA)
                received += 1
        assert received == ssl.pkts_tx
        assert received + ssl.drops_tx == 300 * 60
        await deaf.ping()


async def test_a_client_that_never_reads_is_given_up_by_dpd(watched: Running) -> None:
    async with tunnel(watched, "user001") as deaf, client(watched, "user002") as loud:
        begun = trio.current_time()
        target = ".".join(map(str, deaf.ip4))
        while session_of(watched, "user001").ssl is not None:
            packet = echo_request(ip_address(loud.ip4 or "").packed, deaf.ip4, 7, 1, bytes(1300))
            for _ in range(200):
                loud.send_packet(packet)
            await trio.sleep(1)
            assert trio.current_time() - begun < 400
        assert session_of(watched, "user001").ip4 == target
        assert (await loud.ping(INSIDE)).received == 1


async def test_a_flood_of_questions_is_answered_in_order(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        questions = [
            encode_frame(PacketType.DPD_REQUEST, number.to_bytes(4, "big")) for number in range(5000)
        ]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.say, *questions)
            for number in range(5000):
                assert int.from_bytes(await raw.expect(PacketType.DPD_RESPONSE), "big") == number
        await raw.ping()


async def test_a_flood_of_questions_whose_answers_nobody_reads_stops_itself(watched: Running) -> None:
    """What a peer does not take is held for it only until the next read, which then does not come."""
    async with tunnel(watched, "user001") as raw:
        shell = watched.gateway.links[session_of(watched, "user001").index].cstp
        assert isinstance(shell, CstpTunnel)
        question = encode_frame(PacketType.DPD_REQUEST, bytes(16_000))
        with trio.move_on_after(5):
            for _ in range(3000):
                await raw.say(question)
            pytest.fail("48 MB went in")
        assert shell.connection.blocked
        assert len(shell.connection._unsent) < 1_000_000


async def test_a_flood_of_keepalives_is_nothing(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.say(*[encode_frame(PacketType.KEEPALIVE)] * 20_000)
        await raw.ping()


async def test_a_ping_flood_through_the_tunnel_comes_back_whole(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        pings = [encode_frame(PacketType.DATA, raw.echo(n, size=1000)) for n in range(5000)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.say, *pings)
            for number in range(5000):
                reply = parse_echo_untrusted(await raw.expect(PacketType.DATA))
                assert reply is not None
                assert reply.sequence == number


@pytest.mark.usefixtures("descriptors")
async def test_one_address_cannot_have_all_connections(asa: Running) -> None:
    limit = MAX_UNAUTHENTICATED
    async with client(asa, "user099", dtls=False) as bystander:
        with ExitStack() as stack:
            streams = []
            for _ in range(limit + 76):
                streams.append(await plain_socket(asa))
                stack.callback(streams[-1].socket.close)
            for refused in streams[limit:]:
                try:
                    assert await read_to_end(refused, 1.0) == b""
                except trio.BrokenResourceError:
                    pass
            # the ones before stand, tunnels are not concerned, nor are other addresses
            assert (await bystander.ping(INSIDE)).received == 1
            async with tunnel(asa, "user001", source="127.0.0.2") as raw:
                await raw.ping()
            # and whoever leaves makes room
            for stream in streams[:10]:
                await stream.aclose()
            await trio.testing.wait_all_tasks_blocked()
            async with tunnel(asa, "user002") as raw:
                await raw.ping()
        await trio.testing.wait_all_tasks_blocked()
        assert (await bystander.ping(INSIDE)).received == 1


@pytest.mark.usefixtures("descriptors")
async def test_connections_that_say_nothing_free_their_places_again(asa: Running) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_UNAUTHENTICATED):
            stack.callback((await plain_socket(asa)).socket.close)
        refused = await plain_socket(asa)
        async with refused:
            try:
                assert await read_to_end(refused, 1.0) == b""
            except trio.BrokenResourceError:
                pass
        await trio.sleep(25)  # the limit of a handshake
        async with tunnel(asa, "user001") as raw:
            await raw.ping()


async def test_without_descriptors_clients_wait_and_come_in_later(
    asa: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def accept(_: socket.socket) -> None:
        nonlocal tries
        tries += 1
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
        patch.setattr(socket.socket, "accept", accept)
        waiting = await plain_socket(asa)
        await trio.sleep(10)
    assert 9 <= tries <= 11  # and not as often as a core can try
    async with waiting, tunnel(asa, "user001") as raw:
        await raw.ping()


@pytest.mark.usefixtures("descriptors")
async def test_tunnels_are_not_counted(asa: Running) -> None:
    async with client(asa, "user099", dtls=False) as bystander:
        with ExitStack() as stack:
            raws = []
            for number in range(60):
                raw = await RawClient.open(asa)
                stack.callback(raw.stream.socket.close)
                assert (await raw.connect(await raw.log_in(f"user{number:03}"))).status == 200
                raws.append(raw)
            assert sum(1 for _ in asa.gateway.headend.db.sessions()) == 61
            for raw in raws:
                await raw.ping()
            assert (await bystander.ping(INSIDE)).received == 1
