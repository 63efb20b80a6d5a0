"""Files: what loads, what is kept and reported, and what is an error at which line."""

import pytest

from asa_emu.config import ConfigError, StoredPassword, parse_config, parse_config_bytes
from asa_emu.config.tree import MAX_DEPTH

PASTED = """\
: Saved
:
: Serial Number: 9AEMU000001
ASA Version 9.16(4)
!
hostname edge
domain-name example.test
enable password ***** pbkdf2
names
name 192.0.2.17 printer description on the second floor
no mac-address auto
ip local pool STAFF 10.20.0.10-10.20.0.250 mask 255.255.255.0

!
interface GigabitEthernet0/0
 description to the world
 nameif outside
 security-level 0
 ip address 198.51.100.2 255.255.255.0 standby 198.51.100.3
!
interface GigabitEthernet0/1
 nameif inside
 security-level 100
 ip address 10.20.0.1 255.255.255.0
 ipv6 address 2001:db8:20::1/64
!
interface GigabitEthernet0/2
 shutdown
 no nameif
 no security-level
 no ip address
!
banner motd *****************
banner motd   Keep out!
banner motd
clock timezone CET 1
clock summer-time CEST recurring last Sun Mar 2:00 last Sun Oct 3:00
object network STAFF-NET
 subnet 10.20.0.0 255.255.255.0
object-group network SERVERS
 network-object host 10.30.0.1
access-list SPLIT remark what staff may reach
access-list SPLIT standard permit 10.30.0.0 255.255.0.0
access-list SPLIT standard permit host printer
access-list OUT extended permit tcp any object-group SERVERS eq https log
access-list alert-interval 300
pager lines 24
logging enable
mtu outside 1500
nat (inside,outside) source dynamic any interface
route outside 0.0.0.0 0.0.0.0 198.51.100.1 1
aaa-server RADIUS protocol radius
aaa-server RADIUS (inside) host 10.30.0.5
 key s3cret
aaa authentication ssh console LOCAL
crypto ca certificate chain CA
 certificate 01
    308203a9 30820291 a0030201 02020101
  quit
ssh key-exchange group dh-group14-sha256
vpn-addr-assign local reuse-delay 2
no vpn-addr-assign dhcp
!
webvpn
 enable outside
 http-headers
  hsts-server
   enable
   max-age 31536000
 anyconnect image disk0:/anyconnect-win-4.10.07061-webdeploy-k9.pkg 1
 anyconnect image disk0:/anyconnect-macos-4.10.pkg 2 regex "Intel Mac OS X"
 anyconnect profiles STAFF disk0:/staff.xml
 anyconnect enable
 tunnel-group-list enable
 cache
  disable
 error-recovery disable
group-policy STAFF internal
group-policy STAFF attributes
 banner value Welcome.
 banner value
 banner value   Be good.
 dns-server value 10.30.0.53 10.30.0.54
 vpn-tunnel-protocol ikev2 ssl-client ssl-clientless
 split-tunnel-policy tunnelspecified
 split-tunnel-network-list value SPLIT
 default-domain value example.test
 address-pools value STAFF
 webvpn
  anyconnect ssl dtls enable
  anyconnect firewall-rule client-interface public none
  anyconnect firewall-rule client-interface private value OUT
  anyconnect modules value vpngina
  anyconnect profiles value STAFF type user
  anyconnect ask none default anyconnect
dynamic-access-policy-record DfltAccessPolicy
username admin password $sha512$5000$c2FsdHNhbHRzYWx0c2FsdA==$aGFzaGhhc2hoYXNoaGFzaA== pbkdf2 privilege 15
tunnel-group STAFF type remote-access
tunnel-group STAFF general-attributes
 address-pool (inside) STAFF
 authentication-server-group RADIUS LOCAL
 default-group-policy STAFF
tunnel-group STAFF webvpn-attributes
 group-alias "All staff" enable
 group-url https://vpn.example.test/staff enable
tunnel-group STAFF ipsec-attributes
 ikev2 remote-authentication pre-shared-key *****
tunnel-group 203.0.113.9 type ipsec-l2l
tunnel-group 203.0.113.9 ipsec-attributes
 ikev1 pre-shared-key *****
!
class-map inspection_default
 match default-inspection-traffic
!
policy-map type inspect dns preset_dns_map
 parameters
  message-length maximum client auto
service-policy global_policy global
Cryptochecksum:571d01b7b08342e35db838e9acec00f6
: end
"""


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "lab.cfg")
    return str(caught.value)


