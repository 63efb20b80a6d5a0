"""The configuration as the rest of the headend sees it: typed views of the document, and how to change it.

`Config` reads its document into users, pools, connection profiles and the like when somebody asks, and keeps
what it read until the next change (`generation`). It is changed through `editor()` alone, line by line, as on
an ASA.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

from asa_emu.config import settings as s
from asa_emu.config.document import Block, Document, Setting
from asa_emu.config.edit import Editor
from asa_emu.config.facts import (
    Account,
    Ace,
    ClientImage,
    Hasher,
    Interface,
    Ipv6Pool,
    Pool,
    Report,
    StoredPassword,
    Timezone,
    UserRange,
)
from asa_emu.config.failover import OWN, Failover, read_failover
from asa_emu.config.load import decode_config, load
from asa_emu.config.load_balancing import LoadBalancing, read_load_balancing
from asa_emu.config.logging import Logging, read_logging
from asa_emu.config.render import render, render_startup
from asa_emu.config.views import GroupOption, TunnelGroup, User, WebVpn

T = TypeVar("T")
DEFAULT_CAPACITY: Final = 20_000
"""Sessions of a headend whose configuration does not say less."""
LANDING_GROUP: Final = "DefaultWEBVPNGroup"
"""The connection profile of users who match no other one."""
DEFAULT_POLICY: Final = "DfltGrpPolicy"


class Config:
    """A running configuration."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._memory: dict[Hashable, object] = {}
        self._memory_of = document.generation

    @property
    def source(self) -> str:
        """Where it was loaded from."""
        return self.document.source

    @property
    def reports(self) -> list[Report]:
        """Lines kept without effect or taken leniently, by line number."""
        return self.document.reports

    @property
    def generation(self) -> int:
        """A number that grows with every change."""
        return self.document.generation

    def editor(self) -> Editor:
        """Return a new configuration session on the live configuration."""
        return Editor(self.document)

    def render(self, all: bool = False) -> str:  # noqa: A002
        """Return `show running-config [all]`; secrets are masked."""
        return render(self.document, defaults=all)

    def startup(self) -> str:
        """Return what `write memory` stores, hashes included; it parses back to an equal document."""
        return render_startup(self.document)

    def remember(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` makes, made once per generation."""
        if self._memory_of != self.document.generation:
            self._memory.clear()
            self._memory_of = self.document.generation
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]  # type: ignore[return-value] # each key is remembered in one place only

    def say(self, setting: Setting[T], *key: str) -> T:
        """Return a setting at the top level, or under the statement `key`, or its default."""
        block = self.document.top.child(*key) if key else self.document.top
        return setting.default if block is None else block.value(setting)

    @property
    def hostname(self) -> str:
        """The name in the prompt."""
        return self.say(s.HOSTNAME)

    @property
    def domain_name(self) -> str | None:
        """The domain of the headend itself."""
        return self.say(s.DOMAIN_NAME)

    @property
    def fqdn(self) -> str:
        """The headend's own full name, empty when the configuration gives it none that DNS could know."""
        name = f"{self.hostname}.{self.domain_name}" if self.domain_name else ""
        return name if re.fullmatch(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+", name) else ""

    @property
    def timezone(self) -> Timezone:
        """The zone of `show clock` and of syslog stamps."""
        return self.say(s.TIMEZONE)

    @property
    def logging(self) -> Logging:
        """The `logging` commands."""
        return self.remember("logging", lambda: read_logging(self.document.top))

    @property
    def failover(self) -> Failover:
        """The `failover` commands."""
        return self.remember("failover", lambda: read_failover(self.document.top))

    def shared(self) -> str:
        """Return what a failover mate is to have as well: all but what each unit says for itself."""
        own = [
            text for key in OWN if (entry := self.document.top.entries.get((key,))) for text in entry.texts
        ]
        return "".join(line for line in self.startup().splitlines(True) if line.rstrip("\n") not in own)

    def adopt(self, shared: str) -> bool:
        """Take over the mate's configuration, and keep what this unit says for itself.

        Returns whether anything is new. ConfigError, with nothing changed, when it cannot be used.
        """
        if shared == self.shared():
            return False
        mates = load(shared, "the mate's configuration", self.document.hasher)
        own = {(key,): self.document.top.entries.get((key,)) for key in OWN}
        entries = mates.top.entries
        self.document.top.entries = entries | {key: entry for key, entry in own.items() if entry is not None}
        self.document.reports[:] = mates.reports
        self.document.generation += 1
        return True

    @property
    def load_balancing(self) -> LoadBalancing:
        """The `vpn load-balancing` block."""
        block = self.document.top.child("vpn load-balancing") or Block()
        return self.remember("load-balancing", lambda: read_load_balancing(block))

    @property
    def enable_password(self) -> StoredPassword | None:
        """The password of privileged mode, None when there is none."""
        return self.say(s.ENABLE_PASSWORD)

    @property
    def max_sessions(self) -> int:
        """How many sessions fit: 20,000 unless `vpn-sessiondb max-…` says otherwise."""
        said = self.say(s.SESSION_LIMIT)
        return DEFAULT_CAPACITY if said is None else said

    def assigns_addresses(self, source: Literal["aaa", "local"]) -> bool:
        """Return whether addresses come from this source: `aaa` gives a user's own, `local` the pools'."""
        entry = self.document.top.entries.get((f"vpn-addr-assign {source}",))
        return entry is None or entry.value is not False

    @property
    def reuse_delay(self) -> float:
        """Seconds until a freed address is handed out again."""
        return self.say(s.REUSE_DELAY)

    @property
    def quirks(self) -> frozenset[str]:
        """Cisco bugs that are switched on, by id."""
        return frozenset(key[1] for key, _ in self.document.top.family("quirk"))

    @property
    def features(self) -> frozenset[str]:
        """Enhancements that are switched on, by bug id."""
        return frozenset(key[1] for key, _ in self.document.top.family("feature"))

    @property
    def pools(self) -> dict[str, Pool]:
        """`ip local pool` by name, in order."""
        return self.remember("pools", lambda: self._facts("pool", Pool))

    @property
    def ipv6_pools(self) -> dict[str, Ipv6Pool]:
        """`ipv6 local pool` by name, in order."""
        return self.remember("ipv6-pools", lambda: self._facts("ipv6-pool", Ipv6Pool))

    def _facts(self, family: str, kind: type[T]) -> dict[str, T]:
        found = self.document.top.family(family)
        return {key[1]: entry.value for key, entry in found if isinstance(entry.value, kind)}

    def access_list(self, name: str) -> tuple[Ace, ...]:
        """Return the entries of an access list, none when there is no such list."""
        entry = self.document.top.entries.get(("access-list", name))
        value = entry.value if entry else None
        return tuple(ace for ace in value if isinstance(ace, Ace)) if isinstance(value, list) else ()

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """`interface` blocks in order."""
        return self.remember("interfaces", self._interfaces)

    def _interfaces(self) -> tuple[Interface, ...]:
        found: list[Interface] = []
        for key, entry in self.document.top.family("interface"):
            block = entry.block or Block()
            name, ip = block.get(s.NAMEIF), block.get(s.IP_ADDRESS)
            ip6 = (sub.value for _, sub in block.family("ipv6 address"))
            found.append(
                Interface(
                    key[1],
                    name if isinstance(name, str) else None,
                    ip if isinstance(ip, IPv4Interface) else None,
                    tuple(address for address in ip6 if isinstance(address, IPv6Interface)),
                )
            )
        return tuple(found)

    def user(self, name: str) -> User | None:
        """Return a local user; ranges are looked up without being spelled out."""
        return self.remember(("user", name), lambda: self._user(name)) if self._known(name) else None

    def _known(self, name: str) -> bool:
        return self.document.declares(("username", name))

    def _user(self, name: str) -> User:
        top = self.document.top
        entry, totp = top.entries.get(("username", name)), top.entries.get(("totp", name))
        account = entry.value if entry else self._range_account(name)
        assert isinstance(account, Account)
        secret = str(totp.value) if totp else None
        attributes = top.child("username attributes", name)
        return User(name, account.password, account.privilege, secret, attributes)

    def _range_account(self, name: str) -> Account | None:
        ranges = (entry.value for _, entry in self.document.top.family("users"))
        return next((Account(r.password) for r in ranges if isinstance(r, UserRange) and r.holds(name)), None)

    @property
    def tunnel_groups(self) -> dict[str, TunnelGroup]:
        """Connection profiles for remote access by name, in order, the built-in ones last."""
        return self.remember("tunnel-groups", self._tunnel_groups)

    def _tunnel_groups(self) -> dict[str, TunnelGroup]:
        top = self.document.top
        named = (key[1] for key in top.entries if key[0].startswith("tunnel-group"))
        names = dict.fromkeys((*named, "DefaultRAGroup", LANDING_GROUP))
        types = {key[1]: str(entry.value) for key, entry in top.family("tunnel-group")}
        kinds = {name: types.get(name, "remote-access") for name in names if name != "DefaultL2LGroup"}
        return {name: self._tunnel_group(name, kind) for name, kind in kinds.items() if kind != "ipsec-l2l"}

    def _tunnel_group(self, name: str, kind: str) -> TunnelGroup:
        general, webvpn = ("tunnel-group general", name), ("tunnel-group webvpn", name)
        block = self.document.top.child(*webvpn) or Block()

        def enabled(family: str) -> tuple[str, ...]:
            return tuple(key[1] for key, entry in block.family(family) if entry.value)

        return TunnelGroup(
            name=name,
            type=kind,
            address_pools=self.say(s.GROUP_POOLS, *general),
            ipv6_address_pools=self.say(s.GROUP_IPV6_POOLS, *general),
            default_group_policy=self.say(s.DEFAULT_GROUP_POLICY, *general),
            authentication=self.say(s.AUTHENTICATION, *webvpn),
            aliases=enabled("group-alias"),
            urls=enabled("group-url"),
            username_from_certificate=self.say(s.USERNAME_FROM_CERTIFICATE, *general),
            authentication_server_group=self.say(s.AUTHENTICATION_SERVERS, *general),
            secondary_authentication_server_group=self.say(s.SECONDARY_SERVERS, *general),
            authorization_server_group=self.say(s.AUTHORIZATION_SERVERS, *general),
            accounting_server_group=self.say(s.ACCOUNTING_SERVERS, *general),
            authorization_required=self.say(s.AUTHORIZATION_REQUIRED, *general),
            strip_realm=self.say(s.STRIP_REALM, *general),
            strip_group=self.say(s.STRIP_GROUP, *general),
            without_host_scan=self.say(s.WITHOUT_HOST_SCAN, *webvpn),
        )

    @property
    def webvpn(self) -> WebVpn:
        """The global `webvpn` block."""
        return self.remember("webvpn", self._webvpn)

    def _webvpn(self) -> WebVpn:
        block = self.document.top.child("webvpn") or Block()
        enabled = {key[1]: entry.value for key, entry in block.family("enable")}
        named = (entry.value for _, entry in block.family("anyconnect image"))
        images = [image for image in named if isinstance(image, ClientImage)]
        return WebVpn(
            interfaces=tuple(enabled),
            dtls=not enabled or not all(enabled.values()),
            port=self.say(s.HTTPS_PORT, "webvpn"),
            dtls_port=self.say(s.DTLS_PORT, "webvpn"),
            anyconnect_enabled=self.say(s.ANYCONNECT_ENABLED, "webvpn"),
            group_list=self.say(s.GROUP_LIST, "webvpn"),
            default_idle_timeout=self.say(s.DEFAULT_IDLE_TIMEOUT, "webvpn"),
            host_scan=self.say(s.HOST_SCAN, "webvpn"),
            client_images=tuple(sorted(images, key=lambda image: image.order)),
            profiles=tuple((key[1], str(e.value)) for key, e in block.family("anyconnect profiles")),
            keepout=self.say(s.KEEPOUT, "webvpn").strip('"'),
            essentials=self.say(s.ESSENTIALS, "webvpn"),
            legacy_dtls=self.say(s.LEGACY_DTLS, "webvpn"),
        )

    @property
    def group_options(self) -> tuple[GroupOption, ...]:
        """The group list of the login form in configuration order, empty unless it is enabled."""
        return self.remember("group-options", self._group_options) if self.webvpn.group_list else ()

    def _group_options(self) -> tuple[GroupOption, ...]:
        groups = self.tunnel_groups.values()
        return tuple(GroupOption(alias, alias, group.name) for group in groups for alias in group.aliases)

    @property
    def any_group_needs_certificate(self) -> bool:
        """Whether the TLS handshake has to ask for a client certificate."""
        groups = self.tunnel_groups.values()
        return self.remember("certificates", lambda: any(group.needs_certificate for group in groups))

    def tunnel_group_for(self, choice: str | None = None, host: str = "", path: str = "") -> str:
        """Return the connection profile a login lands in.

        `choice` is a label, a value or, as a last resort, a profile's name; `host` (a port is ignored) and
        `path` come from the request or from a client's group-access URL. A choice wins over the URL. A
        group-url matches by host and path, then by path alone, since a lab is rarely reached by the host name
        of the configuration. Without any match it is `DefaultWEBVPNGroup`.
        """
        groups = self.tunnel_groups
        if choice:
            for fold in (str, str.casefold):
                for group in groups.values():
                    if fold(choice) in map(fold, group.aliases):
                        return group.name
            if choice in groups:
                return choice
        wanted = path.split("?")[0].strip("/")
        host = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        loose = LANDING_GROUP
        for group in groups.values():
            for url in group.urls:
                parts = urlsplit(url)
                if parts.path.strip("/") != wanted:
                    continue
                if (parts.hostname or "") == host.lower():
                    return group.name
                if wanted and loose == LANDING_GROUP:
                    loose = group.name
        return loose


def parse_config(text: str, source: str = "startup-config", hasher: Hasher | None = None) -> Config:
    """Load a configuration; ConfigError names the file, the line and the reason.

    `hasher` turns clear passwords into what is stored; without it they stay clear (`StoredPassword.scheme`
    "plain"), masked in `Config.render()` but not in `Config.startup()`.
    """
    return Config(load(text, source, hasher))


def parse_config_bytes(data: bytes, source: str, hasher: Hasher | None = None) -> Config:
    """Load the bytes of a file, which must be UTF-8."""
    return parse_config(decode_config(data, source), source, hasher)
