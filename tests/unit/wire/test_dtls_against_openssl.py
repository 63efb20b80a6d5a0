"""Differential tests: OpenSSL speaks the other half, in every way it can.

OpenSSL has no "DTLS 0.9" server, and a resuming server only by way of its cache (1.2 and 1.0).
"""

import pytest

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
    peek_client_hello_untrusted,
)
from tests.dtls_lab import ADDRESS, MASTER_SECRET, PSK, SESSION_ID, dice
from tests.dtls_openssl import OpensslEnd, psk_client, psk_server, resumable_server, resuming_client

PSK_CIPHERS = {
    0x00A9: "PSK-AES256-GCM-SHA384",
    0x00A8: "PSK-AES128-GCM-SHA256",
    0xCCAB: "PSK-CHACHA20-POLY1305",
    0x008D: "PSK-AES256-CBC-SHA",
    0x008C: "PSK-AES128-CBC-SHA",
    0x00AE: "PSK-AES128-CBC-SHA256",
}
RESUMABLE = [
    (0x009D, DTLS_1_2),
    (0x009C, DTLS_1_2),
    (0xC030, DTLS_1_2),
    (0x0035, DTLS_1_2),
    (0x0033, DTLS_1_2),
    (0x0035, DTLS_1_0),
    (0x002F, DTLS_1_0),
    (0x0035, DTLS_0_9),
    (0x0039, DTLS_0_9),
]
JARS = {False: None, True: CookieJar(b"k" * 32)}


def shake_hands(ours: Association, theirs: OpensslEnd, jar: CookieJar | None = None) -> None:
    pending = theirs.start()
    for _ in range(5):
        for datagram in ours.datagrams_to_send():
            pending += theirs.receive(datagram)
        for datagram in pending:
            peek = peek_client_hello_untrusted(datagram) if jar else None
            if jar and peek and (challenge := jar.answer(peek, datagram, ADDRESS)):
                (second,) = theirs.receive(challenge)
                assert ours.receive(second, 0.0) == []
            else:
                assert ours.receive(datagram, 0.0) == []
        pending = []
    assert ours.failure is None
    assert ours.established
    assert theirs.established


def converse(ours: Association, theirs: OpensslEnd) -> None:
    """Carry data both ways in several sizes, then close."""
    sizes = (1, 15, 16, 17, 1000, 1300)
    for size in sizes:
        assert theirs.receive(ours.seal(b"o" * size)) == []
        assert ours.receive(theirs.send(b"t" * size), 0.0) == [b"t" * size]
    assert theirs.received == [b"o" * size for size in sizes]
    assert ours.dropped == 0
    theirs.receive(ours.close())
    assert theirs.closed


@pytest.mark.parametrize("cookie", [False, True], ids=["plain", "cookie"])
@pytest.mark.parametrize("code", PSK_CIPHERS)
def test_openssl_psk_client_and_our_server(code: int, cookie: bool) -> None:
    server = DtlsServer(Psk(PSK.key, b""), now=0.0, rng=dice("server"))
    client = psk_client(PSK.key, PSK_CIPHERS[code])
    shake_hands(server, client, JARS[cookie])
    converse(server, client)
    assert server.suite.code == code
    assert client.connection.get_cipher_name() == server.suite.openssl_name


@pytest.mark.parametrize("cookie", [False, True], ids=["plain", "cookie"])
@pytest.mark.parametrize("code", PSK_CIPHERS)
def test_our_psk_client_and_openssls_server(code: int, cookie: bool) -> None:
    client = DtlsClient(PSK, now=0.0, rng=dice("client"))
    server = psk_server(PSK.key, PSK_CIPHERS[code], cookie=cookie)
    shake_hands(client, server)
    converse(client, server)
    assert client.suite.code == code


@pytest.mark.parametrize("cookie", [False, True], ids=["plain", "cookie"])
@pytest.mark.parametrize(("code", "version"), RESUMABLE)
def test_openssl_resumes_at_our_server(code: int, version: int, cookie: bool) -> None:
    suite = SUITES[code]
    server = DtlsServer(Resumption(SESSION_ID, MASTER_SECRET, suite, version), now=0.0, rng=dice("server"))
    client = resuming_client(SESSION_ID, MASTER_SECRET, code, suite.openssl_name, version)
    shake_hands(server, client, JARS[cookie])
    converse(server, client)


@pytest.mark.parametrize(
    ("code", "version"), [(0x009D, DTLS_1_2), (0x009C, DTLS_1_2), (0x0035, DTLS_1_2), (0x0035, DTLS_1_0)]
)
def test_our_client_resumes_at_openssls_server(code: int, version: int) -> None:
    suite = SUITES[code]
    session_id, server = resumable_server(MASTER_SECRET, suite.openssl_name, version)
    client = DtlsClient(Resumption(session_id, MASTER_SECRET, suite, version), now=0.0, rng=dice("client"))
    shake_hands(client, server)
    converse(client, server)
    assert client.suite is suite


def test_openssl_takes_a_flight_that_is_sent_again() -> None:
    server = DtlsServer(Psk(PSK.key, b""), now=0.0, rng=dice("server"))
    client = psk_client(PSK.key, "PSK-AES256-GCM-SHA384")
    (hello,) = client.start()
    server.receive(hello, 0.0)
    assert len(server.datagrams_to_send()) == 1  # lost
    server.on_deadline(1.0)
    (flight,) = client.receive(server.datagrams_to_send()[0])
    server.receive(flight, 1.0)
    assert len(server.datagrams_to_send()) == 1  # lost
    server.receive(flight, 2.0)
    client.receive(server.datagrams_to_send()[0])
    assert client.established
    assert server.receive(client.send(b"data"), 2.0) == [b"data"]


def test_our_clients_last_word_is_repeated_for_openssl() -> None:
    suite = SUITES[0x009D]
    session_id, server = resumable_server(MASTER_SECRET, suite.openssl_name, DTLS_1_2)
    client = DtlsClient(Resumption(session_id, MASTER_SECRET, suite, DTLS_1_2), now=0.0, rng=dice("client"))
    (flight,) = server.receive(client.datagrams_to_send()[0])
    client.receive(flight, 0.0)
    assert len(client.datagrams_to_send()) == 1  # lost
    client.receive(flight, 1.0)
    server.receive(client.datagrams_to_send()[0])
    assert server.established
    assert client.receive(server.send(b"data"), 1.0) == [b"data"]


def test_openssls_close_ends_ours() -> None:
    server = DtlsServer(Psk(PSK.key, b""), now=0.0, rng=dice("server"))
    client = psk_client(PSK.key, "PSK-AES256-GCM-SHA384")
    shake_hands(server, client)
    client.connection.shutdown()
    (notice,) = client.output()
    server.receive(notice, 0.0)
    assert server.closed
    assert server.failure is None


def test_openssls_refusal_is_told() -> None:
    client = DtlsClient(PSK, now=0.0, rng=dice("client"), psk_suites=(0x008D,))
    server = psk_server(PSK.key, "PSK-AES256-GCM-SHA384", cookie=False)
    for datagram in client.datagrams_to_send():
        with pytest.raises(Exception, match="no shared cipher"):
            server.receive(datagram)
    for datagram in server.output():
        client.receive(datagram, 0.0)
    assert client.failure == "the peer sent alert handshake_failure"
