"""The TUN device against the kernel, in a network namespace of its own.

The device lives in a subprocess (this file, run as a script): worker threads of trio keep the namespace they
were born in, so the test process itself cannot be moved.
"""

import ipaddress
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from asa_emu.dataplane import Hub, InsideNetwork, Port
from asa_emu.serve.dispatcher import Dispatcher
from asa_emu.serve.uplink import TunUplink
from asa_emu.transport.tun import Tun, TunError, TunSettings
from tests.peers.netns import Namespace, namespace


async def _serve(wanted: dict[str, Any]) -> None:
    """Opens and configures a device, says how that went, and answers pings until stdin ends."""
    tun = Tun.open(wanted["name"])
    try:
        await tun.configure(
            TunSettings(
                mtu=wanted["mtu"],
                addresses=tuple(ipaddress.ip_interface(text) for text in wanted["addresses"]),
                routes=tuple(ipaddress.ip_network(text) for text in wanted["routes"]),
                bypass=tuple(ipaddress.ip_network(text) for text in wanted["bypass"]),
            )
        )
    except TunError as problem:
        print(f"failed {problem}", flush=True)
        return
    print(f"ready {tun.name}", flush=True)
    own = {address.version: address.ip.packed for address in map(ipaddress.ip_interface, wanted["addresses"])}
    port = Port(own.get(4, b""), own.get(6, b""), wanted["mtu"], deliver=tun.write)
    hub = Hub(InsideNetwork())
    hub.attach(port)

    async def answer() -> None:
        while True:
            await tun.wait_readable()
            hub.forward_packets(port, tun.drain(), start=0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        await trio.lowlevel.wait_readable(sys.stdin.fileno())
        nursery.cancel_scope.cancel()
    await tun.aclose()
    assert tun.fileno() == -1


@contextmanager
def _device(
    where: Namespace,
    *,
    name: str = "vpn%d",
    mtu: int = 1400,
    addresses: tuple[str, ...] = ("10.9.0.2/32", "fd09::2/128"),
    routes: tuple[str, ...] = (),
    bypass: tuple[str, ...] = (),
) -> Iterator[str]:
    """What the script said first, while it runs."""
    wanted = {"name": name, "mtu": mtu, "addresses": addresses, "routes": routes, "bypass": bypass}
    repository = Path(__file__).resolve().parents[3]
    script = subprocess.Popen(
        where.command(sys.executable, "-W", "error", "-X", "dev", __file__, json.dumps(wanted)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert script.stdin is not None and script.stdout is not None
    try:
        yield script.stdout.readline().strip()
    finally:
        script.stdin.close()
        code = script.wait(10)
        script.stdout.close()
        assert code == 0


@pytest.fixture
def where() -> Iterator[Namespace]:
    pytest.importorskip("pyroute2", reason="needs pyroute2 (extra tun)")
    with namespace("tun") as made:
        yield made


@pytest.mark.peer("netns", "tun", "ping")
def test_tun_carries_pings_of_both_families(where: Namespace) -> None:
    with _device(where, routes=("10.0.0.0/8", "fd00::/16")) as said:
        assert said == "ready vpn0"
        assert " nodad " in where.run("ip", "-6", "addr", "show", "dev", "vpn0", "scope", "global")
        where.ping("10.1.2.3")
        where.ping("10.1.2.3", size=3000)
        where.ping("fd00::1")
        where.ping("fd00::1", size=3000)
        link = json.loads(where.run("ip", "-j", "link", "show", "vpn0"))[0]
        assert link["mtu"] == 1400
    assert "vpn0" not in where.run("ip", "link")
    assert "10.0.0.0/8" not in where.run("ip", "route")


@pytest.mark.peer("netns", "tun", "ping")
def test_tun_default_route_spares_the_bypass_and_restores_everything(where: Namespace) -> None:
    where.run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "switch0")
    where.run("ip", "link", "set", "switch0", "up")
    where.run("ip", "addr", "add", "192.0.2.2/24", "dev", "lan0")
    where.run("ip", "link", "set", "lan0", "up")
    where.run("ip", "route", "add", "default", "via", "192.0.2.1")
    before = where.run("ip", "route")
    everything = ("0.0.0.0/0", "::/0")
    with _device(
        where, routes=everything, bypass=("198.51.100.7/32", "192.0.2.0/24", "127.0.0.1/32")
    ) as said:
        assert said == "ready vpn0"
        where.ping("203.0.113.1")
        assert "via 192.0.2.1 dev lan0" in where.run("ip", "route", "get", "198.51.100.7")
        assert "dev lan0" in where.run("ip", "route", "get", "192.0.2.9")
        assert "dev vpn0" in where.run("ip", "-6", "route", "get", "2001:db8::1")
    assert where.run("ip", "route") == before


@pytest.mark.peer("netns", "tun")
def test_tun_does_not_overwrite_a_route_of_the_machine(where: Namespace) -> None:
    where.run("ip", "route", "add", "10.0.0.0/8", "dev", "lo")
    with _device(where, routes=("10.0.0.0/8",)) as said:
        assert said == "failed vpn0: this machine has a route of its own to 10.0.0.0/8"
    assert "10.0.0.0/8 dev lo" in where.run("ip", "route")


@pytest.mark.peer("netns", "tun")
def test_tun_refuses_ipv6_below_its_least_mtu(where: Namespace) -> None:
    with _device(where, mtu=1200) as said:
        assert said == "failed IPv6 needs an MTU of 1280, vpn0 is to have 1200"


@pytest.mark.peer("netns", "tun")
def test_tun_attaches_to_a_persistent_device_and_refuses_a_taken_one(where: Namespace) -> None:
    where.run("ip", "tuntap", "add", "dev", "kept0", "mode", "tun")
    where.run("ip", "link", "set", "kept0", "up")
    with _device(where, name="kept0", routes=("10.0.0.0/8",)) as said:
        assert said == "ready kept0"
        with where.entered(), pytest.raises(TunError, match=r"kept0: .*busy"):
            Tun.open("kept0")
    with _device(where, name="kept0", routes=("10.0.0.0/8",)) as said:
        assert said == "ready kept0"


@pytest.mark.peer("netns", "tun")
def test_tun_counts_what_the_kernel_refuses(where: Namespace) -> None:
    with where.entered():
        tun = Tun.open("vpn0")
        try:
            tun.write(b"not a packet")
            assert tun.dropped == 1
            assert tun.drain() == []
        finally:
            tun.close()
            tun.close()


@pytest.mark.peer("netns", "tun")
def test_tun_that_was_deleted_says_so(where: Namespace) -> None:
    with where.entered():
        tun = Tun.open("vpn0")
        try:
            where.run("ip", "link", "del", "vpn0")
            with pytest.raises(TunError, match="TUN device vpn0 is gone"):
                tun.drain()
        finally:
            tun.close()


@pytest.mark.peer("netns", "tun")
async def test_uplink_that_was_deleted_is_heard_no_more(where: Namespace) -> None:
    batches: list[float] = []
    dispatcher = Dispatcher(lambda: batches.append(trio.current_time()))
    with where.entered():
        tun = Tun.open("vpn0")
        try:
            dispatcher.add(TunUplink(tun, Hub(), dispatcher))
            where.run("ip", "link", "del", "vpn0")
            with trio.move_on_after(0.1):
                await dispatcher.run()
            assert len(batches) == 1
        finally:
            tun.close()
            dispatcher.close()


def _exchange(where: Namespace, host: str, port: int, data: bytes) -> bytes:
    """What the host sends until it closes, while it is sent the data and then the end."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with where.entered():
        connection = socket.socket(family)
    with connection:
        connection.settimeout(10)
        connection.connect((host, port))
        received = bytearray()
        unsent = memoryview(data)
        while unsent:
            unsent = unsent[connection.send(unsent[:20_000]) :]
            if port == 7:
                received += connection.recv(65_536)
        connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(65_536):
            received += more
        return bytes(received)


@pytest.mark.peer("netns", "tun")
@pytest.mark.parametrize("host", ["10.1.2.3", "fd00::1"])
def test_tun_kernel_tcp_and_udp_talk_to_an_inside_host(where: Namespace, host: str) -> None:
    with _device(where, routes=("10.0.0.0/8", "fd00::/16")) as said:
        assert said == "ready vpn0"
        data = bytes(range(256)) * 1000
        assert _exchange(where, host, 7, data) == data
        assert _exchange(where, host, 9, data) == b""
        assert _exchange(where, host, 80, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 OK")
        with pytest.raises(ConnectionRefusedError):
            _exchange(where, host, 22, b"")
        with where.entered():
            asker = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        with asker:
            asker.settimeout(10)
            asker.connect((host, 7))
            asker.send(b"x" * 3000)
            assert asker.recv(4000) == b"x" * 3000
            asker.connect((host, 53))
            asker.send(b"no name server here")
            with pytest.raises(ConnectionRefusedError):
                asker.recv(100)


@pytest.mark.parametrize("name", ["", "sixteen-bytes-xx"])
def test_tun_name_is_checked_before_anything_is_opened(name: str) -> None:
    with pytest.raises(TunError, match="1 to 15 bytes"):
        Tun.open(name)


if __name__ == "__main__":
    trio.run(_serve, json.loads(sys.argv[1]))
