"""The addresses of a host scan: where a client gets its token, reports, and waits.

Genuine clients and openconnect's helper scripts come here between the first form and the second, with the
ticket in the query or the token in cookie `sdesktop`. What the client is to look at (`data.xml`) is nothing.
`Posture` decides; a report is taken as it is and never looked into.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from asa_emu.headend.posture import BASE_URI, REPORT_URI, TOKEN_URI, WAIT_URI, Posture

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_WAIT = '<html><head><meta http-equiv="refresh" content="1"></head><body>Waiting.</body></html>\n'
_DONE = "<hostscan><status>TOKEN_SUCCESS</status></hostscan>"


def host_scan_routes(posture: Posture, now: Callable[[], float]) -> list[Route]:
    """Return the routes; `now` is emulated time."""

    async def token(request: Request) -> Response:
        found = posture.token_for(request.query_params.get("ticket", ""), now())
        if found is None:
            return _xml("<hostscan><status>TOKEN_INVALID</status></hostscan>", 404)
        return _xml(f"<hostscan><status>TOKEN_SUCCESS</status>\n<token>{found}</token>\n</hostscan>")

    async def tasks(_request: Request) -> Response:
        return _xml("<data><hostscan></hostscan></data>")

    async def report(request: Request) -> Response:
        cookie = request.cookies.get("sdesktop")
        if not posture.known(cookie, now()):
            return _xml("<hostscan><status>TOKEN_INVALID</status></hostscan>", 401)
        if not posture.report(cookie, await request.body(), now()):
            return _xml("<hostscan><status>REPORT_EMPTY</status></hostscan>", 400)
        return _xml(_DONE)

    async def wait(request: Request) -> Response:
        cookie = request.cookies.get("sdesktop")
        if not posture.known(cookie, now()):
            return Response("no such host scan\n", 401, media_type="text/plain")
        if posture.passed(cookie, now()):
            return _xml(_DONE)  # openconnect waits for as long as this is not XML
        return Response(_WAIT, media_type="text/html")

    return [
        Route(TOKEN_URI, token),
        Route(BASE_URI, tasks),
        Route(REPORT_URI, report, methods=["POST"]),
        Route(WAIT_URI, wait),
    ]


def _xml(text: str, status: int = 200) -> Response:
    return Response(f"{_DECLARATION}{text}\n", status, media_type="text/xml")
