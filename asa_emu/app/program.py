"""A headend as a program: its log, its ready line, its signals, its exit code."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import structlog
import trio

from asa_emu.app.headend import run_headend
from asa_emu.app.logs import configure_logging
from asa_emu.app.options import BindError, LogLevel, Options, UsageError
from asa_emu.config import (
    Report,
)

log = structlog.get_logger(__name__)
_SEVERITIES: dict[LogLevel, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3}


class Started(Protocol):
    """What a program announces: one headend, or several."""

    @property
    def stopping(self) -> trio.Event:
        """To be set to stop it in order."""

    @property
    def reports(self) -> list[Report]:
        """What the configuration says that has no effect."""

    def ready_line(self) -> str:
        """The line on stdout."""


async def serve(options: Options, start: Callable[..., Awaitable[None]] = run_headend) -> int:
    """Run a headend, or whatever `start` starts, as a program: announce it, stop on SIGINT or SIGTERM.

    Returns the exit code.
    """
    configure_logging(options.log_format, options.log_level)
    _tune_collector()
    code = 0
    try:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as listeners:
                async with trio.open_nursery() as nursery:
                    with trio.CancelScope() as starting:
                        stops: list[Callable[[], None]] = [starting.cancel]
                        listeners.start_soon(_stop_on, signals, stops)
                        running: Started = await nursery.start(start, options)
                        stops.append(running.stopping.set)
                        _announce(running)
                listeners.cancel_scope.cancel()
    except* (UsageError, BindError) as group:
        code = _complain(group)
    return code


def _announce(running: Started) -> None:
    try:
        print(running.ready_line(), flush=True)  # noqa: T201 -- the line is the contract
    except OSError as error:
        log.warning("ready_line.not_written", error=error.strerror)
    for report in running.reports:
        log.warning("config.kept", line=report.line, text=report.text, reason=report.reason)


async def _stop_on(signals: AsyncIterator[int], stops: list[Callable[[], None]]) -> None:
    """The first signal stops the headend; impatient ones after it are taken, or they would kill it.

    The last of `stops` is how: a unit of a failover pair may take long to start.
    """
    first = True
    async for number in signals:
        if first:
            log.info("stopping", signal=signal.Signals(number).name)
            stops[-1]()
        first = False


def _complain(group: BaseExceptionGroup[UsageError | BindError]) -> int:
    """Print why the headend could not start; the exit code for it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    print(f"asa-emu: {error}", file=sys.stderr, flush=True)  # noqa: T201
    return 3 if isinstance(error, BindError) else 2


def _tune_collector() -> None:
    # a tenth of a login is the collector's otherwise; sessions are free of cycles
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
