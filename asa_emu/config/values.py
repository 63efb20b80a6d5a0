"""From the words of a matched line to the value it stands for, checked as an ASA checks it.

Each function takes what a line said and returns a plain fact or raises ValueError with the reason; the
grammar's tables name them. The secrets' functions also spell the line again, once with the hash for the
startup-config and once masked for `show running-config`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface
from typing import Final
from urllib.parse import urlsplit

from asa_emu.config.access_list import read_ace
from asa_emu.config.expression import BadExpression, Expression
from asa_emu.config.facts import (
    MASKED,
    Account,
    ClientImage,
    Ipv6Pool,
    Pool,
    Scheme,
    StoredPassword,
    Timezone,
    UserRange,
)
from asa_emu.config.syntax import Said, quoted

QUIRKS: Final = ("CSCts66926", "CSCtg33110")
FEATURES: Final = ("CSCuh55707",)


def first(said: Said) -> object:
    """Return the first argument's value, or None when the line has none (`none`)."""
    return next(iter(said.bound.values()))[0] if said.bound else None


def first_of(label: str) -> Callable[[Said], object]:
    """Return the value of one argument, or None when the line does not have it."""
    return lambda said: said.bound.get(label, [None])[0]


def flag(said: Said) -> bool:
    """Return False for `disable` and `none`, else True."""
    return not said.chosen & {"disable", "none"}


def true(said: Said) -> bool:
    """Return True: saying the line is what counts."""
    return True


def nothing(said: Said) -> None:
    """Return None: the line heads a block, or has no effect here."""


def last_word(said: Said) -> str | None:
    """Return the keyword chosen last, None for `none`."""
    return None if said.words[-1] == "none" else said.words[-1]


def last_keyword(said: Said) -> str:
    """Return the keyword chosen last, `none` included."""
    return said.words[-1]


def words_after(count: int) -> Callable[[Said], tuple[str, ...]]:
    """Return the keywords after the first `count`, without `none`."""
    return lambda said: tuple(word for word in said.words[count:] if word != "none")


def up_to(most: int, label: str) -> Callable[[Said], tuple[object, ...]]:
    """Return the values of an argument that may be repeated so many times (`!emu`: any)."""

    def value(said: Said) -> tuple[object, ...]:
        values = tuple(said.bound.get(label, ()))
        if len(values) > most and not said.freed:
            raise ValueError(f"{len(values)} values, at most {most} are allowed")
        return values

    return value


def protocols(said: Said) -> frozenset[str]:
    """Return tunnel protocols under their names since 8.4."""
    before_8_4 = {"IPSec": "ikev1", "svc": "ssl-client", "webvpn": "ssl-clientless"}
    return frozenset(before_8_4.get(word, word) for word in said.words[1:])


def authentication(said: Said) -> frozenset[str]:
    """Return the ways to authenticate that must all succeed."""
    return frozenset(said.words[1:])


def banner(said: Said) -> list[str]:
    """Return one line of a banner, ≤ 500 characters, or no line for `none`."""
    text = said.texts("TEXT")
    if text and len(text[0]) > 500 and not said.freed:
        raise ValueError("a banner line is longer than 500 characters")
    return list(text)


def split_dns(said: Said) -> tuple[str, ...]:
    """Return domain names, ≤ 255 characters together."""
    names = tuple(name for word in said.texts("DOMAIN") for name in word.split(",") if name)
    if len(" ".join(names)) > 255 and not said.freed:
        raise ValueError("the names are longer than 255 characters together")
    return names


def group_url(said: Said) -> bool:
    """Check a group-url; return whether it is enabled."""
    try:
        parts = urlsplit(said.text("URL"))
        well_formed = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        well_formed = False
    if not well_formed:
        raise ValueError(f"bad URL {said.text('URL')!r}, expected https://HOST/PATH")
    return flag(said)


