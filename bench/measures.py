"""What is done to the headend, and what is counted: one function for each figure, each with a fresh process.

A function takes the seconds to spend and returns the facts for the JSON document. Rates carry `wall` and
`per_cpu_second`, of the headend's CPU alone; `aim` is what the project set itself. The generator's users are
all different, since a user may log in three times only.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from OpenSSL import SSL

from bench import dtls_records, floor, hub_forward, liveness_hour, replication, session_timers, takeover
from bench.client import Client, DtlsTunnel, Steps, client_context, connect, hear_out, log_in, shake_hands
from bench.crowd import answer_probes, run_scripts, until
from bench.flood import DtlsEcho, DtlsUpload, TlsEcho, TlsUpload, echo_burst
from bench.headend import USERS, HeadendUnderTest, Stopwatch, Traffic, headend

AT_ONCE = 16
HELD = 1000
STORM = 500
_WARM_UP = 0.5  # seconds
_WARM_UP_LOGINS = 200
_PROBED_EVERY = 10  # seconds

Facts = dict[str, Any]


class Flood(Protocol):
    """Something that sends packets."""

    def run(self, seconds: float) -> None:
        """Send for so long; may be called again."""


class Site:
    """A fresh headend, and the clients that visit it."""

    def __init__(self, under_test: HeadendUnderTest) -> None:
        self.headend = under_test
        self.context: SSL.Context = client_context()
        self._numbers = itertools.cycle(range(USERS))

    def client(self) -> Client:
        """A new connection."""
        return Client(self.headend.address, self.context)

    def visits(self) -> Iterator[tuple[Client, Steps]]:
        """Logins without end, each by another user, who then drops the line."""
        for number in self._numbers:
            client = self.client()
            yield client, _visit(client, number)

    def hold(self, count: int, spread: float = 0.0) -> list[Client]:
        """Log in so many and keep them connected; `spread` evenly over that many seconds."""
        clients: list[Client] = []

        def arrivals() -> Iterator[tuple[Client, Steps]]:
            started = time.monotonic()
            for place, number in enumerate(itertools.islice(self._numbers, count)):
                time.sleep(max(0.0, started + spread * place / count - time.monotonic()))
                clients.append(self.client())
                yield clients[-1], log_in(clients[-1], number)

        run_scripts(arrivals(), 1 if spread else AT_ONCE)
        return clients


def _visit(client: Client, number: int) -> Steps:
    yield from log_in(client, number)
    client.reset()


def _greet(client: Client) -> Steps:
    yield from shake_hands(client)
    yield from hear_out(client)
    client.reset()


def _return(client: Client) -> Steps:
    yield from shake_hands(client)
    yield from connect(client)


def tls_handshakes(seconds: float) -> Facts:
    """TLS 1.3 handshakes, each on a connection of its own."""
    with headend(_PROBED_EVERY) as under_test:
        site = Site(under_test)
        clients = (site.client() for _ in itertools.count())
        greetings = ((client, _greet(client)) for client in clients)
        run_scripts(itertools.islice(greetings, _WARM_UP_LOGINS), AT_ONCE)
        watch = Stopwatch(under_test)
        count = run_scripts(until(time.perf_counter() + seconds, greetings), AT_ONCE)
        return watch.read().rate("handshakes/s", count)


def logins(seconds: float) -> Facts:
    """TLS handshake, init, auth-reply and CONNECT on one connection."""
    with headend(_PROBED_EVERY) as under_test:
        site = Site(under_test)
        visits = site.visits()
        run_scripts(itertools.islice(visits, _WARM_UP_LOGINS), AT_ONCE)
        watch = Stopwatch(under_test)
        count = run_scripts(until(time.perf_counter() + seconds, visits), AT_ONCE)
        return watch.read().rate("logins/s", count, 800)


def _packets(
    site: Site, flood: Flood, seconds: float, aim: float | None, counted: Callable[[Traffic], int]
) -> Facts:
    flood.run(_WARM_UP)
    before = counted(site.headend.traffic())
    watch = Stopwatch(site.headend)
    flood.run(seconds)
    interval = watch.read()
    return interval.rate("packets/s", counted(site.headend.traffic()) - before, aim)


def _received(traffic: Traffic) -> int:
    return traffic.received


def _sent(traffic: Traffic) -> int:
    return traffic.sent


def tls_up(seconds: float, tunnels: int = 1) -> Facts:
    """Packets received over TLS."""
    with headend(_PROBED_EVERY) as under_test:
        site = Site(under_test)
        return _packets(site, TlsUpload(site.hold(tunnels)), seconds, 350_000, _received)


def tls_up_16(seconds: float) -> Facts:
    """The same over 16 tunnels."""
    return tls_up(seconds, 16)


def tls_echo(seconds: float, tunnels: int = 1) -> Facts:
    """Packets echoed over TLS."""
    with headend(_PROBED_EVERY) as under_test:
        site = Site(under_test)
        return _packets(site, TlsEcho(site.hold(tunnels)), seconds, 170_000, _sent)


def tls_echo_16(seconds: float) -> Facts:
    """The same over 16 tunnels."""
    return tls_echo(seconds, 16)


def dtls_up(seconds: float, *, segmented: bool = True) -> Facts:
    """Packets received over DTLS, from a sender that uses UDP_SEGMENT."""
    with headend(_PROBED_EVERY) as under_test:
        site = Site(under_test)
        clients = site.hold(1)
        flood = DtlsUpload(clients, [DtlsTunnel(c, under_test) for c in clients], segmented=segmented)
        return _packets(site, flood, seconds, 250_000, _received)


def dtls_up_single(seconds: float) -> Facts:
    """The same from a sender with one system call for each datagram."""
    return dtls_up(seconds, segmented=False)


def dtls_echo(seconds: float) -> Facts:
    """Packets echoed over DTLS."""
    with headend(_PROBED_EVERY) as under_test:
        site = Site(under_test)
        clients = site.hold(1)
        flood = DtlsEcho(clients, [DtlsTunnel(c, under_test) for c in clients])
        return _packets(site, flood, seconds, None, _sent)


def memory(_seconds: float, *, dtls: bool = False, burst: bool = False) -> Facts:
    """What an idle session adds to the process; with `dtls` it has that tunnel too, with `burst` it has had
    forty echoes at once, and a probe since then.
    """
    with headend(_PROBED_EVERY) as under_test:
        site = Site(under_test)
        kept = [site.hold(50)]
        tunnels = [DtlsTunnel(client, under_test) for client in kept[0]] if dtls else []
        time.sleep(_WARM_UP)
        before = under_test.pss_kib()
        kept.append(site.hold(HELD))
        if dtls:
            tunnels += [DtlsTunnel(client, under_test) for client in kept[1]]
        if burst:
            for client in kept[1]:
                echo_burst(client, 40)
            answer_probes([*kept[0], *kept[1]], 1.5 * _PROBED_EVERY)
        time.sleep(_WARM_UP)
        per_session = (under_test.pss_kib() - before) / HELD
        return {"unit": "KiB/session", "aim": 40, "value": round(per_session, 1), "sessions": HELD}


def memory_dtls(seconds: float) -> Facts:
    """The same with a DTLS tunnel beside the TLS tunnel."""
    return memory(seconds, dtls=True)


def memory_after_burst(seconds: float) -> Facts:
    """The same for sessions that have not always been idle."""
    return memory(seconds, burst=True)


def storm(_seconds: float) -> Facts:
    """All TCP connections are reset at once; until every session is back with its token."""
    with headend(_PROBED_EVERY) as under_test:
        site = Site(under_test)
        tokens = []
        for client in (held := site.hold(STORM)):
            tokens.append(client.token)
        time.sleep(_WARM_UP)
        watch = Stopwatch(under_test)
        for client in held:
            client.reset()
        back = []
        for token in tokens:
            client = site.client()
            client.token = token
            back.append(client)
        run_scripts(((client, _return(client)) for client in back), STORM)
        interval = watch.read()
        if under_test.session_states().count("active") != STORM:
            raise RuntimeError("not every session is back")
        return {
            "unit": "s",
            "aim": 0.5,
            "sessions": STORM,
            "wall": round(interval.wall, 3),
            "headend_cpu": round(interval.headend_cpu, 2),
            **interval.shares(),
        }


def idle(seconds: float, dpd: int = _PROBED_EVERY) -> Facts:
    """CPU of sessions without traffic; the headend probes each every ten seconds and has its answer."""
    with headend(dpd) as under_test:
        site = Site(under_test)
        clients = site.hold(HELD, spread=dpd)
        answer_probes(clients, 2.0)
        watch = Stopwatch(under_test)
        probes = answer_probes(clients, 5 * seconds)
        interval = watch.read()
        if under_test.session_states().count("active") != HELD:
            raise RuntimeError("a client that answered was taken for dead")
        return {
            "unit": "us/session-second",
            "aim": 3.0,
            "value": round(interval.headend_cpu / interval.wall / HELD * 1e6, 2),
            "sessions": HELD,
            "dpd_interval": dpd,
            "probes": probes,
            "us_per_probe": round(interval.headend_cpu / max(probes, 1) * 1e6, 1),
            "seconds": round(interval.wall, 1),
            **interval.shares(),
        }


def idle_default(seconds: float) -> Facts:
    """The same with the intervals that an ASA has by default: probes every 30 s, keepalives every 20 s."""
    return idle(seconds, 30)


@dataclass(frozen=True, slots=True)
class Measure:
    """A function and the fact that names the middle one of several runs."""

    run: Callable[[float], Facts]
    key: str = ""


MEASURES = {
    "tls_handshakes": Measure(tls_handshakes, "per_cpu_second"),
    "logins": Measure(logins, "per_cpu_second"),
    "tls_up": Measure(tls_up, "per_cpu_second"),
    "tls_up_16": Measure(tls_up_16, "per_cpu_second"),
    "tls_echo": Measure(tls_echo, "per_cpu_second"),
    "tls_echo_16": Measure(tls_echo_16, "per_cpu_second"),
    "dtls_up": Measure(dtls_up, "per_cpu_second"),
    "dtls_up_single": Measure(dtls_up_single, "per_cpu_second"),
    "dtls_echo": Measure(dtls_echo, "per_cpu_second"),
    "memory": Measure(memory, "value"),
    "memory_dtls": Measure(memory_dtls, "value"),
    "memory_after_burst": Measure(memory_after_burst, "value"),
    "storm": Measure(storm, "wall"),
    "idle": Measure(idle, "value"),
    "idle_default": Measure(idle_default, "value"),
    "replication": Measure(replication.replication, "lag_p99_ms"),
    "joining": Measure(replication.joining, "value"),
    "takeover": Measure(takeover.takeover, "value"),
    "takeover_openconnect": Measure(takeover.takeover_openconnect, "value"),
    "floor": Measure(floor.run),
    "session_timers": Measure(session_timers.run),
    "liveness_hour": Measure(liveness_hour.run),
    "hub_forward": Measure(hub_forward.run),
    "dtls_records": Measure(dtls_records.run),
}
"""By name, in the order in which they are run."""
