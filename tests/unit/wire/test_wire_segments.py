from ipaddress import ip_address

import pytest

from asa_emu.wire.errors import PacketError
from asa_emu.wire.packet import ICMP, TCP, UDP, build_ip, fragment_ipv4, parse_ip_untrusted
from asa_emu.wire.segments import (
    ACK,
    SYN,
    TcpSegment,
    UdpDatagram,
    build_tcp,
    build_udp,
    parse_tcp_untrusted,
    parse_udp_untrusted,
)

PAIRS = [
    (ip_address("192.0.2.1").packed, ip_address("198.51.100.2").packed),
    (ip_address("2001:db8::1").packed, ip_address("2001:db8::2").packed),
]
FOUR, SIX = PAIRS


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_a_datagram_is_built_and_read(source: bytes, destination: bytes) -> None:
    packet = build_udp(source, destination, 5000, 7, b"hello", ttl=9)
    assert parse_udp_untrusted(packet) == UdpDatagram(source, destination, 5000, 7, b"hello")
    assert parse_udp_untrusted(memoryview(packet)).payload == b"hello"
    assert parse_ip_untrusted(packet).ttl == 9


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_a_segment_is_built_and_read(source: bytes, destination: bytes) -> None:
    segment = TcpSegment(
        source, destination, 5000, 7, 2**32 - 1, 1, SYN | ACK, 65535, b"\x02\x04\x05\x00", b"hi"
    )
    packet = build_tcp(segment)
    assert parse_tcp_untrusted(packet) == segment
    assert parse_ip_untrusted(packet).dont_fragment


def test_a_checksum_of_zero_is_sent_as_its_other_self() -> None:
    # The payload makes the sum over everything 0xffff, so that the checksum comes out as 0.
    bare = build_udp(*FOUR, 0, 0, b"\0\0")
    packet = build_udp(*FOUR, 0, 0, bare[26:28])
    assert packet[26:28] == b"\xff\xff"
    assert parse_udp_untrusted(packet).payload == bare[26:28]


def test_ipv4_permits_udp_without_a_checksum_and_ipv6_does_not() -> None:
    datagram = bytes.fromhex("1388000700090000") + b"!"
    assert parse_udp_untrusted(build_ip(*FOUR, UDP, datagram)).payload == b"!"
    with pytest.raises(PacketError, match="without a checksum"):
        parse_udp_untrusted(build_ip(*SIX, UDP, datagram))


def test_a_changed_payload_is_noticed() -> None:
    for source, destination in PAIRS:
        udp = bytearray(build_udp(source, destination, 5000, 7, b"hello"))
        udp[-1] ^= 1
        with pytest.raises(PacketError, match="wrong checksum"):
            parse_udp_untrusted(udp)
        tcp = bytearray(build_tcp(TcpSegment(source, destination, 5000, 7, 0, 0, ACK, 100, b"", b"hello")))
        tcp[-1] ^= 1
        with pytest.raises(PacketError, match="wrong checksum"):
            parse_tcp_untrusted(tcp)


def test_other_protocols_and_broken_headers_are_packet_errors() -> None:
    for read, protocol in ((parse_udp_untrusted, UDP), (parse_tcp_untrusted, TCP)):
        with pytest.raises(PacketError, match="protocol 1 instead"):
            read(build_ip(*FOUR, ICMP, bytes(40)))
        with pytest.raises(PacketError, match="cut at 7"):
            read(build_ip(*FOUR, protocol, bytes(7)))
        with pytest.raises(PacketError, match="a fragment"):
            read(fragment_ipv4(build_ip(*FOUR, protocol, bytes(2000)), 576)[1])
    with pytest.raises(PacketError, match="a UDP datagram of 9 bytes in 8"):
        parse_udp_untrusted(build_ip(*FOUR, UDP, bytes.fromhex("1388000700090000")))
    with pytest.raises(PacketError, match="a TCP header of 16 bytes"):
        parse_tcp_untrusted(build_ip(*FOUR, TCP, bytes(12) + b"\x40" + bytes(7)))


@pytest.mark.parametrize("options", [b"\1", bytes(44)])
def test_tcp_options_have_to_fit(options: bytes) -> None:
    with pytest.raises(ValueError, match="TCP options"):
        build_tcp(TcpSegment(*FOUR, 5000, 7, 0, 0, ACK, 100, options, b""))
