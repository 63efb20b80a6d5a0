"""Host scan and authorization over sockets: before the first login, and never for a resume (S137, S138)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest
import trio

from asa_emu.app import Running
from asa_emu.headend.posture import SCAN_LIFETIME
from asa_emu.wire.auth_xml import init, parse_server_document_untrusted
from client_emu.connection import ConnectFailed
from client_emu.events import Reconnected
from tests.headend_lab import CONFIG, Answer, RawClient, client, headend, login_document

SCANNED = CONFIG.replace("webvpn\n", "webvpn\n hostscan enable\n", 1).replace(
    "tunnel-group STAFF webvpn-attributes\n",
    "tunnel-group STAFF general-attributes\n authorization-server-group LOCAL\n authorization-required\n"
    "tunnel-group STAFF webvpn-attributes\n",
)
INIT = init("https://vpn/", version="4.10.07061", device_id="linux-64", group_select="staff")


@pytest.fixture
async def gate(mock_time: None, state: Path, log: object) -> AsyncIterator[Running]:
    async with headend(state, SCANNED) as running:
        yield running


def counted(running: Running) -> dict[str, int]:
    return asdict(running.gateway.headend.counters)


@pytest.mark.statement("S136")
@pytest.mark.statement("S137")
@pytest.mark.statement("S138")
async def test_first_login_takes_every_step_once_and_a_resume_takes_none(gate: Running) -> None:
    once = {"authentications": 1, "authorizations": 1, "host_scans": 1, "host_scan_reports": 1}
    async with client(gate, "user001") as vpn:
        assert counted(gate) == once
        for lose in (vpn.reconnect, vpn.drop_tcp):
            lose()
            await vpn.next_event(Reconnected)
            assert counted(gate) == once
        token = vpn.token
        await vpn.detach()
    async with client(gate, "user001", token=token, password=None):
        assert counted(gate) == once
    async with client(gate, "user002"):
        assert counted(gate) == dict.fromkeys(once, 2)


async def test_off_by_default(asa: Running) -> None:
    async with client(asa, "user001"):
        pass
    assert counted(asa) == {
        "authentications": 1,
        "authorizations": 0,
        "host_scans": 0,
        "host_scan_reports": 0,
    }


async def test_the_exchange_on_the_wire(gate: Running) -> None:
    async with await RawClient.open(gate) as raw:
        scan = parse_server_document_untrusted((await raw.request("POST", "/", INIT)).body).host_scan
        assert scan is not None
        assert scan.required
        assert scan.base_uri is not None
        assert scan.wait_uri is not None
        cookie = [("Cookie", f"sdesktop={scan.token}")]

        async def post(path: str, body: bytes, headers: list[tuple[str, str]]) -> Answer:
            return await raw.request("POST", path, body, headers)

        found = await raw.request("GET", f"/+CSCOE+/sdesktop/token.xml?ticket={scan.ticket}&stub=0")
        assert f"<token>{scan.token}</token>".encode() in found.body
        assert b"<data>" in (await raw.request("GET", scan.base_uri)).body
        assert b'http-equiv="refresh"' in (await raw.request("GET", scan.wait_uri, headers=cookie)).body
        # no report yet: a password is not looked at
        refused = await post("/", login_document("user001"), cookie)
        assert parse_server_document_untrusted(refused.body).host_scan is not None
        assert counted(gate)["authentications"] == 0
        report = "/+CSCOE+/sdesktop/scan.xml?reusebrowser=1"
        assert (await post(report, b"<x>", [])).status == 401
        assert (await post(report, b" ", cookie)).status == 400
        assert (await post(report, b'endpoint.os.version="Linux";', cookie)).status == 200
        assert b"refresh" not in (await raw.request("GET", scan.wait_uri, headers=cookie)).body
        form = parse_server_document_untrusted((await post("/", INIT, cookie)).body)
        assert form.host_scan is None
        done = await post("/", login_document("user001"), cookie)
        assert parse_server_document_untrusted(done.body).session_token
        # used up by the login
        assert (await post(report, b"x", cookie)).status == 401
        assert (await raw.request("GET", f"/+CSCOE+/sdesktop/token.xml?ticket={scan.ticket}")).status == 404


async def test_a_scan_that_takes_too_long_starts_again(gate: Running) -> None:
    async with await RawClient.open(gate) as raw:
        scan = parse_server_document_untrusted((await raw.request("POST", "/", INIT)).body).host_scan
        assert scan is not None
        await trio.sleep(SCAN_LIFETIME)
        cookie = [("Cookie", f"sdesktop={scan.token}")]
    async with await RawClient.open(gate) as raw:
        assert (await raw.request("POST", "/+CSCOE+/sdesktop/scan.xml", b"x", cookie)).status == 401
        again = parse_server_document_untrusted((await raw.request("POST", "/", INIT, cookie)).body)
        assert again.host_scan is not None
        assert again.host_scan.token != scan.token


async def test_a_client_without_xml_is_refused_with_a_reason(gate: Running) -> None:
    with pytest.raises(ConnectFailed, match="403"):
        async with client(gate, "user001", xml_post=False):
            pass
    assert counted(gate)["authentications"] == 0
