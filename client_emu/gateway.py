"""The address of a headend as people, profiles and redirects write it."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass
from typing import Final

DEFAULT_PORT: Final = 443

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})?|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?")
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
