"""The telnet console over loopback: negotiation, echo, passwords, pages, several people, and its limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from asa_emu.app import HostPort, Running
from asa_emu.cli.terminal import MORE
from asa_emu.serve import console
from asa_emu.serve.console import IDLE_LIMIT, TelnetOptions
from tests.headend_lab import CONFIG, headend

IAC, SB, SE, WILL, WONT, DO, DONT = 255, 250, 240, 251, 252, 253, 254
ECHO, SUPPRESS_GO_AHEAD, TERMINAL_TYPE, WINDOW_SIZE = 1, 3, 24, 31


class Telnet:
    """A telnet client that shows what it got, options and all."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.shown = b""

    async def type(self, text: str | bytes) -> None:
        await self.stream.send_all(text.encode() if isinstance(text, str) else text)

    async def until(self, end: str, limit: float = 5.0) -> str:
        """What is shown up to `end`, which must come."""
        with trio.fail_after(limit):
            while end.encode() not in self.shown:
                data = await self.stream.receive_some()
                assert data, f"closed after {self.shown!r}"
                self.shown += data
        before, _, self.shown = self.shown.partition(end.encode())
        return (before + end.encode()).decode("latin-1")

    async def command(self, line: str, prompt: str = "# ") -> str:
        """Type a line; what comes after its echo, up to the prompt."""
        await self.type(f"{line}\r\n")
        await self.until(f"{line}\r\n")
        return (await self.until(prompt)).replace("\r\n", "\n")

    async def ended(self, limit: float) -> bool:
        """Whether the headend closes the connection in time."""
        with trio.move_on_after(limit):
            while data := await self.stream.receive_some():
                self.shown += data
            return True
        return False


@asynccontextmanager
async def telnet(running: Running) -> AsyncIterator[Telnet]:
    """A person at the console."""
    assert running.console is not None
    async with await trio.open_tcp_stream(running.console.host, running.console.port) as stream:
        yield Telnet(stream)


@pytest.fixture
async def asa_console(mock_time: None, state: Path) -> AsyncIterator[Running]:
    """A headend with a telnet console and an enable password."""
    config = f"{CONFIG}enable password sesame\n"
    async with headend(state, config, console=HostPort("127.0.0.1", 0)) as running:
        yield running


async def test_from_the_greeting_to_logging_off(asa_console: Running) -> None:
    async with telnet(asa_console) as person:
        greeting = (await person.until("ciscoasa> ")).encode("latin-1")
        assert greeting.startswith(bytes((IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD)))
        assert b"Type help or '?' for a list of available commands.\r\n" in greeting
        await person.type("enable\r\n")
        await person.until("Password: ")
        await person.type("sesame\r\n")
        assert await person.until("# ") == "\r\nciscoasa# "
        assert "UTC Fri Nov 30 2012\n" in await person.command("show clock")
        await person.type("exit\r\n")
        assert await person.ended(5.0)
        assert person.shown.endswith(b"\r\n\r\nLogoff\r\n")


async def test_the_sequence_that_netmiko_logs_in_with(asa_console: Running) -> None:
    async with telnet(asa_console) as script:
        await script.until("> ")
        assert "privilege level : 1\n" in await script.command("show curpriv", "> ")
        await script.command("enable", "Password: ")
        await script.type("sesame\n")
        await script.until("# ")
        assert await script.command("terminal pager 0") == "ciscoasa# "
        assert await script.command("configure terminal") == "ciscoasa(config)# "
        assert await script.command("terminal width 511") == "ciscoasa(config)# "
        assert await script.command("end") == "ciscoasa# "
        assert MORE not in await script.command("show running-config all")


async def test_the_sequence_that_netmikos_telnet_driver_logs_in_with(asa_console: Running) -> None:
    async with telnet(asa_console) as script:
        await script.until("> ")
        await script.command("terminal width 511", "> ")
        assert await script.command("terminal length 0", "> ") == "ciscoasa> "
        await script.command("enable", "Password: ")
        await script.type("sesame\n")
        await script.until("# ")
        assert MORE not in await script.command("show running-config all")


