"""What the command line may say, and how events look outside."""

import json

import pytest

from client_emu.events import (
    Connected,
    Disconnected,
    Dtls,
    Error,
    Failed,
    Reconnected,
    Reconnecting,
    as_json,
    as_text,
)
from client_emu.options import Gateway, is_token, parse_compression, parse_gateway, parse_pin, parse_token

PIN = "pin-sha256:" + "A" * 43 + "="


@pytest.mark.parametrize(
    ("text", "gateway", "authority"),
    [
        ("https://vpn.example.test", Gateway("vpn.example.test"), "vpn.example.test"),
        ("vpn.example.test/staff", Gateway("vpn.example.test", 443, "/staff"), "vpn.example.test"),
        ("127.0.0.1:8443", Gateway("127.0.0.1", 8443), "127.0.0.1:8443"),
        ("https://[2001:db8::1]:4443/", Gateway("2001:db8::1", 4443), "[2001:db8::1]:4443"),
        ("https://x/g?a=b", Gateway("x", 443, "/g?a=b"), "x"),
    ],
)
def test_gateways(text: str, gateway: Gateway, authority: str) -> None:
    assert parse_gateway(text) == gateway
    assert gateway.authority == authority


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://x",
        "https://",
        "x:0",
        "x:99999",
        "x:port",
        "https://u@x",
        "a b",
        "https://x/" + "a" * 3000,
    ],
)
def test_what_is_no_gateway(text: str) -> None:
    with pytest.raises(ValueError, match=r"headend|address"):
        parse_gateway(text)


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("abc123=", "abc123="),
        ("webvpn=abc=", "abc="),
        ("openconnect_strapkey=MHc; webvpn=tok", "tok"),
        ("webvpn=tok; webvpnc=x", "tok"),
        (" tok ", "tok"),
    ],
)
def test_cookies(text: str, token: str) -> None:
    assert parse_token(text) == token


@pytest.mark.parametrize("text", ["", ";", "a=b; c=d", "webvpn=", "two words", "webvpn=a\nb"])
def test_what_is_no_cookie(text: str) -> None:
    with pytest.raises(ValueError, match="a cookie is"):
        parse_token(text)


def test_tokens() -> None:
    assert is_token("A@b@c=/+")
    assert not is_token("a,b")
    assert not is_token("x" * 4097)


def test_pins() -> None:
    assert parse_pin(PIN) == PIN
    for text in (
        "",
        "A" * 43 + "=",
        "pin-sha256:AAAA",
        "pin-sha256:" + "!" * 44,
        "pin-sha1:" + "A" * 43 + "=",
    ):
        with pytest.raises(ValueError, match="a pin is"):
            parse_pin(text)


def test_compression() -> None:
    supported = ("oc-lz4", "lzs", "deflate")
    assert parse_compression("all", supported) == supported
    assert parse_compression("none", supported) == ()
    assert parse_compression("deflate, lzs", supported) == ("deflate", "lzs")
    with pytest.raises(ValueError, match="no compression 'zip' here"):
        parse_compression("zip", supported)


CONNECTED = Connected("10.0.0.1", None, 1390, ("10.0.0.0/8",), ("10.0.0.53",), "lab.test", None, "tok")


def test_events_as_json() -> None:
    assert json.loads(as_json(CONNECTED)) == {
        "event": "connected",
        "ip4": "10.0.0.1",
        "ip6": None,
        "mtu": 1390,
        "routes": ["10.0.0.0/8"],
        "dns": ["10.0.0.53"],
        "domain": "lab.test",
        "banner": None,
        "cookie": "tok",
    }
    hidden = Connected("10.0.0.1", None, 1390, (), (), None, "Hello\nworld")
    assert "cookie" not in json.loads(as_json(hidden))
    assert "\n" not in as_json(hidden)
    assert json.loads(as_json(Dtls(True, "x"))) == {"event": "dtls", "up": True, "cipher": "x"}
    assert json.loads(as_json(Reconnecting("tunnel"))) == {"event": "reconnecting", "level": "tunnel"}
    assert json.loads(as_json(Reconnected("session", "10.0.0.1"))) == {
        "event": "reconnected",
        "level": "session",
        "ip4": "10.0.0.1",
    }
    for event in (Disconnected("why"), Failed("why"), Error("why")):
        assert json.loads(as_json(event)) == {"event": event.name, "reason": "why"}


def test_events_as_text() -> None:
    assert "tok" not in repr(CONNECTED)
    assert as_text(CONNECTED) == "Connected as 10.0.0.1, MTU 1390, routes 10.0.0.0/8\nCookie: tok"
    lines = [
        as_text(event)
        for event in (
            Dtls(True, "x"),
            Dtls(False, None),
            Reconnecting("tunnel"),
            Reconnected("tunnel", None),
            Failed("no"),
        )
    ]
    assert lines == [
        "DTLS is up (x)",
        "DTLS is down, data goes over TLS",
        "Reconnecting (tunnel level) ...",
        "Reconnected as before",
        "Failed: no",
    ]
