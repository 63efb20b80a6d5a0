"""Hellos: reading a ClientHello without keeping state, the cookie that answers it, and both sides' hello
bodies.

A UDP socket shows every datagram of handshake type to `peek_client_hello_untrusted`; the session id or the
App-ID in it says whose it is (docs/protocol.md §4.4). Only if that session exists does `CookieJar.answer`
speak, and only a hello that brings the cookie back is worth a `DtlsServer`. So a spoofed source address costs
one HMAC, and gets back less than it sent. `DtlsServer` and `DtlsClient` read and write the rest.
"""

import hmac
import struct
from dataclasses import dataclass

from asa_emu.wire.dtls.messages import (
    CLIENT_HELLO,
    HELLO_VERIFY_REQUEST,
    Fragment,
    encode_message,
    fragments_untrusted,
)
from asa_emu.wire.dtls.records import HANDSHAKE, RECORD_HEADER, Datagram, encode_record
from asa_emu.wire.dtls.suites import DTLS_0_9, DTLS_1_0, RECORD_HEADER_LENGTH, VERSION_NAMES
from asa_emu.wire.errors import DtlsError

EXTENSION_RENEGOTIATION_INFO = 0xFF01
#: openconnect's extension that carries the App-ID; its GnuTLS builds use the session id instead.
EXTENSION_APP_ID = 48018
RENEGOTIATION_SCSV = 0x00FF

#: 20 bytes fit DTLS 0.9 and 1.0 peers too, whose cookies have at most 32.
COOKIE_LENGTH = 20
#: Leaves room for every record an epoch-0 exchange can need when ours continue the client's numbering.
_MAX_RECORD_SEQUENCE = 2**32
#: Where the body of an unfragmented first message begins in its datagram.
_BODY_AT = RECORD_HEADER_LENGTH + 12

_RENEGOTIATION_INFO = struct.pack(">HHHB", 5, EXTENSION_RENEGOTIATION_INFO, 1, 0)


