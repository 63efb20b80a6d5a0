"""The composition root: options in, a running headend out.

`run_headend` puts the parts together in the order in which they can fail: configuration (exit 2),
certificate, sockets (exit 3), TUN; then it announces itself by its ready files, and serves until it is
cancelled or told to stop.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import structlog
import trio
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from asa_emu.app.failover import (
    bad_state_link,
    check_state_link,
    pair_identity,
    run_link,
    shared_store,
    state_link_of,
    unit_settings,
)
from asa_emu.app.files import flash_directories, keylog_sink, ready_files, server_identity, write_whole
from asa_emu.app.logs import BestEffort
from asa_emu.app.options import (
    HostPort,
    LogLevel,
    Options,
    UsageError,
    dtls_port_of,
    first_index,
    listen_address,
    load_config,
    names_of_headend,
)
from asa_emu.app.sockets import bind_both, name_of, start_listening
from asa_emu.cli.console import NotSaved, Services
from asa_emu.config import (
    Config,
    Report,
    inside_gateway,
)
from asa_emu.dataplane.hub import Hub
from asa_emu.dataplane.inside import InsideNetwork
from asa_emu.headend.headend import Headend
from asa_emu.headend.login import Login
from asa_emu.serve.asgi import serve_plain_http
from asa_emu.serve.balancing import Balancing, LocalMeeting, Meeting
from asa_emu.serve.console import Consoles, GatewayClock
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.https import Site
from asa_emu.serve.management import Management
from asa_emu.serve.portal import Portal
from asa_emu.serve.state_link import RETIRED, StateLink
from asa_emu.serve.syslog import SyslogSender
from asa_emu.serve.uplink import TunUplink, tun_settings
from asa_emu.serve.vpn_port import VpnPort
from asa_emu.session.model import EndReason
from asa_emu.syslog import Record
from asa_emu.transport.certificates import (
    CertificateError,
    load_certificates,
    server_names,
)
from asa_emu.transport.contexts import server_context
from asa_emu.transport.tun import Tun, TunError
from asa_emu.wire.timeline import Timeline

_SEVERITIES: dict[LogLevel, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3}
FAREWELL_LIMIT = 1.0  # seconds for clients to take their DISCONNECT when the headend stops
log = structlog.get_logger(__name__)


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
    config = load_config(options)
    listen = listen_address(options, config)
    check_state_link(options, config, listen)
    identity, certificate, key = server_identity(
        options, (*server_names(listen.host), *names_of_headend(options, config))
    )
    said = unit_settings(options, config, listen)
    if said is not None and options.cert is None:
        identity, certificate, key = await pair_identity(options, said, listen, certificate, key)
    rate, epoch = options.rate, time.time() if options.epoch is None else options.epoch
    headend = Headend(config, secrets.token_bytes, first_index=first_index(options.seed))
    with keylog_sink(options.keylog) as keylog:
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
        dtls_port = dtls_port_of(options, config)
        if said is None:
            sockets = bind_both(listen, dtls_port, config.webvpn.dtls)
            at = name_of(sockets[0]), None if sockets[1] is None else name_of(sockets[1])
        else:
            dtls_at = HostPort(listen.host, dtls_port or listen.port)
            at = listen, dtls_at if config.webvpn.dtls else None
        der = identity.certificate.public_bytes(serialization.Encoding.DER)
        login = Login(headend)
        portal = Portal(gateway, login, identity.pin, flash_directories(options))
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
                shared_store(options, said, listen) as store,
                trio.open_nursery() as nursery,
            ):
                site.tasks = nursery
                balancing = Balancing(gateway, port, site, meeting, (at[0].host, at[0].port))
                await nursery.start(SyslogSender(headend.syslog, options.syslog).run)
                if options.log_format == "asa":
                    headend.syslog.attach("console", _print_message, insists=_SEVERITIES[options.log_level])
                token = secrets.token_hex(24)  # a word of a command line: never with a dash in front
                services = _services(gateway, options.config, epoch)
                services.balancer = balancing.balancer

                def changed() -> None:
                    _ask_for_certificates(port, config, make_context)
                    balancing.reconfigured()

                services.changed = changed
                consoles = Consoles(gateway, services)
                management = Management(gateway, consoles, token)
                manage = await start_listening(
                    nursery, partial(serve_plain_http, management.application()), options.manage, "--manage"
                )
                console = None
                if options.console is not None:
                    console = await start_listening(
                        nursery, consoles.serve_telnet, options.console, "--console"
                    )
                nursery.start_soon(gateway.dispatcher.run)
                nursery.start_soon(gateway.keep_time)
                nursery.start_soon(balancing.run)
                link = None
                if said is not None and store is not None:
                    link = state_link_of(store, gateway, port, said, at, changed)
                    services.unit = management.unit = link
                    nursery.start_soon(run_link, link, listen)
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
                    retired = link is not None and await link.retire()
                    async with trio.open_nursery() as last_words:
                        last_words.start_soon(balancing.leave)
                        if not retired:
                            await _farewell(gateway, port)
                            if link is not None:
                                await link.resign(RETIRED)
                nursery.cancel_scope.cancel()
        finally:
            port.close()
            if tun is not None:
                tun.close()
            gateway.dispatcher.close()


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
        raise bad_state_link(options.state_link) from error
    async with meeting as entered:
        yield entered


async def _farewell(gateway: Gateway, port: VpnPort) -> None:
    """Tell the clients that their sessions are over, and give them a moment to answer."""
    db = gateway.headend.db
    for session in db.sessions():
        db.end(session, EndReason.ADMIN_RESET, gateway.now())
    gateway.after_batch()
    await port.tunnels_closed()


def _services(gateway: Gateway, file: Path | None, started_at: float) -> Services:
    """What the consoles have outside the core; without a configuration file nothing can be saved."""
    services = Services(clock=GatewayClock(gateway), started_at=started_at)
    if file is None:
        return services

    def save(text: str) -> None:
        try:
            write_whole(file, text, file.stat().st_mode & 0o777 if file.exists() else 0o600)
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
