"""A tunnel without traffic costs nothing but its probes: no limit of its login is left to wake anybody."""

from __future__ import annotations

import trio

from asa_emu.app import Running
from asa_emu.session.model import EndReason
from asa_emu.wire.frames import PacketType
from tests.headend_lab import session_of, tunnel


async def test_a_tunnel_has_no_limit_left_from_its_login(asa: Running) -> None:
    limits = asa.gateway.limits
    async with tunnel(asa, "user000") as raw:
        assert len(limits) == 0
        await trio.sleep(25)  # past the limit of the handshake
        await raw.expect(PacketType.KEEPALIVE)
        await raw.ping()


async def test_a_tunnel_that_is_told_its_end_gets_a_limit_again(asa: Running) -> None:
    gateway = asa.gateway
    async with tunnel(asa, "user000") as raw:
        gateway.headend.db.end(session_of(asa, "user000"), EndReason.ADMIN_RESET, gateway.now())
        gateway.after_batch()
        assert len(gateway.limits) == 1
        await raw.expect(PacketType.DISCONNECT)
        assert await raw.ended(limit=5.0)
        assert len(gateway.limits) == 0
