"""The command line: `client-emu connect URL`, `launch FILE`, `profile check FILE`, or vpncli's verbs.

Flags become `ClientOptions`, what happens becomes lines on stdout: vpncli's, or with `--json` one event a
line, and then lines on stdin become orders. Exit codes: 0 disconnected or detached, or the whole story as
told; 1 failed or lost; 2 usage. Nothing is asked with `--json` or without a terminal.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import trio
from cyclopts import App, CycloptsError, Parameter

from asa_emu.wire.compression import SUPPORTED, is_installed
from asa_emu.wire.frames import MAX_SENT_PAYLOAD
from asa_emu.wire.header_lines import MIN_MTU
from client_emu.client import Client
from client_emu.connection import ConnectFailed
from client_emu.console import Console
from client_emu.dial import Asker
from client_emu.events import AdapterChanged, Connected, Dtls, Error, Event, Failed, as_json
from client_emu.gateway import parse_gateway
from client_emu.journal import Message
from client_emu.launch import parse_launch_untrusted
from client_emu.lifecycle import Phase
from client_emu.options import (
    CLIENT_VERSION,
    QUIRKS,
    ClientOptions,
    Platform,
    parse_compression,
    parse_interface,
    parse_pin,
    parse_preference,
    parse_token,
)
from client_emu.orders import OrderRefused, carry_out, parse_order_untrusted
from client_emu.profile import Profile, ProfileError, parse_profile_untrusted
from client_emu.story import Act, StoryError, parse_story, play
from client_emu.terminal import MAX_LINE, Stdio, asker, print_line

app = App(
    name="client-emu",
    help="A headless VPN client that behaves as AnyConnect does. Without a command it takes vpncli's verbs "
    "from the terminal, or from a pipe; there, `help` lists them.",
    version_flags=[],
)
profiles = App(name="profile", help="AnyConnect profiles.")
app.command(profiles)


class UsageError(Exception):
    """The command line asks for what cannot be; the text is for the user."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (CycloptsError, UsageError, ProfileError, StoryError, ValueError) as error:
        print(f"client-emu: {error}", file=sys.stderr)  # noqa: T201 - this is what a command line does
        return 2
    return code if isinstance(code, int) else 0


_Flag = Annotated[bool, Parameter(negative="")]
JSON_HELP = (
    'Print one JSON event per line, and take orders on stdin, one a line: {"do": "disconnect"}, or detach, '
    "reconnect, suspend, resume, unplug, plug."
)
_Json = Annotated[bool, Parameter(negative="", help=JSON_HELP)]
_List = Annotated[tuple[str, ...], Parameter(negative="")]


