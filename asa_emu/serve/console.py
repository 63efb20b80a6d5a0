"""The consoles' shells: telnet, and the management API's lines. All that is typed goes to `asa_emu.cli`.

Telnet is RFC 854 as far as people and scripts need it: the server echoes (so that passwords are not) and
suppresses go-ahead; every other option is declined. After each line the gateway looks at its deadlines, since
a log-off or a bent clock may have moved them.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from ipaddress import ip_address
from typing import Any, Final

import structlog
import trio

from asa_emu.cli.console import Services
from asa_emu.cli.shell import CliSession, Reply
from asa_emu.cli.terminal import Terminal
from asa_emu.serve.gateway import Gateway
from asa_emu.session.model import Peer

MAX_TELNET: Final = 64  # connections at once
MAX_NAMED: Final = 64  # sessions of the management API that are remembered; the one not used longest goes
IDLE_LIMIT: Final = 3600.0  # seconds of run time without a key
SEND_LIMIT: Final = 30.0  # seconds for a screen that does not read

_IAC, _SB, _SE = 255, 250, 240
_WILL, _WONT, _DO, _DONT = 251, 252, 253, 254
_ECHO, _SUPPRESS_GO_AHEAD = 1, 3
_OPENING = bytes((_IAC, _WILL, _ECHO, _IAC, _WILL, _SUPPRESS_GO_AHEAD))

log = structlog.get_logger(__name__)


class GatewayClock:
    """The gateway's time line, as a console bends it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def rate(self) -> float:
        """Emulated seconds per second."""
        return self._gateway.timeline.rate

    def advance(self, seconds: float) -> None:
        """Jump ahead."""
        self._gateway.bend_time(advance=seconds)

    def set_rate(self, rate: float) -> None:
        """Go on at another rate."""
        self._gateway.bend_time(rate=rate)


class Consoles:
    """All console sessions of one gateway."""

    def __init__(self, gateway: Gateway, services: Services) -> None:
        self._gateway = gateway
        self.services = services
        self._named: OrderedDict[str, CliSession] = OrderedDict()
        self._telnets = 0

    def session(self, *, privileged: bool = False, login: bool = False) -> CliSession:
        """A new console session."""
        return CliSession(
            self._gateway.headend,
            now=self._gateway.now,
            services=self.services,
            privileged=privileged,
            login=login,
        )

    def line(self, line: str, name: str | None, *, interactive: bool = False) -> Reply:
        """Execute a line of the management API, in the session `name` or in a new one.

        Such a session begins privileged and does not page. Confirmations are answered yes unless it is
        `interactive`.
        """
        session = self._named.pop(name or "", None) or self.session(privileged=True)
        if interactive:
            reply = session.execute(line)
        else:
            text = session.run(line)
            reply = Reply(text, session.prompt, session.hidden, session.closed)
        if name is not None and not reply.closed:
            self._named[name] = session
            if len(self._named) > MAX_NAMED:
                self._named.popitem(last=False)
        self._gateway.after_batch()
        return reply

    async def serve_telnet(self, host: str, port: int, *, task_status: trio.TaskStatus[Any]) -> None:
        """Serve telnet on `host:port` until cancelled; reports the bound address when it listens.

        On any other address than loopback a local user's name and password are asked for.
        """
        (listener,) = await trio.open_tcp_listeners(port, host=host)
        login = not ip_address(host).is_loopback
        task_status.started(listener.socket.getsockname())
        await trio.serve_listeners(partial(self._telnet, login), [listener])

    async def _telnet(self, login: bool, stream: trio.SocketStream) -> None:
        self._telnets += 1
        try:
            if self._telnets > MAX_TELNET:
                log.warning("console.too_many", limit=MAX_TELNET)
                return
            session = self.session(login=login)
            session.ends = _peer(stream.socket.getpeername()), _peer(stream.socket.getsockname())
            await self._converse(Terminal(session), stream)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # whoever sat there has gone, or does not read
        finally:
            self._telnets -= 1
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await stream.aclose()

    async def _converse(self, terminal: Terminal, stream: trio.SocketStream) -> None:
        options = TelnetOptions()
        await _show(stream, _OPENING + terminal.greeting())
        while not terminal.closed:
            with trio.move_on_after(IDLE_LIMIT) as idle:
                data = await stream.receive_some(4096)
            if idle.cancelled_caught or not data:
                return
            if self.services.unit is not None:
                await self.services.unit.certain()
            keys, answers = options.feed(data)
            shown = terminal.receive(keys)
            self._gateway.after_batch()
            await _show(stream, answers + shown)


def _peer(name: tuple[Any, ...]) -> Peer:
    return Peer(str(name[0]), int(name[1]))


async def _show(stream: trio.SocketStream, data: bytes) -> None:
    if data:
        with trio.fail_after(SEND_LIMIT):
            await stream.send_all(data)


class TelnetOptions:
    """Takes telnet's own bytes out of the stream of keys, however it is cut into pieces, and answers them."""

    def __init__(self) -> None:
        self._state = "data"
        self._verb = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the keys in `data`, and what to answer."""
        keys, answers = bytearray(), bytearray()
        for byte in data:
            match self._state:
                case "data" if byte == _IAC:
                    self._state = "command"
                case "data":
                    keys.append(byte)
                case "command":
                    self._command(byte, keys)
                case "option":
                    answers += self._answer(byte)
                    self._state = "data"
                case "subnegotiation" if byte == _IAC:
                    self._state = "subnegotiation's end"
                case "subnegotiation's end":
                    self._state = "data" if byte == _SE else "subnegotiation"
        return bytes(keys), bytes(answers)

    def _command(self, byte: int, keys: bytearray) -> None:
        self._state = "data"
        if byte == _IAC:
            keys.append(byte)
        elif byte == _SB:
            self._state = "subnegotiation"
        elif byte in (_WILL, _WONT, _DO, _DONT):
            self._verb, self._state = byte, "option"

    def _answer(self, option: int) -> bytes:
        """Decline what is not on already; a refusal needs no answer, or two machines never stop."""
        if self._verb == _DO and option not in (_ECHO, _SUPPRESS_GO_AHEAD):
            return bytes((_IAC, _WONT, option))
        if self._verb == _WILL and option != _SUPPRESS_GO_AHEAD:
            return bytes((_IAC, _DONT, option))
        return b""
