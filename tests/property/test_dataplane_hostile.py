"""Whatever a client sends, the data plane neither raises nor lets a false source through."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from asa_emu.dataplane import Hub, InsideNetwork, Port
from asa_emu.dataplane.reassembly import Reassembler
from asa_emu.wire.frames import encode_frame
from asa_emu.wire.packet import Buffer, build_ip, echo_request, fragment_ipv4
from asa_emu.wire.segments import TcpSegment, build_tcp, build_udp

ALICE, BOB, HOST = (IPv4Address(t).packed for t in ("10.9.0.2", "10.9.0.3", "10.1.2.3"))
ALICE6, BOB6, HOST6 = (IPv6Address(t).packed for t in ("fd09::2", "fd09::3", "fd01::9"))


def _sample_packets() -> list[bytes]:
    packets = []
    for me, other, host in ((ALICE, BOB, HOST), (ALICE6, BOB6, HOST6)):
        icmp = 1 if len(me) == 4 else 58
        for destination in (other, host):
            packets += [
                echo_request(me, destination, 1, 2, b"payload" * 9),
                build_udp(me, destination, 5000, 7, bytes(1350)),
                build_udp(me, destination, 5000, 99, bytes(30)),
                build_tcp(TcpSegment(me, destination, 1, 80, 5, 6, 0x10, 7, b"\x02\x04\x05\xb4", b"data")),
                build_tcp(TcpSegment(me, destination, 1, 7, 5, 0, 0x02, 7, b"", b"")),
                build_ip(me, destination, icmp, b"\x03\x04" + bytes(70)),
            ]
    packets += fragment_ipv4(echo_request(ALICE, HOST, 1, 2, bytes(3000)), 1200)
    packets.append(build_ip(ALICE6, HOST6, 44, b"\x3a\x00\x00\x01\x00\x00\x00\x07" + bytes(16)))
    packets.append(build_ip(ALICE6, HOST6, 0, b"\x3a\x01" + bytes(14) + bytes(16)))
    return packets


SAMPLES = _sample_packets()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sample packet with some header bytes changed and perhaps cut or lengthened."""
    packet = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 4))):
        packet[draw(st.integers(0, min(len(packet), 80) - 1))] = draw(st.integers(0, 255))
    return bytes(packet[: draw(st.integers(0, len(packet)))] if draw(st.booleans()) else packet) + draw(
        st.sampled_from([b"", b"tail"])
    )


hostile = st.one_of(st.binary(max_size=120), mutated())
batches = st.lists(hostile, max_size=12)


class Watched:
    """Two sessions of which only Alice sends; whatever arrives anywhere is checked at once."""

    def __init__(self) -> None:
        self.hub = Hub(InsideNetwork(IPv4Address("10.9.0.1")), self._uplink)
        self.alice = Port(ALICE, ALICE6, 1300, self._back, self._back_frame, self._back_payload)
        self.bob = Port(BOB, BOB6, 1280, self._across, self._across_frame, self._across_payload)
        self.hub.attach(self.alice)
        self.hub.attach(self.bob)

    def _uplink(self, packet: Buffer) -> None:
        raise AssertionError("the inside owns everything")

    def _across(self, packet: Buffer) -> None:
        data = bytes(packet)
        assert len(data) <= self.bob.mtu
        if data[0] >> 4 == 4:
            assert (data[12:16], data[16:20]) == (ALICE, BOB)
            assert int.from_bytes(data[2:4], "big") == len(data)
        else:
            assert (data[8:24], data[24:40]) == (ALICE6, BOB6)
            assert int.from_bytes(data[4:6], "big") + 40 == len(data)

    def _back(self, packet: Buffer) -> None:
        data = bytes(packet)
        assert len(data) <= self.alice.mtu
        if data[0] >> 4 == 4:
            assert data[16:20] == ALICE
            assert data[12:16] not in (ALICE, BOB)
        else:
            assert data[24:40] == ALICE6
            # Without an IPv6 gateway a packet-too-big speaks in the name of the destination.
            assert data[8:24] != ALICE6

    def _across_frame(self, buffer: bytearray, offset: int, length: int) -> None:
        self._across(buffer[offset + 8 : offset + length])

    def _across_payload(self, payload: bytes | bytearray) -> None:
        self._across(payload[1:])

    def _back_frame(self, buffer: bytearray, offset: int, length: int) -> None:
        self._back(buffer[offset + 8 : offset + length])

    def _back_payload(self, payload: bytes | bytearray) -> None:
        self._back(payload[1:])


