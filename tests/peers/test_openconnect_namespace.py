"""openconnect with a TUN device in a namespace, and between it and the headend a network that fails.

What only a kernel does is here: its ping, its fragments, its routes; connections that are reset, datagrams
that vanish.
"""

import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.peers.lab import GATEWAY, GATEWAY6, Lab, config, profile, serving, wait_until
from tests.peers.netns import Cable, Namespace, cable
from tests.peers.openconnect import Openconnect

pytestmark = pytest.mark.peer("openconnect", "netns", "tun", "iptables", "ping")

INSIDE_HOST, INSIDE_HOST6 = "10.99.0.254", "fd00:99::beef:1"
PORT = 443
SPLIT = ("split-tunnel-policy tunnelspecified", "split-tunnel-network-list value LAB")

TEXT = config(
    "access-list LAB standard permit 10.99.0.0 255.255.255.0\n",
    "access-list LAB standard permit 203.0.113.0 255.255.255.0\n",
    profile("split", *SPLIT),
    profile("small", webvpn=["anyconnect mtu 900"]),
    profile(
        "nervous",
        *SPLIT,
        webvpn=[
            "!emu anyconnect dpd-interval client 2s",
            "!emu anyconnect dpd-interval gateway 1s",
        ],
    ),
    profile(
        "blind",
        *SPLIT,
        webvpn=["!emu anyconnect dpd-interval client 2s", "anyconnect dpd-interval gateway none"],
    ),
)


@pytest.fixture(scope="module")
def wire() -> Iterator[Cable]:
    with cable() as made:
        yield made


@pytest.fixture(scope="module")
def lab(wire: Cable) -> Iterator[Lab]:
    with serving(TEXT, where=wire.server, listen=f"{wire.server_address}:{PORT}") as made:
        yield made


@contextlib.contextmanager
def connected(
    lab: Lab, wire: Cable, user: str, *options: str, at: str = "split", url: str | None = None
) -> Iterator[Openconnect]:
    """A client on a TUN device; at `split` all but the lab stays outside of its tunnel."""
    with lab.client(user, *options, at=at, url=url, tunnel="kernel", where=wire.client) as client:
        client.wait_connected()
        if "--no-dtls" not in options:
            client.wait_dtls()
        yield client


def kinds(lab: Lab, user: str) -> list[str]:
    return [tunnel["kind"] for tunnel in lab.session(user)["tunnels"]]


def pings(where: Namespace, address: str) -> bool:
    """Whether a single echo comes back within a moment."""
    command = where.command("ping", "-n", "-q", "-c", "1", "-W", "0.2", address)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("options", [(), ("--no-dtls",)], ids=["dtls", "tls"])
def test_kernel_ping(lab: Lab, wire: Cable, user: str, options: tuple[str, ...]) -> None:
    with connected(lab, wire, user, *options) as client:
        for address in (GATEWAY, INSIDE_HOST, GATEWAY6, INSIDE_HOST6):
            client.ping(address, count=2)
        carrier = lab.tunnel(user, "ssl" if options else "dtls")
        assert carrier
        assert carrier["pkts_tx"] == 8
        assert carrier["drops_tx"] == 0


@pytest.mark.parametrize("options", [(), ("--no-dtls",)], ids=["dtls", "tls"])
def test_large_pings_in_fragments(lab: Lab, wire: Cable, user: str, options: tuple[str, ...]) -> None:
    with connected(lab, wire, user, *options) as client:
        for size in (3000, 8000):
            client.ping(GATEWAY, count=2, size=size)
            client.ping(INSIDE_HOST6, count=2, size=size)


def test_mtu_of_the_device(lab: Lab, wire: Cable, user: str) -> None:
    with connected(lab, wire, user) as client:
        mtu = int(client.script_calls()[-1]["INTERNAL_IP4_MTU"])
        # 1500 less IP, UDP, the AES-GCM record and the type: more than the default `anyconnect mtu` allows
        assert mtu <= 1406
        assert f"mtu {mtu}" in wire.client.run("ip", "link", "show", "vpn0")
        wire.client.ping(GATEWAY, count=1, size=mtu - 28, options=("-M", "do"))
        with pytest.raises(AssertionError):
            wire.client.ping(GATEWAY, count=1, size=mtu - 27, options=("-M", "do"))
    with connected(lab, wire, user, at="small") as client:
        assert client.script_calls()[-1]["INTERNAL_IP4_MTU"] == "900"
        # IPv6 needs links of 1280 bytes; the kernel would not take an address
        assert lab.session(user)["assigned_ip6"] is None
        client.ping(GATEWAY, count=1, size=3000)


def test_full_tunnel_and_inside_hosts(lab: Lab, wire: Cable, user: str) -> None:
    address = f"{wire.server_address}/32"
    route = ("dev", wire.client_device)
    wire.client.run("ip", "route", "replace", address, *route)
    try:
        with connected(lab, wire, user, at="") as client:
            assert "CISCO_SPLIT_INC" not in client.script_calls()[-1]
            client.ping("198.51.100.77", count=1)
            client.ping("2001:db8:ffff::77", count=1)
    finally:
        wire.client.run("ip", "route", "del", address, *route)


