"""DTLS for AnyConnect's UDP channel, sans-IO: bytes and `now` in, bytes out, both roles.

It does the two handshakes the field has, plain PSK (PSK-NEGOTIATE) and the resumption of a session that the
tunnel made up (X-DTLS-Master-Secret, at DTLS 1.2, 1.0 and Cisco's 0x0100), and it refuses everything else: no
certificates, no key exchange, no renegotiation, no tickets. Why it exists is told in docs/decisions.md: no
library serves the resumption. It may import `asa_emu.wire.errors`, hashlib, hmac and the primitives of
`cryptography`. The headend's UDP socket and the client emulator's tunnel call it; neither needs a name that
is not exported here.
"""

from asa_emu.wire.dtls.association import Association
from asa_emu.wire.dtls.client import DtlsClient
from asa_emu.wire.dtls.hello import ClientHelloPeek, CookieJar, peek_client_hello_untrusted
from asa_emu.wire.dtls.keys import EXPORTER_LABEL, Psk, Resumption, Secret
from asa_emu.wire.dtls.server import DtlsServer
from asa_emu.wire.dtls.suites import (
    DTLS12_HEADER,
    DTLS12_NAMES,
    DTLS_0_9,
    DTLS_1_0,
    DTLS_1_2,
    DTLS_HEADER,
    DTLS_NAMES,
    PSK_NEGOTIATE,
    SUITES,
    Choice,
    Suite,
    Variant,
    choose,
    named,
)

__all__ = [
    "DTLS12_HEADER",
    "DTLS12_NAMES",
    "DTLS_0_9",
    "DTLS_1_0",
    "DTLS_1_2",
    "DTLS_HEADER",
    "DTLS_NAMES",
    "EXPORTER_LABEL",
    "PSK_NEGOTIATE",
    "SUITES",
    "Association",
    "Choice",
    "ClientHelloPeek",
    "CookieJar",
    "DtlsClient",
    "DtlsServer",
    "Psk",
    "Resumption",
    "Secret",
    "Suite",
    "Variant",
    "choose",
    "named",
    "peek_client_hello_untrusted",
]
