"""The command line: `client-emu connect URL`, `launch FILE`, `profile check FILE`, or vpncli's verbs.

Flags become `ClientOptions`, what happens becomes lines on stdout: vpncli's, or with `--json` one event a
line, and then lines on stdin become orders. Exit codes: 0 disconnected or detached, or the whole story as
told; 1 failed or lost; 2 usage. Nothing is asked with `--json` or without a terminal.
"""

from __future__ import annotations

import getpass
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import trio
from cyclopts import App, CycloptsError, Parameter

from asa_emu.wire.compression import SUPPORTED, is_installed
from client_emu.client import Client
from client_emu.connection import ConnectFailed
from client_emu.console import Console, asker
from client_emu.dial import Asker
from client_emu.events import AdapterChanged, Connected, Dtls, Error, Event, Failed, as_json
from client_emu.gateway import parse_gateway
from client_emu.journal import Message
from client_emu.launch import MAX_FILE, parse_launch_untrusted
from client_emu.lifecycle import Phase
from client_emu.options import (
    CLIENT_VERSION,
    MAX_MTU,
    MIN_MTU,
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

MAX_LINE: Final = 64 * 1024  # bytes of the password file's first line, and of one order

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
_List = Annotated[tuple[str, ...], Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Flags:
    """What every way to connect can be told."""

    user: str | None = None
    """The user's name."""
    password_file: Path | None = None
    """A file whose first line is the password."""
    second_password: str | None = None
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
    cookie: str | None = None
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

    def read_profile(self) -> Profile | None:
        """The profile. Raises ProfileError."""
        return _read_profile(self.profile) if self.profile is not None else None

    def options(self, host: str | None, profile: Profile | None) -> ClientOptions:
        """What the flags ask for, at a host. Raises UsageError or ValueError."""
        self._check()
        same = (
            "user",
            "second_password",
            "group",
            "key",
            "ca",
            "show_cookie",
            "mtu",
            "dpd",
            "platform",
            "tun",
        )
        given: dict[str, Any] = {
            **{name: getattr(self, name) for name in same},
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
        if self.mtu is not None and not MIN_MTU <= self.mtu <= MAX_MTU:
            raise UsageError(f"--mtu is from {MIN_MTU} to {MAX_MTU} bytes")
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
    json: _Flag = False,
) -> int:
    """Log in, connect, and stay until the session ends or a signal comes.

    Exit codes: 0 disconnected or detached, or the whole story as told; 1 failed or lost; 2 usage.

    Parameters
    ----------
    host
        The headend: https://HOST[:PORT][/GROUP-URL], or the name of a host in the profile.
    script
        A story in TOML to play (docs/usage.md): timed acts and expectations. Its end ends the session.
    json
        Print one JSON event per line, and take orders on stdin, one a line: {"do": "disconnect"}, or detach,
        reconnect, suspend, resume, unplug, plug.
    """
    options = flags.options(host, flags.read_profile())
    story = parse_story(_read_text(script)) if script is not None else ()
    if json:
        client = Client(options, on_event=_report_json)
    else:
        ask = asker(_Stdio()) if os.isatty(0) and os.isatty(1) else None
        client = Client(options, on_event=_report_text, on_message=_report_message, ask=ask)
    return trio.run(_run, client, story, _report_json if json else _report_text, json)


@app.default
def interactive(*, flags: Flags = Flags()) -> int:
    """Take vpncli's commands from the terminal, or from a pipe."""
    profile = flags.read_profile()
    start = flags.options(None, profile) if profile is not None and profile.hosts else None
    if start is None:
        start = replace(flags.options("localhost", None), profile=profile)

    def make(host: str | None, ask: Asker, on_message: Callable[[Message], None]) -> Client:
        options = replace(flags.options(host, profile), ask_all=True)
        return Client(options, on_message=on_message, ask=ask)

    console = Console(_Stdio(), start, make)
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
    profile = _read_profile(file)
    _print_line(f"{file}: {len(profile.hosts)} hosts, {len(profile.preferences)} preferences")
    for host in profile.hosts:
        backups = f", backed up by {' '.join(each.url for each in host.backups)}" if host.backups else ""
        _print_line(f"  host {host.name}: {host.gateway.url}{backups}")
    for name, said in profile.preferences.items():
        users = " (user controllable)" if said.user_controllable else ""
        _print_line(f"  {name} {said.value}{users}")
    for report in profile.reports:
        _print_line(report)
    return 0


def _read_profile(path: Path) -> Profile:
    try:
        return parse_profile_untrusted(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error


@app.command
def launch(
    file: Path,
    /,
    *,
    flags: Flags = Flags(),
    json: _Flag = False,
) -> int:
    """Connect with the session of a web portal, and stay until it ends or a signal comes.

    Parameters
    ----------
    file
        What "Start AnyConnect" in the portal has saved.
    json
        Print one JSON event per line, and take orders on stdin, one a line: {"do": "disconnect"}, or detach,
        reconnect, suspend, resume, unplug, plug.
    """
    try:
        with file.open("rb") as stream:
            session = parse_launch_untrusted(stream.read(MAX_FILE + 1))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from error
    given = replace(flags, pin=session.pin, cookie=session.token, ca=None)
    return connect(session.gateway.url, flags=given, json=json)


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_LINE)
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--password-file: {error}") from error


class _Stdio:
    """The terminal that the process has, or the pipe in its place."""

    def __init__(self) -> None:
        self._unread = b""

    def write(self, text: str) -> None:
        _print_line(text)

    async def read(self, prompt: str, *, secret: bool = False) -> str | None:
        if secret and os.isatty(0):
            return await trio.to_thread.run_sync(getpass.getpass, prompt, abandon_on_cancel=True)
        _print_line(prompt, end="")
        line = await self.line()
        return None if line is None else line.decode("utf-8", "replace")

    async def line(self) -> bytes | None:
        """The next line of stdin without its end, None after the last one; a long line comes in pieces."""
        while b"\n" not in self._unread and len(self._unread) <= MAX_LINE:
            # a thread, for stdin may be a file, which no event loop can wait for; and not through sys.stdin,
            # whose lock such a thread would hold for ever
            try:
                data = await trio.to_thread.run_sync(os.read, 0, 4096, abandon_on_cancel=True)
            except OSError:
                return None  # stdin is closed
            if not data:
                break
            self._unread += data
        line, end, self._unread = self._unread.partition(b"\n")
        return line if line or end else None


def _report_json(event: Event) -> None:
    _print_line(as_json(event))


def _report_message(message: Message) -> None:
    _print_line(message.line)


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
    _print_line(f"  >> note: {text}")


def _print_line(line: str, end: str = "\n") -> None:
    try:
        print(line, end=end, flush=True)  # noqa: T201 - the product's output
    except BrokenPipeError:
        pass  # nobody reads any more; the connection goes on until it is told to end


Report = Callable[[Event], None]


async def _run(client: Client, story: tuple[Act, ...], report: Report, take_orders: bool) -> int:
    code, problem = 1, None

    async def tell() -> None:
        nonlocal problem
        problem = await play(story, client)
        nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_signals, signals, client, report, nursery.cancel_scope)
            if story:
                nursery.start_soon(tell)
            try:
                async with client:
                    if take_orders:
                        nursery.start_soon(_take_orders, client, report)
                    code = (await client.wait_ended()).exit_code
            except ConnectFailed:
                code = 1
            if story:
                await trio.sleep_forever()  # it may expect the end
            nursery.cancel_scope.cancel()
    if problem is not None:
        print(f"client-emu: {problem}", file=sys.stderr)  # noqa: T201
    return code if not story else 1 if problem else 0


async def _until_signal(run: Callable[[], Awaitable[None]]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()  # whoever is connected logs off

            nursery.start_soon(stop)
            await run()
            nursery.cancel_scope.cancel()


async def _watch_signals(
    signals: AsyncIterator[int], client: Client, report: Report, everything: trio.CancelScope
) -> None:
    async for _ in signals:
        if client.phase is Phase.CONNECTING:
            report(Failed("interrupted"))
            everything.cancel()
            return
        await client.disconnect()


async def _take_orders(client: Client, report: Report) -> None:
    stdin = _Stdio()
    while (line := await stdin.line()) is not None:
        if line.strip():
            try:
                await carry_out(client, parse_order_untrusted(line))
            except OrderRefused as error:
                report(Error(str(error)))
