from ipaddress import IPv4Address, IPv6Address

import pytest

from asa_emu.wire.errors import HeaderError
from asa_emu.wire.headers import ConnectRequest, RawHeaders, parse_connect_request_untrusted

SECRET = bytes(range(48))

OPENCONNECT = ConnectRequest(
    token="0123456789abcdef",
    host="vpn.example.test:4443",
    user_agent="Open AnyConnect VPN Agent v9.01-3",
    hostname="vm",
    accept_encoding=("oc-lz4", "lzs"),
    dtls_accept_encoding=("oc-lz4", "lzs"),
    base_mtu=65535,
    mtu=65425,
    full_ipv6=True,
    master_secret=SECRET,
    dtls_ciphers=("PSK-NEGOTIATE", "OC-DTLS1_2-AES256-GCM", "AES128-SHA"),
    dtls12_ciphers=("ECDHE-RSA-AES256-GCM-SHA384", "AES256-GCM-SHA384"),
)


def lines(**headers: str) -> RawHeaders:
    """Header lines by name, with underscores for hyphens."""
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]


def test_a_request_is_written_as_openconnect_writes_it() -> None:
    assert b"\n".join(name + b": " + value for name, value in OPENCONNECT.render()).decode() == (
        "Host: vpn.example.test:4443\n"
        "User-Agent: Open AnyConnect VPN Agent v9.01-3\n"
        "Cookie: webvpn=0123456789abcdef\n"
        "X-CSTP-Version: 1\n"
        "X-CSTP-Hostname: vm\n"
        "X-CSTP-Accept-Encoding: oc-lz4,lzs\n"
        "X-CSTP-Base-MTU: 65535\n"
        "X-CSTP-MTU: 65425\n"
        "X-CSTP-Address-Type: IPv6,IPv4\n"
        "X-CSTP-Full-IPv6-Capability: true\n"
        f"X-DTLS-Master-Secret: {SECRET.hex().upper()}\n"
        "X-DTLS-CipherSuite: PSK-NEGOTIATE:OC-DTLS1_2-AES256-GCM:AES128-SHA\n"
        "X-DTLS12-CipherSuite: ECDHE-RSA-AES256-GCM-SHA384:AES256-GCM-SHA384\n"
        "X-DTLS-Accept-Encoding: oc-lz4,lzs"
    )


def test_a_mobile_client_that_resumes() -> None:
    request = ConnectRequest(
        token="t",
        address_types=("IPv4",),
        previous_ip4=IPv4Address("192.0.2.9"),
        previous_ip6=IPv6Address("2001:db8::9"),
        identifiers={"Platform": "android", "Device-UniqueID": "AAAA"},
        license_mobile=True,
    )
    rendered = request.render()
    assert [value for name, value in rendered if name == b"X-CSTP-Address"] == [b"192.0.2.9", b"2001:db8::9"]
    assert (b"X-AnyConnect-Identifier-Platform", b"android") in rendered
    assert parse_connect_request_untrusted(rendered) == request
    assert request.want_ipv4
    assert not request.want_ipv6


def test_names_are_read_in_any_case() -> None:
    folded = [(name.lower(), value) for name, value in OPENCONNECT.render()]
    assert parse_connect_request_untrusted(folded) == OPENCONNECT


def test_a_request_that_says_nothing_wants_both_families() -> None:
    request = parse_connect_request_untrusted([])
    assert request == ConnectRequest(address_types=())
    assert request.want_ipv4
    assert request.want_ipv6


def test_secrets_are_not_shown() -> None:
    assert "0123456789abcdef" not in repr(OPENCONNECT)
    assert "master_secret" not in repr(OPENCONNECT)


@pytest.mark.parametrize(
    ("cookie", "token"),
    [
        ("webvpn=abc", "abc"),
        ("webvpnc=bu:/&p:t; webvpn=abc==; webvpnlang=en", "abc=="),
        ("webvpn=; webvpn=abc", "abc"),
        ("webvpncontext=abc", None),
        ("webvpn", None),
        ('webvpn=\u00e9 "x"', '\u00e9 "x"'),
    ],
)
def test_the_token_is_the_webvpn_cookie(cookie: str, token: str | None) -> None:
    assert parse_connect_request_untrusted(lines(Cookie=cookie)).token == token


@pytest.mark.parametrize("mtu", ["", "0"])
def test_an_mtu_of_nothing_is_none(mtu: str) -> None:
    assert parse_connect_request_untrusted(lines(X_CSTP_MTU=mtu)).mtu is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X_CSTP_MTU", "65537"),
        ("X_CSTP_MTU", "-1"),
        ("X_CSTP_MTU", "1 406"),
        ("X_CSTP_MTU", "0x500"),
        ("X_CSTP_Base_MTU", "\u0661\u0662"),
        ("X_CSTP_Base_MTU", "9" * 5000),
        ("X_CSTP_Address", "192.0.2.256"),
        ("X_CSTP_Address", "fe80::1%eth0"),
        ("X_DTLS_Master_Secret", "00" * 47),
        ("X_DTLS_Master_Secret", "0" * 95 + "g"),
        ("X_CSTP_Accept_Encoding", ",".join(["lzs"] * 65)),
    ],
)
def test_a_malformed_value_is_a_header_error(name: str, value: str) -> None:
    with pytest.raises(HeaderError, match=name.replace("_", "-")):
        parse_connect_request_untrusted(lines(**{name: value}))


def test_an_error_does_not_quote_a_secret() -> None:
    with pytest.raises(HeaderError) as caught:
        parse_connect_request_untrusted(lines(X_DTLS_Master_Secret="AB" * 47))
    assert "ABAB" not in str(caught.value)


def test_a_request_with_a_short_secret_cannot_be_written() -> None:
    with pytest.raises(HeaderError, match="master secret of 3 bytes"):
        ConnectRequest(master_secret=b"abc").render()
