"""The composition root: options in, a running headend out.

`run_headend` puts the parts together in the order in which they can fail: configuration (exit 2),
certificate, sockets (exit 3), TUN; then it announces itself by ready line and ready file, and serves until it
is cancelled or told to stop. Nothing below knows of files, environment or command line.
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO, cast

import structlog
import trio
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from asa_emu.aaa.passwords import hash_password
from asa_emu.cli.console import NotSaved, Services
from asa_emu.config import (
    Config,
    ConfigError,
    Failover,
    LogHost,
    Report,
    built_in_config,
    inside_gateway,
    parse_config,
    parse_config_bytes,
)
from asa_emu.dataplane.hub import Hub
from asa_emu.dataplane.inside import InsideNetwork
from asa_emu.ha.records import derive_key
from asa_emu.headend.headend import Headend
from asa_emu.headend.login import Login
from asa_emu.serve.asgi import serve_plain_http
from asa_emu.serve.balancing import Balancing, LocalMeeting, Meeting
from asa_emu.serve.console import Consoles, GatewayClock
from asa_emu.serve.endpoint import bind_tcp
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.https import Site
from asa_emu.serve.management import Management
from asa_emu.serve.portal import Portal
from asa_emu.serve.state_link import RETIRED, CannotServe, StateLink
from asa_emu.serve.store import Store
from asa_emu.serve.syslog import SyslogSender
from asa_emu.serve.uplink import TunUplink, tun_settings
from asa_emu.serve.vpn_port import VpnPort, claim
from asa_emu.session.model import EndReason
from asa_emu.syslog import Record
from asa_emu.transport.certificates import (
    CertificateError,
    Identity,
    load_certificates,
    load_identity,
    open_server_identity,
    server_names,
)
from asa_emu.transport.contexts import KeylogSink, server_context
from asa_emu.transport.tun import Tun, TunError
from asa_emu.wire.timeline import Timeline

if TYPE_CHECKING:
    from asa_emu.serve.redis_store import RedisStore

LogFormat = Literal["text", "json", "asa"]
LogLevel = Literal["debug", "info", "warning", "error"]
READY_NAME = "running-{pid}-{port}.json"
"""The ready file in the state directory, by process and management port."""
_SEVERITIES: dict[LogLevel, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3}
FAREWELL_LIMIT = 1.0  # seconds for clients to take their DISCONNECT when the headend stops

log = structlog.get_logger(__name__)


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
        """Read `HOST:PORT` or `[V6]:PORT`. Raises `UsageError`."""
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        try:
            ip_address(host)
            number = int(port)
        except ValueError:
            raise UsageError(
                f"{text!r} is no listen address; write IP:PORT, such as 127.0.0.1:8443"
            ) from None
        if not colon or not 0 <= number <= 65535:
            raise UsageError(f"{text!r} is no listen address; write IP:PORT, such as 127.0.0.1:8443")
        return cls(host, number)


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


@dataclass(frozen=True, slots=True)
class Running:
    """A headend that accepts connections."""

    gateway: Gateway
    balancing: Balancing
    https: HostPort
    dtls: HostPort | None
    manage: HostPort
    manage_token: str = field(repr=False)
    console: HostPort | None
    pin: str
    stopping: trio.Event
    link: StateLink | None = None
    """Of a unit of a failover pair, which accepts connections while it is the active one."""

    @property
    def reports(self) -> list[Report]:
        """Lines of its configuration that are kept without effect, or taken leniently."""
        return self.gateway.headend.config.reports

    def ready_line(self) -> str:
        """The line on stdout that tells people and scripts where it is."""
        return f"asa-emu ready https={self.https} dtls={self.dtls or '-'} manage={self.manage} {self.pin}"

    def ready_record(self) -> dict[str, Any]:
        """The contents of the ready file."""
        return {
            "pid": os.getpid(),
            "https": str(self.https),
            "dtls": str(self.dtls) if self.dtls else None,
            "manage": str(self.manage),
            "manage_token": self.manage_token,
            "console": str(self.console) if self.console else None,
            "ssh": None,
            "pin": self.pin,
        }


async def run_headend(
    options: Options,
    *,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a headend until `Running.stopping` is set, which ends its sessions in order, or until cancelled.

    Raises `UsageError` or `BindError` before it has started.
    """
    config = _load_config(options)
    listen = _listen_address(options, config)
    identity, certificate, key = _identity(options, (*server_names(listen.host), *_names(options, config)))
    said = _failover(options, config, listen)
    if said is not None and options.cert is None:
        identity, certificate, key = await _pair_identity(options, said, listen, certificate, key)
    rate, epoch = options.rate, time.time() if options.epoch is None else options.epoch
    headend = Headend(config, secrets.token_bytes, first_index=_first_index(options.seed))
    with _keylog(options.keylog) as keylog:
        make_context = partial(server_context, certificate, key, client_ca=options.client_ca, keylog=keylog)
        try:
            if options.client_ca is not None:
                load_certificates(options.client_ca)
            context = make_context(request_client_certificate=config.any_group_needs_certificate)
        except CertificateError as error:
            raise UsageError(str(error)) from error
        hub, tun = _hub(config, options.tun)
        gateway = Gateway(headend, hub, Timeline(trio.current_time(), epoch, rate))
        gateway.keylog = keylog
        dtls_port = _dtls_port(options, config)
        if said is None:
            sockets = _bind(listen, dtls_port, config.webvpn.dtls)
            at = _name(sockets[0]), None if sockets[1] is None else _name(sockets[1])
        else:
            dtls_at = HostPort(listen.host, dtls_port or listen.port)
            at = listen, dtls_at if config.webvpn.dtls else None
        der = identity.certificate.public_bytes(serialization.Encoding.DER)
        login = Login(headend)
        portal = Portal(gateway, login, identity.pin, _flash(options))
        fingerprint = hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
        site = Site(gateway, login, fingerprint, portal)
        port = VpnPort(gateway, site, context)
        try:
            if said is None:
                port.open(*sockets)
            if tun is not None:
                try:
                    await tun.configure(tun_settings(config))
                except TunError as error:
                    raise UsageError(f"--tun {tun.name}: {error}") from error
                gateway.dispatcher.add(TunUplink(tun, hub, gateway.dispatcher))
            async with (
                _meeting(options) as meeting,
                _store(options, said, listen) as store,
                trio.open_nursery() as nursery,
            ):
                site.tasks = nursery
                balancing = Balancing(gateway, port, site, meeting, (at[0].host, at[0].port))
                await nursery.start(SyslogSender(headend.syslog, options.syslog).run)
                if options.log_format == "asa":
                    headend.syslog.attach("console", _print_message, insists=_SEVERITIES[options.log_level])
                token = secrets.token_urlsafe(24)
                services = _services(gateway, options.config, epoch)
                services.balancer = balancing.balancer

                def changed() -> None:
                    _ask_for_certificates(port, config, make_context)
                    balancing.reconfigured()

                services.changed = changed
                consoles = Consoles(gateway, services)
                management = Management(gateway, consoles, token)
                manage = await _listen(
                    nursery, partial(serve_plain_http, management.application()), options.manage, "--manage"
                )
                console = None
                if options.console is not None:
                    console = await _listen(nursery, consoles.serve_telnet, options.console, "--console")
                nursery.start_soon(gateway.dispatcher.run)
                nursery.start_soon(gateway.keep_time)
                nursery.start_soon(balancing.run)
                link = None
                if said is not None and store is not None:
                    link = _state_link(store, gateway, port, said, at, changed)
                    services.unit = management.unit = link
                    nursery.start_soon(_run_link, link, listen)
                    await link.ready.wait()
                running = Running(
                    gateway=gateway,
                    balancing=balancing,
                    https=at[0],
                    dtls=at[1],
                    manage=manage,
                    manage_token=token,
                    console=console,
                    pin=identity.pin,
                    stopping=trio.Event(),
                    link=link,
                )
                with ready_files(options, running.ready_record(), manage.port):
                    task_status.started(running)
                    await running.stopping.wait()
                with trio.move_on_after(FAREWELL_LIMIT):
                    await balancing.leave()
                    if link is None or not await link.retire():
                        await _farewell(gateway, port)
                        if link is not None:
                            await link.resign(RETIRED)
                nursery.cancel_scope.cancel()
        finally:
            port.close()
            if tun is not None:
                tun.close()
            gateway.dispatcher.close()


