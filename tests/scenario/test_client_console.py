"""vpncli's verbs at a terminal that a test plays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from asa_emu.app import Running
from client_emu import Client, ClientOptions
from client_emu.console import Console
from client_emu.dial import Asker
from client_emu.gateway import Gateway
from client_emu.journal import Message
from client_emu.profile import parse_profile_untrusted
from tests.client_lab import USER, lab
from tests.headend_lab import PASSWORD

pytestmark = pytest.mark.usefixtures("mock_time", "log")


class Script:
    """A terminal with answers that were typed ahead; a number is a pause in seconds, a call is made."""

    def __init__(self, *typed: str | float | Callable[[], object]) -> None:
        self.typed = list(typed)
        self.printed = ""

    def write(self, text: str) -> None:
        self.printed += text + "\n"

    async def read(self, prompt: str, *, secret: bool = False) -> str | None:
        while self.typed:
            said = self.typed.pop(0)
            if isinstance(said, str):
                self.printed += prompt + ("" if secret else said) + "\n"
                return said
            if isinstance(said, float):
                await trio.sleep(said)
            else:
                said()
        self.printed += prompt
        return None


async def play(
    asa: Running, *typed: str | float | Callable[[], object], profile: str = ""
) -> tuple[str, Client]:
    """What was printed, and the last client."""
    clients: list[Client] = []
    gateway = Gateway("127.0.0.1", asa.https.port)
    read = parse_profile_untrusted(profile.encode()) if profile else None
    options = ClientOptions(gateway, user=USER, pin=asa.pin, profile=read)

    def make(host: str | None, ask: Asker, on_message: Callable[[Message], None]) -> Client:
        chosen = options
        if read is not None:
            chosen = ClientOptions.from_profile(read, host, user=USER, pin=asa.pin)
        if host == "nowhere":
            raise ValueError("not an address of a headend")
        clients.append(
            Client(
                replace(chosen, ask_all=True), timeline=asa.gateway.timeline, ask=ask, on_message=on_message
            )
        )
        return clients[-1]

    terminal = Script(*typed)
    await Console(terminal, options, make).run("4.10.07061")
    return terminal.printed, clients[-1] if clients else None  # type: ignore[return-value]


async def test_connect_and_disconnect_read_as_recorded(state: Path) -> None:
    async with lab(state) as asa:
        printed, _ = await play(asa, "connect lab", "", "", PASSWORD, "state", "disconnect", "state", "exit")
    assert (
        printed
        == """\
client-emu, a stand-in for AnyConnect (version 4.10.07061) .

  >> state: Disconnected
  >> state: Disconnected
  >> notice: Ready to connect.
  >> registered with local VPN subsystem.
VPN> connect lab
  >> contacting host (127.0.0.1) for login information...
  >> notice: Contacting 127.0.0.1.
  >> Please enter your username and password.
    0) staff
Group: [staff] \n\
Username: [user001] \n\
Password: \n\
  >> state: Connecting
  >> notice: Establishing VPN session...
  >> notice: The AnyConnect Downloader is performing update checks...
  >> notice: Checking for profile updates...
  >> notice: Checking for product updates...
  >> notice: Checking for customization updates...
  >> notice: Performing any required updates...
  >> notice: The AnyConnect Downloader updates have been completed.
  >> state: Connecting
  >> notice: Establishing VPN session...
  >> notice: Establishing VPN - Initiating connection...
  >> notice: Establishing VPN - Examining system...
  >> notice: Establishing VPN - Activating VPN adapter...
  >> notice: Establishing VPN - Configuring system...
  >> notice: Establishing VPN...
  >> state: Connected
  >> notice: Connected to 127.0.0.1.
VPN> state
  >> state: Connected
VPN> disconnect
  >> state: Disconnecting
  >> notice: Disconnect in progress, please wait...
  >> state: Connected
  >> notice: Connected to 127.0.0.1.
  >> state: Disconnecting
  >> state: Disconnecting
  >> state: Disconnected
  >> notice: Ready to connect.
VPN> state
  >> state: Disconnected
