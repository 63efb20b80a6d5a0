"""Which sessions `show vpn-sessiondb …` is about, and in which order; `show_sessiondb` prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, ip_address
from typing import Final, TypeVar

from asa_emu.cli import unverified as u
from asa_emu.cli.console import Console
from asa_emu.cli.show_sessiondb import LICENSE, LOOPBACK, NONE_OF_TYPE, render_sessions, render_summary
from asa_emu.config import DEFAULT_CAPACITY
from asa_emu.config.syntax import Node, Said, compile_patterns
from asa_emu.session.model import Session, TunnelKind

C = TypeVar("C")
PROTOCOLS: Final = (
    *(kind.value.lower() for kind in TunnelKind),
    *("ikev1", "ikev2", "ipsec", "l2tpoveripsec", "imap4s", "pop3s", "smtps"),
)
FOREIGN_TYPES: Final = ("l2l", "ra-ikev1-ipsec", "ra-ikev2-ipsec", "email-proxy", "vpn-lb")
"""Kinds of sessions that an ASA has and this headend never will."""
TYPES: Final = ("anyconnect", "svc", "webvpn", *FOREIGN_TYPES, "ospfv3")

_CIPHERS = ("rc4", "des", "3des", "aes128", "aes192", "aes256", "aes-gcm-128", "aes-gcm-256", "none")
_SORTS = ("name", "inactivity", "a-ipaddress", "p-ipaddress", "tunnel-group", "group-policy")
_FILTERS = (
    "name <USER>",
    "inactive",
    "a-ipaddress <ADDRESS:ip>",
    "p-ipaddress <ADDRESS:ip>",
    "a-ipversion {v4|v6}",
    "p-ipversion {v4|v6}",
    "ipversion {v4|v6}",
    "tunnel-group <GROUP>",
    "group-policy <POLICY>",
    f"protocol {{{'|'.join(PROTOCOLS)}}}",
    f"encryption {{{'|'.join((*_CIPHERS, 'chacha20-poly1305'))}}}",
)
LIST_PATTERN: Final = f"show vpn-sessiondb [detail] [full] {{{'|'.join(TYPES)}}}"
INDEX_PATTERN: Final = "show vpn-sessiondb [detail] [full] index <INDEX:int 1-4294967295>"
SUMMARY_PATTERN: Final = "show vpn-sessiondb [summary]"
RATIO_PATTERN: Final = "show vpn-sessiondb ratio {protocol|encryption} [filter <GROUP>]"
LICENSE_PATTERN: Final = "show vpn-sessiondb license-summary"
_SORT_PATTERN = f"sort {{{'|'.join((*_SORTS, 'encryption', 'protocol', 'duration'))}}}"


def graft_filters(root: Node[C | None], run: C) -> None:
    """Let `filter …` and `sort …` follow every type of session in a tree that has LIST_PATTERN.

    They are grown once and shared: spelled out in that pattern they would be thousands of nodes.
    """
    rows: list[tuple[str, str, C | None]] = [
        ("filter", "Only some sessions", None),
        (_SORT_PATTERN, "In rising order", run),
        *((f"filter {words} [{_SORT_PATTERN}]", f"By {words.split()[0]}", run) for words in _FILTERS),
    ]
    tail = compile_patterns(rows)
    base = root.keywords["show"][1].keywords["vpn-sessiondb"][1]
    for words in ((), ("detail",), ("full",), ("detail", "full")):
        node = base
        for word in words:
            node = node.keywords[word][1]
        for kind in TYPES:
            node.keywords[kind][1].keywords.update(tail.keywords)


def show_summary(console: Console, _said: Said) -> str:
    """`show vpn-sessiondb [summary]`."""
    return render_summary(console.headend.db)


def show_index(console: Console, said: Said) -> str:
    """`show vpn-sessiondb … index N`: one session, under the title of its own type."""
    session = console.headend.db.by_index(int(said.words[-1]))
    return _render(console, said, [] if session is None else [session])


def show_list(console: Console, said: Said) -> str:
    """`show vpn-sessiondb … TYPE [filter …] [sort …]`."""
    at = next(at for at, word in enumerate(said.words) if word in TYPES)
    kind, *rest = said.words[at:]
    chosen: Iterable[Session] = ()
    if kind in ("anyconnect", "svc", "webvpn"):
        wanted = kind != "webvpn"
        chosen = (s for s in console.headend.db.sessions() if s.is_anyconnect == wanted)
    if rest[:1] == ["filter"]:
        name = rest[1]
        value = said.argument or " ".join(rest[2:3])
        chosen = [session for session in chosen if _matches(session, name, value)]
    if rest[-2:-1] == ["sort"]:
        chosen = sorted(chosen, key=_sort_key(rest[-1], console.now()))
    return _render(console, said, chosen)


def _render(console: Console, said: Said, sessions: Iterable[Session]) -> str:
    config = console.headend.config
    enabled = config.webvpn.interfaces
    addresses = (i.ip.ip for i in config.interfaces if i.ip is not None and i.nameif in enabled)
    return render_sessions(
        sessions,
        console.now(),
        console.services.style,
        detail="detail" in said.words[2:4],
        full="full" in said.words[2:4],
        zone=config.timezone,
        license_name=u.LICENSE_ESSENTIALS if config.webvpn.essentials else LICENSE,
        address=next(addresses, LOOPBACK),
    )


def _matches(session: Session, name: str, value: str) -> bool:
    lowered = value.lower()
    match name:
        case "name":
            return session.username == value
        case "inactive":
            return session.inactive
        case "a-ipaddress":
            return str(ip_address(value)) in session.addresses.held
        case "p-ipaddress":
            return session.public_ip == str(ip_address(value))
        case "a-ipversion":
            return (session.ip4 if value == "v4" else session.ip6) is not None
        case "p-ipversion" | "ipversion":
            return (":" in session.public_ip) == (value == "v6")
        case "tunnel-group":
            return session.tunnel_group == value
        case "group-policy":
            return session.group_policy == value
        case "protocol":
            return any(tunnel.kind.value.lower() == lowered for tunnel in session.tunnels)
        case _:
            return any(tunnel.facts.encryption.lower() == lowered for tunnel in session.tunnels)


def _sort_key(name: str, now: float) -> Callable[[Session], tuple[object, ...]]:
    """Rising order; sessions that are equal in it stay in the order of their index."""
    keys: dict[str, Callable[[Session], object]] = {
        "name": lambda s: s.username,
        "inactivity": lambda s: s.inactivity(now),
        "a-ipaddress": lambda s: int(IPv4Address(s.ip4 or 0)),
        "p-ipaddress": lambda s: (":" in s.public_ip, int(ip_address(s.public_ip))),
        "tunnel-group": lambda s: s.tunnel_group,
        "group-policy": lambda s: s.group_policy,
        "encryption": lambda s: [tunnel.facts.encryption for tunnel in s.tunnels],
        "protocol": lambda s: [tunnel.kind.value for tunnel in s.tunnels],
        "duration": lambda s: s.duration(now),
    }
    return lambda session: (keys[name](session), session.index)


def show_licenses(console: Console, _said: Said) -> str:
    """`show vpn-sessiondb license-summary`: what the licences allow, and how much of it is in use."""
    db, config = console.headend.db, console.headend.config
    limit = db.capacity
    essentials = config.webvpn.essentials
    text = u.LICENSE_LIMITS.format(
        premium="DISABLED" if essentials else "ENABLED",
        essentials="ENABLED" if essentials else "DISABLED",
        capacity=DEFAULT_CAPACITY,
        limit="NONE" if limit == DEFAULT_CAPACITY else limit,
    )
    clients, portal = db.anyconnect, db.webvpn
    return text + u.LICENSE_USE.format(
        name=u.LICENSE_ESSENTIALS if essentials else LICENSE,
        limit=limit,
        used=len(db),
        peak=max(clients.peak, portal.peak, len(db)),
        share=f"{100 * len(db) // limit}%",
        clients=clients.active,
        client_peak=clients.peak,
        client_share=f"{100 * clients.active // limit}%",
        portal=portal.active,
        portal_peak=portal.peak,
        portal_share=f"{100 * portal.active // limit}%",
    )


def show_ratio(console: Console, said: Said) -> str:
    """`show vpn-sessiondb ratio …`: how many tunnels there are of each kind, or of each cipher; `filter`
    names a tunnel-group.
    """
    db = console.headend.db
    group = said.argument
    sessions = [session for session in db.sessions() if group in ("", session.tunnel_group)]
    tunnels = [tunnel for session in sessions for tunnel in session.tunnels]
    by_protocol = said.words[3] == "protocol"
    names: Sequence[str] = u.RATIO_PROTOCOLS if by_protocol else u.RATIO_CIPHERS
    text = u.RATIO_HEAD.format(
        group=group or "All",
        active=len(sessions),
        cumulative=db.anyconnect.cumulative + db.webvpn.cumulative,
        title="Protocol" if by_protocol else "Encryption",
        sessions="Sessions",
        percent="Percent",
    )
    for name in names:
        count = sum(
            1
            for t in tunnels
            if (t.kind.value if by_protocol else t.facts.encryption).upper() == name.upper()
        )
        text += u.RATIO_ROW.format(name=name, sessions=count, percent=100 * count // max(1, len(tunnels)))
    return text if tunnels else NONE_OF_TYPE
