"""What the source document says about failover (S63, S98-S103), on a pair over real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from asa_emu.session.events import SessionEvent, SessionInactive, TunnelDown
from asa_emu.session.model import DownReason, TunnelKind
from asa_emu.wire.frames import PacketType
from client_emu.lifecycle import Phase
from tests.failover_lab import freeze_active, in_step, messages, pair, switch
from tests.headend_lab import RawClient, client
from tests.statement_lab import HOME, MINUTE, Laptop, Shown, configured, console, until

pytestmark = pytest.mark.usefixtures("mock_time", "log")

KEPT_ALIVE = configured(webvpn=("anyconnect ssl keepalive 20", "anyconnect dpd-interval gateway 30"))


@pytest.mark.statement("S98")
async def test_the_standby_has_all_three_tunnels_of_a_session(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, Laptop(units.active) as laptop:
        await laptop.connect()
        await in_step(units)
        mine = await Shown.of(units.active)
        copy = await Shown.of(units.standby)
        assert copy.session["Protocol"] == "AnyConnect-Parent SSL-Tunnel DTLS-Tunnel"
        for field in ("Username", "Index", "Assigned IP", "Public IP", "Group Policy", "Tunnel Group"):
            assert copy.session[field] == mine.session[field]
        for block in ("AnyConnect-Parent", "SSL-Tunnel", "DTLS-Tunnel"):
            assert copy.blocks[block]["Tunnel ID"] == mine.blocks[block]["Tunnel ID"]
            assert copy.blocks[block]["Encryption"] == mine.blocks[block]["Encryption"]
        summary = await console(units.standby, "show vpn-sessiondb summary")
        assert "Total Active and Inactive    :      1" in summary
        (copied,) = messages(units.standby, 721016)
        assert copied.startswith("6-721016: (WebVPN-Secondary) WebVPN session for client user user000, IP ")


@pytest.mark.statement("S99")
async def test_a_failover_ends_both_tunnels_and_both_are_made_anew(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000") as vpn:
        await until(lambda: vpn.dtls_cipher is not None)
        await in_step(units)
        before = (vpn.tcp_source, vpn.udp_source_port)
        heard: list[SessionEvent] = []
        units.standby.gateway.headend.db.subscribe(heard.append)
        active = await switch(units)
        first = [event for event in heard if isinstance(event, TunnelDown | SessionInactive)][:3]
        assert [type(event) for event in first] == [TunnelDown, TunnelDown, SessionInactive]
        downs = [event for event in first if isinstance(event, TunnelDown)]
        assert {event.kind for event in downs} == {TunnelKind.SSL, TunnelKind.DTLS}
        assert {event.reason for event in downs} == {DownReason.TAKEOVER}
        (session,) = active.gateway.headend.db.sessions()
        await until(lambda: session.dtls is not None, limit=MINUTE)
        assert session.ssl is not None
        assert session.ssl.number > 3
        assert vpn.tcp_source != before[0]
        assert vpn.udp_source_port != before[1]


@pytest.mark.statement("S100")
async def test_data_go_on_through_the_same_address_after_the_resume(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000") as vpn:
        address = vpn.ip4
        await in_step(units)
        answered: list[bool] = []

        async def ping_on() -> None:
            while True:
                answered.append((await vpn.ping("10.77.0.1", 1, limit=1.0)).received == 1)
                await trio.sleep(0.5)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ping_on)
            await trio.sleep(5)
            await switch(units)
            await trio.sleep(MINUTE)
            nursery.cancel_scope.cancel()
        assert all(answered[:9])
        assert all(answered[-20:])
        assert vpn.ip4 == address
        (session,) = units.active.gateway.headend.db.sessions()
        assert session.ip4 == address
        assert (await vpn.udp("10.77.0.1", 7, b"echo")) == b"echo"


@pytest.mark.statement("S101")
async def test_records_of_the_old_connections_mean_nothing_to_the_new_unit(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, Laptop(units.active) as laptop:
        await laptop.connect()
        await in_step(units)
        active = await freeze_active(units)
        (session,) = active.gateway.headend.db.sessions()
        # over UDP: the datagram arrives, and is of nobody
        dropped = active.gateway.dtls.dropped if active.gateway.dtls is not None else -1
        await laptop.udp.send(PacketType.DATA, laptop.tls.echo(7))
        await until(lambda: active.gateway.dtls is not None and active.gateway.dtls.dropped == dropped + 1)
        assert await laptop.udp.receive(1.0) is None
        # over TCP: a record of the old TLS connection is no beginning of a new one
        laptop.tls.stream.write_record(b"old")
        record = laptop.tls.stream.engine.output()
        stream = await trio.open_tcp_stream(HOME, active.https.port)
        await stream.send_all(record)
        heard = b""
        try:
            while data := await stream.receive_some():
                heard += data
        except trio.BrokenResourceError:
            pass
        assert heard[:1] in (b"", b"\x15")  # nothing, or an alert
        await stream.aclose()
        assert session.ssl is None
        assert session.dtls is None


@pytest.mark.statement("S102")
async def test_parent_and_token_are_all_that_a_resume_on_the_other_unit_needs(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, Laptop(units.active) as laptop:
        await laptop.connect()
        await in_step(units)
        index, address = laptop.session.index, laptop.session.ip4
        laptop.running = active = await switch(units)
        answer = await laptop.try_connect()
        assert answer.status == 200
        assert laptop.session.index == index
        assert laptop.session.ip4 == laptop.header("X-CSTP-Address") == address
        counters = active.gateway.headend.counters
        assert (counters.authentications, counters.authorizations, counters.host_scans) == (0, 0, 0)


@pytest.mark.statement("S103")
async def test_without_keepalives_a_session_is_not_carried_over(state: Path) -> None:
    config = configured(webvpn=("anyconnect ssl keepalive none", "anyconnect dpd-interval gateway 30"))
    async with pair(state, config) as units, Laptop(units.active) as laptop:
        await laptop.connect()
        await trio.sleep(5)
        assert len(units.active.gateway.headend.db) == 1
        assert len(units.standby.gateway.headend.db) == 0
        active = await switch(units)
        assert len(active.gateway.headend.db) == 0
        answer = await laptop.try_connect()
        assert answer.status == 401
        async with await RawClient.open(active) as raw:
            assert (await raw.connect(await raw.log_in("user000"))).status == 200


@pytest.mark.statement("S63")
@pytest.mark.parametrize("dpd", ["none", "30"])
async def test_only_a_client_with_dpd_notices_that_the_active_unit_is_dead(state: Path, dpd: str) -> None:
    config = configured(
        webvpn=(f"anyconnect dpd-interval client {dpd}", "anyconnect dpd-interval gateway none")
    )
    async with pair(state, config) as units, client(units.active, "user000") as vpn:
        await in_step(units)
        vpn.block_udp()
        source = vpn.tcp_source
        active = await freeze_active(units)
        (session,) = active.gateway.headend.db.sessions()
        await trio.sleep(10 * MINUTE)
        assert vpn.phase is Phase.CONNECTED
        if dpd == "none":
            assert vpn.tcp_source == source
            assert session.inactive
        else:
            assert vpn.tcp_source != source
            assert session.ssl is not None
            assert vpn.ip4 == session.ip4
        vpn.drop_tcp()  # its farewell would go to a unit that does not read
