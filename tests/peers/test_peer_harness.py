"""The harness itself: real openconnect against real ocserv, and nothing left behind."""

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest

from tests.peers.netns import Cable, cable, leftovers, namespace
from tests.peers.ocserv import Ocserv
from tests.peers.openconnect import Openconnect, authenticate
from tests.peers.program import PeerFailure, Program

USERS = {"alice": "labpass", "bob": "pässwörd"}


def gone(pid: int, limit: float = 2.0) -> bool:
    """Whether a process ends within `limit` seconds; one that only waits to be reaped has ended."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(scope="module")
def wire() -> Iterator[Cable]:
    with cable() as made:
        yield made


@pytest.fixture(scope="module")
def ocserv(wire: Cable) -> Iterator[Ocserv]:
    with Ocserv(wire.server, wire.server_address, users=USERS) as server:
        yield server


def test_waiting_finds_lines_of_both_streams() -> None:
    code = "import sys; print('one'); print('two', file=sys.stderr); print(sys.stdin.read().upper())"
    with Program([sys.executable, "-c", code], stdin="three") as program:
        assert program.wait_for("t(w)o")[1] == "w"
        program.wait_for("THREE")
        assert program.wait() == 0
        assert program.stdout == "one\nTHREE\n"


def test_waiting_in_vain_shows_the_transcript() -> None:
    code = "print('only this')"
    with Program([sys.executable, "-c", code]) as program, pytest.raises(PeerFailure) as caught:
        program.wait_for("something else")
    assert "only this" in str(caught.value)
    assert "the program ended" in str(caught.value)


def test_waiting_is_limited_and_stopping_takes_the_children() -> None:
    with Program(["sh", "-c", "sleep 1000 & echo $!; exec sleep 1000"]) as program:
        child = int(program.wait_for(r"(\d+)")[1])
        with pytest.raises(PeerFailure, match=r"did not print it within 0\.05 s"):
            program.wait_for("never", limit=0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(program.pid, 0)
    assert gone(child)


@pytest.mark.peer("netns")
def test_a_namespace_goes_with_the_processes_in_it() -> None:
    with namespace("harness") as inside:
        assert leftovers() == [inside.name]
        abandoned = subprocess.Popen(inside.command("sleep", "1000"))
        with inside.entered(), socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            socket.create_connection(("127.0.0.1", port), 1).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)
    assert abandoned.wait(1) == -9
    assert leftovers() == []


@pytest.mark.peer("netns", "iptables", "ping")
def test_a_cable_carries_both_families_until_it_is_blocked() -> None:
    with cable() as wire:
        wire.client.ping(wire.server_address, count=1)
        wire.client.ping(wire.server_address6, count=1)
        with wire.block(), pytest.raises(AssertionError, match="100% packet loss"):
            wire.client.run("ping", "-c", "1", "-W", "0.2", wire.server_address)
        wire.client.ping(wire.server_address, count=1)
        wire.move_client("192.0.2.77")
        wire.client.ping(wire.server_address, count=1, options=("-I", "192.0.2.77"))


@pytest.mark.peer("openconnect", "ocserv", "netns", "tun", "ping")
def test_real_client_and_real_server_over_dtls_psk(wire: Cable, ocserv: Ocserv) -> None:
    with Openconnect(
        ocserv.url, pin=ocserv.pin, user="alice", passwords=["labpass"], tunnel="kernel", where=wire.client
    ) as client:
        assert client.wait_dtls() == "(DTLS1.2)-(PSK)-(AES-256-GCM)"
        assert client.wait_connected().ssl == "connected"
        client.ping(ocserv.gateway)
        client.ping(ocserv.gateway, size=1300)
        calls = client.script_calls()
        assert [call["reason"] for call in calls] == ["pre-init", "connect"]
        assert calls[1]["INTERNAL_IP4_DNS"] == "198.51.100.53"
        assert client.log_off() == 0
    ocserv.wait_for("user disconnected .reason: user disconnected")


@pytest.mark.peer("openconnect", "ocserv", "netns", "tun")
def test_user_space_tunnel_end(wire: Cable, ocserv: Ocserv) -> None:
    with Openconnect(
        ocserv.url, pin=ocserv.pin, user="bob", passwords=[USERS["bob"]], where=wire.client
    ) as client:
        configured = client.wait_connected()
        assert configured.ip4 == client.tun.address(4)
        assert configured.ip6 == client.tun.address(6)
        client.ping(ocserv.gateway)
        client.ping("2001:db8:77::1")


@pytest.mark.peer("openconnect", "ocserv", "netns", "tun", "iptables")
def test_reconnect_and_cookie(wire: Cable, ocserv: Ocserv) -> None:
    login = authenticate(ocserv.url, pin=ocserv.pin, user="alice", passwords=["labpass"], where=wire.client)
    with Openconnect(ocserv.url, pin=ocserv.pin, cookie=login["COOKIE"], where=wire.client) as client:
        address = client.wait_connected().ip4
        client.wait_dtls()
        mark = client.mark()
        client.reconnect()
        client.wait_dtls(after=mark)
        assert client.tun.address(4) == address
        client.ping(ocserv.gateway)
        mark = client.mark()
        wire.reset_connections(443)
        client.wait_dtls(after=mark)
        client.ping(ocserv.gateway)
        assert client.detach() == 0
    ocserv.wait_for("temporarily closing")


@pytest.mark.peer("openconnect", "ocserv", "netns", "tun")
def test_server_with_client_certificates_and_legacy_dtls_over_ipv6(tmp_path: Path) -> None:
    options = {"dtls-psk": False}
    with (
        cable() as wire,
        Ocserv(
            wire.server, wire.server_address6, users={}, client_certificates=True, options=options
        ) as server,
    ):
        certificate, key = tmp_path / "walter.pem", tmp_path / "walter.key"
        server.authority.issue_client("Walter White", user_id="walter").save(certificate, key)
        files = ("--certificate", str(certificate), "--sslkey", str(key))
        with Openconnect(server.url, *files, pin=server.pin, where=wire.client) as client:
            assert client.wait_dtls() == "(DTLS1.2)-(RSA)-(AES-256-GCM)"
            client.wait_connected()
            client.ping(server.gateway)
        server.wait_for(r"main\[walter\].* user logged in")


@pytest.mark.peer("openconnect", "ocserv", "netns", "tun")
def test_server_with_groups_compression_and_second_factor() -> None:
    secret = b"12345678901234567890"
    with (
        cable() as wire,
        Ocserv(
            wire.server,
            wire.server_address,
            users=USERS,
            groups={"alice": "staff"},
            totp={"alice": secret.hex()},
            options={"select-group": ["staff", "guests[Guests]"], "compression": True},
        ) as server,
    ):
        code = pyotp.TOTP(base64.b32encode(secret).decode()).now()
        with Openconnect(
            server.url,
            "--authgroup=staff",
            "--compression=all",
            pin=server.pin,
            user="alice",
            passwords=["labpass", code],
            where=wire.client,
        ) as client:
            client.wait_connected()
            client.wait_for("X-CSTP-Content-Encoding: oc-lz4")
            client.ping(server.gateway, size=1000)
        server.wait_for(r"main\[alice\].* user logged in")
