"""Noise, floods, replays and half handshakes on the UDP port: no state for strangers, no harm to tunnels."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from asa_emu.app import Running
from asa_emu.serve.dtls import MAX_HANDSHAKES, DtlsEndpoint
from asa_emu.session.events import TunnelMoved
from asa_emu.wire.dtls import DtlsClient, Psk
from asa_emu.wire.frames import PacketType
from tests.headend_lab import (
    PSK_HEADERS,
    RawClient,
    RawDtls,
    psk_secret,
    record_events,
    session_of,
    udp_socket,
)

HELLO_VERIFY_REQUEST = 3
HANDSHAKE, APPLICATION = 22, 23


def endpoint(asa: Running) -> DtlsEndpoint:
    assert asa.gateway.dtls is not None
    return asa.gateway.dtls


def state_of(asa: Running) -> tuple[int, int, int]:
    """What the UDP side remembers: offers, handshakes, tunnels."""
    dtls = endpoint(asa)
    return len(dtls._offers), len(dtls._handshakes), len(dtls._tunnels)


@asynccontextmanager
async def both_tunnels(asa: Running, user: str) -> AsyncIterator[tuple[RawClient, RawDtls]]:
    """A client in its SSL and DTLS tunnels."""
    async with await RawClient.open(asa) as raw:
        answer = await raw.connect(await raw.log_in(user), *PSK_HEADERS)
        async with RawDtls(asa, psk_secret(raw, answer)) as dtls:
            await dtls.shake_hands()
            await dtls.ping(raw)
            yield raw, dtls


async def settle() -> None:
    """Let the headend take what waits on its sockets."""
    await trio.testing.wait_all_tasks_blocked()


NOISE = [
    b"",
    b"\x00",
    b"\x16",
    b"\x16\xfe\xff" + bytes(10),
    b"\x16\xfe\xfd" + bytes(8) + b"\xff\xff" + bytes(100),
    b"\x17\xfe\xfd\x00\x01" + bytes(6) + b"\x00\x40" + bytes(64),
    b"\x15\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x02\x02\x28",  # a fatal alert in clear
    b"\x15\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x02\x01\x00",  # close_notify in clear
    b"\x14\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x01\x01",
    b"\x01" * 9000,
    b"\xff" * 1400,
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\xfe\xfd" + bytes(8) + b"\x00\x00" * 400,
]


async def test_noise_from_strangers_changes_nothing(watched: Running) -> None:
    before = state_of(watched)
    sock = await udp_socket()
    with sock:
        for datagram in [*NOISE, *(secrets.token_bytes(n) for n in range(1, 600, 7))]:
            await sock.sendto(datagram, ("127.0.0.1", endpoint(watched).port))
        await settle()
        with trio.move_on_after(1):
            pytest.fail(f"answered {await sock.recv(9999)!r}")
    assert state_of(watched) == before


async def test_noise_from_a_clients_own_address_changes_nothing(watched: Running) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        for datagram in NOISE:
            await dtls.send_datagram(datagram)
            await dtls.ping(raw)


@pytest.mark.statement("S34a")
async def test_noise_is_no_sign_of_life(watched: Running) -> None:
    """Whoever forges the client's address must not keep its dead tunnel alive."""
    async with both_tunnels(watched, "user001") as (raw, dtls):
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def forge() -> None:
                while True:
                    for datagram in NOISE:
                        await dtls.send_datagram(datagram)
                    await trio.sleep(7)

            async def stay_alive_over_tls() -> None:
                while True:
                    await raw.send(PacketType.KEEPALIVE)
                    await trio.sleep(20)

            nursery.start_soon(forge)
            nursery.start_soon(stay_alive_over_tls)
            await trio.sleep(200)
            nursery.cancel_scope.cancel()
        session = session_of(watched, "user001")
        assert session.ssl is not None
        assert session.dtls is None
        assert session.parent.last_use_at - watched.gateway.timeline.now(begun) == pytest.approx(150, abs=2)


