"""Inside hosts: what they answer, what they ignore, and which addresses are theirs."""

import itertools
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from asa_emu.dataplane import InsideNetwork
from asa_emu.dataplane.reassembly import MAX_FRAGMENTS, Reassembler
from asa_emu.wire.packet import (
    build_ip,
    checksum,
    echo_reply,
    echo_request,
    fragment_ipv4,
    parse_echo_untrusted,
    parse_ip_untrusted,
    transport_checksum,
)
from asa_emu.wire.segments import build_udp, parse_udp_untrusted

ALICE, HOST = IPv4Address("10.9.0.2").packed, IPv4Address("10.1.2.3").packed
ALICE6, HOST6 = IPv6Address("fd09::2").packed, IPv6Address("fd01::9").packed
PING = echo_request(ALICE, HOST, 1, 1)
BOTH = pytest.mark.parametrize(("me", "host"), [(ALICE, HOST), (ALICE6, HOST6)], ids=["IPv4", "IPv6"])


def _fragments6(packet: bytes, size: int, identification: bytes = b"\0\0\0\x07") -> list[bytes]:
    """An IPv6 packet without extension headers, cut into pieces of `size` bytes."""
    header = parse_ip_untrusted(packet)
    body = packet[40:]
    pieces = []
    for at in range(0, len(body), size):
        offset_more = (at | (at + size < len(body))).to_bytes(2, "big")
        extension = bytes((header.protocol, 0)) + offset_more + identification
        pieces.append(build_ip(header.source, header.destination, 44, extension + body[at : at + size]))
    return pieces


@BOTH
def test_inside_answers_a_ping(me: bytes, host: bytes) -> None:
    inside = InsideNetwork()
    (reply,) = inside.answer(echo_request(me, host, 7, 8, b"hello"), 1400)
    assert parse_echo_untrusted(reply) == (True, host, me, 7, 8, b"hello")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@BOTH
def test_inside_reassembles_a_large_ping_and_fragments_the_reply(
    me: bytes, host: bytes, order: tuple[int, ...]
) -> None:
    inside = InsideNetwork()
    ping = echo_request(me, host, 7, 8, bytes(range(250)) * 12)
    pieces = fragment_ipv4(ping, 1300) if len(me) == 4 else _fragments6(ping, 1200)
    assert len(pieces) == 3
    answers = [inside.answer(pieces[number], 1400) for number in order]
    assert answers[0] == answers[1] == []
    replies = answers[2]
    assert all(len(reply) <= 1400 for reply in replies)
    headers = [parse_ip_untrusted(reply) for reply in replies]
    assert [header.more_fragments for header in headers] == [True, True, False]
    body = b"".join(reply[h.payload_at : h.length] for reply, h in zip(replies, headers, strict=True))
    whole = build_ip(host, me, headers[0].protocol, body)
    assert parse_echo_untrusted(whole) == (True, host, me, 7, 8, bytes(range(250)) * 12)
    names = {reply[4:6] if len(me) == 4 else reply[44:48] for reply in replies}
    assert len(names) == 1


@BOTH
def test_inside_echoes_udp_and_discards_quietly(me: bytes, host: bytes) -> None:
    inside = InsideNetwork()
    (reply,) = inside.answer(build_udp(me, host, 5000, 7, b"hello"), 1400)
    assert parse_udp_untrusted(reply) == (host, me, 7, 5000, b"hello")
    assert inside.answer(build_udp(me, host, 5000, 9, b"hello"), 1400) == []
    assert inside.ignored == 0


@BOTH
@pytest.mark.parametrize("size", [0, 1300])
def test_inside_port_unreachable_quotes_the_packet(me: bytes, host: bytes, size: int) -> None:
    packet = build_udp(me, host, 5000, 53, bytes(size))
    (error,) = InsideNetwork().answer(packet, 1400)
    header = parse_ip_untrusted(error)
    message = error[header.payload_at :]
    assert (header.source, header.destination) == (host, me)
    if header.version == 4:
        assert message[:2] == b"\x03\x03"
        assert checksum(message) == 0
        assert len(error) <= 576
    else:
        assert message[:2] == b"\x01\x04"
        assert transport_checksum(host, me, 58, message) == 0
        assert len(error) <= 1280
    assert packet.startswith(message[8:])
    assert len(message) >= 8 + 28


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x45" + bytes(10), id="cut short"),
        pytest.param(PING[:10] + b"\xff\xff" + PING[12:], id="header checksum"),
        pytest.param(echo_request(ALICE, HOST, 1, 1, b"data")[:-1] + b"!", id="ICMP checksum"),
        pytest.param(echo_request(ALICE6, HOST6, 1, 1, b"data")[:-1] + b"!", id="ICMPv6 checksum"),
        pytest.param(build_udp(ALICE, HOST, 1, 7, b"data")[:-1] + b"!", id="UDP checksum"),
        pytest.param(build_ip(ALICE, HOST, 6, bytes(20)), id="TCP checksum"),
        pytest.param(build_ip(ALICE, HOST, 1, b"\x0d\x00" + bytes(18)), id="timestamp request"),
        pytest.param(build_ip(ALICE, HOST, 47, bytes(40)), id="GRE"),
        pytest.param(build_ip(ALICE6, HOST6, 0, bytes((0, 9)) + bytes(6)), id="endless extension header"),
    ],
)
def test_inside_ignores_and_counts(packet: bytes) -> None:
    inside = InsideNetwork()
    assert inside.answer(packet, 1400) == []
    assert inside.ignored == 1