def test_pasted_configuration_loads() -> None:
    config = parse_config(PASTED)
    assert config.hostname == "edge"
    assert config.timezone.offset == 3600
    assert config.reuse_delay == 120.0
    assert [interface.nameif for interface in config.interfaces] == ["outside", "inside", None]
    assert config.webvpn.images == (
        "disk0:/anyconnect-win-4.10.07061-webdeploy-k9.pkg",
        "disk0:/anyconnect-macos-4.10.pkg",
    )
    assert list(config.tunnel_groups) == ["STAFF", "DefaultRAGroup", "DefaultWEBVPNGroup"]
    assert config.tunnel_groups["STAFF"].authentication_server_group == ("RADIUS", "LOCAL")


def test_names_stand_for_addresses_in_a_list() -> None:
    entries = parse_config(PASTED).access_list("SPLIT")
    assert [str(network) for entry in entries for network in entry.networks] == [
        "10.30.0.0/16",
        "192.0.2.17/32",
    ]


def test_names_stand_for_addresses_in_any_line() -> None:
    text = "name 192.0.2.1 gate\ninterface G0/0\n nameif inside\n ip address gate 255.255.255.0\n"
    config = parse_config(text)
    assert str(config.interfaces[0].ip) == "192.0.2.1/24"
    assert config.startup() == text


def test_unknown_lines_are_reported_with_their_numbers() -> None:
    lines = PASTED.split("\n")
    reports = parse_config(PASTED).reports
    for report in reports:
        assert lines[report.line - 1].strip().startswith(report.text.split("*****")[0])
    assert {"pager lines 24", "object network STAFF-NET", "cache", "key *****"} <= {r.text for r in reports}
    assert next(r.reason for r in reports if r.text == "cache") == (
        "unknown command; kept with the 1 lines under it"
    )


def test_unknown_lines_are_shown_again_at_their_place() -> None:
    written = parse_config(PASTED).startup()
    kept = [line for line in PASTED.split("\n") if line and not line.startswith(("!", ":", "Crypto"))]
    # one blank for each level, however deep it was
    assert written.split("\n")[:-1] == [line.rstrip().replace("    3082", "  3082") for line in kept]


