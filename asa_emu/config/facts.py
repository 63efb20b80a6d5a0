"""The values that lines of a running-config stand for: pools, list entries, passwords, interfaces.

They are plain facts without behaviour of their own beyond what their fields imply. The grammar makes them
out of words, the document keeps them beside the line that said them, and the model hands them to the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Final, Literal, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address
Scheme: TypeAlias = Literal["plain", "encrypted", "nt-encrypted", "pbkdf2", "emu", "nopassword"]

Hasher: TypeAlias = Callable[[str, Scheme], str]
"""Turns a clear password into the text to store: "pbkdf2" as an ASA writes it, "emu" cheap, for ranges."""

MASKED = "*****"
"""What `show running-config` prints in place of a secret; loaded back, it verifies nothing."""

LEVELS: Final = (
    "emergencies",
    "alerts",
    "critical",
    "errors",
    "warnings",
    "notifications",
    "informational",
    "debugging",
)
"""The names of the severities of messages, 0 to 7."""

_SECRET: Final = re.compile(
    r"\b(password|passwd|key|pre-shared-key|secret|community|ldap-login-password)((?: [058])?) (\S+)"
)


def masked(text: str) -> str:
    """Return a line that nobody here understands, without what looks like a secret in it."""
    return _SECRET.sub(rf"\1\2 {MASKED}", text)


@dataclass(frozen=True, slots=True)
class StoredPassword:
    """A password as the configuration keeps it: clear only when nobody gave `parse_config` a hasher."""

    text: str
    scheme: Scheme

    @property
    def is_well_formed(self) -> bool:
        """Whether anybody could log in with it: not masked, not garbled."""
        form = {"encrypted": r"[./0-9A-Za-z]{16}", "pbkdf2": r"\$sha512\$\d+\$[^$]+\$[^$]+"}.get(self.scheme)
        return form is None or re.fullmatch(form, self.text) is not None

    def __repr__(self) -> str:
        return f"StoredPassword({self.scheme})"


@dataclass(frozen=True, slots=True)
class Account:
    """`username NAME password …`: the secret and the privilege level, 0 to 15."""

    password: StoredPassword
    privilege: int = 2


@dataclass(frozen=True, slots=True)
class UserRange:
    """`!emu users PREFIX FROM-TO password PW`: users that differ in a number only and share one hash."""

    prefix: str
    first: int
    last: int
    width: int
    """Digits of the number, leading zeros included; 0 when FROM and TO differ in length."""
    password: StoredPassword

    def holds(self, name: str) -> bool:
        """Tell whether `name` is one of these users, without making a list of them."""
        if not name.startswith(self.prefix):
            return False
        digits = name[len(self.prefix) :]
        if not (0 < len(digits) <= 10 and digits.isascii() and digits.isdigit()):
            return False
        if self.width:
            fits = len(digits) == self.width
        else:
            fits = digits == str(int(digits))
        return fits and self.first <= int(digits) <= self.last


@dataclass(frozen=True, slots=True)
class Pool:
    """`ip local pool NAME FROM-TO mask M`: both ends are handed out."""

    name: str
    first: IPv4Address
    last: IPv4Address
    network: IPv4Network
    """The network of the pool by its mask (by address class when no mask was given)."""

    @property
    def mask(self) -> IPv4Address:
        """The netmask a client of this pool is told."""
        return self.network.netmask

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPv4Address) and self.first <= address <= self.last

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1


@dataclass(frozen=True, slots=True)
class Ipv6Pool:
    """`ipv6 local pool NAME PREFIX/LEN COUNT`: the address of the prefix is the first one handed out."""

    name: str
    first: IPv6Address
    prefix_length: int
    count: int

    @property
    def last(self) -> IPv6Address:
        """The last address handed out."""
        return self.first + (self.count - 1)

    @property
    def network(self) -> IPv6Network:
        """The network the addresses belong to."""
        return IPv6Network((self.first, self.prefix_length), strict=False)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPv6Address) and self.first <= address <= self.last

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry of an access list, as far as split tunnelling reads it."""

    permit: bool
    networks: tuple[Network, ...]
    """The source; empty when this entry says nothing that split tunnelling could use."""
    unread: str = ""
    """Why an entry that does say something could not be read (an object, a port), or empty."""
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ClientImage:
    """`anyconnect image FILE ORDER [regex EXPR]`: a package that clients are updated from."""

    file: str
    """As the configuration names it, such as `disk0:/anyconnect-linux64-4.10.07061-webdeploy-k9.pkg`."""
    order: int
    regex: str | None = None
    """Clients whose User-Agent it matches get this image before any other."""

    @property
    def name(self) -> str:
        """The file's name without device and directory."""
        return self.file.rpartition(":")[2].rpartition("/")[2]

    @property
    def version(self) -> str | None:
        """The version that the name tells, zeros as written; None when it tells none."""
        found = re.search(r"(?<![\d.])\d+(?:\.\d+)+", self.name)
        return found.group() if found else None


@dataclass(frozen=True, slots=True)
class Timezone:
    """`clock timezone NAME HOURS [MINUTES]`: seconds east of UTC."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Interface:
    """One `interface` block, as far as it names an address."""

    hardware: str
    nameif: str | None
    ip: IPv4Interface | None
    ip6: tuple[IPv6Interface, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A line that was kept without effect, or taken leniently, and why."""

    line: int
    text: str
    reason: str


class ConfigError(ValueError):
    """A configuration that cannot be used: where, why and, when there is one, the way out."""

    def __init__(self, source: str, line: int, reason: str, remedy: str = "") -> None:
        super().__init__(source, line, reason, remedy)
        self.source = source
        self.line = line
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.source}:{self.line}: {self.reason}{remedy}"
