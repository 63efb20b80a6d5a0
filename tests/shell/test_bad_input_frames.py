"""What a client may put into its tunnel: bent frames end the connection, odd ones mean nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from asa_emu.app import Running
from asa_emu.session.events import SessionEnded, TunnelDown
from asa_emu.session.model import Tunnel
from asa_emu.syslog.facts import FrameRefused
from asa_emu.wire.frames import HEADER, MAGIC, PacketType, disconnect_payload, encode_frame
from asa_emu.wire.packet import echo_request
from tests.headend_lab import CONFIG, INSIDE, RawClient, client, headend, record_events, session_of, tunnel


@pytest.fixture
async def asa_packing(mock_time: None, state: Path, log: object) -> AsyncIterator[Running]:
    """A headend that compresses."""
    config = CONFIG.replace(
        "group-policy DfltGrpPolicy attributes\n",
        "group-policy DfltGrpPolicy attributes\n webvpn\n"
        "  !emu anyconnect compression oc-lz4 lzs deflate\n exit\n",
    )
    async with headend(state, config) as running:
        yield running


def ssl_tunnel(asa: Running, user: str) -> Tunnel:
    ssl = session_of(asa, user).ssl
    assert ssl is not None
    return ssl


@pytest.mark.parametrize(
    "head",
    [
        b"STF\x02\x00\x00\x03\x00",
        b"stf\x01\x00\x00\x03\x00",
        b"GET / HT",
        HEADER.pack(MAGIC, 0, PacketType.DATA, 1),
        HEADER.pack(MAGIC, 0, PacketType.DPD_REQUEST, 0xFF),
        HEADER.pack(MAGIC, 16385, PacketType.DPD_REQUEST, 0),
        HEADER.pack(MAGIC, 65535, PacketType.DATA, 0),
        HEADER.pack(MAGIC, 65535, 99, 0),
    ],
)
@pytest.mark.parametrize("behind", [b"", encode_frame(PacketType.DPD_REQUEST)])
async def test_a_bent_frame_is_a_silent_loss(watched: Running, head: bytes, behind: bytes) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.say(behind + head)
        if behind:
            await raw.expect(PacketType.DPD_RESPONSE)
        assert await raw.ended(1.0)
        assert raw.unread == b""
        session = session_of(watched, "user001")
        assert session.inactive
        assert session.ip4 is not None


@pytest.mark.parametrize("kind", [1, 2, 6, 10, 99, 255, PacketType.KEEPALIVE, PacketType.TERMINATE])
@pytest.mark.parametrize("payload", [b"", b"x" * 100])
async def test_a_type_that_asks_for_nothing_gets_nothing(watched: Running, kind: int, payload: bytes) -> None:
    facts: list[object] = []
    watched.gateway.headend.listeners.append(facts.append)
    async with tunnel(watched, "user001") as raw:
        await raw.send(kind, payload)
        await raw.ping()
    refused = [HEADER.unpack(fact.head) for fact in facts if isinstance(fact, FrameRefused)]
    told = [] if kind in frozenset(PacketType) else [(MAGIC, len(payload), kind, 0)]
    assert refused == told


async def test_compressed_data_without_agreement_is_ignored(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.send(PacketType.COMPRESSED, raw.echo())
        await raw.ping(2)
        assert ssl_tunnel(watched, "user001").pkts_rx == 1


@pytest.mark.parametrize("codec", ["deflate", "lzs", "oc-lz4"])
async def test_compressed_garbage_costs_the_tunnel_and_nothing_else(asa_packing: Running, codec: str) -> None:
    async with tunnel(asa_packing, "user001", ("X-CSTP-Accept-Encoding", codec)) as raw:
        await raw.send(PacketType.COMPRESSED, b"\xff" * 200)
        assert await raw.ended(1.0)
    async with client(asa_packing, "user002") as other:
        assert (await other.ping(INSIDE)).received == 1


async def test_an_answer_nobody_asked_for_is_ignored(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        for payload in (b"", b"never sent"):
            await raw.send(PacketType.DPD_RESPONSE, payload)
        await raw.ping()


async def test_a_question_comes_back_whole(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        for size in (0, 1, 4, 1400, 16376):
            await raw.send(PacketType.DPD_REQUEST, b"x" * size)
            assert await raw.expect(PacketType.DPD_RESPONSE) == b"x" * size


async def test_a_question_too_long_for_one_record_is_no_reason_to_stumble(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.say(HEADER.pack(MAGIC, 16384, PacketType.DPD_REQUEST, 0), b"x" * 16384)
        frame = await raw.receive()
        assert frame.kind == PacketType.DPD_RESPONSE
        await raw.ping()


async def test_frames_may_be_cut_anywhere(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        frames = encode_frame(PacketType.DATA, raw.echo(1)) + encode_frame(PacketType.DPD_REQUEST, b"x")
        for size in (1, 2, 3, 5, 7, 8, 9, 31):
            await raw.say(*(frames[at : at + size] for at in range(0, len(frames), size)))
            await raw.expect_reply(1)
            assert await raw.expect(PacketType.DPD_RESPONSE) == b"x"


async def test_fifty_frames_may_share_a_record(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.say(b"".join(encode_frame(PacketType.DATA, raw.echo(n)) for n in range(50)))
        for number in range(50):
            await raw.expect_reply(number)


async def test_a_thousand_frames_may_come_at_once(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.say(*(encode_frame(PacketType.DATA, raw.echo(n, size=1200)) for n in range(1000)))
        for number in range(1000):
            await raw.expect_reply(number)


async def test_an_incomplete_frame_keeps_nothing_alive(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.say(encode_frame(PacketType.DATA, raw.echo(1))[:20])
        begun = trio.current_time()
        assert await raw.ended(200)
        assert trio.current_time() - begun == pytest.approx(150, abs=1)  # 4 probes, 30 s apart, and 30 s more


CROOKED_PACKETS = {
    "empty": b"",
    "one-byte": b"\x45",
    "version-0": bytes(40),
    "version-15": b"\xff" * 40,
    "short-header": b"\x41" + bytes(39),
    "length-beyond": b"\x45\0\xff\xff" + bytes(36),
    "length-0": b"\x45\0\0\0" + bytes(36),
    "ip6-cut": b"\x60" + bytes(38),
    "ip6-length-beyond": b"\x60\0\0\0\xff\xff" + bytes(34),
}


@pytest.mark.parametrize("packet", CROOKED_PACKETS.values(), ids=CROOKED_PACKETS)
async def test_a_crooked_packet_is_dropped_and_counted(watched: Running, packet: bytes) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.send(PacketType.DATA, packet)
        await raw.ping()
        ssl = ssl_tunnel(watched, "user001")
        assert (ssl.drops_rx, ssl.pkts_rx) == (1, 1)


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("10.77.0.10", INSIDE),  # a bystander's
        ("192.0.2.1", INSIDE),
        ("0.0.0.0", INSIDE),
        (INSIDE, "10.77.0.10"),
        ("fd00:77::10", "fd00:77::1"),
        ("::", "fd00:77::1"),
        ("fe80::1", "ff02::2"),  # what a Linux TUN sends by itself
    ],
)
async def test_a_spoofed_source_is_dropped_counted_and_no_use(
    watched: Running, source: str, destination: str
) -> None:
    async with tunnel(watched, "user001") as raw:
        await trio.sleep(10)
        spoofed = echo_request(ip_address(source).packed, ip_address(destination).packed, 7, 1, b"spoofed")
        await raw.send(PacketType.DATA, spoofed)
        await raw.send(PacketType.DPD_REQUEST)
        await raw.expect(PacketType.DPD_RESPONSE)
        ssl = ssl_tunnel(watched, "user001")
        assert (ssl.drops_rx, ssl.pkts_rx) == (1, 0)
        assert ssl.last_use_at == ssl.opened_at


async def test_ipv6_in_a_session_without_it_is_dropped(watched: Running) -> None:
    async with tunnel(watched, "user001", ("X-CSTP-Address-Type", "IPv4")) as raw:
        assert raw.ip6 == b""
        for source in ("::", "fd00:77::99"):
            packet = echo_request(ip_address(source).packed, ip_address("fd00:77::1").packed, 7, 1, b"")
            await raw.send(PacketType.DATA, packet)
        await raw.ping()
        assert ssl_tunnel(watched, "user001").drops_rx == 2


async def test_ipv4_in_a_session_without_it_is_dropped(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        answer = await raw.connect(
            token, ("X-CSTP-Address-Type", "IPv6"), ("X-CSTP-Full-IPv6-Capability", "true")
        )
        assert answer.status == 200
        assert "x-cstp-address" not in answer.headers
        await raw.send(PacketType.DATA, echo_request(bytes(4), ip_address(INSIDE).packed, 7, 1, b""))
        await raw.ping(destination="fd00:77::1")


@pytest.mark.parametrize(
    "farewell", [b"", disconnect_payload("bye"), b"\xb0\xff\xfe" + b"x" * 16000, disconnect_payload("", 0xD1)]
)
async def test_what_follows_a_disconnect_means_nothing(watched: Running, farewell: bytes) -> None:
    events = record_events(watched)
    async with tunnel(watched, "user001") as raw:
        ssl = ssl_tunnel(watched, "user001")
        after = encode_frame(PacketType.DATA, raw.echo()) + encode_frame(PacketType.DISCONNECT, b"\xb0")
        before = encode_frame(PacketType.DATA, raw.echo())
        await raw.say(before + encode_frame(PacketType.DISCONNECT, farewell) + after, after)
        await raw.expect_reply(1)
        assert await raw.ended(5.0)
        assert ssl.pkts_rx == 1
    (down,) = (event for event in events if isinstance(event, TunnelDown))
    assert down.counters.pkts_rx == 1
    ended = [event for event in events if isinstance(event, SessionEnded)]
    assert len(ended) == (1 if farewell[:1] == b"\xb0" else 0)


async def test_garbage_behind_a_disconnect_means_nothing(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.say(encode_frame(PacketType.DISCONNECT, b"\xd1") + b"garbage" * 100)
        assert await raw.ended(5.0)
        assert session_of(watched, "user001").inactive
