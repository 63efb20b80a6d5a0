"""HTTP on the VPN port: h11 for every byte, and which request is whose.

    POST with an XML body        -> the login's documents, recognised by the body and not by any header
    POST of a web form, GET      -> the login in its legacy dress
    the portal's addresses       -> a page, and so are the login's own addresses when a browser asks
    CONNECT /CSCOSSLC/tunnel     -> the tunnel; the exchange hands its connection over
    on the cluster's address     -> whatever begins a login is sent on to a member
    anything else                -> 404

One exchange serves one connection, request after request. What it refuses it answers, and then the rest of
what the peer sends is drained briefly, since a reset would eat the answer. Limits: head 32 KiB (431), body 64
KiB (413), each within 30 s however slowly it trickles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

import h11
import structlog
import trio

from asa_emu.headend.connect import Grant, Refusal, connect
from asa_emu.headend.headend import Caller
from asa_emu.headend.login import Answer, Ask, Denied, Granted, Login
from asa_emu.serve.asgi import MAX_BODY, MAX_HEAD, READ_LIMIT, Application, WebRequest, check_head
from asa_emu.serve.caller import caller_of, cookies_of, is_browser, path_of
from asa_emu.serve.pages import PageAnswer
from asa_emu.serve.portal import Portal
from asa_emu.serve.tunnels import CstpTunnel
from asa_emu.session.db import Gone
from asa_emu.wire.auth_xml import (
    Profile,
    auth_complete,
    auth_request,
    legacy_form,
    legacy_success,
    parse_client_document_untrusted,
    parse_legacy_reply_untrusted,
    recognise_xml,
)
from asa_emu.wire.compression import make_codec
from asa_emu.wire.errors import HeaderError, XmlError
from asa_emu.wire.headers import parse_connect_request_untrusted

if TYPE_CHECKING:
    from asa_emu.serve.connection import Connection
    from asa_emu.serve.gateway import Gateway

Redirect: TypeAlias = Callable[[str], str | None]
"""From the target of a request to the URL that it should have gone to; None to serve it here."""

IDLE_LIMIT = 300.0  # seconds between two requests; a person types a password in between
TUNNEL_PATHS = frozenset({"/CSCOSSLC/tunnel", "/CscoSslTunnel"})
MAX_AHEAD = MAX_HEAD + MAX_BODY  # bytes that a client may send before it has the answer to what it asked
_END = h11.EndOfMessage()
_TOO_LONG = f"a body of at most {MAX_BODY} bytes is taken"
_COMMON = [
    (b"Cache-Control", b"no-store"),
    (b"Pragma", b"no-cache"),
    (b"X-Transcend-Version", b"1"),
]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Site:
    """What the exchanges of one VPN port share."""

    gateway: Gateway
    login: Login
    certificate_sha1: str
    """Of the server's own certificate, hex, as `server-cert-hash`."""
    portal: Portal
    tasks: trio.Nursery = field(init=False)
    """Where pages are made; set before the first connection is accepted."""
    pages: Application = field(init=False)

    def __post_init__(self) -> None:
        self.pages = self.portal.application()


