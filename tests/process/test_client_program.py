"""`client-emu` as a program, at a headend that is another: flags, orders on stdin, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asa_emu.testing import HeadendProcess, running
from tests.peers.program import Program
from tests.peers.tunpipe import TunEndpoint

PASSWORD = "secret"
TUNPIPE = Path(__file__).parents[1] / "peers" / "tunpipe.py"
AFTER_RESUME = ("--preference", "AutoReconnectBehavior=ReconnectAfterResume")


@pytest.fixture(scope="module")
def asa() -> Iterator[HeadendProcess]:
    with running(users={"walter": PASSWORD}) as process:
        yield process


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    return file


def start(
    asa: HeadendProcess, password: Path, *more: str, host: str | None = None, **program: Any
) -> Program:
    """`client-emu connect`."""
    command = (sys.executable, "-m", "client_emu", "connect", host or asa.url, "--user", "walter")
    trust = ("--password-file", str(password), "--pin", asa.pin)
    return Program([*command, *trust, *more], **program)


def events_of(program: Program) -> list[dict[str, Any]]:
    return [json.loads(line) for line in program.stdout.splitlines()]


def test_suspend_and_resume_on_stdin(asa: HeadendProcess, password: Path) -> None:
    with start(asa, password, "--json", *AFTER_RESUME, keep_stdin=True) as program:
        program.wait_for('"event": "dtls", "up": true')
        program.write('{"do": "suspend"}\n{"do": "resume"}\n')
        program.wait_for('"event": "reconnecting", "level": "session"')
        program.wait_for('"event": "reconnected", "level": "session"')
        program.write('{"do": "disconnect"}\n')
        assert program.wait() == 0
    with start(asa, password, "--json", keep_stdin=True) as program:
        program.wait_for('"event": "connected"')
        program.write('{"do": "suspend"}\n{"do": "resume"}\n')
        assert program.wait() == 0
    assert events_of(program)[-1] == {"event": "disconnected", "reason": "the system was suspended"}


def test_unplug_and_plug_on_stdin(asa: HeadendProcess, password: Path) -> None:
    with start(asa, password, "--json", "--no-dtls", keep_stdin=True) as program:
        program.wait_for('"event": "connected"')
        program.write("[" * 200_000 + '\n{"do": "unplug", "interface": "moon"}\n')
        program.wait_for("a command is a line such as")
        program.write('{"do": "unplug", "interface": "wired"}\n')
        program.wait_for("no interface 'moon'; there are wired, wireless")
        program.wait_for('"event": "reconnecting", "level": "tunnel"')
        program.write('{"do": "plug", "interface": "wired"}\n')
        program.wait_for('"event": "reconnected"')
        mark = program.mark()
        program.write('{"do": "unplug", "interface": null}\n')
        program.write('{"do": "plug", "interface": "wireless", "address": "127.0.0.5"}\n')
        program.wait_for('"event": "reconnected"', after=mark)
        address = events_of(program)[0]["ip4"]
        assert [row["public_ip"] for row in asa.sessions() if row["assigned_ip"] == address] == ["127.0.0.5"]
        program.write('{"do": "detach"}\n')
        assert program.wait() == 0
    assert events_of(program)[-1] == {"event": "disconnected", "reason": "detached"}


def test_a_story_ends_with_0_and_a_broken_one_with_1(
    asa: HeadendProcess, password: Path, tmp_path: Path
) -> None:
    story = tmp_path / "story.toml"
    story.write_text("""
        [[act]]
        expect = "connected"
        [[act]]
        do = "reconnect"
        [[act]]
        name = "it comes back"
        expect = "reconnected"
        level = "tunnel"
    """)
    with start(asa, password, "--json", "--script", str(story)) as program:
        assert program.wait() == 0
    assert [event["event"] for event in events_of(program) if event["event"] != "dtls"] == [
        "connected",
        "reconnecting",
        "reconnected",
        "disconnected",
    ]
    story.write_text("[[act]]\nname='never'\nexpect='disconnected'\nwithin=0.5\n")
    with start(asa, password, "--script", str(story)) as program:
        assert program.wait() == 1
        program.wait_for(r"client-emu: act 1 \(never\): no event disconnected came within 0.5 s")
    story.write_text("[[act]]\ndo='dance'\n")
    with start(asa, password, "--script", str(story)) as program:
        assert program.wait() == 2
        program.wait_for("act 1: do is one of")
    story.write_text("[[act]]\nexpect='failed'\nreason='login refused'\n")
    password.write_text("wrong\n")
    with start(asa, password, "--script", str(story)) as program:
        assert program.wait() == 0


def test_a_signal_ends_a_story(asa: HeadendProcess, password: Path, tmp_path: Path) -> None:
    story = tmp_path / "story.toml"
    story.write_text("[[act]]\nat=3600\ndo='ping'\nto='10.99.0.1'\n")
    with start(asa, password, "--script", str(story)) as program:
        program.wait_for("  >> notice: Connected to 127.0.0.1")
        program.send_signal(signal.SIGTERM)
        assert program.wait() == 1
        program.wait_for("client-emu: interrupted")
        program.wait_for("  >> state: Disconnected")


def test_a_person_reads_vpnclis_lines(asa: HeadendProcess, password: Path) -> None:
    with start(asa, password, "--show-cookie") as program:
        program.wait_for("  >> notice: Connected to 127.0.0.1")
        program.wait_for(r"  >> note: address 10\.99\.0\.\d+ and \S+, MTU \d+, routes .*, cookie [0-9a-f]+")
        program.wait_for("  >> note: data goes over DTLS")


def test_vpnclis_verbs_through_a_pipe(asa: HeadendProcess) -> None:
    lines = ("hosts", f"connect {asa.https}", "", "", PASSWORD, "state", "stats", "disconnect", "exit", "")
    command = (sys.executable, "-m", "client_emu", "--user", "walter", "--pin", asa.pin)
    with Program(command, stdin="\n".join(lines)) as program:
        assert program.wait() == 0
    assert "  >> state: Connected" in program.stdout
    assert "    Connection State:            Connected" in program.stdout
    assert program.stdout.endswith("goodbye...\n")


def test_a_signal_logs_the_interactive_client_off(asa: HeadendProcess) -> None:
    asa.api("POST", "/v1/logoff", {"all": True})
    command = (sys.executable, "-m", "client_emu", "--user", "walter", "--pin", asa.pin)
    with Program(command, stdin=f"connect {asa.https}\n\n\n{PASSWORD}\n", keep_stdin=True) as program:
        program.wait_for("  >> notice: Connected to 127.0.0.1")
        assert len(asa.sessions()) == 1
        program.send_signal(signal.SIGINT)
        assert program.wait() == 0
    assert asa.sessions() == []


def test_hosts_by_name_and_backups_from_a_profile(
    asa: HeadendProcess, password: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "lab.xml"
    profile.write_text(f"""<AnyConnectProfile><ServerList><HostEntry><HostName>Lab</HostName>
        <HostAddress>127.0.0.1:9</HostAddress><BackupServerList><HostAddress>{asa.https}</HostAddress>
        </BackupServerList></HostEntry></ServerList></AnyConnectProfile>""")
    with start(asa, password, "--json", "--profile", str(profile), host="Lab") as program:
        program.wait_for('"event": "connected"')
    profile.write_text("<AnyConnectProfile>\n<ServerList>")
    with start(asa, password, "--profile", str(profile), host="Lab") as program:
        assert program.wait() == 2
        program.wait_for(f"client-emu: {profile}:2: not well-formed XML")


def test_the_profile_that_a_headend_hands_out_is_saved(password: Path, tmp_path: Path) -> None:
    text = "<AnyConnectProfile><ServerList/></AnyConnectProfile>\n"
    config = (
        f"!emu username walter password {PASSWORD}\nip local pool POOL 10.9.0.1-10.9.0.9\n"
        "webvpn\n enable outside\n anyconnect enable\n anyconnect profiles emu disk0:/emu.xml\n"
        "group-policy DfltGrpPolicy attributes\n address-pools value POOL\n"
        " webvpn\n  anyconnect profiles value emu type user\n"
    )
    saved = tmp_path / "saved.xml"
    with running(config=config) as asa:
        (asa.state / "emu.xml").write_text(text)
        with start(asa, password, "--save-profile", str(saved)) as program:
            program.wait_for("Connected to")
            program.wait_for("handed out a new profile")
        assert saved.read_text() == text
        with start(asa, password, "--json", "--save-profile", str(tmp_path)) as program:
            program.wait_for("--save-profile.*Is a directory")
        checked = subprocess.run(
            [sys.executable, "-m", "client_emu", "profile", "check", str(saved)],
            capture_output=True,
            text=True,
        )
        assert checked.returncode == 0, checked.stderr


def test_the_tunnel_is_handed_to_a_program(asa: HeadendProcess, password: Path, tmp_path: Path) -> None:
    with TunEndpoint(tmp_path / "tun") as tun:
        helper = f"{sys.executable} {TUNPIPE} {tun.path}"
        with start(asa, password, "--json", "--script-tun", helper, keep_stdin=True) as program:
            program.wait_for('"event": "connected"')
            told = tun.wait_started()
            (connected,) = events_of(program)[:1]
            assert told["INTERNAL_IP4_ADDRESS"] == connected["ip4"]
            assert told["INTERNAL_IP4_MTU"] == str(connected["mtu"])
            assert told["VPNGATEWAY"] == "127.0.0.1"
            assert told["reason"] == "connect"
            assert tun.ping("10.20.30.40", tries=3) is not None
            program.write('{"do": "reconnect"}\n')
            program.wait_for('"event": "reconnected"')
            assert tun.ping("10.20.30.40", tries=3) is not None
            program.write('{"do": "disconnect"}\n')
            assert program.wait() == 0
    before = [row["index"] for row in asa.sessions()]
    with start(asa, password, "--json", "--script-tun", "/no/such/program") as program:
        assert program.wait() == 1
    assert [row["index"] for row in asa.sessions()] == before
    assert events_of(program)[-1]["reason"].startswith("/no/such/program: ")
    with start(asa, password, "--json", "--script-tun", "/bin/false", keep_stdin=True) as program:
        assert program.wait() == 1
    assert events_of(program)[-1] == {"event": "disconnected", "reason": "/bin/false has ended with 1"}
    assert events_of(program)[0]["ip4"] not in [row["assigned_ip"] for row in asa.sessions()]


@pytest.mark.slow
def test_a_client_takes_at_most_150_kib() -> None:
    command = [sys.executable, "-m", "bench.thousand_clients", "--clients", "300"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60, cwd=Path(__file__).parents[2])
    facts = json.loads(done.stdout)
    assert facts["pings_answered"] == 300
    assert facts["value"] <= 150
