"""HTTP on the VPN port that is too long, too slow or crooked: an answer in words, then the end."""

from __future__ import annotations

import pytest
import trio

from asa_emu.app import Running
from asa_emu.serve.asgi import MAX_BODY, MAX_HEAD, READ_LIMIT
from asa_emu.serve.https import IDLE_LIMIT
from tests.headend_lab import Answer, RawClient, connect_request, login_document, request

HEAD = b"POST / HTTP/1.1\r\nHost: vpn.example.test\r\n"


async def answer_to(asa: Running, *records: bytes) -> Answer:
    """The answer to these bytes, behind which the headend must close."""
    async with await RawClient.open(asa) as raw:
        await raw.say(*records)
        answer = await raw.answer()
        assert await raw.ended(5.0)
        return answer


async def test_a_head_up_to_the_limit_is_taken(watched: Running) -> None:
    filling = [("X-Filling", "x" * 1000)] * (MAX_HEAD // 1000 - 2)
    async with await RawClient.open(watched) as raw:
        await raw.say(request("POST", "/", login_document("user001"), filling))
        assert (await raw.answer()).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\n" + b"X-Filling: x\r\n" * 3000,
        HEAD + b"X-Filling: " + b"x" * 200_000,
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n",
        HEAD + b"X-Filling: " + b"x" * MAX_HEAD + b"\r\n\r\n",
    ],
    ids=["many-lines", "long-line", "long-target", "complete"],
)
async def test_a_head_over_the_limit_is_431(watched: Running, head: bytes) -> None:
    assert (await answer_to(watched, head)).status == 431


@pytest.mark.parametrize("size", [MAX_BODY, MAX_BODY + 1, 1_000_000])
async def test_a_body_over_the_limit_is_413(watched: Running, size: int) -> None:
    body = b"username=user001&password=" + b"x" * (size - 26)
    async with await RawClient.open(watched) as raw:
        await raw.say(request("POST", "/+webvpn+/index.html", body))
        answer = await raw.answer()
        assert answer.status == (200 if size <= MAX_BODY else 413)
        assert size <= MAX_BODY or await raw.ended(5.0)


async def test_a_body_that_says_it_is_too_long_is_not_waited_for(watched: Running) -> None:
    begun = trio.current_time()
    answer = await answer_to(watched, HEAD + b"Content-Length: 99999999999\r\n\r\n")
    assert answer.status == 413
    assert trio.current_time() - begun < READ_LIMIT


async def test_a_chunked_body_over_the_limit_is_413(watched: Running) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    answer = await answer_to(watched, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 20)
    assert answer.status == 413


async def test_a_chunked_login_is_taken(watched: Running) -> None:
    document = login_document("user001")
    async with await RawClient.open(watched) as raw:
        await raw.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for byte in document:
            await raw.say(b"1\r\n" + bytes([byte]) + b"\r\n")
        await raw.say(b"0\r\n\r\n")
        assert b"<session-token>" in (await raw.answer()).body


@pytest.mark.parametrize(
    "said",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 21 + b"\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 0x10\r\n\r\n",
        HEAD + b"Content-Length: 5, 6\r\n\r\n",
        HEAD + b"Broken Name: x\r\n\r\n",
        HEAD + b": nameless\r\n\r\n",
        HEAD + b"X-Nul: a\0b\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"\r\n\r\n",
        b" / HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_crooked_request_is_refused_in_words(watched: Running, said: bytes) -> None:
    answer = await answer_to(watched, said)
    assert answer.status in (400, 405, 501, 505)
    assert answer.reason
    assert answer.headers["connection"] == "close"
    assert len(answer.body) == int(answer.headers["content-length"])


async def test_a_folded_header_line_is_read_as_one(watched: Running) -> None:
    document = login_document("user001")
    folded = HEAD + b"X-Folded: one\r\n two\r\nContent-Length: %d\r\n\r\n" % len(document)
    async with await RawClient.open(watched) as raw:
        await raw.say(folded + document)
        assert (await raw.answer()).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW", "get"])
async def test_another_method_is_405_and_told_which_there_are(watched: Running, method: str) -> None:
    answer = await answer_to(watched, request(method, "/"))
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "CONNECT"}


async def test_head_is_get_without_a_body(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        for path, status in (("/", 200), ("/nothing", 404), ("/", 200)):
            await raw.say(request("HEAD", path))
            while b"\r\n\r\n" not in raw.unread:
                await raw.more()
            head, _, rest = raw.unread.partition(b"\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {status} ".encode())
            assert rest == b""
            raw.unread = b""


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/../../etc/passwd", "/%2e%2e/", "/nothing/table?x=../", "/%00", "*", "//"],
)
async def test_another_path_is_404_and_the_connection_lives(watched: Running, path: str) -> None:
    async with await RawClient.open(watched) as raw:
        assert (await raw.request("GET", path)).status == 404
        assert (await raw.request("GET", "/")).status == 200


