"""A CONNECT that is wrong, doubled or early: an answer with a reason, and no harm but to its own session."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio

from asa_emu.app import Running
from asa_emu.session.model import EndReason
from asa_emu.wire.frames import DisconnectCode, PacketType, disconnect_payload, encode_frame
from tests.headend_lab import (
    PASSWORD,
    RawClient,
    connect_request,
    login_document,
    record_events,
    request,
    session_of,
    tunnel,
)


def end_session(asa: Running, user: str) -> None:
    asa.gateway.headend.db.end(session_of(asa, user), EndReason.ADMIN_RESET, asa.gateway.now())


@pytest.mark.parametrize(
    "target", ["/", "/CSCOSSLC/", "/CSCOSSLC/tunnel/x", "/cscosslc/tunnel", "example.test:443", "*"]
)
async def test_connect_to_another_path_is_404(watched: Running, target: str) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        answer = await raw.request("CONNECT", target, b"", [("Cookie", f"webvpn={token}")])
        assert answer.status == 404
        assert await raw.ended(5.0)
    assert session_of(watched, "user001").ssl is None


@pytest.mark.parametrize(
    "cookie",
    [
        None,
        "",
        "webvpn=",
        "webvpn",
        "webvpn=00000000000000000000000000000000",
        "webvpn=%00",
        "webvpn=\xe9\xff",
        "webvpncontext=1; other=2",
        "webvpn=" + "a" * 1024,
    ],
)
@pytest.mark.statement("S7")
async def test_an_unknown_cookie_is_401_in_words(watched: Running, cookie: str | None) -> None:
    async with await RawClient.open(watched) as raw:
        await raw.log_in("user001")
        headers = [] if cookie is None else [("Cookie", cookie)]
        answer = await raw.request("CONNECT", "/CSCOSSLC/tunnel", b"", headers)
        assert answer.status == 401
        assert answer.reason
        assert await raw.ended(5.0)


async def test_what_a_client_calls_itself_cannot_harm_a_console(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        answer = await raw.connect(token, ("User-Agent", "Evil\x1b[2J\x9b" + "A" * 5000))
        assert answer.status == 200
        ssl = session_of(watched, "user001").ssl
        assert ssl is not None
        assert ssl.facts.client_ver == "Evil?[2J?" + "A" * (256 - 9)


async def test_an_oversized_cookie_is_refused(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.connect("a" * 20_000)
        assert answer.status == 401
        assert answer.reason


@pytest.mark.statement("S7")
async def test_a_token_leads_to_its_own_session_whatever_else_is_said(watched: Running) -> None:
    async with tunnel(watched, "user001") as first:
        async with await RawClient.open(watched) as raw:
            token = await raw.log_in("user002")
            address = ".".join(map(str, first.ip4))
            answer = await raw.connect(
                token, ("X-CSTP-Address", address), ("X-CSTP-Hostname", "user001"), ("X-User", "user001")
            )
            assert answer.headers["x-cstp-address"] != address
            await raw.ping()
        await first.ping()


@pytest.mark.statement("S50")
async def test_the_token_of_a_session_that_has_ended_is_401(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        token_digest = session_of(watched, "user001").token_digest
        await raw.send(PacketType.DISCONNECT, disconnect_payload("bye"))
        assert await raw.ended(5.0)
    assert all(session.token_digest != token_digest for session in watched.gateway.headend.db.sessions())
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        end_session(watched, "user001")
        assert (await raw.connect(token)).status == 401


async def test_a_body_with_connect_is_read_and_means_nothing(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        said = (
            connect_request(token, ("Content-Length", "5")) + b"hello" + encode_frame(PacketType.DPD_REQUEST)
        )
        await raw.say(said)
        assert (await raw.answer()).status == 200
        await raw.expect(PacketType.DPD_RESPONSE)


async def test_a_chunked_body_with_connect_is_no_frame(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        await raw.say(connect_request(token, ("Transfer-Encoding", "chunked")) + b"5\r\nhello\r\n0\r\n\r\n")
        assert (await raw.connect_answer()).status == 200
        await raw.ping()


async def test_frames_in_the_record_of_the_connect_are_not_lost(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        requests = b"".join(encode_frame(PacketType.DPD_REQUEST, bytes([n])) for n in range(50))
        answer = await raw.connect(token, pipelined=requests)
        assert answer.status == 200
        for number in range(50):
            assert await raw.expect(PacketType.DPD_RESPONSE) == bytes([number])


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_frame_cut_by_the_record_of_the_connect_is_whole(watched: Running, cut: int) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        frame = encode_frame(PacketType.DPD_REQUEST, b"four")
        await raw.connect(token, pipelined=frame[:cut])
        await raw.say(frame[cut:])
        assert await raw.expect(PacketType.DPD_RESPONSE) == b"four"
        await raw.ping()


async def test_login_and_connect_may_be_pipelined_after_a_form(watched: Running) -> None:
    async with await RawClient.open(watched) as first:
        token = await first.log_in("user001")
    async with await RawClient.open(watched) as raw:
        frame = encode_frame(PacketType.DPD_REQUEST, b"x")
        await raw.say(request("GET", "/") + connect_request(token) + frame)
        assert (await raw.answer()).status == 200
        assert (await raw.answer()).status == 200
        assert await raw.expect(PacketType.DPD_RESPONSE) == b"x"


async def test_each_frame_has_a_record_of_its_own(watched: Running) -> None:
    """openconnect drops what shares a record, be it with the answer's headers or with another frame."""
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        await raw.say(connect_request(token) + encode_frame(PacketType.DPD_REQUEST) * 2)
        ciphertext = await raw.stream.socket.recv(65536)
    lengths = []
    while ciphertext:
        length = int.from_bytes(ciphertext[3:5], "big")
        lengths.append(length)
        ciphertext = ciphertext[5 + length :]
    assert len(lengths) == 3
    assert lengths[1] == lengths[2] < 40 < lengths[0]