def test_what_an_ipsec_line_hides_is_not_interpreted() -> None:
    config = parse_config("webvpn\n http-headers\n  hsts-server\n   enable\n   port 1\n")
    assert config.webvpn.interfaces == ()
    assert config.webvpn.port == 443


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ip local pool P 10.0.0.9-10.0.0.1", "lab.cfg:1: bad address range '10.0.0.9-10.0.0.1'"),
        ("ip local pool P 10.0.0.1-10.0.1.9 mask 255.255.255.0", "the range leaves the network 10.0.0.0/24"),
        ("ip local pool P 10.0.0.1-10.0.0.255 mask 255.255.255.0", "broadcast address of 10.0.0.0/24"),
        ("ip local pool P 10.0.0.1-10.0.0.9 mask 0.0.0.255", "bad mask '0.0.0.255'"),
        (
            "ip local pool P 10.0.0.1-10.0.0.9\nip local pool Q 10.0.0.9-10.0.0.12",
            "2: the range overlaps with that of pool 'P'",
        ),
        ("ipv6 local pool P fd00::1/64 0", "expected a number from 1 to 16384"),
        ("ipv6 local pool P fd00::fffe/120 200", "do not fit into fd00::ff00/120"),
        ("ipv6 local pool P 10.0.0.0/8 200", "bad IPv6 prefix"),
        ("webvpn\n port 70000", "lab.cfg:2: bad value '70000', expected a number from 1 to 65535"),
        ("webvpn\n enable", "2: incomplete command, expected IFNAME"),
        ("interface", "incomplete command"),
        ("clock timezone X 14", "expected hours"),
        ("access-list A standard permit 10.0.0.0 0.0.0.255", "bad mask"),
        ("access-list A standard permit 10.0.0.0", "without a mask"),
        ("access-list A standard permit 10.0.0.0 255.0.0.0 any", "unexpected word"),
        ("access-list A allow any", "expected standard, extended or remark"),
        ("access-list A standard allow any", "expected permit or deny"),
        ("access-list A extended permit ip any", "a source and a destination"),
        ("access-list A standard permit host nowhere", "bad network"),
        ("access-list A standard permit fd00::/8", "a standard list has IPv4 alone"),
        ("access-list A standard permit any6", "a standard list has IPv4 alone"),
        ("access-list A extended permit ip any 10.0.0.0", "without a mask"),
        ("access-list A extended permit ip any nowhere 255.0.0.0", "bad network"),
        ("access-list A extended permit ip any any any", "unexpected word 'any'"),
        ("access-list A standard permit", "incomplete access-list entry"),
        ("access-list A extended deny", "incomplete access-list entry"),
        ("interface a\n ip address fd00::1 255.0.0.0", "expected IPv4 (or dhcp, pppoe)"),
        ("interface a\n ip address 10.0.0.1 255.0.0.0 standby", "incomplete command, expected STANDBY"),
        ("interface a\n ipv6 address 10.0.0.1 link-local", "bad IPv6 prefix"),
        ("ip local pool P 10.0.0.1-", "bad address range"),
        ("aaa-server R inside host 10.0.0.1", "expected an interface in parentheses (or protocol, host)"),
        ("tunnel-group T type remote-access\ntunnel-group T webvpn-attributes\n group-url https://[x enable",
         "3: bad URL"),
        ("webvpn\n !emu port 70000", "from 1 to 65535"),
        ("webvpn\n !emu dtls legacy-0100 on", "2: bad value 'on', expected disable or enable"),
        ("webvpn\n tunnel-group-list on", "2: bad value 'on', expected enable"),
        ("!emu username bob password \"\"", "an empty password"),
        ("username bob password one two", "unexpected word after the password"),
        ("!emu username bob totp 0189", "bad base32"),
        ("!emu username bob password \"\\ud800\"", "bad JSON"),
        ("!emu users u 9-1 password x", "bad range"),
        ("!emu quirk CSCxx00000", "unknown quirk 'CSCxx00000', known: CSCts66926, CSCtg33110"),
        ("hostname a\x1b[2J", "control character"),
    ],
)  # fmt: skip
def test_a_known_command_gone_wrong_is_an_error_with_its_line(text: str, message: str) -> None:
    assert message in error_of(text)


