"""The configuration session: modes, answers, `no`, and what is refused."""

import pytest

from asa_emu.config import Config, Editor, parse_config

LAB = """\
ip local pool P 10.0.0.10-10.0.0.99 mask 255.255.255.0
access-list S standard permit 10.0.0.0 255.0.0.0
access-list S standard deny 10.1.0.0 255.255.0.0
object network KEPT
 host 10.0.0.1
webvpn
 enable outside
group-policy G internal
group-policy G attributes
 banner value one
 banner value two
 address-pools value P
username bob password x
username bob attributes
 vpn-simultaneous-logins 1
tunnel-group T type remote-access
tunnel-group T general-attributes
 default-group-policy G
"""


def session(text: str = LAB) -> tuple[Config, Editor]:
    config = parse_config(text)
    return config, config.editor()


def run(editor: Editor, *lines: str) -> None:
    for line in lines:
        outcome = editor.execute(line)
        assert outcome.ok, (line, outcome)


@pytest.mark.parametrize(
    ("lines", "mode"),
    [
        ((), "config"),
        (("webvpn",), "config-webvpn"),
        (("interface Gi0/0",), "config-if"),
        (("group-policy G attributes",), "config-group-policy"),
        (("group-policy G attributes", "webvpn"), "config-group-webvpn"),
        (("group-policy G attributes", "webvpn", "exit"), "config-group-policy"),
        (("group-policy G attributes", "webvpn", "webvpn"), "config-webvpn"),
        (("group-policy G attributes", "webvpn", "vlan 3"), "config-group-policy"),
        (("username bob attributes",), "config-username"),
        (("username bob attributes", "webvpn"), "config-username-webvpn"),
        (("tunnel-group T general-attributes",), "config-tunnel-general"),
        (("tunnel-group T webvpn-attributes",), "config-tunnel-webvpn"),
        (("tunnel-group T webvpn-attributes", "hostname x"), "config"),
        (("webvpn", "end"), "config"),
    ],
)
def test_modes(lines: tuple[str, ...], mode: str) -> None:
    _, editor = session()
    run(editor, *lines)
    assert editor.mode == mode
    assert editor.ended == (lines[-1:] == ("end",))


def test_exit_from_the_top_ends_the_session() -> None:
    _, editor = session()
    run(editor, "webvpn", "exit")
    assert not editor.ended
    run(editor, "exit")
    assert editor.ended


def test_abbreviations() -> None:
    config, editor = session()
    run(
        editor,
        "ip loc po Q 10.9.0.1-10.9.0.5 ma 255.255.255.0",
        "group-p G att",
        "vpn-idle 7",
        "webv",
        "any mt 1300",
    )
    assert " vpn-idle-timeout 7\n webvpn\n  anyconnect mtu 1300\n" in config.render()


@pytest.mark.parametrize(
    ("mode", "line", "kind", "position"),
    [
        ("webvpn", "prot 443", "invalid", 0),
        ("webvpn", "port abc", "invalid", 5),
        ("webvpn", "  port 0", "invalid", 7),
        ("webvpn", "port", "incomplete", 4),
        ("webvpn", "e", "ambiguous", 0),
        ("webvpn", "port 443 444", "invalid", 9),
        ("webvpn", "!emu dtls legacy-0100 on", "invalid", 22),
        ("group-policy G attributes", "vpn-s 3", "ambiguous", 0),
        ("group-policy G attributes", "vpn-idle-timeout 0", "invalid", 17),
        ("group-policy G attributes", "address-pools value NOWHERE", "semantic", 20),
        ("group-policy G attributes", "no vpn-", "ambiguous", 3),
        ("", "ip local pool R 10.0.0.99-10.0.0.120 mask 255.255.255.0", "semantic", 42),
        ("", "no username", "incomplete", 11),
        ("", "no username nobody", "semantic", 3),
        ("", "no nonsense", "invalid", 3),
        ("", "group-policy NEW attributes", "semantic", 17),
        ("", "nat (inside,outside) dynamic interface", "invalid", 0),
    ],
)
def test_bad_lines_change_nothing(mode: str, line: str, kind: str, position: int) -> None:
    config, editor = session()
    if mode:
        run(editor, mode)
    before, generation, mode_before = config.startup(), config.generation, editor.mode
    outcome = editor.execute(line)
    assert (outcome.ok, outcome.kind, outcome.position) == (False, kind, position), outcome.text
    assert (config.startup(), config.generation, editor.mode) == (before, generation, mode_before)


def test_blank_lines_and_comments_do_nothing() -> None:
    _, editor = session()
    run(editor, "", "   ", "! a comment", "!")


def test_enabling_webvpn_says_so_and_the_port_is_refused_while_it_is() -> None:
    _, editor = session("webvpn\n")
    run(editor, "webvpn", "port 8443")
    assert editor.execute("enable outside").text == "INFO: WebVPN and DTLS are enabled on 'outside'."
    assert editor.execute("port 8444").kind == "semantic"
    run(editor, "no enable outside", "port 8444")


