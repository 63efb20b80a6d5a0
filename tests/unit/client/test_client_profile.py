"""AnyConnect profiles: what they say, what holds, and what is wrong with them, by line."""

from pathlib import Path

import pytest

from client_emu.app import main
from client_emu.gateway import Gateway
from client_emu.options import ClientOptions
from client_emu.profile import (
    HostEntry,
    Preference,
    ProfileError,
    check_preference,
    default,
    parse_profile_untrusted,
)

SEED = """<AutoReconnect UserControllable="true">true
<AutoReconnectBehavior>ReconnectAfterResume</AutoReconnectBehavior>
</AutoReconnect>"""

WHOLE = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<AnyConnectProfile xmlns="http://schemas.xmlsoap.org/encoding/"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://schemas.xmlsoap.org/encoding/ AnyConnectProfile.xsd">
 <ClientInitialization>
  <UseStartBeforeLogon UserControllable="true">false</UseStartBeforeLogon>
  {SEED}
  <AuthenticationTimeout>12</AuthenticationTimeout>
  <AutomaticVPNPolicy>true
   <AlwaysOn>true<ConnectFailurePolicy>Open</ConnectFailurePolicy></AlwaysOn>
  </AutomaticVPNPolicy>
  <BackupServerList><HostAddress>last.example.test</HostAddress></BackupServerList>
  <Teleport>true</Teleport>
 </ClientInitialization>
 <ServerList>
  <HostEntry>
   <HostName>Lab</HostName>
   <HostAddress>vpn.example.test:8443</HostAddress>
   <UserGroup>staff</UserGroup>
   <PrimaryProtocol>IPsec</PrimaryProtocol>
   <BackupServerList><HostAddress>b1.example.test</HostAddress><HostAddress>192.0.2.9</HostAddress></BackupServerList>
  </HostEntry>
  <HostEntry><HostName>plain.example.test</HostName></HostEntry>
 </ServerList>
</AnyConnectProfile>
"""


def around(inside: str) -> bytes:
    text = (
        f"<AnyConnectProfile>\n<ClientInitialization>\n{inside}\n</ClientInitialization></AnyConnectProfile>"
    )
    return text.encode()


@pytest.mark.statement("S73", "S74", "S78")
def test_an_editors_profile_is_read_whole() -> None:
    profile = parse_profile_untrusted(WHOLE.encode(), "lab.xml")
    last = Gateway("last.example.test")
    assert profile.hosts == (
        HostEntry(
            "Lab",
            Gateway("vpn.example.test", 8443, "/staff"),
            (Gateway("b1.example.test", path="/staff"), Gateway("192.0.2.9", path="/staff"), last),
        ),
        HostEntry("plain.example.test", Gateway("plain.example.test"), (last,)),
    )
    assert profile.preferences["AutoReconnect"] == Preference("true", user_controllable=True)
    assert profile.preferences["AutoReconnectBehavior"] == Preference("ReconnectAfterResume", True)
    assert profile.preferences["AlwaysOn"] == Preference("true")
    assert profile.preferences["ConnectFailurePolicy"] == Preference("Open")
    assert profile.reports == (
        "lab.xml:15: Teleport is not known and was passed over",
        "lab.xml:22: Lab is reached by SSL all the same",
    )


def test_empty_addresses_are_absent_ones() -> None:
    empty = "<HostAddress></HostAddress>"
    entry = f"<HostName>vpn.test</HostName>{empty}<UserGroup/><BackupServerList>{empty}</BackupServerList>"
    body = f"<AnyConnectProfile><ServerList><HostEntry>{entry}</HostEntry></ServerList></AnyConnectProfile>"
    assert parse_profile_untrusted(body.encode()).hosts == (HostEntry("vpn.test", Gateway("vpn.test")),)


def test_what_is_not_said_is_as_the_editor_leaves_it() -> None:
    profile = parse_profile_untrusted(b"<AnyConnectProfile/>")
    assert profile.hosts == ()
    expected = {
        "AutoReconnect": "true",
        "AutoReconnectBehavior": "DisconnectOnSuspend",
        "AutoUpdate": "true",
        "AuthenticationTimeout": "30",
        "IPProtocolSupport": "IPv4,IPv6",
        "AllowManualHostInput": "true",
        "AutoServerSelectionImprovement": "20",
        "AutoServerSelectionSuspendTime": "4",
        "EnableScripting": "false",
        "TrustedDNSDomains": "",
    }
    assert {name: profile.preference(name, {}) for name in expected} == expected
    assert default("CertificateStore") == "All"


def behavior(parent: str, child: str = "") -> str:
    """The seed's element, with attributes of ours."""
    inner = f"<AutoReconnectBehavior{child}>DisconnectOnSuspend</AutoReconnectBehavior>"
    return f"<AutoReconnect{parent}>true {inner}</AutoReconnect>"


