import pytest

from asa_emu.wire.dtls import CookieJar, DtlsClient, DtlsServer, Psk, peek_client_hello_untrusted
from asa_emu.wire.dtls.hello import client_hello
from asa_emu.wire.dtls.messages import CLIENT_HELLO, HELLO_VERIFY_REQUEST, encode_message
from asa_emu.wire.dtls.records import HANDSHAKE, encode_record
from tests.dtls_lab import ADDRESS, PSK, SECRETS, dice, shake

# The hello of an openconnect 9.01 that resumes at "DTLS 0.9"; random and session id are made up.
LEGACY_HELLO = bytes.fromhex(
    "16 0100 0000 000000000000 0067  01 00005b 0000 000000 00005b"
    "0100" + "a1" * 32 + "20" + "5d" * 32 + "00 0002 0035 01 00"
    "000f 0023 0000 ff01 0001 00 001c 0002 4000"
)


def hello_of(secret: Psk = PSK) -> bytes:
    (datagram,) = DtlsClient(secret, now=0.0, rng=dice("client")).datagrams_to_send()
    return datagram


def test_a_legacy_hello_is_read() -> None:
    peek = peek_client_hello_untrusted(memoryview(LEGACY_HELLO))
    assert peek is not None
    assert (peek.version, peek.random, peek.id, peek.suites) == (0x0100, b"\xa1" * 32, b"\x5d" * 32, (0x35,))
    assert (peek.cookie, peek.renegotiation_info, peek.message_sequence) == (b"", True, 0)


def test_the_app_id_extension_wins_over_the_session_id() -> None:
    body = client_hello(0xFEFD, bytes(32), b"session", b"", (0xA9,))
    head, extensions = body[:-7], body[-5:]
    more = extensions + bytes.fromhex("bb92 0003 02 abcd")
    datagram = encode_record(
        HANDSHAKE, 0xFEFF, 0, encode_message(CLIENT_HELLO, 0, head + len(more).to_bytes(2, "big") + more)
    )
    peek = peek_client_hello_untrusted(datagram)
    assert peek is not None
    assert (peek.session_id, peek.app_id, peek.id) == (b"session", b"\xab\xcd", b"\xab\xcd")


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x16",
        LEGACY_HELLO[:-1],
        b"\x17" + LEGACY_HELLO[1:],
        LEGACY_HELLO[:3] + b"\x00\x01" + LEGACY_HELLO[5:],
        LEGACY_HELLO[:13] + b"\x02" + LEGACY_HELLO[14:],
        LEGACY_HELLO[:59] + b"\x21" + LEGACY_HELLO[60:],
        LEGACY_HELLO[:11] + b"\x00\x73" + LEGACY_HELLO[13:] + encode_message(14, 1, b""),
        LEGACY_HELLO[:5] + b"\xff" * 6 + LEGACY_HELLO[11:],
        LEGACY_HELLO[:17] + b"\x01\x00" + LEGACY_HELLO[19:],
    ],
    ids=[
        "nothing",
        "a byte",
        "cut short",
        "data",
        "epoch 1",
        "a ServerHello",
        "session id of 33 bytes",
        "more in the record",
        "last record number",
        "message number 256",
    ],
)
def test_what_is_no_hello_is_none(datagram: bytes) -> None:
    assert peek_client_hello_untrusted(datagram) is None


@pytest.mark.parametrize("name", SECRETS)
def test_a_cookie_costs_one_round_and_no_state(name: str) -> None:
    secret = SECRETS[name]
    jar = CookieJar(b"k" * 32)
    client = DtlsClient(secret, now=0.0, rng=dice("client"))
    (first,) = client.datagrams_to_send()
    peek = peek_client_hello_untrusted(first)
    assert peek is not None
    challenge = jar.answer(peek, first, ADDRESS)
    assert challenge is not None
    assert len(challenge) < len(first)
    assert challenge[13] == HELLO_VERIFY_REQUEST
    assert challenge[1:3] == (b"\x01\x00" if name.startswith("0.9") else b"\xfe\xff")

    client.receive(challenge, 0.0)
    (second,) = client.datagrams_to_send()
    peek = peek_client_hello_untrusted(second)
    assert peek is not None
    assert (peek.message_sequence, peek.record_sequence) == (1, 1)
    assert CookieJar(b"k" * 32).answer(peek, second, ADDRESS) is None

    server = DtlsServer(secret, now=0.0, rng=dice("server"))
    server.receive(second, 0.0)
    shake(client, server)
    assert client.established
    assert server.established


def test_a_cookie_is_bound_to_address_and_hello() -> None:
    jar = CookieJar(b"k" * 32)
    client = DtlsClient(PSK, now=0.0, rng=dice("client"))
    (first,) = client.datagrams_to_send()
    peek = peek_client_hello_untrusted(first)
    assert peek is not None
    challenge = jar.answer(peek, first, ADDRESS)
    assert challenge is not None
    client.receive(challenge, 0.0)
    (second,) = client.datagrams_to_send()
    peek = peek_client_hello_untrusted(second)
    assert peek is not None
    assert jar.answer(peek, second, (*ADDRESS, 0, 3)) is None
    assert jar.answer(peek, second, ("192.0.2.7", 40002)) is not None
    assert CookieJar(b"j" * 32).answer(peek, second, ADDRESS) is not None
    other = second.replace(peek.random, bytes(32))
    peek = peek_client_hello_untrusted(other)
    assert peek is not None
    assert jar.answer(peek, other, ADDRESS) is not None


def test_a_client_does_not_collect_cookies_for_ever() -> None:
    client = DtlsClient(PSK, now=0.0, rng=dice("client"))
    for sequence in range(9):
        for datagram in client.datagrams_to_send():
            if peek := peek_client_hello_untrusted(datagram):
                assert peek.message_sequence == sequence
                challenge = CookieJar(bytes(16)).answer(peek, datagram, (sequence, 0))
                assert challenge is not None
                client.receive(challenge, float(sequence))
    assert client.failure == "the server asks for one cookie after the other"
