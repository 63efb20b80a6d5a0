"""The record layer: headers, and one function each to seal and to open a record under a direction's keys.

    type(1) version(2) epoch(2) sequence(6) length(2) fragment(length)

Epoch and sequence travel as one 64-bit `number` everywhere in this package. `make_sealer` and `make_opener`
return closures rather than objects: they run once per packet, and a closure over its key is the cheapest call
Python has (bench/dtls_records.py). An opener gets the datagram and the bounds of the fragment, and says None
to whatever is not authentic, for one reason as for another.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from asa_emu.wire.dtls.keys import DirectionKeys
from asa_emu.wire.dtls.suites import RECORD_HEADER_LENGTH, Suite

CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23

MAX_FRAGMENT = 2**14
SEQUENCE_BITS = 48
SEQUENCE_LIMIT = (1 << SEQUENCE_BITS) - 1

#: type, version, number, length
RECORD_HEADER = struct.Struct(">BHQH")
#: number, type, version, plaintext length: what the AEADs authenticate and the MACs begin with
_ADDITIONAL = struct.Struct(">QBHH")

#: More records than any flight has; a datagram of 5,000 empty ones is not worth the time.
_MAX_RECORDS_PER_DATAGRAM = 32

Datagram = bytes | bytearray | memoryview
Sealer = Callable[[int, int, bytes], bytes]
"""(type, number, payload) to a whole record"""
Opener = Callable[[int, int, Datagram, int, int], bytes | None]
"""(type, number, datagram, start, end of the fragment) to the payload, or None"""


def encode_record(kind: int, version: int, number: int, fragment: bytes) -> bytes:
    """Return a record in clear, as epoch 0 has them."""
    return RECORD_HEADER.pack(kind, version, number, len(fragment)) + fragment


def records_untrusted(datagram: bytes) -> Iterator[tuple[int, int, int, bytes] | None]:
    """Yield (type, version, number, fragment) for each record of a datagram, and None once for a rest that is
    none."""
    at = 0
    for _ in range(_MAX_RECORDS_PER_DATAGRAM):
        if at == len(datagram):
            return
        if len(datagram) - at < RECORD_HEADER_LENGTH:
            break
        kind, version, number, length = RECORD_HEADER.unpack_from(datagram, at)
        at += RECORD_HEADER_LENGTH
        if at + length > len(datagram):
            break
        yield kind, version, number, datagram[at : at + length]
        at += length
    if at != len(datagram):
        yield None


def make_sealer(suite: Suite, keys: DirectionKeys, version: int, rng: Callable[[int], bytes]) -> Sealer:
    """Return the function that seals; `rng` is asked for 16 bytes of IV per record by the CBC suites only."""
    if suite.cipher == "gcm":
        return _gcm_sealer(keys, version)
    if suite.cipher == "chacha":
        return _chacha_sealer(keys, version)
    return _cbc_sealer(suite, keys, version, rng)


def make_opener(suite: Suite, keys: DirectionKeys, version: int) -> Opener:
    """Return the function that opens the other side's records."""
    if suite.cipher == "gcm":
        return _gcm_opener(keys, version)
    if suite.cipher == "chacha":
        return _chacha_opener(keys, version)
    return _cbc_opener(suite, keys, version)


def _gcm_sealer(keys: DirectionKeys, version: int) -> Sealer:
    encrypt, salt = AESGCM(keys.key).encrypt, keys.fixed_iv
    header, additional = RECORD_HEADER.pack, _ADDITIONAL.pack

    def seal(kind: int, number: int, payload: bytes) -> bytes:
        # RFC 5288 section 3: the number is unique under a key, so it serves as the explicit nonce.
        explicit = number.to_bytes(8, "big")
        size = len(payload)
        return b"%b%b%b" % (
            header(kind, version, number, size + 24),
            explicit,
            encrypt(salt + explicit, payload, additional(number, kind, version, size)),
        )

    return seal


def _gcm_opener(keys: DirectionKeys, version: int) -> Opener:
    decrypt, salt = AESGCM(keys.key).decrypt, keys.fixed_iv
    additional = _ADDITIONAL.pack

    def open_record(kind: int, number: int, datagram: Datagram, start: int, end: int) -> bytes | None:
        body = start + 8
        if end - body < 16:
            return None
        try:
            return decrypt(
                salt + datagram[start:body],
                datagram[body:end],
                additional(number, kind, version, end - body - 16),
            )
        except InvalidTag:
            return None

    return open_record