YES, NO = ' UserControllable="true"', ' UserControllable="false"'


@pytest.mark.statement("S79")
@pytest.mark.parametrize(
    ("said", "holds"),
    [
        (behavior(YES), "ReconnectAfterResume"),
        (behavior(NO), "DisconnectOnSuspend"),
        (behavior(YES, NO), "DisconnectOnSuspend"),
        (behavior(NO, YES), "ReconnectAfterResume"),
        ("<AutoReconnect>true</AutoReconnect>", "DisconnectOnSuspend"),
    ],
    ids=["left to the user", "not left", "child not left", "only the child left", "not mentioned"],
)
def test_the_users_choice_counts_where_the_profile_leaves_it(said: str, holds: str) -> None:
    profile = parse_profile_untrusted(around(said))
    chosen = {"AutoReconnectBehavior": "ReconnectAfterResume"}
    assert profile.preference("AutoReconnectBehavior", chosen) == holds


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "p.xml:1: not an XML document"),
        (b"<AnyConnectProfile>\n<ServerList>\n", "p.xml:3: not well-formed XML"),
        (b"<html/>", "p.xml:1: the root element is html"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]>\n<AnyConnectProfile/>', "p.xml:1: a document type declaration"),
        (b"<AnyConnectProfile>\n" + b"<a>" * 40, "p.xml:2: more than 32 levels"),
        (b"<AnyConnectProfile>" + b"<a/>" * 3000 + b"</AnyConnectProfile>", "more than 2000 elements"),
        (b"<AnyConnectProfile>" + b" " * 70_000 + b"</AnyConnectProfile>", "document of 70"),
        (around("<AutoReconnect>maybe</AutoReconnect>"), "p.xml:3: AutoReconnect is one of true, false"),
        (around('<AutoUpdate UserControllable="1"/>'), "p.xml:3: UserControllable is true or false"),
        (around("<AuthenticationTimeout>\n9</AuthenticationTimeout>"), "p.xml:3: AuthenticationTimeout is a"),
        (
            around("<BackupServerList>\n<HostAddress>a b</HostAddress></BackupServerList>"),
            "p.xml:4: HostAddress: not an address",
        ),
        (
            b"<AnyConnectProfile><ServerList>\n<HostEntry/></ServerList></AnyConnectProfile>",
            "p.xml:2: a Host",
        ),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused_by_its_line(body: bytes, complaint: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile_untrusted(body, "p.xml")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("p.xml:")


def test_hosts_are_found_by_name_and_address() -> None:
    profile = parse_profile_untrusted(WHOLE.encode())
    for name in ("lab", "vpn.example.test", "VPN.example.test:8443"):
        found = profile.find(name)
        assert found is not None
        assert found.name == "Lab"
    assert profile.find("elsewhere") is None


def test_options_from_a_profile() -> None:
    profile = parse_profile_untrusted(WHOLE.encode())
    options = ClientOptions.from_profile(profile, user="walter")
    assert options.gateway == Gateway("vpn.example.test", 8443, "/staff")
    assert len(options.backups) == 3
    assert options.rules.servers == 4
    assert options.rules.reconnects_after_resume
    assert ClientOptions.from_profile(profile, "10.0.0.1").gateway == Gateway("10.0.0.1")
    closed = parse_profile_untrusted(around("<AllowManualHostInput>false</AllowManualHostInput>"), "c.xml")
    with pytest.raises(ValueError, match=r"c\.xml has no host 10\.0\.0\.1"):
        ClientOptions.from_profile(closed, "10.0.0.1")
    with pytest.raises(ValueError, match=r"c\.xml has no host"):
        ClientOptions.from_profile(closed)


def test_numbers_that_are_none() -> None:
    for value in ("", "-1", "1e3", "٣٠", "9" * 5000):
        with pytest.raises(ValueError, match="is a number from"):
            check_preference("AuthenticationTimeout", value)


def test_profile_check_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lab.xml"
    file.write_text(WHOLE)
    assert main(["profile", "check", str(file)]) == 0
    said = capsys.readouterr().out
    assert f"{file}: 2 hosts, 7 preferences" in said
    assert (
        "  host Lab: https://vpn.example.test:8443/staff, backed up by https://b1.example.test/staff" in said
    )
    assert "  AutoReconnect true (user controllable)" in said
    assert f"{file}:15: Teleport is not known" in said
    file.write_bytes(around("<AutoReconnect>maybe</AutoReconnect>"))
    assert main(["profile", "check", str(file)]) == 2
    assert f"client-emu: {file}:3: AutoReconnect is one of" in capsys.readouterr().err
    assert main(["profile", "check", "/no/such.xml"]) == 2
