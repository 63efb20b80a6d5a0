"""What the command line may say, what becomes of it, and how events look outside."""

import json
from dataclasses import replace
from typing import Any

import pytest

from client_emu.events import (
    EVENTS,
    AdapterChanged,
    Connected,
    Disconnected,
    Dtls,
    Error,
    Failed,
    Reconnected,
    Reconnecting,
    as_json,
)
from client_emu.gateway import Gateway, parse_gateway
from client_emu.lifecycle import Rules
from client_emu.network import Interface
from client_emu.options import (
    ClientOptions,
    Platform,
    is_token,
    parse_compression,
    parse_interface,
    parse_pin,
    parse_preference,
    parse_token,
)

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


def test_no_event_shows_the_token_by_itself() -> None:
    assert "tok" not in repr(CONNECTED)
    assert json.loads(as_json(AdapterChanged("up", 1300))) == {
        "event": "adapter",
        "change": "up",
        "mtu": 1300,
    }
    assert EVENTS["reconnected"] == {"level", "ip4"}


@pytest.mark.parametrize(
    ("text", "interface"),
    [
        ("wired", Interface("wired")),
        ("wifi=127.0.0.2", Interface("wifi", "127.0.0.2")),
        ("wifi=::1,mtu=1400,off", Interface("wifi", "::1", 1400, plugged=False)),
    ],
)
def test_interfaces(text: str, interface: Interface) -> None:
    assert parse_interface(text) == interface


@pytest.mark.parametrize("text", ["", "=1.2.3.4", "a b", "a,mtu=1", "a,mtu=x", "a,on", "a=b"])
def test_what_is_no_interface(text: str) -> None:
    with pytest.raises(ValueError, match=r"interface|address"):
        parse_interface(text)


def test_preferences_are_checked() -> None:
    assert parse_preference("AutoReconnect=false") == ("AutoReconnect", "false")
    with pytest.raises(ValueError, match="no preference 'Colour'"):
        parse_preference("Colour=red")
    with pytest.raises(ValueError, match="is one of true, false, not 'maybe'"):
        parse_preference("AutoReconnect=maybe")


OPTIONS = ClientOptions(parse_gateway("vpn.example.test"))


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        pytest.param({}, Rules(), marks=pytest.mark.statement("S76")),
        ({"platform": Platform.MAC}, Rules()),
        pytest.param(
            {"platform": Platform.LINUX},
            Rules(notices_resume=False, reconnects_after_resume=True),
            marks=[pytest.mark.statement("S129"), pytest.mark.statement("S129a")],
        ),
        ({"platform": Platform.LINUX, "quirks": frozenset()}, Rules()),
        ({"quirks": frozenset({"CSCsr16670"})}, Rules(notices_resume=False)),
        ({"quirks": frozenset({"CSCsm69213"})}, Rules(reconnects_after_resume=True)),
        pytest.param(
            {"version": "2.2"}, Rules(reconnects_after_resume=True), marks=pytest.mark.statement("S77")
        ),
        pytest.param(
            {"version": "2.3.110", "preferences": {"AutoReconnectBehavior": "DisconnectOnSuspend"}},
            Rules(reconnects_after_resume=True),
            marks=pytest.mark.statement("S72"),
        ),
        pytest.param({"version": "2.3(111)"}, Rules(), marks=pytest.mark.statement("S72")),
        ({"quirks": frozenset({"CSCso17627"})}, Rules(reconnects_after_resume=True)),
        (
            {"preferences": {"AutoReconnectBehavior": "ReconnectAfterResume"}},
            Rules(reconnects_after_resume=True),
        ),
        (
            {"preferences": {"AutoReconnect": "false", "AutoReconnectBehavior": "ReconnectAfterResume"}},
            Rules(auto_reconnect=False),
        ),
        ({"backups": (Gateway("b"), Gateway("c"))}, Rules(servers=3)),
    ],
)
def test_platform_version_quirks_and_preferences_make_the_rules(
    changes: dict[str, Any], rules: Rules
) -> None:
    assert replace(OPTIONS, **changes).rules == rules


def test_the_user_agent_begins_as_the_genuine_one() -> None:
    assert OPTIONS.user_agent == "AnyConnect Windows 4.10.07061"
    assert replace(OPTIONS, platform=Platform.LINUX).user_agent.startswith("AnyConnect Linux_64")
