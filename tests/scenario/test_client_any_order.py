"""Losses, interfaces, naps and orders in any order, over real sockets: the session goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from client_emu import Client
from client_emu.lifecycle import Phase
from client_emu.network import Interface
from client_emu.options import Platform
from tests.client_lab import USER, lab
from tests.headend_lab import INSIDE, client, session_of

pytestmark = pytest.mark.usefixtures("mock_time", "log")

LAPTOP = (Interface("wired", "127.0.0.2"), Interface("wireless", "127.0.0.3"))
STEPS = 40


def mishaps(dice: random.Random) -> list[Callable[[Client], object]]:
    name = dice.choice(["wired", "wireless"])
    return [
        lambda vpn: vpn.unplug(name),
        lambda vpn: vpn.plug(name),
        lambda vpn: vpn.plug(name, mtu=dice.choice([1380, 1500])),
        lambda vpn: vpn.drop_tcp(),
        lambda vpn: vpn.lose_cable(),
        lambda vpn: vpn.restore_cable(),
        lambda vpn: vpn.block_udp(),
        lambda vpn: vpn.unblock_udp(),
        lambda vpn: vpn.reconnect(),
        lambda vpn: vpn.suspend(),
        lambda vpn: vpn.resume(),
        lambda vpn: vpn.send_packet(b"\x45" + bytes(50)),
    ]


@pytest.mark.parametrize("seed", range(12))
async def test_the_session_survives_any_order_of_mishaps(state: Path, seed: int) -> None:
    dice = random.Random(seed)
    platform = dice.choice(list(Platform))
    preferences = {"AutoReconnectBehavior": "ReconnectAfterResume"}
    async with lab(state, "vpn-idle-timeout none") as asa:
        options: dict[str, Any] = {"platform": platform, "preferences": preferences, "interfaces": LAPTOP}
        async with client(asa, USER, **options) as vpn:
            session, address = session_of(asa, USER), vpn.ip4
            for _ in range(STEPS):
                dice.choice(mishaps(dice))(vpn)
                await trio.sleep(dice.choice([0.0, 0.0, 0.01, 0.5, 3.0, 40.0]))
                assert vpn.phase in (Phase.CONNECTED, Phase.RECONNECTING)
            vpn.resume()
            vpn.restore_cable()
            vpn.unblock_udp()
            vpn.plug("wired")
            vpn.plug("wireless")
            await trio.sleep(400)
            assert vpn.phase is Phase.CONNECTED
            assert vpn.ip4 == address
            assert (await vpn.ping(INSIDE, count=3)).received == 3
            assert vpn.dtls_cipher is not None
            assert session_of(asa, USER) is session
        assert session.ended
