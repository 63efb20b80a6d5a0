import itertools
import math

import pytest

from asa_emu.wire.dtls import DtlsClient, DtlsServer, Psk, Resumption, Secret
from asa_emu.wire.dtls.records import SEQUENCE_LIMIT
from asa_emu.wire.dtls.suites import PSK_SUITES
from asa_emu.wire.errors import DtlsError
from tests.dtls_lab import PSK, SECRETS, dice, ends, records, resumption, shake, shaken

GCM = SECRETS["1.2 AES256-GCM"]


@pytest.mark.parametrize("name", SECRETS)
def test_every_variant_carries_data_both_ways(name: str) -> None:
    client, server = shaken(SECRETS[name])
    for size in (1, 15, 16, 1400):
        assert server.receive(client.seal(b"c" * size), 0.0) == [b"c" * size]
        assert client.receive(server.seal(b"s" * size), 0.0) == [b"s" * size]
    assert (client.dropped, server.dropped) == (0, 0)
    assert client.keylog_line() == server.keylog_line()
    assert math.isinf(client.next_deadline()) and math.isinf(server.next_deadline())
    assert server.version_name[-3:] == ("1.2" if name == "psk" else name[:3])


@pytest.mark.parametrize("code", PSK_SUITES)
def test_every_psk_suite(code: int) -> None:
    client = DtlsClient(PSK, now=0.0, rng=dice("client"), psk_suites=(code,))
    server = DtlsServer(PSK, now=0.0, rng=dice("server"))
    shake(client, server)
    assert server.suite.code == client.suite.code == code
    assert server.receive(client.seal(b"data"), 0.0) == [b"data"]


@pytest.mark.parametrize("name", SECRETS)
def test_records_are_never_longer_than_promised(name: str) -> None:
    client, _ = shaken(SECRETS[name])
    for mtu in range(100, 140):
        payload = client.max_payload(mtu)
        assert len(client.seal(bytes(payload))) <= mtu < len(client.seal(bytes(payload + 1)))
    assert len(client.seal(bytes(50))) <= 50 + client.overhead


def test_repr_tells_what_it_is() -> None:
    client, server = ends(PSK)
    assert repr(client) == "<DtlsClient DTLSv1.2 PSK-AES256-GCM-SHA384 handshaking>"
    shake(client, server)
    assert repr(server) == "<DtlsServer DTLSv1.2 PSK-AES256-GCM-SHA384 established>"
    server.close()
    assert repr(server).endswith("closed>")


def test_a_views_buffer_may_be_used_again() -> None:
    client, server = ends(PSK)
    buffer = bytearray(2000)
    for datagram in client.datagrams_to_send():
        buffer[: len(datagram)] = datagram
        server.receive(memoryview(buffer)[: len(datagram)], 0.0)
        buffer[:] = bytes(2000)
    shake(client, server)
    sealed = client.seal(b"data")
    buffer[: len(sealed)] = sealed
    assert server.receive(memoryview(buffer)[: len(sealed)], 0.0) == [b"data"]


def test_the_key_log_line_of_a_resumption_holds_the_headers_master_secret() -> None:
    client, _ = ends(GCM)
    assert client.keylog_line() == ""
    client, server = shaken(GCM)
    assert isinstance(GCM, Resumption)
    assert server.keylog_line() == f"CLIENT_RANDOM {client.client_random.hex()} {GCM.master_secret.hex()}"


# Loss and disorder in the handshake


def test_an_unanswered_flight_is_sent_again_and_given_up_after_thirty_seconds() -> None:
    client = DtlsClient(PSK, now=100.0, rng=dice("client"))
    times = [100.0]
    while not client.closed:
        hello = client.datagrams_to_send()
        assert len(hello) == 1
        client.on_deadline(client.next_deadline() - 0.01)
        assert client.datagrams_to_send() == []
        times.append(client.next_deadline())
        client.on_deadline(times[-1])
    assert [time - 100.0 for time in times] == [0, 1, 3, 7, 15, 23, 30]
    assert client.failure == "handshake timed out"
    assert math.isinf(client.next_deadline())
    client.on_deadline(1000.0)


def test_a_server_that_never_gets_its_hello_gives_up_too() -> None:
    server = DtlsServer(PSK, now=0.0, rng=dice("server"))
    assert server.next_deadline() == 30.0
    server.on_deadline(30.0)
    assert server.failure == "handshake timed out"


