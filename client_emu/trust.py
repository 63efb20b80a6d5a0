"""Whether the server at the other end of a TLS connection is the one the user meant.

`client_context` lets the handshake finish and keeps OpenSSL's verdict on the chain; `check_server` is asked
before anything else is sent. A pin replaces every other check. Without one the chain has to lead to the given
authority, or to one that the system trusts, and the certificate has to name the host (RFC 9525: subject
alternative names alone).
"""

from __future__ import annotations

import hmac
import ipaddress

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from asa_emu.transport.certificates import pin_sha256
from asa_emu.transport.openssl import TlsEngine


class ServerNotTrusted(Exception):
    """The server could not prove who it is; nothing was sent to it."""


def check_server(engine: TlsEngine, host: str, pin: str | None) -> None:
    """Return when the server is trusted as `host`, raise ServerNotTrusted otherwise."""
    certificate = engine.peer_certificate
    if certificate is None:
        raise ServerNotTrusted("the server has no certificate")
    try:
        found = pin_sha256(certificate)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ServerNotTrusted(f"the server's key cannot be read: {error}") from error
    if pin is not None:
        if not hmac.compare_digest(found, pin):
            raise ServerNotTrusted(f"the server's key is {found}, not the pinned one")
        return
    if engine.chain_error is not None:
        raise ServerNotTrusted(
            f"the server's certificate does not verify: {engine.chain_error}; its key is {found}"
        )
    if not certificate_names(certificate, host):
        raise ServerNotTrusted(f"the server's certificate is not for {host}; its key is {found}")


def certificate_names(certificate: x509.Certificate, host: str) -> bool:
    """Whether a subject alternative name is this address, or this name with at most its first label `*`."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    try:
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        wanted = host.lower().rstrip(".")
        _, _, parent = wanted.partition(".")
        patterns = {name.lower().rstrip(".") for name in names.get_values_for_type(x509.DNSName)}
        return wanted in patterns or ("." in parent and f"*.{parent}" in patterns)
