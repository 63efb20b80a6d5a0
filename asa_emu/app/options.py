"""What a headend is started with, checked: options, addresses, and the configuration they name.

Anything that cannot be used raises `UsageError`, whose text names file, line and remedy.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from asa_emu.aaa.passwords import hash_password
from asa_emu.config import (
    Config,
    ConfigError,
    LogHost,
    built_in_config,
    parse_config,
    parse_config_bytes,
)
from asa_emu.serve.balancing import Meeting
from asa_emu.serve.store import Store

LogFormat = Literal["text", "json", "asa"]
LogLevel = Literal["debug", "info", "warning", "error"]


class UsageError(Exception):
    """An option or a configuration that cannot be used; the text names file, line and remedy. Exit 2."""


class BindError(Exception):
    """An address that cannot be listened on. Exit 3."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A listen address. Port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Read `HOST:PORT` or `[V6]:PORT`; a name stands for its address. Raises `UsageError`."""
        host, _, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else -1
        if not host or not 0 <= number <= 65535:
            raise UsageError(f"{text!r} is no listen address; write HOST:PORT, such as 127.0.0.1:8443")
        return cls(_address_of(host), number)


def _address_of(host: str) -> str:
    """An address as it is, a name's first one, IPv4 before IPv6."""
    try:
        ip_address(host)
        return host
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UsageError(f"{host!r} is no address and no name of a host") from None
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    return str(found[0][4][0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a headend is started with; the command line's flags by the same names."""

    config: Path | None = None
    config_text: str | None = None
    """A running-config given as text, instead of a file."""
    listen: HostPort | None = None
    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    rate: float = 1.0
    manage: HostPort = HostPort("127.0.0.1", 0)
    console: HostPort | None = None
    tun: str | None = None
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"
    syslog: LogHost | None = None
    state_link: str | None = None
    """The Redis server where several headends meet, `redis://HOST:PORT/DB`."""
    keylog: Path | None = None
    state: Path | None = None
    ready_file: Path | None = None
    seed: int | None = None
    epoch: float | None = None
    """The emulated time at start, Unix seconds; the machine's own when None."""
    typed: tuple[str, ...] = ()
    """Configuration lines, as if somebody had typed them after the file was loaded."""
    names: tuple[str, ...] = ()
    """Further names and addresses in the server's certificate."""
    meeting: Meeting | None = None
    """Where the members of its load-balancing cluster meet, when they run in this process."""
    store: Store | None = None
    """Where the units of its failover pair meet, when both run in this process."""


def read_config(options: Options) -> Config:
    """The configuration as its file or text has it. Raises `UsageError`."""
    if options.config is None and options.config_text is None:
        return built_in_config(hasher=_hasher)
    try:
        if options.config is None:
            return parse_config(options.config_text or "", "config", hasher=_hasher)
        return parse_config_bytes(options.config.read_bytes(), str(options.config), hasher=_hasher)
    except OSError as error:
        raise UsageError(f"{options.config}: {error.strerror}") from error
    except ConfigError as error:
        raise UsageError(str(error)) from error


def load_config(options: Options) -> Config:
    """The configuration that a headend starts with, with the lines that its starter adds typed in."""
    config = read_config(options)
    editor = config.editor()
    for line in options.typed:
        outcome = editor.execute(line)
        if not outcome.ok:
            raise UsageError(f"{line}: {outcome.text}")
    return config


def _hasher(plain: str, scheme: str) -> str:
    salt = secrets.token_bytes(16)
    return hash_password(plain, salt, "sha256" if scheme == "emu" else "pbkdf2")


def listen_address(options: Options, config: Config) -> HostPort:
    """Where it listens. `UsageError` for the built-in credentials anywhere but on loopback."""
    listen = options.listen or HostPort("127.0.0.1", _unless_default(config.webvpn.port) or 8443)
    if options.config is None and options.config_text is None and not ip_address(listen.host).is_loopback:
        raise UsageError(
            f"the built-in configuration has a known password and is for loopback only, not {listen}; "
            "give a configuration file of your own"
        )
    return listen


def dtls_port_of(options: Options, config: Config) -> int:
    """The UDP port that the configuration asks for, 0 for the same as TCP; --listen wins over it."""
    return 0 if options.listen is not None else _unless_default(config.webvpn.dtls_port)


def _unless_default(port: int) -> int:
    """A port that somebody chose; 443, an ASA's own, is for root and means nothing here."""
    return 0 if port == 443 else port


def names_of_headend(options: Options, config: Config) -> list[str]:
    """What else clients may know it by: as a member of a cluster, and as its director."""
    said = config.load_balancing
    if not said.participate:
        return list(options.names)
    return [*options.names, *(name for name in (said.cluster_ip, said.nat, config.fqdn) if name)]


def default_state_directory() -> Path:
    """Where the certificate authority and the server's key live: `$XDG_STATE_HOME/asa-emu`."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "asa-emu"


def first_index(seed: int | None) -> int:
    """The index of the first session: 1, or what the seed says."""
    return 1 if seed is None else random.Random(seed).randrange(1, 10_000)