def _chacha_sealer(keys: DirectionKeys, version: int) -> Sealer:
    encrypt, iv = ChaCha20Poly1305(keys.key).encrypt, int.from_bytes(keys.fixed_iv, "big")

    def seal(kind: int, number: int, payload: bytes) -> bytes:
        sealed = encrypt(
            (iv ^ number).to_bytes(12, "big"), payload, _ADDITIONAL.pack(number, kind, version, len(payload))
        )
        return RECORD_HEADER.pack(kind, version, number, len(sealed)) + sealed

    return seal


def _chacha_opener(keys: DirectionKeys, version: int) -> Opener:
    decrypt, iv = ChaCha20Poly1305(keys.key).decrypt, int.from_bytes(keys.fixed_iv, "big")

    def open_record(kind: int, number: int, datagram: Datagram, start: int, end: int) -> bytes | None:
        size = end - start - 16
        if size < 0:
            return None
        try:
            return decrypt(
                (iv ^ number).to_bytes(12, "big"),
                datagram[start:end],
                _ADDITIONAL.pack(number, kind, version, size),
            )
        except InvalidTag:
            return None

    return open_record


def _cbc_sealer(suite: Suite, keys: DirectionKeys, version: int, rng: Callable[[int], bytes]) -> Sealer:
    aes, mac_key, mac = AES(keys.key), keys.mac_key, suite.mac
    mac_length = suite.mac_length

    def seal(kind: int, number: int, payload: bytes) -> bytes:
        tag = hmac.digest(mac_key, _ADDITIONAL.pack(number, kind, version, len(payload)) + payload, mac)
        pad = 15 - (len(payload) + mac_length) % 16
        iv = rng(16)
        encryptor = Cipher(aes, CBC(iv)).encryptor()
        sealed = iv + encryptor.update(b"%b%b%b" % (payload, tag, bytes((pad,)) * (pad + 1)))
        return RECORD_HEADER.pack(kind, version, number, len(sealed)) + sealed

    return seal


_ONES = int.from_bytes(b"\x01" * 256, "big")
_PADDING_MASKS = tuple((1 << 8 * (pad + 1)) - 1 for pad in range(256))


def _cbc_opener(suite: Suite, keys: DirectionKeys, version: int) -> Opener:
    """Open MAC-then-encrypt records without telling a bad padding from a bad MAC.

    One decryption, one comparison of 256 bytes of padding, one HMAC, one comparison of the MAC, whatever the
    bytes are; the hash blocks that a longer padding saves the HMAC are spent on zeros ("Lucky Thirteen").
    What is left are differences of Python's own, far below the noise of an interpreter.
    """
    aes, mac_key, mac, mac_length = AES(keys.key), keys.mac_key, suite.mac, suite.mac_length
    least = mac_length + 1
    zeros = bytes(64 * 5)

    def open_record(kind: int, number: int, datagram: Datagram, start: int, end: int) -> bytes | None:
        size = end - start - 16
        if size < least or size % 16:
            return None
        decryptor = Cipher(aes, CBC(bytes(datagram[start : start + 16]))).decryptor()
        plain = decryptor.update(datagram[start + 16 : end])
        pad = plain[-1]
        # A pad longer than the record differs too: the mask then reaches beyond the bytes there are.
        differs = (int.from_bytes(plain[-256:], "big") ^ pad * _ONES) & _PADDING_MASKS[pad]
        good = (differs == 0) & (pad + least <= size)
        length = size - least - pad * good
        tag = hmac.digest(mac_key, _ADDITIONAL.pack(number, kind, version, length) + plain[:length], mac)
        hashlib.sha1(zeros[: 64 * (_hash_blocks(size - least) - _hash_blocks(length))], usedforsecurity=False)
        good &= hmac.compare_digest(tag, plain[length : length + mac_length])
        return plain[:length] if good else None

    return open_record


def _hash_blocks(length: int) -> int:
    """Return the SHA-1 or SHA-256 blocks of 13 + `length` bytes with the 9 that close the message."""
    return (13 + length + 9 + 63) // 64
