"""What goes through a tunnel of openconnect, and what the headend tells it: addresses, routes, limits."""

import urllib.parse
from collections.abc import Iterator

import pytest

from tests.peers.lab import GATEWAY, GATEWAY6, Lab, config, profile, serving
from tests.peers.openconnect import Openconnect
from tests.peers.tunpipe import echo_request

pytestmark = pytest.mark.peer("openconnect")

TEXT = config(
    "ip local pool TINY 10.98.0.10-10.98.0.10 mask 255.255.255.0\n",
    "access-list INCLUDE standard permit 10.99.0.0 255.255.255.0\n",
    "access-list INCLUDE standard permit host 203.0.113.7\n",
    "access-list EXCLUDE standard permit host 0.0.0.0\n",
    "access-list EXCLUDE standard permit 198.51.100.0 255.255.255.0\n",
    "access-list BOTH extended permit ip 192.0.2.0 255.255.255.0 any\n",
    "access-list BOTH extended permit ip 2001:db8:5::/48 any\n",
    "access-list BOTH extended deny ip host 2001:db8:5::9 any\n",
    profile(
        "include",
        "split-tunnel-policy tunnelspecified",
        "split-tunnel-network-list value INCLUDE",
        "dns-server value 10.99.0.53 10.99.0.54",
        "wins-server value 10.99.0.55",
        "split-dns value corp.example.test lab.example.test",
        "default-domain value example.test",
        "banner value Welcome to the lab: 100% legal.",
        "banner value Second line, mit Umlaut ä.",
    ),
    profile("exclude", "split-tunnel-policy excludespecified", "split-tunnel-network-list value EXCLUDE"),
    profile(
        "both",
        "split-tunnel-policy tunnelspecified",
        "ipv6-split-tunnel-policy tunnelspecified",
        "split-tunnel-network-list value BOTH",
    ),
    profile("small", webvpn=["anyconnect mtu 1000"]),
    profile("timers", "vpn-session-timeout 60", "vpn-idle-timeout 10"),
    profile("tiny", "address-pools value TINY", "ipv6-address-pools none"),
    profile("lz4", webvpn=["!emu anyconnect compression oc-lz4"]),
    profile("lzs", webvpn=["anyconnect ssl compression lzs", "anyconnect dtls compression lzs"]),
    profile("deflate", webvpn=["anyconnect ssl compression deflate"]),
    "username framed password secret\n"
    "username framed attributes\n"
    " vpn-framed-ip-address 10.99.0.251 255.255.255.0\n",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with serving(TEXT) as made:
        yield made


def arriving(client: Openconnect) -> bytes:
    """The next packet out of the tunnel."""
    packet = client.tun.receive()
    assert packet, client.transcript()
    return packet


def test_tls_only_by_the_clients_wish(lab: Lab, user: str) -> None:
    with lab.client(user, "--no-dtls") as client:
        assert client.wait_connected().dtls == "disabled"
        client.ping(GATEWAY, count=2)
        client.ping(GATEWAY, count=1, size=1200)
        assert lab.tunnel(user, "dtls") is None
        ssl = lab.tunnel(user, "ssl")
        assert ssl
        assert ssl["protocol"] == "TLSv1.3"
        assert ssl["cipher"] == "TLS_AES_256_GCM_SHA384"
        assert (ssl["pkts_rx"], ssl["pkts_tx"]) == (3, 3)
        assert ssl["bytes_rx"] == ssl["bytes_tx"] == 84 * 2 + 1228
        assert (ssl["drops_rx"], ssl["drops_tx"]) == (0, 0)


def test_tls_only_by_configuration(user: str) -> None:
    with serving(config().replace("enable outside", "enable outside tls-only")) as lab:
        assert lab.headend.dtls is None
        with lab.client(user) as client:
            assert client.wait_connected().dtls == "disabled"
            client.ping(GATEWAY)
            assert [tunnel["kind"] for tunnel in lab.session(user)["tunnels"]] == ["parent", "ssl"]


def test_tls_1_2(lab: Lab, user: str) -> None:
    priority = "--gnutls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2"
    with lab.client(user, priority) as client:
        client.wait_dtls()
        client.ping(GATEWAY)
        ssl = lab.tunnel(user, "ssl")
        assert ssl
        assert (ssl["protocol"], ssl["cipher"]) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")


def test_tunnels_and_the_session_that_holds_them(lab: Lab, user: str) -> None:
    with lab.client(user) as client:
        configured = client.wait_connected()
        client.wait_dtls()
        client.ping(GATEWAY, count=1)
        session = lab.session(user)
        index = session["index"]
        assert [tunnel["id"] for tunnel in session["tunnels"]] == [f"{index}.{n}" for n in (1, 2, 3)]
        assert [tunnel["kind"] for tunnel in session["tunnels"]] == ["parent", "ssl", "dtls"]
        assert session["assigned_ip"] == configured.ip4 == client.tun.address(4)
        assert session["assigned_ip6"] == configured.ip6 == client.tun.address(6)
        dtls = lab.tunnel(user, "dtls")
        assert dtls
        assert dtls["pkts_rx"] == 1
        assert dtls["idle_left"] == pytest.approx(1800, abs=2)


def test_ipv6_inside(lab: Lab, user: str) -> None:
    with lab.client(user) as client:
        client.wait_dtls()
        client.ping(GATEWAY6, count=2)
        client.ping("fd00:99::dead:1")  # any host that nobody has been given answers
    with lab.client(user, "--disable-ipv6") as client:
        assert client.wait_connected().ip6 is None
        assert lab.session(user)["assigned_ip6"] is None
        client.ping(GATEWAY)


def test_two_clients_reach_each_other(lab: Lab, user: str) -> None:
    with lab.client(user) as one, lab.client(user, "--no-dtls") as other:
        one.wait_dtls()
        first, second = one.wait_connected(), other.wait_connected()
        assert first.ip4
        assert second.ip4
        assert first.ip6
        # The user-space tunnel end answers no pings itself; what arrives there is compared.
        for source, target, there in ((one, second, other), (other, first, one)):
            assert target.ip4
            packet = echo_request(source.tun.address(4), target.ip4, 7, b"between clients")
            source.tun.send(packet)
            assert arriving(there)[20:] == packet[20:]
        packet = echo_request(other.tun.address(6), first.ip6, 8, b"six")
        other.tun.send(packet)
        assert arriving(one)[40:] == packet[40:]


def test_routes_and_names_of_a_split_tunnel(lab: Lab, user: str) -> None:
    with lab.client(user, at="include") as client:
        client.wait_connected()
        told = client.tun.environment
        networks = {
            (told[f"CISCO_SPLIT_INC_{n}_ADDR"], told[f"CISCO_SPLIT_INC_{n}_MASK"])
            for n in range(int(told["CISCO_SPLIT_INC"]))
        }
        assert networks == {("10.99.0.0", "255.255.255.0"), ("203.0.113.7", "255.255.255.255")}
        assert told["INTERNAL_IP4_DNS"] == "10.99.0.53 10.99.0.54"
        assert told["INTERNAL_IP4_NBNS"] == "10.99.0.55"
        assert told["CISCO_DEF_DOMAIN"] == "example.test"
        assert set(told["CISCO_SPLIT_DNS"].split(",")) == {"corp.example.test", "lab.example.test"}
        assert told["INTERNAL_IP4_NETMASK"] == "255.255.255.0"
        client.ping(GATEWAY)


def test_banner(lab: Lab, user: str) -> None:
    with lab.client(user, at="include") as client:
        client.wait_connected()
        # A header is one line: openconnect gives it to the script as it came.
        told = urllib.parse.unquote(client.tun.environment["CISCO_BANNER"])
        assert told == "Welcome to the lab: 100% legal.\nSecond line, mit Umlaut ä."


def test_excluded_networks(lab: Lab, user: str) -> None:
    with lab.client(user, at="exclude") as client:
        client.wait_connected()
        told = client.tun.environment
        excluded = {
            (told[f"CISCO_SPLIT_EXC_{n}_ADDR"], told[f"CISCO_SPLIT_EXC_{n}_MASK"])
            for n in range(int(told["CISCO_SPLIT_EXC"]))
        }
        assert excluded == {("0.0.0.0", "255.255.255.255"), ("198.51.100.0", "255.255.255.0")}
        assert "CISCO_SPLIT_INC" not in told


def test_split_tunnel_of_both_families(lab: Lab, user: str) -> None:
    with lab.client(user, at="both") as client:
        client.wait_connected()
        told = client.tun.environment
        assert told["CISCO_SPLIT_INC_0_ADDR"] == "192.0.2.0"
        assert told["CISCO_IPV6_SPLIT_INC_0_ADDR"] == "2001:db8:5::"
        assert told["CISCO_IPV6_SPLIT_INC_0_MASKLEN"] == "48"
        assert told["CISCO_IPV6_SPLIT_EXC_0_ADDR"] == "2001:db8:5::9"
        assert told["CISCO_IPV6_SPLIT_EXC_0_MASKLEN"] == "128"


def test_mtu_of_the_policy_and_of_the_path(lab: Lab, user: str) -> None:
    with lab.client(user, "--disable-ipv6", at="small") as client:
        client.wait_connected()
        assert client.tun.environment["INTERNAL_IP4_MTU"] == "1000"
        client.wait_dtls()
        client.ping(GATEWAY, size=972)
    with lab.client(user, "--base-mtu=1300") as client:
        client.wait_connected()
        # 20 for IP, 8 for UDP, 37 for an AES-GCM record, 1 for the type
        assert int(client.tun.environment["INTERNAL_IP4_MTU"]) <= 1300 - 20 - 8 - 37 - 1


def test_packets_above_the_mtu_come_in_fragments(lab: Lab, user: str) -> None:
    with lab.client(user, "--no-dtls") as large, lab.client(user, "--disable-ipv6", at="small") as small:
        large.wait_connected()
        small.wait_dtls()
        packet = echo_request(large.tun.address(4), small.tun.address(4), 1, bytes(1300))
        large.tun.send(packet)
        parts = [arriving(small), arriving(small)]
        assert all(len(part) <= 1000 for part in parts)
        assert b"".join(part[20:] for part in parts) == packet[20:]
        # with DF the sender hears what would fit instead: type 3, code 4, next-hop MTU
        large.tun.send(packet[:6] + b"\x40" + packet[7:10] + b"\0\0" + packet[12:])
        answer = arriving(large)
        assert (answer[20], answer[21], int.from_bytes(answer[26:28])) == (3, 4, 1000)


@pytest.mark.parametrize(
    ("group", "options"),
    [("lz4", ()), ("lzs", ()), ("deflate", ("--deflate",))],
    ids=["oc-lz4", "lzs", "deflate"],
)
def test_compression_on_tls(lab: Lab, user: str, group: str, options: tuple[str, ...]) -> None:
    with lab.client(user, "-v", "-v", "--no-dtls", *options, at=group) as client:
        client.wait_connected()
        for size in (56, 600, 1300, 700):
            client.ping(GATEWAY, count=1, size=size)
        client.wait_for("Sending compressed data packet")
        client.wait_for("Received .* compressed data packet")
        ssl = lab.tunnel(user, "ssl")
        assert ssl
        assert (ssl["pkts_rx"], ssl["pkts_tx"], ssl["drops_rx"]) == (4, 4, 0)


def test_no_compression_unless_both_want_it(lab: Lab, user: str) -> None:
    with lab.client(user, "-v", "-v", "--no-dtls") as client:
        client.wait_connected()
        client.ping(GATEWAY, size=1000)
        assert "Content-Encoding" not in client.transcript()
        assert " compressed data packet" not in client.transcript()
    with lab.client(user, "--no-deflate", "--no-dtls", at="lz4") as client:
        client.wait_connected()
        client.ping(GATEWAY, size=1000)
        assert "Content-Encoding" not in client.transcript()


def test_spoofed_packets_are_dropped_and_counted(lab: Lab, user: str) -> None:
    with lab.client(user, "--no-dtls") as client:
        client.wait_connected()
        client.tun.send(echo_request("10.99.0.200", GATEWAY, 1, b"not mine"))
        client.tun.send(echo_request("fd00:99::bad", GATEWAY6, 1, b"not mine"))
        assert client.tun.receive(0.1) is None
        client.ping(GATEWAY)
        ssl = lab.tunnel(user, "ssl")
        assert ssl
        assert (ssl["drops_rx"], ssl["pkts_rx"]) == (2, 3)
    with lab.client(user) as client:
        client.wait_dtls()
        client.tun.send(echo_request("10.99.0.200", GATEWAY, 1, b"not mine"))
        client.ping(GATEWAY)
        dtls = lab.tunnel(user, "dtls")
        assert dtls
        assert (dtls["drops_rx"], dtls["pkts_rx"]) == (1, 3)


def test_full_pool_refuses_and_harms_nobody(lab: Lab, user: str) -> None:
    with lab.client(user, at="tiny") as holder:
        assert holder.wait_connected().ip4 == "10.98.0.10"
        with lab.client(user, at="tiny") as refused:
            assert refused.wait() == 1
            refused.wait_for("VPN service unavailable; reason: No address available")
        holder.ping(GATEWAY)
        assert holder.log_off() == 0
    with lab.client(user, at="tiny") as admitted:
        assert admitted.wait_connected().ip4 == "10.98.0.10"


def test_framed_address(lab: Lab) -> None:
    with lab.client("framed") as client:
        assert client.wait_connected().ip4 == "10.99.0.251"
        client.ping(GATEWAY)


def test_logoff_by_the_administrator_is_told(lab: Lab, user: str) -> None:
    with lab.client(user) as client:
        client.wait_dtls()
        assert lab.logoff(name=user) == 1
        assert client.wait() == 1
        client.wait_for("Received server disconnect: b0 'Administrator Reset'")
    assert lab.sessions(user) == []


def test_idle_and_session_timeouts_are_told(user: str) -> None:
    with serving(TEXT) as lab:
        with lab.client(user, at="timers") as client:
            client.wait_dtls()
            client.ping(GATEWAY)
            assert "X-CSTP-Idle-Timeout: 600" in client.transcript()
            lab.advance(601)
            assert client.wait() == 1
            client.wait_for("Received server disconnect: b0 'Idle Timeout'")
            assert lab.sessions(user) == []
        with lab.client(user, at="timers") as client:
            client.wait_dtls()
            assert "X-CSTP-Session-Timeout: 3600" in client.transcript()
            lab.advance(3601)
            assert client.wait() == 1
            client.wait_for("Received server disconnect: b0 'Max time exceeded'")
            assert lab.sessions(user) == []


def test_stopping_headend_tells_its_clients(user: str) -> None:
    with serving(config()) as lab:
        client = lab.client(user)
        client.wait_dtls()
    with client:
        assert client.wait() == 1
        client.wait_for("Received server disconnect: b0")


def test_two_headends_side_by_side(lab: Lab, user: str) -> None:
    with serving(config()) as second, lab.client(user) as here, second.client(user) as there:
        here.wait_dtls()
        there.wait_dtls()
        here.ping(GATEWAY)
        there.ping(GATEWAY)
        assert len(lab.sessions(user)) == len(second.sessions(user)) == 1


@pytest.mark.parametrize("listen", ["[::1]:0", "[::]:0"])
def test_headend_on_ipv6(user: str, listen: str) -> None:
    # On all addresses the built-in password is refused; these credentials are the test's own.
    with serving(config(), listen=listen) as lab:
        where = f"https://[::1]:{lab.headend.port}"
        with lab.client(user, url=where) as client:
            client.wait_dtls()
            client.ping(GATEWAY)
            client.ping(GATEWAY6)
            assert lab.session(user)["public_ip"] == "::1"
            assert lab.tunnel(user, "dtls")
        if listen == "[::]:0":
            with lab.client(user, url=f"https://127.0.0.1:{lab.headend.port}") as client:
                client.wait_dtls()
                client.ping(GATEWAY)
                assert lab.session(user)["public_ip"] == "127.0.0.1"
