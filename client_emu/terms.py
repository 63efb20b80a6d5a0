"""What the headend grants with its answer to CONNECT, as lifecycle, adapter and journal see it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from asa_emu.wire.errors import HeaderError
from asa_emu.wire.headers import ConnectAnswer
from client_emu.events import Connected

DEFAULT_DISCONNECTED_TIMEOUT: Final = 1800.0  # S49
EVERYTHING4: Final = ipaddress.ip_network("0.0.0.0/0")
EVERYTHING6: Final = ipaddress.ip_network("::/0")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session lives by; timeouts in seconds, None for none."""

    ip4: ipaddress.IPv4Interface | None
    ip6: ipaddress.IPv6Interface | None
    mtu: int
    idle_timeout: float | None = None
    session_timeout: float | None = None
    session_timeout_left: float | None = None
    disconnected_timeout: float | None = None
    dtls_offered: bool = False

    @property
    def reconnect_limit(self) -> float:
        """How long a lost session is worth trying: the headend's word, else the smaller timeout (S59)."""
        if self.disconnected_timeout:
            return self.disconnected_timeout
        known = [timeout for timeout in (self.idle_timeout, self.session_timeout) if timeout]
        return min(known, default=DEFAULT_DISCONNECTED_TIMEOUT)

    @property
    def addresses(self) -> tuple[object, object]:
        """The inside addresses without their masks."""
        return self.ip4 and self.ip4.ip, self.ip6 and self.ip6.ip

    def keeps(self, before: Terms) -> bool:
        """Whether these are terms of the same session: one address is as before, and none is another. A
        headend takes IPv6 away while the MTU is too small for it, and gives it back.
        """
        pairs = zip(self.addresses, before.addresses, strict=True)
        both = [new == old for new, old in pairs if new is not None and old is not None]
        return bool(both) and all(both)


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """What the headend grants the adapter; `mtu` in bytes. Excluded networks stay outside the tunnel."""

    ip4: ipaddress.IPv4Interface | None
    ip6: ipaddress.IPv6Interface | None
    mtu: int
    routes: tuple[Network, ...]
    excluded: tuple[Network, ...] = ()
    dns: tuple[Address, ...] = ()
    domain: str = ""
    headend: Address | None = None
    """The headend's own address, which must stay outside the tunnel."""


def terms_of(answer: ConnectAnswer) -> Terms:
    """The terms of a session. Raises HeaderError for a netmask that is none."""
    try:
        ip4 = ipaddress.IPv4Interface(f"{answer.ip4}/{answer.netmask or 32}") if answer.ip4 else None
    except ValueError as error:
        raise HeaderError(f"X-CSTP-Netmask: {answer.netmask} is no netmask") from error
    return Terms(
        ip4=ip4,
        ip6=ipaddress.IPv6Interface(answer.ip6) if answer.ip6 is not None else None,
        mtu=answer.mtu,
        idle_timeout=answer.idle_timeout,
        session_timeout=answer.session_timeout,
        session_timeout_left=answer.session_timeout_remaining,
        disconnected_timeout=answer.disconnected_timeout,
        dtls_offered=answer.dtls is not None,
    )


def settings_of(
    terms: Terms, answer: ConnectAnswer, headend: str, *, mtu: int | None, ipv6: bool
) -> AdapterSettings:
    """The adapter's part, with no larger `mtu` than the user wants, and IPv6 only where it is wanted."""
    ip6 = terms.ip6 if ipv6 else None
    # each family has its own split policy: what is not split goes into the tunnel whole
    included: list[Network] = [*answer.split_include, *answer.split_include_ip6]
    if not answer.split_include and terms.ip4 is not None:
        included.insert(0, EVERYTHING4)
    if not answer.split_include_ip6 and ip6 is not None:
        included.append(EVERYTHING6)
    return AdapterSettings(
        ip4=terms.ip4,
        ip6=ip6,
        mtu=min(terms.mtu, mtu or terms.mtu),
        routes=tuple(included),
        excluded=(*answer.split_exclude, *answer.split_exclude_ip6),
        dns=answer.dns,
        domain=answer.default_domain,
        headend=ipaddress.ip_address(headend),
    )


def negotiated(terms: Terms, answer: ConnectAnswer) -> dict[str, str]:
    """The settings by name, as the event viewer lists them."""
    seconds = {
        "Idle Timeout": terms.idle_timeout,
        "Session Timeout": terms.session_timeout,
        "Disconnected Timeout": terms.reconnect_limit,
        "Keepalive": answer.keepalive,
        "DPD": answer.dpd,
    }
    listed = {name: f"{value:g} seconds" if value else "none" for name, value in seconds.items()}
    return {"IP Address": str(terms.ip4 or terms.ip6), "MTU": str(terms.mtu), **listed}


def connected(settings: AdapterSettings, banner: str, cookie: str | None) -> Connected:
    """The event that tells all this."""
    return Connected(
        ip4=str(settings.ip4.ip) if settings.ip4 is not None else None,
        ip6=str(settings.ip6.ip) if settings.ip6 is not None else None,
        mtu=settings.mtu,
        routes=tuple(map(str, settings.routes)),
        dns=tuple(map(str, settings.dns)),
        domain=settings.domain or None,
        banner=banner or None,
        cookie=cookie,
    )
