"""`python -m bench.thousand_clients [--clients N] [--no-dtls]`: what a client of client_emu costs, as JSON.

Connects so many whole clients from one process to a headend in another, lets each ping once, and reads from
/proc what they have added to this process. The aim is 150 KiB for each.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import trio

from asa_emu.testing import running
from client_emu import Client, ClientOptions, Dtls, parse_gateway

CONFIG = """\
ip local pool POOL 10.32.0.10-10.32.127.254 mask 255.255.128.0
interface GigabitEthernet0/1
 nameif inside
 ip address 10.32.0.1 255.255.128.0
webvpn
 enable outside
group-policy DfltGrpPolicy attributes
 address-pools value POOL
!emu users user 00000-09999 password pw
"""
AIM_KIB = 150
AT_ONCE = 20  # logins under way at a time
FILES = 4  # descriptors for each client, with room


def _own_kib() -> int:
    """The proportional set size of this process."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError("no Pss in smaps_rollup")


async def _measure(https: str, pin: str, clients: int, dtls: bool) -> dict[str, Any]:
    limit = trio.CapacityLimiter(AT_ONCE)
    up, stop = [], trio.Event()
    all_up = trio.Event()

    async def live(number: int) -> None:
        options = ClientOptions(
            parse_gateway(https),
            user=f"user{number:05}",
            password="pw",
            pin=pin,
            dtls=dtls,
        )
        await limit.acquire_on_behalf_of(number)
        async with Client(options) as vpn:
            if dtls:
                await vpn.next_event(Dtls)
            up.append((await vpn.ping("10.32.0.1")).received)
            limit.release_on_behalf_of(number)
            if len(up) == clients:
                all_up.set()
            await stop.wait()

    async with trio.open_nursery() as nursery:
        gc.collect()
        before, started = _own_kib(), time.monotonic()
        for number in range(clients):
            nursery.start_soon(live, number)
        await all_up.wait()
        seconds = time.monotonic() - started
        gc.collect()
        each = (_own_kib() - before) / clients
        stop.set()
    return {
        "clients": clients,
        "dtls": dtls,
        "unit": "KiB of this process for each client",
        "aim": AIM_KIB,
        "value": round(each, 1),
        "pings_answered": sum(up),
        "seconds_until_all_are_up": round(seconds, 2),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.thousand_clients", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--no-dtls", action="store_true")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 256 + FILES * arguments.clients
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    with running(CONFIG) as process:
        facts = trio.run(_measure, process.https, process.pin, arguments.clients, not arguments.no_dtls)
    print(json.dumps(facts, indent=2))
    return 0 if facts["value"] <= AIM_KIB else 1


if __name__ == "__main__":
    sys.exit(main())
