"""Many clients at once on one epoll: what runs the scripts of `client`, and what keeps idle tunnels alive."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Iterator

from asa_emu.wire.frames import FrameReader, PacketType, encode_frame
from bench.client import Client, Steps

_PATIENCE = 10.0  # seconds without a word from the headend
_ROUND_TRIP = 0.005  # seconds
_ALIVE = encode_frame(PacketType.DPD_RESPONSE)


def run_scripts(scripts: Iterable[tuple[Client, Steps]], at_once: int) -> int:
    """Run scripts to their ends, `at_once` of them at a time; how many ended.

    The next one is taken when another has ended, so an iterator that opens its client's connection as it goes
    opens it then.
    """
    waiting = iter(scripts)
    running: dict[int, tuple[Client, Steps]] = {}
    ended = 0
    with select.epoll() as epoll:

        def start() -> None:
            for client, steps in waiting:
                next(steps)
                running[client.sock.fileno()] = (client, steps)
                epoll.register(client.sock, select.EPOLLIN)
                return

        for _ in range(at_once):
            start()
        while running:
            events = epoll.poll(_PATIENCE)
            if not events:
                raise RuntimeError(f"{len(running)} clients wait in vain")
            for descriptor, _ in events:
                client, steps = running[descriptor]
                client.receive()
                try:
                    next(steps)
                except StopIteration:
                    ended += 1
                    del running[descriptor]
                    if client.sock.fileno() >= 0:
                        epoll.unregister(descriptor)
                    start()
    return ended


def answer_probes(clients: list[Client], seconds: float) -> int:
    """Let idle tunnels answer the headend's DPD for so long; how many probes there were.

    Answers leave together a round trip later, as those of so many machines would. One after the other they
    would come more slowly than the headend reads them, and what would be measured is its falling asleep
    between them.
    """
    readers = {client.sock.fileno(): (client, FrameReader()) for client in clients}
    probes = 0
    with select.epoll() as epoll:
        for client in clients:
            epoll.register(client.sock, select.EPOLLIN)
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            if not epoll.poll(left):
                break
            time.sleep(_ROUND_TRIP)
            answers: list[tuple[Client, bytes]] = []
            for descriptor, _ in epoll.poll(0):
                client, reader = readers[descriptor]
                client.receive()
                if any(frame.kind == PacketType.DPD_REQUEST for frame in reader.feed(client.read())):
                    client.engine.write(_ALIVE)
                    answers.append((client, client.engine.output()))
            for client, answer in answers:
                client.sock.send(answer)
            probes += len(answers)
    return probes


def until(ends_at: float, scripts: Iterator[tuple[Client, Steps]]) -> Iterator[tuple[Client, Steps]]:
    """Take from `scripts` until that instant of `time.perf_counter`."""
    while time.perf_counter() < ends_at:
        yield next(scripts)
