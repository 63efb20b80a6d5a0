import pytest

from asa_emu.wire.headers import choose_encoding, mtu_for


@pytest.mark.parametrize(
    ("offered", "allowed", "chosen"),
    [
        (("oc-lz4", "lzs"), ("lzs", "oc-lz4"), "lzs"),
        (("oc-lz4", "lzs", "deflate"), ("deflate",), "deflate"),
        (("oc-lz4",), ("lzs",), None),
        ((), ("lzs",), None),
        (("lzs",), (), None),
    ],
)
def test_the_headend_prefers_in_its_own_order(
    offered: tuple[str, ...], allowed: tuple[str, ...], chosen: str | None
) -> None:
    assert choose_encoding(offered, allowed) == chosen


@pytest.mark.parametrize(
    ("policy", "base", "client", "ipv6", "overhead", "expected"),
    [
        (1406, 1500, 1390, False, 37, 1390),
        (1406, 1500, 1434, False, 37, 1406),
        # AES-256-GCM over a path of 1500: what openconnect and ocserv settle on (docs/protocol.md §6).
        (9000, 1500, None, False, 37, 1434),
        (9000, 1500, None, True, 37, 1414),
        (9000, 1500, None, False, 0, 1472),
        (1406, None, None, False, 37, 1406),
        (65535, 65536, 65425, False, 37, 16376),
        (300, 1500, None, False, 37, 300),
        (300, 1500, 200, False, 37, 300),
        (1406, 300, None, False, 37, 576),
        (1406, 1500, 200, False, 37, 576),
    ],
)
def test_the_mtu_is_the_smallest_of_three(
    policy: int, base: int | None, client: int | None, ipv6: bool, overhead: int, expected: int
) -> None:
    assert mtu_for(policy, base, client, ipv6, overhead) == expected


def test_ipv6_inside_needs_its_least_mtu() -> None:
    assert mtu_for(1200, 1500, 1200, False, 37, ipv6_inside=True) == 1280
