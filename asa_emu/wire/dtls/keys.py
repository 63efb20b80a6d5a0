"""From a shared secret to record keys: the two kinds of secret, the PRF, the key block and the Finished
values.

The secrets come from the TLS tunnel: the exporter gives the PSK (docs/protocol.md §4.5), the header
X-DTLS-Master-Secret the master secret of a session that never existed (§4.6). Nothing here is random
and nothing is parsed.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from asa_emu.wire.dtls.suites import DTLS_1_2, Suite

EXPORTER_LABEL = b"EXPORTER-openconnect-psk"
"""What the TLS exporter is asked for, without a context, to give a PSK of 32 bytes."""

VERIFY_DATA_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Psk:
    """The secret of a PSK-NEGOTIATE association."""

    key: bytes = field(repr=False)
    """What the tunnel's TLS exports under EXPORTER_LABEL, 32 bytes."""
    app_id: bytes
    """The bytes of X-DTLS-App-ID, at most 32, which the client puts into its hello; empty accepts any
    hello."""

    @property
    def premaster(self) -> bytes:
        """RFC 4279 section 2: as many zeros as the key is long, then the key, each with its length."""
        size = len(self.key).to_bytes(2, "big")
        return size + bytes(len(self.key)) + size + self.key


@dataclass(frozen=True, slots=True)
class Resumption:
    """The secret of an association that pretends to resume a session (X-DTLS-Master-Secret)."""

    session_id: bytes
    """The bytes of X-DTLS-Session-ID, 32."""
    master_secret: bytes = field(repr=False)
    """48 bytes, used as the master secret itself."""
    suite: Suite
    version: int
    """DTLS_1_2, DTLS_1_0 or DTLS_0_9."""


Secret = Psk | Resumption


@dataclass(frozen=True, slots=True)
class DirectionKeys:
    """What protects the records of one direction."""

    mac_key: bytes
    key: bytes
    fixed_iv: bytes


def master_from_psk(psk: Psk, suite: Suite, client_random: bytes, server_random: bytes) -> bytes:
    """Return the 48-byte master secret of a PSK handshake at DTLS 1.2."""
    return prf(psk.premaster, b"master secret", client_random + server_random, 48, suite, DTLS_1_2)


def record_keys(
    master: bytes, suite: Suite, version: int, client_random: bytes, server_random: bytes
) -> tuple[DirectionKeys, DirectionKeys]:
    """Return the keys of what the client writes and of what the server writes (RFC 5246 section 6.3)."""
    sizes = (suite.mac_length, suite.key_length, suite.fixed_iv_length)
    block = prf(master, b"key expansion", server_random + client_random, 2 * sum(sizes), suite, version)
    pieces: list[tuple[bytes, bytes]] = []
    for size in sizes:
        pieces.append((block[:size], block[size : 2 * size]))
        block = block[2 * size :]
    (client_mac, server_mac), (client_key, server_key), (client_iv, server_iv) = pieces
    return DirectionKeys(client_mac, client_key, client_iv), DirectionKeys(server_mac, server_key, server_iv)


def verify_data(master: bytes, label: bytes, transcript: bytes, suite: Suite, version: int) -> bytes:
    """Return the body of a Finished; `label` is `client finished` or `server finished`."""
    if version == DTLS_1_2:
        digest = hashlib.new(suite.prf, transcript).digest()
    else:
        digest = hashlib.md5(transcript, usedforsecurity=False).digest()
        digest += hashlib.sha1(transcript, usedforsecurity=False).digest()
    return prf(master, label, digest, VERIFY_DATA_LENGTH, suite, version)


def prf(secret: bytes, label: bytes, seed: bytes, length: int, suite: Suite, version: int) -> bytes:
    """Expand a secret: RFC 5246 section 5 at DTLS 1.2, else RFC 2246 section 5 (MD5 and SHA-1, XORed)."""
    if version == DTLS_1_2:
        return _expand(suite.prf, secret, label + seed, length)
    half = (len(secret) + 1) // 2
    md5 = _expand("md5", secret[:half], label + seed, length)
    sha1 = _expand("sha1", secret[-half:], label + seed, length)
    return bytes(a ^ b for a, b in zip(md5, sha1, strict=True))


def _expand(hash_name: str, secret: bytes, seed: bytes, length: int) -> bytes:
    chain, out = seed, b""
    while len(out) < length:
        chain = hmac.digest(secret, chain, hash_name)
        out += hmac.digest(secret, chain + seed, hash_name)
    return out[:length]
