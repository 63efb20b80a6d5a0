from ipaddress import ip_address
from struct import pack

import pytest

from asa_emu.wire.errors import PacketError
from asa_emu.wire.packet import (
    ICMP,
    ICMPV6,
    UDP,
    Echo,
    build_ip,
    checksum,
    echo_reply,
    echo_request,
    fragment_ipv4,
    icmp_fragmentation_needed,
    icmpv6_packet_too_big,
    parse_echo_untrusted,
    parse_ip_untrusted,
    transport_checksum,
)

A4, B4 = ip_address("192.0.2.1").packed, ip_address("198.51.100.2").packed
A6, B6 = ip_address("2001:db8::1").packed, ip_address("2001:db8::2").packed

# An IPv4 header whose checksum is worked out on paper in RFC 1071 style: b861 in its sixth word.
KNOWN_HEADER = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")


def naive_checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(data[at] << 8 | data[at + 1] for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def test_the_checksum_of_a_known_header() -> None:
    assert checksum(KNOWN_HEADER) == 0
    assert checksum(KNOWN_HEADER[:10] + bytes(2) + KNOWN_HEADER[12:]) == 0xB861


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\x01", b"abc", b"\xff" * 7]
)
def test_the_checksum_is_that_of_the_book(data: bytes) -> None:
    assert checksum(data) == naive_checksum(data)


def test_an_ipv4_header_is_read() -> None:
    header = parse_ip_untrusted(KNOWN_HEADER + bytes(95))
    assert header.version == 4
    assert header.source == ip_address("192.168.0.1").packed
    assert header.destination == ip_address("192.168.0.199").packed
    assert header.protocol == UDP
    assert header.ttl == 64
    assert (header.payload_at, header.length) == (20, 115)
    assert header.dont_fragment
    assert not header.more_fragments
    assert header.fragment_offset == 0


def test_an_ipv6_header_is_read_behind_its_extensions() -> None:
    extensions = bytes((44, 0)) + bytes(6) + pack(">BxHI", ICMPV6, 0x0001, 7)
    packet = build_ip(A6, B6, 0, extensions + b"payload!", ttl=3)
    header = parse_ip_untrusted(packet)
    assert (header.version, header.source, header.destination) == (6, A6, B6)
    assert (header.protocol, header.ttl, header.payload_at, header.length) == (ICMPV6, 3, 56, 64)
    assert header.dont_fragment
    assert header.more_fragments


def test_a_later_ipv6_fragment_ends_the_walk() -> None:
    packet = build_ip(A6, B6, 44, pack(">BxHI", 0, 0x0008, 7) + b"rest")
    header = parse_ip_untrusted(packet)
    assert (header.protocol, header.fragment_offset, header.payload_at) == (0, 8, 48)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x00",
        b"\x50" + bytes(40),
        KNOWN_HEADER[:19],
        KNOWN_HEADER,
        b"\x44" + KNOWN_HEADER[1:] + bytes(95),
        b"\x4f" + KNOWN_HEADER[1:3] + b"\x20" + KNOWN_HEADER[4:] + bytes(95),
        bytes((0x60,)) + bytes(38),
        build_ip(A6, B6, 58, bytes(8))[:-1],
        build_ip(A6, B6, 0, bytes(4)),
        build_ip(A6, B6, 0, bytes((58, 1)) + bytes(6)),
        build_ip(A6, B6, 0, bytes(8) * 9),
    ],
)
def test_what_is_no_packet_is_a_packet_error(packet: bytes) -> None:
    with pytest.raises(PacketError):
        parse_ip_untrusted(packet)


@pytest.mark.parametrize(("source", "destination"), [(A4, B4), (A6, B6)])
def test_a_ping_and_its_answer(source: bytes, destination: bytes) -> None:
    request = parse_echo_untrusted(echo_request(source, destination, 7, 9, b"payload"))
    assert request == Echo(False, source, destination, 7, 9, b"payload")
    answer = parse_echo_untrusted(memoryview(echo_reply(request)))
    assert answer == Echo(True, destination, source, 7, 9, b"payload")


def test_a_ping_known_to_the_wire() -> None:
    # ping 127.0.0.1 with an empty payload: type 8, checksum f7fd, identifier 1, sequence 1.
    assert echo_request(A4, B4, 1, 1)[20:] == bytes.fromhex("0800f7fd00010001")


def test_other_packets_are_no_echo() -> None:
    assert parse_echo_untrusted(build_ip(A4, B4, UDP, bytes(8))) is None
    assert parse_echo_untrusted(build_ip(A4, B4, ICMPV6, b"\x80" + bytes(7))) is None
    assert parse_echo_untrusted(build_ip(A4, B4, ICMP, b"\x03" + bytes(7))) is None


