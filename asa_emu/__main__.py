"""The command line of `asa-emu`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import trio
from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env

from asa_emu import __version__
from asa_emu.app import HostPort, LogFormat, LogLevel, Options, UsageError, default_state_directory
from asa_emu.app import serve as serve_headend
from asa_emu.config import LogHost

app = App(
    name="asa-emu",
    version=__version__,
    help="A live Cisco-ASA-style AnyConnect headend on your own machine, for tests. No VPN for production.",
    config=Env("ASA_EMU_", command=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every way to run headends is told.

    Parameters
    ----------
    time
        `real`, or how many emulated seconds pass in a second, such as 60.
    log_format
        The operator's log on stderr; `asa` prints the messages that an ASA would log.
    log_level
        The least severity that is logged.
    syslog
        udp:IP:PORT or tcp:IP:PORT to send the messages to that an ASA would log.
    keylog
        Append TLS and DTLS secrets to this file, for Wireshark.
    state
        Directory of the certificate authority (ca.pem) and the server's key, ~/.local/state/asa-emu unless
        given.
    ready_file
        Write addresses, API tokens and key pin to this file once connections are accepted, as JSON; it goes
        with the headend.
    seed
        Makes what is not secret repeatable, such as the first session index.
    """

    time: str = "real"
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"
    syslog: str | None = None
    keylog: Path | None = None
    state: Path | None = None
    ready_file: Path | None = None
    seed: Annotated[int | None, Parameter()] = None

    def options(self, config: Path | None, **own: Any) -> Options:
        """Options of a command, with its `own` ones. Raises `UsageError`."""
        return Options(
            config=config,
            rate=_rate(self.time),
            log_format=self.log_format,
            log_level=self.log_level,
            syslog=None if self.syslog is None else _syslog_host(self.syslog),
            keylog=self.keylog,
            state=self.state or default_state_directory(),
            ready_file=self.ready_file,
            seed=self.seed,
            **own,
        )


_COMMON: Final = Common()
_Common = Annotated[Common, Parameter(name="*")]


@app.command
def serve(
    config: Path | None = None,
    /,
    *,
    listen: str | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    client_ca: Path | None = None,
    manage: str = "127.0.0.1:0",
    console: str | None = None,
    tun: str | None = None,
    state_link: str | None = None,
    common: _Common = _COMMON,
) -> int:
    """Run a headend until SIGINT or SIGTERM.

    Prints one line when it accepts connections. Exit codes: 0 stopped, 2 usage or configuration error, 3
    cannot bind.

    Parameters
    ----------
    config
        An ASA running-config. Without it: groups employees and contractors, user walter, password secret.
    listen
        HOST:PORT for TCP and UDP, 127.0.0.1:8443 unless given; port 0 takes any free one. Other addresses
        than loopback need a configuration of your own.
    cert
        PEM certificate chain of the server; made in the state directory unless given.
    key
        PEM private key that belongs to --cert.
    client_ca
        PEM file with the authorities that client certificates are checked against.
    manage
        HOST:PORT of the management API; its token is in the ready file.
    console
        HOST:PORT of a telnet console; off unless given. Elsewhere than on loopback it asks for a local user.
    tun
        Name of a kernel TUN device to be the inside, instead of the emulated network (needs root).
    state_link
        redis://HOST:PORT/DB where the headends of a failover pair or of a load-balancing cluster meet.
    """
    try:
        options = common.options(
            config,
            listen=_host_port(listen),
            cert=cert,
            key=key,
            client_ca=client_ca,
            manage=HostPort.parse(manage),
            console=_host_port(console),
            tun=tun,
            state_link=state_link,
        )
    except UsageError as error:
        return _refused(error)
    return trio.run(serve_headend, options)


@app.command
def cluster(
    config: Path | None = None,
    /,
    *,
    members: int = 2,
    listen: str = "127.0.0.1:8443",
    common: _Common = _COMMON,
) -> int:
    """Run a VPN load-balancing cluster in one process until SIGINT or SIGTERM.

    Clients are pointed at the cluster's address, where the director sends each of them on to the member with
    the least load. The members share the state directory. Exit codes as for serve.

    Parameters
    ----------
    config
        An ASA running-config, the same for every member; the built-in one without it.
    members
        How many there are, 1 to 10. The first one begins as the director.
    listen
        HOST:PORT of the cluster; its members have the addresses after this one, and the same port.
    """
    from asa_emu.cluster import run_cluster

    try:
        options = common.options(config, listen=HostPort.parse(listen))
    except UsageError as error:
        return _refused(error)
    return trio.run(serve_headend, options, partial(run_cluster, count=members))