def test_a_wrong_psk_shows_as_records_that_do_not_decrypt() -> None:
    client = DtlsClient(PSK, now=0.0, rng=dice("client"))
    server = DtlsServer(Psk(b"w" * 32, PSK.app_id), now=0.0, rng=dice("server"))
    shake(client, server)
    server.on_deadline(30.0)
    assert server.failure is not None
    assert server.failure.startswith("handshake timed out; 1 records did not decrypt")


@pytest.mark.parametrize("name", SECRETS)
def test_any_one_lost_datagram_is_made_good(name: str) -> None:
    clean = len(shake(*ends(SECRETS[name])))
    for lost in range(clean):
        client, server = ends(SECRETS[name])
        count = itertools.count()
        now = 0.0
        while not (client.established and server.established):
            for source, target in ((client, server), (server, client)):
                for datagram in source.datagrams_to_send():
                    if next(count) != lost:
                        target.receive(datagram, now)
            now += 0.5
            client.on_deadline(now)
            server.on_deadline(now)
            assert now < 10.0
        assert client.receive(server.seal(b"data"), now) == [b"data"]


@pytest.mark.parametrize("name", SECRETS)
def test_every_record_of_a_flight_may_come_alone_and_in_reverse(name: str) -> None:
    client, server = ends(SECRETS[name])
    for _ in range(4):
        for source, target in ((client, server), (server, client)):
            pieces = [piece for datagram in source.datagrams_to_send() for piece in records(datagram)]
            for piece in reversed(pieces):
                target.receive(piece, 0.0)
    assert client.established and server.established


def test_the_last_word_is_repeated_until_data_shows_that_it_arrived() -> None:
    client, server = ends(PSK)
    server.receive(client.datagrams_to_send()[0], 0.0)
    client.receive(server.datagrams_to_send()[0], 0.0)
    flight = client.datagrams_to_send()[0]
    server.receive(flight, 0.0)
    assert server.established
    assert len(server.datagrams_to_send()) == 1  # lost
    server.receive(flight, 0.1)
    assert server.datagrams_to_send() == []  # too soon for a retransmission
    client.on_deadline(1.0)
    server.receive(client.datagrams_to_send()[0], 1.0)
    client.receive(server.datagrams_to_send()[0], 1.0)
    assert client.established
    assert server.receive(client.seal(b"data"), 1.0) == [b"data"]
    server.receive(flight, 9.0)
    assert server.datagrams_to_send() == []


def test_a_forger_cannot_have_the_last_word_repeated_for_ever() -> None:
    client, server = ends(PSK)
    carried = shake(client, server)
    sent = 0
    for now in range(1, 100):
        server.receive(carried[2], float(now))
        sent += len(server.datagrams_to_send())
    assert sent == 16


def test_data_that_overtakes_the_handshake_waits_for_it() -> None:
    client, server = ends(GCM)
    server.receive(client.datagrams_to_send()[0], 0.0)
    client.receive(server.datagrams_to_send()[0], 0.0)
    finished = client.datagrams_to_send()[0]
    assert server.receive(client.seal(b"one"), 0.0) == []
    assert server.receive(client.seal(b"two"), 0.0) == []
    assert server.receive(finished, 0.0) == [b"one", b"two"]
    assert server.dropped == 0


def test_data_in_the_datagram_of_the_finished_is_returned() -> None:
    client, server = ends(GCM)
    server.receive(client.datagrams_to_send()[0], 0.0)
    client.receive(server.datagrams_to_send()[0], 0.0)
    finished = client.datagrams_to_send()[0]
    assert server.receive(finished + client.seal(b"one") + client.seal(b"two"), 0.0) == [b"one", b"two"]


def test_only_eight_records_wait() -> None:
    client, server = ends(GCM)
    server.receive(client.datagrams_to_send()[0], 0.0)
    client.receive(server.datagrams_to_send()[0], 0.0)
    finished = client.datagrams_to_send()[0]
    for number in range(20):
        server.receive(client.seal(b"%d" % number), 0.0)
    assert server.dropped == 12
    assert len(server.receive(finished, 0.0)) == 8


# Refusals


