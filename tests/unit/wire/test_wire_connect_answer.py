from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from asa_emu.wire.errors import HeaderError
from asa_emu.wire.headers import ConnectAnswer, DtlsAnswer, RawHeaders, parse_connect_answer_untrusted

SESSION_ID = bytes(range(32))

FULL = ConnectAnswer(
    ip4=IPv4Address("198.51.100.50"),
    netmask=IPv4Address("255.255.255.0"),
    ip6=(IPv6Address("2001:db8:77::50"), 64),
    dns=(IPv4Address("198.51.100.53"), IPv6Address("2001:db8:77::53")),
    nbns=(IPv4Address("198.51.100.54"),),
    default_domain="lab.test",
    split_dns=("corp.lab.test", "eng.lab.test"),
    split_include=(IPv4Network("203.0.113.0/24"),),
    split_include_ip6=(IPv6Network("2001:db8:78::/48"),),
    split_exclude=(IPv4Network("0.0.0.0/32"),),
    split_exclude_ip6=(IPv6Network("2001:db8:78:1::/64"),),
    tunnel_all_dns=True,
    banner="Welcome\r\nto 100% lab",
    mtu=1367,
    base_mtu=1500,
    dpd=30.0,
    keepalive=20.0,
    idle_timeout=1800.0,
    session_timeout=43200.0,
    session_timeout_remaining=40000.0,
    session_alert_interval=60.0,
    disconnected_timeout=1800.0,
    rekey_time=86400.0,
    rekey_method="new-tunnel",
    client_bypass_protocol=True,
    msie_proxy_method="auto",
    msie_proxy_server="proxy.lab.test:8080",
    msie_proxy_bypass_local=True,
    msie_proxy_pac_url="http://proxy.lab.test/proxy.pac",
    content_encoding="lzs",
    hostname="vm",
    server_name="asa-emu",
    post_auth_xml="<config-auth/>",
    dtls=DtlsAnswer(
        session_id=SESSION_ID,
        port=4443,
        dtls12_cipher_suite="AES256-GCM-SHA384",
        mtu=1390,
        dpd=30.0,
        keepalive=20.0,
        rekey_time=86400.0,
        rekey_method="new-tunnel",
        content_encoding="lzs",
    ),
)

LEAST = ConnectAnswer(ip4=IPv4Address("192.0.2.9"), netmask=IPv4Address("255.255.255.0"), mtu=1406)


def text(headers: RawHeaders) -> list[str]:
    return [f"{name.decode()}: {value.decode()}" for name, value in headers]


def written(answer: ConnectAnswer) -> RawHeaders:
    """The answer as the headend sends it."""
    return answer.session_headers() + answer.policy_headers()


def raw(*headers: str) -> RawHeaders:
    """The least answer that is accepted, and these lines."""
    base = ("X-CSTP-Address: 192.0.2.9", "X-CSTP-MTU: 1406", *headers)
    pairs = (line.partition(":") for line in base)
    return [(name.encode(), value.encode()) for name, _, value in pairs]


def test_a_full_answer_is_written_to_the_byte() -> None:
    assert text(written(FULL)) == [
        "X-CSTP-Hostname: vm",
        "X-CSTP-Address: 198.51.100.50",
        "X-CSTP-Netmask: 255.255.255.0",
        "X-CSTP-Address-IP6: 2001:db8:77::50/64",
        "X-CSTP-Lease-Duration: 1209600",
        "X-CSTP-Session-Timeout: 43200",
        "X-CSTP-Session-Timeout-Alert-Interval: 60",
        "X-CSTP-Session-Timeout-Remaining: 40000",
        "X-DTLS-DPD: 30",
        "X-DTLS-Port: 4443",
        "X-DTLS-Rekey-Time: 86400",
        "X-DTLS-Rekey-Method: new-tunnel",
        "X-DTLS-Keepalive: 20",
        f"X-DTLS-Session-ID: {SESSION_ID.hex()}",
        "X-DTLS12-CipherSuite: AES256-GCM-SHA384",
        "X-DTLS-MTU: 1390",
        "X-CSTP-Base-MTU: 1500",
        "X-CSTP-MTU: 1367",
        "X-CSTP-Post-Auth-XML: <config-auth/>",
        "X-DTLS-Content-Encoding: lzs",
        "X-CSTP-Content-Encoding: lzs",
        "X-CSTP-Version: 1",
        "X-CSTP-Server-Name: asa-emu",
        "X-CSTP-Protocol: Copyright (c) 2004 Cisco Systems, Inc.",
        "X-CSTP-DPD: 30",
        "X-CSTP-Default-Domain: lab.test",
        "X-CSTP-DNS: 198.51.100.53",
        "X-CSTP-DNS-IP6: 2001:db8:77::53",
        "X-CSTP-NBNS: 198.51.100.54",
        "X-CSTP-Split-DNS: corp.lab.test",
        "X-CSTP-Split-DNS: eng.lab.test",
        "X-CSTP-Split-Include: 203.0.113.0/255.255.255.0",
        "X-CSTP-Split-Include-IP6: 2001:db8:78::/48",
        "X-CSTP-Tunnel-All-DNS: true",
        "X-CSTP-Client-Bypass-Protocol: true",
        "X-CSTP-Split-Exclude: 0.0.0.0/255.255.255.255",
        "X-CSTP-Split-Exclude-IP6: 2001:db8:78:1::/64",
        "X-CSTP-Keepalive: 20",
        "X-CSTP-Idle-Timeout: 1800",
        "X-CSTP-Smartcard-Removal-Disconnect: true",
        "X-CSTP-Rekey-Time: 86400",
        "X-CSTP-Rekey-Method: new-tunnel",
        "X-CSTP-Disconnected-Timeout: 1800",
        "X-CSTP-Keep: true",
        "X-CSTP-TCP-Keepalive: false",
        "X-CSTP-License: accept",
        "X-CSTP-Quarantine: false",
        "X-CSTP-Disable-Always-On-VPN: false",
        "X-CSTP-Routing-Filtering-Ignore: false",
        "X-CSTP-MSIE-Proxy-Lockdown: true",
        "X-CSTP-MSIE-Proxy-Method: auto",
        "X-CSTP-MSIE-Proxy-Server: proxy.lab.test:8080",
        "X-CSTP-MSIE-Proxy-Bypass-Local: true",
        "X-CSTP-MSIE-Proxy-PAC-URL: http://proxy.lab.test/proxy.pac",
        "X-CSTP-Banner: Welcome%0D%0Ato 100%25 lab",
    ]