@given(batches)
def test_dataplane_frames_never_raise_nor_spoof(packets: list[bytes]) -> None:
    watched = Watched()
    buffer = bytearray(b"".join(encode_frame(0, packet) for packet in packets))
    end, accepted, octets, drops = watched.hub.forward_frames(watched.alice, buffer, 0, len(buffer))
    assert end == len(buffer)
    assert accepted + drops == len(packets)
    assert octets <= sum(map(len, packets))


@given(batches, st.integers(0, 1))
def test_dataplane_payloads_never_raise_nor_spoof(packets: list[bytes], start: int) -> None:
    watched = Watched()
    payloads: list[bytes | bytearray] = [b"\0" * start + packet for packet in packets]
    accepted, _, drops = watched.hub.forward_packets(watched.alice, payloads, start)
    assert accepted + drops == len(packets)
    for packet in packets:
        watched.hub.forward_packet(watched.alice, packet)


@given(batches)
def test_dataplane_every_way_decides_alike(packets: list[bytes]) -> None:
    one, two, three = Watched(), Watched(), Watched()
    for packet in packets:
        buffer = bytearray(encode_frame(0, packet))
        framed = one.hub.forward_frames(one.alice, buffer, 0, len(buffer))[1]
        batched = two.hub.forward_packets(two.alice, [b"\0" + packet])[0]
        assert framed == batched == three.hub.forward_packet(three.alice, packet)


@given(st.binary(max_size=400), st.integers(0, 50))
def test_dataplane_survives_any_buffer(noise: bytes, offset: int) -> None:
    watched = Watched()
    buffer = bytearray(noise)
    end, *_ = watched.hub.forward_frames(watched.alice, buffer, min(offset, len(noise)), len(noise))
    assert end <= len(noise)


@given(batches)
def test_dataplane_from_inside_never_raises(packets: list[bytes]) -> None:
    arrived: list[bytes] = []
    hub = Hub(None, arrived.append)  # type: ignore[arg-type]
    hub.attach(Port(HOST, HOST6, 576, deliver=lambda packet: None))
    for packet in packets:
        hub.from_inside(packet)


@given(st.lists(mutated(), max_size=40), st.integers(576, 1500))
def test_dataplane_inside_answers_fit_the_mtu(packets: list[bytes], mtu: int) -> None:
    inside = InsideNetwork()
    for packet in packets:
        for answer in inside.answer(packet, mtu):
            assert len(answer) <= (mtu if answer[0] >> 4 == 4 else max(mtu, 1280))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0x3F),
            st.integers(-3000, 3000),
            st.integers(-3000, 3000),
            st.sampled_from([0, 100, 65_535]),
            st.binary(max_size=50),
            st.sampled_from([7, 9, 80, 22]),
        ),
        max_size=40,
    )
)
def test_dataplane_tcp_survives_any_segments(
    script: list[tuple[int, int, int, int, bytes, int]],
) -> None:
    inside = InsideNetwork()
    rcv = dict.fromkeys((7, 9, 80, 22), 0)
    for flags, ahead, acked, window, data, port in script:
        segment = TcpSegment(
            ALICE, HOST, 1, port, 1000 + ahead, rcv[port] + acked & 0xFFFFFFFF, flags, window, b"", data
        )
        for answer in inside.answer(build_tcp(segment), 1400):
            rcv[port] = int.from_bytes(answer[24:28], "big") + 1


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans()), max_size=30))
def test_dataplane_reassembly_returns_only_what_was_sent(pieces: list[tuple[int, int, bool]]) -> None:
    store = Reassembler()
    for start, length, more in pieces:
        piece = bytes((start * 8 + number) & 0xFF for number in range(length * 8))
        whole = store.add(b"s", b"k", start * 8, more, piece)
        if whole is not None:
            assert whole == bytes(number & 0xFF for number in range(len(whole)))
