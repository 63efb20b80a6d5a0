"""LZS against vectors written out by hand, and against a decoder that shares nothing with ours."""

import random

import pytest

from asa_emu.wire.errors import CompressionError
from asa_emu.wire.lzs import WINDOW, compress, decompress_untrusted

LIMIT = 16384


def octets(bits: str) -> bytes:
    """A bit string, blanks for the reader, filled with zero bits."""
    bits = bits.replace(" ", "")
    return bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))


def naive_decode(payload: bytes) -> bytes:
    """Follow the rules of RFC 1974 one bit at a time, with numbers only."""
    position = 0

    def take(count: int) -> int:
        nonlocal position
        number = 0
        for _ in range(count):
            number = number * 2 + (payload[position // 8] >> (7 - position % 8) & 1)
            position += 1
        return number

    out: list[int] = []
    while True:
        if take(1) == 0:
            out.append(take(8))
            continue
        short = take(1)
        offset = take(7 if short else 11)
        if offset == 0:
            assert short, "a long offset of zero"
            assert 8 * len(payload) - position < 8, "more than padding after the end"
            assert not any(take(1) for _ in range(8 * len(payload) - position)), "padding that is not zero"
            return bytes(out)
        length = take(2) + 2
        if length == 5:
            length += take(2)
            if length == 8:
                while (nibble := take(4)) == 15:
                    length += 15
                length += nibble
        for _ in range(length):
            out.append(out[-offset])


END = "11 0000000"
A = "0 01000001"
B = "0 01000010"

BY_HAND = [
    (END, b""),
    (f"{A} {END}", b"A"),
    (f"{A} {B} 11 0000010 00 {END}", b"ABAB"),
    (f"{A} {B} 11 0000010 01 {END}", b"ABABA"),
    (f"{A} {B} 11 0000010 10 {END}", b"ABABAB"),
    (f"{A} {B} 11 0000010 1100 {END}", b"ABABABA"),
    (f"{A} {B} 11 0000010 1101 {END}", b"ABABABAB"),
    (f"{A} {B} 11 0000010 1110 {END}", b"ABABABABA"),
    (f"{A} {B} 11 0000010 1111 0000 {END}", b"AB" * 5),
    (f"{A} 11 0000001 1111 1110 {END}", b"A" * 23),
    (f"{A} 11 0000001 1111 1111 0000 {END}", b"A" * 24),
    (f"{A} 11 0000001 1111 1111 1111 0010 {END}", b"A" * 41),
    (f"{B} {A} 11 0000001 1111 {'1111' * 8} 0111 11 1111111 00 {END}", b"B" + b"A" * 136 + b"AA"),
    (f"{B} {A} 11 0000001 1111 {'1111' * 8} 0111 10 00010001001 01 {END}", b"B" + b"A" * 136 + b"BAA"),
]


@pytest.mark.parametrize(("bits", "packet"), BY_HAND)
def test_vectors_by_hand(bits: str, packet: bytes) -> None:
    assert decompress_untrusted(octets(bits), LIMIT) == packet
    assert naive_decode(octets(bits)) == packet


def test_known_bytes() -> None:
    assert compress(b"ABABABAB") == bytes.fromhex("2090b05b80")


@pytest.mark.parametrize("length", [*range(5, 50), 127, 300, 2047, 2048, 2049, 5000, LIMIT])
def test_every_length_code(length: int) -> None:
    packet = b"\0" * length
    payload = compress(packet)
    assert payload is not None
    assert naive_decode(payload) == packet
    assert decompress_untrusted(payload, LIMIT) == packet


@pytest.mark.parametrize("distance", [1, 2, 126, 127, 128, 129, 1000, WINDOW - 1, WINDOW, WINDOW + 1, 3000])
def test_every_offset_code(distance: int) -> None:
    """A phrase comes again at that distance, nothing alike between; past the window it is out of reach."""
    dice = random.Random(distance)
    phrase = b"Zweimal gesagt, " * 20 if distance > 400 else dice.randbytes(distance)
    between = bytes(dice.choices(range(128, 256), k=max(0, distance - len(phrase))))
    packet = phrase + between + phrase * 6
    payload = compress(packet)
    assert payload is not None
    assert naive_decode(payload) == packet
    assert decompress_untrusted(payload, LIMIT) == packet


def test_random_packets_of_every_texture() -> None:
    dice = random.Random(1974)
    compressed = 0
    for number in range(600):
        alphabet = dice.randbytes(dice.choice([1, 2, 4, 16, 64, 256]))
        packet = bytes(dice.choices(alphabet, k=dice.randrange(0, 300)))
        if number % 3 == 0:
            packet = (packet[:40] + dice.randbytes(5)) * dice.randrange(1, 5)
        payload = compress(packet)
        if payload is not None:
            compressed += 1
            assert len(payload) < len(packet)
            assert naive_decode(payload) == packet
            assert decompress_untrusted(payload, LIMIT) == packet
    assert compressed > 300


def test_text_shrinks_well() -> None:
    text = b"".join(
        b"Nov 25 07:00:%02d fw %%ASA-6-302013: Built outbound TCP connection %d\n" % (i, i * 7919)
        for i in range(20)
    )
    payload = compress(text)
    assert payload is not None
    assert len(payload) < len(text) // 4


@pytest.mark.parametrize("size", [0, 1, 2, 40, 1300, LIMIT])
def test_noise_is_left_alone(size: int) -> None:
    assert compress(random.Random(size).randbytes(size)) is None


@pytest.mark.parametrize(
    ("bits", "complaint"),
    [
        ("", "breaks off"),
        ("0 0100", "breaks off"),
        (A + B, "breaks off"),
        (A + "11 0000", "breaks off"),
        (A + "10 0000", "breaks off"),
        (A + "11 0000001", "breaks off"),
        (A + "11 0000001 1111" + "1111" * 3, "breaks off"),
        ("11 0000001 00" + END, "before the packet"),
        (A + "11 0000010 00" + END, "before the packet"),
        (A + "10 00000000000 00" + END, "before the packet"),
    ],
)
def test_hostile_payloads(bits: str, complaint: str) -> None:
    payload = octets(bits)
    with pytest.raises(CompressionError, match=complaint):
        decompress_untrusted(payload, LIMIT)


def test_every_cut_of_a_good_payload_is_refused() -> None:
    payload = compress(b"das ist das Haus, das ist das Dach, das ist alles" * 2)
    assert payload is not None
    for size in range(len(payload) - 1):
        with pytest.raises(CompressionError):
            decompress_untrusted(payload[:size], LIMIT)


def test_output_is_bounded() -> None:
    bomb = octets(A + "11 0000001 1111" + "1111" * 4000 + "0000" + END)
    with pytest.raises(CompressionError, match="more than 16384"):
        decompress_untrusted(bomb, LIMIT)
    with pytest.raises(CompressionError, match="more than 2"):
        decompress_untrusted(octets(A + A + A + END), 2)
    assert decompress_untrusted(octets(A + A + END), 2) == b"AA"
