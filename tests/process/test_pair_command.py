"""`asa-emu pair` as a program, and `asa_emu.testing.pair` around it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from asa_emu.testing import pair
from client_emu import Client, ClientOptions, parse_gateway
from tests.process_pair import wait_until


async def test_a_client_changes_units_at_its_address() -> None:
    with pair(users={"anna": "secret"}) as units:
        assert units.primary.https == units.secondary.https
        assert units.active is units.primary
        options = ClientOptions(
            parse_gateway(units.active.url), user="anna", password="secret", pin=units.active.pin
        )
        async with Client(options) as vpn:
            wait_until(lambda: len(units.secondary.sessions()) == 1)
            units.switch()
            wait_until(lambda: units.active is units.secondary)
            ((row,), address) = units.secondary.sessions(), vpn.ip4
            assert row["assigned_ip"] == address
            while (await vpn.ping("10.20.30.40", limit=0.3)).received == 0:
                pass
            assert vpn.ip4 == address


def test_the_program_announces_both_units_and_stops(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "asa_emu", "pair", "--listen", "127.0.0.1:0", "--state", str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        announced = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert announced.startswith("asa-emu ready https=127.0.0.1:")
    assert " mate=127.0.0.1:" in announced
