"""The launch file: how the web portal hands a session over to this client.

A JSON object of three strings, in UTF-8, saved by a browser and read by `client-emu launch FILE`:

    url    the headend, https://HOST[:PORT]/
    token  the session's token, which opens a tunnel like a cookie does
    pin    the headend's key, pin-sha256:BASE64

The file names a server and a secret, nothing to run. Unknown members are ignored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from client_emu.gateway import Gateway, parse_gateway
from client_emu.options import is_token, parse_pin

MAX_FILE: Final = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Launch:
    """Where to, with which session, and whom to trust."""

    gateway: Gateway
    token: str = field(repr=False)
    pin: str


def parse_launch_untrusted(data: bytes) -> Launch:
    """Read a launch file. Raises ValueError with a sentence for the user, which has nothing of the file."""
    if len(data) > MAX_FILE:
        raise ValueError(f"a launch file has at most {MAX_FILE} bytes")
    try:
        said = json.loads(data.decode("utf-8"))
        url, token, pin = (said[name] for name in ("url", "token", "pin"))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise ValueError("not a launch file: a JSON object with url, token and pin") from None
    if not (isinstance(url, str) and isinstance(token, str) and isinstance(pin, str)):
        raise ValueError("url, token and pin in a launch file are strings")
    if not is_token(token):
        raise ValueError("the token in the launch file is none")
    return Launch(parse_gateway(url), token, parse_pin(pin))
