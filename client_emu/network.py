"""The physical network as this client sees it: a cable that can be pulled, UDP that can be blocked, a source
address.

Nothing here touches the machine's real interfaces. Whoever sends or receives asks first: a pulled cable holds
TCP back (the kernel keeps what arrives, as the network would retransmit it) and loses datagrams; blocked UDP
loses datagrams alone. That is what makes a silent loss possible in one process, with both ends alive and no
reset to give it away.
"""

from __future__ import annotations

import trio


class Network:
    """One client's way to the outside."""

    def __init__(self, source_address: str | None = None) -> None:
        self.source_address = source_address
        """Local address of connections opened from now on; None leaves it to the kernel."""
        self.udp_blocked = False
        self._plugged = trio.Event()
        self._plugged.set()

    @property
    def up(self) -> bool:
        """Whether the cable is plugged in."""
        return self._plugged.is_set()

    @property
    def carries_udp(self) -> bool:
        """Whether a datagram gets through."""
        return self.up and not self.udp_blocked

    def unplug(self) -> None:
        """Pull the cable; idempotent."""
        if self.up:
            self._plugged = trio.Event()

    def plug(self) -> None:
        """Plug it in again; idempotent."""
        self._plugged.set()

    async def carrier(self) -> None:
        """Wait until the cable is plugged in."""
        if not self.up:
            await self._plugged.wait()
