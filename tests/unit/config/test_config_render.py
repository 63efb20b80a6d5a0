"""What `show running-config` prints."""

from asa_emu.config import parse_config

LAB = """\
hostname lab
!emu users user 000-999 password pw
snmp-server community public
aaa-server R protocol radius
aaa-server R (inside) host 10.0.0.1
 key very-secret
 authentication-port 1812
webvpn
 enable outside
group-policy G internal
group-policy G attributes
 banner value the password is on the wall
 webvpn
tunnel-group T type remote-access
tunnel-group T general-attributes
tunnel-group T ipsec-attributes
 ikev1 pre-shared-key also-secret
username bob password clear
"""


def test_secrets_are_masked_and_text_is_not() -> None:
    shown = parse_config(LAB).render()
    for secret in ("very-secret", "also-secret", "clear", "public", "pw"):
        assert secret not in shown
    assert " banner value the password is on the wall\n" in shown
    assert "!emu users user 000-999 password ***** emu\n" in shown
    assert " key *****\n authentication-port 1812\n" in shown
    assert "username bob password ***** pbkdf2\n" in shown


def test_an_empty_block_at_the_margin_is_closed() -> None:
    assert parse_config("webvpn\n").render() == "webvpn\n!\n"


def test_all_shows_the_defaults_where_they_hold() -> None:
    shown = parse_config(LAB).render(all=True)
    blocks = shown.split("\ngroup-policy ")
    own = next(block for block in blocks if block.startswith("G attributes"))
    default = next(block for block in blocks if block.startswith("DfltGrpPolicy"))
    assert "vpn-idle-timeout" not in own
    assert " vpn-idle-timeout 30\n" in default
    assert "  anyconnect dpd-interval gateway 30\n" in default
    assert " authentication-server-group LOCAL\n" in shown
    assert "\nwebvpn\n port 443\n" in shown
    assert "hostname ciscoasa" not in shown


def test_all_can_be_loaded() -> None:
    config = parse_config(LAB)
    again = parse_config(config.render(all=True))
    assert again.render(all=True) == config.render(all=True)


def test_canonical_spelling() -> None:
    config = parse_config(
        "GROUP-POLICY DfltGrpPolicy attributes\n  vpn-idle-timeout 007\n webvpn\n"
        "   svc keepalive none\n   svc mtu 1300\n vpn-tunnel-protocol svc webvpn\n"
    )
    assert config.startup() == (
        "group-policy DfltGrpPolicy attributes\n vpn-idle-timeout 7\n webvpn\n"
        "  anyconnect ssl keepalive none\n  anyconnect mtu 1300\n vpn-tunnel-protocol svc webvpn\n"
    )
