"""What a client does not do twice, does not leave open, and does not fall over."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from asa_emu.transport.openssl import TlsBroken
from asa_emu.wire.auth_xml import AuthForm, FormField, auth_complete, auth_request
from asa_emu.wire.frames import PacketType, encode_frame
from asa_emu.wire.packet import echo_reply, parse_echo_untrusted
from client_emu import Client, ClientOptions, ConnectFailed, parse_gateway
from client_emu.journal import Message
from client_emu.login import Ask
from tests.fake_headend import TOKEN, FakeHeadend, Peer, fake_headend

Clock = trio.testing.MockClock
FORM = auth_request(AuthForm(fields=(FormField("username"), FormField("password", type="password"))))


def options_for(headend: FakeHeadend, *, ask_all: bool = False) -> ClientOptions:
    gateway = parse_gateway(f"127.0.0.1:{headend.port}")
    return ClientOptions(gateway, user="walter", password="secret", pin=headend.pin, ask_all=ask_all)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"x" * 70_000, "answer is too long"),
        (None, "answer took more than 30 s"),
        (b"", "does not speak HTTP"),
    ],
)
async def test_a_password_that_was_read_is_not_sent_again(
    tmp_path: Path, autojump_clock: Clock, body: bytes | None, reason: str
) -> None:
    passwords = 0

    async def script(peer: Peer) -> None:
        nonlocal passwords
        while True:
            passwords += b"secret" in await peer.request()
            if passwords and body is None:
                await trio.sleep_forever()
            if passwords and not body:
                return
            await peer.answer(body if passwords and body else FORM)

    async with fake_headend(tmp_path, script) as headend:
        with pytest.raises(ConnectFailed, match=reason):
            async with Client(options_for(headend)):
                pass
    assert passwords == 1


async def test_a_password_typed_slowly_goes_out_though_the_headend_hung_up_meanwhile(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.request()
            await peer.answer(FORM)
            return
        assert b"secret" in await peer.request()
        await peer.answer(auth_complete(TOKEN))
        await peer.grant()
        await trio.sleep_forever()

    async def ask(question: Ask) -> str:
        await trio.sleep(60)
        return "secret"

    async with fake_headend(tmp_path, script) as headend:
        options = replace(options_for(headend), password=None)
        async with Client(options, ask=ask) as vpn:
            assert vpn.ip4 == "10.1.1.5"
        assert headend.connections == 2


async def hung_up_after(
    directory: Path, enter: Callable[[ClientOptions, trio.CancelScope], Awaitable[None]]
) -> None:
    """Cancel `enter` after CONNECT; return when the headend sees the connection end."""
    hung_up = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.grant({"X-CSTP-Banner": "Be good."})
        try:
            await peer.frame()
        except TlsBroken:
            hung_up.set()

    async with fake_headend(directory, script) as headend:
        with trio.CancelScope() as scope:
            await enter(options_for(headend, ask_all=True), scope)
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await hung_up.wait()


async def test_leaving_while_the_session_comes_up_closes_its_tunnel(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    kept: list[Client] = []

    async def enter(options: ClientOptions, scope: trio.CancelScope) -> None:
        def on_message(message: Message) -> None:
            if message.text == "Establishing VPN...":
                scope.cancel()

        kept.append(Client(replace(options, ask_all=False), on_message=on_message))
        async with kept[0]:
            pytest.fail("it was to be left before it stands")

    await hung_up_after(tmp_path, enter)


async def test_leaving_while_the_banner_is_read_closes_the_connection(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    kept: list[Client] = []

    async def enter(options: ClientOptions, scope: trio.CancelScope) -> None:
        async def ask(question: Ask) -> str:
            assert question.message == "Be good."
            scope.cancel()
            await trio.sleep_forever()

        kept.append(Client(options, ask=ask))
        async with kept[0]:
            pass

    await hung_up_after(tmp_path, enter)


async def test_what_fits_no_packet_or_no_frame_harms_nothing(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.grant()
        while (frame := await peer.frame()).kind == PacketType.DATA:
            if (echo := parse_echo_untrusted(frame.payload)) is not None:
                await peer.say(encode_frame(PacketType.DATA, echo_reply(echo)))

    async with fake_headend(tmp_path, script) as headend, Client(options_for(headend)) as vpn:
        assert (await vpn.ping("10.1.1.1", size=17_000)).received == 0
        assert vpn.dropped == 1
        with pytest.raises(ValueError, match="an IPv4 packet of 70028 bytes"):
            await vpn.ping("10.1.1.1", size=70_000)
        for probe in (vpn.udp, vpn.tcp):
            with pytest.raises(ValueError, match="a port is a number from 1 to 65535"):
                await probe("10.1.1.1", 65_536, b"hello")
            with pytest.raises(ValueError, match="a probe carries at most 16000 bytes"):
                await probe("10.1.1.1", 7, bytes(16_001))
        assert (await vpn.ping("10.1.1.1")).received == 1