def test_a_full_answer_is_read_back() -> None:
    assert parse_connect_answer_untrusted(written(FULL)) == FULL


@pytest.mark.statement("S36")
def test_the_dpd_intervals_are_told_in_seconds_and_left_out_when_there_are_none() -> None:
    assert "X-CSTP-DPD: 30" in text(written(FULL))
    assert "X-DTLS-DPD: 30" in text(written(FULL))
    assert not [line for line in text(written(LEAST)) if "DPD" in line or "Keepalive: 2" in line]


def test_timeouts_that_do_not_exist_are_none() -> None:
    told = text(written(LEAST))
    for name in ("Idle-Timeout", "Session-Timeout", "Session-Timeout-Remaining", "Disconnected-Timeout"):
        assert f"X-CSTP-{name}: none" in told
    assert not [line for line in told if "Rekey" in line or "DTLS" in line]
    assert parse_connect_answer_untrusted(written(LEAST)) == LEAST


def test_the_two_parts_make_the_whole_and_the_time_left_comes_last_of_its_group() -> None:
    session, policy = FULL.session_headers(), FULL.policy_headers()
    assert (
        FULL.policy_headers() == replace(FULL, ip4=IPv4Address("198.51.100.51"), dtls=None).policy_headers()
    )
    group = [name for name, _ in session + policy if b"Lease" in name or b"Session-Timeout" in name]
    assert group[0] == b"X-CSTP-Lease-Duration"
    assert group[-1] == b"X-CSTP-Session-Timeout-Remaining"


def test_part_seconds_are_rounded_up() -> None:
    told = text(written(replace(LEAST, dpd=0.4, keepalive=2.1, session_timeout_remaining=-1.0)))
    assert "X-CSTP-DPD: 1" in told
    assert "X-CSTP-Keepalive: 3" in told
    assert "X-CSTP-Session-Timeout-Remaining: 1" in told


def test_a_psk_answer_has_an_app_id_and_no_mtu_of_its_own() -> None:
    dtls = DtlsAnswer(app_id=b"\x01" * 32, port=4443, cipher_suite="PSK-NEGOTIATE")
    answer = replace(LEAST, dtls=dtls)
    assert [line for line in text(written(answer)) if "DTLS" in line] == [
        "X-DTLS-Port: 4443",
        f"X-DTLS-App-ID: {'01' * 32}",
        "X-DTLS-CipherSuite: PSK-NEGOTIATE",
    ]
    assert parse_connect_answer_untrusted(written(answer)) == answer


@pytest.mark.parametrize("value", ["a\r\nX-CSTP-MTU: 1", "a\n", "a\x00b", "a\x7f", "\udc80"])
def test_nothing_breaks_out_of_a_line(value: str) -> None:
    with pytest.raises(HeaderError, match="control character"):
        written(replace(LEAST, default_domain=value))
    with pytest.raises(HeaderError, match="control character"):
        replace(LEAST, hostname=value).session_headers()


def test_a_banner_of_anything_fits_one_line() -> None:
    answer = replace(LEAST, banner="50% \x1b[31m\tGr\u00fc\u00dfe\r\n%0A")
    assert parse_connect_answer_untrusted(written(answer)).banner == answer.banner


def test_a_banner_that_nobody_encoded_is_read_as_it_is() -> None:
    assert parse_connect_answer_untrusted(raw("X-CSTP-Banner: 100% free")).banner == "100% free"


