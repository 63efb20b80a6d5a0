"""The `vpn load-balancing` block: ranges, defaults, secrets, and what it cannot do without."""

import pytest

from asa_emu.config import ConfigError, LoadBalancing, parse_config

BLOCK = """\
hostname lab
vpn load-balancing
 interface lbpublic dmz
 interface lbprivate inside
 priority 9
 cluster key lion-king
 cluster ip address 192.0.2.10
 cluster port 9024
 cluster encryption
 nat 198.51.100.7
 redirect-fqdn enable
 participate
"""


def test_every_line_has_its_value() -> None:
    said = parse_config(BLOCK).load_balancing
    assert said == LoadBalancing(
        "192.0.2.10", 9024, "lion-king", True, 9, "198.51.100.7", True, "dmz", participate=True
    )
    assert "lion" not in repr(said)
    assert parse_config("").load_balancing == LoadBalancing()


def test_it_is_shown_as_it_was_written_less_the_key() -> None:
    config = parse_config(BLOCK)
    assert config.startup() == BLOCK
    assert config.render() == BLOCK.replace("lion-king", "*****")
    shown = parse_config("vpn load-balancing\n nat 192.0.2.1\n").render(all=True)
    for default in ("priority 5", "cluster port 9023", "redirect-fqdn disable", "interface lbpublic outside"):
        assert f"\n {default}\n" in shown


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("priority 0", "expected a number from 1 to 10"),
        ("priority 11", "expected a number from 1 to 10"),
        ("cluster port 0", "expected a number from 1 to 65535"),
        ("cluster key abc", "4 to 16 characters"),
        ("cluster ip address ::1", "expected IPv4"),
        ("redirect-fqdn maybe", "bad value 'maybe'"),
        ("participate", "has no address .add: cluster ip address"),
    ],
)
def test_bad_lines_are_named(line: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_config(f"vpn load-balancing\n {line}\n", "lab.cfg")
    assert str(caught.value).startswith("lab.cfg:2: ")


def test_at_the_console_it_has_a_mode_of_its_own() -> None:
    config = parse_config("")
    editor = config.editor()
    assert editor.execute("vpn load-balancing").ok
    assert editor.mode == "config-load-balancing"
    assert editor.execute("participate").text == "the load-balancing cluster has no address"
    assert editor.execute("cluster ip address 192.0.2.10").ok
    assert editor.execute("participate").ok
    assert config.load_balancing.participate
    # what was saved without it could not be loaded again
    for line in ("no cluster ip address", "no cluster ip address 192.0.2.10"):
        assert editor.execute(line).text == "'cluster ip address' is in use by 'participate'"
    assert config.load_balancing.cluster_ip == "192.0.2.10"
    assert editor.execute("no participate").ok
    assert editor.execute("no cluster ip address").ok
    assert not config.load_balancing.participate


def test_a_directive_frees_the_key_of_its_range() -> None:
    text = "vpn load-balancing\n !emu cluster key abc\n"
    assert parse_config(text).load_balancing.key == "abc"
    assert parse_config(text).startup() == text


@pytest.mark.parametrize(
    ("text", "fqdn"),
    [
        ("hostname lab\ndomain-name example.test\n", "lab.example.test"),
        ("hostname lab\n", ""),
        ("hostname läb\ndomain-name example.test\n", ""),
    ],
)
def test_a_full_name_is_one_that_dns_could_know(text: str, fqdn: str) -> None:
    assert parse_config(text).fqdn == fqdn
