"""One TLS connection on memory BIOs: the only file that touches private names of pyOpenSSL.

Ciphertext goes in by `feed`, plaintext comes out by `read_into`; plaintext goes in by `write`, one TLS record
a call, and ciphertext comes out by `output`. Nothing here awaits or knows a socket, so the same engine serves
the headend's dispatcher, which never awaits per packet, and the client's trio stream.

Why not `trio.SSLStream`: the standard library has no RFC 5705 exporter, and the PSK of `PSK-NEGOTIATE` is
exported from the tunnel's TLS connection. Why private calls: `SSL_read` and `SSL_write` straight on the
connection halve the cost of a packet, because the public ones allocate, copy and look at the error queue each
time, and so it is with its two BIOs, where an empty one costs the public call an exception. Should a name
vanish in another pyOpenSSL, `FAST` turns false and the public path is taken.
"""

from __future__ import annotations

from sys import intern
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

_binding: Any = Binding()
_lib: Any = _binding.lib
_ffi: Any = _binding.ffi

MAX_RECORD: Final = 16384  # plaintext bytes in one TLS record, RFC 8446 section 5.1
_BIO_READ: Final = 65536  # above 128 KiB every read would be a fresh mmap
_BURST: Final = 4096  # bytes that no handshake or idle tunnel moves at once
SSL_ERROR_WANT_READ: Final = 2
SSL_ERROR_ZERO_RETURN: Final = 6

_CALLS = (
    *("SSL_read", "SSL_write", "SSL_get_error", "SSL_set_bio", "ERR_clear_error"),
    *("BIO_read", "BIO_write", "BIO_new", "BIO_s_mem", "BIO_get_mem_data"),
)
_PARTS = ("_ssl", "_into_ssl", "_from_ssl")
_probe = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
FAST: bool = all(hasattr(_lib, name) for name in _CALLS) and all(hasattr(_probe, name) for name in _PARTS)
_unzeroed: Any = _ffi.new_allocator(should_clear_after_alloc=False)


class TlsClosed(Exception):
    """The peer ended the TLS connection with close_notify."""


class TlsBroken(Exception):
    """The TLS connection failed: a bad record, an alert from the peer, a failed handshake."""


class Scratch:
    """A buffer shared by all connections of an event loop; it is free again whenever somebody awaits.

    `size` is in bytes. OpenSSL writes through a cffi pointer, Python reads through `buffer` and `view`.
    """

    __slots__ = ("buffer", "pointer", "size", "view")

    def __init__(self, size: int) -> None:
        self.size = size
        self.buffer = bytearray(size)
        self.view = memoryview(self.buffer)
        self.pointer = _ffi.from_buffer(self.buffer)


def prefer_x25519(context: SSL.Context) -> None:
    """Put X25519 first: 65-85 µs less per handshake and 7 KiB less per connection than the hybrid default."""
    if hasattr(_lib, "SSL_CTX_set1_curves_list") and hasattr(context, "_context"):
        _lib.SSL_CTX_set1_curves_list(context._context, b"X25519:P-256:P-384")


