"""What must hold of frames, headers and packets for any input, not only for those thought of."""

import contextlib
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asa_emu.wire.errors import FrameError, HeaderError, PacketError
from asa_emu.wire.frames import (
    MAX_SENT_PAYLOAD,
    Frame,
    FrameReader,
    disconnect_payload,
    encode_frame,
    parse_disconnect_untrusted,
)
from asa_emu.wire.headers import (
    ConnectAnswer,
    ConnectRequest,
    DtlsAnswer,
    RawHeaders,
    parse_connect_answer_untrusted,
    parse_connect_request_untrusted,
)
from asa_emu.wire.packet import (
    build_ip,
    checksum,
    echo_request,
    fragment_ipv4,
    icmp_fragmentation_needed,
    icmpv6_packet_too_big,
    parse_echo_untrusted,
    parse_ip_untrusted,
)
from asa_emu.wire.segments import (
    TcpSegment,
    build_tcp,
    build_udp,
    parse_tcp_untrusted,
    parse_udp_untrusted,
)

FRAMES = st.lists(st.builds(Frame, st.integers(0, 255), st.binary(max_size=300)), max_size=8)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces, cut at these places."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(FRAMES, st.lists(st.integers(0, 10_000), max_size=20))
def test_any_split_of_a_stream_gives_the_same_frames(frames: list[Frame], places: list[int]) -> None:
    stream = b"".join(encode_frame(frame.kind, frame.payload) for frame in frames)
    reader = FrameReader()
    assert [frame for piece in cut(stream, places) for frame in reader.feed(piece)] == frames
    assert reader.pending == 0


@given(st.integers(0, MAX_SENT_PAYLOAD))
def test_a_frame_of_any_length_comes_back(length: int) -> None:
    assert FrameReader().feed(encode_frame(0, bytes(length))) == [Frame(0, bytes(length))]


@given(FRAMES, st.binary(max_size=100), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_split_of_a_faulty_stream_is_heard_alike(
    frames: list[Frame], garbage: bytes, places: list[int]
) -> None:
    stream = b"".join(encode_frame(frame.kind, frame.payload) for frame in frames) + garbage

    def heard(pieces: list[bytes]) -> tuple[list[Frame], str]:
        reader = FrameReader()
        told: list[Frame] = []
        try:
            for piece in [*pieces, b""]:
                told += reader.feed(piece)
        except FrameError as error:
            return told, str(error)
        return told, f"waits with {reader.pending}"

    assert heard(cut(stream, places)) == heard([stream])


@given(st.text(max_size=50).filter(str.isprintable), st.integers(0, 255))
def test_a_disconnect_comes_back(text: str, code: int) -> None:
    said = parse_disconnect_untrusted(disconnect_payload(text, code))
    assert (said.code, said.text) == (code, text)


@given(st.binary(max_size=100))
def test_any_disconnect_is_printable(payload: bytes) -> None:
    assert parse_disconnect_untrusted(payload).text.isprintable()


WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFXYZ0123456789-_.", min_size=1, max_size=20)
NAMES = st.lists(WORDS, max_size=6).map(tuple)
LINES = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_characters="\x7f"), max_size=30)
SECONDS = st.none() | st.integers(1, 2**31 - 1).map(float)
IP4, IP6 = st.ip_addresses(v=4), st.ip_addresses(v=6)


@st.composite
def ip4_networks(draw: st.DrawFn) -> IPv4Network:
    return IPv4Network((draw(IP4), draw(st.integers(0, 32))), strict=False)


@st.composite
def ip6_networks(draw: st.DrawFn) -> IPv6Network:
    return IPv6Network((draw(IP6), draw(st.integers(0, 128))), strict=False)


REQUESTS = st.builds(
    ConnectRequest,
    token=st.none() | WORDS,
    host=LINES,
    user_agent=LINES,
    hostname=LINES,
    accept_encoding=NAMES,
    dtls_accept_encoding=NAMES,
    base_mtu=st.none() | st.integers(1, 65536),
    mtu=st.none() | st.integers(1, 65536),
    address_types=NAMES,
    previous_ip4=st.none() | IP4,
    previous_ip6=st.none() | IP6,
    full_ipv6=st.booleans(),
    master_secret=st.none() | st.binary(min_size=48, max_size=48),
    dtls_ciphers=NAMES,
    dtls12_ciphers=NAMES,
    identifiers=st.dictionaries(st.sampled_from(["Platform", "DeviceType", "Device-UniqueID"]), WORDS),
    license_mobile=st.booleans(),
)

