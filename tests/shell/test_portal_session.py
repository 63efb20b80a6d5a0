"""The web portal over sockets: log in, read, start a tunnel, lose it, log out, time out."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pyotp
import pytest
import trio

from asa_emu.app import Running
from asa_emu.cli.show_sessiondb import render_sessions
from asa_emu.session.events import SessionEnded
from asa_emu.session.model import EndReason, Session, TunnelKind
from client_emu.events import Disconnected, Dtls
from tests.headend_lab import INSIDE, PASSWORD, RawClient, client, headend, record_events, session_of
from tests.portal_lab import AGENT, CONFIG, TOTP, browser, inputs, launch_file, launched, log_in


@pytest.fixture
async def gate(mock_time: None, state: Path, log: object) -> AsyncIterator[Running]:
    async with headend(state, CONFIG) as running:
        yield running


def kinds(session: Session) -> list[str]:
    return [tunnel.kind.value for tunnel in session.tunnels]


@pytest.mark.parametrize("path", ["/", "/+webvpn+/index.html", "/pages"])
async def test_a_browser_is_led_to_the_login_page_and_a_client_to_its_form(gate: Running, path: str) -> None:
    async with browser(gate) as web:
        page = await web.get(path)
        assert page.url.path == "/+CSCOE+/logon.html"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "<h1>Log in</h1>" in page.text
        for agent in ("Open AnyConnect VPN Agent v9.01", AGENT):
            form = await web.get(path, headers={"User-Agent": agent, "Accept": "*/*"})
            assert form.history == []
            assert b"<auth id=" in form.content


async def test_the_group_list_is_shown_unless_a_group_url_has_chosen(gate: Running) -> None:
    async with browser(gate) as web:
        page = (await web.get("/")).text
        assert inputs(page) == {"group_list": "select", "username": "text", "password": "password"}
        assert '<option value="staff" selected>staff</option>' in page
        page = (await web.get("/pages")).text
        assert inputs(page) == {"group_url": "hidden", "username": "text", "password": "password"}
        await log_in(web, "user000", group=None, group_url="/pages")
        assert session_of(gate, "user000").tunnel_group == "PAGES"


async def test_what_leads_nowhere_is_not_shown_again(gate: Running) -> None:
    async with browser(gate) as web:
        page = await web.get("/+CSCOE+/logon.html", params={"group_url": '/"><b>', "said": "<i>"})
        assert "<b>" not in page.text
        assert "<i>" not in page.text
        assert "group_url" not in page.text


async def test_a_wrong_password_is_told_and_the_name_is_kept(gate: Running) -> None:
    async with browser(gate) as web:
        page = await log_in(web, '"><b>user', "wrong-secret")
        assert page.status_code == 200
        assert '<p class="error" role="alert">Login failed.</p>' in page.text
        assert 'value="&#34;&gt;&lt;b&gt;user"' in page.text
        assert "wrong-secret" not in page.text
        assert "webvpn" not in web.cookies
        assert len(gate.gateway.headend.db) == 0


async def test_a_second_factor_is_a_second_page(gate: Running) -> None:
    async with browser(gate) as web:
        page = await log_in(web, "walter")
        assert inputs(page.text) == {"answer": "password"}
        page = await web.post("/+webvpn+/index.html", data={"answer": "000000"})
        assert "Login failed." in page.text
        assert inputs(page.text) == {"answer": "password"}
        code = pyotp.TOTP(TOTP).at(int(gate.gateway.now()))
        page = await web.post("/+webvpn+/index.html", data={"answer": code})
        assert page.url.path == "/+CSCOE+/portal.html"
        assert "Welcome, walter" in page.text
        assert "webvpncontext" not in web.cookies


@pytest.mark.statement("S4a")
@pytest.mark.statement("S5a")
@pytest.mark.statement("S13")
@pytest.mark.statement("S19")
@pytest.mark.statement("S21")
async def test_weblaunch_adds_the_tunnels_to_the_clientless_session(gate: Running) -> None:
    async with browser(gate) as web:
        page = await log_in(web, "user001")
        session = session_of(gate, "user001")
        assert kinds(session) == ["Clientless"]
        assert not session.is_anyconnect
        assert "Be &lt;b&gt;good&lt;/b&gt;." in page.text
        index = session.index
        async with launched(gate, await launch_file(web)) as vpn:
            assert (await vpn.next_event(Dtls)).up
            assert (await vpn.ping(INSIDE, limit=5.0)).received == 1
            session = session_of(gate, "user001")
            assert session.index == index
            assert kinds(session) == ["Clientless", "SSL-Tunnel", "DTLS-Tunnel"]
            assert [tunnel.id for tunnel in session.tunnels] == [f"{index}.{n}" for n in (1, 2, 3)]
            assert session.dtls is not None
            assert session.dtls.facts.client_ver == session.parent.facts.client_ver == AGENT
            assert session.dtls.facts.peer.port == vpn.udp_source_port
            shown = render_sessions([session], gate.gateway.now(), detail=True)
            assert "Protocol     : Clientless SSL-Tunnel DTLS-Tunnel\n" in shown
            block = shown.partition("\nClientless:\n")[2].partition("\nSSL-Tunnel:")[0]
            assert "Client Type  : Web Browser\n" in block
            assert f"Client Ver   : {AGENT}\n" in block
            assert "Encapsulation: TLSv1.3                TCP Dst Port : " in block
            assert block.rstrip().splitlines()[-1].startswith("  Bytes Tx     : ")
            page = await web.get("/+CSCOE+/portal.html")
            assert "SSL-Tunnel" in page.text
            assert "DTLS-Tunnel" in page.text
            assert str(vpn.ip4) in page.text


async def test_a_tunnel_of_the_portal_is_resumed_like_any_other(gate: Running) -> None:
    async with browser(gate) as web:
        await log_in(web, "user001")
        vpn = launched(gate, await launch_file(web))
        async with vpn:
            address = vpn.ip4
            await vpn.detach()
        session = session_of(gate, "user001")
        await trio.sleep(1)
        assert session.inactive
        assert (await web.get("/+CSCOE+/portal.html")).url.path == "/+CSCOE+/portal.html"
        async with launched(gate, await launch_file(web)) as vpn:
            assert vpn.ip4 == address
            assert session_of(gate, "user001") is session
            assert gate.gateway.headend.counters.authentications == 1


async def test_logging_out_ends_the_session_and_its_tunnels(gate: Running) -> None:
    async with browser(gate) as web, browser(gate) as other:
        await log_in(web, "user001")
        await log_in(other, "user002")
        told = record_events(gate)
        async with launched(gate, await launch_file(web)) as vpn:
            page = await web.post("/+webvpn+/webvpn_logout.html")
            assert page.url.path == "/+CSCOE+/logon.html"
            assert "You have logged out." in page.text
            assert "webvpn" not in web.cookies
            await vpn.wait_ended()
            (ended,) = [event for event in vpn.events if isinstance(event, Disconnected)]
            assert "User Requested" in str(ended.reason)
        assert [e.reason for e in told if isinstance(e, SessionEnded)] == [EndReason.USER_REQUESTED]
        assert gate.gateway.headend.db.by_user("user001") == ()
        assert "Welcome, user002" in (await other.get("/")).text


async def test_the_client_logging_off_ends_the_portals_session_too(gate: Running) -> None:
    async with browser(gate) as web:
        await log_in(web, "user001")
        async with launched(gate, await launch_file(web)):
            pass
        await trio.sleep(1)
        assert len(gate.gateway.headend.db) == 0
        page = await web.get("/+CSCOE+/portal.html")
        assert page.url.path == "/+CSCOE+/logon.html"
        assert "Your session has ended." in page.text


async def test_an_idle_portal_session_ends_and_a_look_at_the_page_keeps_it(gate: Running) -> None:
    told = record_events(gate)
    async with browser(gate) as web:
        await log_in(web, "user001")
        await trio.sleep(29 * 60)
        assert (await web.get("/+CSCOE+/portal.html")).url.path == "/+CSCOE+/portal.html"
        await trio.sleep(29 * 60)
        assert len(gate.gateway.headend.db) == 1
        await trio.sleep(61)
        (ended,) = [event for event in told if isinstance(event, SessionEnded)]
        assert ended.reason is EndReason.IDLE_TIMEOUT
        assert ended.kind is TunnelKind.CLIENTLESS
        assert (await web.get("/+CSCOE+/portal.html")).url.path == "/+CSCOE+/logon.html"


async def test_looking_at_the_page_does_not_stop_the_disconnected_timeout(gate: Running) -> None:
    async with browser(gate) as web:
        await log_in(web, "user001")
        async with launched(gate, await launch_file(web)) as vpn:
            await vpn.detach()
        await trio.sleep(20 * 60)
        await web.get("/+CSCOE+/portal.html")
        assert session_of(gate, "user001").parent_ends_at < math.inf
        await trio.sleep(10 * 60 + 5)
        assert len(gate.gateway.headend.db) == 0


async def test_who_may_use_pages_alone_gets_no_tunnel(gate: Running) -> None:
    async with browser(gate) as web:
        page = await log_in(web, "user001", group="pages")
        assert "Welcome, user001" in page.text
        assert "Start AnyConnect" not in page.text
        refused = await web.post("/+CSCOE+/launch")
        assert refused.status_code == 403
        token = web.cookies["webvpn"]
        async with await RawClient.open(gate) as raw:
            answer = await raw.connect(token)
        assert answer.status == 403
        assert kinds(session_of(gate, "user001")) == ["Clientless"]


async def test_who_may_use_clients_alone_gets_no_portal(gate: Running) -> None:
    async with browser(gate) as web:
        page = await log_in(web, "user001", group="clients")
        assert "Clientless (browser) SSL VPN access is not allowed." in page.text
        assert len(gate.gateway.headend.db) == 0
        async with client(gate, "user001", group="clients") as vpn:
            web.cookies.set("webvpn", str(vpn.token), domain="127.0.0.1")
            assert (await web.get("/+CSCOE+/portal.html")).url.path == "/+CSCOE+/logon.html"


async def test_pages_share_a_connection_with_other_requests(gate: Running) -> None:
    page = ("GET", "/+CSCOE+/logon.html")
    async with await RawClient.open(gate) as raw:
        for _ in range(3):
            assert b"<h1>Log in</h1>" in (await raw.request(*page)).body
            assert b"<auth id=" in (await raw.request("GET", "/")).body
        token = await raw.log_in("user003", PASSWORD)
        assert (await raw.connect(token)).status == 200
        await raw.ping()


async def test_keepout_closes_the_portal_to_new_sessions_alone(gate: Running) -> None:
    async with browser(gate) as web, browser(gate) as late:
        await log_in(web, "user001")
        editor = gate.gateway.headend.config.editor()
        for line in ("webvpn", 'keepout "Closed <until> noon"'):
            assert editor.execute(line).ok
        page = await late.get("/+CSCOE+/logon.html")
        assert "<h1>Closed &lt;until&gt; noon</h1>" in page.text
        assert inputs(page.text) == {}
        assert "Closed &lt;until&gt;" in (await log_in(late, "user002")).text
        assert [session.username for session in gate.gateway.headend.db.sessions()] == ["user001"]
        assert "Welcome, user001" in (await web.get("/+CSCOE+/portal.html")).text
        assert editor.execute("no keepout").ok
        assert inputs((await late.get("/+CSCOE+/logon.html")).text)