def client_image(said: Said) -> ClientImage:
    """Return a client image."""
    order = said.number("ORDER")
    regex = said.text("REGEX") if "REGEX" in said.bound else None
    try:
        Expression(regex or "")
    except BadExpression as error:
        raise ValueError(f"bad regular expression {regex!r}: {error}") from None
    return ClientImage(said.text("FILE"), int(order or 0), regex)


def known_id(kind: str, known: tuple[str, ...]) -> Callable[[Said], str]:
    """Return a Cisco bug id that the emulator can switch."""

    def value(said: Said) -> str:
        if said.text("ID") not in known:
            raise ValueError(f"unknown {kind} {said.text('ID')!r}, known: {', '.join(known)}")
        return said.text("ID")

    return value


# Addresses


def pool(said: Said) -> Pool:
    """Return an IPv4 pool that lies in one network and overlaps with no other."""
    begin, end = map(IPv4Address, said.text("RANGE").split("-"))
    mask = said.text("MASK") if "MASK" in said.bound else _class_mask(begin)
    network = IPv4Network(f"{begin}/{mask}", strict=False)
    if end not in network:
        raise ValueError(f"the range leaves the network {network}")
    if network.prefixlen < 31 and (begin == network.network_address or end == network.broadcast_address):
        raise ValueError(f"the range holds the network or broadcast address of {network}")
    made = Pool(said.text("NAME"), begin, end, network)
    _refuse_overlap(said, "pool", made)
    return made


def _class_mask(address: IPv4Address) -> str:
    top = int(address) >> 24
    return "255.0.0.0" if top < 128 else "255.255.0.0" if top < 192 else "255.255.255.0"


def ipv6_pool(said: Said) -> Ipv6Pool:
    """Return an IPv6 pool that fits into its prefix and overlaps with no other."""
    prefix, count = said.bound["PREFIX"][0], said.bound["COUNT"][0]
    assert isinstance(prefix, IPv6Interface)
    assert isinstance(count, int)
    if not 0 < count <= int(prefix.network.broadcast_address) - int(prefix.ip) + 1:
        raise ValueError(f"{count} addresses from {prefix.ip} do not fit into {prefix.network}")
    made = Ipv6Pool(said.text("NAME"), prefix.ip, prefix.network.prefixlen, count)
    _refuse_overlap(said, "ipv6-pool", made)
    return made


def _refuse_overlap(said: Said, kind: str, made: Pool | Ipv6Pool) -> None:
    for _, entry in said.document.top.family(kind):
        other = entry.value
        if not isinstance(other, Pool | Ipv6Pool) or other.name == made.name:
            continue
        if other.first in made or made.first in other:
            raise ValueError(f"the range overlaps with that of pool {other.name!r}")


def ace(said: Said) -> list[object]:
    """Return an access-list entry as a list of one, since entries add up."""
    names = {key[1]: str(entry.value) for key, entry in said.document.top.family("name")}
    return [read_ace(said.text("ENTRY"), names, said.line)]


def interface_address(said: Said) -> IPv4Interface | None:
    """Return the address of an interface, None when it takes it from elsewhere."""
    if "ADDRESS" not in said.bound:
        return None
    return IPv4Interface(f"{said.text('ADDRESS')}/{said.text('MASK')}")


def framed(said: Said) -> IPv4Interface:
    """Return a user's own address with its mask."""
    return IPv4Interface(f"{said.text('ADDRESS')}/{said.text('MASK')}")


def timezone(said: Said) -> Timezone:
    """Return a zone by its whole hours and minutes."""
    hours, minutes = said.bound["HOURS"][0], said.bound.get("MINUTES", [0])[0]
    assert isinstance(hours, int)
    assert isinstance(minutes, int)
    return Timezone(said.text("ZONE"), hours * 3600 + (-minutes if hours < 0 else minutes) * 60)


# Secrets

_SCHEMES: Final[Mapping[str, Scheme]] = {
    "encrypted": "encrypted",
    "nt-encrypted": "nt-encrypted",
    "pbkdf2": "pbkdf2",
    "emu": "emu",
}


