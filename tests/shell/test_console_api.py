"""`POST /v1/cli`: a line by the management API, named sessions, and what live changes do to clients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from asa_emu.app import HostPort, Options, Running, run_headend
from asa_emu.serve import console
from asa_emu.transport.contexts import client_context
from tests.headend_lab import CONFIG, RawClient, session_of, tunnel

INVALID = "ERROR: % Invalid input detected at '^' marker.\n"


async def post(running: Running, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Call the API; status and answer."""
    headers = {"Authorization": f"Bearer {running.manage_token}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
        response = await http.post(f"http://{running.manage}{path}", json=body)
    return response.status_code, response.json()


async def cli(running: Running, line: str, **options: Any) -> dict[str, Any]:
    """One line; the answer."""
    status, answer = await post(running, "/v1/cli", {"line": line, **options})
    assert status == 200, answer
    return answer


async def test_a_line_begins_privileged_and_is_answered_without_echo_prompt_or_pages(asa: Running) -> None:
    assert await cli(asa, "show curpriv") == {
        "text": "Username : enable_15\nCurrent privilege level : 15\nCurrent Mode/s : P_PRIV\n",
        "prompt": "ciscoasa#",
    }
    assert (await cli(asa, "show foo"))["text"] == f"{' ' * 15}^\n{INVALID}"
    assert len((await cli(asa, "show running-config all"))["text"].splitlines()) > 24


async def test_a_name_keeps_the_mode_between_calls(asa: Running) -> None:
    assert (await cli(asa, "configure terminal", session="a"))["prompt"] == "ciscoasa(config)#"
    assert (await cli(asa, "webvpn", session="a"))["prompt"] == "ciscoasa(config-webvpn)#"
    assert (await cli(asa, "show clock"))["prompt"] == "ciscoasa#"
    assert (await cli(asa, "show clock", session="b"))["prompt"] == "ciscoasa#"
    assert (await cli(asa, "show clock", session="a"))["prompt"] == "ciscoasa(config-webvpn)#"
    await cli(asa, "end", session="a")
    assert "Logoff" in (await cli(asa, "exit", session="a"))["text"]
    assert (await cli(asa, "disable", session="a"))["prompt"] == "ciscoasa>"
    assert (await cli(asa, "enable", session="a"))["prompt"] == "Password:"
    assert (await cli(asa, "", session="a"))["prompt"] == "ciscoasa#"


async def test_only_so_many_names_are_remembered(asa: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "MAX_NAMED", 2)
    for name in ("first", "second", "first", "third"):
        await cli(asa, "configure terminal", session=name)
    assert (await cli(asa, "", session="first"))["prompt"] == "ciscoasa(config)#"
    assert (await cli(asa, "", session="second"))["prompt"] == "ciscoasa#"


async def test_a_person_is_asked_for_confirmation_and_a_program_is_not(asa: Running) -> None:
    async with tunnel(asa, "user001"), tunnel(asa, "user002"):
        asked = await cli(asa, "vpn-sessiondb logoff name user001", session="me", interactive=True)
        assert asked == {
            "text": "",
            "prompt": "Do you want to logoff the VPN session(s)? [confirm]",
            "hidden": True,
            "closed": False,
        }
        assert len(asa.gateway.headend.db) == 2
        done = await cli(asa, "y", session="me", interactive=True)
        assert done["text"] == 'INFO: Number of sessions with name "user001" logged off : 1\n'
        answer = await cli(asa, "vpn-sessiondb logoff all")
        assert answer["text"] == 'INFO: Number of sessions of type "all" logged off : 1\n'


@pytest.mark.parametrize(
    "body", [{}, {"line": 1}, {"line": "x" * 5000}, {"line": "", "session": ""}, {"line": "", "shout": True}]
)
async def test_a_bad_body_is_told_what_is_wrong(asa: Running, body: dict[str, Any]) -> None:
    status, answer = await post(asa, "/v1/cli", body)
    assert status == 422
    assert answer["error"]


@pytest.mark.statement("S10")
async def test_the_sessions_are_shown_as_they_are(asa: Running) -> None:
    async with tunnel(asa, "user001") as raw:
        session = session_of(asa, "user001")
        text = (await cli(asa, "show vpn-sessiondb detail anyconnect"))["text"]
        assert f"Username     : user001                Index        : {session.index}\n" in text
        assert "Protocol     : AnyConnect-Parent SSL-Tunnel\n" in text
        assert session.ssl is not None
        assert f"TCP Src Port : {session.ssl.facts.peer.port}\n" in text
        await raw.ping()
    assert (await cli(asa, "show vpn-sessiondb anyconnect filter name user002"))["text"].startswith("INFO: ")


@pytest.mark.statement("S35")
@pytest.mark.statement("S43")
async def test_a_changed_group_policy_is_for_new_tunnels(asa: Running) -> None:
    async with tunnel(asa, "user001") as old:
        lines = ["configure terminal", "group-policy DfltGrpPolicy attributes", "webvpn"]
        lines += ["anyconnect dpd-interval client 77", "anyconnect ssl keepalive 111", "show clock"]
        for line in lines:
            assert "ERROR" not in (await cli(asa, line, session="admin"))["text"]
        await old.ping()
        async with await RawClient.open(asa) as new:
            answer = await new.connect(await new.log_in("user002"))
            assert answer.headers["x-cstp-dpd"] == "77"
            assert answer.headers["x-cstp-keepalive"] == "111"


async def test_the_clock_is_bent_by_a_line_and_what_is_due_happens(asa: Running) -> None:
    async with tunnel(asa, "user001"):
        before = asa.gateway.now()
        text = (await cli(asa, "emulator clock advance 2h"))["text"]
        assert text.endswith("Rate: 1\n")
        assert asa.gateway.now() - before >= 7200
        assert session_of(asa, "user001").ssl is None
        await cli(asa, "emulator clock rate 60")
        assert asa.gateway.timeline.rate == 60


async def test_write_memory_writes_the_file_it_was_loaded_from(
    mock_time: None, state: Path, tmp_path: Path
) -> None:
    file = tmp_path / "asa.cfg"
    file.write_text(CONFIG, encoding="utf-8")
    file.chmod(0o640)
    options = Options(config=file, listen=HostPort("127.0.0.1", 0), state=state)
    async with trio.open_nursery() as nursery:
        running = await nursery.start(run_headend, options)
        for line in ("configure terminal", "hostname vpn-1", "write memory"):
            answer = await cli(running, line, session="a")
        assert answer["text"].endswith("[OK]\n")
        assert (await cli(running, "show startup-config | include hostname"))["text"] == "hostname vpn-1\n"
        nursery.cancel_scope.cancel()
    assert file.read_text(encoding="utf-8").startswith("hostname vpn-1\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert not file.with_name(f".asa.cfg.{os.getpid()}").exists()


@pytest.mark.statement("S87")
@pytest.mark.statement("S88")
@pytest.mark.statement("S89")
@pytest.mark.statement("S90")
async def test_inactive_sessions_are_found_and_logged_off(asa: Running) -> None:
    logoff = "vpn-sessiondb logoff inactive"
    async with tunnel(asa, "user001") as one, tunnel(asa, "user002") as other:
        async with tunnel(asa, "user003"):
            pass  # its connection is lost
        await one.ping()
        text = (await cli(asa, "show vpn-sessiondb anyconnect filter inactive"))["text"]
        assert text.count("Username") == 1
        assert "Username     : user003 " in text
        assert INVALID in (await cli(asa, logoff))["text"]
        await cli(asa, "emulator feature CSCuh55707")
        assert (await cli(asa, logoff))["text"].endswith("logged off : 1\n")
        await cli(asa, "vpn-sessiondb logoff name user001")
        assert await one.ended()
        await other.ping()
        assert [session.username for session in asa.gateway.headend.db.sessions()] == ["user002"]


async def test_a_group_that_begins_to_want_certificates_makes_the_handshake_ask(asa: Running) -> None:
    assert not await asks_for_certificate(asa)
    for line in ("configure terminal", "tunnel-group STAFF webvpn-attributes", "authentication certificate"):
        await cli(asa, line, session="admin")
    assert await asks_for_certificate(asa)
    await cli(asa, "no authentication", session="admin")
    assert not await asks_for_certificate(asa)


async def asks_for_certificate(running: Running) -> bool:
    """Whether the headend's handshake asks for a client certificate."""
    states: list[bytes] = []
    context = client_context()
    context.set_info_callback(lambda connection, _where, _code: states.append(connection.get_state_string()))
    async with await RawClient.open(running, context=context):
        return any(b"certificate request" in state for state in states)
