"""The tunnels of a session, what each is for, and how the database shows them (S4-S29)."""

import re
from pathlib import Path

import pytest
import trio

from asa_emu.session.events import SessionCreated, SessionEnded
from asa_emu.session.model import EndReason
from asa_emu.wire.frames import PacketType
from tests.headend_lab import PSK_HEADERS, headend, record_events
from tests.statement_lab import MINUTE, SILENT, Laptop, Shown, configure, configured, console, until

pytestmark = pytest.mark.usefixtures("mock_time", "log")

ALL = "AnyConnect-Parent SSL-Tunnel DTLS-Tunnel"
QUIET = configured(webvpn=SILENT)


@pytest.mark.statement("S4", "S4b", "S5", "S5a", "S18", "S26")
async def test_login_makes_the_parent_and_each_tunnel_joins_it(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.log_in()
        shown = await Shown.of(running)
        assert shown.session["Protocol"] == "AnyConnect-Parent"
        assert "Assigned IP" not in shown.session
        await laptop.connect(dtls=False)
        shown = await Shown.of(running)
        assert shown.counts == {"AnyConnect-Parent": "1", "SSL-Tunnel": "1"}
        await laptop.connect()
        shown = await Shown.of(running)
        assert shown.session["Protocol"] == ALL
        assert shown.counts == {"AnyConnect-Parent": "1", "SSL-Tunnel": "1", "DTLS-Tunnel": "1"}
        assert [shown.blocks[kind]["Tunnel ID"] for kind in ALL.split()] == ["1.1", "1.3", "1.4"]


@pytest.mark.statement("S5b")
async def test_tls_carries_data_until_dtls_does_and_control_always(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect(dtls=False)
        ssl = laptop.session.ssl
        assert ssl is not None
        await laptop.tls.ping()
        assert (ssl.pkts_rx, ssl.pkts_tx) == (1, 1)
        await laptop.connect()
        ssl, dtls = laptop.session.ssl, laptop.session.dtls
        assert ssl is not None
        assert dtls is not None
        for sequence in range(3):
            await laptop.udp.ping(laptop.tls, sequence)
        assert (ssl.pkts_rx, ssl.pkts_tx) == (0, 0)
        assert (dtls.pkts_rx, dtls.pkts_tx) == (3, 3)
        await laptop.tls.send(PacketType.DPD_REQUEST, b"still here?")
        assert await laptop.tls.expect(PacketType.DPD_RESPONSE) == b"still here?"
        assert (ssl.pkts_rx, ssl.pkts_tx) == (0, 0)


@pytest.mark.statement("S5c")
async def test_dtls_that_falls_silent_goes_and_data_returns_to_tls(state: Path) -> None:
    async with headend(state, configured()) as running, Laptop(running) as laptop:
        await laptop.connect()
        address = laptop.session.ip4
        async with trio.open_nursery() as nursery:
            nursery.start_soon(laptop.answer_tls)
            await trio.sleep(149)
            assert laptop.protocol == ALL
            await trio.sleep(1.1)
            nursery.cancel_scope.cancel()
        assert laptop.protocol == "AnyConnect-Parent SSL-Tunnel"
        assert not laptop.session.inactive
        await laptop.tls.ping()
        shown = await Shown.of(running)
        assert shown.session["Assigned IP"] == address
        assert shown.session["Inactivity"] == "0h:00m:00s"
        assert "DTLS-Tunnel" not in shown.counts


@pytest.mark.statement("S6")
async def test_without_its_client_a_session_is_its_parent(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        await laptop.cut_dtls()
        await laptop.cut_tls()
        shown = await Shown.of(running, "anyconnect")
        assert "\nProtocol     : AnyConnect-Parent\n" in shown.text


@pytest.mark.statement("S7", "S136")
async def test_a_token_leads_to_its_own_session_alone(state: Path) -> None:
    async with (
        headend(state, QUIET) as running,
        Laptop(running, "user001") as one,
        Laptop(running, "user002") as two,
        Laptop(running, "user001") as thief,
    ):
        await one.connect()
        await two.connect()
        assert [one.session.index, two.session.index] == [1, 2]
        assert (one.session.username, two.session.username) == ("user001", "user002")
        for token, index in ((one.token, 1), (two.token, 2), (one.token, 1)):
            thief.token = token
            await thief.connect(dtls=False)
            assert thief.session.index == index
            assert thief.header("X-CSTP-Address") == thief.session.ip4
        for token in ("", "0" * 64, one.token[:-1], one.token + "0", one.token.upper()):
            thief.token = token
            assert (await thief.try_connect()).status == 401
        assert len(running.gateway.headend.db) == 2


@pytest.mark.statement("S8")
@pytest.mark.parametrize(
    ("policy", "lives", "reason"),
    [
        (("vpn-idle-timeout 5", "vpn-session-timeout 60"), 150 + 5 * MINUTE, EndReason.IDLE_TIMEOUT),
        (("vpn-idle-timeout 30", "vpn-session-timeout 4"), 4 * MINUTE, EndReason.SESSION_TIMEOUT),
    ],
)
async def test_a_sleeping_clients_parent_stays_until_idle_or_session_timeout(
    state: Path, policy: tuple[str, ...], lives: float, reason: EndReason
) -> None:
    async with headend(state, configured(*policy)) as running, Laptop(running) as laptop:
        told = record_events(running)
        await laptop.connect()
        began = laptop.session.login_at
        # the laptop sleeps: nothing is answered, and dead-peer detection takes the tunnels after 150 s
        await trio.sleep(151)
        assert laptop.protocol == "AnyConnect-Parent"
        await trio.sleep(lives - 151 - 1)
        assert not [event for event in told if isinstance(event, SessionEnded)]
        await trio.sleep(2)
        (end,) = [event for event in told if isinstance(event, SessionEnded)]
        assert end.reason is reason
        assert end.at - began == pytest.approx(lives, abs=0.1)


@pytest.mark.statement("S9", "S136")
async def test_a_reconnect_needs_the_token_and_no_password(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        told = record_events(running)
        await laptop.cut_dtls()
        await laptop.cut_tls()
        await configure(running, "no !emu users user 000-099")
        assert not (await Laptop(running).log_in()).token
        await laptop.connect()
        assert laptop.protocol == ALL
        assert not [event for event in told if isinstance(event, SessionCreated)]


@pytest.mark.statement("S10", "S11")
async def test_show_is_the_same_in_configuration_mode(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        line = "show vpn-sessiondb detail anyconnect"
        await console(running, "configure terminal", "x")
        configuring, privileged = await console(running, line, "x"), await console(running, line)
        assert configuring == privileged
        assert privileged.startswith("\nSession Type: AnyConnect Detailed\n\n")


@pytest.mark.statement("S12")
async def test_session_fields_stand_in_the_documents_order(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        await console(running, "emulator display 8.x")
        shown = await Shown.of(running)
        assert list(shown.session) == [
            *(
                "Username",
                "Index",
                "Assigned IP",
                "Public IP",
                "Protocol",
                "License",
                "Encryption",
                "Hashing",
            ),
            *("Bytes Tx", "Bytes Rx", "Pkts Tx", "Pkts Rx", "Pkts Tx Drop", "Pkts Rx Drop"),
            *("Group Policy", "Tunnel Group", "Login Time", "Duration", "Inactivity", "NAC Result"),
            *("VLAN Mapping", "VLAN"),
        ]


@pytest.mark.statement("S14", "S23")
async def test_ciphers_are_listed_by_tunnel_and_the_parent_has_none(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        shown = await Shown.of(running)
        for label in ("Encryption", "Hashing"):
            names = re.findall(r"(\S+): \((\d)\)(\S+)", shown.session[label])
            assert [name for name, _, _ in names] == ALL.split()
            assert {count for _, count, _ in names} == {"1"}
            assert names == [(kind, "1", shown.blocks[kind][label]) for kind in ALL.split()]
            assert shown.blocks["AnyConnect-Parent"][label] == "none"
        assert shown.blocks["SSL-Tunnel"]["Encryption"].startswith("AES")


@pytest.mark.statement("S15", "S16", "S24")
async def test_a_sessions_counters_are_the_sums_of_its_tunnels(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect(*PSK_HEADERS, dtls=False)
        await laptop.tls.ping()
        await laptop.open_dtls()
        for sequence in range(3):
            await laptop.udp.ping(laptop.tls, sequence)
        await laptop.tls.send(PacketType.DATA, b"\x00 no packet")
        await until(lambda: laptop.session.totals.drops_rx == 1)
        shown = await Shown.of(running)
        for label in ("Bytes Tx", "Bytes Rx", "Pkts Tx", "Pkts Rx", "Pkts Tx Drop", "Pkts Rx Drop"):
            total = sum(int(block.get(label, 0)) for block in shown.blocks.values())
            assert int(shown.session[label]) == total
        assert shown.session["Pkts Rx"] == "4"
        assert shown.blocks["DTLS-Tunnel"]["Pkts Rx"] == "3"
        assert shown.session["Bytes Tx"] != "0"


@pytest.mark.statement("S17", "S25")
async def test_times_have_the_documents_forms(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        await trio.sleep(11)
        await console(running, "emulator display 8.x")
        shown = await Shown.of(running)
        assert shown.session["Login Time"] == "22:13:24 UTC Fri Nov 30 2012"
        assert shown.session["Duration"] == "0h:00m:11s"
        assert shown.session["Inactivity"] == "0h:00m:00s"
        assert shown.session["NAC Result"] == "Unknown"
        assert (shown.session["VLAN Mapping"], shown.session["VLAN"]) == ("N/A", "none")


@pytest.mark.statement("S18")
async def test_a_lost_tunnel_is_no_longer_counted(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect()
        await laptop.cut_dtls()
        shown = await Shown.of(running)
        assert shown.counts == {"AnyConnect-Parent": "1", "SSL-Tunnel": "1"}
        assert list(shown.blocks) == ["AnyConnect-Parent", "SSL-Tunnel"]


@pytest.mark.statement("S5", "S20", "S21", "S27", "S28")
async def test_each_tunnel_shows_the_port_of_its_own_connection(state: Path) -> None:
    agent = ("User-Agent", "Cisco AnyConnect VPN Agent for Windows 3.1.01065")
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        laptop.agent = "AnyConnect Windows 3.1.01065"
        await laptop.connect(agent)
        await console(running, "emulator display 8.x")
        shown = await Shown.of(running)
        parent, ssl, dtls = (shown.blocks[kind] for kind in ALL.split())
        ports = [laptop.login_port, laptop.tls_port, laptop.udp_port]
        assert len(set(ports)) == 3
        assert [block["Tunnel ID"] for block in (parent, ssl, dtls)] == ["1.1", "1.2", "1.3"]
        assert [parent["TCP Src Port"], ssl["TCP Src Port"], dtls["UDP Src Port"]] == list(map(str, ports))
        assert {parent["TCP Dst Port"], ssl["TCP Dst Port"]} == {str(running.https.port)}
        assert running.dtls is not None
        assert dtls["UDP Dst Port"] == str(running.dtls.port)
        assert "Encapsulation" not in parent
        assert "Assigned IP" not in parent
        assert ssl["Encapsulation"] == "TLSv1.3"
        assert dtls["Encapsulation"] == "DTLSv1.2"
        assert {block["Auth Mode"] for block in (parent, ssl, dtls)} == {"userPassword"}
        types = [block["Client Type"] for block in (parent, ssl, dtls)]
        assert types == ["AnyConnect", "SSL VPN Client", "DTLS VPN Client"]
        # the parent and DTLS show what the login said, the SSL tunnel what CONNECT said
        assert [block["Client Ver"] for block in (parent, ssl, dtls)] == ["3.1.01065", agent[1], "3.1.01065"]


@pytest.mark.statement("S21")
async def test_a_dtls_tunnel_shows_its_compression(state: Path) -> None:
    config = configured(webvpn=(*SILENT, "anyconnect dtls compression lzs"))
    async with headend(state, config) as running, Laptop(running) as laptop:
        await laptop.connect(("X-DTLS-Accept-Encoding", "lzs"))
        assert (await Shown.of(running)).blocks["DTLS-Tunnel"]["Compression"] == "LZS"


@pytest.mark.statement("S22")
async def test_the_next_session_has_the_next_index_and_the_address_freed_last(state: Path) -> None:
    async with headend(state, QUIET) as running:
        async with Laptop(running, "user001") as one, Laptop(running, "user002") as two:
            await one.connect(dtls=False)
            await two.connect(dtls=False)
            first, second = one.session.ip4, two.session.ip4
            await console(running, "vpn-sessiondb logoff name user002 noconfirm")
            await console(running, "vpn-sessiondb logoff name user001 noconfirm")
        async with Laptop(running, "user001") as one, Laptop(running, "user003") as two:
            await one.connect(dtls=False)
            await two.connect(dtls=False)
            assert [one.session.index, two.session.index] == [3, 4]
            assert [one.session.ip4, two.session.ip4] == [first, second]


@pytest.mark.statement("S29")
async def test_idle_time_left_is_told_in_whole_minutes_rounded_down(state: Path) -> None:
    config = configured("vpn-idle-timeout 2", webvpn=SILENT)
    async with headend(state, config) as running, Laptop(running) as laptop:
        await laptop.connect()
        for seconds, left in ((1, "1 Minutes"), (60, "0 Minutes")):
            await trio.sleep(seconds)
            block = (await Shown.of(running)).blocks["SSL-Tunnel"]
            assert (block["Idle Time Out"], block["Idle TO Left"]) == ("2 Minutes", left)


@pytest.mark.statement("S33")
async def test_the_authors_remarks_are_not_printed(state: Path) -> None:
    async with headend(state, QUIET) as running, Laptop(running) as laptop:
        await laptop.connect(dtls=False)
        await laptop.cut_tls()
        for style in ("8.x", "9.x"):
            await console(running, f"emulator display {style}")
            assert "<-" not in (await Shown.of(running)).text