DTLS_ANSWERS = st.builds(
    DtlsAnswer,
    session_id=st.binary(min_size=32, max_size=32),
    app_id=st.none() | st.binary(min_size=1, max_size=32),
    port=st.integers(1, 65535),
    cipher_suite=st.none() | WORDS,
    dtls12_cipher_suite=WORDS,
    mtu=st.none() | st.integers(576, 65535),
    dpd=SECONDS,
    keepalive=SECONDS,
    content_encoding=st.sampled_from([None, "lzs", "oc-lz4"]),
)


def written(answer: ConnectAnswer) -> RawHeaders:
    return answer.session_headers() + answer.policy_headers()


def _with_rekey(answer: ConnectAnswer, rekey: tuple[float | None, str]) -> ConnectAnswer:
    return replace(answer, rekey_time=rekey[0], rekey_method=rekey[1])


ANSWERS = st.builds(
    _with_rekey,
    st.builds(
        ConnectAnswer,
        ip4=IP4,
        netmask=st.none() | IP4,
        ip6=st.none() | st.tuples(IP6, st.integers(0, 128)),
        dns=st.tuples(st.lists(IP4, max_size=3), st.lists(IP6, max_size=3)).map(
            lambda both: (*both[0], *both[1])
        ),
        nbns=st.lists(IP4, max_size=3).map(tuple),
        default_domain=WORDS,
        split_dns=NAMES,
        split_include=st.lists(ip4_networks(), max_size=4).map(tuple),
        split_exclude=st.lists(ip4_networks(), max_size=4).map(tuple),
        split_include_ip6=st.lists(ip6_networks(), max_size=4).map(tuple),
        split_exclude_ip6=st.lists(ip6_networks(), max_size=4).map(tuple),
        tunnel_all_dns=st.booleans(),
        banner=st.text(st.characters(codec="utf-8"), max_size=60).map(lambda text: text.strip(" \t")),
        mtu=st.integers(576, 65535),
        base_mtu=st.none() | st.integers(576, 65536),
        dpd=SECONDS,
        keepalive=SECONDS,
        idle_timeout=SECONDS,
        session_timeout=SECONDS,
        session_timeout_remaining=SECONDS,
        session_alert_interval=SECONDS,
        disconnected_timeout=SECONDS,
        lease_duration=SECONDS,
        client_bypass_protocol=st.booleans(),
        smartcard_removal_disconnect=st.booleans(),
        keep=st.booleans(),
        tcp_keepalive=st.booleans(),
        msie_proxy_pac_url=LINES,
        msie_proxy_bypass_local=st.none() | st.booleans(),
        content_encoding=st.sampled_from([None, "deflate", "lzs", "oc-lz4"]),
        hostname=LINES,
        dtls=st.none() | DTLS_ANSWERS,
    ),
    st.just((None, "none"))
    | st.tuples(st.integers(1, 10**6).map(float), st.sampled_from(["ssl", "new-tunnel"])),
)


@given(REQUESTS)
def test_a_request_comes_back(request: ConnectRequest) -> None:
    assert parse_connect_request_untrusted(request.render()) == request


@given(ANSWERS)
def test_an_answer_comes_back(answer: ConnectAnswer) -> None:
    rendered = written(answer)
    assert parse_connect_answer_untrusted(rendered) == answer
    assert not any(b"\r" in value or b"\n" in value for _, value in rendered)


KNOWN = [
    name
    for message in (
        ConnectRequest(token="t", master_secret=bytes(48)),
        ConnectAnswer(
            ip4=IPv4Address("192.0.2.9"),
            netmask=IPv4Address("255.255.255.0"),
            ip6=(IPv6Address("2001:db8::9"), 64),
            split_include=(IPv4Network("0.0.0.0/0"),),
            split_include_ip6=(IPv6Network("::/0"),),
            dns=(IPv4Address("192.0.2.53"), IPv6Address("2001:db8::53")),
            banner="hello",
            mtu=1406,
            dpd=30.0,
            rekey_time=60.0,
            rekey_method="ssl",
            content_encoding="lzs",
            dtls=DtlsAnswer(
                session_id=bytes(32), app_id=b"a", port=1, cipher_suite="x", content_encoding="lzs"
            ),
        ),
    )
    for name, _ in (message.render() if isinstance(message, ConnectRequest) else written(message))
]
VALUES = (
    st.binary(max_size=40)
    | st.sampled_from(
        [b"0", b"none", b"1406", b"192.0.2.9", b"::1/64", b"::/0", b"1.2.3.4/255.0.0.0", b"%", b"true"]
    )
    | st.text(":/.0123456789abcdef%", max_size=20).map(str.encode)
)


