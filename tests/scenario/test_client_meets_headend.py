"""Both programs of this project together, in one process and in mock time: logins, channels, ends."""

import json
from pathlib import Path
from typing import Any

import pyotp
import pytest
import trio

from asa_emu.transport.certificates import open_authority
from client_emu import (
    Client,
    ClientOptions,
    ConnectFailed,
    Disconnected,
    Dtls,
    Reconnected,
    Reconnecting,
    parse_gateway,
)
from tests.headend_lab import EPOCH, headend

Clock = trio.testing.MockClock

INSIDE = "10.77.0.1"
TOTP_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
UTF8_PASSWORD = "pässwörd mit blank €"


def configured(*policy: str, webvpn: tuple[str, ...] = (), lines: str = "") -> str:
    inner = "".join(f"  {line}\n" for line in webvpn)
    return f"""\
hostname lab
ip local pool POOL 10.77.0.10-10.77.0.250 mask 255.255.255.0
ipv6 local pool POOL6 fd00:77::10/64 200
interface GigabitEthernet0/0
 nameif outside
webvpn
 enable outside
 !emu dtls legacy-0100 enable
 tunnel-group-list enable
group-policy DfltGrpPolicy attributes
 vpn-tunnel-protocol ssl-client
 address-pools value POOL
 ipv6-address-pools value POOL6
{"".join(f" {line}{chr(10)}" for line in policy)} webvpn
{inner}tunnel-group STAFF type remote-access
tunnel-group STAFF webvpn-attributes
 group-alias "Staff" enable
 group-url https://127.0.0.1/staff enable
tunnel-group GUESTS type remote-access
tunnel-group GUESTS webvpn-attributes
 group-alias Guests enable
username walter password secret
username anna password replaced
!emu username anna password {json.dumps(UTF8_PASSWORD)}
username otto password secret
!emu username otto totp {TOTP_SECRET}
{lines}"""


def client(running: Any, path: str = "/", **changes: Any) -> Client:
    gateway = parse_gateway(f"127.0.0.1:{running.https.port}{path}")
    given: dict[str, Any] = {"user": "walter", "password": "secret", "pin": running.pin, **changes}
    return Client(ClientOptions(gateway, **given), timeline=running.gateway.timeline)


def group_of(running: Any) -> str:
    (session,) = running.gateway.headend.db.sessions()
    return str(session.tunnel_group)


@pytest.mark.parametrize("xml_post", [True, False], ids=["xml", "form"])
async def test_groups_by_list_and_by_url(tmp_path: Path, autojump_clock: Clock, xml_post: bool) -> None:
    async with headend(tmp_path, configured()) as running:
        for path, group, landed in (
            ("/", "Guests", "GUESTS"),
            ("/", None, "STAFF"),
            ("/staff", None, "STAFF"),
        ):
            async with client(running, path, group=group, xml_post=xml_post):
                assert group_of(running) == landed
        with pytest.raises(ConnectFailed, match="no group 'admins'"):
            async with client(running, group="admins", xml_post=xml_post):
                pass


@pytest.mark.parametrize(
    ("policy", "options", "routes"),
    [
        ((), {}, ("0.0.0.0/0", "::/0")),
        (("split-tunnel-policy tunnelspecified",), {}, ("10.1.0.0/16", "::/0")),
        (("split-tunnel-policy tunnelspecified",), {"ipv6": False}, ("10.1.0.0/16",)),
        (("ipv6-split-tunnel-policy tunnelspecified",), {}, ("0.0.0.0/0", "fd00:1::/32")),
    ],
)
async def test_a_family_that_is_not_split_goes_into_the_tunnel_whole(
    tmp_path: Path,
    autojump_clock: Clock,
    policy: tuple[str, ...],
    options: dict[str, Any],
    routes: tuple[str, ...],
) -> None:
    lines = "access-list S extended permit ip 10.1.0.0 255.255.0.0 any\n"
    lines += "access-list S extended permit ip fd00:1::/32 any\n"
    config = configured(*policy, "split-tunnel-network-list value S", lines=lines)
    async with headend(tmp_path, config) as running, client(running, **options) as vpn:
        assert vpn.routes == routes


