"""The interactive client: vpncli's verbs, its questions and its lines, at a terminal or a pipe.

A `Console` reads commands from a `Terminal`, makes a `Client` for each connect, and prints what the journal
tells as it happens. Answers to a login's questions come from the same terminal, so a script may pipe them in.
The layout is that of recorded vpncli sessions; `suspend`, `resume`, `unplug`, `plug`, `history` and `events`
are verbs of the emulator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from client_emu.client import Client
from client_emu.connection import ConnectFailed
from client_emu.dial import Asker
from client_emu.journal import Message
from client_emu.lifecycle import Phase
from client_emu.options import ClientOptions
from client_emu.orders import OrderRefused, carry_out
from client_emu.terminal import Terminal, asker

HELP: Final = """\
    connect [HOST]     log in to a host of the profile, or to any headend
    disconnect         log off
    state              where the connection stands
    stats              what it is and what it carried
    hosts              the hosts of the profile
    profile            the preferences in force
    history            what was told so far
    events             the same as records of the event viewer
    suspend, resume    put the machine to sleep, wake it up
    unplug [NAME]      pull an interface; plug [NAME [ADDRESS]] puts it back
    version, help, exit
"""
UNKNOWN: Final = "Not Available"
TOLD_PREFERENCES: Final = (
    *("AutoReconnect", "AutoReconnectBehavior", "AutoConnectOnStart", "AutoUpdate", "AuthenticationTimeout"),
    *("IPProtocolSupport", "AllowManualHostInput"),
)


MakeClient = Callable[[str | None, Asker, Callable[[Message], None]], Client]


class Console:
    """One interactive session, with one connection at a time. Enter commands by `run`."""

    def __init__(self, terminal: Terminal, options: ClientOptions, make: MakeClient) -> None:
        """`options` are those before any host is known; `make` may raise ValueError with a sentence."""
        self._terminal = terminal
        self._options = options
        self._make = make
        self._client: Client | None = None

    async def run(self, version: str, *, connect: bool = False) -> None:
        """Read commands until `exit` or the end of input; then log off."""
        write = self._terminal.write
        write(f"client-emu, a stand-in for AnyConnect (version {version}) .\n")
        told = ("state: Disconnected", "state: Disconnected", "notice: Ready to connect.")
        write("\n".join(f"  >> {text}" for text in (*told, "registered with local VPN subsystem.")))
        async with trio.open_nursery() as nursery:
            if connect:
                await self._connect(nursery, None)
            while (line := await self._terminal.read("VPN> ")) is not None:
                verb, *words = line.split() or [""]
                if verb in ("exit", "quit"):
                    break
                await self._obey(nursery, verb, words, version)
            write("goodbye...")
            if self._client is not None:
                await self._client.disconnect()

    async def _obey(self, nursery: trio.Nursery, verb: str, words: list[str], version: str) -> None:
        write, client = self._terminal.write, self._client
        match verb:
            case "":
                pass
            case "connect":
                await self._connect(nursery, words[0] if words else None)
            case "help" | "?":
                write(HELP)
            case "version":
                write(f"  >> client-emu, a stand-in for AnyConnect (version {version}) .")
            case "state":
                write(f"  >> state: {state_of(client)}")
            case "stats":
                write(statistics(client))
            case "hosts":
                hosts = self._options.profile.hosts if self._options.profile is not None else ()
                write("\n".join(["[hosts]:", *(f"    > {host.name}" for host in hosts)]))
            case "profile":
                write(self._preferences())
            case _ if client is None:
                write(f"  >> error: {verb[:64]!r} needs a connection, or is no command; try help")
            case "history":
                write("\n".join(client.journal.history))
            case "events":
                write("\n".join(str(record) for record in client.journal.records))
            case _:
                order = dict(zip(("interface", "address"), words, strict=False))
                try:
                    await carry_out(client, {"do": verb, **order})
                except OrderRefused as error:
                    write(f"  >> error: {error}")

    async def _connect(self, nursery: trio.Nursery, host: str | None) -> None:
        if self._client is not None and self._client.phase is not Phase.ENDED:
            self._terminal.write("  >> error: there is a connection already; disconnect first")
            return
        try:
            self._client = self._make(host, asker(self._terminal), self._show)
        except ValueError as error:
            self._terminal.write(f"  >> error: {error}")
            return
        await nursery.start(self._hold, self._client)

    async def _hold(self, client: Client, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with client:
                task_status.started()
                await client.wait_ended()
        except ConnectFailed:
            task_status.started()  # the journal has said why

    def _show(self, message: Message) -> None:
        self._terminal.write(message.line)

    def _preferences(self) -> str:
        profile = self._options.profile
        lines = [f"[profile]: {profile.source if profile else 'none'}"]
        for name in TOLD_PREFERENCES:
            said = profile.preferences.get(name) if profile is not None else None
            yields = " (user controllable)" if profile is None or (said and said.user_controllable) else ""
            lines.append(f"    {name + ':':<29}{self._options.preference(name)}{yields}")
        return "\n".join(lines)


def state_of(client: Client | None) -> str:
    """vpncli's word for where the connection stands."""
    if client is None:
        return "Disconnected"
    if client.lifecycle.suspended_at is not None:
        return "Paused"
    return "Disconnected" if client.phase is Phase.ENDED else client.phase.name.capitalize()


def statistics(client: Client | None) -> str:
    """The answer to `stats`."""
    told: dict[str, dict[str, object]] = {"Connection Information": {"Connection State": state_of(client)}}
    if client is not None and client.connected_at is not None and client.phase is not Phase.ENDED:
        seconds = int(client.now() - client.connected_at)
        tls, dtls = client.tls_traffic, client.dtls_traffic
        whole = {"0.0.0.0/0", "::/0"}.issuperset(client.routes)
        protocol, _, cipher = (client.dtls_cipher or client.tls_cipher or UNKNOWN).partition(" ")
        told["Connection Information"] |= {
            "Tunnel Mode (IPv4)": "Tunnel All Traffic" if whole else "Split Include",
            "Duration": f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}",
        }
        told["Address Information"] = {
            "Client Address (IPv4)": client.ip4 or UNKNOWN,
            "Client Address (IPv6)": client.ip6 or UNKNOWN,
            "Server Address": client.server or UNKNOWN,
        }
        for title, what, fact in (
            ("Bytes", "Bytes", "bytes"),
            ("Frames", "Packets", "packets"),
            ("Control Frames", "Control Packets", "control"),
        ):
            told[title] = {
                f"{what} {word}": getattr(tls, f"{fact}_{way}") + getattr(dtls, f"{fact}_{way}")
                for word, way in (("Sent", "out"), ("Received", "in"))
            }
        told["Transport Information"] = {"Protocol": protocol, "Cipher": cipher or UNKNOWN}
    blocks = []
    for title, facts in told.items():
        lines = "\n".join(f"    {name + ':':<29}{value}" for name, value in facts.items())
        blocks.append(f"[ {title} ]\n\n{lines}\n")
    return "\n".join(blocks)