def _name(sock: socket.socket) -> HostPort:
    return HostPort(*sock.getsockname()[:2])


async def _listen(
    nursery: trio.Nursery, serve: Callable[..., Awaitable[None]], at: HostPort, flag: str
) -> HostPort:
    """Start `serve(host, port)`, which reports where it listens."""
    try:
        bound = await nursery.start(partial(serve, at.host, at.port))
    except OSError as error:
        raise BindError(f"cannot listen on {at} ({flag}): {error.strerror}") from error
    return HostPort(*bound[:2])


@asynccontextmanager
async def _meeting(options: Options) -> AsyncIterator[Meeting]:
    """Where the members of a load-balancing cluster meet: in Redis, or in this process."""
    if options.state_link is None:
        yield options.meeting or LocalMeeting()
        return
    try:
        from asa_emu.serve.redis_meeting import redis_meeting
    except ImportError as error:
        raise UsageError(f"--state-link needs the extra: pip install asa-emu[cluster] ({error})") from error
    try:
        meeting = redis_meeting(options.state_link)
    except ValueError as error:
        raise UsageError(f"--state-link {options.state_link}: write redis://HOST:PORT/DB") from error
    async with meeting as entered:
        yield entered


def _failover(options: Options, config: Config, listen: HostPort) -> Failover | None:
    """What the configuration says about failover, None for a headend without a mate."""
    said = config.failover
    if not said.enabled or (options.state_link is None and options.store is None):
        return None
    if said.unit is None:
        raise UsageError(f"{config.source}: failover without `failover lan unit {{primary|secondary}}`")
    if not listen.port:
        raise UsageError(f"--listen {listen}: both units of a failover pair need the same port")
    if said.link is None:
        log.warning("failover.no_link", reason="without `failover link` an ASA would carry no sessions")
    return said


