"""Which sessions an administrator means: the selectors of `vpn-sessiondb logoff` (S89)."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from asa_emu.session.model import Session, Tunnel


@dataclass(frozen=True, slots=True)
class Logoff:
    """A selector.

    `value` is an index, a user, an assigned address, a protocol, or a tunnel-group; a protocol is a tunnel's
    name such as `dtls-tunnel`, the kind in it, or what it speaks, `DTLSv1.2`. The kinds `inactive` (an
    enhancement, CSCuh55707: the caller checks that it is on), `all`, `anyconnect` and `webvpn` have none.
    """

    kind: Literal[
        "index",
        "name",
        "ipaddress",
        "protocol",
        "tunnel_group",
        "inactive",
        "all",
        "anyconnect",
        "webvpn",
    ]
    value: str | int | None = None

    def matches(self, session: Session) -> bool:
        """Whether it selects this session; a value that makes no sense selects none."""
        kind, value = self.kind, self.value
        if kind == "index":
            return str(session.index) == str(value)
        if kind == "name":
            return session.username == value
        if kind == "ipaddress":
            return _canonical(str(value)) in (session.ip4, session.ip6)
        if kind == "protocol":
            name = str(value).lower()
            return bool(name) and any(name in _names_of(tunnel) for tunnel in session.tunnels)
        if kind == "tunnel_group":
            return session.tunnel_group == value
        if kind == "inactive":
            return session.inactive
        if kind == "all":
            return True
        return session.is_anyconnect == (kind == "anyconnect")


def _names_of(tunnel: Tunnel) -> tuple[str, str, str]:
    """What a tunnel may be called as a protocol: an ASA's word, the kind in it, and its encapsulation."""
    name = tunnel.kind.value.lower()
    return name, name.removesuffix("-tunnel").removeprefix("anyconnect-"), tunnel.facts.protocol.lower()


def _canonical(address: str) -> str:
    """The form in which addresses are kept; what is no address stays as it is and matches nothing."""
    try:
        return str(ip_address(address))
    except ValueError:
        return address
