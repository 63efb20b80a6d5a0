"""Messages on the wire: a headend with sessions, and hosts that receive UDP and TCP, or do not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from asa_emu.__main__ import main
from asa_emu.app import HostPort, Running
from asa_emu.config import LogHost
from asa_emu.session.selection import Logoff
from asa_emu.wire.frames import MAGIC, PacketType, disconnect_payload
from client_emu.events import Dtls
from tests.headend_lab import (
    CONFIG,
    RawClient,
    client,
    headend,
    login_document,
    session_of,
    tunnel,
    udp_socket,
)

LOGIN = [725001, 725016, 725002, 113012, 113009, 113008, 734001, 113039]
ADDRESSES = [737026, 737006, 737026, 737006]


class Collector:
    """A syslog host on UDP."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self.port: int = sock.getsockname()[1]

    async def lines(self, last: int, limit: float = 30.0) -> list[str]:
        """All lines up to the next one of this number."""
        lines: list[str] = []
        with trio.fail_after(limit):
            while not lines or number_of(lines[-1]) != last:
                lines.append((await self.sock.recv(65535)).decode())
        return lines

    async def quiet(self, seconds: float = 1.0) -> bool:
        """Whether nothing comes for so long."""
        with trio.move_on_after(seconds):
            await self.sock.recv(65535)
            return False
        return True


def number_of(line: str) -> int:
    """The number of a message."""
    found = re.search(r"%ASA-(?:[a-z]+-)?[0-7]-(\d{6}): ", line)
    assert found, line
    return int(found[1])


def numbers(lines: list[str]) -> list[int]:
    return [number_of(line) for line in lines]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    sock = await udp_socket()
    with sock:
        yield Collector(sock)


def logging(*lines: str) -> str:
    """The configuration, with these lines about messages."""
    return CONFIG + "".join(f"{line}\n" for line in ("logging enable", "logging timestamp", *lines))


@asynccontextmanager
async def logged(state: Path, collector: Collector, *lines: str) -> AsyncIterator[Running]:
    """A headend that sends all but the debugging messages to the collector."""
    host = f"!emu logging host 127.0.0.1 udp/{collector.port}"
    async with headend(state, logging("logging trap informational", host, *lines)) as running:
        yield running


@pytest.mark.statement("S9", "S136")
async def test_a_session_in_messages(state: Path, collector: Collector, mock_time: None) -> None:
    async with logged(state, collector, "logging device-id hostname") as asa:
        async with await RawClient.open(asa) as raw:
            token = await raw.log_in("user001")
            lines = await collector.lines(113039)
            assert numbers(lines) == LOGIN
            assert lines[0].startswith("<166>Nov 30 2012 22:13:24 ciscoasa : %ASA-6-725001: ")
            await raw.connect(token)
            up = numbers(await collector.lines(722022))
            assert up == [*ADDRESSES, 722055, 722051, 722033, 722022]
        down = await collector.lines(725007)
        assert numbers(down) == [722037, 722023, 716058, 725007]
        assert down[0].endswith("SVC closing connection: Transport closing.")
        async with await RawClient.open(asa) as raw:
            await raw.connect(token)
            resumed = numbers(await collector.lines(722022))
            assert resumed == [725001, 725016, 725002, 716059, 722034, 722022]
            await raw.send(PacketType.DISCONNECT, disconnect_payload("User requested: disconnect."))
            end = await collector.lines(725007)
        assert numbers(end) == [722012, 722037, 722023, 737016, 737016, 113019, 725007]
        assert "SVC Message: 16/NOTICE: User requested: disconnect..\n" in f"{end[0]}\n"
        assert end[-2].endswith("Reason: User Requested")


async def test_dtls_in_messages(state: Path, collector: Collector, mock_time: None) -> None:
    async with logged(state, collector, "logging list VPN message 722022-722023") as asa:
        async with client(asa, "user001") as connected:
            await connected.next_event(Dtls)
            await collector.lines(722022)
            lines = await collector.lines(722022)
            assert numbers(lines) == [725001, 725002, 722033, 722022]
            assert "for DTLSv1.2 session" in lines[1]
            dtls = session_of(asa, "user001").dtls
            assert dtls is not None
            asa.gateway.headend.db.logoff(Logoff("all"), asa.gateway.now())
            asa.gateway.after_batch()
            end = numbers(await collector.lines(113019))
        assert end == [722037, 722023, 725007, 722023, 737016, 737016, 113019]


@pytest.mark.statement("S34a")
async def test_a_dead_peer_in_messages(state: Path, collector: Collector, mock_time: None) -> None:
    async with logged(state, collector) as asa, tunnel(asa, "user001"):
        await collector.lines(722022)
        lines = await collector.lines(725007, limit=200.0)
        assert numbers(lines) == [722037, 722023, 716058, 725007]
        assert lines[0].endswith("SVC closing connection: DPD failure.")


async def test_a_rejected_login_in_messages(state: Path, collector: Collector, mock_time: None) -> None:
    async with logged(state, collector) as asa:
        async with await RawClient.open(asa) as raw:
            await raw.request("POST", "/", login_document("user001", "hunter2"))
            await raw.request("POST", "/", login_document("hunter2", "pw"))
        lines = await collector.lines(725007)
    assert numbers(lines) == [*LOGIN[:3], 113015, 716039, 113015, 716039, 725007]
    assert "reason = Invalid password" in lines[3]
    assert "reason = User was not found" in lines[5]
    assert not [line for line in lines if "hunter2" in line or "user001" in line]


