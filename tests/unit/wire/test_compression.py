"""The codecs a tunnel negotiates: exact to the byte where a peer depends on it, harmless for any payload."""

import sys
import zlib

import pytest

from asa_emu.wire.compression import (
    MAX_OUTPUT,
    STATELESS,
    SUPPORTED,
    Deflate,
    Lz4,
    Lzs,
    is_installed,
    make_codec,
)
from asa_emu.wire.errors import CompressionError

PING = bytes.fromhex("45000054abcd40004001") + b"abcdefghijklmnopqrstuvwxyz" * 3


@pytest.mark.parametrize("name", SUPPORTED)
def test_packets_come_back(name: str) -> None:
    sender, receiver = make_codec(name), make_codec(name)
    assert sender.name == name
    for packet in (PING, b"x" * 1300, PING, bytes(range(256)) * 4 + PING * 3):
        payload = sender.compress(packet)
        assert payload is not None
        assert len(payload) < len(packet)
        assert receiver.decompress(payload) == packet


@pytest.mark.parametrize("name", sorted(STATELESS))
def test_stateless_codecs_leave_alone_what_does_not_shrink(name: str) -> None:
    codec = make_codec(name)
    assert codec.compress(b"a" * 39) is None
    assert codec.compress(bytes(range(256))) is None


@pytest.mark.parametrize("name", sorted(STATELESS))
def test_stateless_codecs_need_no_history(name: str) -> None:
    sender = make_codec(name)
    sender.compress(PING * 3)
    payload = sender.compress(PING)
    assert payload is not None
    assert make_codec(name).decompress(payload) == PING


def test_deflate_is_one_raw_stream_with_a_running_checksum() -> None:
    """The peer's side in bare zlib (docs/protocol.md §3.5): wbits -12, sync flush, Adler-32 of it all."""
    codec = Deflate()
    peer = zlib.decompressobj(-12)
    adler = 1
    for packet in (PING, b"", PING, b"z" * 1400):
        payload = codec.compress(packet)
        assert payload[:-4].endswith(b"\x00\x00\xff\xff")
        assert peer.decompress(payload[:-4]) == packet
        adler = zlib.adler32(packet, adler)
        assert payload[-4:] == adler.to_bytes(4, "big")


def test_deflate_reads_what_another_zlib_wrote() -> None:
    codec = Deflate()
    peer = zlib.compressobj(9, zlib.DEFLATED, -12, 9)
    adler = 1
    for packet in (PING, PING, b"q" * 900):
        adler = zlib.adler32(packet, adler)
        stream = peer.compress(packet) + peer.flush(zlib.Z_SYNC_FLUSH)
        assert codec.decompress(stream + adler.to_bytes(4, "big")) == packet


def test_deflate_remembers_earlier_packets_in_each_direction() -> None:
    here, there = Deflate(), Deflate()
    first, second = here.compress(PING), here.compress(PING)
    assert len(second) < len(first) // 2
    back = there.compress(b"the other way")
    assert there.decompress(first) == PING
    assert here.decompress(back) == b"the other way"
    assert there.decompress(second) == PING


def test_deflate_compresses_even_what_grows() -> None:
    packet = bytes(range(256))
    payload = Deflate().compress(packet)
    assert len(payload) > len(packet)
    assert Deflate().decompress(payload) == packet


def test_deflate_notices_a_lost_packet() -> None:
    sender, receiver = Deflate(), Deflate()
    sender.compress(b"lost for ever, and never seen")
    with pytest.raises(CompressionError, match=r"checksum|corrupt"):
        receiver.decompress(sender.compress(b"the next one"))


def test_deflate_refuses_hostile_payloads() -> None:
    with pytest.raises(CompressionError, match="without its checksum"):
        Deflate().decompress(b"abc")
    with pytest.raises(CompressionError, match="corrupt"):
        Deflate().decompress(b"\xff" * 40)
    with pytest.raises(CompressionError, match="checksum"):
        Deflate().decompress(Deflate().compress(PING)[:-4] + b"\0\0\0\0")
    ended = zlib.compressobj(6, zlib.DEFLATED, -12)
    stream = ended.compress(PING) + ended.flush(zlib.Z_FINISH)
    with pytest.raises(CompressionError, match="ended"):
        Deflate().decompress(stream + zlib.adler32(PING).to_bytes(4, "big"))


@pytest.mark.parametrize("name", SUPPORTED)
def test_largest_packet_passes_and_a_larger_one_is_refused(name: str) -> None:
    largest = b"\0" * MAX_OUTPUT
    payload = make_codec(name).compress(largest)
    assert payload is not None
    assert make_codec(name).decompress(payload) == largest
    bomb = make_codec(name).compress(largest + b"\0")
    assert bomb is not None
    with pytest.raises(CompressionError):
        make_codec(name).decompress(bomb)


def test_a_deflate_bomb_is_stopped_early() -> None:
    bomb = Deflate().compress(b"\0" * 10_000_000)
    with pytest.raises(CompressionError, match="more than 16384"):
        Deflate().decompress(bomb)


@pytest.mark.parametrize("payload", [b"", b"\xff" * 200, b"\x1fa\x05\x00", b"\xf0" * 50])
def test_lz4_and_lzs_refuse_hostile_payloads(payload: bytes) -> None:
    with pytest.raises(CompressionError):
        Lz4().decompress(payload)
    with pytest.raises(CompressionError):
        Lzs().decompress(payload)


def test_lz4_is_the_bare_block() -> None:
    """A token for five literals and no match is all there is: no size, no frame."""
    assert Lz4().decompress(b"\x50hello") == b"hello"


def test_missing_lz4_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lz4", None)
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    with pytest.raises(ImportError, match=r"asa-emu\[compress\]"):
        make_codec("oc-lz4")
    assert make_codec("lzs").name == "lzs"


def test_names() -> None:
    assert set(SUPPORTED) >= STATELESS
    assert "deflate" not in STATELESS
    assert all(is_installed(name) for name in SUPPORTED)
    assert not is_installed("zstd")
    with pytest.raises(ValueError, match="unknown compression 'zstd'"):
        make_codec("zstd")
