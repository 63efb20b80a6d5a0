"""The management API: what a test or a person asks a running headend, as JSON over HTTP with a bearer token.

    GET  /readyz          200 once it accepts connections; the one route without a token
    GET  /v1/sessions     every session with its tunnels and counters
    GET  /v1/load-balancing  role, director, members with their loads, clients sent on
    POST /v1/logoff       {"name": "walter"} … -> {"logged_off": 1}
    POST /v1/clock        {"advance": "30m"} or {"rate": 60} -> the time line
    POST /v1/cli          {"line": "show clock", "session": "optional name"} -> {"text", "prompt"}
    GET  /v1/failover     which unit of a failover pair this is, and how it and its mate are
    GET  /v1/events       server-sent events, one for each state change from now on

Every answer is about one instant of emulated time. An error says what was expected, in `error`.
"""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any

import trio
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from asa_emu.cli.console import FailoverUnit
from asa_emu.config.syntax import parse_duration
from asa_emu.ha.balance import Balancer, Member
from asa_emu.serve.console import Consoles
from asa_emu.serve.gateway import Gateway
from asa_emu.session.events import SessionEvent
from asa_emu.session.model import Session, Tunnel, TunnelKind
from asa_emu.session.selection import Logoff

QUEUED_EVENTS = 10_000  # per listener; one that does not read loses the oldest view, not our memory
PING_INTERVAL = 15.0  # seconds of run time between comments on a quiet event stream
STANDBY = "this unit is not active: ask its failover mate"
_SECRETS = frozenset({"token_digest", "policy"})

_BALANCING_ROLES = {True: "director", False: "member"}
_KINDS = {
    TunnelKind.PARENT: "parent",
    TunnelKind.CLIENTLESS: "clientless",
    TunnelKind.SSL: "ssl",
    TunnelKind.DTLS: "dtls",
}


class LogoffBody(BaseModel):
    """Exactly one selector."""

    model_config = ConfigDict(extra="forbid", strict=True)
    index: int | None = None
    name: str | None = None
    ipaddress: str | None = None
    protocol: str | None = None
    tunnel_group: str | None = None
    inactive: bool | None = None
    all: bool | None = None

    @model_validator(mode="after")
    def _one(self) -> LogoffBody:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError(
                "give exactly one of index, name, ipaddress, protocol, tunnel_group, inactive, all"
            )
        return self

    def selector(self) -> Logoff | None:
        """The database's selector; None for `false`, which selects nothing."""
        if self.all is not None:
            return Logoff("all") if self.all else None
        if self.inactive is not None:
            return Logoff("inactive") if self.inactive else None
        if self.index is not None:
            return Logoff("index", self.index)
        if self.name is not None:
            return Logoff("name", self.name)
        if self.ipaddress is not None:
            return Logoff("ipaddress", self.ipaddress)
        if self.protocol is not None:
            return Logoff("protocol", self.protocol)
        return Logoff("tunnel_group", self.tunnel_group)


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