async def test_bad_tokens_and_frames_in_messages(state: Path, collector: Collector, mock_time: None) -> None:
    async with logged(state, collector, "logging trap warnings") as asa:
        async with await RawClient.open(asa) as raw:
            assert (await raw.connect("0" * 64)).status == 401
        (line,) = await collector.lines(722003)
        assert line.endswith("%ASA-4-722003: IP 127.0.0.1 Error authenticating SVC connect request.")
        async with tunnel(asa, "user001") as raw:
            await raw.say(MAGIC + b"\0\0\0\1")
            assert numbers(await collector.lines(722037)) == [722051, 722017, 722037]


async def test_no_token_and_no_password_in_any_message(
    state: Path, collector: Collector, mock_time: None
) -> None:
    async with logged(state, collector, "logging trap debugging") as asa:
        async with await RawClient.open(asa) as raw:
            token = await raw.log_in("user001")
            await raw.connect(token)
        text = "\n".join(await collector.lines(725007))
    assert token not in text
    assert "= pw" not in text


async def test_a_host_is_added_and_removed_live(state: Path, collector: Collector, mock_time: None) -> None:
    async with headend(state, logging("logging trap informational")) as asa:
        editor = asa.gateway.headend.config.editor()
        host = f"logging host 127.0.0.1 udp/{collector.port}"
        assert editor.execute(f"!emu {host}").ok
        await (await RawClient.open(asa)).stream.aclose()
        assert numbers(await collector.lines(725007)) == [725001, 725016, 725002, 725007]
        assert ", UDP TX:4 errors: 0  dropped: 0\n" in asa.gateway.headend.syslog.show_logging()
        assert editor.execute(f"no {host}").ok
        await (await RawClient.open(asa)).stream.aclose()
        assert await collector.quiet()


async def test_a_udp_host_that_is_down_costs_an_error(state: Path, mock_time: None) -> None:
    with await udp_socket() as gone:
        port = gone.getsockname()[1]
    host = f"!emu logging host 127.0.0.1 udp/{port}"
    async with headend(state, logging("logging trap informational", host)) as asa:
        await (await RawClient.open(asa)).stream.aclose()
        await trio.sleep(1)
        (channel,) = asa.gateway.headend.syslog.channels
        assert channel.errors > 0


async def test_tcp_lines_wait_for_their_host(state: Path, mock_time: None) -> None:
    port = await free_port()
    host = f"!emu logging host 127.0.0.1 tcp/{port}"
    config = logging("logging trap informational", "logging queue 5", host)
    async with headend(state, config) as asa, trio.open_nursery() as nursery:
        await (await RawClient.open(asa)).stream.aclose()
        await (await RawClient.open(asa)).stream.aclose()
        await trio.sleep(5)
        (channel,) = asa.gateway.headend.syslog.channels
        assert (channel.connected, channel.sent, channel.dropped) == (False, 0, 3)
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        async with listener:
            stream = await listener.accept()
            assert await tcp_numbers(stream, 5) == [725001, 725016, 725002, 725007, 725001]
            assert channel.connected
            # and when the connection breaks, another one is made
            await stream.aclose()
            stream = await listener.accept()
            await (await RawClient.open(asa)).stream.aclose()
            assert await tcp_numbers(stream, 4) == [725001, 725016, 725002, 725007]
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def tcp_numbers(stream: trio.SocketStream, count: int) -> list[int]:
    data = b""
    with trio.fail_after(30):
        while data.count(b"\n") < count:
            more = await stream.receive_some()
            assert more
            data += more
    return numbers(data.decode().splitlines())


async def free_port() -> int:
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_a_flag_needs_no_logging_lines(state: Path, collector: Collector, mock_time: None) -> None:
    flag = LogHost("", "127.0.0.1", "udp", collector.port)
    async with headend(state, syslog=flag) as asa:
        await (await RawClient.open(asa)).stream.aclose()
        lines = await collector.lines(725007)
    assert numbers(lines) == [725001, 725016, 725002, 725007]
    assert lines[0].startswith("<166>Nov 30 2012 22:13:24: %ASA-6-725001: ")


async def test_the_operators_log_can_be_an_asas(
    state: Path, mock_time: None, capsys: pytest.CaptureFixture[str]
) -> None:
    async with headend(state, log_format="asa", log_level="info") as asa:
        await (await RawClient.open(asa)).stream.aclose()
        await trio.sleep(1)
        text = capsys.readouterr().err
    assert numbers(text.splitlines()) == [725001, 725016, 725002, 725007]
    assert text.startswith("Nov 30 2012 22:13:24: %ASA-6-725001: Starting SSL handshake with client outside:")


async def test_show_logging_on_the_console(state: Path, mock_time: None) -> None:
    async with headend(state, logging("logging buffered informational")) as asa:
        await (await RawClient.open(asa)).stream.aclose()
        await trio.sleep(1)
        text = asa.gateway.headend.syslog.show_logging()
    assert "Buffer logging: level informational, 4 messages logged\n" in text


def test_the_flags_form_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("127.0.0.1:514", "tls:127.0.0.1:514", "udp:127.0.0.1", "udp:127.0.0.1:0", "udp:host:514"):
        assert main(["serve", "--syslog", text]) == 2
        assert "write udp:IP:PORT or tcp:IP:PORT" in capsys.readouterr().err
    assert HostPort.parse("127.0.0.1:514").port == 514