async def test_hellos_without_a_cookie_leave_no_state(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.connect(await raw.log_in("user001"), *PSK_HEADERS)
        secret = psk_secret(raw, answer)
        before = state_of(watched)
        sock = await udp_socket()
        with sock:
            for _ in range(500):
                machine = DtlsClient(secret, now=trio.current_time(), rng=secrets.token_bytes)
                (hello,) = machine.datagrams_to_send()
                await sock.sendto(hello, ("127.0.0.1", endpoint(watched).port))
                verify = await sock.recv(2000)
                assert verify[0] == HANDSHAKE
                assert verify[13] == HELLO_VERIFY_REQUEST
                assert len(verify) < len(hello)  # no amplifier
        assert state_of(watched) == before


async def test_hellos_for_nobody_are_not_answered(watched: Running) -> None:
    before, dropped = state_of(watched), endpoint(watched).dropped
    async with RawDtls(watched, Psk(bytes(32), secrets.token_bytes(32))) as dtls:
        for _ in range(50):
            dtls.restart()
            await dtls.flush()
        assert await dtls.receive_datagram() is None
    assert state_of(watched) == before
    assert endpoint(watched).dropped == dropped + 50


async def test_a_cookie_is_good_for_its_own_address_alone(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.connect(await raw.log_in("user001"), *PSK_HEADERS)
        before = state_of(watched)
        async with RawDtls(watched, psk_secret(raw, answer)) as dtls:
            await dtls.flush()
            verify = await dtls.receive_datagram()
            assert verify is not None
            dtls.machine.receive(verify, trio.current_time())
            (with_cookie,) = dtls.machine.datagrams_to_send()
            for source in ("127.0.0.1", "127.0.0.2"):
                thief = await udp_socket(source)
                with thief:
                    await thief.sendto(with_cookie, dtls.server)
                    again = await thief.recv(2000)
                    assert again[13] == HELLO_VERIFY_REQUEST
                    assert again[15:] != verify[15:]
            assert state_of(watched) == before
            await dtls.send_datagram(with_cookie)
            await dtls.shake_hands()
            await dtls.ping(raw)


async def test_the_wrong_secret_gets_no_tunnel(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.connect(await raw.log_in("user001"), *PSK_HEADERS)
        app_id = bytes.fromhex(answer.headers["x-dtls-app-id"])
        async with RawDtls(watched, Psk(bytes(32), app_id)) as dtls:
            begun = trio.current_time()
            async with trio.open_nursery() as nursery:

                async def answer_everything() -> None:
                    await dtls.flush()
                    while True:
                        dtls.machine.receive(await dtls.sock.recv(2000), trio.current_time())
                        await dtls.flush()

                nursery.start_soon(answer_everything)
                await trio.sleep(60)
                nursery.cancel_scope.cancel()
            assert not dtls.machine.established
        assert trio.current_time() - begun == 60
        assert state_of(watched)[1] == 0
        assert session_of(watched, "user001").dtls is None
        async with RawDtls(watched, psk_secret(raw, answer)) as dtls:  # the offer stands
            await dtls.shake_hands()
            await dtls.ping(raw)


async def half_a_handshake(dtls: RawDtls) -> None:
    """Up to the server's flight, which is not answered."""
    dtls.restart()
    await dtls.flush()
    verify = await dtls.receive_datagram()
    assert verify is not None
    dtls.machine.receive(verify, trio.current_time())
    await dtls.flush()
    while True:
        flight = await dtls.receive_datagram()
        assert flight is not None
        if flight[0] == HANDSHAKE:
            return


@pytest.mark.parametrize("source", ["the same port", "another port"])
async def test_a_handshake_left_half_way_leaves_the_old_tunnel_alone(watched: Running, source: str) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        machine = dtls.machine
        number = session_of(watched, "user001").dtls
        if source == "the same port":
            await half_a_handshake(dtls)
            dtls.machine = machine
            await dtls.ping(raw)
            await trio.sleep(40)
        else:
            async with RawDtls(watched, dtls.secret) as other:
                await half_a_handshake(other)
                await dtls.ping(raw)
                await trio.sleep(40)
        await dtls.drain()
        await dtls.ping(raw)
        assert session_of(watched, "user001").dtls is number
        assert state_of(watched)[1] == 0


async def test_a_new_handshake_replaces_the_tunnel_only_when_finished(watched: Running) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        async with RawDtls(watched, dtls.secret) as other:
            await half_a_handshake(other)
            assert session_of(watched, "user001").dtls.number == 3  # type: ignore[union-attr]
            await dtls.ping(raw)
            other.restart()
            await other.shake_hands()
            await other.ping(raw)
            assert session_of(watched, "user001").dtls.number == 4  # type: ignore[union-attr]
            # the old association is told, and what it still sends is nobody's
            assert await dtls.receive(1.0) is None
            assert dtls.machine.closed
        assert state_of(watched)[2] == 2


async def test_half_handshakes_for_one_session_are_few(watched: Running) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        others = [RawDtls(watched, dtls.secret) for _ in range(20)]
        for other in others:
            await other.__aenter__()
            await half_a_handshake(other)
            assert state_of(watched)[1] <= MAX_HANDSHAKES
        await dtls.ping(raw)
        for other in others:
            await other.__aexit__()


async def test_replayed_records_are_dropped(watched: Running) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        record = await dtls.send(PacketType.DATA, raw.echo(5))
        await dtls.expect_reply(5)
        for _ in range(10):
            await dtls.send_datagram(record)
        assert await dtls.receive(1.0) is None
        await dtls.ping(raw, 6)


async def test_a_replay_from_elsewhere_does_not_move_the_tunnel(watched: Running) -> None:
    events = record_events(watched)
    async with both_tunnels(watched, "user001") as (raw, dtls):
        record = await dtls.send(PacketType.DATA, raw.echo(5))
        await dtls.expect_reply(5)
        thief = await udp_socket("127.0.0.2")
        with thief:
            await thief.sendto(record, dtls.server)
            with trio.move_on_after(1):
                pytest.fail(f"answered {await thief.recv(9999)!r}")
        await dtls.ping(raw, 6)
    assert not [event for event in events if isinstance(event, TunnelMoved)]


@pytest.mark.statement("S53")
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_records_from_another_address_move_the_tunnel(watched: Running, source: str) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        old, dtls.sock = dtls.sock, await udp_socket(source)
        old.close()
        await dtls.ping(raw, 7)
        tunnel = session_of(watched, "user001").dtls
        assert tunnel is not None
        assert tunnel.number == 3
        assert (tunnel.facts.peer.ip, tunnel.facts.peer.port) == dtls.sock.getsockname()
        await dtls.ping(raw, 8)


async def test_data_in_clear_is_dropped(watched: Running) -> None:
    """Epoch 0 after the handshake: a roll-back would be data that anybody may write."""
    async with both_tunnels(watched, "user001") as (raw, dtls):
        payload = b"\x00" + raw.echo(5)
        head = bytes([APPLICATION]) + b"\xfe\xfd" + bytes(8) + len(payload).to_bytes(2, "big")
        for epoch in (0, 2, 0xFFFF):
            await dtls.send_datagram(head[:3] + epoch.to_bytes(2, "big") + head[5:] + payload)
        assert await dtls.receive(1.0) is None
        await dtls.ping(raw, 6)
        assert session_of(watched, "user001").dtls.pkts_rx == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [1, 1500, 9000, 16383])
async def test_datagrams_of_any_size_pass_or_are_dropped(watched: Running, size: int) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        await dtls.send(PacketType.DATA, bytes(size))
        await dtls.send(PacketType.DPD_REQUEST, bytes(size))
        echoed = await dtls.receive()
        assert echoed == bytes([PacketType.DPD_RESPONSE]) + bytes(size)
        await dtls.ping(raw)
        assert session_of(watched, "user001").dtls.drops_rx == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [1, 2, 4, 6, 7, 8, 9, 255])
async def test_a_type_that_asks_for_nothing_gets_nothing_over_dtls(watched: Running, kind: int) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        await dtls.send(kind, b"x" * 40)
        await dtls.ping(raw)


@pytest.mark.parametrize(("payload", "lives"), [(b"", True), (b"\xd1", True), (b"\xb0bye", False)])
async def test_a_disconnect_over_dtls_ends_what_it_says(
    watched: Running, payload: bytes, lives: bool
) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        session = session_of(watched, "user001")
        await dtls.send(PacketType.DISCONNECT, payload)
        await settle()
        assert session.ended is not lives
        if lives:
            assert session.dtls is None
            await raw.ping()


async def test_an_alert_of_the_peer_ends_dtls_alone(watched: Running) -> None:
    async with both_tunnels(watched, "user001") as (raw, dtls):
        await dtls.send_datagram(dtls.machine.close())
        await settle()
        assert session_of(watched, "user001").dtls is None
        await raw.ping()


async def test_a_logoff_in_the_middle_of_a_handshake_ends_it(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.connect(await raw.log_in("user001"), *PSK_HEADERS)
        async with RawDtls(watched, psk_secret(raw, answer)) as dtls:
            await half_a_handshake(dtls)
            await raw.send(PacketType.DISCONNECT, b"\xb0")
            assert await raw.ended(5.0)
            assert state_of(watched)[:2] == (1, 0)  # the bystander's offer
