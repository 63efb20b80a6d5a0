"""Address pools: order, several pools, particular addresses, no cost for what is not used."""

import pytest

from asa_emu.session import AddressPools
from tests.session_lab import pool


def take(pools: AddressPools, *names: str, version: int = 4) -> str | None:
    taken = pools.take(names, version)
    return None if taken is None else taken[0]


def test_pool_hands_out_both_ends_in_order_and_then_nothing() -> None:
    pools = AddressPools([pool("p", "10.0.0.254", "10.0.1.1", 16)])
    assert [take(pools, "p") for _ in range(5)] == ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1", None]


@pytest.mark.statement("S22")
def test_pool_gives_the_most_recently_freed_address_first() -> None:
    pools = AddressPools([pool("p", "10.0.0.1", "10.0.0.9", 24)])
    for _ in range(4):
        take(pools, "p")
    for address in ("10.0.0.3", "10.0.0.1", "10.0.0.2"):
        pools.give_back(address)
    assert [take(pools, "p") for _ in range(4)] == ["10.0.0.2", "10.0.0.1", "10.0.0.3", "10.0.0.5"]


def test_pools_are_tried_in_the_order_of_the_policy_and_unknown_names_skipped() -> None:
    pools = AddressPools([pool("a", "10.0.0.1", "10.0.0.1", 24), pool("b", "10.0.9.1", "10.0.9.1", 24)])
    assert take(pools, "none", "b", "a") == "10.0.9.1"
    assert take(pools, "none", "b", "a") == "10.0.0.1"
    assert take(pools, "none", "b", "a") is None


def test_pool_of_the_other_family_is_never_asked() -> None:
    pools = AddressPools(
        [pool("four", "10.0.0.1", "10.0.0.9", 24), pool("six", "2001:db8::5", "2001:db8::6", 64)]
    )
    assert take(pools, "four", "six", version=6) == "2001:db8::5"
    assert take(pools, "four", "six", version=6) == "2001:db8::6"
    assert take(pools, "four", "six", version=6) is None


def test_overlapping_pools_never_give_one_address_twice() -> None:
    pools = AddressPools([pool("a", "10.0.0.1", "10.0.0.3", 24), pool("b", "10.0.0.2", "10.0.0.4", 24)])
    given = [take(pools, "a"), take(pools, "b"), take(pools, "a"), take(pools, "b"), take(pools, "a", "b")]
    assert given == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", None]
    pools.give_back("10.0.0.2")
    assert take(pools, "a") == "10.0.0.2"
    assert take(pools, "b") is None


def test_held_address_is_skipped_and_can_come_back() -> None:
    pools = AddressPools([pool("p", "10.0.0.1", "10.0.0.3", 24)], reserved=["10.0.0.1"])
    assert pools.hold("10.0.0.2")
    assert not pools.hold("10.0.0.2")
    assert "10.0.0.1" in pools
    assert take(pools, "p") == "10.0.0.3"
    assert take(pools, "p") is None
    pools.give_back("10.0.0.2")
    assert take(pools, "p") == "10.0.0.2"


def test_address_outside_every_pool_may_be_held() -> None:
    pools = AddressPools([pool("p", "10.0.0.1", "10.0.0.3", 24)])
    assert pools.hold("172.16.0.1")
    pools.give_back("172.16.0.1")
    assert "172.16.0.1" not in pools


def test_an_address_is_held_by_its_canonical_form() -> None:
    pools = AddressPools([pool("six", "2001:db8::1", "2001:db8::2", 64)])
    assert pools.hold("2001:0DB8:0:0::1")
    assert take(pools, "six", version=6) == "2001:db8::2"


def test_giving_back_what_nobody_holds_is_an_error() -> None:
    pools = AddressPools([pool("p", "10.0.0.1", "10.0.0.3", 24)])
    with pytest.raises(KeyError):
        pools.give_back("10.0.0.1")


def test_pool_that_is_replaced_respects_what_is_held() -> None:
    pools = AddressPools([pool("p", "10.0.0.1", "10.0.0.2", 24)])
    assert take(pools, "p") == "10.0.0.1"
    pools.add(pool("p", "10.0.0.1", "10.0.0.3", 24))
    assert take(pools, "p") == "10.0.0.2"
    pools.give_back("10.0.0.1")
    assert take(pools, "p") == "10.0.0.1"
    assert pools.in_use("p") == 2


def test_removed_pool_gives_nothing_and_its_addresses_may_come_back() -> None:
    pools = AddressPools([pool("p", "10.0.0.1", "10.0.0.2", 24)])
    take(pools, "p")
    pools.remove("p")
    assert take(pools, "p") is None
    pools.give_back("10.0.0.1")


def test_a_pool_of_2_to_the_64_costs_nothing_until_used() -> None:
    vast = pool("vast", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", 64)
    pools = AddressPools([vast])
    assert take(pools, "vast", version=6) == "2001:db8::"
    pools.give_back("2001:db8::")
    assert take(pools, "vast", version=6) == "2001:db8::"
    assert pools["vast"].version == 6


def test_pool_knows_its_netmask_and_shows_itself() -> None:
    twenty = pool("p", "10.0.0.1", "10.0.0.2", 20)
    assert twenty.netmask == "255.255.240.0"
    assert repr(twenty) == "<AddressPool p 10.0.0.1-10.0.0.2/20>"


@pytest.mark.parametrize(
    ("first", "last", "prefixlen"),
    [("10.0.0.2", "10.0.0.1", 24), ("10.0.0.1", "2001:db8::1", 24), ("10.0.0.1", "10.0.0.2", 33)],
)
def test_pool_refuses_what_is_no_range(first: str, last: str, prefixlen: int) -> None:
    with pytest.raises(ValueError, match=r"range|prefix"):
        pool("p", first, last, prefixlen)


def test_a_freed_address_rests_as_long_as_the_reuse_delay() -> None:
    pools = AddressPools([pool("p", "10.0.0.1", "10.0.0.2", 24)])
    pools.reuse_delay = 60.0
    for _ in range(2):
        take(pools, "p")
    pools.give_back("10.0.0.1", 1000.0)
    pools.give_back("10.0.0.2", 1030.0)
    assert "10.0.0.1" not in pools
    assert pools.take(["p"], 4, 1059.0) is None
    assert pools.resting("p", 1059.0) == {"10.0.0.1", "10.0.0.2"}
    taken = pools.take(["p"], 4, 1060.0)
    assert taken is not None and taken[0] == "10.0.0.1"
    assert pools.resting("p", 1089.0) == {"10.0.0.2"}
    assert pools.hold("10.0.0.2")
    assert pools.take(["p"], 4, 2000.0) is None


def test_addresses_that_rest_are_free_at_once_without_a_reuse_delay() -> None:
    pools = AddressPools([pool("p", "10.0.0.1", "10.0.0.1", 24), pool("q", "10.0.0.1", "10.0.0.2", 24)])
    pools.reuse_delay = 60.0
    take(pools, "p")
    pools.give_back("10.0.0.1", 1000.0)
    taken = pools.take(["q"], 4, 1001.0)
    assert taken is not None and taken[0] == "10.0.0.2"
    pools.reuse_delay = 0.0
    taken = pools.take(["p"], 4, 1001.0)
    assert taken is not None and taken[0] == "10.0.0.1"