_DEVICE = re.compile(r"(?!\.{1,2}$)[!-.0-~]{1,15}")  # what Linux takes, in ASCII
_VERSION = re.compile(r"[0-9]{1,5}\.[0-9]{1,5}[!-~]{0,32}$")  # goes into a header
_PASSED_ON = ["user", "second_password", "group", "key", "ca", "show_cookie", "mtu", "dpd", "platform", "tun"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Flags:
    """What every way to connect can be told."""

    user: str | None = None
    """The user's name."""
    password_file: Path | None = None
    """A file whose first line is the password."""
    second_password: str | None = field(default=None, repr=False)
    """The answer to a second factor."""
    group: str | None = None
    """The group to choose, by its label or its value."""
    profile: Path | None = None
    """An AnyConnect profile, XML: hosts by name, backup servers, preferences."""
    preference: _List = ()
    """NAME=VALUE: a preference of the user's, which counts where the profile leaves it to users."""
    cert: Path | None = None
    """A client certificate, PEM."""
    key: Path | None = None
    """Its private key, PEM; without it the key is in the certificate's file."""
    ca: Path | None = None
    """Trust servers whose certificate this authority signed, PEM; the default is what the system trusts."""
    pin: str | None = None
    """Trust the server with this key alone: pin-sha256:BASE64."""
    cookie: str | None = field(default=None, repr=False)
    """Resume a session instead of logging in: a token, webvpn=TOKEN, or a list of cookies."""
    show_cookie: _Flag = False
    """Show the session's cookie when connected."""
    mtu: int | None = None
    """The MTU to ask for, bytes."""
    dpd: float | None = None
    """Probe the headend after this many seconds of silence, whatever it says; 0 for never."""
    no_dtls: _Flag = False
    """Use TLS alone."""
    no_ipv6: _Flag = False
    """Ask for no IPv6 address."""
    compression: str = "none"
    """all, none, or a comma list of oc-lz4, lzs and deflate."""
    platform: Platform = Platform.WINDOWS
    """The system to behave as on: what suspend and resume mean differs."""
    client_version: str = CLIENT_VERSION
    """The version to behave as; before 2.3(111) resume always reconnects."""
    quirk: _List = ()
    """A known bug to have, instead of those of the platform: CSCso17627, CSCsr16670, CSCsm69213 or none."""
    interface: _List = ()
    """NAME[=ADDRESS][,mtu=N][,off]: a network interface, instead of `wired` and `wireless,off`."""
    tun: str | None = None
    """Make a kernel TUN device of this name, instead of an adapter in user space."""
    script_tun: str | None = None
    """Give the tunnel to this program, as openconnect's option of that name does."""

    def options(self, host: str | None, profile: Profile | None) -> ClientOptions:
        """What the flags ask for, at a host. Raises UsageError or ValueError."""
        self._check()
        given: dict[str, Any] = {
            **{name: getattr(self, name) for name in _PASSED_ON},
            "password": _first_line(self.password_file) if self.password_file is not None else None,
            "certificate": self.cert,
            "pin": parse_pin(self.pin) if self.pin is not None else None,
            "token": parse_token(self.cookie) if self.cookie is not None else None,
            "dtls": not self.no_dtls,
            "ipv6": not self.no_ipv6,
            "compression": parse_compression(self.compression, tuple(filter(is_installed, SUPPORTED))),
            "preferences": dict(map(parse_preference, self.preference)),
            "version": self.client_version,
            "quirks": frozenset(self.quirk) - {"none"} if self.quirk else None,
            "interfaces": tuple(map(parse_interface, self.interface)),
            "program": tuple(shlex.split(self.script_tun or "")),
        }
        if profile is not None:
            return ClientOptions.from_profile(profile, host, **given)
        if host is None:
            raise ValueError("connect to which host?")
        return ClientOptions(parse_gateway(host), **given)

    def _check(self) -> None:
        if self.pin is not None and self.ca is not None:
            raise UsageError("--pin and --ca are two ways to trust a server: give one")
        if self.key is not None and self.cert is None:
            raise UsageError("--key needs --cert")
        if self.tun is not None and self.script_tun is not None:
            raise UsageError("--tun and --script-tun are two adapters: give one")
        if self.tun is not None and _DEVICE.fullmatch(self.tun) is None:
            raise UsageError("--tun is a name of 1 to 15 characters without blanks and slashes")
        if _VERSION.match(self.client_version) is None:
            raise UsageError("--client-version begins with numbers, as in 4.10.07061 and 2.3(111)")
        if self.mtu is not None and not MIN_MTU <= self.mtu <= MAX_SENT_PAYLOAD:
            raise UsageError(f"--mtu is from {MIN_MTU} to {MAX_SENT_PAYLOAD} bytes")
        if self.dpd is not None and not 0 <= self.dpd <= 86400:
            raise UsageError("--dpd is from 0 to 86400 seconds")
        for quirk in self.quirk:
            if quirk not in (*QUIRKS, "none"):
                raise UsageError(f"--quirk is one of {', '.join(QUIRKS)} and none")


@app.command
def connect(
    host: Annotated[str, Parameter(name="URL")],
    /,
    *,
    flags: Flags = Flags(),
    script: Path | None = None,
    save_profile: Path | None = None,
    json: _Json = False,
) -> int:
    """Log in, connect, and stay until the session ends or a signal comes.

    Exit codes: 0 disconnected or detached, or the whole story as told; 1 failed or lost; 2 usage.

    Parameters
    ----------
    host
        The headend: https://HOST[:PORT][/GROUP-URL], or the name of a host in the profile.
    script
        A story in TOML to play (docs/usage.md): timed acts and expectations. Its end ends the session.
    save_profile
        Write the profile that the headend hands out to this file, unless it is that of --profile already.
    """
    options = flags.options(host, _read_profile(flags.profile))
    story = parse_story(_read(script).decode("utf-8")) if script is not None else ()
    if json:
        client = Client(options, on_event=_report_json)
    else:
        ask = asker(Stdio()) if os.isatty(0) and os.isatty(1) else None
        client = Client(
            options, on_event=_report_text, on_message=lambda said: print_line(said.line), ask=ask
        )
    report = _report_json if json else _report_text

    def connected() -> None:
        if save_profile is not None and client.handed_profile is not None:
            try:
                save_profile.write_bytes(client.handed_profile)
            except OSError as error:
                report(Error(f"--save-profile {save_profile}: {error.strerror}"))

    return trio.run(_run, client, story, report, connected, json)


@app.default
def interactive(*, flags: Flags = Flags()) -> int:
    """Take vpncli's commands from the terminal, or from a pipe."""
    profile = _read_profile(flags.profile)
    start = flags.options(None, profile) if profile is not None and profile.hosts else None
    if start is None:
        start = replace(flags.options("localhost", None), profile=profile)

    def make(host: str | None, ask: Asker, on_message: Callable[[Message], None]) -> Client:
        options = replace(flags.options(host, profile), ask_all=True)
        return Client(options, on_message=on_message, ask=ask)

    console = Console(Stdio(), start, make)
    wanted = profile is not None and start.preference("AutoConnectOnStart") == "true"
    trio.run(_until_signal, partial(console.run, flags.client_version, connect=wanted))
    return 0


@profiles.command
def check(file: Path, /) -> int:
    """Read a profile and say what is in it; exit code 2 when it cannot be used.

    Parameters
    ----------
    file
        The profile, XML.
    """
    profile = parse_profile_untrusted(_read(file), str(file))
    print_line(f"{file}: {len(profile.hosts)} hosts, {len(profile.preferences)} preferences")
    for host in profile.hosts:
        backups = f", backed up by {' '.join(each.url for each in host.backups)}" if host.backups else ""
        print_line(f"  host {host.name}: {host.gateway.url}{backups}")
    for name, said in profile.preferences.items():
        users = " (user controllable)" if said.user_controllable else ""
        print_line(f"  {name} {said.value}{users}")
    for report in profile.reports:
        print_line(report)
    return 0


@app.command
def launch(
    file: Path,
    /,
    *,
    flags: Flags = Flags(),
    json: _Json = False,
) -> int:
    """Connect with the session of a web portal, and stay until it ends or a signal comes.

    Parameters
    ----------
    file
        What "Start AnyConnect" in the portal has saved.
    """
    try:
        session = parse_launch_untrusted(_read(file))
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from error
    given = replace(flags, pin=session.pin, cookie=session.token, ca=None)
    return connect(session.gateway.url, flags=given, json=json)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _read_profile(path: Path | None) -> Profile | None:
    return parse_profile_untrusted(_read(path), str(path)) if path is not None else None


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_LINE)
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--password-file: {error}") from error


