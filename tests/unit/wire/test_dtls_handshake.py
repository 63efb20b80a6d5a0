"""One side's messages at a time, without records, loss or time."""

import struct

import pytest

from asa_emu.wire.dtls import DTLS_1_0, DTLS_1_2, Psk, Secret
from asa_emu.wire.dtls.alerts import HandshakeRefused
from asa_emu.wire.dtls.client import ClientHandshake
from asa_emu.wire.dtls.handshake import Flight
from asa_emu.wire.dtls.hello import client_hello, server_hello
from asa_emu.wire.dtls.messages import (
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    FINISHED,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE,
    fragments_untrusted,
)
from asa_emu.wire.dtls.server import ServerHandshake
from asa_emu.wire.dtls.suites import PSK_SUITES
from asa_emu.wire.errors import DtlsError
from tests.dtls_lab import PSK, SECRETS, dice

GCM = SECRETS["1.2 AES256-GCM"]
NO_EXTENSION = -7  # a hello's renegotiation_info with its two lengths


def client_for(secret: Secret = PSK) -> ClientHandshake:
    return ClientHandshake(secret, b"c" * 32, tuple(PSK_SUITES))


def server_for(secret: Secret = PSK) -> ServerHandshake:
    return ServerHandshake(secret, dice("server"))


def give(handshake: ClientHandshake | ServerHandshake, flight: Flight) -> Flight:
    """Hand over the messages of a flight, its ChangeCipherSpec left out."""
    answer: Flight = ()
    for _, kind, payload in flight:
        if kind == 22:
            (fragment,) = fragments_untrusted(payload)
            answer = handshake.step(fragment.kind, fragment.sequence, fragment.body)
    return answer


@pytest.mark.parametrize("name", SECRETS)
def test_both_sides_come_to_the_same_keys(name: str) -> None:
    client, server = client_for(SECRETS[name]), server_for(SECRETS[name])
    flight = client.hello()
    for side in (server, client) * 2:
        flight = give(side, flight)
    assert client.done
    assert server.done
    assert flight == ()
    assert client.keys is not None
    assert client.keys == (server.keys or ())[::-1]


def test_a_hello_changed_on_the_way_shows_in_the_finished() -> None:
    # Somebody takes renegotiation_info out: the keys are the same, the transcripts are not.
    client, server = client_for(GCM), server_for(GCM)
    ((_, _, message),) = client.hello()
    flight = server.step(CLIENT_HELLO, 0, message[12:NO_EXTENSION])
    with pytest.raises(HandshakeRefused, match="the peer's Finished is wrong") as caught:
        give(client, flight)
    assert caught.value.alert == 51


def test_a_message_out_of_turn_is_refused() -> None:
    with pytest.raises(HandshakeRefused, match="unexpected handshake message 20") as caught:
        server_for().step(FINISHED, 0, bytes(12))
    assert caught.value.alert == 10
    client = client_for(GCM)
    client.hello()
    with pytest.raises(HandshakeRefused, match="message 14"):
        client.step(SERVER_HELLO_DONE, 0, b"")


def test_an_identity_hint_is_taken_and_ignored() -> None:
    client, server = client_for(), server_for()
    hello, done = give(server, client.hello())
    give(client, [hello])
    assert client.step(SERVER_KEY_EXCHANGE, 1, b"\0\4hint") == ()
    assert client.expected == (SERVER_HELLO_DONE,)
    assert len(give(client, [done])) == 3


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\4psk", b"\0\2psk"])
def test_a_malformed_key_exchange_is_refused(body: bytes) -> None:
    server = server_for()
    give(server, client_for().hello())
    with pytest.raises(HandshakeRefused, match="malformed ClientKeyExchange"):
        server.step(CLIENT_KEY_EXCHANGE, 1, body)


@pytest.mark.parametrize(
    ("version", "suite", "reason"),
    [(DTLS_1_0, 0x00A9, "version 0xfeff"), (DTLS_1_2, 0x009D, "suite 0x009d")],
)
def test_the_client_refuses_what_it_did_not_offer(version: int, suite: int, reason: str) -> None:
    client = client_for()
    client.hello()
    with pytest.raises(HandshakeRefused, match=f"the server chose {reason}"):
        client.step(SERVER_HELLO, 0, server_hello(version, bytes(32), b"", suite, renegotiation_info=True))


def test_a_server_hello_that_compresses_is_malformed() -> None:
    client = client_for()
    client.hello()
    body = server_hello(DTLS_1_2, bytes(32), b"", 0x00A9, renegotiation_info=False)
    with pytest.raises(DtlsError, match="compression"):
        client.step(SERVER_HELLO, 0, body[:-1] + b"\x01")


def test_the_server_answers_renegotiation_info_only_when_asked() -> None:
    plain = client_hello(DTLS_1_2, bytes(32), PSK.app_id, b"", (0x00A9,))[:NO_EXTENSION]
    with_scsv = client_hello(DTLS_1_2, bytes(32), PSK.app_id, b"", (0x00A9, 0x00FF))[:NO_EXTENSION]
    assert not server_for().step(CLIENT_HELLO, 0, plain)[0][2].endswith(b"\xff\x01\0\x01\0")
    assert server_for().step(CLIENT_HELLO, 0, with_scsv)[0][2].endswith(b"\xff\x01\0\x01\0")


def test_the_clients_order_of_suites_counts() -> None:
    server = server_for(Psk(PSK.key, b""))
    server.step(CLIENT_HELLO, 0, client_hello(DTLS_1_2, bytes(32), b"", b"", (0xC0A5, 0xCCAB, 0x00A9)))
    assert server.suite.code == 0xCCAB


HEAD = struct.pack(">H32s", DTLS_1_2, bytes(32)) + b"\0\0"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (HEAD + b"\0\2\0\xa9\1\1", "insists on TLS compression"),
        (HEAD + b"\0\3\0\xa9\0\1\0", "odd list"),
        (HEAD + b"\0\2\0\xa9\1\0" + bytes.fromhex("0008 ff010000 ff010000"), "twice"),
        (HEAD + b"\0\2\0\xa9\1\0" + bytes.fromhex("0006 bb920002 02ab"), "App-ID"),
        (HEAD + b"\0\2\0\xa9\1\0" + bytes.fromhex("0000 00"), "after the end"),
        (HEAD[:20], "ends early"),
    ],
)
def test_malformed_hellos_are_told_apart(body: bytes, reason: str) -> None:
    with pytest.raises(DtlsError, match=reason):
        server_for(Psk(PSK.key, b"")).step(CLIENT_HELLO, 0, body)
