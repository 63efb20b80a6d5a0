"""Access lists, read for what split tunnelling asks of them: which networks they permit or deny.

Standard lists name networks; in extended lists the source is the network. Everything an ASA can say beyond
that (ports, objects, remarks) is taken as written, so that a pasted configuration loads, but marked unread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from asa_emu.config.facts import Ace, Network
from asa_emu.config.syntax import mask_length

ANY4: Final = IPv4Network("0.0.0.0/0")
ANY6: Final = IPv6Network("::/0")
_NOT_NETWORKS: Final = frozenset(
    {"object", "object-group", "interface", "user", "user-group", "security-group", "object-group-security"}
)
"""What may stand in the place of a network."""
_AFTER_DESTINATION: Final = frozenset({"log", "inactive", "time-range"})


def read_ace(text: str, names: Mapping[str, str], line: int) -> Ace:
    """Read what follows the name of a list; ValueError for a bad address, mask or keyword.

    `names` are the `name ADDRESS NAME` aliases, which a list may use in place of addresses.
    """
    words = text.split()
    if words[:1] == ["line"]:
        words = words[2:]
    kind = words[0].lower() if words else ""
    if kind in ("remark", "webtype", "ethertype", "advanced"):
        return Ace(False, (), "" if kind == "remark" else f"of kind {kind}", line)
    if kind in ("permit", "deny"):
        words = ["extended", *words]
        kind = "extended"
    if kind not in ("standard", "extended"):
        raise ValueError(f"bad value {kind!r}, expected standard, extended or remark")
    action = words[1].lower() if len(words) > 1 else ""
    if action not in ("permit", "deny"):
        raise ValueError(f"bad value {action!r}, expected permit or deny")
    rest = words[2:]
    unread = ""
    if kind == "extended":
        unread = _foreign(rest)
        rest = rest[1:]
    if unread:
        return Ace(action == "permit", (), unread, line)
    networks, left = _networks([names.get(word, word) for word in rest])
    if kind == "extended":
        _check_destination(left)
        return Ace(action == "permit", networks, "", line)
    if left:
        raise ValueError(f"unexpected word {left[0]!r} at the end")
    networks = tuple(network for network in networks if network.version == 4)
    if not networks:
        raise ValueError(f"bad network {rest[-1]!r}, a standard list has IPv4 alone; say extended permit ip")
    return Ace(action == "permit", networks, "", line)


def _foreign(words: list[str]) -> str:
    if not words:
        raise ValueError("incomplete access-list entry")
    if "inactive" in words[3:]:
        return "inactive"
    if words[0] != "ip":
        return f"protocol {words[0]}"
    if len(words) > 1 and words[1] in _NOT_NETWORKS:
        return f"{words[1]} as source"
    return ""


def _check_destination(words: list[str]) -> None:
    """Refuse what an ASA would: the destination means nothing to split tunnelling, but a typo is one."""
    if not words:
        raise ValueError("an extended entry needs a source and a destination")
    if words[0] in _NOT_NETWORKS:
        return
    _, left = _networks(words)
    if left and left[0] not in _AFTER_DESTINATION:
        raise ValueError(f"unexpected word {left[0]!r} at the end")


def _networks(words: list[str]) -> tuple[tuple[Network, ...], list[str]]:
    if not words:
        raise ValueError("incomplete access-list entry")
    first, second = words[0], (words[1] if len(words) > 1 else "")
    if first in ("any", "any4", "any6"):
        found: tuple[Network, ...] = {"any": (ANY4, ANY6), "any4": (ANY4,), "any6": (ANY6,)}[first]
        return found, words[1:]
    if first == "host":
        return (_network(second),), words[2:]
    if "/" in first:
        return (_network(first),), words[1:]
    if not second:
        raise ValueError(f"address {first!r} without a mask")
    return (_network(f"{first}/{mask_length(second)}"),), words[2:]


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"bad network {text!r}") from None


def split(
    entries: Iterable[Ace], policy4: str, policy6: str
) -> tuple[tuple[Network, ...], tuple[Network, ...]]:
    """Return the (include, exclude) networks of a split list, each family by its own split policy.

    `tunnelspecified`: permit includes and deny excludes; `excludespecified`: permit excludes, and `host
    0.0.0.0` stays 0.0.0.0/32, the sign for the client's local LAN; `tunnelall`: neither.
    """
    include: list[Network] = []
    exclude: list[Network] = []
    for entry in entries:
        for network in entry.networks:
            policy = policy4 if network.version == 4 else policy6
            if policy == "tunnelspecified":
                (include if entry.permit else exclude).append(network)
            elif policy == "excludespecified" and entry.permit:
                exclude.append(network)
    return tuple(include), tuple(exclude)
