"""What a reader of the configuration gets for one user, one connection profile or the `webvpn` block.

They are snapshots: frozen, made from the document when somebody asks, and made anew after a change.
"""

from __future__ import annotations

from dataclasses import dataclass

from asa_emu.config.document import Block
from asa_emu.config.facts import ClientImage, StoredPassword


@dataclass(frozen=True, slots=True)
class User:
    """A local user: one of `username`, or one of a range."""

    name: str
    password: StoredPassword | None
    privilege: int
    totp: str | None
    """Base32 secret of the second factor, without padding."""
    attributes: Block | None


@dataclass(frozen=True, slots=True)
class GroupOption:
    """One row of the group list; `value` is what a client sends back, which is the label."""

    label: str
    value: str
    tunnel_group: str


@dataclass(frozen=True, slots=True)
class TunnelGroup:
    """A connection profile."""

    name: str
    type: str
    address_pools: tuple[str, ...]
    ipv6_address_pools: tuple[str, ...]
    default_group_policy: str
    authentication: frozenset[str]
    """What must succeed: "aaa", "certificate", both, or a way that the emulator does not have."""
    aliases: tuple[str, ...]
    """Enabled aliases in order."""
    urls: tuple[str, ...]
    """Enabled group-urls in order."""
    username_from_certificate: tuple[str, ...]
    authentication_server_group: tuple[str, ...]
    secondary_authentication_server_group: tuple[str, ...]
    authorization_server_group: tuple[str, ...]
    accounting_server_group: tuple[str, ...]
    authorization_required: bool
    strip_realm: bool
    strip_group: bool
    without_host_scan: bool

    @property
    def needs_certificate(self) -> bool:
        """Whether a client must show a certificate."""
        return bool(self.authentication & {"certificate", "multiple-certificate"})

    @property
    def needs_password(self) -> bool:
        """Whether a client must log in by AAA."""
        return "aaa" in self.authentication


@dataclass(frozen=True, slots=True)
class WebVpn:
    """The global `webvpn` block."""

    interfaces: tuple[str, ...]
    """Where WebVPN is enabled, in order; empty when it is off."""
    dtls: bool
    """False when every interface is `tls-only`."""
    port: int
    dtls_port: int
    anyconnect_enabled: bool
    group_list: bool
    default_idle_timeout: float
    host_scan: bool
    """Whether a login begins with a host scan, but for connection profiles `without-csd`."""
    client_images: tuple[ClientImage, ...]
    """Client images by their order numbers."""
    profiles: tuple[tuple[str, str], ...]
    """(name, file) of client profiles."""
    keepout: str
    """What browsers are shown in place of the login page, empty for the page."""
    essentials: bool
    legacy_dtls: bool
    """Whether Cisco's DTLS 0.9 (version 0x0100) is spoken."""

    @property
    def images(self) -> tuple[str, ...]:
        """The files of the client images."""
        return tuple(image.file for image in self.client_images)
