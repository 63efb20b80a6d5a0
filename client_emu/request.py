"""One HTTP request and its answer, as values: what a login makes and reads without a socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from client_emu.gateway import Gateway

MAX_BODY: Final = 64 * 1024  # bytes; the XML parser takes no more
MAX_TEXT: Final = 300  # characters of a headend's text that are shown


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to `gateway`; `fresh` asks for a new TLS connection, which offers the certificate."""

    gateway: Gateway
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    fresh: bool = False
    delay: float = 0.0
    """Seconds to wait before it."""
    once: bool = False
    """It holds a secret, and is not sent again whatever comes of it."""
    max_body: int = MAX_BODY
    """Bytes of the answer's body that are taken."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; header names in any case, values as received. Bodies are at most 64 KiB."""

    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


def shown(text: str | None) -> str:
    """A text of the headend on one line, printable and bounded: it goes to terminals and logs."""
    line = " ".join((text or "").split())[:MAX_TEXT]
    return "".join(character if character.isprintable() else "." for character in line)
