"""The command line: `client-emu connect URL ...` or `launch FILE`, a person's view or one JSON event a line.

Arguments become `ClientOptions`, events become lines on stdout, and with `--json` lines on stdin become
orders. Exit codes: 0 disconnected or detached, 1 failed or lost, 2 usage. Nothing is asked with `--json` or
without a terminal.
"""

from __future__ import annotations

import getpass
import json as json_module
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Final

import trio
from cyclopts import App, CycloptsError, Parameter

from asa_emu.wire.compression import SUPPORTED, is_installed
from client_emu.client import Client, ConnectFailed
from client_emu.events import Error, Event, Failed, as_json, as_text
from client_emu.launch import MAX_FILE, parse_launch_untrusted
from client_emu.lifecycle import Phase
from client_emu.login import Ask
from client_emu.options import (
    MAX_MTU,
    MIN_MTU,
    ClientOptions,
    parse_compression,
    parse_gateway,
    parse_pin,
    parse_token,
)

MAX_PASSWORD_FILE: Final = 64 * 1024  # bytes read in search of the first line
MAX_COMMAND: Final = 64 * 1024  # bytes of one line on stdin

Report = Callable[[Event], None]

app = App(name="client-emu", help="A headless VPN client that behaves as AnyConnect does.", version_flags=[])