class ClockBody(BaseModel):
    """A jump ahead, in seconds or as `30m`, or a new rate, or both: the jump comes first."""

    model_config = ConfigDict(extra="forbid", strict=True)
    advance: Annotated[float, Field(ge=0, le=10 * 365 * 86400), BeforeValidator(_seconds)] | None = None
    rate: Annotated[float, Field(gt=0, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _some(self) -> ClockBody:
        if self.advance is None and self.rate is None:
            raise ValueError("give advance (seconds, or 30m), rate (emulated seconds per second), or both")
        return self


class CliBody(BaseModel):
    """A line for the console. A `session` is a name under which mode and privileges are kept."""

    model_config = ConfigDict(extra="forbid")
    line: Annotated[str, Field(max_length=4096)]
    session: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    interactive: bool = False
    """A person is there: confirmations are asked for, and the answer tells whether to hide the input."""


class Management:
    """The routes, over one gateway."""

    def __init__(self, gateway: Gateway, consoles: Consoles, token: str) -> None:
        self._gateway = gateway
        self._consoles = consoles
        self._token = token.encode()
        self.unit: FailoverUnit | None = None
        """Of a failover pair."""

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/readyz", self._ready),
                Route("/v1/sessions", self._guard(self._sessions)),
                Route("/v1/load-balancing", self._guard(self._load_balancing)),
                Route("/v1/logoff", self._guard(self._logoff), methods=["POST"]),
                Route("/v1/clock", self._guard(self._clock), methods=["POST"]),
                Route("/v1/cli", self._guard(self._cli), methods=["POST"]),
                Route("/v1/failover", self._guard(self._failover)),
                Route("/v1/events", self._guard(self._events)),
            ],
            exception_handlers={HTTPException: _http_error},
        )

    def _guard(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode("latin-1", "replace")
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                return _error(401, "send Authorization: Bearer with the manage_token of the ready file")
            if self.unit is not None:
                await self.unit.certain()
            try:
                return await endpoint(request)
            except ValidationError as error:
                return _error(422, "; ".join(_problem(detail) for detail in error.errors()))

        return guarded

    async def _ready(self, _request: Request) -> Response:
        return JSONResponse({"ready": True})

    async def _sessions(self, _request: Request) -> Response:
        now = self._gateway.now()
        return JSONResponse([session_row(s, now) for s in self._gateway.headend.db.sessions()])

    async def _load_balancing(self, _request: Request) -> Response:
        balancer = self._consoles.services.balancer or Balancer()
        me, said = balancer.me, self._gateway.headend.config.load_balancing
        stands_by = self.unit is not None and not self.unit.active and said.participate
        role = "disabled" if not stands_by else "standby"
        return JSONResponse(
            {
                "role": role if me is None else _BALANCING_ROLES[balancer.directs],
                "cluster_ip": said.cluster_ip,
                "address": None if me is None else me.address,
                "director": balancer.director,
                "redirected": balancer.picks,
                "members": [_member_row(member, balancer) for member in balancer.members],
            }
        )

    async def _logoff(self, request: Request) -> Response:
        body = LogoffBody.model_validate_json(await request.body() or b"{}")
        selector = body.selector()
        count = 0
        if not self._gateway.acts:
            return _error(409, STANDBY)
        if selector is not None:
            count = self._gateway.headend.db.logoff(selector, self._gateway.now())
            self._gateway.after_batch()
            if not await self._gateway.safe():
                return _error(409, STANDBY)
        return JSONResponse({"logged_off": count})

    async def _clock(self, request: Request) -> Response:
        body = ClockBody.model_validate_json(await request.body() or b"{}")
        gateway = self._gateway
        gateway.bend_time(advance=body.advance or 0.0, rate=body.rate)
        return JSONResponse({"now": iso_time(gateway.now()), "rate": gateway.timeline.rate})

    async def _cli(self, request: Request) -> Response:
        body = CliBody.model_validate_json(await request.body() or b"{}")
        journal = self._gateway.journal
        heard = 0 if journal is None else journal.heard
        reply = self._consoles.line(body.line, body.session, interactive=body.interactive)
        if journal is not None and journal.heard != heard and not await self._gateway.safe():
            return _error(409, STANDBY)  # it has logged somebody off, but not for the mate
        answer: dict[str, Any] = {"text": reply.text, "prompt": reply.prompt.rstrip()}
        if body.interactive:
            answer |= {"prompt": reply.prompt, "hidden": reply.hidden_input, "closed": reply.closed}
        return JSONResponse(answer)

    async def _failover(self, _request: Request) -> Response:
        if self.unit is None:
            return JSONResponse({"role": "active", "state": "Disabled", "mate": None, "fence": 0, "lag": 0.0})
        status = self.unit.status()
        mate = {"unit": status.mate, "state": status.mate_state, "active_for": status.mate_active_for}
        facts = {f.name: _plain(getattr(status, f.name)) for f in fields(status)}
        return JSONResponse(
            {
                "role": "active" if self.unit.active else "standby",
                **{name: fact for name, fact in facts.items() if not name.startswith("mate")},
                "mate": None if status.mate_state is None else mate,
                "intervals": [_plain(interval) for interval in status.intervals],
            }
        )

    async def _events(self, _request: Request) -> Response:
        return EventStream(self._gateway)


class EventStream(Response):
    """Server-sent events until the listener hangs up, which cancels this.

    No async generator as Starlette's own stream: one that is cancelled between two events is left to the
    garbage collector, and its subscription with it.
    """

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._db = gateway.headend.db

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then each event as it happens."""
        enqueue, events = trio.open_memory_channel[bytes](QUEUED_EVENTS)

        def hear(event: SessionEvent) -> None:
            try:
                enqueue.send_nowait(event_record(event))
            except trio.WouldBlock:
                pass  # this listener does not read

        async def say(record: bytes) -> None:
            await send({"type": "http.response.body", "body": record, "more_body": True})

        unsubscribe = self._db.subscribe(hear)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await say(b": listening\n\n")
            while True:
                record = b": ping\n\n"
                with trio.move_on_after(PING_INTERVAL):
                    record = await events.receive()
                await say(record)
        finally:
            unsubscribe()


def session_row(session: Session, now: float) -> dict[str, Any]:
    """A session as `/v1/sessions` shows it; durations are seconds."""
    return {
        "index": session.index,
        "user": session.username,
        "group_policy": session.group_policy,
        "tunnel_group": session.tunnel_group,
        "assigned_ip": session.ip4,
        "assigned_ip6": session.ip6,
        "public_ip": session.public_ip,
        "state": "inactive" if session.inactive else "active",
        "tunnels": [_tunnel_row(tunnel, now) for tunnel in session.tunnels],
        "login_time": iso_time(session.login_at),
        "duration": round(session.duration(now), 3),
        "inactivity": round(session.inactivity(now), 3),
        **session.totals._asdict(),
    }


def _member_row(member: Member, balancer: Balancer) -> dict[str, Any]:
    return {
        "address": member.address,
        "name": member.fqdn or None,
        "priority": member.priority,
        "role": _BALANCING_ROLES[member.address == balancer.director],
        "sessions": member.used,
        "limit": member.limit,
        "load": member.load,
    }


def _tunnel_row(tunnel: Tunnel, now: float) -> dict[str, Any]:
    left = tunnel.idle_left(now)
    return {
        "id": tunnel.id,
        "kind": _KINDS[tunnel.kind],
        "protocol": tunnel.facts.protocol,
        "cipher": tunnel.facts.ciphersuite,
        "src_port": tunnel.facts.peer.port,
        "idle_left": None if math.isinf(left) else round(left, 3),
        **tunnel.counters._asdict(),
    }


def event_record(event: SessionEvent) -> bytes:
    """One server-sent event: its name, and its facts as JSON with the name repeated in `event`."""
    name = type(event).__name__
    facts = {
        "event": name,
        **{f.name: _plain(getattr(event, f.name)) for f in fields(event) if f.name not in _SECRETS},
    }
    tunnel = getattr(event, "tunnel", None)
    if isinstance(tunnel, str):
        facts["tunnel"] = tunnel
    return f"event: {name}\ndata: {json.dumps(facts)}\n\n".encode()


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, float) and math.isinf(value):
        return None
    return value


def iso_time(at: float) -> str:
    """An instant of emulated time in ISO 8601, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status)


async def _http_error(request: Request, error: Exception) -> Response:
    """No such route, or not by that method. Were it not async, it would run in a thread."""
    assert isinstance(error, HTTPException)  # nothing else is handed here
    text = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse({"error": text}, status_code=error.status_code, headers=error.headers)


def _problem(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    return f"{where}: {detail['msg']}" if where else str(detail["msg"])
