"""`asa-emu demo`: the life of one AnyConnect session, told as it happens, on real sockets.

A headend and a client run in this process over TLS and DTLS on loopback. The clock is trio's mock clock; it
jumps whenever everybody waits, so minutes of dead-peer detection pass in an instant and every figure is the
same each time. Each act checks what it tells: an act that did not happen ends the demo with exit code 1.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import trio
from trio.testing import MockClock

from asa_emu.app import HostPort, Options, Running, configure_logging, run_headend
from asa_emu.cli.show_sessiondb import render_sessions
from asa_emu.session.events import SessionEnded, SessionEvent, SessionResumed, TunnelDown, TunnelUp
from asa_emu.session.model import Session, TunnelKind
from client_emu import Client, ClientOptions, ConnectFailed, Dtls, parse_gateway

EPOCH = datetime(2012, 11, 30, 22, 13, 37, tzinfo=UTC).timestamp()
INSIDE_HOST = "10.20.30.40"
WI_FI = "127.0.0.2"

CONFIG = """\
hostname ciscoasa
ip local pool POOL 192.168.1.4-192.168.1.20 mask 255.255.255.0
webvpn
 enable outside
 tunnel-group-list enable
group-policy My-Network internal
group-policy My-Network attributes
 vpn-idle-timeout 30
 vpn-tunnel-protocol ssl-client
 address-pools value POOL
 webvpn
  anyconnect dpd-interval gateway 30
  anyconnect dpd-interval client 30
  anyconnect ssl keepalive 20
username walter password secret
tunnel-group My-Network type remote-access
tunnel-group My-Network general-attributes
 default-group-policy My-Network
tunnel-group My-Network webvpn-attributes
 group-alias My-Network enable