def _report_json(event: Event) -> None:
    print_line(as_json(event))


def _report_text(event: Event) -> None:
    """What vpncli has no line for."""
    match event:
        case Connected():
            addresses = " and ".join(address for address in (event.ip4, event.ip6) if address)
            text = f"address {addresses}, MTU {event.mtu}, routes {' '.join(event.routes)}"
            text += f", cookie {event.cookie}" if event.cookie else ""
        case Dtls():
            text = f"data goes over DTLS ({event.cipher})" if event.up else "data goes over TLS"
        case AdapterChanged():
            text = f"adapter {event.change}, MTU {event.mtu}"
        case Error():
            text = event.reason
        case _:
            return
    print_line(f"  >> note: {text}")


Report = Callable[[Event], None]


async def _run(
    client: Client, story: tuple[Act, ...], report: Report, connected: Callable[[], None], take_orders: bool
) -> int:
    code, problem = 1, None

    async def stop() -> None:
        nonlocal problem
        if client.phase is Phase.CONNECTING:
            report(Failed("interrupted"))
            nursery.cancel_scope.cancel()
            return
        await client.disconnect()
        if story:
            problem = "interrupted"
            nursery.cancel_scope.cancel()

    async def tell() -> None:
        nonlocal problem
        problem = await play(story, client)
        nursery.cancel_scope.cancel()

    async with _on_signals(stop) as nursery:
        if story:
            nursery.start_soon(tell)
        try:
            async with client:
                connected()
                if take_orders:
                    nursery.start_soon(_take_orders, client, report)
                code = (await client.wait_ended()).exit_code
        except ConnectFailed:
            code = 1
        if story:
            await trio.sleep_forever()  # it may expect the end
    if problem is not None:
        print(f"client-emu: {problem}", file=sys.stderr)  # noqa: T201
    return code if not story else 1 if problem else 0


async def _until_signal(run: Callable[[], Awaitable[None]]) -> None:
    async def stop() -> None:
        nursery.cancel_scope.cancel()  # whoever is connected logs off

    async with _on_signals(stop) as nursery:
        await run()


@asynccontextmanager
async def _on_signals(stop: Callable[[], Awaitable[None]]) -> AsyncIterator[trio.Nursery]:
    """A nursery that ends with the block; meanwhile SIGINT and SIGTERM call `stop`."""

    async def watch() -> None:
        async for _ in signals:
            await stop()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            yield nursery
            nursery.cancel_scope.cancel()


async def _take_orders(client: Client, report: Report) -> None:
    stdin = Stdio()
    while (line := await stdin.line()) is not None:
        if line.strip():
            try:
                await carry_out(client, parse_order_untrusted(line))
            except OrderRefused as error:
                report(Error(str(error)))
