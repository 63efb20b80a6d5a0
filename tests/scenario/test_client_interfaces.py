"""Cables pulled and plugged, radios, other addresses, other MTUs: the session goes on over all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from client_emu import AdapterChanged, Client, Dtls, Reconnected, Reconnecting
from client_emu.network import Interface
from tests.client_lab import MINUTE, USER, lab, names_of
from tests.headend_lab import INSIDE, client, session_of

pytestmark = pytest.mark.usefixtures("mock_time", "log")

WIRED, WIRELESS = "127.0.0.2", "127.0.0.3"
LAPTOP = (Interface("wired", WIRED), Interface("wireless", WIRELESS, plugged=False))


def source_of(vpn: Client) -> str:
    assert vpn.tcp_source is not None
    return vpn.tcp_source[0]


async def resumed_within(vpn: Client, seconds: float) -> Reconnected:
    with trio.fail_after(seconds):
        return await vpn.next_event(Reconnected)


@pytest.mark.statement("S52", "S53", "S123", "S130", "S132", "S133", "S134", "S135")
async def test_the_documents_worked_example(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, interfaces=LAPTOP) as vpn:
        # 1. wireless is off, wired is on: connected
        session, address, logins = session_of(asa, USER), vpn.ip4, repr(asa.gateway.headend.counters)
        assert source_of(vpn) == WIRED
        assert (await vpn.ping(INSIDE)).received == 1
        # 2. the cable is pulled and wireless turned on
        vpn.unplug("wired")
        await trio.sleep(5)
        vpn.plug("wireless")
        assert (await resumed_within(vpn, 30)).ip4 == address
        assert source_of(vpn) == WIRELESS
        assert (await vpn.ping(INSIDE)).received == 1
        # 3. the cable is plugged in again and wireless turned off
        vpn.plug("wired")
        assert source_of(vpn) == WIRELESS
        vpn.unplug("wireless")
        assert (await resumed_within(vpn, 30)).ip4 == address
        assert source_of(vpn) == WIRED
        assert (await vpn.ping(INSIDE)).received == 1
        assert session_of(asa, USER) is session
        assert session.public_ip == WIRED
        # nobody was asked for a password again
        assert repr(asa.gateway.headend.counters) == logins


@pytest.mark.statement("S131")
async def test_an_interface_without_a_network_is_left_after_three_attempts(state: Path) -> None:
    cafe = Interface("cafe", "192.0.2.1")  # no address of this machine: nothing goes out
    async with lab(state) as asa:
        interfaces = (Interface("wired", WIRED), cafe, Interface("wireless", WIRELESS))
        async with client(asa, USER, interfaces=interfaces) as vpn:
            vpn.unplug("wired")
            await resumed_within(vpn, 30)
            assert source_of(vpn) == WIRELESS
            assert vpn.network.interfaces["cafe"].failures == 3


@pytest.mark.statement("S53", "S64b")
async def test_the_same_interface_with_another_address(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, interfaces=LAPTOP) as vpn:
        await vpn.next_event(Dtls)
        vpn.plug("wired", "127.0.0.9")
        await resumed_within(vpn, 30)
        assert source_of(vpn) == session_of(asa, USER).public_ip == "127.0.0.9"
        assert (await vpn.next_event(Dtls)).up


@pytest.mark.statement("S119", "S120", "S132")
@pytest.mark.parametrize(
    "change",
    [
        lambda vpn: vpn.plug("wired", mtu=1380),
        lambda vpn: (vpn.plug("wireless", mtu=1380), vpn.unplug("wired")),
    ],
    ids=["mtu of the interface", "interface of another mtu"],
)
async def test_another_mtu_restarts_the_adapter_and_keeps_the_address(
    state: Path, change: Callable[[Client], object]
) -> None:
    async with lab(state) as asa, client(asa, USER, interfaces=LAPTOP, dtls=False) as vpn:
        address, mtu = vpn.ip4, vpn.mtu
        change(vpn)
        assert await vpn.next_event(AdapterChanged) == AdapterChanged("down", mtu)
        up = await vpn.next_event(AdapterChanged)
        assert up.change == "up"
        assert up.mtu < mtu
        assert await vpn.next_event(AdapterChanged) == AdapterChanged("routes", up.mtu)
        assert await resumed_within(vpn, 30) == Reconnected("session", address)
        assert vpn.mtu == up.mtu
        texts = [record.text for record in vpn.journal.records]
        assert "Reconfigure reason code 16:\nNew MTU configuration." in texts


@pytest.mark.statement("S52")
async def test_after_hours_without_any_interface_the_first_one_will_do(state: Path) -> None:
    policy = "vpn-idle-timeout 240"
    async with lab(state, policy) as asa, client(asa, USER, interfaces=LAPTOP, dtls=False) as vpn:
        vpn.unplug()
        await trio.sleep(180 * MINUTE)
        levels = [event.level for event in vpn.events if isinstance(event, Reconnecting)]
        assert levels == ["tunnel", "session"]
        vpn.plug()
        await resumed_within(vpn, 1)
        assert (await vpn.ping(INSIDE)).received == 1


async def test_an_idle_interface_may_come_and_go(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, interfaces=LAPTOP, dtls=False) as vpn:
        vpn.plug("wireless")
        vpn.unplug("wireless")
        vpn.plug("dock", "127.0.0.7", mtu=1400)
        await trio.sleep(MINUTE)
        assert names_of(vpn) == ["connected"]
        with pytest.raises(ValueError, match="no interface 'moon'; there are wired, wireless, dock"):
            vpn.unplug("moon")
        with pytest.raises(ValueError, match="address"):
            vpn.plug("dock", "nowhere")
