"""Packets come back from every codec, and no payload whatever does worse than CompressionError."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa_emu.wire.compression import MAX_OUTPUT, SUPPORTED, make_codec
from asa_emu.wire.errors import CompressionError

# Plain bytes hardly ever shrink; repeated pieces, near and far, are what exercises offsets and lengths.
pieces = st.binary(min_size=1, max_size=12)
packets = st.binary(max_size=300) | st.lists(pieces, min_size=1, max_size=4).flatmap(
    lambda alphabet: st.lists(st.sampled_from(alphabet), max_size=150).map(b"".join)
)


@pytest.mark.parametrize("name", SUPPORTED)
@given(stream=st.lists(packets, max_size=6))
def test_packets_come_back_in_any_order_of_textures(name: str, stream: list[bytes]) -> None:
    sender, receiver = make_codec(name), make_codec(name)
    for packet in stream:
        payload = sender.compress(packet)
        if payload is not None:
            assert receiver.decompress(payload) == packet
            assert name == "deflate" or len(payload) < len(packet)


@pytest.mark.parametrize("name", SUPPORTED)
@given(payload=st.binary(max_size=400))
def test_any_payload(name: str, payload: bytes) -> None:
    with contextlib.suppress(CompressionError):
        assert len(make_codec(name).decompress(payload)) <= MAX_OUTPUT


@pytest.mark.parametrize("name", SUPPORTED)
@given(packet=packets, at=st.floats(0, 1), bit=st.integers(0, 7))
def test_any_damaged_payload(name: str, packet: bytes, at: float, bit: int) -> None:
    payload = make_codec(name).compress(packet)
    if payload is None:
        return
    damaged = bytearray(payload)
    damaged[min(int(at * len(damaged)), len(damaged) - 1)] ^= 1 << bit
    with contextlib.suppress(CompressionError):
        assert len(make_codec(name).decompress(bytes(damaged))) <= MAX_OUTPUT
