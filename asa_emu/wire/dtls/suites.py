"""Cipher suites and DTLS versions: what the names in X-DTLS headers and the code points on the wire stand
for.

The client lists names in `X-DTLS-CipherSuite` and `X-DTLS12-CipherSuite`, `choose` picks the one the headend
answers with, and `named` turns that answer back into a suite and a version on the client's side. A resumption
never runs the key exchange in a suite's name; the name fixes the code point, the PRF and the record cipher,
nothing else. The files beside this one ask a `Suite` for lengths; displays ask it for Cisco's words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import new as new_hash
from typing import Literal

from asa_emu.wire.errors import DtlsError

DTLS_1_2 = 0xFEFD
DTLS_1_0 = 0xFEFF
#: Cisco's and OpenSSL's "bad version" dialect, older than RFC 4347.
DTLS_0_9 = 0x0100

VERSION_NAMES = {DTLS_1_2: "DTLSv1.2", DTLS_1_0: "DTLSv1.0", DTLS_0_9: "DTLSv0.9"}

RECORD_HEADER_LENGTH = 13
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class Suite:
    """One cipher suite: code point, record cipher, MAC and PRF."""

    code: int
    openssl_name: str
    cipher: Literal["gcm", "chacha", "cbc"]
    key_length: int
    mac: str
    """Hash of the record MAC of a CBC suite; empty for an AEAD."""
    prf: str
    """PRF hash at DTLS 1.2; older versions always use MD5 with SHA-1."""

    @property
    def psk(self) -> bool:
        """Whether the suite belongs to the PSK handshake rather than to a resumption."""
        return self.openssl_name.startswith("PSK-")

    @property
    def encryption(self) -> str:
        """Cisco's word for the Encryption field: `AES-GCM-256`, `AES128`."""
        if self.cipher == "chacha":
            return "CHACHA20-POLY1305"
        return f"AES-GCM-{self.key_length * 8}" if self.cipher == "gcm" else f"AES{self.key_length * 8}"

    @property
    def hashing(self) -> str:
        """Cisco's word for the Hashing field: `SHA384`, `SHA1`."""
        return (self.mac or self.prf).upper()

    @property
    def mac_length(self) -> int:
        """Bytes of record MAC; 0 for an AEAD."""
        return new_hash(self.mac, usedforsecurity=False).digest_size if self.mac else 0

    @property
    def fixed_iv_length(self) -> int:
        """Bytes of IV that the key block provides for each direction."""
        return {"gcm": 4, "chacha": 12, "cbc": 0}[self.cipher]

    @property
    def overhead(self) -> int:
        """The most bytes a record may add to its payload: header, nonce or IV, tag or MAC and padding."""
        if self.cipher == "cbc":
            return RECORD_HEADER_LENGTH + _BLOCK + self.mac_length + _BLOCK
        return RECORD_HEADER_LENGTH + 16 + (8 if self.cipher == "gcm" else 0)

    def max_payload(self, datagram: int) -> int:
        """Return the largest payload whose record fits into a UDP payload of `datagram` bytes (0 if none
        does)."""
        if self.cipher == "cbc":
            whole_blocks = (datagram - RECORD_HEADER_LENGTH - _BLOCK) // _BLOCK * _BLOCK
            return max(0, whole_blocks - self.mac_length - 1)
        return max(0, datagram - self.overhead)


SUITES: dict[int, Suite] = {
    suite.code: suite
    for suite in (
        Suite(0x00A9, "PSK-AES256-GCM-SHA384", "gcm", 32, "", "sha384"),
        Suite(0xCCAB, "PSK-CHACHA20-POLY1305", "chacha", 32, "", "sha256"),
        Suite(0x00A8, "PSK-AES128-GCM-SHA256", "gcm", 16, "", "sha256"),
        Suite(0x008D, "PSK-AES256-CBC-SHA", "cbc", 32, "sha1", "sha256"),
        Suite(0x008C, "PSK-AES128-CBC-SHA", "cbc", 16, "sha1", "sha256"),
        Suite(0x00AE, "PSK-AES128-CBC-SHA256", "cbc", 16, "sha256", "sha256"),
        Suite(0xC030, "ECDHE-RSA-AES256-GCM-SHA384", "gcm", 32, "", "sha384"),
        Suite(0xC02C, "ECDHE-ECDSA-AES256-GCM-SHA384", "gcm", 32, "", "sha384"),
        Suite(0xC02F, "ECDHE-RSA-AES128-GCM-SHA256", "gcm", 16, "", "sha256"),
        Suite(0xC02B, "ECDHE-ECDSA-AES128-GCM-SHA256", "gcm", 16, "", "sha256"),
        Suite(0x009F, "DHE-RSA-AES256-GCM-SHA384", "gcm", 32, "", "sha384"),
        Suite(0x009E, "DHE-RSA-AES128-GCM-SHA256", "gcm", 16, "", "sha256"),
        Suite(0x009D, "AES256-GCM-SHA384", "gcm", 32, "", "sha384"),
        Suite(0x009C, "AES128-GCM-SHA256", "gcm", 16, "", "sha256"),
        Suite(0x0039, "DHE-RSA-AES256-SHA", "cbc", 32, "sha1", "sha256"),
        Suite(0x0033, "DHE-RSA-AES128-SHA", "cbc", 16, "sha1", "sha256"),
        Suite(0x0035, "AES256-SHA", "cbc", 32, "sha1", "sha256"),
        Suite(0x002F, "AES128-SHA", "cbc", 16, "sha1", "sha256"),
    )
}