def test_an_answer_of_ocserv_is_read() -> None:
    answer = parse_connect_answer_untrusted(
        raw(
            "X-CSTP-DPD: 15",
            "X-CSTP-DNS: 198.51.100.53",
            "X-CSTP-Idle-Timeout: none",
            "X-CSTP-Session-Timeout: 0",
            "X-CSTP-Split-Exclude: 203.0.113.128/255.255.255.128",
            "X-CSTP-Rekey-Time: 172823",
            "X-CSTP-Rekey-Method: ssl",
            "X-DTLS-Port: 4443",
            "X-DTLS-App-ID: 6ef18ca2",
            "X-DTLS-CipherSuite: PSK-NEGOTIATE",
            "X-CSTP-Of-Tomorrow: whatever",
        )
    )
    assert answer.dpd == 15.0
    assert answer.session_timeout is None
    assert answer.split_exclude == (IPv4Network("203.0.113.128/25"),)
    assert (answer.rekey_time, answer.rekey_method) == (172823.0, "ssl")
    assert answer.dtls == DtlsAnswer(
        app_id=bytes.fromhex("6ef18ca2"), port=4443, cipher_suite="PSK-NEGOTIATE"
    )


def test_ipv6_in_the_headers_of_ipv4() -> None:
    headers = [(b"X-CSTP-Address", b"2001:db8::9"), (b"X-CSTP-MTU", b"1280")]
    assert parse_connect_answer_untrusted(headers).ip6 == (IPv6Address("2001:db8::9"), 128)
    headers.append((b"X-CSTP-Netmask", b"2001:db8::9/64"))
    answer = parse_connect_answer_untrusted(headers)
    assert answer.ip6 == (IPv6Address("2001:db8::9"), 64)
    assert answer.ip4 is None


@pytest.mark.parametrize("missing", ["X-DTLS-Port", "X-DTLS-Session-ID", "X-DTLS12-CipherSuite"])
def test_half_a_dtls_answer_is_none(missing: str) -> None:
    headers = [line for line in written(FULL) if line[0] != missing.encode()]
    assert parse_connect_answer_untrusted(headers).dtls is None


def test_an_unknown_rekey_method_is_none() -> None:
    assert parse_connect_answer_untrusted(raw("X-CSTP-Rekey-Method: often")).rekey_method == "none"


def test_the_mtu_may_come_as_that_of_dtls() -> None:
    headers = [(b"X-CSTP-Address", b"192.0.2.9"), (b"X-DTLS-MTU", b"1390")]
    assert parse_connect_answer_untrusted(headers).mtu == 1390


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([(b"X-CSTP-MTU", b"1406")], "no address"),
        ([(b"X-CSTP-Address", b"192.0.2.9")], "no MTU"),
    ],
)
def test_an_answer_needs_an_address_and_an_mtu(headers: RawHeaders, reason: str) -> None:
    with pytest.raises(HeaderError, match=reason):
        parse_connect_answer_untrusted(headers)


@pytest.mark.parametrize(
    "line",
    [
        "X-CSTP-MTU: 255",
        "X-CSTP-MTU: 65536",
        "X-CSTP-DPD: soon",
        "X-CSTP-DPD: 2147483648",
        "X-CSTP-DPD: +5",
        "X-CSTP-Address: nowhere",
        "X-CSTP-Netmask: 2001:db8::9/129",
        "X-CSTP-Address-IP6: 192.0.2.9",
        "X-CSTP-DNS: localhost",
        "X-CSTP-Split-Include: 203.0.113.0/255.0.255.0",
        "X-CSTP-Split-Include: 203.0.113.0/0.0.0.255",
        "X-CSTP-Split-Include: 203.0.113.0/33",
        "X-CSTP-Split-Include: 203.0.113.0/",
        "X-CSTP-Split-Include: 203.0.113.0/::1.2.3.4",
        "X-CSTP-Split-Include: 2001:db8::/32",
        "X-CSTP-Split-Include-IP6: 2001:db8::/129",
        "X-DTLS-Session-ID: 00",
        "X-DTLS-App-ID: " + "00" * 33,
        "X-DTLS-Port: 65536",
        "X-DTLS-Content-Encoding: deflate",
        "X-CSTP-Content-Encoding: gzip",
    ],
)
def test_a_malformed_value_in_an_answer_is_a_header_error(line: str) -> None:
    with pytest.raises(HeaderError, match=line.partition(":")[0]):
        parse_connect_answer_untrusted(raw(line))


@pytest.mark.parametrize(
    ("network", "read"),
    [
        ("0.0.0.0/0.0.0.0", "0.0.0.0/0"),
        ("0.0.0.0/255.255.255.255", "0.0.0.0/32"),
        ("203.0.113.77/24", "203.0.113.0/24"),
        ("203.0.113.77", "203.0.113.77/32"),
    ],
)
def test_networks_come_with_a_mask_or_a_length_or_alone(network: str, read: str) -> None:
    assert parse_connect_answer_untrusted(raw(f"X-CSTP-Split-Include: {network}")).split_include == (
        IPv4Network(read),
    )
