"""Stories played at a headend: those that happen as told, and those that name the act that did not."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from client_emu import Client
from client_emu.orders import OrderRefused, carry_out
from client_emu.story import parse_story, play
from tests.client_lab import USER, lab
from tests.headend_lab import INSIDE, client

pytestmark = pytest.mark.usefixtures("mock_time", "log")

DAY = """
[[act]]
expect = "connected"
ip4 = "10.77.0."

[[act]]
expect = "dtls"
up = true
cipher = "GCM"

[[act]]
do = "ping"
to = "10.77.0.1"
count = 3

[[act]]
name = "the cable is pulled"
after = 10
do = "unplug"

[[act]]
expect = "reconnecting"
level = "tunnel"

[[act]]
do = "ping"
to = "10.77.0.1"
received = 0

[[act]]
at = 60
do = "plug"
interface = "wireless"
address = "127.0.0.4"

[[act]]
expect = "reconnected"
level = "session"

[[act]]
do = "udp"
to = "10.77.0.1"
text = "hello"

[[act]]
do = "tcp"
to = "10.77.0.1"
port = 7

[[act]]
never = "reconnecting"
within = 600

[[act]]
do = "suspend"

[[act]]
after = 300
do = "resume"

[[act]]
expect = "disconnected"
reason = "suspended"
"""


async def outcome(vpn: Client, text: str) -> str | None:
    """Play a story from before the login on; the act that failed."""
    told: list[str | None] = []

    async def tell() -> None:
        told.append(await play(parse_story(text), vpn))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        async with vpn:
            while not told:  # noqa: ASYNC110 -- in mock time nobody waits
                await trio.sleep(1)
    return told[0]


async def test_a_day_as_told(state: Path) -> None:
    async with lab(state) as asa:
        vpn = client(asa, USER)
        assert await outcome(vpn, DAY) is None
        assert vpn.network.in_use.address == "127.0.0.4"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[[act]]\nname='the end'\nexpect='disconnected'\nreason='x'\nwithin=5",
            "act 1 (the end): no event disconnected, reason x came within 5 s",
        ),
        ("[[act]]\nexpect='dtls'\n[[act]]\ndo='resume'\n[[act]]\nnever='dtls'\nwithin=1", None),
        ("[[act]]\ndo='ping'\nto='10.77.0.1'", None),
        ("[[act]]\nnever='dtls'\nwithin=1", "act 1: an event dtls came"),
        ("[[act]]\nexpect='connected'\nip4=7\nwithin=1", "act 1: no event connected, ip4 7 came"),
        ("[[act]]\nafter=1\ndo='unplug'\ninterface='moon'", "act 1: no interface 'moon'"),
        ("[[act]]\nafter=1\ndo='ping'\nto='10.77.0.1'\nreceived=7", "act 1: 1 of 1 pings came back"),
        ("[[act]]\nafter=1\ndo='ping'\nto='nowhere'", "act 1: 'nowhere' does not appear to be an"),
        ("[[act]]\nafter=1\ndo='udp'\nto='10.77.0.1'\nanswer='bye'", "act 1: the answer was 'hello'"),
        ("[[act]]\nafter=1\ndo='tcp'\nto='10.77.0.1'\nport=4\n", "act 1: 10.77.0.1 port 4 refuses"),
    ],
)
async def test_the_act_that_went_another_way_is_named(state: Path, text: str, problem: str | None) -> None:
    async with lab(state) as asa:
        said = await outcome(client(asa, USER), text)
        assert (said is None) == (problem is None)
        assert problem is None or problem in (said or "")


async def test_orders_are_carried_out_or_refused(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER) as vpn:
        for order, complaint in (
            ({"do": "dance"}, "there is no command 'dance'"),
            ({"do": ["x"]}, "there is no command"),
            ({"do": "unplug", "interface": 3}, "interface is a name"),
            ({"do": "unplug", "interface": "x" * 65}, "interface is a name"),
            ({"do": "plug", "interface": "w", "mtu": 5}, "mtu is from 576"),
            ({"do": "plug", "interface": "w", "address": "?"}, "address"),
        ):
            with pytest.raises(OrderRefused, match=complaint):
                await carry_out(vpn, order)
        assert (await vpn.ping(INSIDE)).received == 1
        await carry_out(vpn, {"do": "detach"})
        assert (await vpn.wait_ended()).exit_code == 0