class HttpExchange:
    """The speaker of a connection until CONNECT."""

    __slots__ = (
        "_body",
        "_connection",
        "_head_began",
        "_headers",
        "_held",
        "_http",
        "_page",
        "_request",
        "_site",
    )

    def __init__(self, site: Site, connection: Connection) -> None:
        self._site = site
        self._connection = connection
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request: h11.Request | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        """The request's, with names in lower case: h11's own sequence makes a call of every look at one."""
        self._page: PageAnswer | None = None
        self._held = False
        """An answer waits until the failover mate knows what it tells."""
        self._head_began = False
        self._body = bytearray()

    def receive(self, buffer: bytearray, end: int) -> int:
        """Take all of it; what follows a CONNECT that succeeds is given back for the tunnel."""
        http = self._http
        connection = self._connection
        http.receive_data(bytes(memoryview(buffer)[:end]))
        if not self._busy:
            self._go_on()
        elif len(http.trailing_data[0]) > MAX_AHEAD:
            connection.drop("too much sent ahead of an answer")
        if connection.speaker is self or connection.speaker is None:
            return end
        return end - len(http.trailing_data[0])

    @property
    def _busy(self) -> bool:
        """Whether an answer is being made, so that what comes meanwhile has to wait."""
        return self._page is not None or self._held

    def _go_on(self) -> None:
        """Take what has come, as far as it goes."""
        http = self._http
        connection = self._connection
        try:
            while connection.speaker is self:
                event = http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    self._limit_head()
                    break
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > MAX_BODY:
                        self._refuse(413, _TOO_LONG)
                elif isinstance(event, h11.EndOfMessage):
                    self._dispatch()
                else:
                    connection.finish()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))

    def _limit_head(self) -> None:
        """A head that has begun has its limit, counted from its first byte."""
        began = self._request is None and bool(self._http.trailing_data[0])
        if began and not self._head_began:
            self._connection.set_deadline(self._site.gateway.run_now() + READ_LIMIT)
        self._head_began = began

    def _begin(self, request: h11.Request) -> None:
        """A head is complete: refuse at once what need not be read on, and limit the rest."""
        connection, http = self._connection, self._http
        self._request = request
        connection.set_deadline(self._site.gateway.run_now() + READ_LIMIT)
        check_head(request)
        headers = self._headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        names = [name for name, _ in headers]
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        if request.http_version not in (b"1.0", b"1.1"):
            self._refuse(505, "HTTP 1.1 is spoken here")
        elif b"content-length" in names and b"transfer-encoding" in names:
            # whoever believes the other one would see another request
            self._refuse(400, "Content-Length and Transfer-Encoding together")
        elif int(length) > MAX_BODY:
            self._refuse(413, _TOO_LONG)
        elif http.they_are_waiting_for_100_continue:
            connection.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")

    def expired(self) -> None:
        """The peer was too slow, or has not asked for anything in a long time."""
        if self._busy:
            self._connection.drop("time limit")
        elif self._request is not None or self._head_began:
            self._refuse(408, f"a head or body has to be complete in {READ_LIMIT:g} s")
        else:
            self._connection.finish()

    def drained(self) -> None:
        """A page that waits for room may go on; nothing else here waits."""
        if self._page is not None:
            self._page.drained()

    def lost(self, reason: str) -> None:
        """The login's state is in the documents, not in the connection."""
        if self._page is not None:
            self._page.lost()

    def _dispatch(self) -> None:
        request, body = self._request, bytes(self._body)
        assert request is not None  # h11 gives a request before its end
        self._body.clear()
        target = request.target.decode("ascii", "replace")
        try:
            if self._sent_on(request, target, body):
                pass
            elif request.method == b"CONNECT":
                self._connect(request, target)
            elif request.method == b"POST":
                self._post(request, target, body)
            elif request.method in (b"GET", b"HEAD"):
                self._get(request, target)
            else:
                self._refuse(405, "method not allowed", headers=[(b"Allow", b"GET, HEAD, POST, CONNECT")])
        except (XmlError, HeaderError) as error:
            self._refuse(400, str(error))
        if self._connection.speaker is self and not self._busy:
            self._next_cycle()

    def _when_safe(self, index: int, answer: Callable[[], None]) -> None:
        """Answer once the failover mate knows what has happened to a session, if there is one."""
        journal = self._site.gateway.journal
        if journal is None or not journal.pending(index):
            answer()
        else:
            self._held = True
            journal.wait(index, partial(self._answer_late, answer))

    def _answer_late(self, answer: Callable[[], None], safe: bool) -> None:
        self._held = False
        gate = self._site.gateway.gate
        if safe and self._connection.speaker is self and (gate is None or gate.is_certain):
            answer()
            self._resume()

    def _resume(self) -> None:
        """An answer that took a while is out: the next request, or the tunnel."""
        connection = self._connection
        if connection.speaker is self:
            self._next_cycle()
            self._go_on()
        if connection.speaker is not self:
            connection.give_back(self._http.trailing_data[0])
        self._site.gateway.after_batch()
        connection.flush()

    def _next_cycle(self) -> None:
        http = self._http
        self._request = None
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            self._connection.set_deadline(self._site.gateway.run_now() + IDLE_LIMIT)
        else:
            self._connection.finish()

    # pages

    def _start_page(self, request: h11.Request, target: str, body: bytes) -> None:
        connection = self._connection
        web_request = WebRequest(
            method=request.method.decode("ascii"),
            target=path_of(target) + (f"?{target.partition('?')[2]}" if "?" in target else ""),
            headers=tuple(request.headers.raw_items()),
            body=body,
            client=(connection.peer.ip, connection.peer.port),
            server=("", connection.local_port),
            scheme="https",
            state={"caller": self._caller()},
        )
        self._page = PageAnswer(connection, self._http)
        self._site.tasks.start_soon(self._give_page, self._page, web_request)

    async def _give_page(self, page: PageAnswer, request: WebRequest) -> None:
        await page.give(self._site.pages, request)
        self._page = None
        self._resume()

    # logging in

    def _sent_on(self, request: h11.Request, target: str, body: bytes) -> bool:
        """On the cluster's address, answer what begins a login with a member's; whether it did."""
        redirect = self._connection.endpoint.redirect
        if redirect is None:
            return False
        if request.method == b"POST":
            if not recognise_xml(body) or parse_client_document_untrusted(body).kind != "init":
                return False
        elif request.method not in (b"GET", b"HEAD"):
            return False
        query = f"?{target.partition('?')[2]}" if "?" in target else ""
        location = redirect(path_of(target) + query)
        if location is None:
            self._connection.drop("not the director any more")  # who tries again comes to the new one
            return True
        self._respond(302, [*_COMMON, (b"Location", location.encode()), (b"Connection", b"close")], b"")
        self._connection.finish()
        return True

    def _post(self, request: h11.Request, target: str, body: bytes) -> None:
        site = self._site
        path, xml = path_of(target), recognise_xml(body)
        if site.portal.owns(path) or (not xml and is_browser(self._headers) and site.login.serves(path)):
            self._start_page(request, target, body)
            return
        caller = self._caller()
        now = site.gateway.now()
        cookies = cookies_of(self._headers)
        if xml:
            document = parse_client_document_untrusted(body)
            answer = site.login.document(
                document,
                path,
                cookies.get("webvpncontext"),
                caller,
                now,
                scan_token=cookies.get("sdesktop"),
            )
            respond = partial(self._answer_xml, answer, caller)
        else:
            fields = parse_legacy_reply_untrusted(body)
            answer = site.login.legacy_reply(fields, path, cookies.get("webvpncontext"), caller, now)
            respond = partial(self._answer_legacy, answer)
        told = answer.session if isinstance(answer, Granted) else None
        if isinstance(answer, Denied):
            told = answer.ended
        if told is not None:
            self._when_safe(told.index, respond)
        else:
            respond()
        site.gateway.after_batch()

    def _get(self, request: h11.Request, target: str) -> None:
        path = path_of(target)
        if self._site.portal.owns(path) or (is_browser(self._headers) and self._site.login.serves(path)):
            self._start_page(request, target, b"")
            return
        if not self._site.login.serves(path):
            self._refuse(404, "not found", close=False)
            return
        answer = self._site.login.legacy_form(path, self._caller(), self._site.gateway.now())
        self._answer_legacy(answer)

    def _answer_xml(self, answer: Answer, caller: Caller) -> None:
        site = self._site
        headers = [*_COMMON, (b"X-Aggregate-Auth", b"1"), (b"Content-Type", b"text/xml; charset=utf-8")]
        if isinstance(answer, Granted):
            profile = site.portal.images.profile_for(answer.session)
            body = auth_complete(
                answer.token,
                session_id=str(answer.session.index),
                banner=answer.banner,
                cert_sha1=site.certificate_sha1,
                profile=profile,
                package=site.portal.images.package_for(caller.user_agent),
            )
            self._respond(200, [*headers, *self._session_cookies(answer, profile)], body)
        elif isinstance(answer, Ask):
            body = auth_request(answer.form, opaque=answer.opaque, host_scan=answer.host_scan)
            self._respond(200, [*headers, *_context_cookie(answer)], body)
        else:
            self._refuse(answer.status, answer.reason, close=answer.status >= 400)

    def _answer_legacy(self, answer: Answer) -> None:
        headers = [*_COMMON, (b"Content-Type", b"text/xml; charset=utf-8")]
        if isinstance(answer, Granted):
            cookies = self._session_cookies(answer, self._site.portal.images.profile_for(answer.session))
            self._respond(200, [*headers, *cookies], legacy_success(answer.banner))
        elif isinstance(answer, Ask):
            self._respond(200, [*headers, *_context_cookie(answer)], legacy_form(answer.form))
        else:
            self._refuse(answer.status, answer.reason)

    def _session_cookies(self, answer: Granted, profile: Profile | None) -> list[tuple[bytes, bytes]]:
        details = f"bu:/&p:t&iu:1/&sh:{self._site.certificate_sha1}"
        if profile is not None:
            details += f"&fu:{quote(profile.uri.lstrip('/'), safe='')}&fh:{profile.sha1}"
        return [
            (
                b"Set-Cookie",
                b"webvpncontext=; expires=Thu, 01 Jan 1970 22:00:00 GMT; path=/; secure; HttpOnly",
            ),
            (b"Set-Cookie", f"webvpn={answer.token}; path=/; secure; HttpOnly".encode()),
            (b"Set-Cookie", f"webvpnc={details}; path=/; secure".encode()),
        ]

    # the tunnel

    def _connect(self, request: h11.Request, target: str) -> None:
        site = self._site
        connection = self._connection
        if target not in TUNNEL_PATHS:
            self._refuse(404, "not found")
            return
        gateway = site.gateway
        wanted = parse_connect_request_untrusted(self._headers)
        now = gateway.now()
        port = gateway.dtls.port if gateway.dtls is not None else None
        outcome = connect(gateway.headend, wanted, self._caller(), connection.engine.exporter, port, now)
        if isinstance(outcome, Refusal):
            log.info("connect.refused", peer=connection.peer.ip, status=outcome.status, reason=outcome.reason)
            self._refuse(outcome.status, outcome.reason)
            return
        # a client that is told an address must find it on the other unit as well
        self._when_safe(outcome.session.index, partial(self._open_tunnel, outcome, now))

    def _open_tunnel(self, grant: Grant, now: float) -> None:
        gateway = self._site.gateway
        connection = self._connection
        session = grant.session
        if session.ended:
            self._refuse(401, "The session has ended")
            return
        link = gateway.link_for(session, grant.mtu)
        if link.dtls is not None:
            # a new CONNECT brings a new DTLS id: the former tunnel is over (S64b)
            gateway.close_dtls(link, now)
        codecs = (make_codec(grant.compression), make_codec(grant.compression)) if grant.compression else None
        tunnel = CstpTunnel(link, connection, codecs)
        response = h11.Response(status_code=200, reason=b"CONNECTED", headers=grant.answer.session_headers())
        head = self._http.send(response) or b""
        # h11 takes a microsecond for each header it looks at, so the policy's go in before the blank line
        connection.write_long(head[:-2] + grant.policy_lines + b"\r\n")
        try:
            tunnel.tunnel = gateway.headend.db.open_ssl(session, grant.facts, tunnel, now)
        except Gone:
            connection.finish()
            return
        if grant.dtls is not None and gateway.dtls is not None:
            gateway.dtls.offer(link, grant.dtls)
        link.cstp = tunnel
        link.point_to_newest()
        connection.speaker = tunnel
        connection.set_deadline(math.inf)
        connection.endpoint.authenticated(connection)
        gateway.after_batch()

    # answers

    def _respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        response = h11.Response(
            status_code=status,
            reason=HTTPStatus(status).phrase.encode(),  # clients print it, and nothing else, of a refusal
            headers=[*headers, (b"Content-Length", str(len(body)).encode())],
        )
        parts = [self._http.send(response) or b""]
        if body and (self._request is None or self._request.method != b"HEAD"):
            parts.append(self._http.send(h11.Data(data=body)) or b"")
        parts.append(self._http.send(_END) or b"")
        self._connection.write_long(b"".join(parts))

    def _refuse(
        self, status: int, reason: str, *, close: bool = True, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer with an error, in words, and unless told otherwise end the connection."""
        http = self._http
        if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = f"{reason}\n".encode()
            headers = [
                *_COMMON,
                (b"Content-Type", b"text/plain; charset=utf-8"),
                (b"X-Reason", _header_text(reason)),
                *headers,
            ]
            if close:
                headers.append((b"Connection", b"close"))
            self._respond(status, headers, body)
        if close:
            self._connection.finish()

    def _caller(self) -> Caller:
        return caller_of(self._connection, self._headers, certificate=self._site.login.wants_certificates)


def _context_cookie(answer: Ask) -> list[tuple[bytes, bytes]]:
    handle = answer.opaque.handle if answer.opaque is not None else ""
    if not handle:
        return []
    return [(b"Set-Cookie", f"webvpncontext={handle}; path=/; secure; HttpOnly".encode())]


def _header_text(text: str) -> bytes:
    return " ".join(text.encode("ascii", "replace").decode().split()).encode()