@pytest.mark.parametrize(
    ("mode", "line", "gone"),
    [
        ("group-policy G attributes", "no banner", "banner"),
        ("group-policy G attributes", "no banner value one", "banner value one"),
        ("group-policy G attributes", "no address-pools", "address-pools"),
        ("group-policy G attributes", "no address-pools value P", "address-pools"),
        ("", "no access-list S standard deny 10.1.0.0 255.255.0.0", "deny"),
        ("", "no access-list S", "access-list"),
        ("", "no username bob", "bob"),
        ("", "no username bob attributes", "bob attributes"),
        ("", "no tunnel-group T", "tunnel-group"),
        ("", "no webvpn", "webvpn"),
        ("", "no object network KEPT", "KEPT"),
        ("webvpn", "no enable outside", "enable"),
        ("username bob attributes", "no vpn-simultaneous-logins", "vpn-simultaneous-logins"),
    ],
)
def test_no_removes(mode: str, line: str, gone: str) -> None:
    config, editor = session()
    assert gone in config.startup()
    generation = config.generation
    run(editor, *filter(None, [mode]), line)
    assert gone not in config.startup()
    assert config.generation > generation


def test_no_of_a_banner_line_keeps_the_others() -> None:
    config, editor = session()
    run(editor, "group-policy G attributes", "no banner value one")
    assert " banner value two\n" in config.startup()
    assert editor.execute("no banner value three").kind == "semantic"


@pytest.mark.parametrize(
    ("line", "user"),
    [
        ("no ip local pool P", "address-pools value P"),
        ("no group-policy G", "default-group-policy G"),
    ],
)
def test_an_object_in_use_is_not_removed(line: str, user: str) -> None:
    config, editor = session()
    before = config.startup()
    outcome = editor.execute(line)
    assert outcome.kind == "semantic"
    assert user in outcome.text
    assert config.startup() == before


def test_no_of_directives() -> None:
    config, editor = session()
    run(editor, "!emu quirk CSCts66926", "!emu feature CSCuh55707", "!emu users u 0-9 password p")
    assert config.quirks == {"CSCts66926"} and config.features == {"CSCuh55707"}
    run(editor, "no !emu quirk CSCts66926", "!emu no feature CSCuh55707", "no users u 0-9")
    assert (config.quirks, config.features, config.user("u5")) == (frozenset(), frozenset(), None)
    run(editor, "group-policy G attributes", "!emu vpn-idle-timeout 8s", "no vpn-idle-timeout 30")
    assert "idle" not in config.startup()


def test_some_no_forms_are_statements() -> None:
    config, editor = session("interface G0/0\n nameif inside\n ip address 10.0.0.1 255.0.0.0\n")
    run(editor, "interface G0/0", "no nameif", "no ip address")
    assert config.startup() == "interface G0/0\n no nameif\n no ip address\n"
    assert config.interfaces[0].nameif is None and config.interfaces[0].ip is None


def test_a_new_line_goes_where_an_asa_shows_it() -> None:
    config, editor = session()
    run(editor, "ip local pool Q 10.9.0.1-10.9.0.5", "username eve nopassword", "hostname lab")
    shown = config.startup().split("\n")
    assert shown[:3] == [
        "hostname lab",
        "ip local pool P 10.0.0.10-10.0.0.99 mask 255.255.255.0",
        "ip local pool Q 10.9.0.1-10.9.0.5",
    ]
    assert shown.index("username eve nopassword") < shown.index("tunnel-group T type remote-access")
    run(editor, "group-policy G attributes", "webvpn", "anyconnect mtu 1300", "exit", "vlan 5")
    assert " vlan 5\n webvpn\n  anyconnect mtu 1300\n" in config.startup()


def test_what_is_typed_is_hashed_and_masked() -> None:
    config = parse_config("", hasher=lambda plain, scheme: f"<{scheme}>")
    run(
        config.editor(), "username bob password clear privilege 15", "!emu username bob totp JBSWY3DPEHPK3PXP"
    )
    assert config.startup() == (
        "username bob password <pbkdf2> pbkdf2 privilege 15\n!emu username bob totp JBSWY3DPEHPK3PXP\n"
    )
    assert config.render() == (
        "username bob password ***** pbkdf2 privilege 15\n!emu username bob totp *****\n"
    )


def test_help() -> None:
    _, editor = session()
    assert ("webvpn", "Configure WebVPN") in editor.help("")
    assert [word for word, _ in editor.help("tun")] == ["tunnel-group"]
    assert [word for word, _ in editor.help("e")] == ["enable", "exit", "end"]
    run(editor, "group-policy G attributes")
    assert [word for word, _ in editor.help("vpn-idle-timeout ")] == [
        "alert-interval",
        "none",
        "<1-35791394>",
    ]
    assert [word for word, _ in editor.help("vpn-idle-timeout 5 ")] == ["<cr>"]
    assert [word for word, _ in editor.help("no dns-server ")] == ["none", "value"]
    assert [word for word, _ in editor.help("!emu disc")] == ["disconnected-timeout"]
    assert editor.help("nonsense ") == []


def test_a_session_survives_the_loss_of_its_block() -> None:
    config, editor = session()
    other = config.editor()
    run(editor, "username bob attributes")
    run(other, "no username bob")
    assert not editor.execute("vlan 3").ok
    assert editor.mode == "config"
    assert "vlan" not in config.startup()


def test_lines_of_a_connection_profile_that_mean_nothing_here_are_known() -> None:
    editor = parse_config("tunnel-group T type remote-access\n").editor()
    assert editor.execute("tunnel-group T webvpn-attributes").ok
    lines = (
        "pre-fill-username client hide",
        "pre-fill-username clientless",
        "secondary-pre-fill-username client",
        "proxy-auth sdi",
        "saml identity-provider https://idp.example.test/metadata",
        "override-svc-download enable",
    )
    for line in lines:
        assert editor.execute(line).ok, line
        assert editor.execute(f"no {line}").ok, line
    assert not editor.execute("pre-fill-username nobody").ok
