"""One epoll and one trio task for every data-plane socket.

A task per connection costs two kilobytes and ten microseconds a wake-up; with one dispatcher a wake-up costs
one. So `Handler.readable` never awaits: it reads what is there, does its work and returns. The epoll's own
descriptor is what trio waits on, which also makes a mock clock exact: bytes in flight keep the task runnable.

After each batch `after_batch` runs, for what is cheaper done once: flushing the links that got packets, and
waking the timekeeper when a deadline moved forward.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Protocol

import structlog
import trio

from asa_emu.serve.gate import Gate

_BATCH = 64  # events per turn: other tasks get theirs in between

log = structlog.get_logger(__name__)


class Handler(Protocol):
    """Something with a descriptor."""

    def fileno(self) -> int:
        """The descriptor to wait on."""

    def readable(self) -> None:
        """Bytes wait (or the end does). Must not await; may be called without cause."""

    def writable(self) -> None:
        """There is room to send again; only called after `want_write`."""

    def abort(self) -> None:
        """An error nobody foresaw: let go of this one, so that the others go on."""


class Dispatcher:
    """Waits on all handlers and calls them, a batch at a time."""

    def __init__(self, after_batch: Callable[[], None]) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._after_batch = after_batch
        self.gate: Gate | None = None
        """Of a failover unit; while it is shut no handler is called."""

    def add(self, handler: Handler) -> None:
        """Start waiting for `handler` to become readable."""
        descriptor = handler.fileno()
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, handler: Handler) -> None:
        """Stop waiting; call before the descriptor is closed. Idempotent."""
        descriptor = handler.fileno()
        if descriptor >= 0 and self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def want_write(self, handler: Handler, waiting: bool) -> None:
        """While output waits nothing more is read from that peer: the back pressure it deserves."""
        if handler.fileno() in self._handlers:
            self._epoll.modify(handler.fileno(), select.EPOLLOUT if waiting else select.EPOLLIN)

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            gate = self.gate
            if gate is not None:
                await gate.opened()
            for descriptor, event in self._epoll.poll(0, _BATCH):
                if gate is not None and not gate.is_open:
                    break  # they are reported again
                handler = self._handlers.get(descriptor)
                if handler is None:
                    continue  # closed earlier in this batch
                try:
                    if event & select.EPOLLOUT:
                        handler.writable()
                    else:
                        handler.readable()
                except Exception:
                    log.exception("dispatcher.handler_failed", handler=repr(handler))
                    handler.abort()
            self._after_batch()

    def close(self) -> None:
        """Give the epoll back; the handlers close their own descriptors before."""
        self._epoll.close()
