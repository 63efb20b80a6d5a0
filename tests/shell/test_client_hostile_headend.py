"""Headends that lie, stall and break off: the client ends with a named reason, bounded, and never hangs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from asa_emu.transport.openssl import TlsBroken
from asa_emu.wire.auth_xml import AuthForm, FormField, auth_complete, auth_request
from asa_emu.wire.frames import PacketType, disconnect_payload, encode_frame
from client_emu import (
    AdapterChanged,
    Client,
    ClientOptions,
    ConnectFailed,
    Disconnected,
    Failed,
    Reconnected,
    parse_gateway,
)
from client_emu.events import Event
from client_emu.lifecycle import GAVE_UP
from client_emu.terminal import asker
from tests.fake_headend import PLAIN, FakeHeadend, Peer, fake_headend

Clock = trio.testing.MockClock


def options_for(headend: FakeHeadend, **changes: Any) -> ClientOptions:
    given = ClientOptions(
        parse_gateway(f"127.0.0.1:{headend.port}"), user="walter", password="secret", pin=headend.pin
    )
    return replace(given, **changes)


async def refusal(directory: Path, script: Callable[[Peer], Any], **changes: Any) -> str:
    """Connect to a headend that no session can come from; the reason of the `failed` event."""
    events: list[Event] = []
    async with fake_headend(directory, script) as headend:
        with pytest.raises(ConnectFailed) as caught:
            async with Client(options_for(headend, **changes), on_event=events.append):
                pass
    assert [str(caught.value)] == [event.reason for event in events if isinstance(event, Failed)]
    return str(caught.value)


async def ending(directory: Path, script: Callable[[Peer], Any], **changes: Any) -> tuple[Event, int]:
    """Connect, and wait for the end; the last event and the exit code."""
    async with fake_headend(directory, script) as headend, Client(options_for(headend, **changes)) as vpn:
        end = await vpn.wait_ended()
        return vpn.events[-1], end.exit_code


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"<" * 80_000, "too long"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n" + b"x" * 80_000, "too long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "without an answer"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", "no https address"),
        (b"", "took more than 30 s"),
    ],
    ids=[
        "ssh",
        "endless-header",
        "huge-body",
        "bad-chunk",
        "huge-chunk",
        "negative",
        "1xx",
        "http",
        "silence",
    ],
)
async def test_bad_http_is_named(tmp_path: Path, autojump_clock: Clock, answer: bytes, reason: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)
        await trio.sleep_forever()

    assert reason in await refusal(tmp_path, script)


async def test_trickling_does_not_extend_the_limit(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            await peer.say(b"a")
            await trio.sleep(5)

    started = trio.current_time()
    assert "took more than 30 s" in await refusal(tmp_path, script)
    # four packets of a DPD interval each
    assert trio.current_time() - started == pytest.approx(120, abs=1)


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><config-auth>&a;</config-auth>',
        b"<config-auth>" * 5000,
        b"<config-auth>" + b"<a/>" * 10_000 + b"</config-auth>",
        b"<config-auth>\xff\xfe</config-auth>",
    ],
    ids=["entities", "deep", "many", "bad-utf8"],
)
async def test_hostile_xml_is_refused(tmp_path: Path, autojump_clock: Clock, body: bytes) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(body)

    assert "cannot be read" in await refusal(tmp_path, script)


async def test_endless_forms_end(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(auth_request(AuthForm(fields=(FormField("state", type="hidden", value="1"),))))

    assert "more than 20 rounds" in await refusal(tmp_path, script)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"X-CSTP-MTU": "0"}, "X-CSTP-MTU"),
        ({"X-CSTP-MTU": str(2**31)}, "X-CSTP-MTU"),
        ({"X-CSTP-MTU": ""}, "no MTU"),
        ({"X-CSTP-Address": "10.1.1"}, "X-CSTP-Address"),
        ({"X-CSTP-Address": ""}, "no address"),
        ({"X-CSTP-Netmask": "10.0.0.1"}, "mask"),
        ({"X-CSTP-DPD": "-5"}, "X-CSTP-DPD"),
        ({"X-CSTP-Split-Include": "all"}, "X-CSTP-Split-Include"),
        ({"X-CSTP-Content-Encoding": "deflate"}, "was not offered"),
        ({"X-CSTP-Content-Encoding": "gzip"}, "X-CSTP-Content-Encoding"),
        ({"X-DTLS-Session-ID": "zz", "X-DTLS-Port": "443"}, "X-DTLS-Session-ID"),
    ],
)
async def test_answers_to_connect_that_make_no_sense(
    tmp_path: Path, autojump_clock: Clock, headers: dict[str, str], reason: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.grant(headers)
        await trio.sleep_forever()

    assert reason in await refusal(tmp_path, script)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("401 Unauthorized", "the headend refused the session: Unauthorized"),
        ("503 Service Unavailable\r\nX-Reason: No address available", "No address available"),
        ("500 Oops", "answered CONNECT with 500 Oops"),
    ],
)
async def test_refused_connect_says_why(
    tmp_path: Path, autojump_clock: Clock, status: str, reason: str
) -> None:
    asked: list[bytes] = []

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
        while True:
            asked.append(await peer.request())
            await peer.answer(b"", status=status)

    assert reason in await refusal(tmp_path, script)
    assert len(asked) == 1


async def test_nothing_is_sent_to_a_server_that_cannot_prove_itself(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        heard.append(await peer.request())

    reason = await refusal(tmp_path, script, pin=None)
    assert "does not verify" in reason
    assert "its key is pin-sha256:" in reason
    assert heard == []


async def test_certificate_has_to_name_the_host(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.grant()
        await trio.sleep_forever()

    async with fake_headend(tmp_path, script) as headend:
        trusting = options_for(headend, pin=None, ca=tmp_path / "ca.pem")
        async with Client(trusting) as vpn:
            assert vpn.ip4 == "10.1.1.5"
    other = tmp_path / "other"
    async with fake_headend(other, script, "127.0.0.2") as headend:
        with pytest.raises(ConnectFailed, match=r"not for 127\.0\.0\.1"):
            async with Client(options_for(headend, pin=None, ca=other / "ca.pem")):
                pass


async def test_no_tls_at_all(tmp_path: Path, autojump_clock: Clock) -> None:
    async def babble(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 mail.example ESMTP\r\n")
        await trio.sleep(60)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, babble, listeners)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(ConnectFailed, match="connecting"):
            async with Client(ClientOptions(parse_gateway(f"127.0.0.1:{port}"), password="secret")):
                pass
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "a frame begins with|frame begins with"),
        (b"STF\x01\xff\xff\x00\x00" + bytes(70_000), "65535 bytes"),
        (b"STF\x01\x00\x00\x00\x01", "eighth byte"),
        (encode_frame(PacketType.COMPRESSED, b"xyz"), "without agreed compression"),
    ],
    ids=["text", "too-long", "eighth-byte", "compressed"],
)
async def test_bad_frames_fail_the_connection(
    tmp_path: Path, autojump_clock: Clock, data: bytes, reason: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.grant()
        await peer.say(data)
        await trio.sleep_forever()

    event, code = await ending(tmp_path, script)
    assert isinstance(event, Failed)
    assert any(part in event.reason for part in reason.split("|"))
    assert code == 1


async def test_unknown_frames_and_wild_packets_are_ignored(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.grant()
        for kind in (1, 2, 6, 200):
            await peer.say(encode_frame(kind, b"?"))
        for packet in (b"", b"\x45", b"\x45" + bytes(19), b"\x60" + bytes(39), b"\xff" * 1500):
            await peer.say(encode_frame(PacketType.DATA, packet))
        await peer.say(encode_frame(PacketType.DPD_REQUEST, b"12345678"))
        answer = await peer.frame()
        assert (answer.kind, answer.payload) == (PacketType.DPD_RESPONSE, b"12345678")
        await peer.say(encode_frame(PacketType.DISCONNECT, disconnect_payload("Idle\nTimeout")))
        farewell = await peer.frame()
        assert farewell.kind == PacketType.DISCONNECT
        assert farewell.payload[:1] == b"\xb0"

    event, code = await ending(tmp_path, script)
    assert event == Disconnected("Idle.Timeout")
    assert code == 0


async def test_flood_of_requests_does_not_fill_memory(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.grant()
        flood = encode_frame(PacketType.DPD_REQUEST, bytes(1000)) * 16
        for _ in range(200):
            await peer.say(flood[: 16 * 1008])
        await peer.say(encode_frame(PacketType.TERMINATE))

    event, _ = await ending(tmp_path, script)
    assert event == Disconnected("the headend terminated the session")


async def test_other_address_on_reconnect_ends_the_session(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
            await peer.grant()
        else:
            assert b"X-CSTP-Address: 10.1.1.5\r\n" in await peer.grant({"X-CSTP-Address": "10.1.1.6"})
            await trio.sleep_forever()

    event, code = await ending(tmp_path, script)
    assert isinstance(event, Disconnected)
    assert "changed the address" in event.reason
    assert code == 1


@pytest.mark.statement("S50")
async def test_token_refused_on_reconnect_ends_the_session(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
            await peer.grant()
        else:
            await peer.request()
            await peer.answer(b"", status="401 Unauthorized")

    event, code = await ending(tmp_path, script)
    assert event == Disconnected("the headend refused the session: Unauthorized")
    assert code == 1


@pytest.mark.statement("S58")
async def test_headend_that_never_comes_back_is_given_up(tmp_path: Path, autojump_clock: Clock) -> None:
    seen: list[int] = []

    async def script(peer: Peer) -> None:
        seen.append(peer.number)
        if peer.number == 0:
            await peer.log_in()
            await peer.grant({"X-CSTP-Idle-Timeout": "300", "X-CSTP-Session-Timeout": "600"})

    started = trio.current_time()
    event, code = await ending(tmp_path, script)
    assert isinstance(event, Disconnected)
    assert trio.current_time() - started == pytest.approx(300, abs=1)
    assert 20 < len(seen) < 100
    assert code == 1


@pytest.mark.statement("S63")
async def test_silent_headend_is_noticed_by_dpd_alone(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
        await peer.grant({"X-CSTP-DPD": "30"})
        if peer.number == 0:
            probes = [await peer.frame() for _ in range(4)]
            assert {probe.kind for probe in probes} == {PacketType.DPD_REQUEST}
        await trio.sleep_forever()

    async with fake_headend(tmp_path, script) as headend, Client(options_for(headend)) as vpn:
        started = trio.current_time()
        event = await vpn.next_event(Reconnected)
        assert event.ip4 == "10.1.1.5"
        assert trio.current_time() - started == pytest.approx(150, abs=2)
    async with fake_headend(tmp_path, script) as headend, Client(options_for(headend, dpd=0)) as vpn:
        with trio.move_on_after(3600) as hour:
            await vpn.wait_ended()
        assert hour.cancelled_caught
        assert headend.connections == 1


async def test_keepalives_and_rekey_come_in_their_time(tmp_path: Path, autojump_clock: Clock) -> None:
    kinds: list[int] = []

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
        await peer.grant(
            {"X-CSTP-Keepalive": "20", "X-CSTP-Rekey-Time": "90", "X-CSTP-Rekey-Method": "new-tunnel"}
        )
        try:
            while True:
                kinds.append((await peer.frame()).kind)
        except TlsBroken:
            pass

    async with fake_headend(tmp_path, script) as headend, Client(options_for(headend)) as vpn:
        started = trio.current_time()
        await vpn.next_event(Reconnected)
        assert trio.current_time() - started == pytest.approx(90, abs=2)
        assert kinds == [PacketType.KEEPALIVE] * 4


async def test_password_goes_out_once_though_the_headend_hangs_up(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    passwords = 0

    async def script(peer: Peer) -> None:
        nonlocal passwords
        while True:
            request = await peer.request()
            if b"secret" in request:
                passwords += 1
                await peer.answer(auth_complete(""))
                return
            form = AuthForm(fields=(FormField("username"), FormField("password", type="password")))
            await peer.answer(auth_request(form))

    assert "no usable session token" in await refusal(tmp_path, script)
    assert passwords == 1


async def test_lost_cable_is_silent_and_the_packets_wait(tmp_path: Path, autojump_clock: Clock) -> None:
    arrived: list[int] = []

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
        await peer.grant()
        try:
            while True:
                if (await peer.frame()).kind == PacketType.DATA:
                    arrived.append(peer.number)
        except TlsBroken:
            pass

    async with fake_headend(tmp_path, script) as headend, Client(options_for(headend)) as vpn:
        vpn.lose_cable()
        vpn.send_packet(b"\x45 waits in the tunnel")
        await trio.sleep(100)
        assert arrived == []
        assert headend.connections == 1
        vpn.restore_cable()
        await trio.sleep(1)
        assert arrived == [0]
        vpn.lose_cable()
        vpn.drop_tcp()
        vpn.send_packet(b"\x45 waits for a tunnel")
        await trio.sleep(100)
        vpn.reconnect(source_address="127.0.0.3")
        await vpn.next_event(Reconnected)
        await trio.sleep(1)
        assert arrived == [0, 1]
        assert vpn.tcp_source is not None
        assert vpn.tcp_source[0] == "127.0.0.3"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"X-CSTP-MTU": "0"}, "X-CSTP-MTU"),
        ({"X-CSTP-MTU": str(2**31)}, "X-CSTP-MTU"),
        ({"X-CSTP-Netmask": "10.0.0.1"}, "mask"),
        ({"X-CSTP-Content-Encoding": "deflate"}, "was not offered"),
        ({"X-CSTP-Address": ""}, "no address"),
        ({"X-CSTP-Session-Timeout-Remaining": "-9"}, "X-CSTP-Session-Timeout-Remaining"),
    ],
)
async def test_a_resume_that_makes_no_sense_ends_with_its_name(
    tmp_path: Path, autojump_clock: Clock, headers: dict[str, str], reason: str
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
            await peer.grant()
        else:
            await peer.grant(headers)
            await trio.sleep_forever()

    event, code = await ending(tmp_path, script)
    assert isinstance(event, Failed)
    assert reason in event.reason
    assert code == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X-CSTP-Split-Include: 10.0.0.0/255.0.0.0\r\n" * 5000,
        b"HTTP/1.1 200",
        b"",
    ],
    ids=["1xx", "endless header", "many headers", "half a line", "silence"],
)
async def test_a_resume_without_a_usable_answer_is_tried_until_the_timeout(
    tmp_path: Path, autojump_clock: Clock, answer: bytes
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
            await peer.grant({"X-CSTP-Disconnected-Timeout": "120"})
            return
        await peer.request()
        await peer.say(answer)
        await trio.sleep_forever()

    started = trio.current_time()
    event, code = await ending(tmp_path, script)
    assert event == Disconnected(GAVE_UP)
    assert trio.current_time() - started == pytest.approx(120, abs=1)
    assert code == 1


async def test_mtus_that_jump_restart_the_adapter_and_nothing_else(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
        await peer.grant({"X-CSTP-MTU": str((576, 65535)[peer.number % 2])})
        if peer.number < 20:
            await trio.sleep(1)
            await peer.stream.aclose()
        await trio.sleep_forever()

    async with fake_headend(tmp_path, script) as headend, Client(options_for(headend)) as vpn:
        await trio.sleep(100)
        changes = [event.change for event in vpn.events if isinstance(event, AdapterChanged)]
        assert changes == ["down", "up", "routes"] * 20
        assert vpn.ip4 == "10.1.1.5"


async def test_a_session_that_ends_with_its_first_frame_was_a_session(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.request()
        lines = "".join(f"{name}: {value}\r\n" for name, value in PLAIN.items())
        goodbye = encode_frame(PacketType.DISCONNECT, disconnect_payload("Max time exceeded"))
        await peer.say(f"HTTP/1.1 200 CONNECTED\r\n{lines}\r\n".encode() + goodbye)

    events: list[Event] = []
    tell = events.append
    async with fake_headend(tmp_path, script) as headend, Client(options_for(headend), on_event=tell) as vpn:
        assert (await vpn.wait_ended()).exit_code == 0
    assert [event.name for event in events] == ["connected", "disconnected"]


async def test_giving_up_in_the_middle_of_connecting_leaves_nothing_open(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    hung_up = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        try:
            await peer.request()
        except TlsBroken:
            hung_up.set()

    async with fake_headend(tmp_path, script) as headend:
        with trio.move_on_after(5) as scope:
            async with Client(options_for(headend)):
                pass
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await hung_up.wait()


async def test_a_banner_moves_no_cursor(tmp_path: Path, autojump_clock: Clock) -> None:
    shown: list[str] = []

    class Screen:
        def write(self, text: str) -> None:
            shown.append(text)

        async def read(self, prompt: str, *, secret: bool = False) -> str | None:
            return "y"

    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.grant({"X-CSTP-Banner": "Hello%1b[2J%0aworld%07"})
        await trio.sleep_forever()

    async with fake_headend(tmp_path, script) as headend:
        options = options_for(headend, ask_all=True)
        async with Client(options, ask=asker(Screen())):
            assert shown == ["\nHello.[2J\nworld.\n"]
