"""The small world of interfaces: which one is used, and what it carries."""

import pytest
import trio

from client_emu.network import FAILURES_PER_INTERFACE, Interface, Network, NetworkDown


def test_a_machine_has_a_cable_and_a_radio_that_is_off() -> None:
    network = Network()
    assert network.choose().name == "wired"
    network.unplug("wired")
    with pytest.raises(NetworkDown, match="no network interface is plugged in"):
        network.choose()
    network.plug("wireless")
    assert network.choose().name == "wireless"


@pytest.mark.statement("S131")
def test_an_interface_that_keeps_failing_is_left_for_another() -> None:
    network = Network([Interface("a"), Interface("b")])
    assert network.choose().name == "a"
    network.in_use.failures = FAILURES_PER_INTERFACE - 1
    assert network.choose().name == "a"
    network.in_use.failures = FAILURES_PER_INTERFACE
    assert network.choose().name == "b"
    network.in_use.failures = FAILURES_PER_INTERFACE
    # no better one is left
    assert network.choose().name == "b"
    network.unplug("b")
    assert network.choose().name == "a"


def test_clients_do_not_share_their_interfaces() -> None:
    given = (Interface("a"),)
    one, two = Network(given), Network(given)
    one.unplug("a")
    assert two.choose().plugged
    assert given[0].plugged


def test_what_is_plugged_in_anew_is_as_good_as_new() -> None:
    network = Network([Interface("a", "127.0.0.1", failures=9)])
    made = network.plug("a", mtu=1400)
    assert (made.address, made.mtu, made.failures) == ("127.0.0.1", 1400, 0)
    assert network.plug("b", "127.0.0.2").address == "127.0.0.2"


async def test_nothing_passes_a_pulled_cable_a_silent_network_or_a_sleeping_machine(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = Network()
    wired = network.in_use
    for close, reopen in (
        (lambda: network.unplug("wired"), lambda: network.plug("wired")),
        (lambda: network.silence(True), lambda: network.silence(False)),
        (lambda: network.sleep(True), lambda: network.sleep(False)),
    ):
        assert network.carries_udp(wired)
        close()
        assert not network.carries(wired)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.carrier, wired)
            await trio.testing.wait_all_tasks_blocked()
            reopen()
    network.udp_blocked = True
    assert network.carries(wired)
    assert not network.carries_udp(wired)
