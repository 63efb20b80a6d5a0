"""The shorter show commands, pipes, saving, and what an ASA does not have."""

from dataclasses import dataclass, field

import pytest
from ntc_templates.parse import parse_output

from asa_emu.cli.console import NotSaved
from asa_emu.config import parse_config
from tests.cli_lab import CONFIG, Desk, hasher, standalone


@dataclass
class BentClock:
    """Remembers how it was bent."""

    desk: Desk
    rate: float = 1.0
    advances: list[float] = field(default_factory=list)

    def advance(self, seconds: float) -> None:
        self.advances.append(seconds)
        self.desk.now += seconds

    def set_rate(self, rate: float) -> None:
        self.rate = rate


def test_the_clock_is_in_the_headends_zone() -> None:
    desk = Desk("clock timezone CEST 2\n")
    desk.now += 0.859
    assert desk.type("show clock") == "00:15:35.859 CEST Sat Dec 1 2012\n"
    assert desk.type("show clock detail").startswith("00:15:35.859 CEST Sat Dec 1 2012\nTime source is ")


def test_the_version_is_read_by_ntc_templates() -> None:
    desk = Desk(f"ASA Version 9.12(4)37\n{CONFIG}", privileged=False)
    desk.now += 41 * 86400 + 19 * 3600 + 5
    (row,) = parse_output(platform="cisco_asa", command="show version", data=desk.type("show version"))
    assert row["version"] == "9.12(4)37"
    assert row["hostname"] == "ciscoasa"
    assert row["uptime"] == "41 days 19 hours"
    assert row["hardware"] == "ASAv, 2048 MB RAM, CPU Xeon E5 series 2400 MHz"
    assert row["last_mod"] == ""


@pytest.mark.parametrize(
    ("seconds", "uptime"), [(0, "0 secs"), (61, "1 min 1 sec"), (3600, "1 hour"), (90_000, "1 day 1 hour")]
)
def test_uptime(seconds: float, uptime: str) -> None:
    desk = Desk()
    desk.now += seconds
    assert f"\nciscoasa up {uptime}\n" in desk.type("show version")


def test_the_version_tells_a_changed_configuration() -> None:
    desk = Desk()
    assert "has not been modified" in desk.type("show version")
    desk.type("configure terminal", "hostname x", "username boss password pw privilege 15")
    changed = desk.type("show version")
    (row,) = parse_output(platform="cisco_asa", command="show version", data=changed)
    assert row["last_mod"] == "enable_15 at 22:15:35.000 UTC Fri Nov 30 2012"
    desk.type("end", "login", "boss", "pw")
    desk.now += 60
    desk.type("emulator quirk CSCtg33110")
    assert "last modified by boss at 22:16:35.000 UTC" in desk.another().execute("show version").text


def test_the_running_config_is_loaded_back_as_it_was() -> None:
    desk = Desk()
    text = desk.type("show running-config")
    assert text.startswith(": Saved\n")
    assert text.endswith(": end\n")
    assert "secret" not in text
    assert parse_config(text).render() == desk.headend.config.render()


def test_a_part_of_the_running_config() -> None:
    desk = Desk()
    assert desk.type("show running-config tunnel-group CONTRACTORS") == (
        "tunnel-group CONTRACTORS type remote-access\n"
        "tunnel-group CONTRACTORS general-attributes\n"
        " default-group-policy CONTRACTORS\n"
        "tunnel-group CONTRACTORS webvpn-attributes\n"
        " group-alias contractors enable\n"
        " group-url https://vpn.example.test/contractors enable\n"
    )
    assert desk.type("show run tunnel-group CONTRACTORS general-attributes").count("\n") == 2
    assert desk.type("show run ip local pool inside") == (
        "ip local pool inside 192.168.1.4-192.168.1.254 mask 255.255.255.0\n"
    )
    assert desk.type("show run ipv6").startswith("!emu ipv6 local pool POOL6 ")
    assert desk.type("show run group-policy NOPE") == ""
    assert " port 443\n" not in desk.type("show run webvpn")
    assert " port 443\n" in desk.type("show run all webvpn")
    assert desk.type("write terminal") == desk.type("show running-config")


def test_the_log_and_emptying_it() -> None:
    desk = Desk("logging enable\nlogging buffered informational\n")
    assert "Syslog logging: enabled" in desk.type("show logging")
    assert desk.type("show logging setting")
    assert desk.type("clear logging buffer") == ""


def test_the_client_images() -> None:
    desk = Desk()
    assert desk.type("show webvpn anyconnect") == "\n0 AnyConnect Client(s) installed\n"
    desk.type("configure terminal", "webvpn")
    desk.type("anyconnect image disk0:/anyconnect-win-4.10.07061-webdeploy-k9.pkg 1")
    desk.type("anyconnect image disk0:/anyconnect-macos-4.10.07061-webdeploy-k9.pkg 2")
    assert desk.type("anyconnect image disk0:/other.pkg 3") == ""
    text = desk.type("show webvpn anyconnect")
    assert "1. disk0:/anyconnect-win-4.10.07061-webdeploy-k9.pkg 1 dyn-regex=/Windows NT/\n" in text
    assert "  CISCO STC win2k+\n  4,10,07061\n" in text
    assert text.endswith("\n3 AnyConnect Client(s) installed\n")


def test_a_pool_and_its_addresses() -> None:
    desk = Desk("ip local pool inside 192.168.1.4-192.168.1.6 mask 255.255.255.0\n")
    standalone(desk.headend.db)
    assert desk.type("show ip local pool inside") == (
        "Begin           End             Mask            Free     Held     In use\n"
        "192.168.1.4     192.168.1.6     255.255.255.0         2        0         1\n"
        "\nAvailable Addresses:\n192.168.1.5\n192.168.1.6\n"
        "\nIn Use Addresses:\n192.168.1.4\n"
    )
    assert desk.type("show ip local pool outside") == "ERROR: % Pool outside does not exist\n"