def test_inside_does_not_answer_a_reply() -> None:
    request = parse_echo_untrusted(echo_request(ALICE, HOST, 1, 1, b"x"))
    assert request is not None
    reply = echo_reply(request._replace(source=HOST, destination=ALICE))
    inside = InsideNetwork()
    assert inside.answer(reply, 1400) == []
    assert inside.ignored == 1


def test_inside_is_everything_but_the_pools() -> None:
    inside = InsideNetwork(
        IPv4Address("10.9.0.1"),
        IPv6Address("fd09::1"),
        pools=[
            (IPv4Address("10.9.0.1"), IPv4Address("10.9.0.100")),
            (IPv6Address("fd09::"), IPv6Address("fd09::ff")),
        ],
    )
    for text, owned in {
        "10.9.0.1": True,
        "10.9.0.2": False,
        "10.9.0.100": False,
        "10.9.0.101": True,
        "192.0.2.1": True,
    }.items():
        assert inside.owns(IPv4Address(text).packed) is owned, text
    assert inside.owns(IPv6Address("fd09::1").packed)
    assert not inside.owns(IPv6Address("fd09::2").packed)
    assert inside.owns(IPv6Address("2001:db8::1").packed)


def test_inside_may_be_some_networks_and_the_gateway() -> None:
    inside = InsideNetwork(
        IPv4Address("10.9.0.1"), networks=[ip_network("10.1.0.0/16"), ip_network("fd01::/16")]
    )
    assert inside.owns(IPv4Address("10.9.0.1").packed)
    assert inside.owns(HOST)
    assert inside.owns(HOST6)
    assert not inside.owns(IPv4Address("192.0.2.1").packed)
    assert not inside.owns(IPv6Address("2001:db8::1").packed)
    assert inside.gateway6 == b""


def _add(
    store: Reassembler, offset: int, piece: bytes, *, more: bool = True, key: bytes = b"k"
) -> bytes | None:
    return store.add(b"source", key, offset, more, piece)


def test_reassembler_takes_duplicates_and_refuses_overlaps() -> None:
    store = Reassembler()
    assert _add(store, 0, b"a" * 8) is None
    assert _add(store, 0, b"a" * 8) is None
    assert _add(store, 8, b"b", more=False) == b"a" * 8 + b"b"
    assert _add(store, 0, b"a" * 16) is None
    assert _add(store, 8, b"b" * 8, more=False) is None, "overlap"
    assert _add(store, 0, b"a" * 8) is None
    assert _add(store, 0, b"a" * 16) is None, "the same offset, another length"
    assert _add(store, 16, b"c", more=False) is None
    assert _add(store, 8, b"b" * 8, more=False) is None, "a second end"


@pytest.mark.parametrize(
    ("offset", "piece", "more"), [(0, b"", True), (0, b"odd", True), (65_512, b"x" * 8, False)]
)
def test_reassembler_refuses_impossible_fragments(offset: int, piece: bytes, more: bool) -> None:
    store = Reassembler()
    assert _add(store, offset, piece, more=more) is None
    assert _add(store, 0, b"a" * 8) is None
    assert _add(store, 8, b"b", more=False) == b"a" * 8 + b"b"


def test_reassembler_bounds_fragments_datagrams_and_neighbours() -> None:
    store = Reassembler()
    for number in range(MAX_FRAGMENTS + 1):
        assert _add(store, number * 8, b"a" * 8) is None
    assert _add(store, (MAX_FRAGMENTS + 1) * 8, b"end", more=False) is None

    assert store.add(b"neighbour", b"k", 0, True, b"n" * 8) is None
    for number in range(1000):
        assert _add(store, 0, b"a" * 8, key=number.to_bytes(4, "big")) is None
    assert store.add(b"neighbour", b"k", 8, False, b"!") == b"n" * 8 + b"!"
    assert _add(store, 8, b"!", more=False, key=(999).to_bytes(4, "big")) is not None
    assert _add(store, 8, b"!", more=False, key=(995).to_bytes(4, "big")) is None, "pushed out"


def test_reassembler_pushes_out_the_least_recently_used_source() -> None:
    store = Reassembler()
    for number in range(200):
        assert store.add(number.to_bytes(4, "big"), b"k", 0, True, b"a" * 8) is None
    assert store.add((0).to_bytes(4, "big"), b"k", 8, False, b"!") is None
    assert store.add((199).to_bytes(4, "big"), b"k", 8, False, b"!") == b"a" * 8 + b"!"


def test_reassembler_gives_up_on_more_than_a_datagram() -> None:
    store = Reassembler()
    for number in range(90):
        assert _add(store, number * 8, b"a" * 1024) is None
    assert len(store) == 1, "what came after the datagram was given up"


def test_reassembler_forgets_completed_datagrams() -> None:
    store = Reassembler()
    assert _add(store, 0, b"a" * 8) is None
    assert len(store) == 1
    assert _add(store, 8, b"!", more=False) is not None
    assert len(store) == 0