VPN> exit
goodbye...
"""
    )


async def test_a_banner_is_shown_and_may_be_declined(state: Path) -> None:
    async with lab(state, "banner value Be good.", "banner value Or else.") as asa:
        printed, vpn = await play(
            asa, "connect", "0", "", PASSWORD, "n", "connect", "staff", "", PASSWORD, "y"
        )
        assert "  >> notice: Please respond to banner.\n\nBe good.\nOr else.\n\naccept? [y/n]: n\n" in printed
        assert "  >> error: Connection attempt has failed. (the banner was not accepted)" in printed
        assert printed.count("  >> notice: Connected to 127.0.0.1.") >= 1
        assert vpn.ip4 is not None


async def test_stats_history_and_events(state: Path) -> None:
    async with lab(state) as asa:
        login = ("connect", "", "", PASSWORD)
        printed, vpn = await play(asa, "stats", *login, 61.0, "stats", "history", "events", "disconnect")
    first, _, rest = printed.partition("VPN> connect")
    assert "[ Connection Information ]\n\n    Connection State:            Disconnected\n" in first
    for line in (
        "    Connection State:            Connected",
        "    Tunnel Mode (IPv4):          Tunnel All Traffic",
        "    Duration:                    00:01:01",
        f"    Client Address (IPv4):       {vpn.ip4}",
        "    Server Address:              127.0.0.1",
        "    Bytes Sent:                  0",
        "    Protocol:                    DTLSv1.2",
        "    Cipher:                      PSK-AES256-GCM-SHA384",
        "[22:13:24] Establishing VPN session...",
        "Description : Message type information sent to the user:",
    ):
        assert f"\n{line}\n" in rest


async def test_sleep_and_cables(state: Path) -> None:
    async with lab(state) as asa:
        login = ("connect", "", "", PASSWORD)
        sleepy = ("unplug moon", "unplug wired", "state", 2.0, "plug wireless 127.0.0.3", 1.0, "state")
        printed, vpn = await play(asa, *login, *sleepy, "suspend", "state", 60.0, "resume", 1.0, "state")
        assert vpn.network.in_use.address == "127.0.0.3"
    assert "  >> error: no interface 'moon'; there are wired, wireless" in printed
    states = [line for line in printed.splitlines() if line.startswith("  >> state: ")]
    lost = ["Reconnecting", "Reconnecting", "Connected", "Connected"]
    slept = ["Paused", "Disconnected", "Disconnected"]
    assert states[-7:] == [f"  >> state: {word}" for word in lost + slept]


async def test_hosts_and_preferences_of_a_profile(state: Path) -> None:
    async with lab(state) as asa:
        profile = f"""<AnyConnectProfile><ClientInitialization>
        <AutoReconnect UserControllable="true">false</AutoReconnect></ClientInitialization><ServerList>
        <HostEntry><HostName>Lab</HostName><HostAddress>127.0.0.1:{asa.https.port}</HostAddress></HostEntry>
        <HostEntry><HostName>Other</HostName></HostEntry></ServerList></AnyConnectProfile>"""
        printed, vpn = await play(asa, "hosts", "profile", "connect Lab", "", "", PASSWORD, profile=profile)
        assert vpn.ip4 is not None
    assert "[hosts]:\n    > Lab\n    > Other\n" in printed
    assert "    AutoReconnect:               false (user controllable)\n" in printed
    assert "    AutoReconnectBehavior:       DisconnectOnSuspend\n" in printed


async def test_what_cannot_be_done_is_said(state: Path) -> None:
    async with lab(state) as asa:
        typed = ("dance", "suspend", "connect nowhere", "", "help", "version")
        login = ("connect", "", "", "wrong", "", PASSWORD)
        printed, vpn = await play(asa, *typed, *login, "connect", "dance")
        assert vpn.ip4 is not None
    for said in (
        "  >> error: 'dance' needs a connection, or is no command; try help",
        "  >> error: 'suspend' needs a connection, or is no command; try help",
        "  >> error: not an address of a headend",
        "    unplug [NAME]      pull an interface; plug [NAME [ADDRESS]] puts it back",
        "  >> Login failed.",
        "  >> error: there is a connection already; disconnect first",
    ):
        assert f"{said}\n" in printed
    assert "there is no command 'dance'; there are disconnect, detach" in printed
