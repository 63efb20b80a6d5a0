"""OpenSSL as the other end of a DTLS association, in memory, both roles.

pyOpenSSL's public names cover neither PSK nor a made-up session, so this reaches into its binding. It is a
peer for differential tests and nothing else.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL
from OpenSSL._util import ffi, lib  # noqa: TID251

NO_EXTENDED_MASTER_SECRET = 1 << 0
NO_ENCRYPT_THEN_MAC = 1 << 19


class OpensslEnd:
    """One end: `receive` a datagram, then look at `sent`, `received` and `established`."""

    def __init__(self, context: SSL.Context, *, server: bool) -> None:
        # Callbacks of cffi die with their last reference.
        self.keep: list[Any] = [context]
        self.connection = SSL.Connection(context, None)
        self.connection.set_ciphertext_mtu(1400)
        if server:
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()
        self.established = False
        self.closed = False
        self.received: list[bytes] = []

    def start(self) -> list[bytes]:
        return self.receive(b"")

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take a datagram and return what is to be sent."""
        if datagram:
            self.connection.bio_write(datagram)
        try:
            if not self.established:
                self.connection.do_handshake()
                self.established = True
            while True:
                self.received.append(self.connection.recv(20000))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        return self.output()

    def send(self, payload: bytes) -> bytes:
        self.connection.send(payload)
        (datagram,) = self.output()
        return datagram

    def output(self) -> list[bytes]:
        try:
            return [self.connection.bio_read(65536)]
        except SSL.WantReadError:
            return []


def context_for(cipher: str, version: int, *, plain: bool = True) -> SSL.Context:
    """Return a context for one version; unless `plain` it offers what OpenSSL offers by itself."""
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    if plain:
        context.set_options(SSL.OP_NO_TICKET | NO_EXTENDED_MASTER_SECRET | NO_ENCRYPT_THEN_MAC)
    assert lib.SSL_CTX_set_min_proto_version(context._context, version) == 1
    assert lib.SSL_CTX_set_max_proto_version(context._context, version) == 1
    context.set_cipher_list(f"{cipher}:@SECLEVEL=0".encode())
    return context


def psk_client(key: bytes, cipher: str) -> OpensslEnd:
    context = context_for(cipher, 0xFEFD, plain=False)

    def answer(ssl: Any, hint: Any, identity: Any, room: int, psk: Any, psk_room: int) -> int:
        ffi.memmove(identity, b"psk\0", 4)
        ffi.memmove(psk, key, len(key))
        return len(key)

    callback = ffi.callback(
        "unsigned int (*)(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)", answer
    )
    lib.SSL_CTX_set_psk_client_callback(context._context, callback)
    end = OpensslEnd(context, server=False)
    end.keep.append(callback)
    return end


def psk_server(key: bytes, cipher: str, *, cookie: bool) -> OpensslEnd:
    context = context_for(cipher, 0xFEFD)

    def answer(ssl: Any, identity: Any, psk: Any, room: int) -> int:
        assert ffi.string(identity) == b"psk"
        ffi.memmove(psk, key, len(key))
        return len(key)

    callback = ffi.callback("unsigned int (*)(SSL *, const char *, unsigned char *, unsigned int)", answer)
    lib.SSL_CTX_set_psk_server_callback(context._context, callback)
    if cookie:
        assert SSL.OP_COOKIE_EXCHANGE is not None
        context.set_options(SSL.OP_COOKIE_EXCHANGE)
        context.set_cookie_generate_callback(lambda connection: b"a cookie of twenty b")
        context.set_cookie_verify_callback(lambda connection, got: got == b"a cookie of twenty b")
    end = OpensslEnd(context, server=True)
    end.keep.append(callback)
    return end


def resuming_client(
    session_id: bytes, master_secret: bytes, code: int, cipher: str, version: int
) -> OpensslEnd:
    """A client that believes it has had a session, as openconnect's OpenSSL builds do."""
    end = OpensslEnd(context_for(cipher, version, plain=False), server=False)
    encoded = _der(
        0x30,
        _der(2, b"\x01")
        + _der(
            2, version.to_bytes(3, "big").lstrip(b"\0") if version < 0x8000 else version.to_bytes(3, "big")
        )
        + _der(4, code.to_bytes(2, "big"))
        + _der(4, session_id)
        + _der(4, master_secret),
    )
    buffer = ffi.new("unsigned char[]", encoded)
    cursor = ffi.cast("const unsigned char **", ffi.new("unsigned char **", buffer))
    session = lib.d2i_SSL_SESSION(ffi.NULL, cursor, len(encoded))
    assert session != ffi.NULL
    session = ffi.gc(session, lib.SSL_SESSION_free)
    assert lib.SSL_set_session(end.connection._ssl, session) == 1
    end.keep.append(session)
    return end


def resumable_server(master_secret: bytes, cipher: str, version: int) -> tuple[bytes, OpensslEnd]:
    """A server whose cache holds a session with this master secret; OpenSSL chooses its id.

    A throw-away client fills the cache with a full RSA handshake, then the cached session gets our secret.
    """
    context = context_for(cipher, version)
    key, certificate = _rsa_identity()
    context.use_privatekey(key)
    context.use_certificate(certificate)
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    context.set_session_id(b"test")
    first, throwaway = (
        OpensslEnd(context, server=True),
        OpensslEnd(context_for(cipher, version), server=False),
    )
    carry(throwaway, first)
    session = ffi.gc(lib.SSL_get1_session(first.connection._ssl), lib.SSL_SESSION_free)
    assert lib.SSL_SESSION_set1_master_key(session, master_secret, len(master_secret)) == 1
    # Without this, freeing a connection that was not shut down throws its session out of the cache.
    for end in (first, throwaway):
        end.connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    return _session_id_of(session), OpensslEnd(context, server=True)


def carry(client: OpensslEnd, server: OpensslEnd) -> None:
    """Let two OpenSSL ends shake hands."""
    sent = client.start()
    for target in (server, client) * 4:
        sent = [answer for datagram in sent for answer in target.receive(datagram)]
    assert client.established
    assert server.established


def _session_id_of(session: Any) -> bytes:
    buffer = ffi.new("unsigned char[]", lib.i2d_SSL_SESSION(session, ffi.NULL))
    length = lib.i2d_SSL_SESSION(session, ffi.new("unsigned char **", buffer))
    encoded = bytes(ffi.buffer(buffer, length))
    at = encoded.index(b"\x04\x20") + 2
    return encoded[at : at + 32]


def _der(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes((kind, len(body))) + body


@cache
def _rsa_identity() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=begin,
        not_valid_after=begin + timedelta(days=36500),
    )
    return key, builder.sign(key, SHA256())
