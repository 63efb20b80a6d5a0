"""The client's sessions at the real ocserv in bad times: rekeys, silence, blocked UDP, other addresses, naps.

Networks are cut with iptables, so neither end is told. The slow ones wait for timers that cannot be shorter.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from client_emu import AdapterChanged, Client, ClientOptions, Dtls, Reconnected, Reconnecting, parse_gateway
from client_emu.lifecycle import Phase
from client_emu.network import Interface
from client_emu.options import Platform
from tests.peers.netns import Cable, cable
from tests.peers.ocserv import Ocserv, Option
from tests.peers.program import Program

pytestmark = pytest.mark.peer("ocserv", "netns", "tun", "iptables")


@pytest.fixture(scope="module")
def wire() -> Iterator[Cable]:
    with cable() as made:
        yield made


@pytest.fixture(scope="module")
def ocserv(wire: Cable) -> Iterator[Ocserv]:
    with Ocserv(wire.server, wire.server_address, users={"walter": "secret"}) as server:
        yield server


def options_for(server: Ocserv, **changes: Any) -> ClientOptions:
    given = ClientOptions(parse_gateway(server.url), user="walter", password="secret", pin=server.pin)
    return replace(given, **changes)


@contextlib.asynccontextmanager
async def connected(wire: Cable, options: ClientOptions, limit: float = 40.0) -> AsyncIterator[Client]:
    with trio.fail_after(limit), wire.client.entered():
        async with Client(options) as vpn:
            yield vpn


@contextlib.contextmanager
def black_hole(wire: Cable) -> Iterator[None]:
    """Let every UDP datagram vanish on arrival. Refusing it at the sender would be an error to ocserv, which
    then closes the TLS connection as well.
    """
    ends = ((wire.client, wire.client_device), (wire.server, wire.server_device))
    for end, device in ends:
        end.run("iptables", "-w", "-A", "INPUT", "-i", device, "-p", "udp", "-j", "DROP")
    try:
        yield
    finally:
        for end, device in ends:
            end.run("iptables", "-w", "-D", "INPUT", "-i", device, "-p", "udp", "-j", "DROP")


async def dtls_is(vpn: Client, up: bool) -> None:
    while (await vpn.next_event(Dtls)).up is not up:
        pass


async def test_rekey_by_a_new_tunnel_keeps_address_and_adapter(wire: Cable) -> None:
    options: dict[str, Option] = {"tcp-port": 450, "udp-port": 450, "rekey-time": 3}
    with Ocserv(wire.server, wire.server_address, users={"walter": "secret"}, options=options) as server:
        async with connected(wire, options_for(server)) as vpn:
            address = vpn.ip4
            for _ in range(2):
                assert await vpn.next_event(Reconnected) == Reconnected("tunnel", address)
                await dtls_is(vpn, True)
            assert (await vpn.ping(server.gateway, count=2)).received == 2
            assert not any(isinstance(event, AdapterChanged) for event in vpn.events)


async def test_silence_is_noticed_by_dpd_and_the_session_goes_on(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv, dpd=0.5)) as vpn:
        await dtls_is(vpn, True)
        address = vpn.ip4
        with wire.block():
            assert (await vpn.next_event(Reconnecting)).level == "tunnel"
            assert vpn.phase is Phase.RECONNECTING
        assert (await vpn.next_event(Reconnected)).ip4 == address
        assert (await vpn.ping(ocserv.gateway, count=2)).received == 2


async def test_black_holed_udp_moves_the_data_to_tls_and_back(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv, dpd=0.3)) as vpn:
        await dtls_is(vpn, True)
        source = vpn.tcp_source
        with black_hole(wire):
            await dtls_is(vpn, False)
            before = vpn.tls_traffic.packets_out
            assert (await vpn.ping(ocserv.gateway, count=2)).received == 2
            assert vpn.tls_traffic.packets_out == before + 2
        await dtls_is(vpn, True)
        assert vpn.tcp_source == source, vpn.events
        assert (await vpn.ping(ocserv.gateway)).received == 1


async def test_ocserv_finds_nobody_at_fault_for_answering_its_probes(wire: Cable) -> None:
    options: dict[str, Option] = {"tcp-port": 451, "udp-port": 451, "dpd": 2, "keepalive": 2}
    with Ocserv(wire.server, wire.server_address, users={"walter": "secret"}, options=options) as server:
        async with connected(wire, options_for(server)) as vpn:
            await dtls_is(vpn, True)
            # `connected` has a limit
            while vpn.tls_traffic.control_in < 3 or vpn.dtls_traffic.control_out < 3:  # noqa: ASYNC110
                await trio.sleep(0.05)
            assert [event.name for event in vpn.events] == ["connected", "dtls"]


async def test_another_address_of_the_client_keeps_the_session(wire: Cable, ocserv: Ocserv) -> None:
    interfaces = (Interface("wired", wire.client_address),)
    async with connected(wire, options_for(ocserv, interfaces=interfaces)) as vpn:
        await dtls_is(vpn, True)
        address = vpn.ip4
        try:
            wire.move_client("192.0.2.77")
            vpn.plug("wired", "192.0.2.77")
            assert (await vpn.next_event(Reconnected)).ip4 == address
            await dtls_is(vpn, True)
            assert vpn.tcp_source is not None
            assert vpn.tcp_source[0] == "192.0.2.77"
            # ocserv loses what comes while its new worker takes the address over from the old one
            assert (await vpn.ping(ocserv.gateway, count=5)).received > 0
        finally:
            wire.move_client(wire.client_address)


@pytest.mark.parametrize("platform", [Platform.WINDOWS, Platform.LINUX])
async def test_a_nap_is_resumed_as_the_platform_does(wire: Cable, ocserv: Ocserv, platform: Platform) -> None:
    behavior = {"AutoReconnectBehavior": "ReconnectAfterResume"}
    async with connected(wire, options_for(ocserv, platform=platform, preferences=behavior)) as vpn:
        await dtls_is(vpn, True)
        address = vpn.ip4
        vpn.suspend()
        await trio.sleep(0.1)
        vpn.resume()
        if platform is Platform.WINDOWS:
            assert await vpn.next_event(Reconnected) == Reconnected("session", address)
        assert (await vpn.ping(ocserv.gateway)).received == 1


async def test_tcp_and_udp_probes_reach_ocservs_side(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv)) as vpn:
        # nothing listens there, and the server's kernel says so
        with pytest.raises(ConnectionRefusedError):
            await vpn.tcp(ocserv.gateway, 9, b"hello")


@pytest.mark.slow
async def test_half_a_minute_without_network_leads_to_the_session_level(wire: Cable, ocserv: Ocserv) -> None:
    async with connected(wire, options_for(ocserv, dpd=1.0, dtls=False), limit=100.0) as vpn:
        address = vpn.ip4
        with wire.block():
            assert (await vpn.next_event(Reconnecting)).level == "tunnel"
            assert (await vpn.next_event(Reconnecting)).level == "session"
        assert await vpn.next_event(Reconnected) == Reconnected("session", address)
        # ocserv may lose what arrives while it hands the address to its new worker
        assert (await vpn.ping(ocserv.gateway, count=4)).received >= 1
        assert [event.change for event in vpn.events if isinstance(event, AdapterChanged)] == ["routes"]


@pytest.mark.slow
def test_kernel_tun_through_an_outage(wire: Cable, ocserv: Ocserv, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n", "utf-8")
    command = (sys.executable, "-m", "client_emu", "connect", ocserv.url, "--user", "walter", "--json")
    flags = ("--password-file", str(password), "--pin", ocserv.pin, "--tun", "vpn8", "--dpd", "1")
    with Program(wire.client.command(*command, *flags), keep_stdin=True) as program:
        program.wait_for('"event": "dtls", "up": true')
        wire.client.ping(ocserv.gateway)
        with wire.block():
            program.wait_for('"event": "reconnecting", "level": "session"', limit=50.0)
            # the adapter and its address stay meanwhile
            first = json.loads(program.stdout.splitlines()[0])
            assert first["ip4"] in wire.client.run("ip", "addr", "show", "dev", "vpn8")
        program.wait_for('"event": "reconnected", "level": "session"', limit=30.0)
        wire.client.ping(ocserv.gateway, count=2, size=1200)
        program.write('{"do": "disconnect"}\n')
        assert program.wait() == 0
    assert "vpn8" not in wire.client.run("ip", "link", "show")
