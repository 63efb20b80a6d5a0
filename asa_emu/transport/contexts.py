"""TLS contexts for either end: versions, groups, tickets, and what is done with a peer's certificate.

A server context never fails a handshake because of a client certificate: the verdict is kept on the
connection (`TlsEngine.chain_error`) and the login form tells the user. A client context also completes the
handshake and leaves the verdict to the caller, who may have pinned the key instead of trusting a CA; nothing
may be sent before that verdict was looked at.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from OpenSSL import SSL, crypto

from asa_emu.transport.openssl import prefer_x25519

KeylogSink = Callable[[bytes], None]


def server_context(
    certificate: Path,
    key: Path,
    *,
    client_ca: Path | None = None,
    request_client_certificate: bool = False,
    keylog: KeylogSink | None = None,
) -> SSL.Context:
    """A context for TLS 1.2 and 1.3 with the PEM chain in `certificate` and the PEM key in `key`.

    Session tickets and the session cache are off: TLS resumption is not supported by an ASA (S54b), and
    they cost a tenth of a login. Raises `OSError` or `SSL.Error` when a file cannot be used.
    """
    context = _context(keylog)
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(key))
    context.check_privatekey()
    if request_client_certificate:
        if client_ca is not None:
            _load_ca(context, client_ca)
        context.set_verify(SSL.VERIFY_PEER, _remember_verdict)
    return context


def client_context(
    *,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    keylog: KeylogSink | None = None,
) -> SSL.Context:
    """A context for TLS 1.2 and 1.3 that trusts `ca`, or the system's store when it is None."""
    context = _context(keylog)
    if ca is not None:
        _load_ca(context, ca)
    else:
        context.set_default_verify_paths()
    if certificate is not None:
        context.use_certificate_chain_file(str(certificate))
        context.use_privatekey_file(str(key or certificate))
        context.check_privatekey()
    context.set_verify(SSL.VERIFY_PEER, _remember_verdict)
    return context


def _context(keylog: KeylogSink | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    prefer_x25519(context)
    if keylog is not None:
        sink = keylog
        context.set_keylog_callback(lambda _connection, line: sink(line))
    return context


def _load_ca(context: SSL.Context, path: Path) -> None:
    # OpenSSL's own error for a missing file is an empty list; the operator deserves the name
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such CA file", str(path))
    context.load_verify_locations(str(path))


def _remember_verdict(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    if not ok and connection.get_app_data() is None:
        text = _VERIFY_TEXTS.get(error, "certificate verify failed")
        connection.set_app_data(f"{text} (code {error}, depth {depth})")
    return True


_VERIFY_TEXTS = {
    2: "unable to get issuer certificate",
    7: "certificate signature failure",
    9: "certificate is not yet valid",
    10: "certificate has expired",
    18: "self-signed certificate",
    19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    23: "certificate revoked",
    24: "invalid CA certificate",
    26: "unsuitable certificate purpose",
}
