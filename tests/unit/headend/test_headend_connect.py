"""What a group-policy says to a client with CONNECT, and what a change at the console changes in it."""

import pytest

from asa_emu.headend.connect import Grant, connect
from asa_emu.headend.headend import Caller
from asa_emu.session import Peer
from asa_emu.wire.headers import ConnectRequest
from tests.cli_lab import Desk, old_facts

CONFIG = """\
ip local pool A 10.0.0.1-10.0.0.3 mask 255.255.255.0
group-policy DfltGrpPolicy attributes
 address-pools value A
 webvpn
username walter password secret
"""
CALLER = Caller(Peer("192.0.2.1", 1), 443, "", "agent", "TLSv1.3", "TLS_AES_256_GCM_SHA384")


@pytest.fixture
def desk() -> Desk:
    desk = Desk(CONFIG)
    desk.type("configure terminal", "group-policy DfltGrpPolicy attributes")
    return desk


def policy_headers(desk: Desk) -> dict[str, str]:
    """What a session that logs in now is told of its policy."""
    headend = desk.headend
    desk.now += 1
    headend.db.login(
        token=f"token-{desk.now}",
        username="walter",
        tunnel_group="DefaultWEBVPNGroup",
        policy=headend.policy("walter", "DefaultWEBVPNGroup"),
        facts=old_facts(1, "AnyConnect", "4.10"),
        now=desk.now,
    )
    request = ConnectRequest(token=f"token-{desk.now}")
    answer = connect(headend, request, CALLER, lambda _label, size: bytes(size), None, desk.now)
    assert isinstance(answer, Grant)
    lines = answer.policy_lines.decode().splitlines()
    return dict(line.removeprefix("X-CSTP-").split(": ", 1) for line in lines)


def proxy(headers: dict[str, str]) -> dict[str, str]:
    return {
        name.removeprefix("MSIE-Proxy-"): value for name, value in headers.items() if name.startswith("MSIE-")
    }


def test_the_browsers_proxy(desk: Desk) -> None:
    assert proxy(policy_headers(desk)) == {"Lockdown": "true"}
    for line in (
        "msie-proxy server value proxy.lab.test:8080",
        "msie-proxy pac-url value http://proxy.lab.test/proxy.pac",
        "msie-proxy except-list value 10.0.0.1 10.0.0.2",
        "msie-proxy local-bypass enable",
        "msie-proxy lockdown disable",
    ):
        assert desk.type(line) == ""
    assert proxy(policy_headers(desk)) == {"Lockdown": "false"}
    desk.type("msie-proxy method use-server")
    assert proxy(policy_headers(desk)) == {
        "Lockdown": "false",
        "Method": "use-server",
        "Server": "proxy.lab.test:8080",
        "Bypass-Local": "true",
    }
    desk.type("msie-proxy method auto-detect use-pac-url")
    assert proxy(policy_headers(desk)) == {
        "Lockdown": "false",
        "Method": "auto-detect,use-pac-url",
        "PAC-URL": "http://proxy.lab.test/proxy.pac",
    }
    assert desk.type("show running-config | include msie").count("\n") == 6
    desk.type("no msie-proxy method", "no msie-proxy lockdown")
    assert proxy(policy_headers(desk)) == {"Lockdown": "true"}


def test_what_clients_are_told_about_routes_and_always_on(desk: Desk) -> None:
    headers = policy_headers(desk)
    assert headers["Disable-Always-On-VPN"] == headers["Routing-Filtering-Ignore"] == "false"
    desk.type("webvpn", "always-on-vpn disable", "anyconnect routing-filtering-ignore enable")
    headers = policy_headers(desk)
    assert headers["Disable-Always-On-VPN"] == headers["Routing-Filtering-Ignore"] == "true"
    desk.type("always-on-vpn profile-setting", "no anyconnect routing-filtering-ignore")
    headers = policy_headers(desk)
    assert headers["Disable-Always-On-VPN"] == headers["Routing-Filtering-Ignore"] == "false"