def test_headend_over_ipv6(wire: Cable, user: str) -> None:
    with (
        serving(TEXT, where=wire.server, listen="[::]:4443") as lab,
        connected(lab, wire, user, url=f"https://[{wire.server_address6}]:4443/split") as client,
    ):
        client.ping(GATEWAY)
        client.ping(GATEWAY6, size=1300)
        assert lab.session(user)["public_ip"] == wire.client_address6
        url = f"https://{wire.server_address}:4443/split"
        with lab.client("user998", url=url, where=wire.client) as other:
            other.wait_dtls()
            other.ping(GATEWAY)
            assert lab.session("user998")["public_ip"] == wire.client_address


@pytest.mark.parametrize("options", [(), ("--no-dtls",)], ids=["dtls", "tls"])
def test_killed_tcp_comes_back_with_the_same_address(
    lab: Lab, wire: Cable, user: str, options: tuple[str, ...]
) -> None:
    with connected(lab, wire, user, *options) as client:
        before = lab.session(user)
        mark = client.mark()
        wire.reset_connections(PORT)
        client.wait_for("Got CONNECT response: HTTP/1.1 200", after=mark)
        wait_until(lambda: pings(wire.client, GATEWAY))
        after = lab.session(user)
        for key in ("index", "assigned_ip", "assigned_ip6", "login_time"):
            assert after[key] == before[key]
        assert lab.session(user)["state"] == "active"
        assert client.script_calls()[-1]["reason"] == "reconnect"


@pytest.mark.parametrize("group", ["nervous", "blind"])
def test_black_holed_udp_falls_back_to_tls_and_returns(lab: Lab, wire: Cable, user: str, group: str) -> None:
    """With `blind` the headend has no dead-peer detection: it follows its client to TLS all the same."""
    with connected(lab, wire, user, at=group) as client:
        before = lab.session(user)
        mark = client.mark()
        with wire.block("udp", PORT):
            client.wait_for("DTLS Dead Peer Detection detected dead peer", after=mark)
            client.ping(GATEWAY, count=2)
            ssl = lab.tunnel(user, "ssl")
            assert ssl
            assert (ssl["pkts_rx"], ssl["pkts_tx"]) == (2, 2)
            if group == "nervous":
                wait_until(lambda: kinds(lab, user) == ["parent", "ssl"])
            assert lab.session(user)["state"] == "active"
        client.wait_dtls(after=mark, limit=30)
        client.ping(GATEWAY, count=2)
        dtls = lab.tunnel(user, "dtls")
        assert dtls
        assert (dtls["pkts_rx"], dtls["pkts_tx"]) == (2, 2)
        after = lab.session(user)
        assert (after["index"], after["assigned_ip"]) == (before["index"], before["assigned_ip"])


def test_client_that_moves_comes_back_from_its_new_address(lab: Lab, wire: Cable, user: str) -> None:
    with connected(lab, wire, user, at="nervous") as client:
        before = lab.session(user)
        assert before["public_ip"] == wire.client_address
        mark = client.mark()
        wire.move_client("192.0.2.99")
        try:
            client.wait_for("Got CONNECT response: HTTP/1.1 200", after=mark)
            # DTLS may come back before TLS, with the former id, and then once more
            wait_until(lambda: pings(wire.client, GATEWAY))
            wait_until(lambda: kinds(lab, user) == ["parent", "ssl", "dtls"])
            after = lab.session(user)
            assert after["public_ip"] == "192.0.2.99"
            for key in ("index", "assigned_ip", "assigned_ip6", "login_time"):
                assert after[key] == before[key]
        finally:
            wire.move_client(wire.client_address)


def test_kernels_of_two_clients_reach_each_other(lab: Lab, wire: Cable, user: str) -> None:
    # The second client lives beside the headend, whose inside network is not that kernel's business.
    with (
        connected(lab, wire, user) as one,
        lab.client(user, at="split", tunnel="kernel", where=wire.server, device="vpn1") as other,
    ):
        other.wait_dtls()
        first, second = one.wait_connected(), other.wait_connected()
        for client, peer in ((one, second), (other, first)):
            assert peer.ip4
            assert peer.ip6
            client.ping(peer.ip4)
            client.ping(peer.ip4, count=1, size=3000)
            client.ping(peer.ip6, count=1)


def test_kernel_as_the_inside_network(wire: Cable, user: str) -> None:
    inside = (
        "interface GigabitEthernet0/1\n nameif inside\n security-level 100\n"
        " ip address 10.99.0.1 255.255.255.0\n ipv6 address fd00:99::1/64\n"
    )
    with (
        serving(
            TEXT + inside, where=wire.server, listen=f"{wire.server_address}:4444", options=["--tun", "asa0"]
        ) as lab,
        connected(lab, wire, user) as client,
    ):
        client.ping(GATEWAY)
        client.ping(GATEWAY, count=1, size=3000)
        client.ping(GATEWAY6, count=1)
        configured = client.wait_connected()
        assert configured.ip4
        assert configured.ip6
        # and from the inside to the client
        wire.server.ping(configured.ip4)
        wire.server.ping(configured.ip6, count=1, size=1300)
        dtls = lab.tunnel(user, "dtls")
        assert dtls
        assert dtls["pkts_tx"] >= 9
