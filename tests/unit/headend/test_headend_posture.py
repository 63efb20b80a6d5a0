"""Host scan, authorization and client images, without a socket: who is asked for what, and how often."""

from __future__ import annotations

import itertools

import pytest

from asa_emu.aaa.passwords import hash_password
from asa_emu.config import ClientImage, parse_config
from asa_emu.headend.headend import Caller, ClientCertificate, Headend
from asa_emu.headend.login import NO_PORTAL, NO_SCAN, Answer, Ask, Denied, Granted, Login
from asa_emu.headend.packages import image_for, package_of
from asa_emu.headend.posture import MAX_SCANS, SCAN_LIFETIME, Posture
from asa_emu.session.model import Peer, TunnelKind
from asa_emu.wire.auth_xml import ClientDocument

NOW = 1000.0
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) Test/1"
CONFIG = """\
username walter password secret
webvpn
 hostscan enable
 tunnel-group-list enable
tunnel-group STAFF type remote-access
tunnel-group STAFF webvpn-attributes
 group-alias staff enable
tunnel-group GUESTS type remote-access
tunnel-group GUESTS webvpn-attributes
 group-alias guests enable
 without-csd
"""


def headend(config: str) -> Headend:
    numbers = itertools.count(1)

    def random_bytes(count: int) -> bytes:
        return next(numbers).to_bytes(count, "big")

    def hasher(plain: str, scheme: str) -> str:
        return hash_password(plain, b"salt", "sha256")

    return Headend(parse_config(config, hasher=hasher), random_bytes)


def caller(certificate: ClientCertificate | None = None, agent: str = "AnyConnect Linux_64 4.9") -> Caller:
    return Caller(
        Peer("192.0.2.1", 40000), 443, "vpn", agent, "TLSv1.3", "TLS_AES_128_GCM_SHA256", certificate
    )


def init(group: str = "staff") -> ClientDocument:
    return ClientDocument("init", group_select=group)


def reply(group: str = "staff", password: str = "secret", scan_token: str | None = None) -> ClientDocument:
    fields = {"username": "walter", "password": password}
    return ClientDocument("auth-reply", group_select=group, fields=fields, host_scan_token=scan_token)


def ask(login: Login, document: ClientDocument, scan_token: str | None = None, now: float = NOW) -> Answer:
    return login.document(document, "/", None, caller(), now, scan_token=scan_token)


@pytest.mark.statement("S138")
def test_a_host_scan_comes_before_the_password_and_is_used_up_by_the_login() -> None:
    lab = headend(CONFIG)
    login = Login(lab)
    first = ask(login, init())
    assert isinstance(first, Ask)
    assert first.host_scan is not None
    assert first.form.fields
    token = first.host_scan.token
    assert token is not None
    # neither the token alone nor a good password opens anything before the report
    for document, shown in ((init(), token), (reply(), None), (reply(), token), (reply(), "beef")):
        again = ask(login, document, shown)
        assert isinstance(again, Ask)
        assert again.host_scan is not None
    assert lab.counters.authentications == 0
    assert login.posture.report(token, b'endpoint.os.version="Linux";', NOW)
    form = ask(login, init(), token)
    assert isinstance(form, Ask)
    assert form.host_scan is None
    wrong = ask(login, reply(password="guess"), token)
    assert isinstance(wrong, Ask)
    assert wrong.host_scan is None
    assert isinstance(ask(login, reply(scan_token=token)), Granted)
    assert lab.counters.host_scan_reports == 1
    assert not login.posture.passed(token, NOW)


def test_a_scan_has_a_time_limit() -> None:
    lab = headend(CONFIG)
    posture = Posture(lab)
    scan = posture.demand(NOW)
    assert scan.token is not None
    assert scan.ticket is not None
    assert posture.token_for(scan.ticket, NOW) == scan.token
    assert not posture.report(scan.token, b"  \n", NOW)
    assert posture.report(scan.token, b"x", NOW + SCAN_LIFETIME - 1)
    assert not posture.passed(scan.token, NOW + SCAN_LIFETIME)
    assert posture.token_for(scan.ticket, NOW + SCAN_LIFETIME) is None
    assert posture.token_for("x", NOW) is None
    posture.use_up("unknown")


def test_a_flood_of_scans_forgets_the_oldest() -> None:
    posture = Posture(headend(CONFIG))
    first = posture.demand(NOW)
    for _ in range(MAX_SCANS):
        posture.demand(NOW)
    assert not posture.known(first.token, NOW)
    assert first.ticket is not None
    assert posture.token_for(first.ticket, NOW) is None


def test_a_profile_without_csd_is_not_scanned() -> None:
    login = Login(headend(CONFIG))
    form = ask(login, init("guests"))
    assert isinstance(form, Ask)
    assert form.host_scan is None
    assert isinstance(ask(login, reply("guests")), Granted)


def test_a_client_without_xml_is_turned_away_where_a_scan_is_wanted() -> None:
    login = Login(headend(CONFIG))
    fields = {"username": "walter", "password": "secret", "group_list": "staff"}
    assert login.legacy_form("/", caller(), NOW) == Denied(403, NO_SCAN)
    assert login.legacy_reply(fields, "/", None, caller(), NOW) == Denied(403, NO_SCAN)
    fields = {"username": "walter", "password": "secret", "group_list": "guests"}
    assert isinstance(login.legacy_reply(fields, "/", None, caller(), NOW), Granted)