@asynccontextmanager
async def _store(options: Options, said: Failover | None, listen: HostPort) -> AsyncIterator[Store | None]:
    """Where the units of a failover pair meet: in Redis, or in this process."""
    if said is None or options.state_link is None:
        yield None if said is None else options.store
        return
    async with _redis_store(options.state_link, said, listen) as store:
        yield store


def _redis_store(url: str, said: Failover, listen: HostPort) -> AbstractAsyncContextManager[RedisStore]:
    try:
        from asa_emu.serve.redis_store import redis_store
    except ImportError as error:
        raise UsageError(f"--state-link needs the extra: pip install asa-emu[cluster] ({error})") from error
    try:
        return redis_store(url, str(listen), said.unit_timers.hold)
    except ValueError as error:
        raise UsageError(f"--state-link {url}: write redis://HOST:PORT/DB") from error


async def _pair_identity(
    options: Options, said: Failover, listen: HostPort, certificate: Path, key: Path
) -> tuple[Identity, Path, Path]:
    """The certificate that both units of a pair show."""
    if options.state_link is not None:
        directory = options.state or default_state_directory()
        kept = directory / f"pair-{listen.port}.pem", directory / f"pair-{listen.port}.key"
        async with _redis_store(options.state_link, said, listen) as store:
            from asa_emu.serve.pair_identity import agree

            certificate, key = await agree(store, derive_key(str(listen), said.key), (certificate, key), kept)
    return load_identity(certificate, key), certificate, key


def _state_link(
    store: Store,
    gateway: Gateway,
    port: VpnPort,
    said: Failover,
    at: tuple[HostPort, HostPort | None],
    reconfigured: Callable[[], None],
) -> StateLink:
    https, dtls = at
    key = derive_key(str(https), said.key)

    def bind(port: VpnPort) -> None:
        port.open(*claim((https.host, https.port), None if dtls is None else (dtls.host, dtls.port)))

    instance = secrets.token_hex(8)
    return StateLink(gateway, port, store, said, key, instance, bind=bind, reconfigured=reconfigured)


async def _run_link(link: StateLink, listen: HostPort) -> None:
    try:
        await link.run()
    except* CannotServe as group:
        raise BindError(f"cannot listen on {listen} (--listen): {group.exceptions[0]}") from group


async def _farewell(gateway: Gateway, port: VpnPort) -> None:
    """Tell the clients that their sessions are over, and give them a moment to answer."""
    db = gateway.headend.db
    for session in db.sessions():
        db.end(session, EndReason.ADMIN_RESET, gateway.now())
    gateway.after_batch()
    await port.tunnels_closed()


class Started(Protocol):
    """What a program announces: one headend, or several."""

    @property
    def stopping(self) -> trio.Event:
        """To be set to stop it in order."""

    @property
    def reports(self) -> list[Report]:
        """What the configuration says that has no effect."""

    def ready_line(self) -> str:
        """The line on stdout."""


async def serve(options: Options, start: Callable[..., Awaitable[None]] = run_headend) -> int:
    """Run a headend, or whatever `start` starts, as a program: announce it, stop on SIGINT or SIGTERM.

    Returns the exit code.
    """
    configure_logging(options.log_format, options.log_level)
    _tune_collector()
    code = 0
    try:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as listeners:
                async with trio.open_nursery() as nursery:
                    with trio.CancelScope() as starting:
                        stops: list[Callable[[], None]] = [starting.cancel]
                        listeners.start_soon(_stop_on, signals, stops)
                        running: Started = await nursery.start(start, options)
                        stops.append(running.stopping.set)
                        _announce(running)
                listeners.cancel_scope.cancel()
    except* (UsageError, BindError) as group:
        code = _complain(group)
    return code


