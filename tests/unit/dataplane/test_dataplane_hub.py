"""The hub: who gets a packet, in which form, and what counts as a drop."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from asa_emu.dataplane import Hub, InsideNetwork, Port
from asa_emu.wire.frames import encode_frame
from asa_emu.wire.packet import (
    Buffer,
    build_ip,
    checksum,
    echo_request,
    parse_echo_untrusted,
    parse_ip_untrusted,
)
from asa_emu.wire.segments import build_udp

ALICE, BOB, GATEWAY, HOST = (IPv4Address(t).packed for t in ("10.9.0.2", "10.9.0.3", "10.9.0.1", "10.1.2.3"))
ALICE6, BOB6, GATEWAY6, HOST6 = (IPv6Address(t).packed for t in ("fd09::2", "fd09::3", "fd09::1", "fd01::9"))


class Tunnel(Port):
    """A port that keeps what it was given, copied, and says by which way it came."""

    def __init__(self, source4: bytes, source6: bytes, mtu: int = 1400, *, framed: bool = False) -> None:
        super().__init__(source4, source6, mtu, self._take)
        self.packets: list[bytes] = []
        self.ways: list[str] = []
        if framed:
            self.deliver_frame = self._take_frame
            self.deliver_payload = self._take_payload

    def _take(self, packet: Buffer) -> None:
        self.packets.append(bytes(packet))
        self.ways.append("packet")

    def _take_frame(self, buffer: bytearray, offset: int, length: int) -> None:
        frame = bytes(buffer[offset : offset + length])
        assert frame == encode_frame(0, frame[8:])
        self.packets.append(frame[8:])
        self.ways.append("frame")

    def _take_payload(self, payload: bytes | bytearray) -> None:
        assert payload[0] == 0
        self.packets.append(bytes(payload[1:]))
        self.ways.append("payload")


class Lab:
    """Alice and Bob on one hub, with the inside behind it."""

    def __init__(self, *, framed: bool = False, inside: bool = True, uplink: bool = False) -> None:
        self.uplinked: list[bytes] = []
        network = InsideNetwork(
            IPv4Address(GATEWAY),
            IPv6Address(GATEWAY6),
            pools=[
                (IPv4Address("10.9.0.2"), IPv4Address("10.9.0.200")),
                (IPv6Address("fd09::2"), IPv6Address("fd09::ff")),
            ],
        )
        self.hub = Hub(
            network if inside else None,
            (lambda packet: self.uplinked.append(bytes(packet))) if uplink else None,
        )
        self.alice = Tunnel(ALICE, ALICE6, framed=framed)
        self.bob = Tunnel(BOB, BOB6, mtu=1300, framed=framed)
        self.hub.attach(self.alice)
        self.hub.attach(self.bob)

    def frames(self, *packets: bytes) -> tuple[int, int, int, int]:
        buffer = bytearray(b"".join(encode_frame(0, packet) for packet in packets))
        offset, *counts = self.hub.forward_frames(self.alice, buffer, 0, len(buffer))
        assert offset == len(buffer)
        return (offset, *counts)  # type: ignore[return-value]

    def every_way(self, packet: bytes) -> list[tuple[int, int, int]]:
        """Counts of the same packet sent as a frame, as a DTLS payload, as a bare batch and alone."""
        _, *framed = self.frames(packet)
        typed = self.hub.forward_packets(self.alice, [b"\0" + packet])
        bare = self.hub.forward_packets(self.alice, [bytearray(packet)], start=0)
        alone = self.hub.forward_packet(self.alice, packet)
        single = (int(alone), len(packet) if alone else 0, int(not alone))
        return [(framed[0], framed[1], framed[2]), typed, bare, single]


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize(
    ("source", "host"), [(ALICE, GATEWAY), (ALICE, HOST), (ALICE6, GATEWAY6), (ALICE6, HOST6)]
)
def test_hub_answers_pings_in_place_with_right_checksums(source: bytes, host: bytes, framed: bool) -> None:
    lab = Lab(framed=framed)
    # The second round finds the host in the routing table and takes the fast way; 700 sequence numbers meet
    # every carry of the checksum.
    for sequence in range(0, 65_536, 97):
        ping = echo_request(source, host, 0xFE37, sequence, b"payload")
        counts = lab.every_way(ping)
        assert counts == [(1, len(ping), 0)] * 4
        for reply in lab.alice.packets:
            echo = parse_echo_untrusted(reply)
            assert echo is not None
            assert echo == (True, host, source, 0xFE37, sequence, b"payload")
            assert len(source) == 16 or checksum(reply[:20]) == 0
        assert len(lab.alice.packets) == 4
        lab.alice.packets.clear()
    assert lab.alice.ways[-4:] == (["frame", "payload", "packet", "packet"] if framed else ["packet"] * 4)


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize(("source", "destination"), [(ALICE, BOB), (ALICE6, BOB6)])
def test_hub_joins_two_sessions(source: bytes, destination: bytes, framed: bool) -> None:
    lab = Lab(framed=framed)
    packet = build_udp(source, destination, 5000, 6000, b"hello")
    assert lab.every_way(packet) == [(1, len(packet), 0)] * 4
    assert lab.bob.packets == [packet] * 4
    assert lab.bob.ways == (["frame", "payload", "packet", "packet"] if framed else ["packet"] * 4)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(echo_request(BOB, GATEWAY, 1, 1), id="a neighbour's address"),
        pytest.param(build_udp(HOST, BOB, 1, 2, b"x"), id="an inside host's address"),
        pytest.param(echo_request(BOB6, GATEWAY6, 1, 1), id="a neighbour's address, IPv6"),
        pytest.param(
            build_ip(
                IPv6Address("fe80::1").packed,
                IPv6Address("ff02::2").packed,
                58,
                b"\x85\0\0\0\0\0\0\0",
                ttl=255,
            ),
            id="a router solicitation of the client's TUN",
        ),
        pytest.param(build_udp(ALICE, IPv4Address("224.0.0.251").packed, 5353, 5353, b"x"), id="multicast"),
        pytest.param(build_udp(ALICE, b"\xff" * 4, 68, 67, b"x"), id="broadcast"),
        pytest.param(
            build_udp(ALICE6, IPv6Address("ff02::fb").packed, 5353, 5353, b"x"), id="multicast, IPv6"
        ),
        pytest.param(build_udp(ALICE6, IPv6Address("fe80::9").packed, 1, 2, b"x"), id="link-local"),
        pytest.param(build_udp(ALICE, IPv4Address("127.0.0.1").packed, 1, 2, b"x"), id="loopback"),
        pytest.param(build_udp(ALICE, ALICE, 1, 2, b"x"), id="land attack"),
        pytest.param(build_udp(ALICE6, ALICE6, 1, 2, b"x"), id="land attack, IPv6"),
        pytest.param(build_udp(ALICE, IPv4Address("10.9.0.77").packed, 1, 2, b"x"), id="a free pool address"),
        pytest.param(build_udp(ALICE, BOB, 1, 2, b"x" * 20)[:-1], id="shorter than it says"),
        pytest.param(build_udp(ALICE6, BOB6, 1, 2, b"x" * 20)[:-1], id="shorter than it says, IPv6"),
        pytest.param(build_ip(ALICE, BOB, 59, b"")[:19], id="no whole header"),
        pytest.param(b"\x44" + build_udp(ALICE, BOB, 1, 2, b"x" * 20)[1:], id="a header length of 16"),
        pytest.param(b"\x4f" + build_ip(ALICE, BOB, 59, b"")[1:], id="a header longer than the packet"),
        pytest.param(b"\x15" + build_udp(ALICE, BOB, 1, 2, b"x" * 60)[1:], id="IP version 1"),
        pytest.param(b"\0", id="one byte"),
    ],
)
@pytest.mark.parametrize("framed", [False, True])
def test_hub_drops_and_counts(packet: bytes, framed: bool) -> None:
    lab = Lab(framed=framed, uplink=True)
    if len(packet) > 20 and packet[16:20] == IPv4Address("10.9.0.77").packed:
        lab = Lab(framed=framed)
    assert lab.every_way(packet) == [(0, 0, 1)] * 4
    assert not lab.alice.packets
    assert not lab.bob.packets
    assert not lab.uplinked


def test_hub_drops_an_empty_frame_and_a_port_without_addresses() -> None:
    lab = Lab()
    assert lab.frames(b"") == (8, 0, 0, 1)
    assert lab.hub.forward_packets(lab.alice, [b"\0"]) == (0, 0, 1)
    assert not lab.hub.forward_packet(Port(), echo_request(ALICE, GATEWAY, 1, 1))


def test_hub_cuts_off_what_follows_the_packet() -> None:
    lab = Lab()
    for packet in (build_udp(ALICE, BOB, 1, 2, b"x"), build_udp(ALICE6, BOB6, 1, 2, b"x")):
        assert lab.every_way(packet + b"padding")[0][0] == 1
        assert lab.bob.packets == [packet] * 4
        lab.bob.packets.clear()


def test_hub_stops_at_what_is_not_a_plain_data_frame() -> None:
    lab = Lab(framed=True)
    ping = encode_frame(0, echo_request(ALICE, GATEWAY, 1, 1, b"x" * 50))
    for stop in (
        encode_frame(3, b"dpd"),
        encode_frame(8, b"compressed" * 9),
        b"STF\x02" + ping[4:],
        ping[:7] + b"\x01" + ping[8:],
        ping[:-1],
        ping[:5],
    ):
        buffer = bytearray(ping + ping + stop + bytes(100))
        assert lab.hub.forward_frames(lab.alice, buffer, 0, 2 * len(ping) + len(stop)) == (
            2 * len(ping),
            2,
            2 * (len(ping) - 8),
            0,
        )


def test_hub_reads_up_to_the_last_byte_of_an_exact_buffer() -> None:
    lab = Lab()
    smallest = build_ip(ALICE, BOB, 59, b"")
    buffer = bytearray(encode_frame(0, smallest) * 3)
    assert lab.hub.forward_frames(lab.alice, buffer, 0, len(buffer)) == (len(buffer), 3, 60, 0)
    assert lab.bob.packets == [smallest] * 3
    buffer.extend(b"the pass keeps no view of the buffer")


def test_hub_sinks_udp_discard_quietly() -> None:
    lab = Lab()
    packet = build_udp(ALICE, HOST, 5000, 9, b"x" * 1000)
    for _ in range(2):
        assert lab.every_way(packet) == [(1, len(packet), 0)] * 4
    assert not lab.alice.packets


@pytest.mark.parametrize("uplink", [False, True])
def test_hub_without_an_inside_uses_the_uplink_or_drops(uplink: bool) -> None:
    lab = Lab(inside=False, uplink=uplink)
    packet = build_udp(ALICE, HOST, 1, 2, b"x" * 1380)
    for _ in range(2):
        assert lab.every_way(packet) == [(1, len(packet), 0) if uplink else (0, 0, 1)] * 4
    assert lab.uplinked == ([packet] * 8 if uplink else [])


def test_hub_asks_the_inside_before_the_uplink() -> None:
    uplinked: list[bytes] = []
    hub = Hub(
        InsideNetwork(networks=[ip_network("10.1.0.0/16")]), lambda packet: uplinked.append(bytes(packet))
    )
    alice = Tunnel(ALICE, b"")
    hub.attach(alice)
    assert hub.forward_packet(alice, echo_request(ALICE, HOST, 1, 1))
    assert hub.forward_packet(alice, echo_request(ALICE, IPv4Address("192.0.2.1").packed, 1, 1))
    assert (len(alice.packets), len(uplinked)) == (1, 1)


def test_hub_delivers_from_the_uplink_by_destination() -> None:
    lab = Lab(uplink=True, inside=False)
    packet = build_udp(HOST, ALICE, 1, 2, b"x")
    assert lab.hub.from_inside(packet + b"padding")
    assert lab.alice.packets == [packet]
    lab.hub.forward_packet(lab.alice, build_udp(ALICE, HOST, 1, 2, b"x"))
    for nobody in (
        build_udp(ALICE, HOST, 1, 2, b"x"),
        build_udp(HOST, b"\x0a\x09\0\x50", 1, 2, b"x"),
        b"\x45",
        b"",
    ):
        assert not lab.hub.from_inside(nobody)
    assert len(lab.uplinked) == 1


def test_hub_fragments_ipv4_for_a_smaller_tunnel() -> None:
    lab = Lab(framed=True)
    packet = build_udp(ALICE, BOB, 1, 2, bytes(range(256)) * 5 + b"z" * 80)
    assert lab.every_way(packet) == [(1, len(packet), 0)] * 4
    assert len(lab.bob.packets) == 8
    assert all(len(piece) <= 1300 and checksum(piece[:20]) == 0 for piece in lab.bob.packets)
    assert b"".join(piece[20:] for piece in lab.bob.packets[:2]) == packet[20:]


def test_hub_tells_the_sender_the_mtu_of_a_smaller_tunnel() -> None:
    lab = Lab(framed=True)
    packet = build_udp(ALICE, BOB, 1, 2, bytes(1300), dont_fragment=True)
    assert lab.every_way(packet) == [(1, len(packet), 0)] * 4
    for error in lab.alice.packets:
        header = parse_ip_untrusted(error)
        assert (header.source, header.destination) == (GATEWAY, ALICE)
        assert error[20:22] == b"\x03\x04"
        assert int.from_bytes(error[26:28], "big") == 1300
    assert len(lab.alice.packets) == 4

    lab.alice.packets.clear()
    lab.every_way(build_udp(ALICE6, BOB6, 1, 2, bytes(1300)))
    for error in lab.alice.packets:
        header = parse_ip_untrusted(error)
        assert (header.source, header.destination) == (GATEWAY6, ALICE6)
        assert error[40:42] == b"\x02\x00"
        assert int.from_bytes(error[44:48], "big") == 1300
    assert len(lab.alice.packets) == 4
    assert not lab.bob.packets


def test_hub_answers_no_error_with_an_error() -> None:
    lab = Lab()
    unreachable = b"\x03\x03" + bytes(6) + bytes(1350)
    unreachable6 = b"\x01\x04" + bytes(6) + bytes(1300)
    fragment = bytearray(build_udp(ALICE, BOB, 1, 2, bytes(1350)))
    fragment[6:8] = b"\x40\x10"
    for packet in (
        build_ip(ALICE, BOB, 1, unreachable, dont_fragment=True),
        build_ip(ALICE6, BOB6, 58, unreachable6),
        bytes(fragment),
    ):
        assert lab.every_way(packet) == [(1, len(packet), 0)] * 4
    assert not lab.alice.packets
    assert not lab.bob.packets


def test_hub_speaks_for_the_session_when_the_uplink_sends_too_much() -> None:
    lab = Lab(uplink=True, inside=False)
    assert lab.hub.from_inside(build_udp(HOST, BOB, 1, 2, bytes(1350), dont_fragment=True))
    header = parse_ip_untrusted(lab.uplinked[0])
    assert (header.source, header.destination) == (BOB, HOST)
    assert lab.uplinked[0][20:22] == b"\x03\x04"


def test_hub_keeps_a_newer_port_when_the_older_is_detached() -> None:
    lab = Lab()
    newer = Tunnel(BOB, b"")
    lab.hub.attach(newer)
    lab.hub.detach(lab.bob)
    packet = build_udp(ALICE, BOB, 1, 2, b"x")
    assert lab.every_way(packet) == [(1, len(packet), 0)] * 4
    assert newer.packets == [packet] * 4
    lab.hub.detach(newer)
    assert lab.every_way(packet) == [(0, 0, 1)] * 4


def test_hub_prefers_a_session_to_a_host_met_before() -> None:
    hub = Hub(InsideNetwork())
    alice, bob = Tunnel(ALICE, b""), Tunnel(BOB, b"")
    hub.attach(alice)
    packet = echo_request(ALICE, BOB, 1, 1)
    hub.forward_packet(alice, packet)
    assert len(alice.packets) == 1
    hub.attach(bob)
    hub.forward_packet(alice, packet)
    assert bob.packets == [packet]
    hub.detach(bob)
    hub.forward_packet(alice, packet)
    assert len(alice.packets) == 2


def test_hub_forgets_hosts_of_a_scan() -> None:
    lab = Lab()
    for number in range(10_000):
        host = (0x0A000000 + number).to_bytes(4, "big")
        assert lab.hub.forward_packet(lab.alice, build_udp(ALICE, host, 1, 9, b""))
    assert len(lab.hub.routes) <= 4100
    assert lab.every_way(build_udp(ALICE, BOB, 1, 2, b"x"))[0][0] == 1


def test_hub_fragments_the_answer_to_a_large_ping() -> None:
    lab = Lab()
    lab.alice.mtu = 600
    ping = echo_request(ALICE, HOST, 1, 1, bytes(1000))
    for _ in range(2):
        lab.frames(ping)
    assert [len(piece) for piece in lab.alice.packets] == [596, 452] * 2


def test_hub_without_a_gateway_speaks_in_the_name_of_the_destination() -> None:
    lab = Lab(inside=False)
    assert lab.hub.forward_packet(lab.alice, build_udp(ALICE, BOB, 1, 2, bytes(1300), dont_fragment=True))
    assert parse_ip_untrusted(lab.alice.packets[0]).source == BOB


def test_hub_drops_what_cannot_be_fragmented() -> None:
    lab = Lab()
    beyond = bytearray(build_udp(ALICE, BOB, 1, 2, bytes(1350)))
    beyond[6:8] = b"\x1f\xff"
    broken = bytearray(build_udp(ALICE6, BOB6, 1, 2, bytes(1300)))
    broken[6], broken[40:42] = 0, b"\x3a\xff"
    for packet in (beyond, broken):
        assert lab.every_way(bytes(packet)) == [(0, 0, 1)] * 4
    assert not lab.alice.packets
    assert not lab.bob.packets


def test_hub_large_packets_from_inside_vanish_without_an_uplink() -> None:
    lab = Lab()
    assert lab.hub.from_inside(build_udp(HOST, BOB, 1, 2, bytes(1350), dont_fragment=True))
    assert not lab.bob.packets


def test_hub_delivers_a_bare_batch_of_ipv6() -> None:
    lab = Lab(framed=True)
    packet = build_udp(ALICE6, BOB6, 1, 2, b"x")
    assert lab.hub.forward_packets(lab.alice, [packet], start=0) == (1, len(packet), 0)
    assert lab.bob.ways == ["packet"]


def test_hub_brings_back_what_inside_hosts_say() -> None:
    lab = Lab()
    packet = build_udp(ALICE, HOST, 5000, 7, b"hello")
    for _ in range(2):
        assert lab.every_way(packet) == [(1, len(packet), 0)] * 4
    assert lab.alice.packets == [build_udp(HOST, ALICE, 7, 5000, b"hello")] * 8