class UsageError(Exception):
    """The command line asks for what cannot be; the text is for the user."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (CycloptsError, UsageError) as error:
        print(f"client-emu: {error}", file=sys.stderr)  # noqa: T201 - this is what a command line does
        return 2
    return code if isinstance(code, int) else 0


Flag = Annotated[bool, Parameter(negative="")]


@app.command
def connect(
    url: str,
    /,
    *,
    user: str | None = None,
    password_file: Path | None = None,
    second_password: str | None = None,
    group: str | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    ca: Path | None = None,
    pin: str | None = None,
    cookie: str | None = None,
    show_cookie: Flag = False,
    mtu: int | None = None,
    dpd: float | None = None,
    no_dtls: Flag = False,
    no_ipv6: Flag = False,
    compression: str = "none",
    tun: str | None = None,
    json: Flag = False,
) -> int:
    """Log in, connect, and stay until the session ends or a signal comes.

    Parameters
    ----------
    url
        The headend: https://HOST[:PORT][/GROUP-URL].
    user
        The user's name.
    password_file
        A file whose first line is the password.
    second_password
        The answer to a second factor.
    group
        The group to choose, by its label or its value.
    cert
        A client certificate, PEM.
    key
        Its private key, PEM; without it the key is in the certificate's file.
    ca
        Trust servers whose certificate this authority signed, PEM; the default is what the system trusts.
    pin
        Trust the server with this key alone: pin-sha256:BASE64.
    cookie
        Resume a session instead of logging in: a token, webvpn=TOKEN, or a list of cookies.
    show_cookie
        Show the session's cookie when connected.
    mtu
        The MTU to ask for, bytes.
    dpd
        Probe the headend after this many seconds of silence, whatever it says; 0 for never.
    no_dtls
        Use TLS alone.
    no_ipv6
        Ask for no IPv6 address.
    compression
        all, none, or a comma list of oc-lz4, lzs and deflate.
    tun
        Make a kernel TUN device of this name, instead of an adapter in user space.
    json
        Print one JSON event per line, and take orders as JSON lines on stdin.
    """
    if pin is not None and ca is not None:
        raise UsageError("--pin and --ca are two ways to trust a server: give one")
    if key is not None and cert is None:
        raise UsageError("--key needs --cert")
    if mtu is not None and not MIN_MTU <= mtu <= MAX_MTU:
        raise UsageError(f"--mtu is from {MIN_MTU} to {MAX_MTU} bytes")
    if dpd is not None and not 0 <= dpd <= 86400:
        raise UsageError("--dpd is from 0 to 86400 seconds")
    try:
        options = ClientOptions(
            gateway=parse_gateway(url),
            user=user,
            password=_first_line(password_file) if password_file is not None else None,
            second_password=second_password,
            group=group,
            certificate=cert,
            key=key,
            ca=ca,
            pin=parse_pin(pin) if pin is not None else None,
            token=parse_token(cookie) if cookie is not None else None,
            show_cookie=show_cookie,
            mtu=mtu,
            dpd=dpd,
            dtls=not no_dtls,
            ipv6=not no_ipv6,
            compression=parse_compression(compression, tuple(filter(is_installed, SUPPORTED))),
            tun=tun,
        )
        report = _report_json if json else _report_text
        ask = _ask_terminal if not json and os.isatty(0) and os.isatty(1) else None
        client = Client(options, on_event=report, ask=ask)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return trio.run(_run, client, report, json)


@app.command
def launch(
    file: Path,
    /,
    *,
    show_cookie: Flag = False,
    mtu: int | None = None,
    dpd: float | None = None,
    no_dtls: Flag = False,
    no_ipv6: Flag = False,
    compression: str = "none",
    tun: str | None = None,
    json: Flag = False,
) -> int:
    """Connect with the session of a web portal, and stay until it ends or a signal comes.

    Parameters
    ----------
    file
        What "Start AnyConnect" in the portal has saved.
    show_cookie
        Show the session's cookie when connected.
    mtu
        The MTU to ask for, bytes.
    dpd
        Probe the headend after this many seconds of silence, whatever it says; 0 for never.
    no_dtls
        Use TLS alone.
    no_ipv6
        Ask for no IPv6 address.
    compression
        all, none, or a comma list of oc-lz4, lzs and deflate.
    tun
        Make a kernel TUN device of this name, instead of an adapter in user space.
    json
        Print one JSON event per line, and take orders as JSON lines on stdin.
    """
    try:
        with file.open("rb") as stream:
            session = parse_launch_untrusted(stream.read(MAX_FILE + 1))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from error
    return connect(
        session.gateway.url,
        pin=session.pin,
        cookie=session.token,
        show_cookie=show_cookie,
        mtu=mtu,
        dpd=dpd,
        no_dtls=no_dtls,
        no_ipv6=no_ipv6,
        compression=compression,
        tun=tun,
        json=json,
    )


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_PASSWORD_FILE)
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--password-file: {error}") from error


def _report_json(event: Event) -> None:
    _print_line(as_json(event))


def _report_text(event: Event) -> None:
    _print_line(as_text(event))


def _print_line(line: str) -> None:
    try:
        print(line, flush=True)  # noqa: T201 - the product's output
    except BrokenPipeError:
        pass  # nobody reads any more; the connection goes on until it is told to end


async def _ask_terminal(question: Ask) -> str | None:
    if question.message:
        _print_line(question.message)
    read = getpass.getpass if question.secret else input
    prompt = question.prompt if question.prompt.endswith(":") else f"{question.prompt}:"
    try:
        return await trio.to_thread.run_sync(read, f"{prompt} ", abandon_on_cancel=True)
    except EOFError:
        return None


async def _run(client: Client, report: Report, take_orders: bool) -> int:
    code = 1
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_signals, signals, client, report, nursery.cancel_scope)
            try:
                async with client:
                    if take_orders:
                        nursery.start_soon(_take_orders, client, report)
                    code = (await client.wait_ended()).exit_code
            except ConnectFailed:
                code = 1
            nursery.cancel_scope.cancel()
    return code


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
    buffer = b""
    while True:
        # a thread, for stdin may be a file, which no event loop can wait for
        try:
            data = await trio.to_thread.run_sync(os.read, 0, 4096, abandon_on_cancel=True)
        except OSError:
            return  # stdin is closed
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            if line.strip():
                await _obey(line, client, report)
        if len(buffer) > MAX_COMMAND:
            report(Error("a command longer than 64 KiB"))
            return


async def _obey(line: bytes, client: Client, report: Report) -> None:
    try:
        order = json_module.loads(line)
        verb = order["do"]
    except (ValueError, KeyError, TypeError, RecursionError):
        report(Error('a command is a line such as {"do": "disconnect"}'))
        return
    match verb:
        case "disconnect":
            await client.disconnect()
        case "detach":
            await client.detach()
        case "reconnect":
            client.reconnect()
        case _:
            report(
                Error(f"there is no command {str(verb)[:64]!r}; there are disconnect, detach and reconnect")
            )