@pytest.mark.statement("S5a")
@pytest.mark.statement("S19")
def test_the_portal_opens_a_clientless_session_in_the_browsers_words() -> None:
    login = Login(headend(CONFIG))
    granted = login.portal_reply(
        {"username": "walter", "password": "secret"}, None, None, caller(agent=BROWSER), NOW
    )
    assert isinstance(granted, Granted)
    parent = granted.session.parent
    assert parent.kind is TunnelKind.CLIENTLESS
    assert parent.facts.client_type == "Web Browser"
    assert parent.facts.client_ver == BROWSER
    assert (parent.facts.protocol, parent.facts.encryption) == ("TLSv1.3", "AES-GCM-128")


@pytest.mark.parametrize(("protocols", "let_in"), [("ssl-client", False), ("ssl-clientless", True)])
def test_the_portal_takes_ssl_clientless(protocols: str, let_in: bool) -> None:
    policy = f"group-policy DfltGrpPolicy attributes\n vpn-tunnel-protocol {protocols}\n"
    login = Login(headend("username walter password secret\n" + policy))
    answer = login.portal_reply({"username": "walter", "password": "secret"}, None, None, caller(), NOW)
    assert isinstance(answer, Granted) is let_in
    if isinstance(answer, Ask):
        assert answer.form.error == NO_PORTAL
    client = ask(login, ClientDocument("auth-reply", fields={"username": "walter", "password": "secret"}))
    assert isinstance(client, Granted) is not let_in


AUTHORIZED = """\
username walter password secret
tunnel-group DefaultWEBVPNGroup general-attributes
 authorization-server-group LOCAL
 {required}
 username-from-certificate CN
tunnel-group DefaultWEBVPNGroup webvpn-attributes
 authentication certificate
"""


@pytest.mark.statement("S137")
@pytest.mark.parametrize(
    ("required", "name", "let_in"),
    [
        ("authorization-required", "walter", True),
        ("authorization-required", "nobody", False),
        ("", "nobody", True),
    ],
)
def test_authorization_is_a_step_of_the_login(required: str, name: str, let_in: bool) -> None:
    lab = headend(AUTHORIZED.format(required=required))
    certificate = ClientCertificate({"CN": name}, None)
    answer = Login(lab).document(ClientDocument("init"), "/", None, caller(certificate), NOW)
    assert isinstance(answer, Granted) is let_in
    assert lab.counters.authorizations == 1
    assert lab.counters.authentications == 0


@pytest.mark.parametrize(
    ("strip", "name", "user"),
    [
        ("strip-realm", "walter@lab@example.test", None),
        ("strip-realm", "walter@example.test", "walter"),
        ("strip-realm", "walter", "walter"),
        ("no strip-realm", "walter@example.test", None),
    ],
)
def test_a_realm_is_stripped_where_the_profile_says_so(strip: str, name: str, user: str | None) -> None:
    config = (
        f"username walter password secret\ntunnel-group DefaultWEBVPNGroup general-attributes\n {strip}\n"
    )
    lab = headend(config)
    fields = {"username": name, "password": "secret"}
    ask(Login(lab), ClientDocument("auth-reply", fields=fields))
    assert [session.username for session in lab.db.sessions()] == ([] if user is None else [user])
    certificate = ClientCertificate({"CN": name}, None)
    config += " username-from-certificate CN\ntunnel-group DefaultWEBVPNGroup webvpn-attributes\n"
    lab = headend(f"{config} authentication certificate\n")
    Login(lab).document(ClientDocument("init"), "/", None, caller(certificate), NOW)
    (session,) = lab.db.sessions()
    assert (session.username == "walter") is (user is not None)


WIN = ClientImage("disk0:/anyconnect-win-4.10.07061-webdeploy-k9.pkg", 3)
MAC = ClientImage("disk0:/anyconnect-darwin-4.9.1-k9.pkg", 5)
LINUX = ClientImage("disk0:/dir/anyconnect-linux64-4.10.07061-webdeploy-k9.pkg", 7)
SPECIAL = ClientImage("disk0:/other-5.0.1.pkg", 9, "Special")
NAMELESS = ClientImage("disk0:/windows.pkg", 1, ".*")


@pytest.mark.parametrize(
    ("agent", "image"),
    [
        ("AnyConnect Windows 4.10.07061", WIN),
        ("AnyConnect Darwin_i386 4.10", MAC),
        ("AnyConnect Linux_64 4.10.07061", LINUX),
        ("Open AnyConnect VPN Agent v9.01", LINUX),
        ("AnyConnect Windows Special", SPECIAL),
        ("x" * 300 + "Special", None),
        ("", None),
    ],
)
def test_a_client_gets_the_image_of_its_platform(agent: str, image: ClientImage | None) -> None:
    assert image_for((NAMELESS, WIN, MAC, LINUX, SPECIAL), agent) == image


@pytest.mark.timeout(10)
def test_no_user_agent_makes_an_images_expression_take_long() -> None:
    bomb = ClientImage("disk0:/other-5.0.1.pkg", 9, "(a+)+$")
    assert image_for((bomb,), "a" * 100) == bomb
    assert image_for((bomb,), "a" * 100 + "!") is None


def test_an_image_is_a_package_under_its_number() -> None:
    package = package_of(LINUX)
    assert package.path == "/CACHE/stc/7/binaries/anyconnect-linux64-4.10.07061-webdeploy-k9.pkg"
    assert (package.version, package.os) == ("4.10.07061", "linux-64")