@pytest.mark.parametrize(
    ("client_secret", "server_secret", "reason"),
    [
        (Psk(PSK.key, b"other"), PSK, "the hello names another App-ID"),
        (resumption(0x9D), PSK, "the hello names another App-ID"),
        (resumption(0x9D), Psk(PSK.key, b""), "the client offers no PSK suite that we have"),
        (resumption(0x35, 0xFEFF), Psk(PSK.key, b""), "the client offers version 0xfeff, PSK needs 1.2"),
        (
            Resumption(b"x" * 32, bytes(48), resumption(0x9D).suite, 0xFEFD),
            GCM,
            "the hello resumes another session",
        ),
        (resumption(0x9C), GCM, "the client does not offer AES256-GCM-SHA384"),
        (resumption(0x35), SECRETS["0.9 AES256-SHA"], "the client offers version 0xfefd"),
    ],
)
def test_the_server_refuses_a_hello_that_does_not_fit(
    client_secret: Secret, server_secret: Secret, reason: str
) -> None:
    client = DtlsClient(client_secret, now=0.0, rng=dice("client"))
    server = DtlsServer(server_secret, now=0.0, rng=dice("server"))
    shake(client, server)
    assert server.failure == reason
    assert server.closed and client.closed
    assert client.failure in ("the peer sent alert handshake_failure", "the peer sent alert protocol_version")


def test_a_wrong_master_secret_fails_on_both_sides() -> None:
    assert isinstance(GCM, Resumption)
    wrong = Resumption(GCM.session_id, b"w" * 48, GCM.suite, GCM.version)
    client = DtlsClient(wrong, now=0.0, rng=dice("client"))
    server = DtlsServer(GCM, now=0.0, rng=dice("server"))
    shake(client, server)
    for now in (1.0, 3.0, 7.0, 15.0, 23.0, 30.0):
        client.on_deadline(now)
        server.on_deadline(now)
    assert not client.established and not server.established
    assert client.failure is not None and "secrets may differ" in client.failure


def test_a_server_that_does_not_resume_is_not_trusted() -> None:
    client = DtlsClient(GCM, now=0.0, rng=dice("client"))
    other = DtlsServer(Psk(PSK.key, b""), now=0.0, rng=dice("server"))
    psk = DtlsClient(PSK, now=0.0, rng=dice("client"))
    other.receive(psk.datagrams_to_send()[0], 0.0)
    answer = other.datagrams_to_send()[0]
    # The same answer with the suite that the client wants and no session id.
    client.receive(answer.replace(b"\x00\x00\xa9\x00", b"\x00\x00\x9d\x00"), 0.0)
    assert client.failure == "the server did not resume the session"


# Closing


def test_close_notify_is_answered() -> None:
    client, server = shaken(PSK)
    server.receive(client.close(), 0.0)
    assert server.closed and not server.established and server.failure is None
    assert client.receive(server.datagrams_to_send()[0], 0.0) == []
    assert client.close() == b""
    with pytest.raises(DtlsError, match="not established"):
        server.seal(b"late")


def test_what_comes_after_the_end_is_dropped() -> None:
    client, server = shaken(PSK)
    late = client.seal(b"late")
    server.close()
    assert server.receive(late, 0.0) == []
    assert server.dropped == 1


def test_an_alert_in_clear_cannot_end_an_established_association() -> None:
    client, server = shaken(PSK)
    alert = bytes.fromhex("15 fefd 0000 000000000009 0002 0228")
    server.receive(alert, 0.0)
    assert server.established
    fresh = DtlsClient(PSK, now=0.0, rng=dice("client"))
    fresh.receive(alert, 0.0)
    assert fresh.failure == "the peer sent alert handshake_failure"
    assert server.receive(client.seal(b"data"), 0.0) == [b"data"]


@pytest.mark.parametrize(
    ("alert", "failure"),
    [
        ("0100", "the peer closed during the handshake"),
        ("0250", "the peer sent alert internal_error"),
        ("02ee", "the peer sent alert 238"),
        ("015a", None),
        ("02", None),
    ],
)
def test_an_alert_in_clear_during_the_handshake(alert: str, failure: str | None) -> None:
    client = DtlsClient(PSK, now=0.0, rng=dice("client"))
    client.receive(bytes.fromhex(f"15 fefd 0000 000000000009 {len(alert) // 2:04x} {alert}"), 0.0)
    assert client.failure == failure
    assert client.closed == (failure is not None)


def test_a_malformed_handshake_record_is_only_dropped() -> None:
    client, server = ends(PSK)
    client.receive(bytes.fromhex("16 fefd 0000 000000000000 0003 020000"), 0.0)
    assert (client.dropped, client.closed) == (1, False)
    shake(client, server)
    assert client.established


