"""openconnect's DTLS in every variant that the headend serves: PSK, the resumptions, Cisco's 0x0100."""

from collections.abc import Iterator

import pytest

from tests.peers.lab import GATEWAY, GATEWAY6, Lab, config, profile, serving, wait_until

pytestmark = pytest.mark.peer("openconnect")

TEXT = config(
    profile("lz4", webvpn=["!emu anyconnect compression oc-lz4"]),
    profile("lzs", webvpn=["anyconnect dtls compression lzs"]),
    profile("without", webvpn=["anyconnect ssl dtls none"]),
    profile("small", webvpn=["anyconnect mtu 1000"]),
    webvpn=["!emu dtls legacy-0100 enable"],
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with serving(TEXT) as made:
        yield made


@pytest.mark.parametrize(
    ("option", "gnutls", "protocol", "cipher"),
    [
        ("", "(DTLS1.2)-(PSK)-(AES-256-GCM)", "DTLSv1.2", "PSK-AES256-GCM-SHA384"),
        ("--dtls12-ciphers=AES256-GCM-SHA384", "(DTLS1.2)-(RSA)-(AES-256-GCM)", "DTLSv1.2", ...),
        ("--dtls12-ciphers=AES128-GCM-SHA256", "(DTLS1.2)-(RSA)-(AES-128-GCM)", "DTLSv1.2", ...),
        (
            "--dtls12-ciphers=ECDHE-RSA-AES256-GCM-SHA384",
            "(DTLS1.2)-(ECDHE-RSA)-(AES-256-GCM)",
            "DTLSv1.2",
            ...,
        ),
        (
            "--dtls12-ciphers=ECDHE-RSA-AES128-GCM-SHA256",
            "(DTLS1.2)-(ECDHE-RSA)-(AES-128-GCM)",
            "DTLSv1.2",
            ...,
        ),
        ("--dtls12-ciphers=AES256-SHA", "(DTLS1.2)-(RSA)-(AES-256-CBC)-(SHA1)", "DTLSv1.2", ...),
        ("--dtls12-ciphers=AES128-SHA", "(DTLS1.2)-(RSA)-(AES-128-CBC)-(SHA1)", "DTLSv1.2", ...),
        (
            "--dtls-ciphers=OC-DTLS1_2-AES256-GCM",
            "(DTLS1.2)-(RSA)-(AES-256-GCM)",
            "DTLSv1.2",
            "AES256-GCM-SHA384",
        ),
        (
            "--dtls-ciphers=OC-DTLS1_2-AES128-GCM",
            "(DTLS1.2)-(RSA)-(AES-128-GCM)",
            "DTLSv1.2",
            "AES128-GCM-SHA256",
        ),
        ("--dtls-ciphers=AES256-SHA", "(DTLS0.9)-(RSA)-(AES-256-CBC)-(SHA1)", "DTLSv0.9", ...),
        ("--dtls-ciphers=AES128-SHA", "(DTLS0.9)-(RSA)-(AES-128-CBC)-(SHA1)", "DTLSv0.9", ...),
    ],
    ids=lambda value: value.partition("=")[2] or None if isinstance(value, str) else "",
)
def test_suites(lab: Lab, user: str, option: str, gnutls: str, protocol: str, cipher: str | object) -> None:
    expected = option.partition("=")[2] if cipher is ... else cipher
    with lab.client(user, *([option] if option else [])) as client:
        assert client.wait_dtls() == gnutls
        mtu = int(client.tun.environment["INTERNAL_IP4_MTU"])
        client.ping(GATEWAY, count=1)
        client.ping(GATEWAY, count=1, size=mtu - 28)
        client.ping(GATEWAY6, count=1, size=mtu - 48)
        dtls, ssl = lab.tunnel(user, "dtls"), lab.tunnel(user, "ssl")
        assert dtls
        assert ssl
        assert (dtls["protocol"], dtls["cipher"]) == (protocol, expected)
        assert (dtls["pkts_rx"], dtls["pkts_tx"]) == (3, 3)
        assert dtls["bytes_rx"] == dtls["bytes_tx"] == 84 + 2 * mtu
        assert (dtls["drops_rx"], dtls["drops_tx"]) == (0, 0)
        assert (ssl["pkts_rx"], ssl["pkts_tx"]) == (0, 0)
        assert client.log_off() == 0
    wait_until(lambda: lab.sessions(user) == [])


def test_legacy_version_is_off_by_default(user: str) -> None:
    with serving(config()) as lab, lab.client(user, "--dtls-ciphers=AES256-SHA") as client:
        assert client.wait_connected().dtls != "connected"
        client.ping(GATEWAY, count=1)
        assert lab.tunnel(user, "dtls") is None
        ssl = lab.tunnel(user, "ssl")
        assert ssl
        assert ssl["pkts_rx"] == 1


def test_no_dtls_by_the_policy(lab: Lab, user: str) -> None:
    with lab.client(user, at="without") as client:
        assert client.wait_connected().dtls != "connected"
        client.ping(GATEWAY)
        assert [tunnel["kind"] for tunnel in lab.session(user)["tunnels"]] == ["parent", "ssl"]


def test_unknown_suites_leave_the_tunnel_on_tls(lab: Lab, user: str) -> None:
    with lab.client(user, "--dtls12-ciphers=NO-SUCH-SUITE") as client:
        assert client.wait_connected().dtls != "connected"
        client.ping(GATEWAY)
        assert lab.tunnel(user, "dtls") is None


def test_psk_over_tls_1_2(lab: Lab, user: str) -> None:
    with lab.client(user, "--gnutls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-DTLS1.2") as client:
        assert client.wait_dtls().startswith("(DTLS1.2)-(PSK)-")
        client.ping(GATEWAY)


@pytest.mark.parametrize("group", ["lz4", "lzs"])
@pytest.mark.parametrize("options", [(), ("--dtls12-ciphers=AES128-GCM-SHA256",)], ids=["psk", "resumption"])
def test_compression(lab: Lab, user: str, group: str, options: tuple[str, ...]) -> None:
    with lab.client(user, "-v", "-v", *options, at=group) as client:
        client.wait_dtls()
        for size in (56, 600, 1300, 700):
            client.ping(GATEWAY, count=1, size=size)
        client.wait_for("X-DTLS-Content-Encoding: ")
        client.wait_for("Received LZ[4S] compressed data packet of 1328 bytes")
        client.wait_for(r"Sent DTLS packet of 1328 bytes; DTLS send returned \d{2,3}$")
        dtls = lab.tunnel(user, "dtls")
        assert dtls
        assert (dtls["pkts_rx"], dtls["pkts_tx"], dtls["drops_rx"]) == (4, 4, 0)


def test_two_clients_over_dtls(lab: Lab, user: str) -> None:
    with lab.client(user) as one, lab.client(user, "--dtls12-ciphers=AES256-SHA") as other:
        one.wait_dtls()
        other.wait_dtls()
        for client in (one, other, one):
            client.ping(GATEWAY)
        kinds = [[tunnel["kind"] for tunnel in row["tunnels"]] for row in lab.sessions(user)]
        assert kinds == [["parent", "ssl", "dtls"]] * 2


def test_mtu_probe_is_answered_at_once(lab: Lab, user: str) -> None:
    with lab.client(user, "--disable-ipv6", at="small") as client:
        client.wait_dtls(limit=2)
        assert "No change in MTU after detection (was 1000)" in client.transcript()


def test_dtls_ids_are_used_once(lab: Lab, user: str) -> None:
    with lab.client(user) as client:
        client.wait_dtls()
        first = client.wait_for(r"X-DTLS-App-ID: (\w{64})")[1]
        mark = client.mark()
        client.reconnect()
        client.wait_dtls(after=mark)
        assert client.wait_for(r"X-DTLS-App-ID: (\w{64})", after=mark)[1] != first
        client.ping(GATEWAY)
        assert [tunnel["kind"] for tunnel in lab.session(user)["tunnels"]] == ["parent", "ssl", "dtls"]