async def test_options_are_declined_once_and_never_argued_about(asa_console: Running) -> None:
    async with telnet(asa_console) as person:
        await person.until("> ")
        await person.type(bytes((IAC, DO, ECHO, IAC, DO, SUPPRESS_GO_AHEAD, IAC, WILL, SUPPRESS_GO_AHEAD)))
        await person.type(bytes((IAC, WILL, WINDOW_SIZE, IAC, DO, TERMINAL_TYPE, IAC, DONT, 5, IAC, WONT, 6)))
        await person.type(bytes((IAC, SB, WINDOW_SIZE, 0, 80, IAC, IAC, 24, IAC, SE)) + b"show cur\r\0")
        shown = (await person.until("P_UNPR")).encode("latin-1")
        assert shown.startswith(
            bytes((IAC, DONT, WINDOW_SIZE, IAC, WONT, TERMINAL_TYPE)) + b"show cur\r\nUsername"
        )


def test_options_may_be_cut_anywhere() -> None:
    data = b"a" + bytes((IAC, WILL, 31, IAC, SB, 31, 0, IAC, IAC, 1, IAC, SE, IAC, IAC, IAC, 241)) + b"b"
    whole = TelnetOptions().feed(data)
    assert whole == (b"a\xffb", bytes((IAC, DONT, 31)))
    options = TelnetOptions()
    pieces = [options.feed(bytes([byte])) for byte in data]
    assert (b"".join(keys for keys, _ in pieces), b"".join(answers for _, answers in pieces)) == whole


async def test_pages_wait_for_a_key(asa_console: Running) -> None:
    async with telnet(asa_console) as person:
        await person.until("> ")
        await person.command("enable", "Password: ")
        await person.type("sesame\r\n")
        await person.until("# ")
        await person.command("terminal pager 5")
        await person.type("show running-config\r\n")
        first = await person.until(MORE)
        assert first.count("\r\n") == 6
        await person.type("q")
        assert (await person.until("# ")).endswith("\rciscoasa# ")


async def test_several_people_at_once_each_in_a_mode_of_their_own(asa_console: Running) -> None:
    async with telnet(asa_console) as one, telnet(asa_console) as other:
        for person in (one, other):
            await person.until("> ")
        await one.command("enable", "Password: ")
        await one.type("sesame\r\n")
        await one.until("# ")
        await one.command("configure terminal")
        await one.command("hostname vpn-1")
        assert "P_UNPR" in await other.command("show curpriv", "vpn-1> ")
        assert "P_CONF" in await one.command("show curpriv")


async def test_whoever_does_not_touch_a_key_is_let_go(asa_console: Running) -> None:
    async with telnet(asa_console) as person:
        await person.until("> ")
        begun = trio.current_time()
        assert await person.ended(IDLE_LIMIT + 1)
        assert trio.current_time() - begun == pytest.approx(IDLE_LIMIT, abs=1.0)


async def test_too_many_are_turned_away(asa_console: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "MAX_TELNET", 1)
    async with telnet(asa_console) as first:
        await first.until("> ")
        async with telnet(asa_console) as second:
            assert await second.ended(5.0)
        assert "P_UNPR" in await first.command("show curpriv", "> ")


async def test_one_who_hangs_up_in_the_middle_of_an_answer_disturbs_nobody(asa_console: Running) -> None:
    async with telnet(asa_console) as bystander:
        await bystander.until("> ")
        for _ in range(3):
            async with telnet(asa_console) as rude:
                await rude.type(b"show version\r\n" * 50 + b"\xff")
        assert "P_UNPR" in await bystander.command("show curpriv", "> ")


async def test_away_from_loopback_a_local_user_is_asked_for(mock_time: None, state: Path) -> None:
    config = f"{CONFIG}username boss password pw privilege 15\n"
    async with headend(state, config, console=HostPort("0.0.0.0", 0)) as running:
        assert running.console is not None
        stream = await trio.open_tcp_stream("127.0.0.1", running.console.port)
        async with stream:
            person = Telnet(stream)
            await person.until("Username: ")
            await person.type("boss\r\n")
            await person.until("Password: ")
            await person.type("pw\r\n")
            assert await person.until("# ") == "\r\nciscoasa# "