GROUP = "group-policy G internal\ngroup-policy G attributes\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (" vpn-idle-timeout 0", "expected minutes from 1 to 35791394"),
        (" vpn-idle-timeout 8s", "an !emu line takes any duration with a unit"),
        (" !emu vpn-idle-timeout 8", "expected a number with a unit: 500ms, 8s, 2m or 1h"),
        (" !emu vpn-idle-timeout 0s", "bad duration"),
        (" vpn-idle-timeout alert-interval 31", "from 1 to 30"),
        (" vpn-simultaneous-logins 2147483648", "from 0 to 2147483647"),
        (" vpn-tunnel-protocol sslclient", "bad value 'sslclient'"),
        (" split-tunnel-policy some", "expected excludespecified or tunnelall or tunnelspecified"),
        (" split-tunnel-network-list SPLIT", "expected none or value"),
        (" split-dns value " + "a.example " * 30, "longer than 255"),
        (" banner value " + "x" * 501, "longer than 500"),
        (" dns-server value 300.1.1.1", "bad address '300.1.1.1'"),
        (" address-pools value A B C D E F G", "at most 6"),
        (" webvpn\n  anyconnect dpd-interval client 4", "4: bad value '4', expected seconds from 5 to 3600"),
        (" webvpn\n  anyconnect ssl keepalive 601", "from 15 to 600"),
        (" webvpn\n  anyconnect mtu 1463", "from 256 to 1462"),
        (" webvpn\n  anyconnect ssl rekey time 10081", "from 1 to 10080"),
        (" webvpn\n  anyconnect ssl compression oc-lz4", "expected deflate or lzs or none"),
    ],
)
def test_group_policy_ranges(line: str, message: str) -> None:
    assert message in error_of(GROUP + line)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GROUP + " address-pools value NOWHERE",
            "lab.cfg:3: address pool 'NOWHERE' does not exist (add: ip local pool NOWHERE FROM-TO mask MASK)",
        ),
        (GROUP + " ipv6-address-pools value NOWHERE", "3: IPv6 address pool 'NOWHERE' does not exist"),
        (GROUP + " split-tunnel-network-list value NOWHERE", "3: access-list 'NOWHERE' does not exist"),
        (GROUP + " group-lock value NOWHERE", "3: tunnel-group 'NOWHERE' does not exist"),
        ("group-policy G attributes", "1: group-policy 'G' does not exist (add: group-policy G internal)"),
        ("tunnel-group T general-attributes", "1: tunnel-group 'T' does not exist"),
        ("tunnel-group T type remote-access\ntunnel-group T general-attributes\n default-group-policy G",
         "3: group-policy 'G' does not exist"),
        ("username bob attributes", "1: user 'bob' does not exist"),
        ("!emu username bob totp JBSWY3DPEHPK3PXP", "1: user 'bob' does not exist"),
        ("username bob password x\nusername bob attributes\n vpn-group-policy G",
         "3: group-policy 'G' does not exist"),
        ("tunnel-group DefaultRAGroup general-attributes\n authentication-server-group LDAP",
         "2: aaa-server 'LDAP' does not exist"),
    ],
)  # fmt: skip
def test_a_missing_object_is_an_error_with_a_remedy(text: str, message: str) -> None:
    assert message in error_of(text)


def test_an_object_may_be_defined_after_the_line_that_names_it() -> None:
    text = GROUP + " address-pools value P\nip local pool P 10.0.0.1-10.0.0.9 mask 255.255.255.0\n"
    assert list(parse_config(text).pools) == ["P"]


def test_a_password_never_gets_into_an_error() -> None:
    for text in (
        "username bob password my secret",
        "enable password my secret",
        "!emu users u 1-2 password a secret",
    ):
        assert "secret" not in error_of(text)  # fmt: skip


def test_a_group_without_attributes_may_be_external() -> None:
    config = parse_config("group-policy X external server-group R password pw\n")
    assert config.render() == "group-policy X external server-group R password *****\n"


def test_bytes_must_be_utf8() -> None:
    with pytest.raises(ConfigError, match=r"^lab.cfg:2: not UTF-8; save the file as UTF-8$"):
        parse_config_bytes(b"hostname a\nbanner motd caf\xe9\n", "lab.cfg")
    assert (
        parse_config_bytes("\ufeffhostname a\r\ndomain-name ü.test\r\n".encode(), "x").domain_name == "ü.test"
    )


