"""HTTP/1.1 over one TLS connection, until CONNECT ends HTTP on it.

h11 frames every byte; heads and bodies are bounded. `limited` gives each step an instant in run time by which
it has to be done, which trickling does not extend, and turns every foreign error into `DialFailed`.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import h11
import trio

from asa_emu.transport.openssl import TlsBroken
from asa_emu.transport.stream import TlsStream
from asa_emu.transport.udp import Address
from asa_emu.wire.headers import ConnectRequest, RawHeaders
from client_emu.network import Interface, NetworkDown
from client_emu.request import Request, Response, shown

CONNECT_PATH: Final = "/CSCOSSLC/tunnel"
MAX_HEAD: Final = 64 * 1024  # bytes of status line and headers; 65,535 is openconnect's limit for one line
MAX_INFORMATIONAL: Final = 8  # 1xx answers before the real one
RECORD: Final = 16384  # bytes of one TLS record


class DialFailed(Exception):
    """The headend could not be reached, or did not answer as one; trying again may help."""


class Silent(DialFailed):
    """Nothing came back in time."""


@dataclass(frozen=True, slots=True)
class Line:
    """A TLS connection, the interface that carries it, and the headend's address."""

    stream: TlsStream
    interface: Interface
    peer: Address


class Exchange:
    """The requests of one connection, one after the other."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.answered = True
        """Whether the last request has an answer, or the beginning of one."""
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)

    @property
    def stale(self) -> bool:
        """Whether the headend has closed it meanwhile: between requests it has nothing else to say."""
        waiting = select.poll()
        waiting.register(self.line.stream.socket.fileno(), select.POLLIN)
        return bool(waiting.poll(0))

    async def request(self, request: Request) -> tuple[Response, bool]:
        """The answer, and whether another request may follow on this connection."""
        head = h11.Request(method=request.method, target=request.path, headers=list(request.headers))
        answer = await self._ask(head, h11.Data(data=request.body), h11.EndOfMessage())
        body = bytearray()
        # the body of an error is of no use, and some headends neither give its length nor close
        while answer.status_code == 200:
            event = await self._next()
            if isinstance(event, h11.EndOfMessage):
                break
            if isinstance(event, h11.Data):
                body += event.data
            if len(body) > request.max_body:
                raise DialFailed("the headend's answer is too long")
        reusable = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        if reusable:
            self._http.start_next_cycle()
        return _response(answer, bytes(body)), reusable

    async def connect(self, request: ConnectRequest) -> tuple[Response, RawHeaders, bytes]:
        """The answer to CONNECT, its headers as they came, and what followed them."""
        head = h11.Request(method="CONNECT", target=CONNECT_PATH, headers=request.render())
        answer = await self._ask(head, h11.EndOfMessage())
        return _response(answer), answer.headers.raw_items(), self._http.trailing_data[0]

    async def _ask(self, *events: h11.Event) -> h11.Response:
        self.answered = False
        data = b"".join(self._http.send(event) or b"" for event in events)
        for start in range(0, len(data), RECORD):
            await self.line.stream.send_all(data[start : start + RECORD])
        for _ in range(MAX_INFORMATIONAL):
            event = await self._next()
            self.answered = not isinstance(event, h11.ConnectionClosed)
            if isinstance(event, h11.Response):
                return event
            if not self.answered:
                break
        raise DialFailed("the headend closed the connection without an answer")

    async def _next(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                raise DialFailed("the headend answered twice")
            self._http.receive_data(await self.line.stream.receive_some())


@contextlib.asynccontextmanager
async def limited(doing: str, deadline: float) -> AsyncIterator[None]:
    """Every foreign error becomes DialFailed; taking until the deadline, in run time, Silent."""
    seconds = deadline - trio.current_time()
    try:
        with trio.fail_at(deadline):
            yield
    except trio.TooSlowError:
        raise Silent(f"{doing} took more than {max(seconds, 0):.3g} s") from None
    except NetworkDown as error:
        raise DialFailed(str(error)) from None
    except h11.RemoteProtocolError as error:
        raise DialFailed(f"the headend does not speak HTTP: {shown(str(error))}") from error
    except (OSError, UnicodeError, TlsBroken) as error:
        raise DialFailed(f"{doing}: {shown(str(error))}") from error


def _response(answer: h11.Response, body: bytes = b"") -> Response:
    headers = tuple(
        (name.decode("latin-1"), value.decode("utf-8", "replace"))
        for name, value in answer.headers.raw_items()
    )
    return Response(answer.status_code, answer.reason.decode("utf-8", "replace"), headers, body)
