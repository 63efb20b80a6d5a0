"""What one DTLS record costs.

Microseconds of CPU per 1,400-byte packet for `seal` and `receive`, the bare AES-GCM call beneath them, the
CPU of a handshake (both ends), and the bytes an idle association occupies. The best of several rounds counts:
a shared machine only ever adds.
"""

import gc
import itertools
import time
import tracemalloc
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from asa_emu.wire.dtls import DTLS_1_2, SUITES, DtlsClient, DtlsServer, Psk, Resumption, Secret

PACKETS = 4000
MOST_ROUNDS = 7
NAMES = ("PSK-AES256-GCM-SHA384", "AES256-GCM-SHA384", "AES256-SHA")
PAYLOAD = bytes(1400)


def rng(count: int) -> bytes:
    """Bench randomness: cheap, and the same each run."""
    return bytes(itertools.islice(itertools.cycle(b"not random"), count))


def pair(secret: Secret) -> tuple[DtlsClient, DtlsServer]:
    """Return two ends that have shaken hands."""
    client, server = DtlsClient(secret, now=0.0, rng=rng), DtlsServer(secret, now=0.0, rng=rng)
    while not (client.established and server.established):
        for datagram in client.datagrams_to_send():
            server.receive(datagram, 0.0)
        for datagram in server.datagrams_to_send():
            client.receive(datagram, 0.0)
    return client, server


def records(secret: Secret, rounds: int) -> tuple[float, float]:
    """Return the microseconds of a seal and of a receive."""
    seal_best = receive_best = float("inf")
    for _ in range(rounds):
        client, server = pair(secret)
        seal, receive = client.seal, server.receive
        start = time.process_time()
        datagrams = [seal(PAYLOAD) for _ in range(PACKETS)]
        middle = time.process_time()
        for datagram in datagrams:
            receive(datagram, 0.0)
        end = time.process_time()
        assert server.dropped == 0
        seal_best = min(seal_best, middle - start)
        receive_best = min(receive_best, end - middle)
    return seal_best / PACKETS * 1e6, receive_best / PACKETS * 1e6


def aead(rounds: int) -> tuple[float, float]:
    """Return the microseconds that AESGCM itself takes to encrypt and to decrypt."""
    cipher, nonce, more = AESGCM(bytes(32)), bytes(12), bytes(13)
    sealed = cipher.encrypt(nonce, PAYLOAD, more)
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for at, (call, data) in enumerate(((cipher.encrypt, PAYLOAD), (cipher.decrypt, sealed))):
            start = time.process_time()
            for _ in range(PACKETS):
                call(nonce, data, more)
            best[at] = min(best[at], time.process_time() - start)
    return best[0] / PACKETS * 1e6, best[1] / PACKETS * 1e6


def handshake(secret: Secret, rounds: int) -> float:
    """Return the microseconds of a whole handshake, both ends."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(50):
            pair(secret)
        best = min(best, time.process_time() - start)
    return best / 50 * 1e6


def idle_bytes(secret: Secret) -> int:
    """Return the Python bytes of one established server; OpenSSL's own memory is not counted."""
    pair(secret)
    gc.collect()
    tracemalloc.start()
    kept = [pair(secret)[1] for _ in range(200)]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size // len(kept)


def run(seconds: float) -> dict[str, Any]:
    """Every suite in use, in as many rounds as there is time for."""
    rounds = max(1, min(MOST_ROUNDS, int(3 * seconds)))
    sealed, opened = aead(rounds)
    figures: dict[str, Any] = {"bare AES-256-GCM": {"seal": round(sealed, 2), "open": round(opened, 2)}}
    by_name = {suite.openssl_name: suite for suite in SUITES.values()}
    for name in NAMES:
        suite = by_name[name]
        secret: Secret = (
            Psk(bytes(32), bytes(32)) if suite.psk else Resumption(bytes(32), bytes(48), suite, DTLS_1_2)
        )
        seal, receive = records(secret, rounds)
        figures[name] = {
            "seal": round(seal, 2),
            "receive": round(receive, 2),
            "handshake": round(handshake(secret, rounds)),
            "idle_bytes": idle_bytes(secret),
        }
    return {"unit": "us", "size": len(PAYLOAD), "figures": figures}