def test_clear_passwords_are_hashed_on_load() -> None:
    text = (
        "username bob password geheim privilege 15\nenable password pw\n"
        '!emu username ann password "två ord"\n!emu users u 00-19 password p\nusername eve nopassword\n'
        "username old password 2KFQnbNIdI.2KYOU encrypted\n"
    )
    config = parse_config(text, hasher=lambda plain, scheme: f"${scheme}${plain[::-1].replace(' ', '_')}$")
    users = {name: config.user(name) for name in ("bob", "ann", "u07", "eve", "old")}
    assert {name: user.password for name, user in users.items() if user} == {
        "bob": StoredPassword("$pbkdf2$mieheg$", "pbkdf2"),
        "ann": StoredPassword("$pbkdf2$dro_åvt$", "pbkdf2"),
        "u07": StoredPassword("$emu$p$", "emu"),
        "eve": StoredPassword("", "nopassword"),
        "old": StoredPassword("2KFQnbNIdI.2KYOU", "encrypted"),
    }
    assert config.enable_password == StoredPassword("$pbkdf2$wp$", "pbkdf2")
    assert users["bob"] is not None and users["bob"].privilege == 15
    assert "geheim" not in config.startup()
    assert parse_config(config.startup()).document == config.document


def test_what_split_tunnelling_cannot_use_still_loads() -> None:
    config = parse_config(
        "access-list A line 1 extended permit tcp any any eq 443\n"
        "access-list A permit ip 10.0.0.0 255.0.0.0 any4\naccess-list A webtype permit url any\n"
        "access-list A advanced permit ip any any rule-id 1\n"
        "access-list A extended permit ip object-group X any\naccess-list A standard permit any\n"
        "access-list A extended permit ip host 10.0.0.1 object Y log\n"
        "access-list A extended permit ip host 10.0.0.1 10.1.0.0 255.255.0.0 log debugging interval 60\n"
    )
    entries = config.access_list("A")
    assert [len(entry.networks) for entry in entries] == [0, 1, 0, 0, 0, 1, 1, 1]
    assert [entry.unread for entry in entries if entry.unread] == [
        "protocol tcp",
        "of kind webtype",
        "of kind advanced",
        "object-group as source",
    ]


def test_a_password_is_taken_literally() -> None:
    config = parse_config(
        'username a password "quoted"\nusername b password ?!#\\\nusername c password encrypted\n'
    )
    texts = [user.password.text for name in "abc" if (user := config.user(name)) and user.password]
    assert texts == ['"quoted"', "?!#\\", "encrypted"]
    assert parse_config(config.startup()).document == config.document


def test_a_garbled_hash_is_reported() -> None:
    config = parse_config("username a password ***** pbkdf2\nusername b password short encrypted\n")
    assert [(report.line, report.text) for report in config.reports] == [
        (1, "username a password ***** pbkdf2"),
        (2, "username b password ***** encrypted"),
    ]


def test_lenience_is_reported() -> None:
    text = (
        "webvpn\n enable outside\n anyconnect enable\n"
        "access-list S extended permit tcp 10.0.0.0 255.0.0.0 any\n"
        "access-list T extended permit tcp any any\n" + GROUP + " split-tunnel-network-list value S\n"
    )
    assert [(report.line, report.reason) for report in parse_config(text).reports] == [
        (2, "no interface is named 'outside'; served all the same"),
        (3, "no anyconnect image; clients are let in all the same"),
        (4, "not used for split tunnelling: protocol tcp"),
    ]


def test_what_is_understood_and_has_no_effect_is_reported() -> None:
    text = (
        "aaa-server RAD protocol radius\ntunnel-group T type remote-access\n"
        "tunnel-group T general-attributes\n authentication-server-group RAD LOCAL\n"
        " accounting-server-group RAD\n strip-group\n"
        "tunnel-group U type remote-access\ntunnel-group U general-attributes\n"
        " authentication-server-group LOCAL\n" + GROUP + " vpn-access-hours value NIGHT\n"
    )
    assert [(report.line, report.reason.partition(" ")[0]) for report in parse_config(text).reports] == [
        (4, "no"),
        (5, "nothing"),
        (6, "user"),
        (12, "users"),
    ]
    assert not parse_config(GROUP + " vpn-access-hours none\n").reports


