"""The adapter as a program, for `--script-tun`: the tunnel's packets go to a process that the user names.

The program is started when the session stands, as openconnect starts one with its option of that name: in
`$VPNFD` it has the number of a datagram socket on which each datagram is an IP packet, and its environment
tells addresses, MTU, routes and DNS by the names that vpnc-script knows. Nothing of what the headend says is
run: values are addresses, numbers, and one domain name made of the characters that such names have.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Sequence
from typing import Final

import trio

from client_emu.adapter import AdapterFailed
from client_emu.terms import AdapterSettings, Network

BATCH: Final = 64  # packets taken in one turn
FAREWELL_SECONDS: Final = 2.0
_DOMAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}")


class ProgramAdapter:
    """A process with the inner end of the tunnel."""

    def __init__(self, command: Sequence[str], send: Callable[[bytes], None]) -> None:
        self._command = command
        self._send = send
        self._process: trio.Process | None = None
        self._socket: socket.socket | None = None
        self.dropped = 0
        """Packets that the program did not take in time."""

    async def configure(self, settings: AdapterSettings, *, restart: bool = False) -> None:
        """Start the program, the first time; it keeps what it was told then."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        told = {**environment(settings), "VPNFD": str(theirs.fileno()), "VPNPID": str(os.getpid())}
        try:
            with theirs:
                self._process = await trio.lowlevel.open_process(
                    list(self._command),
                    stdin=-3,  # subprocess.DEVNULL
                    stdout=2,  # ours may be read by a machine
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, **told},
                )
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise AdapterFailed(f"{self._command[0]}: {error.strerror}") from error
            raise
        self._socket = ours

    async def reroute(self) -> None:
        """Routes are the program's business."""

    def deliver(self, packets: list[bytes]) -> None:
        """Give the program what came out of the tunnel."""
        for packet in packets:
            try:
                if self._socket is not None:
                    self._socket.send(packet)
            except OSError:
                self.dropped += 1

    async def run(self) -> None:
        """Send what the program sends. Raises AdapterFailed when it ends, as openconnect gives up then."""
        assert self._process is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            code = await self._process.wait()
            nursery.cancel_scope.cancel()
        raise AdapterFailed(f"{self._command[0]} has ended with {code}")

    async def aclose(self) -> None:
        """End the program."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with trio.CancelScope(shield=True):
                process.terminate()
                with trio.move_on_after(FAREWELL_SECONDS):
                    await process.wait()
                process.kill()
                await process.wait()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _read(self) -> None:
        assert self._socket is not None
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            for _ in range(BATCH):
                try:
                    self._send(self._socket.recv(65535))
                except BlockingIOError:
                    break
                except OSError:
                    return


def environment(settings: AdapterSettings) -> dict[str, str]:
    """The settings by vpnc-script's names."""
    ip4, ip6 = settings.ip4, settings.ip6
    told = {
        "reason": "connect",
        "VPNGATEWAY": settings.headend,
        "INTERNAL_IP4_MTU": settings.mtu,
        "INTERNAL_IP4_ADDRESS": ip4 and ip4.ip,
        "INTERNAL_IP4_NETMASK": ip4 and ip4.netmask,
        "INTERNAL_IP4_NETMASKLEN": ip4 and ip4.network.prefixlen,
        "INTERNAL_IP6_ADDRESS": ip6 and ip6.ip,
        "INTERNAL_IP6_NETMASK": ip6,
        "INTERNAL_IP4_DNS": " ".join(map(str, settings.dns)),
        "CISCO_DEF_DOMAIN": settings.domain if _DOMAIN.fullmatch(settings.domain) else None,
        **_split("INC", settings.routes),
        **_split("EXC", settings.excluded),
    }
    return {name: str(value) for name, value in told.items() if value is not None}


def _split(kind: str, networks: Sequence[Network]) -> dict[str, str]:
    told = {}
    for prefix, version in (("CISCO_SPLIT", 4), ("CISCO_IPV6_SPLIT", 6)):
        mine = [network for network in networks if network.version == version and network.prefixlen]
        if mine:
            told[f"{prefix}_{kind}"] = str(len(mine))
        for number, network in enumerate(mine):
            told[f"{prefix}_{kind}_{number}_ADDR"] = str(network.network_address)
            told[f"{prefix}_{kind}_{number}_MASK"] = str(network.netmask)
            told[f"{prefix}_{kind}_{number}_MASKLEN"] = str(network.prefixlen)
    return told