def account(said: Said) -> Account:
    """Return a user's password, hashed when the document has a hasher, and privilege."""
    privilege = said.number("LEVEL")
    level = 2 if privilege is None else int(privilege)
    if "PASSWORD" not in said.bound:
        return Account(StoredPassword("", "nopassword"), level)
    return Account(_stored(said, "pbkdf2"), level)


def account_texts(said: Said, value: object) -> tuple[str, str]:
    """Spell a `username` line again."""
    assert isinstance(value, Account)
    before = f"username {quoted(said.text('NAME'))}"
    after = f" privilege {value.privilege}" if "LEVEL" in said.bound else ""
    if value.password.scheme == "nopassword":
        return (f"{before} nopassword{after}",) * 2
    return _with_secret(f"{before} password", value.password, after)


def external_texts(said: Said, value: object) -> tuple[str, str]:
    """Spell a `group-policy NAME external` line again, which ends in a server's password."""
    text = " ".join(said.words)
    return text, re.sub(r"\bpassword \S+", f"password {MASKED}", text)


def enable_password(said: Said) -> StoredPassword:
    """Return the password of privileged mode."""
    return _stored(said, "pbkdf2")


def enable_texts(said: Said, value: object) -> tuple[str, str]:
    """Spell an `enable password` line again."""
    assert isinstance(value, StoredPassword)
    after = f" level {said.text('LEVEL')}" if "LEVEL" in said.bound else ""
    return _with_secret("enable password", value, after)


def user_range(said: Said) -> UserRange:
    """Return a range of users; both numbers of ≤ 9 digits."""
    parts = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", said.text("RANGE"))
    if not parts or int(parts[1]) > int(parts[2]):
        raise ValueError(f"bad range {said.text('RANGE')!r}, expected FROM-TO such as 00000-19999")
    width = len(parts[1]) if len(parts[1]) == len(parts[2]) else 0
    return UserRange(said.text("PREFIX"), int(parts[1]), int(parts[2]), width, _stored(said, "emu"))


def user_range_texts(said: Said, value: object) -> tuple[str, str]:
    """Spell a `!emu users` line again."""
    assert isinstance(value, UserRange)
    before = f"users {quoted(said.text('PREFIX'))} {said.text('RANGE')} password"
    startup, _ = _with_secret(before, value.password, "")
    return f"!emu {startup.removeprefix('!emu ')}", f"!emu {before} {MASKED} emu"


def totp(said: Said) -> str:
    """Return a base32 secret in capitals and without padding."""
    secret = said.text("BASE32").replace("-", "").upper().rstrip("=")
    try:
        key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("bad base32 secret")
    return secret


def totp_texts(said: Said, value: object) -> tuple[str, str]:
    """Spell a `!emu username NAME totp` line again."""
    before = f"!emu username {quoted(said.text('NAME'))} totp"
    return f"{before} {value}", f"{before} {MASKED}"


def _stored(said: Said, fresh: Scheme) -> StoredPassword:
    text = said.text("PASSWORD")
    scheme = next((scheme for word, scheme in _SCHEMES.items() if word in said.chosen), None)
    if scheme is None and text == MASKED and not said.freed:
        scheme = "encrypted"
    if scheme is not None:
        return StoredPassword(text, scheme)
    if not text:
        raise ValueError("an empty password")
    hasher = said.document.hasher
    return StoredPassword(hasher(text, fresh), fresh) if hasher else StoredPassword(text, "plain")


def _with_secret(before: str, password: StoredPassword, after: str) -> tuple[str, str]:
    if password.scheme != "plain":
        return (
            f"{before} {password.text} {password.scheme}{after}",
            f"{before} {MASKED} {password.scheme}{after}",
        )
    shown = f"{before} {MASKED} pbkdf2{after}"
    if re.search(r'[ \t\x00-\x1f\x7f]|^"', password.text) or password.text == MASKED:
        spelled = json.dumps(password.text, ensure_ascii=False).replace("\x7f", "\\u007f")
        return f"!emu {before} {spelled}{after}", shown
    return f"{before} {password.text}{after}", shown
