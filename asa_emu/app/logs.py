"""The operator's log on stderr: one event a line, as text or JSON, or the ASA's own messages."""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO, cast

import structlog

from asa_emu.app.options import LogFormat, LogLevel


class BestEffort(io.TextIOBase):
    """A stream that may be on a full disk or lead nowhere: no line of a log is worth a headend."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Write out what can be."""
        try:
            self._stream.flush()
        except OSError:
            pass  # the next line may have more luck


def configure_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Operator's log on stderr: one event a line, secrets never among them."""
    renderer: Any = structlog.processors.JSONRenderer()
    if log_format != "json":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    # Messages tell the story in the ASA's own format; the log keeps to what they do not know, such as faults.
    least = max(levels[level], levels["warning"]) if log_format == "asa" else levels[level]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        # it asks for a TextIO and uses write and flush
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", BestEffort(sys.stderr))),
        cache_logger_on_first_use=True,
    )
