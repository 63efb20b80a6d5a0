"""A failover pair in one process: roles, what is carried, who has to wait, and a store in any weather."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path
from typing import Any

import pytest
import trio

from asa_emu.ha.records import End, Entry, derive_key, encode_entry
from asa_emu.ha.unit import State
from asa_emu.serve.store import StoreSilent
from asa_emu.serve.vpn_port import VpnPort
from asa_emu.session.events import SessionEnded, SessionEvent
from asa_emu.session.model import EndReason
from asa_emu.transport.openssl import TlsBroken
from asa_emu.wire.auth_xml import logout
from tests.failover_lab import (
    Weather,
    eventually,
    freeze,
    freeze_active,
    in_step,
    messages,
    pair,
    state_of,
    store_of,
    switch,
    table,
)
from tests.headend_lab import RawClient, client, login_document, request
from tests.portal_lab import CONFIG as PORTAL_CONFIG
from tests.portal_lab import browser
from tests.portal_lab import log_in as log_in_by_page
from tests.statement_lab import MINUTE, Laptop, configure, configured, console, manage, until

pytestmark = pytest.mark.usefixtures("mock_time", "log")

KEPT_ALIVE = configured("vpn-idle-timeout 10", webvpn=("anyconnect ssl keepalive 20",))
HOLD = 15.0


# Roles


async def test_the_primary_serves_and_the_secondary_is_ready(state: Path) -> None:
    async with pair(state) as units:
        primary, secondary = units.units
        assert (state_of(primary), state_of(secondary)) == (State.ACTIVE, State.READY)
        assert primary.https == secondary.https
        assert primary.manage != secondary.manage
        assert primary.pin == secondary.pin
        assert primary.gateway.acts
        assert not secondary.gateway.acts
        assert messages(primary, 104001) == [
            "1-104001: (Primary) Switching to ACTIVE - No Active unit found."
        ]
        await trio.sleep(2)
        assert len(messages(primary, 709003, 709004)) == 2
        assert len(messages(secondary, 709005, 709006)) == 2
        mine: Any = await manage(primary, "GET", "/v1/failover")
        theirs: Any = await manage(secondary, "GET", "/v1/failover")
        assert (mine["role"], mine["state"], mine["fence"]) == ("active", "Active", 1)
        assert (theirs["role"], theirs["state"], theirs["fence"]) == ("standby", "Standby Ready", 1)
        assert mine["mate"]["state"] == "Standby Ready"
        assert theirs["mate"]["state"] == "Active"
        assert len(mine["intervals"]) == 1
        assert theirs["intervals"] == []


async def test_no_failover_active_and_back_again(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000") as vpn:
        primary, secondary = units.units
        await trio.sleep(5)
        assert await console(primary, "no failover active") == ""
        await until(lambda: state_of(secondary) is State.ACTIVE)
        assert messages(primary, 104002) == [
            "1-104002: (Primary) Switching to STANDBY - Set by the config command."
        ]
        assert messages(secondary, 104001) == [
            "1-104001: (Secondary) Switching to ACTIVE - Other unit wants me Active."
        ]
        await trio.sleep(MINUTE)
        assert (await vpn.ping("10.77.0.1")).received == 1
        assert await console(primary, "failover active") == ""
        await until(lambda: state_of(primary) is State.ACTIVE)
        await trio.sleep(MINUTE)
        assert (await vpn.ping("10.77.0.1")).received == 1
        await in_step(units)
        assert await console(secondary, "no failover active") == ""  # it is not: nothing happens
        assert state_of(primary) is State.ACTIVE
        ours = [(await manage(unit, "GET", "/v1/failover"))["intervals"] for unit in units.units]
        spans = sorted(
            (span["since"], span["until"] or 1e9, span["fence"]) for spans in ours for span in spans
        )
        assert [fence for _, _, fence in spans] == [1, 2, 3]
        for (_, ended, _), (began, _, _) in itertools.pairwise(spans):
            assert ended <= began


async def test_a_frozen_unit_is_missed_after_the_hold_time(state: Path) -> None:
    async with pair(state) as units:
        await trio.sleep(5)
        after = units.standby
        frozen_at = trio.current_time()
        freeze(units.active)
        await eventually(lambda: state_of(after) is State.ACTIVE, 11 * HOLD)
        assert HOLD - 1 <= trio.current_time() - frozen_at <= HOLD + 2
        assert messages(after, 104001)[-1].endswith("HELLO not heard from mate.")
        assert len(messages(after, 103001, 105005)) == 2


async def test_a_unit_that_cannot_bind_lets_the_other_one_go_on(state: Path, log: list[Any]) -> None:
    async with pair(state) as units:
        before, after = units.active, units.standby
        await trio.sleep(5)
        assert before.link is not None
        assert after.link is not None
        binds = after.link._bind

        def in_use(_port: VpnPort) -> None:
            raise OSError(errno.EADDRINUSE, "Address already in use")

        after.link._bind = in_use
        before.link.switch(active=False)
        await eventually(lambda: state_of(after) is State.FAILED, 11 * HOLD)
        after.link._bind = binds
        assert len(messages(after, 104003)) == 1
        await eventually(lambda: state_of(before) is State.ACTIVE, 11 * HOLD)
        await eventually(lambda: state_of(after) is State.READY, 11 * HOLD)
        assert len(messages(after, 104004)) == 1
    (entry,) = [entry for entry in log if entry["event"] == "failover.cannot_serve"]
    log.remove(entry)  # the one error that is in order here


async def test_a_mate_that_stops_is_not_handed_over_to(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000") as vpn:
        active, standby = units.active, units.standby
        await trio.sleep(5)
        standby.stopping.set()
        await trio.sleep(0.5)
        active.stopping.set()
        assert "Administrator Reset" in str(await vpn.wait_ended())


async def test_a_pair_is_ready_when_its_units_know_each_other(state: Path) -> None:
    async with pair(state) as units:
        assert (await manage(units.active, "GET", "/v1/failover"))["mate"]["state"] == "Standby Ready"
        assert (await manage(units.standby, "GET", "/v1/failover"))["mate"]["state"] == "Active"


async def test_who_is_thrown_out_finds_the_other_unit_at_once(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        before, after = units.active, units.standby
        await trio.sleep(5)
        assert before.link is not None
        async with await RawClient.open(before) as raw:
            token = await raw.log_in("user000")
            before.link.switch(active=False)
            with pytest.raises(TlsBroken):
                await raw.answer()
        async with await RawClient.open(after) as raw:
            await raw.connect(token)


async def test_a_takeover_is_told_before_what_becomes_of_the_sessions(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000"):
        await in_step(units)
        active = await switch(units)
        said = [line[2:8] for line in messages(active, 104001, 716058)]
        assert said == ["104001", "716058"]
        said = [line[2:8] for line in messages(units.standby, 104002, 725007)]
        assert said[0] == "104002"


async def test_timers_are_those_that_a_unit_was_started_with(state: Path, log: list[Any]) -> None:
    async with pair(state) as units:
        await configure(units.active, "failover polltime unit 2 holdtime 20")
        await trio.sleep(3)
        for unit in units.units:
            shown = await console(unit, "show failover")
            assert "Unit Poll frequency 1 seconds, holdtime 15 seconds" in shown
            assert "holdtime 20" in await console(unit, "show running-config failover")
        assert [entry for entry in log if entry["event"] == "failover.timers_differ"]


# What is carried


async def test_times_go_on_where_they_were(state: Path) -> None:
    quiet = ("anyconnect ssl keepalive 600", "anyconnect dpd-interval gateway none")
    config = configured("vpn-idle-timeout 10", "vpn-session-timeout 30", webvpn=quiet)
    async with pair(state, config) as units, Laptop(units.active) as laptop:
        await laptop.connect(dtls=False)
        login_at = laptop.session.login_at
        await trio.sleep(9 * MINUTE)
        await laptop.ping()
        await trio.sleep(3 * MINUTE)
        await in_step(units)
        laptop.running = active = await switch(units)
        session = laptop.session
        assert session.login_at == pytest.approx(login_at, abs=0.1)
        assert session.inactive_since == pytest.approx(active.gateway.now(), abs=0.5)
        ended: list[SessionEvent] = []
        active.gateway.headend.db.subscribe(ended.append)
        await trio.sleep(9 * MINUTE)
        assert laptop.alive()
        await laptop.connect(dtls=False)
        await trio.sleep(8 * MINUTE)
        assert laptop.alive()
        await trio.sleep(2 * MINUTE)
        (end,) = [event for event in ended if isinstance(event, SessionEnded)]
        assert end.reason is EndReason.SESSION_TIMEOUT
        assert end.duration == pytest.approx(30 * MINUTE, abs=1)


async def test_inactivity_counts_from_the_takeover(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, Laptop(units.active) as laptop:
        await laptop.connect()
        await in_step(units)
        laptop.running = await freeze_active(units)
        taken_at = laptop.session.inactive_since
        await trio.sleep(10 * MINUTE - 2)
        assert laptop.session.inactive_since == taken_at
        await trio.sleep(4)
        assert not laptop.alive()


async def test_a_session_that_waited_already_goes_on_waiting(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, Laptop(units.active) as laptop:
        await laptop.connect(dtls=False)
        await laptop.cut_tls()
        lost_at = laptop.session.inactive_since
        await trio.sleep(5 * MINUTE)
        await in_step(units)
        laptop.running = await switch(units)
        assert laptop.session.inactive_since == lost_at
        await trio.sleep(6 * MINUTE)
        assert not laptop.alive()


async def test_a_logged_off_token_is_dead_on_both_units(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, Laptop(units.active) as laptop:
        await laptop.connect()
        await in_step(units)
        assert await manage(units.active, "POST", "/v1/logoff", {"name": "user000"}) == {"logged_off": 1}
        await in_step(units)
        assert len(units.standby.gateway.headend.db) == 0
        assert len(messages(units.standby, 721018)) == 1
        laptop.running = await freeze_active(units)
        assert (await laptop.try_connect()).status == 401


async def test_addresses_that_the_mate_knows_are_told(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        await trio.sleep(2)
        async with client(units.active, "user000") as vpn:
            address = vpn.ip4
        await trio.sleep(1)
        assert messages(units.active, 737029, 737031) == [
            f"6-737029: IPAA: Added {address} to standby",
            f"6-737031: IPAA: Removed {address} from standby",
        ]


async def test_an_address_held_on_one_unit_is_not_given_again_by_the_other(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, Laptop(units.active, "user000") as one:
        await one.connect(dtls=False)
        await in_step(units)
        active = await switch(units)
        async with Laptop(active, "user001") as other:
            await other.connect(dtls=False)
            assert other.session.ip4 != one.header("X-CSTP-Address")
            assert other.session.index == 2


async def test_a_portal_session_is_carried(state: Path) -> None:
    async with pair(state, PORTAL_CONFIG) as units, browser(units.active) as web:
        await log_in_by_page(web, "user001")
        await in_step(units)
        assert len(units.standby.gateway.headend.db) == 1
        active = await switch(units)
        page = await web.get(f"https://{active.https}/+CSCOE+/portal.html")
        assert "Logged in" in page.text
        await web.post(
            f"https://{active.https}/+webvpn+/webvpn_logout.html",
            headers={"Origin": f"https://{active.https}"},
        )
        await in_step(units)
        assert table(units.standby) == []


async def test_configuration_and_clock_follow_the_active_unit(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        primary, secondary = units.units
        await configure(
            primary, "hostname renamed", "ip local pool NEW 10.78.0.1-10.78.0.9 mask 255.255.255.0"
        )
        await manage(primary, "POST", "/v1/clock", {"advance": 3600})
        await trio.sleep(3)
        config = secondary.gateway.headend.config
        assert config.hostname == "renamed"
        assert "NEW" in config.pools
        assert config.failover.unit == "secondary"
        assert abs(secondary.gateway.now() - primary.gateway.now()) < 0.1
        await manage(primary, "POST", "/v1/clock", {"rate": 60})
        await trio.sleep(3)
        assert secondary.gateway.timeline.rate == 60
        assert abs(secondary.gateway.now() - primary.gateway.now()) < 6


async def test_a_standby_shows_sessions_and_touches_none(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, Laptop(units.active) as laptop:
        await laptop.connect()
        await in_step(units)
        standby = units.standby
        assert "ERROR" in await console(standby, "vpn-sessiondb logoff all noconfirm")
        with pytest.raises(AssertionError, match="409"):
            await manage(standby, "POST", "/v1/logoff", {"all": True})
        (row,) = await manage(standby, "GET", "/v1/sessions")
        assert [tunnel["kind"] for tunnel in row["tunnels"]] == ["parent", "ssl", "dtls"]
        await trio.sleep(30 * MINUTE)  # far beyond any timeout
        await manage(standby, "POST", "/v1/clock", {"advance": 3600})
        await eventually(lambda: table(units.active) == table(standby))


async def test_stopping_the_pair_tells_the_clients(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000") as vpn:
        await in_step(units)
        await trio.sleep(5)
        units.stopping.set()
        end = await vpn.wait_ended()
        assert "Administrator Reset" in str(end)


# Who has to wait


async def test_a_login_is_answered_when_the_mate_knows(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        await in_step(units)
        weather = Weather(units.active)
        weather.append_may = trio.Event()
        async with await RawClient.open(units.active) as raw:
            await raw.say(request("POST", "/", login_document("user000")))
            await until(lambda: len(units.active.gateway.headend.db) == 1)
            with trio.move_on_after(3) as waited:
                await raw.answer()
            assert waited.cancelled_caught
            assert table(units.standby) == []
            weather.append_may.set()
            assert (await raw.answer()).status == 200
            await in_step(units)
            assert len(table(units.standby)) == 1


async def test_a_login_that_was_never_answered_may_be_lost(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        await in_step(units)
        weather = Weather(units.active)
        weather.append_may = trio.Event()
        async with await RawClient.open(units.active) as raw:
            await raw.say(request("POST", "/", login_document("user000")))
            await until(lambda: len(units.active.gateway.headend.db) == 1)
            active = await freeze_active(units)
            assert len(active.gateway.headend.db) == 0
            with trio.move_on_after(3) as waited:
                await raw.answer()
            assert waited.cancelled_caught


async def test_a_unit_that_stands_by_answers_nobody_who_waits(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        await in_step(units)
        before = units.active
        weather = Weather(before)
        weather.append_may = trio.Event()
        async with await RawClient.open(before) as raw:
            await raw.say(request("POST", "/", login_document("user000")))
            await until(lambda: len(before.gateway.headend.db) == 1)
            await switch(units)
            with pytest.raises(TlsBroken):
                await raw.answer()


async def test_an_address_is_told_when_the_mate_knows_and_so_is_a_logout(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        await in_step(units)
        async with await RawClient.open(units.active) as raw:
            token = await raw.log_in("user000")
            await in_step(units)
            weather = Weather(units.active)
            weather.append_may = trio.Event()
            with trio.move_on_after(3) as waited:
                await raw.connect(token)
            assert waited.cancelled_caught
            assert units.standby.gateway.headend.db.by_index(1) is not None
            weather.append_may.set()
            answer = await raw.connect_answer()
            assert answer.status == 200
            await in_step(units)
            (row,) = table(units.standby)
            assert row.addresses.ip4 == answer.headers["x-cstp-address"]
            weather.append_may = trio.Event()
            async with await RawClient.open(units.active) as other:
                await other.say(
                    request("POST", "/", logout(token, version="4.10.07061", device_id="linux-64"))
                )
                with trio.move_on_after(3) as waited:
                    await other.answer()
                assert waited.cancelled_caught
                weather.append_may.set()
                assert (await other.answer()).status == 200
            await in_step(units)
            assert table(units.standby) == []


async def test_what_is_sent_ahead_of_an_answer_that_waits_is_not_lost(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        await in_step(units)
        async with await RawClient.open(units.active) as raw:
            page = request("GET", "/+CSCOE+/portal.css")
            await raw.say(request("POST", "/", login_document("user000")) + page)
            answer = await raw.answer()
            assert answer.status == 200
            assert (await raw.answer()).status == 200
            token = answer.body.partition(b"<session-token>")[2].partition(b"</session-token>")[0].decode()
            await raw.connect(token, pipelined=b"STF\x01\x00\x00\x03\x00")
            await raw.expect(4)


# The store


async def test_a_store_that_is_down_does_not_stop_the_active_unit(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000"):
        primary, secondary = units.units
        await in_step(units)
        await trio.sleep(5)
        skies = [Weather(unit) for unit in units.units]
        for weather in skies:
            weather.sky = "down"
        await trio.sleep(3 * HOLD)
        assert (state_of(primary), state_of(secondary)) == (State.ACTIVE, State.READY)
        async with client(primary, "user001") as other:
            assert (await other.ping("10.77.0.1")).received == 1
            assert "(down)" in await console(primary, "show failover")
            status = await manage(primary, "GET", "/v1/failover")
            assert (status["link"], status["mate"]) == ("down", None)
            assert len(messages(primary, 105043)) == 1
            assert len(messages(primary, 737028)) > 0
            assert len(table(secondary)) <= 1
            for weather in skies:
                weather.sky = "clear"
            await in_step(units)
            assert len(messages(primary, 105042)) == 1
        assert (await manage(primary, "GET", "/v1/failover"))["link"] == "up"
        assert state_of(primary) is State.ACTIVE


async def test_a_unit_that_is_cut_off_stops_before_the_other_one_begins(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000") as vpn:
        primary, secondary = units.units
        await in_step(units)
        weather = Weather(primary)
        weather.sky = "silent"
        assert primary.link is not None
        while state_of(secondary) is not State.ACTIVE:
            assert not (primary.gateway.acts and secondary.gateway.acts)
            await trio.sleep(0.1)
        assert not primary.gateway.acts
        assert primary.link.status().intervals[-1].until is not None  # before it has looked itself
        await trio.sleep(MINUTE)
        weather.sky = "clear"
        await eventually(lambda: state_of(primary) is State.READY, 11 * HOLD)
        await trio.sleep(MINUTE)
        assert (await vpn.ping("10.77.0.1")).received == 1
        (mine,) = (await manage(primary, "GET", "/v1/failover"))["intervals"]
        (theirs,) = (await manage(secondary, "GET", "/v1/failover"))["intervals"]
        assert mine["until"] <= theirs["since"]


async def test_a_unit_cut_off_for_a_moment_goes_on_with_its_connections(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000") as vpn:
        await in_step(units)
        source = vpn.tcp_source
        weather = Weather(units.active)
        weather.sky = "silent"
        await trio.sleep(HOLD / 2)
        weather.sky = "clear"
        await trio.sleep(5)
        assert vpn.tcp_source == source
        assert (await vpn.ping("10.77.0.1")).received == 1


async def test_garbage_in_the_store_stops_nobody(state: Path, log: list[Any]) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000") as vpn:
        await in_step(units)
        shelf = store_of(units).shelf
        stranger = encode_entry(derive_key("other", ""), [End(1)], fence=9, number=1, sent=0.0, next_index=1)
        for entry in (stranger, Entry(b"", (b"\xff",)), Entry(b"asa-emu/2 head 00 {}", ())):
            shelf._position += 1
            shelf._log.append((shelf._position, entry))
        shelf._lease = b"mine now"
        shelf._hellos = {"primary": (b"{", 0.0), "secondary": (b"\x00", 0.0)}
        await trio.sleep(2 * HOLD)
        assert state_of(units.units[0]) is State.ACTIVE
        assert (await vpn.ping("10.77.0.1")).received == 1
        async with client(units.active, "user001"):
            await in_step(units)
        reasons = {str(entry["reason"]) for entry in log if entry["event"] == "failover.refused"}
        assert {"no record", "a record of b'asa-emu/2', this unit reads asa-emu/1"} <= reasons


async def test_a_standby_that_missed_entries_reads_everything_anew(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        await in_step(units)
        shelf = store_of(units).shelf
        weather = Weather(units.standby)
        weather.sky = "silent"
        async with client(units.active, "user000"), client(units.active, "user001"):
            await trio.sleep(1)
            shelf._log.clear()
            weather.sky = "clear"
            await in_step(units)


async def test_a_stored_table_that_somebody_has_touched_is_written_again(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units, client(units.active, "user000"):
        await in_step(units)
        shelf = store_of(units).shelf
        assert units.standby.link is not None
        units.standby.link.reader.forget_all()
        weather = Weather(units.standby)
        weather.sky = "silent"
        shelf._sessions.clear()
        shelf._log.clear()
        weather.sky = "clear"
        units.standby.link._begin(units.standby.link._follow_anew)
        await trio.sleep(5)
        assert state_of(units.standby) is State.READY
        assert table(units.standby) == table(units.active) != []


async def test_a_reply_that_is_lost_makes_nothing_twice(state: Path) -> None:
    async with pair(state, KEPT_ALIVE) as units:
        await in_step(units)
        store: Any = store_of(units)
        written = store.append
        losing = 3

        async def append_and_forget(*arguments: Any) -> bool:
            nonlocal losing
            outcome = await written(*arguments)
            if losing:
                losing -= 1
                raise StoreSilent("the answer is lost")
            return bool(outcome)

        store.append = append_and_forget
        async with client(units.active, "user000"):
            await in_step(units)
        await in_step(units)