@dataclass(frozen=True, slots=True)
class ClientHelloPeek:
    """What a ClientHello says."""

    version: int
    random: bytes
    session_id: bytes
    cookie: bytes
    app_id: bytes
    """From extension 48018; empty when the client does not send it."""
    suites: tuple[int, ...]
    null_compression: bool
    renegotiation_info: bool
    """Whether the client asked for renegotiation_info, by extension or by SCSV."""
    message_sequence: int
    record_sequence: int

    @property
    def id(self) -> bytes:
        """The bytes that name the session: the App-ID if sent, else the session id."""
        return self.app_id or self.session_id


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What a ServerHello says."""

    version: int
    random: bytes
    session_id: bytes
    suite: int


def peek_client_hello_untrusted(datagram: Datagram) -> ClientHelloPeek | None:
    """Read the ClientHello that a datagram begins with; None for everything else, hellos in fragments
    included."""
    if len(datagram) < RECORD_HEADER_LENGTH or datagram[0] != HANDSHAKE:
        return None
    _, version, number, length = RECORD_HEADER.unpack_from(datagram)
    if version not in VERSION_NAMES or number > _MAX_RECORD_SEQUENCE:
        return None
    payload = bytes(datagram[RECORD_HEADER_LENGTH : RECORD_HEADER_LENGTH + length])
    try:
        fragments = fragments_untrusted(payload)
        if len(payload) != length or len(fragments) != 1:
            return None
        return read_client_hello_untrusted(fragments[0], number)
    except DtlsError:
        return None


def read_client_hello_untrusted(fragment: Fragment, record_sequence: int) -> ClientHelloPeek:
    """Read a ClientHello; raise DtlsError if it is none, or only part of one."""
    if fragment.kind != CLIENT_HELLO or len(fragment.body) != fragment.length or fragment.sequence > 255:
        raise DtlsError("not a whole ClientHello")
    cursor = _Cursor(fragment.body)
    version = cursor.number(2)
    random = cursor.take(32)
    session_id = cursor.vector(1)
    if len(session_id) > 32:
        raise DtlsError("session id longer than 32 bytes")
    cookie = cursor.vector(1)
    packed = cursor.vector(2)
    if len(packed) % 2 or not packed:
        raise DtlsError("odd list of cipher suites")
    suites = struct.unpack(f">{len(packed) // 2}H", packed)
    null_compression = 0 in cursor.vector(1)
    extensions = _extensions_untrusted(cursor)
    app_id = extensions.get(EXTENSION_APP_ID, b"")
    if app_id and (app_id[0] != len(app_id) - 1 or len(app_id) > 33):
        raise DtlsError("malformed App-ID extension")
    return ClientHelloPeek(
        version=version,
        random=random,
        session_id=session_id,
        cookie=cookie,
        app_id=app_id[1:],
        suites=suites,
        null_compression=null_compression,
        renegotiation_info=EXTENSION_RENEGOTIATION_INFO in extensions or RENEGOTIATION_SCSV in suites,
        message_sequence=fragment.sequence,
        record_sequence=record_sequence,
    )


def client_hello(
    version: int, random: bytes, session_id: bytes, cookie: bytes, suites: tuple[int, ...]
) -> bytes:
    """Return a ClientHello body; renegotiation_info is its only extension, as nothing else must be agreed
    on."""
    return b"".join(
        (
            struct.pack(">H32sB", version, random, len(session_id)),
            session_id,
            bytes((len(cookie),)),
            cookie,
            struct.pack(f">H{len(suites)}H", 2 * len(suites), *suites),
            b"\x01\x00",
            _RENEGOTIATION_INFO,
        )
    )


def server_hello(
    version: int, random: bytes, session_id: bytes, suite: int, *, renegotiation_info: bool
) -> bytes:
    """Return a ServerHello body; EMS, EtM and tickets stay unanswered, which declines them."""
    head = struct.pack(">H32sB", version, random, len(session_id)) + session_id + struct.pack(">HB", suite, 0)
    return head + _RENEGOTIATION_INFO if renegotiation_info else head


def read_server_hello_untrusted(body: bytes) -> ServerHello:
    """Read a ServerHello body; raise DtlsError if it is malformed or compresses."""
    cursor = _Cursor(body)
    hello = ServerHello(cursor.number(2), cursor.take(32), cursor.vector(1), cursor.number(2))
    if cursor.number(1) != 0:
        raise DtlsError("the server chose TLS compression")
    _extensions_untrusted(cursor)
    return hello


def read_hello_verify_untrusted(body: bytes) -> bytes:
    """Return the cookie of a HelloVerifyRequest; its version means nothing (RFC 6347 section 4.2.1)."""
    cursor = _Cursor(body)
    cursor.number(2)
    cookie = cursor.vector(1)
    cursor.end()
    return cookie


class CookieJar:
    """Stateless cookies: an HMAC over the sender's address and its hello, which only a reachable sender can
    echo.

    `key` is at least 16 secret bytes; a caller that wants cookies to expire makes a new jar now and then, and
    lets clients come again.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def answer(self, peek: ClientHelloPeek, datagram: Datagram, address: tuple[object, ...]) -> bytes | None:
        """Return the HelloVerifyRequest to send to `address`, or None when the hello brings the right cookie.

        `datagram` is the one that `peek` was made from. Host and port of `address` count, IPv6 scope and flow
        do not.
        """
        expected = self._cookie(peek, datagram, address)
        if hmac.compare_digest(peek.cookie, expected):
            return None
        version = DTLS_0_9 if peek.version == DTLS_0_9 else DTLS_1_0
        body = struct.pack(">HB", version, len(expected)) + expected
        message = encode_message(HELLO_VERIFY_REQUEST, peek.message_sequence, body)
        # RFC 6347 section 4.2.1: the client's own number, or its replay window may later refuse our
        # ServerHello.
        return encode_record(HANDSHAKE, version, peek.record_sequence, message)

    def _cookie(self, peek: ClientHelloPeek, datagram: Datagram, address: tuple[object, ...]) -> bytes:
        at = _BODY_AT + 34 + 1 + len(peek.session_id)
        hello = bytes(datagram)
        end = RECORD_HEADER_LENGTH + int.from_bytes(hello[11:13], "big")
        bound = hello[_BODY_AT:at] + hello[at + 1 + len(peek.cookie) : end] + repr(address[:2]).encode()
        return hmac.digest(self._key, bound, "sha256")[:COOKIE_LENGTH]


def _extensions_untrusted(cursor: "_Cursor") -> dict[int, bytes]:
    extensions: dict[int, bytes] = {}
    if cursor.at_end():
        return extensions
    inner = _Cursor(cursor.vector(2))
    cursor.end()
    while not inner.at_end():
        kind = inner.number(2)
        if kind in extensions:
            raise DtlsError("an extension comes twice")
        extensions[kind] = inner.vector(2)
    return extensions


class _Cursor:
    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise DtlsError("message ends early")
        self._at += size
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_size: int) -> bytes:
        return self.take(self.number(length_size))

    def at_end(self) -> bool:
        return self._at == len(self._data)

    def end(self) -> None:
        if not self.at_end():
            raise DtlsError("bytes after the end of a message")