@pytest.mark.parametrize(
    ("pipe", "lines"),
    [
        ("include dns|logins", [" vpn-simultaneous-logins 3"]),
        ("i default-domain.*test$", [" default-domain value example.test"]),
        ("grep simultaneous-logins", [" vpn-simultaneous-logins 3"]),
        ("begin address", [" address-pools value POOL", " ipv6-address-pools value POOL6"]),
        ("include nothing like it", []),
        ("begin nothing like it", []),
        ("exclude ^[ ]", ["group-policy EMPLOYEES internal", "group-policy EMPLOYEES attributes"]),
        ("grep -v ^[ ]", ["group-policy EMPLOYEES internal", "group-policy EMPLOYEES attributes"]),
    ],
)
def test_pipes(pipe: str, lines: list[str]) -> None:
    assert Desk().type(f"show run group-policy EMPLOYEES | {pipe}").splitlines() == lines


def test_a_pipe_is_for_show_commands_and_wants_an_expression() -> None:
    desk = Desk()
    assert desk.type("show clock | include [") == "ERROR: % Invalid regular expression\n"
    assert desk.type("show clock | grep -v") == "ERROR: % Incomplete command\n"
    desk.type("configure terminal", "group-policy EMPLOYEES attributes", "banner value either | or")
    assert desk.type("show run group-policy EMPLOYEES | include banner") == " banner value either | or\n"


def test_write_memory_stores_hashes_and_show_startup_config_hides_them() -> None:
    desk = Desk()
    assert desk.type("write memory") == ("ERROR: % the headend was started without a configuration file\n")
    saved: list[str] = []
    desk.services.save = saved.append
    desk.services.startup = lambda: saved[-1]
    answer = desk.type("configure terminal", "hostname vpn-1", "write memory")
    assert answer.startswith("Building configuration...\nCryptochecksum: ")
    assert answer.endswith("[OK]\n")
    assert parse_config(saved[0], hasher=hasher).hostname == "vpn-1"
    assert "$emu-sha256$" in saved[0]
    shown = desk.type("show startup-config")
    assert "hostname vpn-1\n" in shown
    assert "$emu-sha256$" not in shown


def test_copy_asks_for_the_source_unless_told_not_to() -> None:
    desk = Desk()
    saved: list[str] = []
    desk.services.save = saved.append
    desk.type("copy running-config startup-config")
    assert desk.cli.prompt == "Source filename [running-config]? "
    assert desk.type("").endswith("[OK]\n")
    desk.type("copy /noconfirm running-config startup-config")
    assert desk.cli.run("copy running startup").endswith("[OK]\n")
    assert len(saved) == 3


def test_a_disk_that_is_full_is_told() -> None:
    desk = Desk()

    def full(_text: str) -> None:
        raise NotSaved("startup.cfg: No space left on device")

    desk.services.save = full
    assert desk.type("write") == "ERROR: % startup.cfg: No space left on device\n"
    desk.services.startup = lambda: "webvpn\n port nonsense\n"
    assert desk.type("show startup-config").startswith("ERROR: % ")


def test_the_emulated_clock_is_shown_and_bent() -> None:
    desk = Desk()
    assert desk.type("emulator clock show") == "22:15:35.000 UTC Fri Nov 30 2012\nRate: 1\n"
    assert desk.type("emulator clock advance 30m").startswith("ERROR: ")
    clock = desk.services.clock = BentClock(desk)
    assert desk.type("emulator clock advance 30m") == "22:45:35.000 UTC Fri Nov 30 2012\nRate: 1\n"
    assert desk.type("emu clock ad 1.5s").startswith("22:45:36.500 ")
    assert desk.type("emulator clock rate 60").endswith("Rate: 60\n")
    for line in ("advance 30", "advance -1s", "advance 999999999h", "rate 0", "rate fast", "rate nan"):
        assert "Invalid input" in desk.type(f"emulator clock {line}"), line
    assert clock.advances == [1800.0, 1.5]


def test_a_quirk_is_a_line_of_the_configuration_and_takes_effect_at_once() -> None:
    desk = Desk()
    assert desk.type("emulator quirk CSCtg33110") == ""
    assert desk.headend.db.quirks == {"CSCtg33110"}
    assert desk.type("show running-config | include quirk") == "!emu quirk CSCtg33110\n"
    assert desk.type("emulator quirk CSCts66926") == ""
    assert desk.type("no emulator quirk CSCtg33110") == ""
    assert desk.headend.db.quirks == {"CSCts66926"}
    assert desk.type("no emulator quirk CSCtg33110").startswith("ERROR: ")


def test_the_display_style_is_for_every_console() -> None:
    desk = Desk()
    standalone(desk.headend.db)
    desk.type("emulator display 8.x")
    assert "NAC Result" in desk.another().execute("show vpn-sessiondb anyconnect").text
    desk.type("emulator display 9.x")
    assert "NAC Result" not in desk.type("show vpn-sessiondb anyconnect")
    assert "Invalid input" in desk.type("emulator display 7.x")


def test_a_terminal_has_a_width() -> None:
    desk = Desk()
    for columns in (0, 40, 511):
        assert desk.type(f"terminal width {columns}") == ""
        assert desk.cli.width == columns
    assert "Invalid input" in desk.type("terminal width 512")


def test_a_pool_with_nothing_left_lists_nothing_available() -> None:
    desk = Desk("ip local pool inside 192.168.1.4 mask 255.255.255.0\n")
    standalone(desk.headend.db)
    assert "Available" not in desk.type("show ip local pool inside")