SIZES = {"-1": 400, "0": 200, "1": 200, "575": 200, "576": 200, "65535": 200, str(2**31): 400, "": 200}
SIZES |= {"0x10": 400, " 12": 200, "1e3": 400, "٣": 400, "9" * 5000: 400, "1500 bytes": 400}


@pytest.mark.parametrize("name", ["X-CSTP-MTU", "X-CSTP-Base-MTU"])
@pytest.mark.parametrize(("value", "status"), SIZES.items())
async def test_no_size_is_believed_blindly(watched: Running, name: str, value: str, status: int) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        await raw.say(connect_request(token, (name, "MTU")).replace(b": MTU", f": {value}".encode()))
        answer = await raw.connect_answer()
        assert answer.status == status
        if status == 200:
            assert 576 <= int(answer.headers["x-cstp-mtu"]) <= 1406
            await raw.ping()
        else:
            assert name in answer.reason


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("X-CSTP-Address-Type", "IPv4,IPv6"), 200),
        (("X-CSTP-Address-Type", "IPX"), 503),
        (("X-CSTP-Address-Type", "," * 60), 200),
        (("X-CSTP-Address-Type", "," * 65), 400),
        (("X-CSTP-Address", "999.1.1.1"), 400),
        (("X-CSTP-Address", "fe80::1%lo"), 400),
        (("X-DTLS-Master-Secret", "00"), 400),
        (("X-DTLS-Master-Secret", "zz" * 48), 400),
        (("X-DTLS-Master-Secret", "00" * 49), 400),
        (("X-DTLS-CipherSuite", "NULL:RC4:OC-DTLS1_2-AES256-GCM"), 200),
        (("X-DTLS-CipherSuite", "PSK-NEGOTIATE:" * 70), 400),
        (("X-DTLS12-CipherSuite", "ECDHE-RSA-AES256-GCM-SHA384"), 200),
        (("X-CSTP-Accept-Encoding", "gzip,br,\xff"), 200),
        (("X-CSTP-Hostname", "h" * 20_000), 200),
        (("X-CSTP-Version", "99"), 200),
    ],
)
async def test_no_header_is_believed_blindly(watched: Running, header: tuple[str, str], status: int) -> None:
    async with await RawClient.open(watched) as raw:
        answer = await raw.connect(await raw.log_in("user001"), header)
        assert answer.status == status
        assert status == 200 or answer.reason
        if status == 200:
            await raw.ping()


@pytest.mark.statement("S47")
async def test_of_two_connects_with_one_token_the_older_is_told_to_go(watched: Running) -> None:
    events = record_events(watched)
    async with await RawClient.open(watched) as first, await RawClient.open(watched) as second:
        token = await first.log_in("user001")
        await first.say(connect_request(token))
        await second.say(connect_request(token))
        assert (await first.connect_answer()).status == 200
        assert (await second.connect_answer()).status == 200
        told = await first.expect(PacketType.DISCONNECT)
        assert told[0] == DisconnectCode.USER
        # what the older one still says does not touch the session, not even that it is over
        await first.send(PacketType.DATA, first.echo())
        await first.send(PacketType.DISCONNECT, disconnect_payload("so be it"))
        assert await first.ended(5.0)
        await second.ping()
        session = session_of(watched, "user001")
        assert session.ssl is not None
        assert session.ssl.number == 3
        assert session.totals.pkts_rx == 1
    names = [type(event).__name__ for event in events if event.username == "user001"]
    assert names == [
        "SessionCreated",
        "AddressAssigned",
        "TunnelUp",
        "TunnelDown",
        "TunnelUp",
        "TunnelDown",
        "SessionInactive",
    ]


async def test_the_older_connection_is_closed_if_it_does_not_go(watched: Running) -> None:
    async with await RawClient.open(watched) as first, await RawClient.open(watched) as second:
        token = await first.log_in("user001")
        await first.connect(token)
        await second.connect(token)
        begun = trio.current_time()
        assert await first.ended(10.0)
        assert trio.current_time() - begun == pytest.approx(2.0)
        await second.ping()


async def test_a_storm_of_connects_on_one_token_leaves_one_tunnel(watched: Running) -> None:
    async with AsyncExitStack() as stack:
        rivals = [await stack.enter_async_context(await RawClient.open(watched)) for _ in range(30)]
        token = await rivals[0].log_in("user001")
        for rival in rivals:
            await rival.say(connect_request(token))
        answers = [await rival.connect_answer() for rival in rivals]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.headers["x-cstp-address"] for answer in answers}) == 1
        await trio.sleep(10)
        live = [rival for rival in rivals if not await rival.ended(0.1)]
        assert len(live) == 1
        await live[0].ping()
        assert len(session_of(watched, "user001").tunnels) == 2


async def test_a_second_connect_inside_a_tunnel_is_no_frame(watched: Running) -> None:
    async with tunnel(watched, "user001") as raw:
        await raw.say(connect_request("x"))
        assert await raw.ended(5.0)
        assert session_of(watched, "user001").inactive


async def test_a_logoff_during_the_login_is_noticed_by_connect(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        await raw.say(request("POST", "/", login_document("user001", PASSWORD)))
        answer = await raw.answer()
        token = answer.body.partition(b"<session-token>")[2].partition(b"<")[0].decode()
        end_session(watched, "user001")
        answer = await raw.connect(token)
        assert answer.status == 401
        assert "log in again" in answer.reason
