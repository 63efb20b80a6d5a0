"""The pages on the VPN port: the web portal with its WebLaunch, and what hangs under the same addresses.

    GET / (a browser)  -> /+CSCOE+/logon.html -> POST /+webvpn+/index.html -> the page again, with an error
                                                                           -> a code, for a second factor
                                                                           -> /+CSCOE+/portal.html
    portal: start AnyConnect -> a launch file for the client emulator, which holds the session's token
            log out          -> the session is over, its tunnels too

A login here makes a Clientless session with its parent tunnel; an AnyConnect tunnel opened with its token
belongs to the same session (S13). `HttpExchange` decides what is a page (`Portal.owns`, `is_browser`) and
carries the answers; Starlette routes; everything that is decided is decided by `Login`.

Pages are plain forms without a script, and their headers forbid any. The token is in a cookie that no page
and no other site can use, and in the launch file; a form posted from another site is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from asa_emu.cli.show_sessiondb import show_time
from asa_emu.headend.login import LEGACY_ACTION, Answer, Ask, Granted, Login
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.hostscan import host_scan_routes
from asa_emu.serve.images import Images
from asa_emu.session.model import EndReason, Session, TunnelKind
from asa_emu.syslog.render import show_duration
from asa_emu.wire.auth_xml import parse_legacy_reply_untrusted
from asa_emu.wire.errors import XmlError

LOGON: Final = "/+CSCOE+/logon.html"
PORTAL: Final = "/+CSCOE+/portal.html"
LAUNCH: Final = "/+CSCOE+/launch"
STYLE: Final = "/+CSCOE+/portal.css"
ICON: Final = "/+CSCOE+/icon.svg"
LOGOUT: Final = "/+webvpn+/webvpn_logout.html"
LAUNCH_FILE: Final = "weblaunch.json"

_OWN = re.compile(r"/(\+CSCOE\+|\+CSCOT\+|CACHE|\d{1,5})/")
_HOST = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,262}")
_NOTICES = {
    "out": "You have logged out.",
    "over": "Your session has ended. Please log in again.",
}
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # not no-referrer: browsers would then hide the Origin by which a form's own site is known
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_RING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<circle cx="8" cy="8" r="5.5" fill="none" stroke="#1f6f5c" stroke-width="4"/></svg>'
)
_TEMPLATES = Path(__file__).parent / "templates"

Endpoint = Callable[[Request], Awaitable[Response]]
log = structlog.get_logger(__name__)


class Portal:
    """The pages over one gateway. `pin` is that of the server's key, for the launch file."""

    def __init__(self, gateway: Gateway, login: Login, pin: str, directories: Sequence[Path]) -> None:
        self._gateway = gateway
        self._login = login
        self._pin = pin
        self._config = gateway.headend.config
        self._pages = Environment(
            loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self.images = Images(gateway.headend, directories, self._charge)
        for file in self.images.absent():
            log.warning("file.absent", file=file, looked_in=[str(directory) for directory in directories])

    def owns(self, path: str) -> bool:
        """Whether a page is meant whoever asks; a login's other addresses are pages for browsers alone."""
        return _OWN.match(path) is not None or path == LOGOUT

    def application(self) -> Callable[..., Awaitable[None]]:
        """The ASGI application; a request's `state.caller` says who asks."""
        routes = [
            Route(LOGON, self._logon),
            Route(LEGACY_ACTION, _own_site(self._log_in), methods=["POST"]),
            Route(LEGACY_ACTION, self._to_logon),
            Route(PORTAL, self._portal),
            Route(LAUNCH, _own_site(self._launch), methods=["POST"]),
            Route(LOGOUT, _own_site(self._log_out), methods=["POST"]),
            Route(STYLE, self._style),
            Route(ICON, self._icon),
            *host_scan_routes(self._login.posture, self._gateway.now),
            *self.images.routes(),
            Route("/{path:path}", self._to_logon),
        ]
        return _with_headers(Starlette(routes=routes))

    # logging in

    async def _to_logon(self, request: Request) -> Response:
        path = request.url.path
        if not self._login.serves(path):
            return Response("not found\n", 404, media_type="text/plain")
        query = "" if path in ("/", LEGACY_ACTION) else "?" + urlencode({"group_url": path})
        return RedirectResponse(LOGON + query, 302)

    async def _logon(self, request: Request) -> Response:
        if self._session(request) is not None:
            return RedirectResponse(PORTAL, 303)
        if self._config.webvpn.keepout:
            return self._kept_out()
        group_url = self._group_url(request.query_params.get("group_url"))
        answer = self._login.portal_form(group_url, request.state.caller, self._gateway.now())
        notice = _NOTICES.get(request.query_params.get("said", ""), "")
        return self._answer(answer, group_url, notice=notice)

    def _kept_out(self) -> Response:
        """`keepout`: no new sessions from browsers; those that are go on, and so do clients."""
        return self._page("keepout.html", text=self._config.webvpn.keepout)

    async def _log_in(self, request: Request) -> Response:
        if self._config.webvpn.keepout:
            return self._kept_out()
        try:
            fields = parse_legacy_reply_untrusted(await request.body())
        except XmlError as error:
            return self._problem(400, str(error))
        group_url = self._group_url(fields.pop("group_url", None))
        answer = self._login.portal_reply(
            dict(fields),
            group_url,
            request.cookies.get("webvpncontext"),
            request.state.caller,
            self._gateway.now(),
        )
        if isinstance(answer, Granted):
            await self._gateway.safe()
        return self._answer(answer, group_url, username=fields.get("username", ""))

    def _group_url(self, path: str | None) -> str | None:
        """The path of a group-url that leads somewhere; nothing else a request says is shown again."""
        serves = path is not None and path not in ("/", LEGACY_ACTION) and self._login.serves(path)
        return path if serves else None

    def _answer(
        self, answer: Answer, group_url: str | None, *, username: str = "", notice: str = ""
    ) -> Response:
        if isinstance(answer, Granted):
            response: Response = RedirectResponse(PORTAL, 303)
            response.delete_cookie("webvpncontext", secure=True, httponly=True, samesite="strict")
            _set_cookie(response, "webvpn", answer.token)
            return response
        if not isinstance(answer, Ask):
            return self._problem(answer.status, answer.reason)
        response = self._page(
            "logon.html", form=answer.form, group_url=group_url, username=username, notice=notice
        )
        if answer.opaque is not None:
            _set_cookie(response, "webvpncontext", answer.opaque.handle)
        return response

    # the portal

    async def _portal(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return self._expelled(request)
        now = self._gateway.now()
        policy, zone = session.policy, self._config.timezone
        ends_in = session.session_timeout_left(now)
        facts = {
            "Group": session.tunnel_group,
            "Group policy": session.group_policy,
            "Your address": session.public_ip,
            "Logged in": show_time(session.login_at, zone),
            "Duration": show_duration(session.duration(now)),
            "Idle timeout": show_duration(session.idle_timeout),
            "Time left": "no limit" if ends_in is None else show_duration(ends_in),
        }
        tunnels = [tunnel for tunnel in session.tunnels if tunnel is not session.parent]
        response = self._page(
            "portal.html",
            session=session,
            facts=facts,
            tunnels=tunnels,
            banner=policy.banner,
            may_launch="ssl-client" in policy.tunnel_protocols,
        )
        self._charge(session, len(response.body), now=now)
        return response

    async def _launch(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return self._expelled(request)
        if "ssl-client" not in session.policy.tunnel_protocols:
            return self._problem(403, "AnyConnect is not allowed for you.")
        host = request.headers.get("host", "")
        if _HOST.fullmatch(host) is None:
            return self._problem(400, "The request does not name this headend.")
        launch = {"url": f"https://{host}/", "token": request.cookies["webvpn"], "pin": self._pin}
        body = json.dumps(launch, indent=2) + "\n"
        headers = {"Content-Disposition": f'attachment; filename="{LAUNCH_FILE}"'}
        self._charge(session, len(body))
        return Response(body, headers=headers, media_type="application/json")

    async def _log_out(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return self._expelled(request)
        self._gateway.headend.db.end(session, EndReason.USER_REQUESTED, self._gateway.now())
        await self._gateway.safe()
        return _without_cookie(RedirectResponse(f"{LOGON}?said=out", 303))

    def _expelled(self, request: Request) -> Response:
        said = "?said=over" if "webvpn" in request.cookies else ""
        return _without_cookie(RedirectResponse(LOGON + said, 303))

    async def _style(self, _request: Request) -> Response:
        return Response((_TEMPLATES / "portal.css").read_bytes(), media_type="text/css")

    async def _icon(self, _request: Request) -> Response:
        return Response(_RING, media_type="image/svg+xml")

    def _session(self, request: Request) -> Session | None:
        """The portal session of a request's cookie; a client's token opens no page."""
        token = request.cookies.get("webvpn")
        session = self._gateway.headend.db.by_token(token) if token else None
        return session if session is not None and session.parent.kind is TunnelKind.CLIENTLESS else None

    def _charge(self, session: Session, sent: int, *, now: float | None = None) -> None:
        """The parent has carried this, and is in use; the disconnected timeout runs on nevertheless."""
        session.parent.bytes_tx += sent
        if session.inactive_since is None:
            session.parent.last_use_at = self._gateway.now() if now is None else now

    def _problem(self, status: int, reason: str) -> Response:
        return self._page("problem.html", status, reason=reason)

    def _page(self, name: str, status: int = 200, **facts: Any) -> Response:
        text = self._pages.get_template(name).render(hostname=self._config.hostname, **facts)
        return Response(text, status, media_type="text/html")


def _own_site(endpoint: Endpoint) -> Endpoint:
    """Refuse a form that another site's page has posted: browsers tell where a form comes from."""

    async def guarded(request: Request) -> Response:
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        own = f"https://{request.headers.get('host', '')}"
        if site not in (None, "same-origin", "none") or origin not in (None, own):
            return Response("a form of another site\n", 403, media_type="text/plain")
        return await endpoint(request)

    return guarded


def _with_headers(app: Starlette) -> Callable[..., Awaitable[None]]:
    """Put the security headers on every answer, errors too."""

    async def call(scope: Any, receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await app(scope, receive, with_headers)

    return call


def _set_cookie(response: Response, name: str, value: str) -> None:
    response.set_cookie(name, value, secure=True, httponly=True, samesite="strict")


def _without_cookie(response: Response) -> Response:
    response.delete_cookie("webvpn", secure=True, httponly=True, samesite="strict")
    return response
