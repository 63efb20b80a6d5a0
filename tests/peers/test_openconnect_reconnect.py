"""openconnect leaves and comes back: with its token, to the same session and address, or not at all."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers.lab import GATEWAY, GATEWAY6, PASSWORD, Lab, config, profile, serving, wait_until
from tests.peers.openconnect import authenticate

pytestmark = pytest.mark.peer("openconnect")

TLS_1_2 = "--gnutls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-DTLS1.2"

TEXT = config(
    profile("rekey", webvpn=["!emu anyconnect ssl rekey time 2s", "anyconnect ssl rekey method new-tunnel"]),
    profile("rekey-ssl", webvpn=["!emu anyconnect ssl rekey time 1s", "anyconnect ssl rekey method ssl"]),
    profile(
        "rekey-tls",
        webvpn=[
            "!emu anyconnect ssl rekey time 1s",
            "anyconnect ssl rekey method ssl",
            "anyconnect ssl dtls none",
        ],
    ),
    profile("asking", webvpn=["!emu anyconnect dpd-interval gateway 1s", "anyconnect ssl keepalive none"]),
    profile("keeping", webvpn=["!emu anyconnect ssl keepalive 1s", "anyconnect dpd-interval gateway none"]),
    profile("patient", "!emu disconnected-timeout 90s"),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with serving(TEXT) as made:
        yield made


def cookie_of(lab: Lab, user: str, at: str = "") -> str:
    url = f"{lab.headend.url}/{at}".rstrip("/")
    return authenticate(url, pin=lab.headend.pin, user=user, passwords=[PASSWORD])["COOKIE"]


def identity(session: dict[str, Any]) -> tuple[Any, ...]:
    """What a reconnect must not change."""
    return tuple(session[key] for key in ("index", "assigned_ip", "assigned_ip6", "login_time", "user"))


def wait_reconnected(lab: Lab, user: str, before: dict[str, Any]) -> dict[str, Any]:
    """The session once it has another SSL tunnel than `before`."""

    def reconnected() -> dict[str, Any] | None:
        now = lab.session(user)
        fresh = [tunnel["id"] for tunnel in now["tunnels"] if tunnel["kind"] == "ssl"]
        return now if fresh and fresh[0] not in {tunnel["id"] for tunnel in before["tunnels"]} else None

    after = wait_until(reconnected)
    assert after
    return after


def test_sighup_detaches_and_the_cookie_resumes(lab: Lab, user: str) -> None:
    cookie = cookie_of(lab, user)
    with lab.holder(cookie) as client:
        client.wait_dtls()
        client.ping(GATEWAY)
        before = lab.session(user)
        assert client.detach() == 0
    wait_until(lambda: lab.session(user)["state"] == "inactive")
    waiting = lab.session(user)
    assert identity(waiting) == identity(before)
    assert lab.tunnel(user, "ssl") is None
    with lab.holder(cookie) as client:
        assert client.wait_connected().ip4 == before["assigned_ip"]
        client.wait_dtls()
        client.ping(GATEWAY)
        after = lab.session(user)
        assert after["state"] == "active"
        assert after["inactivity"] == 0
        assert identity(after) == identity(before)
        # numbers go on, and so do the session's counters
        numbers = [int(tunnel["id"].partition(".")[2]) for tunnel in after["tunnels"]]
        assert numbers == [1, 4, 5]
        assert after["pkts_rx"] == 6
        assert client.log_off() == 0
    wait_until(lambda: lab.sessions(user) == [])


def test_sigint_logs_off_and_kills_the_token(lab: Lab, user: str) -> None:
    cookie = cookie_of(lab, user)
    with lab.holder(cookie) as client:
        client.wait_connected()
        assert client.log_off() == 0
    wait_until(lambda: lab.sessions(user) == [])
    with lab.holder(cookie) as client:
        assert client.wait() == 2
        client.wait_for("Cookie was rejected by server")


@pytest.mark.parametrize(
    "options",
    [(), ("--no-dtls",), ("--dtls12-ciphers=AES256-GCM-SHA384",), ("--disable-ipv6",)],
    ids=["psk", "tls", "resumption", "ipv4"],
)
def test_sigusr2_keeps_the_address(lab: Lab, user: str, options: tuple[str, ...]) -> None:
    with lab.client(user, *options) as client:
        client.wait_connected()
        before = lab.session(user)
        for _ in range(2):
            mark = client.mark()
            client.reconnect()
            client.wait_for("Got CONNECT response: HTTP/1.1 200", after=mark)
            if "--no-dtls" not in options:
                client.wait_dtls(after=mark)
            after = wait_reconnected(lab, user, before)
            assert identity(after) == identity(before)
            wait_until(lambda: client.tun.ping(GATEWAY, limit=0.2))
            before = after
        assert "gave different" not in client.transcript()


def test_lost_session_ends_a_reconnecting_client(lab: Lab, user: str) -> None:
    with lab.client(user) as client:
        client.wait_connected()
        client.send_signal(signal.SIGSTOP)
        assert lab.logoff(name=user) == 1
        client.reconnect()
        client.send_signal(signal.SIGCONT)
        assert client.wait() in (1, 2)  # by the DISCONNECT it finds, or by the 401 that follows
    wait_until(lambda: lab.sessions(user) == [])


def test_dead_peer_detection_by_the_client_is_answered(lab: Lab, user: str) -> None:
    with lab.client(user, "-v", "-v", "--force-dpd=1") as client:
        client.wait_dtls()
        client.wait_for("Send CSTP DPD|Got CSTP DPD response")
        client.wait_for("Got CSTP DPD response")
        client.wait_for("Got DTLS DPD response")
        client.ping(GATEWAY)
        assert len(lab.session(user)["tunnels"]) == 3


@pytest.mark.parametrize(("group", "sign"), [("asking", "DPD request"), ("keeping", "Keepalive")])
def test_headend_asks_and_keeps_alive(lab: Lab, user: str, group: str, sign: str) -> None:
    with lab.client(user, "-v", "-v", at=group) as client:
        client.wait_dtls()
        client.wait_for(f"Got CSTP {sign}")
        client.wait_for(f"Got DTLS {sign}")
        # none of that is use, nor is the client's answer
        for kind in ("ssl", "dtls"):
            tunnel = lab.tunnel(user, kind)
            assert tunnel
            assert (tunnel["pkts_rx"], tunnel["pkts_tx"]) == (0, 0)
            assert tunnel["idle_left"] < 1800 - 0.9


def test_gateway_gives_a_dead_client_up_and_takes_it_back(user: str) -> None:
    with serving(TEXT) as lab, lab.client(user) as client:
        client.wait_dtls()
        before = lab.session(user)
        client.send_signal(signal.SIGSTOP)
        for _ in range(5):  # four probes, and the interval after the last
            lab.advance(31)
        gone = lab.session(user)
        assert [tunnel["kind"] for tunnel in gone["tunnels"]] == ["parent"]
        assert gone["state"] == "inactive"
        mark = client.mark()
        client.send_signal(signal.SIGCONT)
        client.wait_dtls(after=mark)
        after = wait_reconnected(lab, user, before)
        assert identity(after) == identity(before)
        client.ping(GATEWAY)


def test_disconnected_timeout_ends_the_wait(user: str) -> None:
    with serving(TEXT) as lab:
        cookie = cookie_of(lab, user, "patient")
        for away in (80, 91):
            with lab.holder(cookie) as client:
                client.wait_connected()
                assert client.detach() == 0
            wait_until(lambda: lab.session(user)["state"] == "inactive")
            lab.advance(away)
        assert lab.sessions(user) == []
        with lab.holder(cookie) as late:
            assert late.wait() == 2


@pytest.mark.parametrize("options", [(), (TLS_1_2,)], ids=["tls1.3", "tls1.2"])
def test_rekey_by_a_new_tunnel_keeps_the_address(lab: Lab, user: str, options: tuple[str, ...]) -> None:
    with lab.client(user, *options, at="rekey") as client:
        client.wait_dtls()
        client.wait_for("X-CSTP-Rekey-Method: new-tunnel")
        before = lab.session(user)
        mark = client.mark()
        client.wait_for("Got CONNECT response: HTTP/1.1 200", after=mark)
        client.wait_dtls(after=mark)
        after = wait_reconnected(lab, user, before)
        assert identity(after) == identity(before)
        client.ping(GATEWAY)
        client.ping(GATEWAY6)


def test_rekey_inside_tls_1_3_needs_no_reconnect(lab: Lab, user: str) -> None:
    with lab.client(user, "-v", "-v", at="rekey-tls") as client:
        client.wait_connected()
        client.wait_for("X-CSTP-Rekey-Method: ssl")
        before = lab.session(user)
        client.wait_for("CSTP rekey due")
        client.ping(GATEWAY)
        mark = client.mark()
        client.wait_for("CSTP rekey due", after=mark)
        client.ping(GATEWAY)
        assert [tunnel["id"] for tunnel in lab.session(user)["tunnels"]] == [
            tunnel["id"] for tunnel in before["tunnels"]
        ]
        assert client.transcript().count("Got CONNECT response") == 1


def test_rekey_inside_tls_1_2_becomes_a_new_tunnel(lab: Lab, user: str) -> None:
    """OpenSSL refuses a renegotiation by the client, so the method that works is offered instead."""
    with lab.client(user, TLS_1_2, at="rekey-tls") as client:
        client.wait_for("X-CSTP-Rekey-Method: new-tunnel")
        client.wait_connected()
        before = lab.session(user)
        assert identity(wait_reconnected(lab, user, before)) == identity(before)


def test_rekey_inside_tls_leaves_dtls_alone(lab: Lab, user: str) -> None:
    """A renegotiation of DTLS is not offered, and openconnect makes nothing of the other method."""
    with lab.client(user, at="rekey-ssl") as client:
        client.wait_dtls()
        before = lab.tunnel(user, "dtls")
        client.wait_for("DTLS rekey due")
        client.wait_for("CSTP rekey due")
        client.ping(GATEWAY)
        after = lab.tunnel(user, "dtls")
        assert before
        assert after
        assert after["id"] == before["id"]
        assert after["pkts_rx"] == before["pkts_rx"] + 3


def test_cookie_taken_by_a_second_client_ends_the_first(lab: Lab, user: str) -> None:
    cookie = cookie_of(lab, user)
    with lab.holder(cookie) as first:
        first.wait_dtls()
        with lab.holder(cookie) as second:
            second.wait_dtls()
            assert first.wait() == 1
            first.wait_for("Received server disconnect")
            # the old connection's farewell is nobody's business any more
            second.ping(GATEWAY)
            assert lab.session(user)["state"] == "active"


def test_detached_sessions_keep_their_addresses(lab: Lab, user: str) -> None:
    cookie = cookie_of(lab, user)
    with lab.holder(cookie) as away:
        held = away.wait_connected().ip4
        assert away.detach() == 0
    with lab.client(user) as other, lab.holder(cookie) as back:
        assert other.wait_connected().ip4 != held
        assert back.wait_connected().ip4 == held
