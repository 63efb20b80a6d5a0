"""HTTP for people and programs: a small bridge from h11 to an ASGI application, and a plain-HTTP listener.

The application is Starlette's business; here a complete request (its body is small and already read) becomes
an ASGI call, and what the application sends becomes h11 events. `run_application` serves both the pages on
the VPN port, whose connection belongs to the dispatcher, and the management listener below, which is an
ordinary trio server, because nobody sends packets through it.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote

import h11
import structlog
import trio

MAX_HEAD = 32 * 1024  # bytes of request line and headers, else 431
MAX_BODY = 64 * 1024  # bytes, else 413
READ_LIMIT = 30.0  # seconds for a request head or body, absolute

Application = Callable[..., Awaitable[None]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WebRequest:
    """One complete HTTP request as the bridge hands it on."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    client: tuple[str, int]
    server: tuple[str, int]
    scheme: str
    state: dict[str, Any] = field(default_factory=dict, repr=False)
    """What the application finds in its `request.state`."""

    def scope(self) -> dict[str, Any]:
        """The ASGI connection scope."""
        path, _, query = self.target.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": self.scheme,
            "path": unquote(path),
            "raw_path": path.encode("ascii", "replace"),
            "query_string": query.encode("ascii", "replace"),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in self.headers],
            "client": self.client,
            "server": self.server,
            "state": dict(self.state),
        }


Emit = Callable[[h11.Event], Awaitable[None]]


async def run_application(app: Application, request: WebRequest, emit: Emit, gone: trio.Event) -> None:
    """Call `app` with `request`; its answer goes to `emit`. `gone` tells it of a lost client."""
    started = False
    body_given = False

    async def receive() -> dict[str, Any]:
        nonlocal body_given
        if not body_given:
            body_given = True
            return {"type": "http.request", "body": request.body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal started
        if message["type"] == "http.response.start":
            started = True
            await emit(h11.Response(status_code=message["status"], headers=list(message["headers"])))
        elif message["type"] == "http.response.body":
            if message.get("body") and request.method != "HEAD":
                await emit(h11.Data(data=message["body"]))
            if not message.get("more_body"):
                await emit(h11.EndOfMessage())

    try:
        await app(request.scope(), receive, send)
    except Exception:
        log.exception("web.failed", path=request.target)
        if not started:
            await emit(h11.Response(status_code=500, headers=[("Content-Length", "0")]))
            await emit(h11.EndOfMessage())


async def serve_plain_http(app: Application, host: str, port: int, *, task_status: Any) -> None:
    """Serve `app` on `host:port` without TLS until cancelled; reports the bound address when it listens."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    address = listeners[0].socket.getsockname()
    await trio.serve_listeners(
        partial(_serve_connection, app), listeners, task_status=_Started(task_status, address)
    )


class _Started(trio.TaskStatus[Any]):
    def __init__(self, status: Any, address: Any) -> None:
        self._status = status
        self._address = address

    def started(self, value: Any = None) -> None:
        self._status.started(self._address)


def check_head(request: h11.Request) -> None:
    """Refuse a head over the limit, which h11 does only while it waits for the rest of one.

    Raises `h11.RemoteProtocolError` with 431.
    """
    size = len(request.method) + len(request.target) + len("  HTTP/1.1\r\n\r\n")
    for name, value in request.headers.raw_items():
        size += len(name) + len(value) + len(": \r\n")
    if size > MAX_HEAD:
        raise h11.RemoteProtocolError(f"a head of at most {MAX_HEAD} bytes is taken", error_status_hint=431)


class _TooLarge(Exception):
    """The request's body is over the cap."""


async def _serve_connection(app: Application, stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    try:
        while connection.states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}:
            if not await _serve_request(app, stream, connection):
                return
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        await _refuse(stream, connection, error.error_status_hint, str(error))
    except _TooLarge as error:
        await _refuse(stream, connection, 413, str(error))
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
        pass  # the client went away, or never came to the point
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await stream.aclose()


async def _serve_request(app: Application, stream: trio.SocketStream, connection: h11.Connection) -> bool:
    request: h11.Request | None = None
    body = bytearray()
    with trio.move_on_after(READ_LIMIT) as scope:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.Request):
                check_head(event)
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise _TooLarge(f"a body of at most {MAX_BODY} bytes is taken")
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
    if scope.cancelled_caught and (request is not None or connection.trailing_data[0]):
        await _refuse(stream, connection, 408, f"a head or body has to be complete in {READ_LIMIT:g} s")
    if scope.cancelled_caught or request is None:
        return False
    peer, local = stream.socket.getpeername(), stream.socket.getsockname()
    web_request = WebRequest(
        method=request.method.decode(),
        target=request.target.decode("ascii", "replace"),
        headers=tuple(request.headers.raw_items()),
        body=bytes(body),
        client=(peer[0], peer[1]),
        server=(local[0], local[1]),
        scheme="http",
    )

    gone = trio.Event()

    async def emit(event: h11.Event) -> None:
        data = connection.send(event)
        if data and not gone.is_set():
            try:
                await stream.send_all(data)
            except trio.BrokenResourceError:
                gone.set()  # no error of the application's

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, stream, gone, nursery.cancel_scope)
        await run_application(app, web_request, emit, gone)
        nursery.cancel_scope.cancel()
    return not gone.is_set()


async def _watch(stream: trio.SocketStream, gone: trio.Event, scope: trio.CancelScope) -> None:
    """Notice that the client of a long answer has hung up; a request sent ahead only waits its turn."""
    await trio.lowlevel.wait_readable(stream.socket)
    if not await _peeked(stream):
        gone.set()
        scope.deadline = min(scope.deadline, trio.current_time() + 1)
    else:
        await trio.sleep(math.inf)


async def _peeked(stream: trio.SocketStream) -> bytes:
    try:
        return await stream.socket.recv(1, trio.socket.MSG_PEEK)
    except OSError:
        return b""


async def _refuse(stream: trio.SocketStream, connection: h11.Connection, status: int, reason: str) -> None:
    """Answer with an error, in words, and drain the rest briefly."""
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = reason.encode("utf-8", "replace") + b"\n"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    events: list[h11.Event] = [
        h11.Response(status_code=status, headers=[*headers, ("Connection", "close")]),
        h11.Data(data=body),
        h11.EndOfMessage(),
    ]
    with trio.move_on_after(1):
        for event in events:
            await stream.send_all(connection.send(event) or b"")
        # closing with bytes unread would send a reset, which eats the answer
        await stream.send_eof()
        while await stream.receive_some(65536):
            pass
