"""A real openconnect whose headend freezes or dies: it resumes on the other unit, at its address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peers.openconnect import Openconnect
from tests.process_pair import CONFIG, ProcessPair, Unit, wait_until
from tests.redis_lab import RedisServer

pytestmark = pytest.mark.peer("openconnect", "redis")

INSIDE = "10.77.0.1"
ATTENTIVE = CONFIG.replace("  anyconnect dpd-interval client 30", "  !emu anyconnect dpd-interval client 1s")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ProcessPair]:
    with RedisServer() as redis, ProcessPair(redis, tmp_path, config=ATTENTIVE) as made:
        yield made


@pytest.mark.parametrize("strike", [Unit.freeze, Unit.kill])
def test_openconnect_resumes_on_the_other_unit_at_its_address(
    pair: ProcessPair, strike: Callable[[Unit], None]
) -> None:
    before = pair.active
    after = pair.other(before)
    url, pin = f"https://127.0.0.1:{pair.port}/", before.headend.pin
    login = {"pin": pin, "user": "user001", "passwords": ["pw"]}
    with Openconnect(url, "--authgroup", "staff", **login) as vpn:  # type: ignore[arg-type]
        configured = vpn.wait_connected()
        vpn.wait_dtls()
        vpn.ping(INSIDE)
        (mine,) = before.headend.sessions()
        wait_until(lambda: len(after.headend.sessions()) == 1)
        strike(before)
        wait_until(lambda: after.active, 10)
        # openconnect waits ten seconds after an attempt that was refused
        wait_until(lambda: after.headend.sessions()[0]["state"] == "active", 20)
        vpn.ping(INSIDE)
        (row,) = after.headend.sessions()
        assert row["index"] == mine["index"]
        assert row["assigned_ip"] == configured.ip4
        assert row["login_time"] == mine["login_time"]
        if strike is Unit.freeze:
            before.thaw()
        assert vpn.log_off() == 0