@app.command
def pair(
    config: Path | None = None,
    /,
    *,
    listen: str | None = None,
    manage: str = "127.0.0.1:0",
    console: str | None = None,
    common: _Common = _COMMON,
) -> int:
    """Run both units of a failover pair in one process until SIGINT or SIGTERM.

    `no failover active` on the console makes the other unit take over. Exit codes as for serve.

    Parameters
    ----------
    config
        An ASA running-config, the same for both units; the built-in one without it.
    listen
        HOST:PORT that the active unit serves, 127.0.0.1:8443 unless given.
    manage
        HOST:PORT of the primary's management API; the secondary's has any free port.
    console
        HOST:PORT of a telnet console of the primary; off unless given.
    """
    from asa_emu.pair import run_pair

    try:
        options = common.options(
            config, listen=_host_port(listen), manage=HostPort.parse(manage), console=_host_port(console)
        )
    except UsageError as error:
        return _refused(error)
    return trio.run(serve_headend, options, run_pair)


@app.command
def demo(*, failover: bool = False) -> int:
    """Tell the life of one session, from log-in to log-off, on real sockets in a fraction of a second.

    Exit code 0 when every act happened as told, 1 otherwise.

    Parameters
    ----------
    failover
        Another story, in real time: the active unit of a pair is killed under clients whose pings go on.
    """
    # the client is not loaded by a headend that only serves
    if failover:
        from asa_emu.demo_failover import demo as tell
    else:
        from asa_emu.demo import demo as tell

    return tell()


# What ASA_EMU_MANAGE says to `serve` is where to listen; to the console it would be half of an answer.
@app.command(config=())
def console(
    *,
    command: Annotated[str | None, Parameter(name=("-c", "--command"))] = None,
    ready_file: Annotated[Path | None, Parameter(env_var="ASA_EMU_READY_FILE")] = None,
    manage: str | None = None,
    token: str | None = None,
    state: Annotated[Path | None, Parameter(env_var="ASA_EMU_STATE")] = None,
) -> int:
    """Type commands to a running headend, as on an ASA's console; the newest one unless another is named.

    A line that ends with ? is answered with help. Exit codes: 0, or 1 when the answer to -c is an ERROR, or 2
    when there is no such headend.

    Parameters
    ----------
    command
        One line to execute, confirmations answered yes, instead of a conversation.
    ready_file
        The ready file of the headend.
    manage
        Its management API, HOST:PORT; with --token.
    token
        The management token: manage_token of the ready file.
    state
        The state directory that the newest running headend is looked for in, ~/.local/state/asa-emu unless
        given.
    """
    from asa_emu.serve import attach

    try:
        if (manage is None) != (token is None):
            raise attach.Unreachable("--manage and --token belong together: give both or neither")
        if manage is not None and token is not None:
            target = attach.Target(manage, token)
        elif ready_file is not None:
            target = attach.from_ready_file(ready_file)
        else:
            target = attach.newest(state or default_state_directory())
        if command is not None:
            return attach.once(target, command, _show)
        return attach.converse(target, _show)
    except attach.Unreachable as error:
        print(f"asa-emu: {error}", file=sys.stderr)  # noqa: T201
        return 2


def _refused(error: UsageError) -> int:
    print(f"asa-emu: {error}", file=sys.stderr)  # noqa: T201
    return 2


def _host_port(text: str | None) -> HostPort | None:
    return None if text is None else HostPort.parse(text)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _rate(text: str) -> float:
    if text == "real":
        return 1.0
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1_000_000:
        raise UsageError(f"--time {text}: write real, or a rate such as 60 (more than 0, at most 1000000)")
    return rate


def _syslog_host(text: str) -> LogHost:
    protocol, _, rest = text.partition(":")
    try:
        to = HostPort.parse(rest)
        if protocol not in ("udp", "tcp") or not to.port:
            raise UsageError
    except UsageError:
        raise UsageError(f"--syslog {text}: write udp:IP:PORT or tcp:IP:PORT") from None
    return LogHost("", to.host, "udp" if protocol == "udp" else "tcp", to.port)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; the exit code is the program's."""
    try:
        return app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        print(f"asa-emu: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
