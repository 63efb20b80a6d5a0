"""openconnect 9.01 logs in to the headend in every way the headend knows, and is refused in all others."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest

from asa_emu.testing import running
from asa_emu.transport.certificates import Authority, open_authority
from tests.peers.lab import GATEWAY, PASSWORD, Lab, config, profile, serving, wait_until
from tests.peers.openconnect import Openconnect, authenticate

pytestmark = pytest.mark.peer("openconnect")

TOTP_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
UTF8_PASSWORD = "pässwörd-日本語-€"
BLANK_PASSWORD = '  two words, "quotes" \\ and an end  '

GROUPS = config(
    profile("staff", "banner value Welcome, staff.", attributes=["group-alias Staff enable"]),
    profile("guests", attributes=["group-alias Guests enable"]),
    profile("locked", "group-lock value staff", attributes=["group-alias Locked enable"]),
    profile("closed", "vpn-tunnel-protocol ssl-clientless"),
    profile("forbidden", "vpn-simultaneous-logins 0"),
    profile("single", "vpn-simultaneous-logins 1"),
    "username clara password nobody-knows\n",
    f"!emu username clara totp {TOTP_SECRET}\n",
    f"!emu username clara password {json.dumps(PASSWORD)}\n",
    f"username änne password {UTF8_PASSWORD}\n",
    "username bert password replaced\n",
    f"!emu username bert password {json.dumps(BLANK_PASSWORD)}\n",
    webvpn=["tunnel-group-list enable"],
)

CERTIFICATES = config(
    profile(
        "both",
        general=["username-from-certificate UID CN"],
        attributes=["authentication aaa certificate", "group-alias Both enable"],
    ),
    profile(
        "card",
        general=["username-from-certificate UID CN"],
        attributes=["authentication certificate", "group-alias Card enable"],
    ),
    profile("plain", attributes=["group-alias Plain enable"]),
    webvpn=["tunnel-group-list enable"],
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with serving(GROUPS) as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return open_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def card_lab(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("client-ca")
    authority.identity.save(directory / "ca.pem", directory / "ca.key")
    with serving(CERTIFICATES, options=["--client-ca", str(directory / "ca.pem")]) as made:
        yield made


@pytest.fixture
def card(authority: Authority, tmp_path: Path, user: str) -> tuple[str, ...]:
    """openconnect's options for a certificate of this test's user."""
    return certificate_options(authority, tmp_path, user)


def certificate_options(authority: Authority, directory: Path, user: str) -> tuple[str, ...]:
    files = directory / "client.pem", directory / "client.key"
    authority.issue_client("Somebody Else", user_id=user).save(*files)
    return ("--certificate", str(files[0]), "--sslkey", str(files[1]))


def test_password_and_group_of_the_list(lab: Lab, user: str) -> None:
    with lab.client(user, "--authgroup=Guests") as client:
        address = client.wait_connected().ip4
        session = lab.session(user)
        assert (session["tunnel_group"], session["group_policy"]) == ("guests", "guests")
        assert session["assigned_ip"] == address
        assert session["public_ip"] == "127.0.0.1"
        assert session["state"] == "active"
        client.ping(GATEWAY)
        assert client.log_off() == 0
    wait_until(lambda: lab.sessions(user) == [])


def test_group_by_its_url_asks_for_no_group(lab: Lab, user: str) -> None:
    with lab.client(user, at="guests") as client:
        client.wait_connected()
        assert lab.session(user)["tunnel_group"] == "guests"
        assert "GROUP:" not in client.transcript()


def test_group_url_wins_over_the_list(lab: Lab, user: str) -> None:
    with lab.client(user, "--authgroup=Staff", at="guests") as client:
        client.wait_connected()
        assert lab.session(user)["tunnel_group"] == "guests"


def test_wrong_password_brings_the_same_form_and_another_try(lab: Lab, user: str) -> None:
    with lab.client(user, "--authgroup=Guests", passwords=["wrong", user, PASSWORD]) as client:
        client.wait_for("Login failed")
        client.wait_connected()
        assert lab.session(user)["tunnel_group"] == "guests"


def test_wrong_password_alone_ends_without_a_session(lab: Lab, user: str) -> None:
    with lab.client(user, at="guests", passwords=["wrong"]) as client:
        assert client.wait() == 1
        client.wait_for("Login failed")
    assert lab.sessions(user) == []


def test_unknown_user_is_told_no_more_than_a_wrong_password(lab: Lab) -> None:
    with lab.client("nobody", at="guests") as client:
        assert client.wait() == 1
        client.wait_for(r"Login failed\.$")


def test_legacy_form_with_a_group(lab: Lab, user: str) -> None:
    with lab.client(user, "--no-xmlpost", "--authgroup=Guests") as client:
        client.wait_connected()
        assert lab.session(user)["tunnel_group"] == "guests"
        assert "XML POST enabled" not in client.transcript()
        client.ping(GATEWAY)


def test_legacy_form_at_a_group_url_and_another_try(lab: Lab, user: str) -> None:
    with lab.client(user, "--no-xmlpost", at="staff", passwords=["wrong", user, PASSWORD]) as client:
        client.wait_for("Login failed")
        client.wait_connected()
        assert lab.session(user)["tunnel_group"] == "staff"


@pytest.mark.parametrize(
    "dress",
    [(), ("--no-xmlpost",), ("--no-http-keepalive",)],
    ids=["xml", "legacy", "one connection each"],
)
def test_challenge_round(dress: tuple[str, ...]) -> None:
    # A headend of its own for each: no code may be used twice.
    with serving(GROUPS) as lab:
        code = pyotp.TOTP(TOTP_SECRET).now()
        wrong = f"{(int(code) + 1) % 1_000_000:06}"
        with lab.client("clara", *dress, at="guests", passwords=[PASSWORD, wrong, code]) as client:
            client.wait_for("Login failed")
            client.wait_connected()
            assert lab.session("clara")["tunnel_group"] == "guests"
        with lab.client("clara", *dress, at="guests", passwords=[PASSWORD, code]) as again:
            assert again.wait() == 1
        assert lab.sessions("clara") == []


@pytest.mark.parametrize("dress", [(), ("--no-xmlpost",)], ids=["xml", "legacy"])
@pytest.mark.parametrize(("name", "password"), [("änne", UTF8_PASSWORD), ("bert", BLANK_PASSWORD)])
def test_passwords_of_any_characters(lab: Lab, name: str, password: str, dress: tuple[str, ...]) -> None:
    with lab.client(name, *dress, at="guests", passwords=[password]) as client:
        client.wait_connected()
        assert lab.session(name)["state"] == "active"
    wait_until(lambda: not lab.sessions(name))


def test_certificate_alone(card_lab: Lab, user: str, card: tuple[str, ...]) -> None:
    with Openconnect(f"{card_lab.headend.url}/card", *card, pin=card_lab.headend.pin) as client:
        client.wait_connected()
        assert card_lab.session(user)["tunnel_group"] == "card"
        assert "Password:" not in client.transcript()
        client.ping(GATEWAY)


@pytest.mark.parametrize("group", ["Both", "Card", "Plain"])
def test_certificate_in_a_list_of_groups(card_lab: Lab, user: str, card: tuple[str, ...], group: str) -> None:
    with card_lab.client(user, *card, f"--authgroup={group}") as client:
        client.wait_connected()
        assert card_lab.session(user)["tunnel_group"] == group.lower()


def test_no_certificate_is_no_hindrance_elsewhere(card_lab: Lab, user: str) -> None:
    with card_lab.client(user, "--authgroup=Plain") as client:
        client.wait_connected()
        assert card_lab.session(user)["tunnel_group"] == "plain"


def test_certificate_and_password(card_lab: Lab, user: str, card: tuple[str, ...]) -> None:
    with card_lab.client(user, *card, at="both", passwords=["wrong", user, PASSWORD]) as client:
        client.wait_for("Login failed")
        client.wait_connected()
        assert card_lab.session(user)["tunnel_group"] == "both"


def test_certificate_of_another_user(card_lab: Lab, user: str, card: tuple[str, ...]) -> None:
    with card_lab.client("user999", *card, at="both", passwords=[PASSWORD]) as client:
        assert client.wait() == 1
        client.wait_for("Login failed")
    assert card_lab.sessions("user999") == []


@pytest.mark.parametrize("dress", [(), ("--no-xmlpost",)], ids=["xml", "legacy"])
@pytest.mark.parametrize("group", ["card", "both"])
def test_certificate_missing(card_lab: Lab, user: str, group: str, dress: tuple[str, ...]) -> None:
    with card_lab.client(user, *dress, at=group) as client:
        assert client.wait() == 1
        # openconnect has words of its own for "Certificate Validation Failure"
        client.wait_for(
            "requested SSL client certificate; none was configured|Certificate Validation Failure"
        )
    assert card_lab.sessions(user) == []


def test_certificate_of_an_unknown_authority(card_lab: Lab, user: str, tmp_path: Path) -> None:
    options = certificate_options(Authority.create(), tmp_path, user)
    with card_lab.client(user, *options, at="card") as client:
        assert client.wait() == 1
        client.wait_for("[Cc]ertificate")
    assert card_lab.sessions(user) == []


def test_authenticate_then_connect_with_the_cookie(lab: Lab, user: str) -> None:
    login = authenticate(f"{lab.headend.url}/staff", pin=lab.headend.pin, user=user, passwords=[PASSWORD])
    assert login["FINGERPRINT"] == lab.headend.pin
    assert lab.session(user)["state"] == "inactive"
    assert [tunnel["kind"] for tunnel in lab.session(user)["tunnels"]] == ["parent"]
    with lab.holder(login["COOKIE"]) as client:
        address = client.wait_connected().ip4
        assert lab.session(user)["assigned_ip"] == address
        client.ping(GATEWAY)


def test_unknown_cookie_is_refused(lab: Lab) -> None:
    with lab.holder("webvpn=" + "ab" * 32) as client:
        assert client.wait() == 2
        client.wait_for("Cookie was rejected by server")


def test_expired_cookie_is_refused(user: str) -> None:
    with serving(config()) as lab:
        login = authenticate(lab.headend.url, pin=lab.headend.pin, user=user, passwords=[PASSWORD])
        lab.advance(1801)
        assert lab.sessions(user) == []
        with lab.holder(login["COOKIE"]) as client:
            assert client.wait() == 2


def test_policy_decides_who_may_come_in(lab: Lab, user: str) -> None:
    for group, words in (
        ("closed", "AnyConnect is not enabled"),
        ("forbidden", "no simultaneous logins"),
        ("locked", "Login failed"),
    ):
        with lab.client(user, at=group) as client:
            assert client.wait() == 1
            client.wait_for(words)
    assert lab.sessions(user) == []


def test_a_login_too_many_ends_the_oldest_session(lab: Lab, user: str) -> None:
    with lab.client(user, at="single") as first:
        first.wait_connected()
        with lab.client(user, at="single") as second:
            second.wait_connected()
            assert first.wait() == 1
            first.wait_for(r"server disconnect: b0 'Port Preempted'")
            assert len(lab.sessions(user)) == 1
            second.ping(GATEWAY)


def test_full_headend_refuses_and_harms_nobody() -> None:
    with (
        serving(config("vpn-sessiondb max-anyconnect-premium-or-essentials-limit 1\n")) as lab,
        lab.client("user900") as inside,
    ):
        inside.wait_connected()
        with lab.client("user901") as refused:
            assert refused.wait() == 1
            refused.wait_for("session limit")
        inside.ping(GATEWAY)
        assert inside.log_off() == 0
        with lab.client("user901") as admitted:
            admitted.wait_connected()


@pytest.mark.parametrize(
    "options",
    [("--os=win",), ("--os=android",), ("--os=apple-ios",), ("--useragent=AnyConnect Windows 4.10.07061",)],
)
def test_clients_of_other_platforms(lab: Lab, user: str, options: tuple[str, ...]) -> None:
    with lab.client(user, *options, at="guests") as client:
        client.wait_dtls()
        client.ping(GATEWAY)


def test_built_in_configuration() -> None:
    with running() as headend:
        lab = Lab(headend)
        with lab.client("walter", "--authgroup=contractors", passwords=["secret"]) as client:
            client.wait_dtls()
            client.ping(GATEWAY)
            assert lab.session("walter")["tunnel_group"] == "CONTRACTORS"
            assert client.tun.environment["CISCO_SPLIT_INC_0_ADDR"] == "10.99.0.0"
        with lab.client("walter", at="employees", passwords=["secret"]) as client:
            client.wait_connected()
            client.ping("fd00:99::1")
            assert lab.session("walter")["group_policy"] == "EMPLOYEES"
            # who tries it with root keeps the default route and the names of the machine
            told = client.tun.environment
            assert (told["CISCO_SPLIT_INC_0_ADDR"], told["CISCO_SPLIT_INC_0_MASKLEN"]) == ("10.0.0.0", "8")
            assert told["CISCO_IPV6_SPLIT_INC_0_ADDR"] == "fd00:99::"
            assert "INTERNAL_IP4_DNS" not in told


def test_secrets_stay_out_of_the_log(user: str) -> None:
    with serving(config(), options=["--log-level", "debug"]) as lab, lab.client(user) as client:
        client.wait_connected()
        log = (lab.headend.state.parent / "log").read_text()
        assert PASSWORD not in log
        assert not re.search(r"[0-9a-f]{64}", log)


def test_command_line_as_the_help_prints_it(lab: Lab, user: str) -> None:
    """`--authenticate` prints what a shell evaluates; the printed cookie and pin are all that is needed."""
    login = authenticate(f"{lab.headend.url}/guests", pin=lab.headend.pin, user=user, passwords=[PASSWORD])
    assert shlex.split(login["COOKIE"]) == login["COOKIE"].split()
    with Openconnect(
        f"https://{lab.headend.https}", pin=login["FINGERPRINT"], cookie=login["COOKIE"]
    ) as client:
        client.wait_connected()
        assert lab.session(user)["tunnel_group"] == "guests"
