"""Single header lines of the CONNECT exchange: values to bytes and bytes to values.

`HeaderWriter` collects lines in the order they are written and refuses whatever would break out of a line,
since some of them are spliced into a response without an HTTP library looking at them. `HeaderReader` holds
the lines of a peer by name, whatever its case, and takes values out of them within bounds. Both speak the
same kinds of value: text, number, seconds (`none` for none), true or false, hexadecimal, addresses and
networks. All faults are HeaderErrors that name the header; a value that is secret is not quoted.
"""

import math
import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import unquote

from asa_emu.wire.errors import HeaderError

RawHeaders = list[tuple[bytes, bytes]]
IPAddress = IPv4Address | IPv6Address

MIN_MTU = 576
LEAST_GRANTED_MTU = 256
"""The least that an ASA can be configured to grant."""
MAX_MTU = 65535
MAX_LINK_MTU = 65536
"""That of a Linux loopback, the largest there is."""

MAX_SECONDS = 2**31 - 1
MAX_LISTED = 64
"""Most names in one comma or colon list; openconnect sends 8."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_BANNER_ESCAPED = re.compile(r"[%\x00-\x1f\x7f]")


class HeaderWriter:
    """Collects header lines; None and empty texts leave theirs out."""

    def __init__(self) -> None:
        self.lines: RawHeaders = []

    def text(self, name: str, value: object) -> None:
        """One line. HeaderError for a control character, above all CR and LF."""
        if value is None:
            return
        line = str(value).strip(" \t")
        if _CONTROL.search(line):
            raise HeaderError(f"{name}: a control character in the value")
        if line:
            self.lines.append((name.encode("ascii"), line.encode()))

    def each(self, name: str, values: Iterable[object]) -> None:
        """One line for each value: clients read no lists here."""
        for value in values:
            self.text(name, value)

    def seconds(self, name: str, value: float | None, absent: str = "") -> None:
        """Whole seconds, rounded up and at least 1; `absent` when there are none."""
        self.text(name, absent if value is None else max(1, math.ceil(value)))

    def flag(self, name: str, value: bool) -> None:
        """`true` or `false`."""
        self.text(name, "true" if value else "false")


def encode_lines(lines: RawHeaders) -> bytes:
    """Header lines as they stand in a head, without the blank line that ends it.

    They must come from a `HeaderWriter`, which has refused what would break out of a line.
    """
    return b"".join(b"%s: %s\r\n" % line for line in lines)


class HeaderReader:
    """The header lines of a peer, by name. Where one value is asked for and several came, the last counts."""

    def __init__(self, raw_headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._lines: dict[str, list[str]] = {}
        for name, value in raw_headers:
            text = bytes(value).decode("utf-8", "replace").strip(" \t")
            if text:
                self._lines.setdefault(bytes(name).decode("latin-1").lower(), []).append(text)

    def all(self, name: str) -> list[str]:
        """Every value of a header that is not empty."""
        return self._lines.get(name.lower(), [])

    def text(self, name: str) -> str:
        """The value, or an empty text."""
        values = self.all(name)
        return values[-1] if values else ""

    def number(self, name: str, low: int, high: int) -> int | None:
        """A decimal number from `low` to `high`; None when absent."""
        value = self.text(name)
        return _decimal(name, value, low, high) if value else None

    def seconds(self, name: str) -> float | None:
        """Seconds; None when absent, 0 or `none`."""
        value = self.text(name)
        if not value or value.lower() == "none":
            return None
        return float(_decimal(name, value, 0, MAX_SECONDS)) or None

    def flag(self, name: str, default: bool) -> bool:
        """True for `true`, false for anything else, the default when absent."""
        value = self.text(name)
        return value.lower() == "true" if value else default

    def hexadecimal(self, name: str, low: int, high: int) -> bytes | None:
        """From `low` to `high` bytes in hexadecimal digits; None when absent. The value is not quoted."""
        value = self.text(name)
        if not value:
            return None
        if not re.fullmatch(r"([0-9A-Fa-f]{2})+", value) or not low <= len(value) // 2 <= high:
            raise HeaderError(f"{name}: not {low} to {high} bytes in hexadecimal")
        return bytes.fromhex(value)

    def listed(self, name: str, separator: str) -> tuple[str, ...]:
        """The names of a list; blanks around them are dropped."""
        values = [item.strip() for line in self.all(name) for item in line.split(separator)]
        if len(values) > MAX_LISTED:
            raise HeaderError(f"{name}: {len(values)} names")
        return tuple(filter(None, values))

    def ip4_networks(self, name: str) -> tuple[IPv4Network, ...]:
        """Networks written `net/dotted-mask` or `net/length`."""
        return tuple(_ip4_network(name, value) for value in self.all(name))

    def ip6_networks(self, name: str) -> tuple[IPv6Network, ...]:
        """Networks written `net/length`."""
        networks = []
        for value in self.all(name):
            address, length = ip6_with_length(name, value)
            networks.append(IPv6Network((address, length), strict=False))
        return tuple(networks)


def ip_address(name: str, value: str) -> IPAddress:
    """An address of the family that the value looks like. A scope is refused."""
    try:
        if ":" not in value:
            return IPv4Address(value)
        if "%" not in value:
            return IPv6Address(value)
    except AddressValueError:
        pass
    raise HeaderError(f"{name}: {value[:64]!r} is no address")


def ip6_with_length(name: str, value: str) -> tuple[IPv6Address, int]:
    """An IPv6 address and its prefix length, 128 when none is given."""
    text, slash, length = value.partition("/")
    address = ip_address(name, text)
    if not isinstance(address, IPv6Address):
        raise HeaderError(f"{name}: {value[:64]!r} is no IPv6 address")
    return address, _decimal(name, length, 0, 128) if slash else 128


def encode_banner(text: str) -> str:
    """A banner on one line: `%`, CR, LF and the other control characters are percent-encoded."""
    return _BANNER_ESCAPED.sub(lambda found: f"%{ord(found.group()):02X}", text)


def decode_banner(value: str) -> str:
    """The reverse of `encode_banner`; a `%` that begins no escape stays."""
    return unquote(value)


def _decimal(name: str, value: str, low: int, high: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 10 and low <= int(value) <= high):
        raise HeaderError(f"{name}: {value[:64]!r} is not a number from {low} to {high}")
    return int(value)


def _ip4_network(name: str, value: str) -> IPv4Network:
    text, slash, mask = value.partition("/")
    address = ip_address(name, text)
    if not isinstance(address, IPv4Address):
        raise HeaderError(f"{name}: {value[:64]!r} is no IPv4 network")
    if not slash:
        return IPv4Network((address, 32))
    if "." not in mask:
        return IPv4Network((address, _decimal(name, mask, 0, 32)), strict=False)
    netmask = ip_address(name, mask)
    length = int(netmask).bit_count()
    # Compared here because ipaddress would read a wildcard mask as well, and nobody means one.
    if netmask.version != 4 or netmask != IPv4Network((0, length)).netmask:
        raise HeaderError(f"{name}: {value[:64]!r} has no valid mask")
    return IPv4Network((address, length), strict=False)
