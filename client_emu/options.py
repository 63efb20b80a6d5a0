"""What the user asks for, checked before any byte is sent.

A frozen `ClientOptions` goes in at the top and is read everywhere; nothing in it changes while the client
runs. `from_profile` makes one out of a profile's host. `rules` is where profile, platform, version and known
bugs become the behaviour of the lifecycle. The parsers here take text from a command line and raise
`ValueError` with a sentence for the user. Secrets are kept out of every repr.
"""

from __future__ import annotations

import base64
import binascii
import enum
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from asa_emu.wire.dtls import DTLS12_NAMES, DTLS_NAMES
from asa_emu.wire.header_lines import MIN_MTU
from client_emu.gateway import Gateway, parse_gateway
from client_emu.lifecycle import Rules
from client_emu.network import Interface
from client_emu.profile import Profile, check_preference, default

CLIENT_VERSION: Final = "4.10.07061"
KNOB_VERSION: Final = (2, 3, 111)  # CSCso17627: since then the reconnect after resume can be switched off
QUIRKS: Final = ("CSCso17627", "CSCsr16670", "CSCsm69213")

# what may stand in a cookie, RFC 6265 section 4.1.1, and `"` as well
_TOKEN = re.compile(r"[!-+\--:<-~]{1,4096}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")


class Platform(enum.Enum):
    """The operating system that the client behaves as on: its names in documents and in User-Agent."""

    WINDOWS = ("win", "Windows")
    MAC = ("mac-intel", "Darwin_i386")
    LINUX = ("linux-64", "Linux_64")

    def __init__(self, device_id: str, agent: str) -> None:
        self.device_id = device_id
        self.agent = agent


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
    dtls_ciphers: tuple[str, ...] = tuple(n for n in DTLS_NAMES if n.startswith(("PSK-", "OC-")))
    """Offered as X-DTLS-CipherSuite; the dialect 0x0100 is for those who ask for it."""
    dtls12_ciphers: tuple[str, ...] = DTLS12_NAMES
    xml_post: bool = True
    """False: log in as a client that knows forms only."""
    backups: tuple[Gateway, ...] = ()
    """Who stands in for `gateway` when it does not answer, in order."""
    profile: Profile | None = None
    preferences: Mapping[str, str] = field(default_factory=dict)
    """What the user chose; it counts where the profile lets users choose."""
    platform: Platform = Platform.WINDOWS
    version: str = CLIENT_VERSION
    quirks: frozenset[str] | None = None
    """The known bugs that are in force; None for those of the platform."""
    interfaces: tuple[Interface, ...] = ()
    """What the machine is connected by; empty for a cable and a radio that is off."""
    tun: str | None = None
    program: tuple[str, ...] = ()
    """A program with its arguments that gets the tunnel's packets, instead of an adapter."""
    ask_all: bool = False
    """Let a person confirm group and user name, and the banner, as the genuine client does."""
    hostname: str = "client-emu"

    @classmethod
    def from_profile(cls, profile: Profile, host: str | None = None, **given: Any) -> Self:
        """What a host of the profile asks for, the first one by default. ValueError when there is none."""
        entry = profile.find(host) if host is not None else next(iter(profile.hosts), None)
        if entry is not None:
            return cls(entry.gateway, backups=entry.backups, profile=profile, **given)
        if host is None or profile.preference("AllowManualHostInput", {}) == "false":
            raise ValueError(f"{profile.source} has no host {host or ''}".rstrip())
        return cls(parse_gateway(host), profile=profile, **given)

    @property
    def user_agent(self) -> str:
        """Begins as the genuine client's: ocserv and anylink decide by that what they may send."""
        return f"AnyConnect {self.platform.agent} {self.version}"

    def preference(self, name: str) -> str:
        """What holds for this client."""
        if self.profile is not None:
            return self.profile.preference(name, self.preferences)
        return self.preferences.get(name, default(name))

    @property
    def rules(self) -> Rules:
        """How the lifecycle is to behave (S72-S79, S129)."""
        quirks = self.quirks
        if quirks is None:
            quirks = frozenset({"CSCsr16670", "CSCsm69213"} if self.platform is Platform.LINUX else ())
        numbers = tuple(int(number) for number in re.findall(r"\d+", self.version)[:3])
        auto_reconnect = self.preference("AutoReconnect") == "true"
        without_knob = numbers < KNOB_VERSION or not quirks.isdisjoint({"CSCso17627", "CSCsm69213"})
        behavior = self.preference("AutoReconnectBehavior")
        return Rules(
            servers=1 + len(self.backups),
            auto_reconnect=auto_reconnect,
            notices_resume="CSCsr16670" not in quirks,
            reconnects_after_resume=auto_reconnect and (without_knob or behavior == "ReconnectAfterResume"),
        )


def parse_token(text: str) -> str:
    """The session token in a bare value, `webvpn=VALUE`, or a `; ` list that holds it. Raises ValueError."""
    pairs = [pair.strip() for pair in text.split(";") if pair.strip()]
    named = [pair.removeprefix("webvpn=") for pair in pairs if pair.startswith("webvpn=")]
    token = named[0] if named else pairs[0] if len(pairs) == 1 else ""
    if not is_token(token):
        raise ValueError("a cookie is a bare token, webvpn=TOKEN, or a list that holds webvpn=TOKEN")
    return token


def is_token(text: str) -> bool:
    """Whether it can be the value of a cookie: 1 to 4096 printable characters without blanks, `;` and `,`."""
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


def parse_interface(text: str) -> Interface:
    """`NAME[=ADDRESS][,mtu=N][,off]`. Raises ValueError."""
    head, *more = text.split(",")
    name, _, address = head.partition("=")
    if _NAME.fullmatch(name) is None:
        raise ValueError("an interface is NAME[=ADDRESS][,mtu=N][,off]")
    interface = Interface(name, str(ipaddress.ip_address(address)) if address else None)
    for word in more:
        key, _, number = word.partition("=")
        if word == "off":
            interface.plugged = False
        elif key == "mtu" and number.isascii() and number.isdigit() and MIN_MTU <= int(number) <= 65535:
            interface.mtu = int(number)
        else:
            raise ValueError(f"an interface has mtu=N and off, not {word!r}")
    return interface


def parse_preference(text: str) -> tuple[str, str]:
    """`NAME=VALUE` as profiles have them. Raises ValueError."""
    name, _, value = text.partition("=")
    return name, check_preference(name, value)