@given(st.lists(st.tuples(st.sampled_from(KNOWN) | st.binary(max_size=10), VALUES), max_size=20))
def test_any_headers_are_read_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with contextlib.suppress(HeaderError):
        parse_connect_request_untrusted(headers)
    with contextlib.suppress(HeaderError):
        parse_connect_answer_untrusted(headers)
    with contextlib.suppress(HeaderError):
        parse_connect_answer_untrusted(
            [(b"X-CSTP-Address", b"192.0.2.9"), (b"X-CSTP-MTU", b"1406"), *headers]
        )


V4, V6 = IPv4Address("192.0.2.1").packed, IPv6Address("2001:db8::1").packed
PORTS = st.integers(0, 65535)


@given(st.binary(max_size=200))
def test_the_checksum_makes_the_sum_come_out(data: bytes) -> None:
    data += bytes(len(data) % 2)
    assert checksum(data + checksum(data).to_bytes(2, "big")) == 0


@given(st.sampled_from([V4, V6]), PORTS, PORTS, st.binary(max_size=64))
def test_what_is_built_is_read(address: bytes, high: int, low: int, payload: bytes) -> None:
    echo = parse_echo_untrusted(echo_request(address, address, high, low, payload))
    assert echo is not None
    assert (echo.identifier, echo.sequence, echo.payload) == (high, low, payload)
    datagram = parse_udp_untrusted(build_udp(address, address, high, low, payload))
    assert (datagram.source_port, datagram.destination_port, datagram.payload) == (high, low, payload)
    segment = TcpSegment(
        address, address, high, low, high * low, low, high & 0xFF, high, bytes(low % 10 * 4), payload
    )
    assert parse_tcp_untrusted(build_tcp(segment)) == segment


@given(st.integers(0, 4000), st.integers(68, 2000), st.integers(0, 65535))
def test_fragments_fit_and_join(length: int, mtu: int, identification: int) -> None:
    payload = bytes(number % 251 for number in range(length))
    pieces = fragment_ipv4(build_ip(V4, V4, 17, payload, identification=identification), mtu)
    joined = b""
    for piece in pieces:
        header = parse_ip_untrusted(piece)
        assert len(piece) <= mtu
        assert header.fragment_offset == len(joined)
        joined += piece[header.payload_at :]
    assert joined == payload


def _damaged(packet: bytes, damage: list[tuple[int, int]]) -> bytes:
    damaged = bytearray(packet)
    for place, value in damage:
        damaged[place % len(damaged)] = value
    return bytes(damaged)


PACKETS = st.binary(max_size=120) | st.builds(
    _damaged,
    st.sampled_from(
        [
            echo_request(V4, V4, 1, 1, bytes(20)),
            echo_request(V6, V6, 1, 1, bytes(20)),
            build_udp(V4, V4, 1, 1, bytes(20)),
            build_udp(V6, V6, 1, 1, bytes(20)),
            build_tcp(TcpSegment(V4, V4, 1, 1, 1, 1, 1, 1, bytes(4), bytes(20))),
            build_ip(V6, V6, 0, bytes((44, 0, 0, 0, 0, 0, 0, 0)) + bytes(60)),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 47), st.integers(0, 255)), max_size=4),
)


@given(PACKETS)
def test_any_bytes_are_a_packet_or_a_packet_error(packet: bytes) -> None:
    readers: list[Any] = [parse_ip_untrusted, parse_echo_untrusted, parse_udp_untrusted, parse_tcp_untrusted]
    for read in readers:
        with contextlib.suppress(PacketError):
            read(memoryview(packet))
    with contextlib.suppress(PacketError):
        fragment_ipv4(memoryview(packet), 68)
    with contextlib.suppress(PacketError):
        icmp_fragmentation_needed(packet, 1406, V4)
    with contextlib.suppress(PacketError):
        icmpv6_packet_too_big(packet, 1406, V6)
