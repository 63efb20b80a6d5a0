"""From events to lines: who wants which message, and how often.

`Syslog` hears every event and fact of a headend. For each message it knows, until the configuration changes,
who wants it: the buffer, and the sinks that shells attach to a destination (the syslog hosts, the console,
monitors). A message that nobody wants costs one look into a dictionary and is never put into words.

A sink may insist on a severity of its own, as `--syslog` does: it gets its messages whatever the
configuration says about `logging enable`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from asa_emu.config import Config, LogFilter, Logging, LogHost
from asa_emu.config.logging import Layout, level_filter
from asa_emu.session.events import SessionEvent
from asa_emu.syslog.buffer import Buffer
from asa_emu.syslog.facts import Fact
from asa_emu.syslog.headers import Headers
from asa_emu.syslog.messages import MESSAGES
from asa_emu.syslog.render import Renderer
from asa_emu.syslog.show import show_logging

Destination: TypeAlias = Literal["trap", "console", "monitor"]
LONGEST_TEXT = 2048  # characters; a stranger's words are cut off here


@dataclass(frozen=True, slots=True)
class Record:
    """One message, in words."""

    at: float
    number: int
    severity: int
    text: str
    body: str
    """The line as the buffer and the console have it."""
    headers: Headers

    def wire(self, layout: Layout = "asa") -> str:
        """Return the line as a host is sent it, with its priority in front."""
        return self.headers.wire(layout, self.body, self.at, self.number, self.severity, self.text)


@dataclass(slots=True, eq=False)
class Channel:
    """What a shell counts about one host, for `show logging`."""

    host: LogHost
    sent: int = 0
    errors: int = 0
    dropped: int = 0
    connected: bool = True
    """Of a TCP host."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sink:
    destination: Destination
    write: Callable[[Record], None]
    insists: LogFilter | None


@dataclass(frozen=True, slots=True)
class _Route:
    """Where a message goes."""

    severity: int
    text: str
    counted: tuple[str, ...]
    buffered: bool
    sinks: tuple[_Sink, ...]


class Syslog:
    """The messages of one headend."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._generation = -1
        self._renderer = Renderer()
        self._routes: dict[int, _Route | None] = {}
        self._sinks: list[_Sink] = []
        self._active = False
        self._headers: Headers
        self.logging: Logging
        """What the configuration says, when it was last looked at."""
        self.buffer = Buffer(0)
        self.counts: Counter[str] = Counter()
        """Messages logged, by destination."""
        self.channels: list[Channel] = []
        """Kept by the shell that sends to the hosts."""
        self.on_refresh: Callable[[Logging], None] | None = None
        """Called with what the configuration says whenever it has changed."""
        self.refresh()

    def attach(
        self, destination: Destination, write: Callable[[Record], None], *, insists: int | None = None
    ) -> Callable[[], None]:
        """Give `write` every message of a destination, until the function that this returns is called.

        `insists` is a severity that holds when the configuration gives this destination none. `write` must
        not raise.
        """
        sink = _Sink(destination, write, None if insists is None else level_filter(insists))
        self._sinks.append(sink)
        self.refresh()

        def detach() -> None:
            self._sinks.remove(sink)
            self.refresh()

        return detach

    def hear(self, event: SessionEvent | Fact) -> None:
        """Log what an ASA logs about this."""
        if self._config.generation != self._generation:
            self.refresh()
        if not self._active:
            return
        for number, fields in self._renderer.lines(event):
            route = self._routes.get(number, _UNSEEN)
            if route is _UNSEEN:
                route = self._routes[number] = self._route(number)
            if route is not None:
                self._log(route, number, route.text % fields, event.at)

    def _log(self, route: _Route, number: int, text: str, at: float) -> None:
        # Names and a client's words come from strangers: a line stays one line, and a short one.
        text = text[:LONGEST_TEXT]
        if not text.isprintable():
            text = "".join(letter if letter.isprintable() else "?" for letter in text)
        body = self._headers.body(at, number, route.severity, text)
        for name in route.counted:
            self.counts[name] += 1
        if route.buffered:
            self.buffer.append(body)
        if route.sinks:
            record = Record(at, number, route.severity, text, body, self._headers)
            for sink in route.sinks:
                sink.write(record)

    def refresh(self) -> None:
        """Look at the configuration again, which `hear` does when it has changed."""
        config = self._config
        self._generation = config.generation
        said = config.logging
        if not said.said:
            # Nothing is said at all, so what a flag asked for gets stamps, which it could not ask for.
            said = replace(said, timestamp="asa")
        self.logging = said
        self._headers = Headers(config, said)
        self.buffer.resize(said.buffer_size)
        self._routes.clear()
        interfaces = config.webvpn.interfaces
        self._renderer.interface = interfaces[0] if interfaces else "outside"
        self._renderer.hide_username = said.hide_username
        self._active = (said.enabled and bool(said.filters)) or any(sink.insists for sink in self._sinks)
        if not self._active:
            self._renderer.forget()
        if self.on_refresh is not None:
            self.on_refresh(said)

    def _route(self, number: int) -> _Route | None:
        """Where a message goes; None for nowhere."""
        said, message = self.logging, MESSAGES[number]
        if number in said.disabled:
            return None
        severity = said.levels.get(number, message.severity)
        wanted_by = tuple(
            name
            for name, filter_ in said.filters.items()
            if said.enabled and filter_.passes(number, severity)
        )
        sinks = tuple(sink for sink in self._sinks if self._wants(sink, wanted_by, number, severity))
        if not wanted_by and not sinks:
            return None
        return _Route(severity, message.text, wanted_by, "buffered" in wanted_by, sinks)

    def _wants(self, sink: _Sink, wanted_by: tuple[str, ...], number: int, severity: int) -> bool:
        said = self.logging
        if sink.insists is None or (said.enabled and sink.destination in said.filters):
            return sink.destination in wanted_by
        return sink.insists.passes(number, severity)

    def forget(self) -> None:
        """The sessions so far are no longer this headend's."""
        self._renderer.forget()

    def show_logging(self, *, setting: bool = False) -> str:
        """Return the answer to `show logging`, or with `setting` to `show logging setting`."""
        if self._config.generation != self._generation:
            self.refresh()
        return show_logging(self, setting=setting)


_UNSEEN = _Route(0, "", (), False, ())