"""


class ActFailed(Exception):
    """The story went another way than it was told."""


class Narrator:
    """Prints the story with emulated times, and holds it to what it says."""

    def __init__(self, running: Running) -> None:
        self._gateway = running.gateway
        self._started_at = running.gateway.now()
        self.events: list[SessionEvent] = []
        running.gateway.headend.db.subscribe(self.events.append)

    def act(self, title: str) -> None:
        """Begin an act."""
        print(f"\n{self._clock()}  {title}")

    def say(self, text: str) -> None:
        """Tell a fact."""
        print(f"{self._clock()}    {text}")

    def check(self, fact: bool, text: str) -> None:
        """Tell a fact that must be so."""
        if not fact:
            raise ActFailed(text)
        self.say(text)

    def table(self, *, detail: bool = False) -> None:
        """Print the session table as an ASA does."""
        command = "show vpn-sessiondb detail anyconnect" if detail else "show vpn-sessiondb anyconnect"
        print(f"\nciscoasa# {command}")
        db = self._gateway.headend.db
        print(render_sessions(list(db.sessions()), self._gateway.now(), detail=detail))

    def session(self) -> Session:
        """The one session there is."""
        sessions = list(self._gateway.headend.db.sessions())
        if len(sessions) != 1:
            raise ActFailed(f"one session was expected, there are {len(sessions)}")
        return sessions[0]

    async def until(self, kind: type[SessionEvent], tunnel: TunnelKind | None = None) -> SessionEvent:
        """Wait for the next event of a kind; ten emulated minutes are more than any act needs."""
        seen = len(self.events)
        with trio.move_on_after(600):
            while True:
                for event in self.events[seen:]:
                    if isinstance(event, kind) and tunnel in (None, getattr(event, "kind", None)):
                        return event
                seen = len(self.events)
                await trio.sleep(0.5)
        raise ActFailed(f"{kind.__name__} did not happen within ten minutes")

    def _clock(self) -> str:
        minutes, seconds = divmod(self._gateway.now() - self._started_at, 60)
        return f"{int(minutes):02}:{seconds:06.3f}"


def demo() -> int:
    """Tell the story; the exit code."""
    configure_logging("text", "error")
    code = 0
    try:
        trio.run(_demo, clock=MockClock(autojump_threshold=0))
    except* ActFailed as group:
        print(f"\nThe story broke off: {_innermost(group)}")
        code = 1
    return code


def _innermost(group: BaseExceptionGroup[ActFailed]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.contextmanager
def _state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="asa-emu-demo-") as directory:
        yield Path(directory)


async def _demo() -> None:
    with _state() as state:
        options = Options(
            config_text=CONFIG, listen=HostPort("127.0.0.1", 0), state=state, epoch=EPOCH, log_level="error"
        )
        async with trio.open_nursery() as nursery:
            running = await nursery.start(run_headend, options)
            await _story(running)
            nursery.cancel_scope.cancel()


async def _story(running: Running) -> None:
    story = Narrator(running)
    print(f"A headend listens on https://{running.https} and speaks DTLS on UDP {running.dtls}.")
    client_options = ClientOptions(
        parse_gateway(str(running.https)), user="walter", password="secret", pin=running.pin
    )

    story.act("walter logs in")
    async with Client(client_options) as vpn:
        if vpn.dtls_cipher is None:
            await vpn.next_event(Dtls)
        session = story.session()
        kinds = [tunnel.kind.value for tunnel in session.tunnels]
        story.check(kinds == ["AnyConnect-Parent", "SSL-Tunnel", "DTLS-Tunnel"], "three tunnels are up")
        story.say(f"the session token resumes session {session.index} from now on, the password is not kept")
        story.table(detail=True)
        address, index = vpn.ip4, session.index

        story.act(f"ping {INSIDE_HOST} through DTLS")
        await _ping(story, vpn, TunnelKind.DTLS)

        story.act("the cable is pulled: nothing arrives any more, and nobody says so")
        vpn.lose_cable()
        lost = await story.until(TunnelDown, TunnelKind.SSL)
        assert isinstance(lost, TunnelDown)
        if story.session().dtls is not None:
            await story.until(TunnelDown, TunnelKind.DTLS)
        story.check(lost.reason.value == "dpd", "gateway DPD has probed in vain and gives the tunnels up")
        story.check(session.inactive and not session.ended, "the session stays, inactive: waiting to resume")
        story.check(session.ip4 == address, f"its address {address} stays held")
        story.table()

        story.act(f"Wi-Fi: the client comes back from {WI_FI}, with its token alone")
        await trio.sleep(20)
        vpn.reconnect(source_address=WI_FI)
        resumed = await story.until(SessionResumed)
        assert isinstance(resumed, SessionResumed)
        if session.dtls is None:
            await story.until(TunnelUp, TunnelKind.DTLS)
        story.check(story.session().index == index, f"session {index} is resumed, no password was asked for")
        story.check(vpn.ip4 == address == session.ip4, f"same address {address}")
        story.check(session.public_ip == WI_FI, f"new public address {session.public_ip}, new source ports")
        await _ping(story, vpn, TunnelKind.DTLS)
        story.table(detail=True)

        story.act("a firewall starts to drop UDP")
        vpn.block_udp()
        await story.until(TunnelDown, TunnelKind.DTLS)
        story.check(
            session.dtls is None and session.ssl is not None, "DTLS is given up, TLS carries the data"
        )
        await _ping(story, vpn, TunnelKind.SSL)
        story.table()

        story.act("the firewall lets UDP through again")
        vpn.unblock_udp()
        await story.until(TunnelUp, TunnelKind.DTLS)
        story.check(session.dtls is not None, f"DTLS is back as tunnel {session.dtls and session.dtls.id}")
        await _ping(story, vpn, TunnelKind.DTLS)

        story.act("walter logs off")
        token = vpn.token
        await vpn.disconnect()
        if not isinstance(story.events[-1], SessionEnded):
            await story.until(SessionEnded)
        ended = story.events[-1]
        assert isinstance(ended, SessionEnded)
        story.check(session.ended, f"session {index} ended: {ended.reason.value}")
        story.table()

    try:
        async with Client(replace(client_options, token=token)):
            raise ActFailed("a dead token opened a tunnel")
    except ConnectFailed as refused:
        story.say(f"its token is dead: {refused}")
    print(f"\n{story._clock()} of emulated time, every act as told.")


async def _ping(story: Narrator, vpn: Client, over: TunnelKind) -> None:
    session = story.session()
    tunnel = session.dtls if over is TunnelKind.DTLS else session.ssl
    if tunnel is None:
        raise ActFailed(f"no {over.value} to ping through")
    before = tunnel.pkts_rx
    result = await vpn.ping(INSIDE_HOST, 3)
    story.check(
        result.received == 3 and tunnel.pkts_rx - before == 3,
        f"3 of 3 pings came back through {tunnel.id}, the {over.value}",
    )
