"""What a story may say, what is wrong with one, and orders as lines of JSON."""

import pytest

from client_emu.orders import OrderRefused, parse_order_untrusted
from client_emu.story import Act, StoryError, parse_story


def test_acts_of_every_kind() -> None:
    story = parse_story("""
        [[act]]
        name = "the cable is pulled"
        after = 2.5
        do = "unplug"
        interface = "wired"

        [[act]]
        expect = "reconnecting"
        level = "tunnel"
        within = 1

        [[act]]
        at = 60
        never = "disconnected"
        within = 10

        [[act]]
        do = "ping"
        to = "10.0.0.1"
        received = 1
    """)
    assert story == (
        Act("act 1 (the cable is pulled)", do="unplug", after=2.5, facts={"interface": "wired"}),
        Act("act 2", expect="reconnecting", within=1, facts={"level": "tunnel"}),
        Act("act 3", never="disconnected", at=60, within=10),
        Act("act 4", do="ping", facts={"to": "10.0.0.1", "received": 1}),
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("act = ", "not TOML"),
        ("", "a list of"),
        ("title = 'x'", "a list of"),
        ("act = 1", "a list of"),
        ("act = [1]", "act 1 is no table"),
        ("[[act]]", "act 1 has to have one of do, expect and never"),
        ("[[act]]\ndo = 'suspend'\nexpect = 'connected'", "has to have one of"),
        ("[[act]]\ndo = 'dance'", "do is one of disconnect, detach"),
        ("[[act]]\ndo = 1", "do is one of"),
        ("[[act]]\nexpect = 'rain'", "expect is one of connected, dtls"),
        ("[[act]]\ndo = 'suspend'\nlevel = 'tunnel'", "suspend knows no level"),
        ("[[act]]\nexpect = 'dtls'\nlevel = 'tunnel'", "dtls knows no level"),
        ("[[act]]\ndo = 'unplug'\ninterface = 1", "interface is no str"),
        ("[[act]]\ndo = 'ping'", "ping needs to"),
        ("[[act]]\ndo = 'suspend'\nafter = -1", "after is a number of seconds"),
        ("[[act]]\ndo = 'suspend'\nat = true", "at is a number of seconds"),
        ("[[act]]\ndo = 'suspend'\nat = nan", "at is a number of seconds"),
        ("[[act]]\ndo = 'suspend'\nafter = inf", "after is a number of seconds"),
        ("[[act]]\nname = 'x'\ndo = 'suspend'\nwithin = 'soon'", r"act 1 \(x\): within is a number"),
    ],
)
def test_what_is_no_story(text: str, complaint: str) -> None:
    with pytest.raises(StoryError, match=complaint):
        parse_story(text)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"3", b'"do"', b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_order(line: bytes) -> None:
    with pytest.raises(OrderRefused, match="a command is a line such as"):
        parse_order_untrusted(line)