async def test_the_absolute_form_means_the_same(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        for target in ("https://vpn.example.test/", "https://elsewhere.example.test:99/", "https://[/"):
            answer = await raw.request("POST", target, login_document("user001"))
            assert answer.status == 200
            assert b"<session-token>" in answer.body


async def test_requests_may_be_pipelined(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        await raw.say(request("GET", "/") * 3 + request("POST", "/", login_document("user001")))
        for _ in range(3):
            assert b"<auth" in (await raw.answer()).body
        assert b"<session-token>" in (await raw.answer()).body


async def test_a_request_may_come_byte_by_byte(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        for byte in request("POST", "/", login_document("user001")):
            await raw.say(bytes([byte]))
        assert (await raw.answer()).status == 200


async def test_whoever_waits_for_100_continue_gets_it(watched: Running) -> None:
    document = login_document("user001")
    async with await RawClient.open(watched) as raw:
        await raw.say(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(document))
        assert (await raw.answer()).status == 100
        await raw.say(document)
        assert (await raw.answer()).status == 200


async def test_http_1_0_gets_one_answer(watched: Running) -> None:
    answer = await answer_to(watched, b"GET / HTTP/1.0\r\n\r\n")
    assert answer.status == 200
    assert b"<auth" in answer.body


# time


@pytest.mark.parametrize("said", [b"", b"P", HEAD, HEAD + b"Content-Length: 10\r\n\r\nhello"])
async def test_a_request_that_stops_short_is_given_up(watched: Running, said: bytes) -> None:
    async with await RawClient.open(watched) as raw:
        begun = trio.current_time()
        if said:
            await raw.say(said)
        assert await raw.ended(READ_LIMIT + 1)
        assert trio.current_time() - begun == pytest.approx(READ_LIMIT)
        assert raw.unread.startswith(b"HTTP/1.1 408 " if said else b"")


async def trickle(raw: RawClient, first: bytes, forever: bytes) -> float:
    """Send a byte of `forever` every second until the headend has enough; how long that took."""
    begun = trio.current_time()
    await raw.say(first)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            for number in range(1000):
                await trio.sleep(1)
                await raw.say(forever[number % len(forever) :][:1])

        nursery.start_soon(send)
        assert await raw.ended(900)
        took = trio.current_time() - begun
        nursery.cancel_scope.cancel()
    return took


@pytest.mark.parametrize(
    ("first", "forever"),
    [
        (HEAD, b"X-Slow: loris\r\n"),
        (HEAD + b"Content-Length: 60000\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["head", "body", "chunks"],
)
async def test_trickling_does_not_extend_a_limit(watched: Running, first: bytes, forever: bytes) -> None:
    async with await RawClient.open(watched) as raw:
        assert await trickle(raw, first, forever) == pytest.approx(READ_LIMIT, abs=1.0)


async def test_a_second_request_has_its_own_limit(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        await raw.request("GET", "/")
        await trio.sleep(100)  # a person types a password
        assert await trickle(raw, HEAD, b"X-Slow: loris\r\n") == pytest.approx(READ_LIMIT, abs=1.0)


async def test_the_head_of_a_pipelined_request_has_the_same_limit(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        took = await trickle(raw, request("GET", "/") + HEAD, b"X-Slow: loris\r\n")
        assert took == pytest.approx(READ_LIMIT, abs=1.0)


async def test_a_connection_kept_without_a_request_is_closed(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        await raw.request("GET", "/")
        begun = trio.current_time()
        assert await raw.ended(IDLE_LIMIT + 1)
        assert trio.current_time() - begun == pytest.approx(IDLE_LIMIT)


async def test_what_follows_an_error_is_drained_so_that_the_answer_arrives(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        await raw.say(b"nonsense\r\n\r\n", *[b"x" * 16384] * 60)
        assert (await raw.answer()).status == 400


async def test_an_error_is_not_drained_for_ever(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        begun = trio.current_time()
        await raw.say(b"nonsense\r\n\r\n")
        assert (await raw.answer()).status == 400
        for _ in range(100):
            try:
                await raw.stream.socket.send(b"x" * 1000)
            except OSError:
                break
            await trio.sleep(0.1)
        assert trio.current_time() - begun < 5


async def test_a_connect_is_a_request_like_any_other(watched: Running) -> None:
    async with await RawClient.open(watched) as raw:
        token = await raw.log_in("user001")
        for byte in connect_request(token):
            await raw.say(bytes([byte]))
        assert (await raw.answer()).status == 200
