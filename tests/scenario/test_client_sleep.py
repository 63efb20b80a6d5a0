"""A laptop that sleeps and wakes, as Windows, Mac and Linux do it, against the headend that waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from asa_emu.session.events import SessionResumed, TunnelDown
from asa_emu.session.model import DownReason
from client_emu import ConnectFailed, Disconnected, Dtls, Reconnected, Reconnecting
from client_emu.lifecycle import GAVE_UP, Phase
from client_emu.options import Platform
from client_emu.profile import parse_profile_untrusted
from tests.client_lab import MINUTE, USER, lab, names_of
from tests.headend_lab import INSIDE, client, record_events, session_of

pytestmark = pytest.mark.usefixtures("mock_time", "log")

RECONNECT = {"AutoReconnectBehavior": "ReconnectAfterResume"}
SEED_TEXT = """<AnyConnectProfile><ClientInitialization>
<AutoReconnect UserControllable="true">true
<AutoReconnectBehavior>ReconnectAfterResume</AutoReconnectBehavior>
</AutoReconnect></ClientInitialization></AnyConnectProfile>"""
SEED = parse_profile_untrusted(SEED_TEXT.encode())


@pytest.mark.statement("S68", "S70", "S73", "S75", "S78", "S129b")
@pytest.mark.parametrize("platform", [Platform.WINDOWS, Platform.MAC])
@pytest.mark.parametrize("asleep", [5.0, 10 * MINUTE])
async def test_with_the_documents_profile_a_woken_client_reconnects_at_session_level(
    state: Path, platform: Platform, asleep: float
) -> None:
    async with lab(state) as asa, client(asa, USER, platform=platform, profile=SEED) as vpn:
        await vpn.next_event(Dtls)
        told, session, address = record_events(asa), session_of(asa, USER), vpn.ip4
        vpn.suspend()
        await trio.sleep(asleep)
        # nothing was said: what the headend has lost, it has lost by its own DPD
        assert {event.reason for event in told if isinstance(event, TunnelDown)} <= {DownReason.DPD}
        assert session_of(asa, USER) is session
        vpn.resume()
        assert (await vpn.next_event(Reconnecting)).level == "session"
        assert await vpn.next_event(Reconnected) == Reconnected("session", address)
        assert (await vpn.ping(INSIDE)).received == 1
        assert sum(isinstance(event, SessionResumed) for event in told) == 1
        assert session_of(asa, USER) is session


@pytest.mark.statement("S76", "S112")
async def test_by_default_a_woken_client_is_disconnected_and_its_session_times_out(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER) as vpn:
        session = session_of(asa, USER)
        vpn.suspend()
        await trio.sleep(MINUTE)
        vpn.resume()
        end = await vpn.wait_ended()
        assert (end.event, end.exit_code) == (Disconnected("the system was suspended"), 0)
        await trio.sleep(MINUTE)
        # it said nothing, so the headend keeps the session until the idle timeout
        assert session.inactive
        assert not session.ended
        await trio.sleep(30 * MINUTE)
        assert session.ended


@pytest.mark.statement("S79")
@pytest.mark.parametrize("left_to_the_user", ["true", "false"])
async def test_the_users_choice_counts_where_the_profile_leaves_it(
    state: Path, left_to_the_user: str
) -> None:
    text = SEED_TEXT.replace("true", left_to_the_user, 1).replace(
        "ReconnectAfterResume", "DisconnectOnSuspend"
    )
    profile = parse_profile_untrusted(text.encode())
    async with lab(state) as asa, client(asa, USER, profile=profile, preferences=RECONNECT) as vpn:
        vpn.suspend()
        await trio.sleep(MINUTE)
        vpn.resume()
        if left_to_the_user == "true":
            assert (await vpn.next_event(Reconnected)).level == "session"
        else:
            await vpn.next_event(Disconnected)


@pytest.mark.statement("S111")
async def test_by_default_a_loss_of_connection_is_mended_all_the_same(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, dtls=False) as vpn:
        vpn.drop_tcp()
        assert (await vpn.next_event(Reconnected)).level == "tunnel"


@pytest.mark.statement("S129", "S129a", "S129b")
async def test_linux_notices_no_resume_and_begins_at_tunnel_level(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, platform=Platform.LINUX) as vpn:
        await vpn.next_event(Dtls)
        vpn.suspend()
        await trio.sleep(20)
        vpn.resume()
        assert names_of(vpn) == ["connected", "dtls"]
        # DisconnectOnSuspend is in force, and without effect
        assert vpn.options.preference("AutoReconnectBehavior") == "DisconnectOnSuspend"
        assert (await vpn.ping(INSIDE)).received == 1
        vpn.suspend()
        await trio.sleep(10 * MINUTE)
        vpn.resume()
        assert (await vpn.next_event(Reconnecting)).level == "tunnel"
        assert (await vpn.next_event(Reconnected)).level == "tunnel"


@pytest.mark.statement("S72", "S77")
@pytest.mark.parametrize(
    ("given", "reconnects"),
    [
        ({"version": "2.2"}, True),
        ({"version": "2.3(110)"}, True),
        ({"version": "2.3(111)"}, False),
        ({"version": "2.3(111)", "preferences": RECONNECT}, True),
        ({"quirks": frozenset({"CSCso17627"})}, True),
        ({"platform": Platform.LINUX, "quirks": frozenset()}, False),
        ({"platform": Platform.LINUX, "quirks": frozenset({"CSCsm69213"})}, True),
    ],
)
async def test_versions_and_known_bugs(state: Path, given: dict[str, Any], reconnects: bool) -> None:
    async with lab(state) as asa, client(asa, USER, **given) as vpn:
        vpn.suspend()
        await trio.sleep(MINUTE)
        vpn.resume()
        if reconnects:
            assert (await vpn.next_event(Reconnected)).level == "session"
        else:
            assert (await vpn.next_event(Disconnected)).reason == "the system was suspended"


@pytest.mark.statement("S69", "S71")
@pytest.mark.parametrize(
    ("lines", "minutes"), [(("vpn-session-timeout 1",), 1), (("vpn-idle-timeout 5",), 5)]
)
async def test_who_sleeps_past_the_timeout_is_not_resumed(
    state: Path, lines: tuple[str, ...], minutes: float
) -> None:
    async with lab(state, *lines) as asa, client(asa, USER, preferences=RECONNECT) as vpn:
        vpn.suspend()
        await trio.sleep(minutes * MINUTE + 1)
        vpn.resume()
        assert (await vpn.next_event(Disconnected)).reason == GAVE_UP
        assert "reconnecting" not in names_of(vpn)


@pytest.mark.statement("S71")
async def test_the_headend_refuses_who_slept_past_the_session_timeout_and_does_not_know(state: Path) -> None:
    async with lab(state, "vpn-session-timeout 1") as asa:
        async with client(asa, USER, platform=Platform.LINUX, dtls=False) as vpn:
            token = vpn.token
            vpn.suspend()
            await trio.sleep(61)
            vpn.resume()
            await vpn.wait_ended()
        with pytest.raises(ConnectFailed, match="refused the session"):
            await client(asa, USER, token=token).__aenter__()


async def test_sleep_in_the_middle_of_a_reconnect(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER, preferences=RECONNECT, dtls=False) as vpn:
        vpn.lose_cable()
        vpn.drop_tcp()
        await trio.sleep(5)
        vpn.suspend()
        vpn.restore_cable()
        await trio.sleep(MINUTE)
        assert vpn.phase is Phase.RECONNECTING
        vpn.resume()
        assert (await vpn.next_event(Reconnected)).level == "session"


async def test_who_leaves_asleep_leaves_in_silence(state: Path) -> None:
    async with lab(state) as asa:
        async with client(asa, USER) as vpn:
            session = session_of(asa, USER)
            vpn.suspend()
        await trio.sleep(5 * MINUTE)
        assert session.inactive
        assert not session.ended


async def test_nobody_sleeps_without_a_session(state: Path) -> None:
    async with lab(state) as asa, client(asa, USER) as vpn:
        await vpn.disconnect()
        with pytest.raises(ValueError, match="no session to suspend"):
            vpn.suspend()
