import pytest

from asa_emu.wire.errors import FrameError
from asa_emu.wire.frames import (
    HEADER,
    MAGIC,
    MAX_PAYLOAD,
    MAX_SENT_PAYLOAD,
    Disconnect,
    DisconnectCode,
    Frame,
    FrameReader,
    PacketType,
    disconnect_payload,
    encode_frame,
    parse_disconnect_untrusted,
)

# As seen between openconnect 9.01 and ocserv 1.1.6 (docs/protocol.md §3.1 and §6).
SEEN = [
    (PacketType.KEEPALIVE, b"", "5354460100000700"),
    (PacketType.DPD_REQUEST, b"", "5354460100000300"),
    (PacketType.DPD_RESPONSE, b"", "5354460100000400"),
    (PacketType.DISCONNECT, b"", "5354460100000500"),
    (PacketType.DISCONNECT, b"\xb0Aborted by caller", "53544601001205 00 b0" + b"Aborted by caller".hex()),
    (PacketType.DISCONNECT, b"\xb0Server request", "53544601000f05 00 b0" + b"Server request".hex()),
]


@pytest.mark.parametrize(("kind", "payload", "wire"), SEEN)
def test_frames_seen_on_the_wire_are_written_and_read(kind: PacketType, payload: bytes, wire: str) -> None:
    assert encode_frame(kind, payload) == bytes.fromhex(wire)
    assert FrameReader().feed(bytes.fromhex(wire)) == [Frame(kind, payload)]


def test_a_frame_may_come_byte_by_byte_and_several_may_come_at_once() -> None:
    stream = encode_frame(PacketType.DATA, b"one") + encode_frame(PacketType.DATA, b"two")
    reader = FrameReader()
    seen = [frame for byte in stream for frame in reader.feed(bytes((byte,)))]
    assert seen == FrameReader().feed(stream) == [Frame(0, b"one"), Frame(0, b"two")]
    assert reader.pending == 0


def test_a_partial_frame_is_kept() -> None:
    reader = FrameReader()
    assert reader.feed(encode_frame(PacketType.DATA, bytes(100))[:50]) == []
    assert reader.pending == 50


def test_a_frame_may_come_in_any_buffer() -> None:
    wire = encode_frame(PacketType.DATA, memoryview(b"payload"))
    for buffer in (bytearray(wire), memoryview(wire)):
        frames = FrameReader().feed(buffer)
        assert frames == [Frame(0, b"payload")]
        assert type(frames[0].payload) is bytes


def test_an_unknown_type_is_a_frame_like_any_other() -> None:
    assert FrameReader().feed(encode_frame(6, b"?")) == [Frame(6, b"?")]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (HEADER.pack(b"GET ", 0, 0, 0), "begins with 47455420"),
        (HEADER.pack(MAGIC, 0, 0, 1), "eighth byte of a frame is 01"),
        (HEADER.pack(MAGIC, MAX_PAYLOAD + 1, 0, 0), "frame of 16385 bytes"),
    ],
)
def test_a_malformed_frame_kills_the_reader(header: bytes, reason: str) -> None:
    reader = FrameReader()
    with pytest.raises(FrameError, match=reason):
        reader.feed(header)
    with pytest.raises(FrameError, match=reason):
        reader.feed(encode_frame(PacketType.DATA, b"too late"))
    assert reader.pending == 0


def test_what_came_before_a_fault_is_still_heard() -> None:
    reader = FrameReader()
    assert reader.feed(encode_frame(PacketType.TERMINATE) + b"garbage!") == [Frame(9, b"")]
    with pytest.raises(FrameError):
        reader.feed(b"")


def test_the_longest_payloads() -> None:
    assert FrameReader().feed(HEADER.pack(MAGIC, MAX_PAYLOAD, 0, 0) + bytes(MAX_PAYLOAD))
    assert len(encode_frame(PacketType.DATA, bytes(MAX_SENT_PAYLOAD))) == 16384
    with pytest.raises(ValueError, match="does not fit one TLS record"):
        encode_frame(PacketType.DATA, bytes(MAX_SENT_PAYLOAD + 1))


def test_a_disconnect_says_a_code_and_a_text() -> None:
    assert disconnect_payload("Idle Timeout") == b"\xb0Idle Timeout"
    assert disconnect_payload("", DisconnectCode.PAUSED) == b"\xd1"
    assert parse_disconnect_untrusted(b"\xb0Idle Timeout") == Disconnect(DisconnectCode.USER, "Idle Timeout")
    assert parse_disconnect_untrusted(b"\x91") == Disconnect(DisconnectCode.RECONNECTING, "")
    assert parse_disconnect_untrusted(b"") == Disconnect(None, "")


def test_a_disconnect_cannot_forge_a_log_line() -> None:
    assert parse_disconnect_untrusted(b"\xb0bye\r\nroot: \xff").text == "bye..root: \ufffd"
