"""Nothing that arrives may raise, and nothing forged may be believed."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asa_emu.wire.dtls import CookieJar, DtlsClient, DtlsServer, peek_client_hello_untrusted
from asa_emu.wire.dtls.hello import (
    read_client_hello_untrusted,
    read_hello_verify_untrusted,
    read_server_hello_untrusted,
)
from asa_emu.wire.dtls.messages import Fragment, encode_message, fragments_untrusted
from asa_emu.wire.dtls.records import HANDSHAKE, encode_record, records_untrusted
from asa_emu.wire.errors import DtlsError
from tests.dtls_lab import ADDRESS, PSK, SECRETS, dice, ends, shake, shaken

secrets = st.sampled_from(sorted(SECRETS)).map(SECRETS.__getitem__)
record_like = st.builds(
    lambda kind, version, epoch, number, body: encode_record(kind, version, epoch << 48 | number, body),
    st.sampled_from((20, 21, 22, 23, 24)),
    st.sampled_from((0xFEFD, 0xFEFF, 0x0100, 0x0303)),
    st.integers(0, 2),
    st.integers(0, 2**48 - 1),
    st.binary(max_size=200)
    | st.builds(
        encode_message,
        st.sampled_from((0, 1, 2, 3, 12, 14, 16, 20)),
        st.integers(0, 5),
        st.binary(max_size=80),
    ),
)
datagrams = st.binary(max_size=300) | st.lists(record_like, max_size=3).map(b"".join)


@given(st.binary(max_size=300))
def test_parsers_raise_their_own_error_and_no_other(data: bytes) -> None:
    peek_client_hello_untrusted(data)
    list(records_untrusted(data))
    for parse in (fragments_untrusted, read_hello_verify_untrusted, read_server_hello_untrusted):
        try:
            parse(data)
        except DtlsError:
            pass
    try:
        read_client_hello_untrusted(Fragment(1, len(data), 0, 0, data), 0)
    except DtlsError:
        pass


@given(secrets, st.lists(datagrams, max_size=8))
def test_junk_at_any_stage_never_raises_and_delivers_nothing(secret: Any, junk: list[bytes]) -> None:
    client, server = ends(secret)
    stages = [client, server, *shaken(secret)]
    half_client, half_server = ends(secret)
    half_server.receive(half_client.datagrams_to_send()[0], 0.0)
    half_server.datagrams_to_send()
    stages.append(half_server)
    for end in stages:
        was_established = end.established
        for at, datagram in enumerate(junk):
            assert end.receive(datagram, float(at)) == []
            assert end.try_open(datagram) is None
            end.datagrams_to_send()
        assert end.established == was_established


@given(secrets, st.integers(0, 5), st.data())
def test_a_changed_datagram_never_raises_nor_forges(secret: Any, turns: int, data: st.DataObject) -> None:
    client, server = ends(secret)
    now = 0.0
    for turn in range(2 * turns):
        source, target = ((client, server), (server, client))[turn % 2]
        for datagram in source.datagrams_to_send():
            changed = bytearray(datagram)
            for _ in range(data.draw(st.integers(0, 2))):
                changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
            target.receive(bytes(changed[: data.draw(st.integers(0, len(changed)))]), now)
            target.receive(datagram, now)
        now += 1.0
        client.on_deadline(now)
        server.on_deadline(now)
    if client.established and server.established:
        assert server.receive(client.seal(b"data"), now) == [b"data"]


@given(secrets, st.binary(min_size=1, max_size=64), st.data())
def test_one_wrong_byte_in_a_record_is_always_seen(secret: Any, payload: bytes, data: st.DataObject) -> None:
    client, server = shaken(secret)
    sealed = client.seal(payload)
    at = data.draw(st.integers(0, len(sealed) - 1))
    forged = bytearray(sealed)
    forged[at] ^= data.draw(st.integers(1, 255))
    assert server.receive(bytes(forged), 0.0) == []
    assert server.dropped >= 1
    assert server.receive(sealed, 0.0) == [payload]


@given(st.binary(max_size=200), st.data())
def test_a_jar_answers_whatever_can_be_peeked(tail: bytes, data: st.DataObject) -> None:
    hello = DtlsClient(PSK, now=0.0, rng=dice("client")).datagrams_to_send()[0] + tail
    changed = bytearray(hello)
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    peek = peek_client_hello_untrusted(changed)
    if peek is not None:
        challenge = CookieJar(bytes(32)).answer(peek, changed, ADDRESS)
        assert challenge is not None
        assert len(challenge) == 13 + 12 + 3 + 20


def cut(datagram: bytes, data: st.DataObject) -> list[bytes]:
    """Send the clear handshake messages of a datagram in fragments of any size; other records as they are."""
    pieces: list[bytes] = []
    for record in records_untrusted(datagram):
        assert record is not None
        kind, version, number, payload = record
        if kind != HANDSHAKE or number >> 48:
            pieces.append(encode_record(kind, version, number, payload))
            continue
        for message in fragments_untrusted(payload):
            at = 0
            while at < message.length or message.length == 0:
                end = data.draw(st.integers(at + 1, message.length)) if message.length else 0
                header = message.kind.to_bytes(1, "big") + message.length.to_bytes(3, "big")
                header += message.sequence.to_bytes(2, "big")
                header += at.to_bytes(3, "big") + (end - at).to_bytes(3, "big")
                pieces.append(encode_record(kind, version, number, header + message.body[at:end]))
                at = end
                if message.length == 0:
                    break
    return data.draw(st.permutations(pieces))


@given(secrets, st.data())
def test_flights_may_come_in_any_pieces_and_any_order(secret: Any, data: st.DataObject) -> None:
    client, server = ends(secret)
    # The first hello alone must be whole: it is read without state.
    server.receive(client.datagrams_to_send()[0], 0.0)
    for source, target in ((server, client), (client, server), (server, client)):
        for datagram in source.datagrams_to_send():
            for piece in cut(datagram, data):
                target.receive(piece, 0.0)
    assert client.established
    assert server.established
    shake(client, server)
    assert server.receive(client.seal(b"data"), 0.0) == [b"data"]


def test_the_server_takes_only_a_hello_first() -> None:
    server = DtlsServer(PSK, now=0.0, rng=dice("server"))
    for kind in (0, 2, 3, 14, 16, 20):
        server.receive(encode_record(HANDSHAKE, 0xFEFD, 0, encode_message(kind, 0, b"")), 0.0)
    assert not server.closed
    assert server.dropped == 6