@pytest.mark.parametrize("xml_post", [True, False], ids=["xml", "form"])
async def test_passwords_and_one_time_codes(tmp_path: Path, autojump_clock: Clock, xml_post: bool) -> None:
    async with headend(tmp_path, configured()) as running:
        async with client(running, user="anna", password=UTF8_PASSWORD, xml_post=xml_post) as vpn:
            assert vpn.ip4 is not None
        code = pyotp.TOTP(TOTP_SECRET).at(int(EPOCH))
        async with client(running, user="otto", second_password=code, xml_post=xml_post) as vpn:
            assert vpn.ip4 is not None
        with pytest.raises(ConnectFailed, match="--second-password was not given"):
            async with client(running, user="otto", xml_post=xml_post):
                pass
        for wrong in (
            {"password": "wrong"},
            {"user": "nobody"},
            {"user": "otto", "second_password": "000000"},
        ):
            with pytest.raises(ConnectFailed, match="login refused"):
                async with client(running, xml_post=xml_post, **wrong):
                    pass
        assert list(running.gateway.headend.db.sessions()) == []


@pytest.mark.filterwarnings(
    "ignore:.*X509:DeprecationWarning"
)  # pyOpenSSL has no other way to name the authority
async def test_certificates_alone_and_with_a_password(tmp_path: Path, autojump_clock: Clock) -> None:
    files = tmp_path / "walter.pem", tmp_path / "walter.key"
    open_authority(tmp_path).issue_client("Walter White", user_id="walter").save(*files)
    lines = """\
tunnel-group CARD type remote-access
tunnel-group CARD general-attributes
 username-from-certificate UID CN
tunnel-group CARD webvpn-attributes
 authentication certificate
 group-alias Card enable
tunnel-group BOTH type remote-access
tunnel-group BOTH general-attributes
 username-from-certificate UID CN
tunnel-group BOTH webvpn-attributes
 authentication aaa certificate
 group-alias Both enable
"""
    config = configured(lines=lines)
    async with headend(tmp_path, config, client_ca=tmp_path / "ca.pem") as running:
        card: dict[str, Any] = {"certificate": files[0], "key": files[1]}
        async with client(running, group="Card", user=None, password=None, **card):
            assert group_of(running) == "CARD"
        async with client(running, group="Both", **card):
            assert group_of(running) == "BOTH"
        for group in ("Card", "Both"):
            with pytest.raises(ConnectFailed, match="Certificate Validation Failure"):
                async with client(running, group=group):
                    pass


@pytest.mark.parametrize(
    ("ciphers", "expected"),
    [
        ({}, "DTLSv1.2 PSK-AES256-GCM-SHA384"),
        ({"dtls_ciphers": ()}, "DTLSv1.2 ECDHE-RSA-AES256-GCM-SHA384"),
        ({"dtls_ciphers": (), "dtls12_ciphers": ("AES128-SHA",)}, "DTLSv1.2 AES128-SHA"),
        ({"dtls_ciphers": ("OC-DTLS1_2-AES256-GCM",), "dtls12_ciphers": ()}, "DTLSv1.2 AES256-GCM-SHA384"),
        ({"dtls_ciphers": ("AES256-SHA",), "dtls12_ciphers": ()}, "DTLSv0.9 AES256-SHA"),
    ],
)
async def test_dtls_variants_carry_full_packets(
    tmp_path: Path, autojump_clock: Clock, ciphers: dict[str, Any], expected: str
) -> None:
    async with headend(tmp_path, configured()) as running, client(running, **ciphers) as vpn:
        assert (await vpn.next_event(Dtls)).cipher == expected
        assert (await vpn.ping(INSIDE, count=2, size=vpn.mtu - 28)).received == 2
        assert (await vpn.ping("fd00:77::1", size=vpn.mtu - 48)).received == 1
        assert await vpn.udp(INSIDE, 7, b"hello") == b"hello"
        assert vpn.tls_traffic.packets_out == 0


