"""The TLS engine on private calls and on public ones: the same bytes either way."""

from pathlib import Path

import pytest

from asa_emu.transport import openssl
from asa_emu.transport.certificates import open_server_identity
from asa_emu.transport.contexts import client_context, server_context
from asa_emu.transport.openssl import MAX_RECORD, Scratch, TlsBroken, TlsClosed, TlsEngine


@pytest.fixture(params=[True, False], ids=["private calls", "public calls"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    wanted: bool = request.param
    assert openssl.FAST, "this pyOpenSSL lacks a private name: the headend is slow with it"
    monkeypatch.setattr(openssl, "FAST", wanted)
    return wanted


@pytest.fixture
def ends(fast: bool, tmp_path: Path) -> tuple[TlsEngine, TlsEngine]:
    open_server_identity(tmp_path, ["127.0.0.1"])
    server = TlsEngine(server_context(tmp_path / "server.pem", tmp_path / "server.key"), server_side=True)
    client = TlsEngine(client_context(ca=tmp_path / "ca.pem"), server_side=False)
    while not (client.handshake() and server.handshaken):
        server.feed(client.output())
        server.handshake()
        client.feed(server.output())
    server.feed(client.output())
    server.handshake()
    carried(server, client)  # empty tickets
    return client, server


def carried(source: TlsEngine, target: TlsEngine) -> bytes:
    scratch = Scratch(8 * MAX_RECORD)
    target.feed(source.output())
    return bytes(scratch.view[: target.read_into(scratch)])


def test_what_is_written_comes_out_record_by_record(ends: tuple[TlsEngine, TlsEngine]) -> None:
    client, server = ends
    client.write(b"one")
    client.write(bytearray(b"two"))
    client.write(memoryview(b"-three-")[1:6])
    assert carried(client, server) == b"onetwothree"
    server.write(bytes(MAX_RECORD))
    assert carried(server, client) == bytes(MAX_RECORD)
    assert server.output() == client.output() == b""


def test_output_longer_than_one_reading_is_whole(ends: tuple[TlsEngine, TlsEngine]) -> None:
    client, server = ends
    for _ in range(9):
        client.write(bytes(MAX_RECORD))
    wire = client.output()
    assert len(wire) > 9 * MAX_RECORD
    scratch, total = Scratch(2 * MAX_RECORD), 0
    server.feed(wire)
    while count := server.read_into(scratch):
        total += count
    assert total == 9 * MAX_RECORD
    assert server.ended is None


def test_the_peers_end_is_told_after_its_last_words(ends: tuple[TlsEngine, TlsEngine]) -> None:
    client, server = ends
    client.write(b"bye")
    client.close_notify()
    assert carried(client, server) == b"bye"
    assert isinstance(server.ended, TlsClosed)


def test_a_forged_record_breaks_the_connection(ends: tuple[TlsEngine, TlsEngine]) -> None:
    client, server = ends
    client.write(b"good")
    wire = bytearray(client.output())
    wire[-1] ^= 1
    scratch = Scratch(2 * MAX_RECORD)
    server.feed(wire)
    assert server.read_into(scratch) == 0
    assert isinstance(server.ended, TlsBroken)
    assert server.output(), "the alert"


def test_both_ends_export_the_same_key(ends: tuple[TlsEngine, TlsEngine]) -> None:
    client, server = ends
    assert client.exporter(b"EXPORTER-test", 32) == server.exporter(b"EXPORTER-test", 32)


def test_an_idle_connection_sheds_what_a_burst_needed_and_goes_on(ends: tuple[TlsEngine, TlsEngine]) -> None:
    client, server = ends
    for _ in range(3):
        for _ in range(40):
            client.write(bytes(1408))
            server.write(bytes(1408))
        assert carried(client, server) == bytes(40 * 1408)
        assert carried(server, client) == bytes(40 * 1408)
        server.shed()
        client.shed()
    client.write(b"after")
    server.write(b"wards")
    assert carried(client, server) == b"after"
    assert carried(server, client) == b"wards"
    server.close_notify()
    assert carried(server, client) == b""
    assert isinstance(client.ended, TlsClosed)


def test_nothing_is_shed_that_still_waits(ends: tuple[TlsEngine, TlsEngine]) -> None:
    client, server = ends
    for _ in range(40):
        client.write(bytes(1408))
    wire = client.output()
    server.feed(wire[:-10])  # the last record lacks its end
    scratch = Scratch(8 * MAX_RECORD)
    assert server.read_into(scratch) == 39 * 1408
    server.shed()
    server.feed(wire[-10:])
    server.shed()
    assert server.read_into(scratch) == 1408
    server.write(b"not taken out yet")
    server.shed()
    assert carried(server, client) == b"not taken out yet"