def test_a_small_mtu_parts_a_flight() -> None:
    client = DtlsClient(PSK, now=0.0, rng=dice("client"), mtu=100)
    server = DtlsServer(PSK, now=0.0, rng=dice("server"), mtu=100)
    carried = shake(client, server)
    assert max(len(datagram) for datagram in carried[1:]) <= 100
    assert client.established and server.established


def test_without_keys_nothing_is_sealed_or_opened() -> None:
    client = DtlsClient(PSK, now=0.0, rng=dice("client"))
    with pytest.raises(DtlsError, match="not established"):
        client.seal(b"data")
    with pytest.raises(DtlsError, match="no keys"):
        client._seal(23, 0, b"data")
    assert client._open(23, 0, b"", 0, 0) is None


# Numbers


@pytest.mark.parametrize("name", SECRETS)
def test_a_replay_is_dropped_and_late_is_not_a_replay(name: str) -> None:
    client, server = shaken(SECRETS[name])
    sent = [client.seal(b"%d" % number) for number in range(100)]
    assert server.receive(sent[70], 0.0) == [b"70"]
    assert server.receive(sent[70], 0.0) == []
    assert server.receive(sent[69], 0.0) == [b"69"]
    assert server.receive(sent[7], 0.0) == [b"7"]
    assert server.receive(sent[6], 0.0) == []  # 64 behind
    assert server.receive(sent[7], 0.0) == []
    assert server.receive(sent[99], 0.0) == [b"99"]
    assert server.receive(sent[71], 0.0) == [b"71"]
    assert server.receive(sent[69], 0.0) == []
    assert server.dropped == 4


def test_replays_in_a_shared_datagram_are_dropped_too() -> None:
    client, server = shaken(PSK)
    one, two = client.seal(b"one"), client.seal(b"two")
    assert server.receive(one + two + one, 0.0) == [b"one", b"two"]
    assert server.dropped == 1


def test_numbers_run_out_before_they_repeat() -> None:
    client, server = shaken(PSK)
    client._send_number = (1 << 48) + SEQUENCE_LIMIT - 1
    assert server.receive(client.seal(b"last"), 0.0) == [b"last"]
    with pytest.raises(DtlsError, match="used up"):
        client.seal(b"one too many")
    assert client.close() == b""


def test_a_payload_longer_than_a_record_is_an_error() -> None:
    client, server = shaken(PSK)
    assert server.receive(client.seal(bytes(16384)), 0.0) == [bytes(16384)]
    with pytest.raises(DtlsError, match="16385"):
        client.seal(bytes(16385))


def test_empty_payloads_are_not_reported() -> None:
    client, server = shaken(PSK)
    assert server.receive(client.seal(b""), 0.0) == []
    assert server.receive(client.seal(b"") + client.seal(b"x"), 0.0) == [b"x"]
    assert server.dropped == 0


# Roaming


@pytest.mark.parametrize("name", ["psk", "1.2 AES256-SHA"])
def test_data_from_an_unknown_address_counts_only_if_authentic_and_newer(name: str) -> None:
    client, server = shaken(SECRETS[name])
    old, new, newer = client.seal(b"old"), client.seal(b"new"), client.seal(b"newer")
    server.receive(new, 0.0)
    forged = newer[:-1] + bytes((newer[-1] ^ 1,))
    for datagram in (old, new, forged, b"", b"\x17", newer[:-1]):
        assert server.try_open(datagram) is None
    assert server.dropped == 0
    assert server.try_open(newer) == b"newer"
    assert server.try_open(newer) is None
    assert server.receive(old, 0.0) == [b"old"]


def test_an_unknown_address_must_send_one_record_with_something_in_it() -> None:
    client, server = shaken(PSK)
    both = client.seal(b"one") + client.seal(b"two")
    empty = client.seal(b"")
    assert server.try_open(both) is None
    assert server.try_open(empty) is None
    assert server.receive(both, 0.0) == [b"one", b"two"]


def test_a_close_from_an_unknown_address_is_no_data() -> None:
    client, server = shaken(PSK)
    notice = client.close()
    assert server.try_open(notice) is None
    assert DtlsServer(PSK, now=0.0, rng=dice("server")).try_open(notice) is None
    assert server.receive(notice, 0.0) == []
    assert server.closed