def test_a_misplaced_command_says_where_it_belongs() -> None:
    (report,) = parse_config(GROUP + " anyconnect keep-installer installed\n").reports
    assert report.reason == "unknown command here, config-group-webvpn has it; kept"


def test_a_flat_text_is_read_by_mode() -> None:
    config = parse_config(
        "configure terminal\nwebvpn\nenable outside\nexit\ngroup-policy G internal\n"
        "group-policy G attributes\nvpn-idle-timeout 5\nwebvpn\nanyconnect mtu 1300\nexit\n"
        "vpn-simultaneous-logins 1\n!\nwebvpn\nport 8443\ntunnel-group T type remote-access\n"
        "tunnel-group T webvpn-attributes\ngroup-alias T enable\nend\nwrite memory\n"
    )
    assert [report.line for report in config.reports] == [3]
    assert config.render() == (
        "webvpn\n enable outside\n port 8443\ngroup-policy G internal\ngroup-policy G attributes\n"
        " vpn-idle-timeout 5\n webvpn\n  anyconnect mtu 1300\n vpn-simultaneous-logins 1\n"
        "tunnel-group T type remote-access\ntunnel-group T webvpn-attributes\n group-alias T enable\n"
    )


def test_directives_belong_to_their_block() -> None:
    config = parse_config(
        GROUP
        + " vpn-idle-timeout 30\n !emu vpn-session-timeout 12s\n"
        + " !emu anyconnect dpd-interval gateway 3s\n"
        + "!emu disconnected-timeout 500ms\n"
        + "!emu quirk CSCts66926\n! emu quirk is a comment here\n"
        + "webvpn\n !emu dtls legacy-0100 enable\n"
    )
    assert config.reports == []
    assert config.quirks == {"CSCts66926"}
    assert config.webvpn.legacy_dtls
    assert config.startup() == (
        GROUP + " vpn-idle-timeout 30\n !emu vpn-session-timeout 12s\n webvpn\n"
        "  !emu anyconnect dpd-interval gateway 3s\n !emu disconnected-timeout 500ms\n"
        "!emu quirk CSCts66926\nwebvpn\n !emu dtls legacy-0100 enable\n"
    )


def test_an_unknown_directive_is_kept() -> None:
    config = parse_config("!emu teleport on\n")
    assert config.render() == "!emu teleport on\n"
    assert config.reports[0].line == 1


def test_a_range_of_users_is_cheap() -> None:
    config = parse_config(
        "!emu users user 00000-19999 password pw\nusername user00007 password own\n"
        "username user00009 attributes\n vpn-simultaneous-logins 1\n!emu users x 5-12 password pw\n"
        "!emu username user00001 totp jbsw-y3dp-ehpk-3pxp\n"
    )
    own, ranged = config.user("user00007"), config.user("user19999")
    assert own and own.password and own.password.text == "own"
    assert ranged and ranged.password and ranged.password.text == "pw"
    assert (
        config.user("user1") is None
        and config.user("user20000") is None
        and config.user("user0000\uff17") is None
    )
    assert config.user("x5") and config.user("x12") and not config.user("x05") and not config.user("x")
    attributes = config.user("user00009")
    assert attributes and attributes.attributes
    totp = config.user("user00001")
    assert totp and totp.totp == "JBSWY3DPEHPK3PXP"


def test_no_indentation_is_too_deep() -> None:
    for first in ("unknown", "webvpn"):
        config = parse_config(f"{first}\n" + "".join(f"{' ' * depth}port 444\n" for depth in range(1, 3000)))
        assert max(len(line) - len(line.lstrip()) for line in config.render().splitlines()) < MAX_DEPTH
        assert parse_config(config.startup()).startup() == config.startup()