#: In the order in which our client offers them.
PSK_SUITES = {code: suite for code, suite in SUITES.items() if suite.psk}

_DTLS12_NAMED = {suite.openssl_name: suite for suite in SUITES.values() if not suite.psk}
_OC_NAMED = {"OC-DTLS1_2-AES256-GCM": SUITES[0x009D], "OC-DTLS1_2-AES128-GCM": SUITES[0x009C]}
_LEGACY_NAMED = {name: suite for name, suite in _DTLS12_NAMED.items() if suite.cipher == "cbc"}

DTLS_HEADER = "X-DTLS-CipherSuite"
DTLS12_HEADER = "X-DTLS12-CipherSuite"
PSK_NEGOTIATE = "PSK-NEGOTIATE"

#: What our client lists, in openconnect's order; OC2-* is left out since nobody is known to serve it.
DTLS_NAMES = (PSK_NEGOTIATE, *_OC_NAMED, *_LEGACY_NAMED)
DTLS12_NAMES = tuple(_DTLS12_NAMED)


class Variant(Enum):
    """How the two sides come by the keys of the UDP channel."""

    PSK = "psk"
    RESUMPTION = "resumption"


@dataclass(frozen=True, slots=True)
class Choice:
    """The headend's answer: `header: name`, and what it means for the handshake to come."""

    variant: Variant
    header: str
    name: str
    suite: Suite
    """For PSK-NEGOTIATE the suite that the handshake is expected to agree on, good for MTU arithmetic."""
    version: int


def choose(
    dtls_ciphers: Sequence[str], dtls12_ciphers: Sequence[str], *, legacy: bool = False
) -> Choice | None:
    """Pick the headend's answer to the two lists of a CONNECT; None when nothing listed can be served.

    PSK-NEGOTIATE wins; then the first AES-GCM name of X-DTLS12, its first CBC name, an OC-DTLS1_2 name, and
    only if `legacy` a name at version 0x0100. Within a kind the client's order counts. OC2-* names are never
    picked: openconnect lists them but would resume them as PSK (docs/protocol.md §4.3).
    """
    if PSK_NEGOTIATE in dtls_ciphers:
        return Choice(Variant.PSK, DTLS_HEADER, PSK_NEGOTIATE, SUITES[0x00A9], DTLS_1_2)
    known = [name for name in dtls12_ciphers if name in _DTLS12_NAMED]
    for name in sorted(known, key=lambda name: _DTLS12_NAMED[name].cipher != "gcm"):
        return Choice(Variant.RESUMPTION, DTLS12_HEADER, name, _DTLS12_NAMED[name], DTLS_1_2)
    for name in dtls_ciphers:
        if name in _OC_NAMED:
            return Choice(Variant.RESUMPTION, DTLS_HEADER, name, _OC_NAMED[name], DTLS_1_2)
    for name in dtls_ciphers:
        if legacy and name in _LEGACY_NAMED:
            return Choice(Variant.RESUMPTION, DTLS_HEADER, name, _LEGACY_NAMED[name], DTLS_0_9)
    return None


def named(header: str, name: str) -> Choice:
    """Return what a headend means by `header: name`; raise DtlsError for a suite we cannot speak."""
    if header.lower() == DTLS12_HEADER.lower():
        if suite := _DTLS12_NAMED.get(name):
            return Choice(Variant.RESUMPTION, DTLS12_HEADER, name, suite, DTLS_1_2)
    elif name == PSK_NEGOTIATE:
        return Choice(Variant.PSK, DTLS_HEADER, name, SUITES[0x00A9], DTLS_1_2)
    elif suite := _OC_NAMED.get(name):
        return Choice(Variant.RESUMPTION, DTLS_HEADER, name, suite, DTLS_1_2)
    elif suite := _LEGACY_NAMED.get(name):
        return Choice(Variant.RESUMPTION, DTLS_HEADER, name, suite, DTLS_0_9)
    raise DtlsError(f"{header}: no such DTLS cipher suite: {name[:64]!r}")
