"""What the user asks for, checked before any byte is sent.

A frozen `ClientOptions` goes in at the top and is read everywhere; nothing in it changes while the client
runs. The parsers here take text from a command line (`parse_gateway`, `parse_token`, `parse_compression`) and
raise `ValueError` with a sentence for the user. Secrets are kept out of every repr.
"""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DEFAULT_PORT: Final = 443
MAX_MTU: Final = 16384 - 8  # a frame with its header has to fit one TLS record
MIN_MTU: Final = 576

# ocserv and anylink decide by the beginning of this what they may send: `AnyConnect` is the genuine client's
USER_AGENT: Final = "AnyConnect Linux_64 4.10.07061"
CLIENT_VERSION: Final = "4.10.07061"
DEVICE_ID: Final = "linux-64"

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})?|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?")
_TOKEN = re.compile(
    r"[!-+\--:<-~]{1,4096}"
)  # what may stand in a cookie, RFC 6265 section 4.1.1, and `"` as well
_PATH = re.compile(r"/[!-~]{0,2047}")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A headend as the user or a redirect names it: host, TCP port, and the path (a group-url)."""

    host: str
    port: int = DEFAULT_PORT
    path: str = "/"

    @property
    def authority(self) -> str:
        """The value of `Host`: brackets around an IPv6 address, the port unless it is 443."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORT else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address, as `<group-access>` carries it."""
        return f"https://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Everything `client-emu connect` can be told; intervals in seconds, None for what the headend says."""

    gateway: Gateway
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    second_password: str | None = field(default=None, repr=False)
    group: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    pin: str | None = None
    """`pin-sha256:` and the base64 of the SHA-256 of the server's public key; replaces any other check."""
    token: str | None = field(default=None, repr=False)
    """Resume this session instead of logging in."""
    show_cookie: bool = False
    mtu: int | None = None
    dpd: float | None = None
    """Overrides what the headend says for both channels; 0 switches detection off."""
    dtls: bool = True
    ipv6: bool = True
    compression: tuple[str, ...] = ()
    dtls_ciphers: tuple[str, ...] | None = None
    """Offered as X-DTLS-CipherSuite; None for all that is known but the old version 0x0100."""
    dtls12_ciphers: tuple[str, ...] | None = None
    xml_post: bool = True
    """False: log in as a client that knows forms only."""
    source_address: str | None = None
    tun: str | None = None
    user_agent: str = USER_AGENT
    hostname: str = "client-emu"


def parse_gateway(text: str) -> Gateway:
    """Read `https://host:port/group`, `host:port/group` or less. Raises ValueError."""
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("not an address of a headend") from None
    if parts.scheme != "https":
        raise ValueError("a headend is reached by https alone")
    host = parts.hostname or ""
    if _HOST.fullmatch(host) is None or parts.username is not None or port == 0:
        raise ValueError("not an address of a headend")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if _PATH.fullmatch(path) is None:
        raise ValueError("an address with characters that HTTP cannot carry")
    return Gateway(host, DEFAULT_PORT if port is None else port, path)


def parse_token(text: str) -> str:
    """Take the session token out of a bare value, `webvpn=VALUE`, or a `; ` list that holds it. Raises
    ValueError.
    """
    pairs = [pair.strip() for pair in text.split(";") if pair.strip()]
    named = [pair.removeprefix("webvpn=") for pair in pairs if pair.startswith("webvpn=")]
    token = named[0] if named else pairs[0] if len(pairs) == 1 else ""
    if not is_token(token):
        raise ValueError(
            "a cookie is a bare token, webvpn=TOKEN, or a list of cookies that holds webvpn=TOKEN"
        )
    return token


def is_token(text: str) -> bool:
    """Whether `text` can be the value of a cookie: 1 to 4096 printable characters without blanks, `;`
    or `,`.
    """
    return _TOKEN.fullmatch(text) is not None


def parse_pin(text: str) -> str:
    """Check `pin-sha256:BASE64`. Raises ValueError."""
    try:
        digest = base64.b64decode(text.removeprefix("pin-sha256:"), validate=True)
    except binascii.Error:
        digest = b""
    if not text.startswith("pin-sha256:") or len(digest) != 32:
        raise ValueError("a pin is pin-sha256: and the base64 of 32 bytes")
    return text


def parse_compression(text: str, supported: tuple[str, ...]) -> tuple[str, ...]:
    """`all`, `none`, or a comma list of codecs in order of preference. Raises ValueError."""
    if text in ("none", ""):
        return ()
    if text == "all":
        return supported
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in supported:
            raise ValueError(f"no compression {name!r} here; there is {', '.join(supported)}, all and none")
    return names