def _announce(running: Started) -> None:
    try:
        print(running.ready_line(), flush=True)  # noqa: T201 -- the line is the contract
    except OSError as error:
        log.warning("ready_line.not_written", error=error.strerror)
    for report in running.reports:
        log.warning("config.kept", line=report.line, text=report.text, reason=report.reason)


async def _stop_on(signals: AsyncIterator[int], stops: list[Callable[[], None]]) -> None:
    """The first signal stops the headend; impatient ones after it are taken, or they would kill it.

    The last of `stops` is how: a unit of a failover pair may take long to start.
    """
    first = True
    async for number in signals:
        if first:
            log.info("stopping", signal=signal.Signals(number).name)
            stops[-1]()
        first = False


def _complain(group: BaseExceptionGroup[UsageError | BindError]) -> int:
    """Print why the headend could not start; the exit code for it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    print(f"asa-emu: {error}", file=sys.stderr, flush=True)  # noqa: T201
    return 3 if isinstance(error, BindError) else 2


class BestEffort(io.TextIOBase):
    """A stream that may be on a full disk or lead nowhere: no line of a log is worth a headend."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Write out what can be."""
        try:
            self._stream.flush()
        except OSError:
            pass  # the next line may have more luck


def configure_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Operator's log on stderr: one event a line, secrets never among them."""
    renderer: Any = structlog.processors.JSONRenderer()
    if log_format != "json":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    # Messages tell the story in the ASA's own format; the log keeps to what they do not know, such as faults.
    least = max(levels[level], levels["warning"]) if log_format == "asa" else levels[level]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        # it asks for a TextIO and uses write and flush
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", BestEffort(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def _services(gateway: Gateway, file: Path | None, started_at: float) -> Services:
    """What the consoles have outside the core; without a configuration file nothing can be saved."""
    services = Services(clock=GatewayClock(gateway), started_at=started_at)
    if file is None:
        return services

    def save(text: str) -> None:
        try:
            _write_whole(file, text, file.stat().st_mode & 0o777 if file.exists() else 0o600)
        except OSError as error:
            raise NotSaved(f"{file}: {error.strerror}") from error

    def startup() -> str:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NotSaved(f"{file}: {error}") from error

    services.save, services.startup = save, startup
    return services


def _ask_for_certificates(port: VpnPort, config: Config, make_context: Callable[..., SSL.Context]) -> None:
    """Let handshakes ask for a client certificate exactly while a tunnel-group wants one."""
    wanted = config.any_group_needs_certificate
    if wanted != (port.context.get_verify_mode() != SSL.VERIFY_NONE):
        try:
            port.context = make_context(request_client_certificate=wanted)
        except (OSError, SSL.Error) as error:
            log.warning("certificates.not_renewed", error=str(error))


def _print_message(record: Record) -> None:
    print(record.body, file=BestEffort(sys.stderr))


def _tune_collector() -> None:
    # a tenth of a login is the collector's otherwise; sessions are free of cycles
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _load_config(options: Options) -> Config:
    config = read_config(options)
    editor = config.editor()
    for line in options.typed:
        outcome = editor.execute(line)
        if not outcome.ok:
            raise UsageError(f"{line}: {outcome.text}")
    return config


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


def _hasher(plain: str, scheme: str) -> str:
    salt = secrets.token_bytes(16)
    return hash_password(plain, salt, "sha256" if scheme == "emu" else "pbkdf2")


def _listen_address(options: Options, config: Config) -> HostPort:
    listen = options.listen or HostPort("127.0.0.1", _unless_default(config.webvpn.port) or 8443)
    if options.config is None and options.config_text is None and not ip_address(listen.host).is_loopback:
        raise UsageError(
            f"the built-in configuration has a known password and is for loopback only, not {listen}; "
            "give a configuration file of your own"
        )
    return listen


def _dtls_port(options: Options, config: Config) -> int:
    """The UDP port that the configuration asks for, 0 for the same as TCP; --listen wins over it."""
    return 0 if options.listen is not None else _unless_default(config.webvpn.dtls_port)


def _unless_default(port: int) -> int:
    """A port that somebody chose; 443, an ASA's own, is for root and means nothing here."""
    return 0 if port == 443 else port