class TlsEngine:
    """One end of one TLS connection, without a socket."""

    __slots__ = (
        "_connection",
        "_from_ssl",
        "_grown",
        "_into_ssl",
        "_ssl",
        "cipher_name",
        "closed",
        "ended",
        "handshaken",
        "version",
    )

    def __init__(self, context: SSL.Context, *, server_side: bool, server_name: str | None = None) -> None:
        connection = SSL.Connection(context, None)
        if server_side:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
            if server_name:
                connection.set_tlsext_host_name(server_name.encode("idna"))
        self._connection = connection
        self._ssl: Any
        self._into_ssl: Any
        self._from_ssl: Any
        self._ssl, self._into_ssl, self._from_ssl = (getattr(connection, name, None) for name in _PARTS)
        self._grown = False
        self.handshaken = False
        self.cipher_name = ""
        """OpenSSL's name of the suite, such as `TLS_AES_256_GCM_SHA384`; empty before the handshake."""
        self.version = ""
        """`TLSv1.2` or `TLSv1.3`; empty before the handshake."""
        self.closed = False
        self.ended: TlsClosed | TlsBroken | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take ciphertext from the wire, any cut of it."""
        if not data:
            return
        if FAST:
            view = _ffi.from_buffer(data)
            size = len(view)
            if size > _BURST:
                self._grown = True
            _lib.BIO_write(self._into_ssl, view, size)
        else:
            self._connection.bio_write(data)

    def handshake(self) -> bool:
        """Go on with the handshake; true when it is done. Raises `TlsBroken` when it failed.

        After either, `output` may hold bytes for the peer, the alert that explains a failure among them.
        """
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise TlsBroken(_reason(error)) from error
        self.handshaken = True
        self.cipher_name = intern(self._connection.get_cipher_name() or "")
        self.version = intern(self._connection.get_protocol_version_name())
        return True

    def read_into(self, scratch: Scratch, offset: int = 0, *, single: bool = False) -> int:
        """Decrypt every whole record that was fed into `scratch` at `offset`; the new end offset.

        Stops when less than a record's room is left. When the peer's side of the connection is over, `ended`
        says how, after the plaintext before it was returned. `single` promises that exactly one record was
        fed, which saves an idle tunnel the second look.
        """
        if not FAST:
            return self._read_into_public(scratch, offset)
        read, ssl, pointer = _lib.SSL_read, self._ssl, scratch.pointer
        limit = scratch.size - MAX_RECORD
        while offset <= limit:
            count = read(ssl, pointer + offset, MAX_RECORD)
            if count <= 0:
                code = _lib.SSL_get_error(ssl, count)
                if code != SSL_ERROR_WANT_READ:
                    _lib.ERR_clear_error()
                    closed = code == SSL_ERROR_ZERO_RETURN
                    self.ended = TlsClosed() if closed else TlsBroken(f"TLS record refused (error {code})")
                break
            offset += count
            if single:
                break
        return offset

    def _read_into_public(self, scratch: Scratch, offset: int) -> int:
        while offset <= scratch.size - MAX_RECORD:
            try:
                data = self._connection.recv(MAX_RECORD)
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self.ended = TlsClosed()
                break
            except SSL.Error as error:
                self.ended = TlsBroken(_reason(error))
                break
            scratch.view[offset : offset + len(data)] = data
            offset += len(data)
        return offset

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt `data` (1 to 16,384 bytes) as one TLS record; `output` then holds it.

        A peer such as openconnect takes one record for one frame, so frames are never joined here.
        """
        if FAST:
            view = _ffi.from_buffer(data)
            if _lib.SSL_write(self._ssl, view, len(view)) > 0:
                return
            _lib.ERR_clear_error()
            raise TlsBroken("TLS write refused: the connection is closed")
        try:
            self._connection.send(bytes(data))
        except SSL.Error as error:
            raise TlsBroken(_reason(error)) from error

    def output(self) -> bytes:
        """Ciphertext for the wire, all there is; empty when there is none."""
        data = self._read_bio()
        if len(data) < _BURST:
            return data
        self._grown = True
        chunks = [data]
        while len(data) == _BIO_READ:
            data = self._read_bio()
            chunks.append(data)
        return b"".join(chunks)

    def _read_bio(self) -> bytes:
        if FAST:
            room = _unzeroed("char[]", _BIO_READ)
            count = _lib.BIO_read(self._from_ssl, room, _BIO_READ)
            return bytes(_ffi.buffer(room, count)) if count > 0 else b""
        try:
            return self._connection.bio_read(_BIO_READ)
        except SSL.WantReadError:
            return b""

    def shed(self) -> None:
        """Give back what a burst has made the BIOs grow to, which they never do by themselves.

        For a connection that has fallen idle. Without effect while a BIO holds anything.
        """
        if not self._grown or not FAST:
            return
        start = _ffi.new("char **")
        if any(_lib.BIO_get_mem_data(bio, start) for bio in (self._into_ssl, self._from_ssl)):
            return
        self._grown = False
        # freed first, so that the new ones lie where the old ones were and the heap's end can fall
        _lib.SSL_set_bio(self._ssl, _ffi.NULL, _ffi.NULL)
        into, out = _lib.BIO_new(_lib.BIO_s_mem()), _lib.BIO_new(_lib.BIO_s_mem())
        _lib.SSL_set_bio(self._ssl, into, out)
        self._into_ssl = self._connection._into_ssl = into
        self._from_ssl = self._connection._from_ssl = out

    def exporter(self, label: bytes, length: int) -> bytes:
        """RFC 5705 keying material without a context; the same on both ends of this connection."""
        return self._connection.export_keying_material(label, length)

    @property
    def peer_certificate(self) -> x509.Certificate | None:
        """The certificate that the peer presented; whether it verified is for `chain_error` to say."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        return certificate if isinstance(certificate, x509.Certificate) else None

    @property
    def chain_error(self) -> str | None:
        """Why the peer's chain does not verify, or None when it does (or none was asked for)."""
        verdict = self._connection.get_app_data()
        return verdict if isinstance(verdict, str) else None

    def close_notify(self) -> None:
        """Tell the peer that no more will come; `output` holds the alert. Never raises."""
        if self.closed:
            return
        self.closed = True
        try:
            self._connection.shutdown()
        except SSL.Error:
            pass  # before the handshake there is nothing to end


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words, the last of its queue: what the peer's operator wants to read."""
    queue = error.args[0] if error.args else None
    if isinstance(queue, list) and queue:
        return str(queue[-1][-1]) or "TLS failure"
    return "connection ended during the TLS handshake"