@pytest.mark.parametrize("codec", ["deflate", "lzs", "oc-lz4"])
async def test_compression_on_both_channels(tmp_path: Path, autojump_clock: Clock, codec: str) -> None:
    config = configured(webvpn=(f"!emu anyconnect compression {codec}",))
    async with headend(tmp_path, config) as running:
        for dtls in (False, True):
            async with client(running, compression=(codec,), dtls=dtls) as vpn:
                assert vpn.answer is not None
                assert vpn.answer.content_encoding == codec
                if dtls:
                    await vpn.next_event(Dtls)
                assert (await vpn.ping(INSIDE, count=5, size=1000)).received == 5


async def test_two_clients_reach_each_other(tmp_path: Path, autojump_clock: Clock) -> None:
    async with headend(tmp_path, configured()) as running, client(running) as one, client(running) as two:
        assert one.ip4 != two.ip4
        assert one.ip6 is not None
        assert two.ip4 is not None
        assert (await one.ping(two.ip4)).received == 1
        assert (await two.ping(one.ip6)).received == 1


@pytest.mark.statement("S45")
async def test_detached_session_waits_for_its_token(tmp_path: Path, autojump_clock: Clock) -> None:
    async with headend(tmp_path, configured("vpn-idle-timeout 5")) as running:
        async with client(running) as vpn:
            address, token = vpn.ip4, vpn.token
            await vpn.detach()
        await trio.sleep(240)
        async with client(running, user=None, password=None, token=token) as again:
            assert again.ip4 == address
            await again.detach()
        await trio.sleep(360)
        with pytest.raises(ConnectFailed, match="refused the session"):
            async with client(running, user=None, password=None, token=token):
                pass


@pytest.mark.statement("S61")
async def test_client_and_headend_agree_when_a_lost_session_is_over(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    config = configured("vpn-idle-timeout 2", webvpn=("anyconnect dpd-interval client 10",))
    async with headend(tmp_path, config) as running, client(running, dtls=False) as vpn:
        vpn.lose_cable()
        levels = [(await vpn.next_event(Reconnecting)).level for _ in range(2)]
        assert levels == ["tunnel", "session"]
        lost_at = trio.current_time() - 30
        end = await vpn.wait_ended()
        assert trio.current_time() - lost_at == pytest.approx(120, abs=2)
        assert end.exit_code == 1
        assert isinstance(end.event, Disconnected)
        await trio.sleep(180)
        assert list(running.gateway.headend.db.sessions()) == []


async def test_idle_session_is_told(tmp_path: Path, autojump_clock: Clock) -> None:
    async with headend(tmp_path, configured("vpn-idle-timeout 5")) as running, client(running) as vpn:
        started = trio.current_time()
        assert (await vpn.next_event(Disconnected)).reason == "Idle Timeout"
        assert trio.current_time() - started == pytest.approx(300, abs=2)
        end = await vpn.wait_ended()
        assert end.exit_code == 0


async def test_rekey_keeps_the_session(tmp_path: Path, autojump_clock: Clock) -> None:
    webvpn = ("anyconnect ssl rekey time 4", "anyconnect ssl rekey method new-tunnel")
    config = configured("vpn-idle-timeout none", webvpn=webvpn)
    async with headend(tmp_path, config) as running, client(running) as vpn:
        address, source = vpn.ip4, vpn.tcp_source
        for _ in range(3):
            event = await vpn.next_event(Reconnected)
            assert event.ip4 == address
        assert vpn.tcp_source != source
        assert (await vpn.ping(INSIDE)).received == 1
        assert len(list(running.gateway.headend.db.sessions())) == 1