def _names(options: Options, config: Config) -> list[str]:
    """What else clients may know it by: as a member of a cluster, and as its director."""
    said = config.load_balancing
    if not said.participate:
        return list(options.names)
    return [*options.names, *(name for name in (said.cluster_ip, said.nat, config.fqdn) if name)]


def _identity(options: Options, names: Sequence[str]) -> tuple[Identity, Path, Path]:
    if (options.cert is None) != (options.key is None):
        raise UsageError("--cert and --key belong together: give both or neither")
    try:
        if options.cert is not None and options.key is not None:
            return load_identity(options.cert, options.key), options.cert, options.key
        directory = options.state or default_state_directory()
        identity = open_server_identity(directory, names)
        return identity, directory / "server.pem", directory / "server.key"
    except CertificateError as error:
        raise UsageError(str(error)) from error


def _flash(options: Options) -> list[Path]:
    """What plays `disk0:`: the directory of the configuration file, and the state directory."""
    beside = [options.config.parent] if options.config is not None else []
    return [*beside, options.state or default_state_directory()]


def default_state_directory() -> Path:
    """Where the certificate authority and the server's key live: `$XDG_STATE_HOME/asa-emu`."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "asa-emu"


def _first_index(seed: int | None) -> int:
    return 1 if seed is None else random.Random(seed).randrange(1, 10_000)


def _hub(config: Config, tun_name: str | None) -> tuple[Hub, Tun | None]:
    """The hub with its inside: an emulated network, or the kernel's TUN device."""
    if tun_name is not None:
        try:
            tun = Tun.open(tun_name)
        except TunError as error:
            raise UsageError(f"--tun {tun_name}: {error}") from error
        return Hub(None, tun.write), tun
    gateway4, gateway6 = inside_gateway(config, 4), inside_gateway(config, 6)
    spans = [(pool.first, pool.last) for pool in config.pools.values()]
    spans6 = [(pool.first, pool.last) for pool in config.ipv6_pools.values()]
    inside = InsideNetwork(
        IPv4Address(gateway4.ip) if gateway4 else None,
        IPv6Address(gateway6.ip) if gateway6 else None,
        pools=[*spans, *spans6],
    )
    return Hub(inside), None


def _bind(listen: HostPort, dtls_port: int, dtls: bool) -> tuple[socket.socket, socket.socket | None]:
    """The TCP listener and the UDP socket; with port 0 both get the same free number."""
    attempts = 20 if listen.port == 0 else 1
    while True:
        attempts -= 1
        try:
            tcp = bind_tcp(listen.host, listen.port)
        except OSError as error:
            raise BindError(f"cannot listen on TCP {listen} (--listen): {error.strerror}") from error
        if not dtls:
            return tcp, None
        port = dtls_port or tcp.getsockname()[1]
        try:
            return tcp, _bind_udp(listen.host, port)
        except OSError as error:
            tcp.close()
            if not attempts:
                raise BindError(
                    f"cannot listen on UDP {HostPort(listen.host, port)} (--listen): {error.strerror}"
                ) from error


def _bind_udp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _keylog(path: Path | None) -> Iterator[KeylogSink | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise UsageError(f"--keylog {path}: {error.strerror}") from error
    with file:

        def write(line: bytes) -> None:
            try:
                file.write(line.rstrip(b"\n") + b"\n")
            except OSError as error:
                log.warning("keylog.not_written", path=str(path), error=error.strerror)

        yield write


@contextmanager
def ready_files(options: Options, facts: dict[str, Any], manage_port: int) -> Iterator[None]:
    """Write the ready file, and one in the state directory for `asa-emu console`; both go at the end."""
    record = json.dumps(facts) + "\n"
    written: list[Path] = []
    try:
        if options.state is not None:
            path = options.state / READY_NAME.format(pid=os.getpid(), port=manage_port)
            try:
                options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write_whole(path, record, 0o600)
                written.append(path)
            except OSError as error:
                log.warning("state.not_written", path=str(path), error=error.strerror)
        if options.ready_file is not None:
            try:
                _write_whole(options.ready_file, record, 0o600)
            except OSError as error:
                raise UsageError(f"--ready-file {options.ready_file}: {error.strerror}") from error
            written.append(options.ready_file)
        yield
    finally:
        for path in written:
            path.unlink(missing_ok=True)


def _write_whole(path: Path, text: str, mode: int) -> None:
    """Write a file next to its place, then rename it into it: nobody ever reads half of it."""
    partial_file = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        partial_file.replace(path)
    except BaseException:
        partial_file.unlink(missing_ok=True)
        raise
