"""Who asks: what a request's headers and its connection say about the caller, without the body."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from asa_emu.headend.headend import Caller, ClientCertificate

if TYPE_CHECKING:
    from asa_emu.serve.connection import Connection

MAX_AGENT = 256  # bytes of a User-Agent that are kept
Headers = list[tuple[bytes, bytes]]
"""Names in lower case, values as they came."""


def caller_of(connection: Connection, headers: Headers, *, certificate: bool) -> Caller:
    """The caller; the client certificate is read only when somebody looks at it."""
    engine = connection.engine
    host = agent = ""
    for name, value in headers:
        if name == b"host":
            host = value.decode("ascii", "replace")
        elif name == b"user-agent":
            agent = _agent(value)
    return Caller(
        peer=connection.peer,
        local_port=connection.local_port,
        host=host,
        user_agent=agent,
        tls_version=engine.version,
        cipher=engine.cipher_name,
        certificate=_client_certificate(connection) if certificate else None,
    )


def _agent(value: bytes) -> str:
    """A User-Agent as it is kept and shown on a console: short, and without what would move a cursor."""
    text = value[:MAX_AGENT].decode("latin-1")
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "?" for character in text)
    return intern(text)  # sessions keep it, and few differ


def _client_certificate(connection: Connection) -> ClientCertificate | None:
    certificate = connection.engine.peer_certificate
    if certificate is None:
        return None
    subject: dict[str, str] = {}
    for attribute in certificate.subject:
        name = attribute.rfc4514_attribute_name
        subject.setdefault(name, str(attribute.value))
    return ClientCertificate(subject, connection.engine.chain_error)


def is_browser(headers: Headers) -> bool:
    """Whether a person's browser asks: VPN clients, even under a browser's name, do not ask for HTML."""
    agent = next((value for name, value in headers if name == b"user-agent"), b"")
    accept = next((value for name, value in headers if name == b"accept"), b"")
    return agent.startswith(b"Mozilla/") and b"text/html" in accept


def cookies_of(headers: Headers) -> dict[str, str]:
    """The cookies; of two with one name the first."""
    cookies: dict[str, str] = {}
    for name, value in headers:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, equals, text = part.strip().partition("=")
                if equals:
                    cookies.setdefault(key, text)
    return cookies


def path_of(target: str) -> str:
    """The path of a request target, in origin or absolute form, without query."""
    if target.startswith("/"):
        return target.partition("?")[0]
    try:
        return urlsplit(target).path or "/"
    except ValueError:
        return "/"
