"""A page on its way out: an ASGI application in a task of its own, answering on a dispatcher's connection.

The dispatcher never awaits, an application does. `HttpExchange` reads a whole request, starts
`PageAnswer.give` in a nursery and lets the connection rest; what the application says becomes h11 events and
TLS records here, and it waits whenever the client does not read. The answer done, the exchange goes on with
the next request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import structlog
import trio

from asa_emu.serve.asgi import READ_LIMIT, Application, WebRequest, run_application

if TYPE_CHECKING:
    from asa_emu.serve.connection import Connection

log = structlog.get_logger(__name__)


class PageAnswer:
    """One answer. A client that takes nothing for 30 s (run time) loses its connection."""

    __slots__ = ("_connection", "_gone", "_http", "_room")

    def __init__(self, connection: Connection, http: h11.Connection) -> None:
        self._connection = connection
        self._http = http
        self._gone = trio.Event()
        self._room = trio.Event()

    async def give(self, application: Application, request: WebRequest) -> None:
        """Call the application and send what it says, to the end or until the client has gone."""
        self._await_client()
        try:
            await run_application(application, request, self._emit, self._gone)
            self._connection.flush()
        except Exception:
            log.exception("page.failed", path=request.target)
            self._connection.abort()

    def drained(self) -> None:
        """All that was sent has left."""
        self._room.set()

    def lost(self) -> None:
        """The client has gone."""
        self._gone.set()
        self._room.set()

    def _await_client(self) -> None:
        self._connection.set_deadline(trio.current_time() + READ_LIMIT)

    async def _emit(self, event: h11.Event) -> None:
        connection = self._connection
        gate = connection.endpoint.gateway.gate
        if gate is not None and not gate.is_certain:
            await gate.opened()
        if self._gone.is_set():
            return
        try:
            data = self._http.send(event)
        except h11.LocalProtocolError:
            # the answer ends before the length that was promised: let the client see that it is cut
            connection.drop("the answer broke off")
            return
        connection.write_long(data or b"")
        connection.flush()
        while connection.blocked and not self._gone.is_set():
            self._room = trio.Event()
            self._await_client()
            await self._room.wait()