def test_a_broken_ping_is_a_packet_error() -> None:
    for source, destination in ((A4, B4), (A6, B6)):
        ping = bytearray(echo_request(source, destination, 7, 9, b"payload"))
        ping[-1] ^= 1
        with pytest.raises(PacketError, match="wrong checksum"):
            parse_echo_untrusted(ping)
    with pytest.raises(PacketError, match="cut at 7"):
        parse_echo_untrusted(build_ip(A4, B4, ICMP, bytes(7)))


def test_a_packet_that_fits_is_left_whole() -> None:
    packet = echo_request(A4, B4, 1, 1, bytes(100), dont_fragment=True)
    assert fragment_ipv4(packet + b"padding", 128) == [packet]


def test_a_packet_is_cut_and_its_pieces_fit() -> None:
    payload = bytes(range(256)) * 10
    packet = build_ip(A4, B4, UDP, payload, identification=4711)
    pieces = fragment_ipv4(packet, 576)
    headers = [parse_ip_untrusted(piece) for piece in pieces]
    assert max(map(len, pieces)) <= 576
    assert all(checksum(piece[:20]) == 0 for piece in pieces)
    assert {piece[4:6] for piece in pieces} == {pack(">H", 4711)}
    assert [header.more_fragments for header in headers] == [True] * 4 + [False]
    assert [header.fragment_offset for header in headers] == [0, 552, 1104, 1656, 2208]
    assert b"".join(piece[20:] for piece in pieces) == payload


def test_a_fragment_is_cut_further() -> None:
    second = fragment_ipv4(build_ip(A4, B4, UDP, bytes(2000)), 1020)[1]
    pieces = [parse_ip_untrusted(piece) for piece in fragment_ipv4(second, 520)]
    assert [(piece.fragment_offset, piece.more_fragments) for piece in pieces] == [
        (1000, True),
        (1496, True),
        (1992, False),
    ]


def test_only_options_meant_for_it_go_into_later_fragments() -> None:
    # No-operation, record route (not copied), then loose source routing (copied).
    options = bytes((1, 7, 3, 4, 0x83, 3, 4, 0))
    head = bytearray(build_ip(A4, B4, UDP, options + bytes(200)))
    head[0] = 0x47
    pieces = fragment_ipv4(head, 128)
    assert pieces[0][20:28] == options
    assert pieces[1][0] == 0x46
    assert pieces[1][20:24] == bytes((0x83, 3, 4, 0))


def test_what_must_not_be_cut_is_not() -> None:
    with pytest.raises(PacketError, match="must not be fragmented"):
        fragment_ipv4(echo_request(A4, B4, 1, 1, bytes(2000), dont_fragment=True), 1406)
    with pytest.raises(PacketError, match="must not be fragmented"):
        fragment_ipv4(echo_request(A6, B6, 1, 1, bytes(2000)), 1406)
    with pytest.raises(ValueError, match="an MTU of 67"):
        fragment_ipv4(build_ip(A4, B4, UDP, bytes(100)), 67)


def test_a_fragment_beyond_the_largest_packet_is_refused() -> None:
    packet = bytearray(build_ip(A4, B4, UDP, bytes(1000)))
    packet[6:8] = pack(">H", 0x1FFF)
    with pytest.raises(PacketError, match="beyond"):
        fragment_ipv4(packet, 576)


def test_the_sender_of_an_oversize_ipv4_packet_is_told_the_mtu() -> None:
    packet = echo_request(A4, B4, 1, 1, bytes(2000), dont_fragment=True)
    message = icmp_fragmentation_needed(packet, 1406, B4)
    header = parse_ip_untrusted(message)
    assert (header.source, header.destination, header.protocol) == (B4, A4, ICMP)
    assert message[20:22] == b"\x03\x04"
    assert message[26:28] == pack(">H", 1406)
    assert checksum(message[20:]) == 0
    assert len(message) == 576
    assert packet.startswith(message[28:])
    with pytest.raises(PacketError, match="IP version 6"):
        icmp_fragmentation_needed(echo_request(A6, B6, 1, 1), 1406, B4)


def test_the_sender_of_an_oversize_ipv6_packet_is_told_the_mtu() -> None:
    packet = echo_request(A6, B6, 1, 1, bytes(2000))
    message = icmpv6_packet_too_big(packet, 1300, B6)
    header = parse_ip_untrusted(message)
    assert (header.source, header.destination, header.protocol) == (B6, A6, ICMPV6)
    assert message[40:42] == b"\x02\x00"
    assert message[44:48] == pack(">I", 1300)
    assert transport_checksum(B6, A6, ICMPV6, message[40:]) == 0
    assert len(message) == 1280
    assert packet.startswith(message[48:])
    with pytest.raises(PacketError, match="IP version 4"):
        icmpv6_packet_too_big(echo_request(A4, B4, 1, 1), 1300, B6)


def test_a_packet_that_cannot_be_is_not_built() -> None:
    for source, destination in ((A4, B4), (A6, B6)):
        with pytest.raises(ValueError, match="IPv"):
            build_ip(source, destination, UDP, bytes(70000))
