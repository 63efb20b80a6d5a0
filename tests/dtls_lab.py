"""Two DTLS ends in memory: secrets to try, reproducible randomness, a wire that works and one that fails."""

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable, Iterator

from asa_emu.wire.dtls import (
    DTLS_0_9,
    DTLS_1_0,
    DTLS_1_2,
    SUITES,
    Association,
    CookieJar,
    DtlsClient,
    DtlsServer,
    Psk,
    Resumption,
    Secret,
    peek_client_hello_untrusted,
)

SESSION_ID = bytes(range(100, 132))
MASTER_SECRET = bytes(range(48))
PSK = Psk(key=bytes(range(200, 232)), app_id=bytes(range(32)))
ADDRESS = ("192.0.2.7", 40001)


def resumption(code: int, version: int = DTLS_1_2) -> Resumption:
    return Resumption(SESSION_ID, MASTER_SECRET, SUITES[code], version)


SECRETS: dict[str, Secret] = {
    "psk": PSK,
    "1.2 AES256-GCM": resumption(0x009D),
    "1.2 AES128-GCM": resumption(0x009C),
    "1.2 ECDHE-RSA-AES256-GCM": resumption(0xC030),
    "1.2 AES256-SHA": resumption(0x0035),
    "1.2 DHE-RSA-AES128-SHA": resumption(0x0033),
    "1.0 AES256-SHA": resumption(0x0035, DTLS_1_0),
    "0.9 AES256-SHA": resumption(0x0035, DTLS_0_9),
    "0.9 DHE-RSA-AES128-SHA": resumption(0x0033, DTLS_0_9),
}


def dice(seed: str) -> Callable[[int], bytes]:
    """Return an rng that says the same each run."""
    rolls = itertools.count()
    return lambda size: hashlib.shake_128(f"{seed} {next(rolls)}".encode()).digest(size)


def ends(secret: Secret, now: float = 0.0) -> tuple[DtlsClient, DtlsServer]:
    return (
        DtlsClient(secret, now=now, rng=dice("client")),
        DtlsServer(secret, now=now, rng=dice("server")),
    )


def shake(client: DtlsClient, server: DtlsServer, now: float = 0.0) -> list[bytes]:
    """Carry datagrams until both are silent; return all of them in order."""
    carried: list[bytes] = []
    while True:
        moved = False
        for source, target in ((client, server), (server, client)):
            for datagram in source.datagrams_to_send():
                assert target.receive(datagram, now) == []
                carried.append(datagram)
                moved = True
        if not moved:
            return carried


def shaken(secret: Secret) -> tuple[DtlsClient, DtlsServer]:
    client, server = ends(secret)
    shake(client, server)
    assert client.established
    assert server.established
    return client, server


class BadWeather:
    """A network that loses, repeats and overtakes, by the seed; it also hands both ends their `now`."""

    def __init__(self, secret: Secret, seed: int, jar: CookieJar | None = None) -> None:
        self.now = 0.0
        self.client = DtlsClient(secret, now=0.0, rng=dice(f"client {seed}"))
        self.server = DtlsServer(secret, now=0.0, rng=dice(f"server {seed}"))
        self.received: dict[Association, list[bytes]] = {self.client: [], self.server: []}
        self._jar = jar
        self._random = random.Random(seed)
        self._order = itertools.count()
        self._flying: list[tuple[float, int, Association, bytes]] = []

    def send(self, source: Association, datagrams: list[bytes]) -> None:
        target = self.server if source is self.client else self.client
        for datagram in datagrams:
            for _ in range(self._random.choices((0, 1, 2), (20, 65, 15))[0]):
                arrival = self.now + self._random.choice((0.01, 0.02, 0.1, 1.3))
                heapq.heappush(self._flying, (arrival, next(self._order), target, datagram))

    def run(self, until: float) -> None:
        while True:
            for end in (self.client, self.server):
                self.send(end, end.datagrams_to_send())
            due = [end.next_deadline() for end in (self.client, self.server)]
            at = min(*due, self._flying[0][0] if self._flying else until)
            if at >= until:
                self.now = until
                return
            self.now = max(self.now, at)
            if self._flying and self._flying[0][0] <= self.now:
                _, _, target, datagram = heapq.heappop(self._flying)
                self._deliver(target, datagram)
            for end in (self.client, self.server):
                end.on_deadline(self.now)

    def _deliver(self, target: Association, datagram: bytes) -> None:
        if target is self.server and self._jar is not None:
            peek = peek_client_hello_untrusted(datagram)
            if peek is not None and (challenge := self._jar.answer(peek, datagram, ADDRESS)):
                self.send(self.server, [challenge])
                return
        self.received[target] += target.receive(datagram, self.now)


def records(datagram: bytes) -> Iterator[bytes]:
    """Cut a datagram of ours into records."""
    while datagram:
        size = 13 + int.from_bytes(datagram[11:13], "big")
        yield datagram[:size]
        datagram = datagram[size:]
