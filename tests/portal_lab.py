"""What the tests of the web portal share: its configuration, a browser without a screen, and form fields."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import AsyncIterator

import httpx

from asa_emu.app import Running
from client_emu.client import Client
from client_emu.launch import Launch, parse_launch_untrusted
from client_emu.options import ClientOptions
from tests.headend_lab import PASSWORD

TOTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ACCEPT = "text/html,application/xhtml+xml,*/*;q=0.8"
CONFIG = f"""\
hostname gate
ip local pool POOL 10.77.0.10-10.77.0.250 mask 255.255.255.0
webvpn
 enable outside
 tunnel-group-list enable
group-policy DfltGrpPolicy attributes
 banner value Be <b>good</b>.
 vpn-idle-timeout 30
 vpn-tunnel-protocol ssl-client ssl-clientless
 address-pools value POOL
group-policy PAGES internal
group-policy PAGES attributes
 vpn-tunnel-protocol ssl-clientless
group-policy CLIENTS internal
group-policy CLIENTS attributes
 vpn-tunnel-protocol ssl-client
tunnel-group STAFF type remote-access
tunnel-group STAFF webvpn-attributes
 group-alias staff enable
tunnel-group PAGES type remote-access
tunnel-group PAGES general-attributes
 default-group-policy PAGES
tunnel-group PAGES webvpn-attributes
 group-alias pages enable
 group-url https://vpn.example.test/pages enable
tunnel-group CLIENTS type remote-access
tunnel-group CLIENTS general-attributes
 default-group-policy CLIENTS
tunnel-group CLIENTS webvpn-attributes
 group-alias clients enable
!emu users user 000-099 password {PASSWORD}
username walter password {PASSWORD}
!emu username walter totp {TOTP}
"""


@contextlib.asynccontextmanager
async def browser(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A browser as far as HTTP goes: it keeps cookies and follows redirects."""
    async with httpx.AsyncClient(
        base_url=f"https://{running.https}",
        verify=_trusting(),
        headers={"User-Agent": AGENT, "Accept": ACCEPT},
        follow_redirects=True,
        trust_env=False,
    ) as client:
        yield client


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def log_in(
    web: httpx.AsyncClient, user: str, password: str = PASSWORD, group: str | None = "staff", **fields: str
) -> httpx.Response:
    """Fill in the login page."""
    form = {"username": user, "password": password, **fields}
    if group is not None:
        form["group_list"] = group
    return await web.post("/+webvpn+/index.html", data=form)


async def launch_file(web: httpx.AsyncClient) -> Launch:
    """What "Start AnyConnect" saves."""
    answer = await web.post("/+CSCOE+/launch")
    assert answer.status_code == 200, answer.text
    return parse_launch_untrusted(answer.content)


def launched(running: Running, launch: Launch) -> Client:
    """The client that a launch file starts, not connected yet."""
    options = ClientOptions(gateway=launch.gateway, pin=launch.pin, token=launch.token)
    return Client(options, timeline=running.gateway.timeline)


def inputs(page: str) -> dict[str, str]:
    """The names and types of a page's inputs."""
    found = {}
    for tag in re.findall(r"<(?:input|select)[^>]*>", page):
        name, kind = re.search(r'name="([^"]*)"', tag), re.search(r'type="([^"]*)"', tag)
        if name:
            found[name[1]] = kind[1] if kind else "select"
    return found
