"""The client emulator against the real ocserv 1.1.6, each in a network namespace of its own.

The client's sockets are opened inside the client's namespace by entering it with the test's thread; names are
numeric, so no other thread opens any.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyotp
import pytest
import trio

from client_emu import (
    Client,
    ClientOptions,
    ConnectFailed,
    Disconnected,
    Dtls,
    Reconnected,
    parse_gateway,
)
from tests.peers.netns import Cable, cable
from tests.peers.ocserv import Ocserv
from tests.peers.program import Program

pytestmark = pytest.mark.peer("ocserv", "netns", "tun")

USERS = {"walter": "secret", "änne": "pässwörd mit blank"}


@pytest.fixture(scope="module")
def wire() -> Iterator[Cable]:
    with cable() as made:
        yield made


@pytest.fixture(scope="module")
def ocserv(wire: Cable) -> Iterator[Ocserv]:
    with Ocserv(wire.server, wire.server_address, users=USERS) as server:
        yield server


def options_for(server: Ocserv, **changes: Any) -> ClientOptions:
    given = ClientOptions(parse_gateway(server.url), user="walter", password="secret", pin=server.pin)
    return replace(given, **changes)


@contextlib.asynccontextmanager
async def connected(wire: Cable, options: ClientOptions) -> AsyncIterator[Client]:
    with trio.fail_after(30), wire.client.entered():
        async with Client(options) as vpn:
            yield vpn


async def test_password_login_and_ping_over_tls_alone(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv, dtls=False)) as vpn:
        assert vpn.ip4 is not None
        assert vpn.ip6 is not None
        assert vpn.routes == ("0.0.0.0/0", "::/0")
        result = await vpn.ping(ocserv.gateway, count=3)
        assert result.received == 3
        assert vpn.tls_traffic.packets_in >= 3
        assert vpn.dtls_cipher is None
    assert vpn.lifecycle.end is not None
    assert vpn.lifecycle.end.exit_code == 0


async def test_big_packets_pass_both_ways(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv)) as vpn:
        await vpn.next_event(Dtls)
        result = await vpn.ping(ocserv.gateway, count=2, size=vpn.mtu - 28)
        assert result.received == 2


@pytest.mark.parametrize(
    ("ciphers", "expected"),
    [
        ({}, "DTLSv1.2 PSK-AES256-GCM-SHA384"),
        (
            {"dtls_ciphers": (), "dtls12_ciphers": ("AES256-GCM-SHA384", "AES128-GCM-SHA256")},
            "DTLSv1.2 AES256-GCM-SHA384",
        ),
        (
            {"dtls_ciphers": (), "dtls12_ciphers": ("AES128-GCM-SHA256",)},
            "DTLSv1.2 AES128-GCM-SHA256",
        ),
        (
            {"dtls_ciphers": ("OC-DTLS1_2-AES256-GCM",), "dtls12_ciphers": ()},
            "DTLSv1.2 AES256-GCM-SHA384",
        ),
        ({"dtls_ciphers": ("AES256-SHA",), "dtls12_ciphers": ()}, "DTLSv0.9 AES256-SHA"),
        ({"dtls_ciphers": ("AES128-SHA",), "dtls12_ciphers": ()}, "DTLSv0.9 AES128-SHA"),
    ],
    ids=["psk", "x-dtls12", "x-dtls12-aes128", "oc-dtls1_2", "0x0100-aes256", "0x0100-aes128"],
)
async def test_data_moves_to_dtls(
    wire: Cable, ocserv: Ocserv, ciphers: dict[str, tuple[str, ...]], expected: str
) -> None:
    async with connected(wire, options_for(ocserv, **ciphers)) as vpn:
        event = await vpn.next_event(Dtls)
        assert (event.up, event.cipher) == (True, expected)
        result = await vpn.ping(ocserv.gateway, count=3)
        assert result.received == 3
        assert vpn.dtls_traffic.packets_out >= 3


async def test_killed_tcp_comes_back_at_the_same_address(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv)) as vpn:
        await vpn.next_event(Dtls)
        address, source = vpn.ip4, vpn.tcp_source
        wire.reset_connections(443)
        event = await vpn.next_event(Reconnected)
        assert event.ip4 == address
        assert vpn.tcp_source != source
        assert (await vpn.next_event(Dtls)).up
        result = await vpn.ping(ocserv.gateway)
        assert result.received == 1


async def test_detached_session_is_resumed_with_the_token(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv)) as vpn:
        address = vpn.ip4
        await vpn.detach()
    resumed = options_for(ocserv, user=None, password=None, token=vpn.token)
    async with connected(wire, resumed) as again:
        assert again.ip4 == address


async def test_logged_off_token_is_refused(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv)) as vpn:
        token = vpn.token
    with pytest.raises(ConnectFailed, match="refused the session"):
        async with connected(wire, options_for(ocserv, user=None, password=None, token=token)):
            pass


async def test_blocked_udp_leaves_the_tunnel_on_tls_and_dtls_comes_back(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv, dpd=0.2)) as vpn:
        assert (await vpn.next_event(Dtls)).up
        vpn.block_udp()
        assert not (await vpn.next_event(Dtls)).up
        before = vpn.tls_traffic.packets_out
        result = await vpn.ping(ocserv.gateway)
        assert result.received == 1
        assert vpn.tls_traffic.packets_out > before
        vpn.unblock_udp()
        assert (await vpn.next_event(Dtls)).up


@pytest.mark.parametrize("codec", ["oc-lz4", "lzs"])
async def test_compression_is_used_on_both_channels(wire: Cable, codec: str) -> None:
    settings = {"compression": True, "no-compress-limit": 64}
    with Ocserv(
        wire.server, wire.server_address, users=USERS, options={**settings, "tcp-port": 444}
    ) as server:
        async with connected(wire, options_for(server, compression=(codec,))) as vpn:
            assert vpn.answer is not None
            assert vpn.answer.content_encoding == codec
            result = await vpn.ping(server.gateway, count=2, size=1000)
            assert result.received == 2


async def test_utf8_names_and_passwords(wire: Cable, ocserv: Ocserv) -> None:
    given = options_for(ocserv, user="änne", password="pässwörd mit blank", dtls=False)
    async with connected(wire, given) as vpn:
        assert vpn.ip4 is not None


async def test_old_form_login(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv, xml_post=False, dtls=False)) as vpn:
        assert vpn.ip4 is not None


async def test_wrong_password_is_sent_once_and_refused(wire: Cable, ocserv: Ocserv) -> None:
    with pytest.raises(ConnectFailed, match="login refused"):
        async with connected(wire, options_for(ocserv, password="wrong")):
            pass


async def test_wrong_pin_is_refused(wire: Cable, ocserv: Ocserv) -> None:
    pin = "pin-sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    with pytest.raises(ConnectFailed, match="not the pinned one"):
        async with connected(wire, options_for(ocserv, pin=pin)):
            pass


async def test_unknown_authority_is_refused_and_the_given_one_accepted(wire: Cable, ocserv: Ocserv) -> None:
    with pytest.raises(ConnectFailed, match="does not verify"):
        async with connected(wire, options_for(ocserv, pin=None)):
            pass
    async with connected(wire, options_for(ocserv, pin=None, ca=ocserv.ca_file, dtls=False)) as vpn:
        assert vpn.ip4 is not None


async def test_the_profile_that_it_hands_out_is_fetched(wire: Cable, tmp_path: Path) -> None:
    text = b"<AnyConnectProfile><ServerList/></AnyConnectProfile>\n"
    (tmp_path / "profile.xml").write_bytes(text)
    options: dict[str, int | str] = {"tcp-port": 446, "udp-port": 446}
    options["user-profile"] = str(tmp_path / "profile.xml")
    with Ocserv(wire.server, wire.server_address, users=USERS, options=options) as server:
        async with connected(wire, options_for(server, dtls=False)) as vpn:
            assert vpn.handed_profile == text


async def test_server_that_ends_the_session_ends_the_client(wire: Cable) -> None:
    with Ocserv(wire.server, wire.server_address, users=USERS, options={"tcp-port": 445}) as server:
        async with connected(wire, options_for(server, dtls=False)) as vpn:
            # the main process does the same to the worker of a user who is kicked out
            for worker in workers_of(server):
                os.kill(worker, signal.SIGTERM)
            event = await vpn.next_event(Disconnected)
            assert event.reason == "the headend ended the session"


def workers_of(server: Ocserv) -> list[int]:
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(server.pid)], capture_output=True, text=True
    )
    return [int(line.split()[0]) for line in listing.stdout.splitlines() if "worker" in line]


async def test_client_certificate_group_and_ipv6_headend(wire: Cable, tmp_path: Path) -> None:
    options = {"tcp-port": 446, "udp-port": 446}
    with Ocserv(
        wire.server, wire.server_address6, users={}, client_certificates=True, options=options
    ) as server:
        certificate, key = tmp_path / "walter.pem", tmp_path / "walter.key"
        server.authority.issue_client("Walter White", user_id="walter").save(certificate, key)
        given = options_for(server, user=None, password=None, certificate=certificate, key=key)
        async with connected(wire, given) as vpn:
            assert (await vpn.next_event(Dtls)).up
            assert (await vpn.ping(server.gateway)).received == 1
        with pytest.raises(ConnectFailed):
            async with connected(wire, options_for(server, user=None, password=None)):
                pass


async def test_group_by_its_label_and_second_factor(wire: Cable) -> None:
    secret = b"12345678901234567890"
    with Ocserv(
        wire.server,
        wire.server_address,
        users=USERS,
        groups={"walter": "staff"},
        totp={"walter": secret.hex()},
        options={"tcp-port": 447, "select-group": ["guests", "staff[Staff of the lab]"]},
    ) as server:
        code = pyotp.TOTP(base64.b32encode(secret).decode()).now()
        given = options_for(server, group="Staff of the lab", second_password=code, dtls=False)
        async with connected(wire, given) as vpn:
            assert vpn.ip4 is not None
        with pytest.raises(ConnectFailed, match="--second-password was not given"):
            async with connected(wire, options_for(server, group="staff")):
                pass
        with pytest.raises(ConnectFailed, match="no group 'admins'"):
            async with connected(wire, options_for(server, group="admins")):
                pass


def client_program(wire: Cable, server: Ocserv, tmp_path: Path, *more: str) -> Program:
    password = tmp_path / "password"
    password.write_text("secret\nnot this line\n", "utf-8")
    return Program(
        wire.client.command(
            *(sys.executable, "-m", "client_emu", "connect", server.url, "--user", "walter", "--json"),
            *("--password-file", str(password), "--pin", server.pin, *more),
        ),
        keep_stdin=True,
    )


def events_of(program: Program) -> list[dict[str, Any]]:
    return [json.loads(line) for line in program.stdout.splitlines()]


def test_kernel_tun_carries_the_systems_own_packets(wire: Cable, ocserv: Ocserv, tmp_path: Path) -> None:
    with client_program(wire, ocserv, tmp_path, "--tun", "vpn7") as program:
        program.wait_for('"event": "connected"')
        # addresses and routes are there before the event
        wire.client.ping(ocserv.gateway)
        program.wait_for('"event": "dtls", "up": true')
        wire.client.ping(ocserv.gateway, count=2, size=1200)
        program.write('{"do": "reconnect"}\n')
        program.wait_for('"event": "reconnected"')
        wire.client.ping(ocserv.gateway)
        program.write('{"do": "dance"}\nnonsense\n')
        program.wait_for("there is no command 'dance'")
        program.wait_for("a command is a line such as")
        program.send_signal(signal.SIGTERM)
        assert program.wait() == 0
    events = events_of(program)
    assert events[0]["ip4"].startswith("198.51.100.")
    assert events[0]["dns"] == ["198.51.100.53"]
    assert events[0]["domain"] == "lab.test"
    assert "cookie" not in events[0]
    assert events[-1] == {"event": "disconnected", "reason": "disconnected by the user"}
    assert "secret" not in program.transcript()


def test_way_to_the_headend_is_found_again_before_a_reconnect(
    wire: Cable, ocserv: Ocserv, tmp_path: Path
) -> None:
    pinned = f"{wire.server_address} dev {wire.client_device} proto static"
    with client_program(wire, ocserv, tmp_path, "--tun", "vpn7") as program:
        program.wait_for('"event": "connected"')
        assert pinned in wire.client.run("ip", "route")
        # the kernel does so when an address goes
        wire.client.run("ip", "route", "del", wire.server_address)
        program.write('{"do": "reconnect"}\n')
        program.wait_for('"event": "reconnected"')
        assert pinned in wire.client.run("ip", "route")
    assert pinned not in wire.client.run("ip", "route")


def test_deleted_tun_ends_the_client(wire: Cable, ocserv: Ocserv, tmp_path: Path) -> None:
    with client_program(wire, ocserv, tmp_path, "--tun", "vpn7") as program:
        program.wait_for('"event": "connected"')
        wire.client.run("ip", "link", "del", "vpn7")
        assert program.wait() == 1
    assert events_of(program)[-1] == {"event": "disconnected", "reason": "TUN device vpn7 is gone"}


def test_detach_and_resume_from_the_command_line(wire: Cable, ocserv: Ocserv, tmp_path: Path) -> None:
    with client_program(wire, ocserv, tmp_path, "--show-cookie") as first:
        first.wait_for('"event": "connected"')
        first.write('{"do": "detach"}\n')
        assert first.wait() == 0
    connected_event = events_of(first)[0]
    cookie = f"openconnect_strapkey=x; webvpn={connected_event['cookie']}"
    with client_program(wire, ocserv, tmp_path, "--cookie", cookie) as second:
        second.wait_for('"event": "connected"')
        second.write('{"do": "disconnect"}\n')
        assert second.wait() == 0
    assert events_of(second)[0]["ip4"] == connected_event["ip4"]
    with client_program(wire, ocserv, tmp_path, "--cookie", cookie) as third:
        assert third.wait() == 1
    assert events_of(third)[-1]["event"] == "failed"
