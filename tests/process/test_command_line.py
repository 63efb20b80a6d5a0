"""`asa-emu serve` as a program: exit codes with a reason, ready line and file, signals, flags, their twins.

What ends before there is anything to serve is tried inside the test's process, through the same entry point;
the rest are real processes on the real clock, started with as few of them as the sentences allow.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from asa_emu.__main__ import main
from asa_emu.app import HostPort, Options, UsageError, run_headend
from asa_emu.config.builtin import TEXT
from asa_emu.testing import HeadendFailed, HeadendProcess, running
from asa_emu.transport.certificates import Authority, open_server_identity, server_names
from client_emu.client import Client
from client_emu.events import Disconnected, Dtls
from client_emu.gateway import Gateway
from client_emu.options import ClientOptions

STARTS_WITHIN = 20.0  # seconds on a busy machine
STOPS_WITHIN = 3.0  # seconds, as promised


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory for all headends, whose keys are made once."""
    directory = tmp_path_factory.mktemp("state")
    open_server_identity(directory / "asa-emu", server_names("127.0.0.1"))
    return directory


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """Nothing of the machine's own settings; the default state directory is the shared one."""
    for name in [name for name in os.environ if name.startswith("ASA_EMU_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))


@dataclass
class Program:
    """A running `asa-emu serve`."""

    process: subprocess.Popen[str]
    ready_line: str

    @property
    def addresses(self) -> dict[str, str]:
        """The words of the ready line."""
        return dict(word.split("=", 1) for word in self.ready_line.split() if "=" in word)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, float]:
        """Exit code, standard error, and how long it took."""
        begun = time.monotonic()
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=STARTS_WITHIN)
        return self.process.returncode, errors, time.monotonic() - begun


@contextmanager
def serve(*arguments: object, **popen: Any) -> Iterator[Program]:
    """Start the program and wait for its ready line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "asa_emu", "serve", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=popen.pop("stderr", subprocess.PIPE),
        text=True,
        **popen,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=STARTS_WITHIN)[1]
        yield Program(process, line.strip())
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def complaint(*arguments: object, **popen: Any) -> tuple[int, str]:
    """Exit code and standard error of a start that fails; nothing is said on standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "asa_emu", "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=STARTS_WITHIN,
        check=False,
        **popen,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


# usage errors, found before anything is opened


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["serve", "--bogus"], "--bogus"),
        (["serve", "--ssh", "127.0.0.1:0"], "--ssh"),
        (["explode"], "explode"),
        (["serve", "one", "two"], "two"),
        (["serve", "--listen"], "listen"),
        (["serve", "--listen", "127.0.0.1"], "HOST:PORT"),
        (["serve", "--listen", "127.0.0.1:65536"], "HOST:PORT"),
        (["serve", "--listen", "127.0.0.1:-1"], "HOST:PORT"),
        (["serve", "--listen", ":8443"], "HOST:PORT"),
        (["serve", "--listen", "[::1]"], "HOST:PORT"),
        (["serve", "--listen", "nowhere.invalid:0"], "'nowhere.invalid' is no address"),
        (["serve", "--manage", "nowhere"], "HOST:PORT"),
        (["serve", "--time", "0"], "--time 0"),
        (["serve", "--time", "-60"], "--time"),
        (["serve", "--time", "nan"], "--time nan"),
        (["serve", "--time", "inf"], "--time inf"),
        (["serve", "--time", "fast"], "--time fast"),
        (["serve", "--log-format", "xml"], "log-format"),
        (["serve", "--log-level", "loud"], "log-level"),
        (["serve", "--seed", "x"], "seed"),
    ],
)
def test_a_usage_error_is_exit_2_and_names_the_argument(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert word in said.err
    assert said.err.startswith("asa-emu: ")


async def refusal(**options: Any) -> str:
    """Why a headend with these options does not start."""
    wanted = {"listen": HostPort("127.0.0.1", 0)} | options
    with pytest.raises(UsageError) as caught:
        await run_headend(Options(**wanted))
    return str(caught.value)


async def test_a_configuration_error_names_file_and_line(tmp_path: Path, state: Path) -> None:
    file = tmp_path / "asa.cfg"
    for text, line in (
        ("hostname a\nip local pool P 10.0.0.9-10.0.0.1 mask 255.255.255.0\n", 2),
        ("\n\ngroup-policy A internal\ngroup-policy A attributes\n address-pools value NONE\n", 5),
        (
            "tunnel-group A type remote-access\ntunnel-group A general-attributes\n default-group-policy B\n",
            3,
        ),
    ):
        file.write_text(text)
        assert (await refusal(config=file, state=state)).startswith(f"{file}:{line}: ")


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3(", "naïve".encode("latin-1"), "\ufeffhostname é".encode("utf-16")]
)
async def test_a_file_that_is_not_utf_8_names_the_line(tmp_path: Path, state: Path, bad: bytes) -> None:
    file = tmp_path / "asa.cfg"
    file.write_bytes(b"hostname a\n! " + bad + b"\n")
    said = await refusal(config=file, state=state)
    assert said.startswith(f"{file}:2: ")
    assert "UTF-8" in said


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, state: Path) -> None:
    assert "No such file" in await refusal(config=tmp_path / "none.cfg", state=state)
    assert "directory" in await refusal(config=tmp_path, state=state)


async def test_certificates_that_cannot_be_used_are_named(tmp_path: Path, state: Path) -> None:
    authority = Authority.create()
    one, two = authority.issue_server(["127.0.0.1"]), authority.issue_server(["127.0.0.1"])
    one.save(tmp_path / "one.pem", tmp_path / "one.key")
    two.save(tmp_path / "two.pem", tmp_path / "two.key")
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate\n")
    good, key = tmp_path / "one.pem", tmp_path / "one.key"
    for cert, its_key, named in (
        (tmp_path / "none.pem", key, "none.pem"),
        (good, tmp_path / "none.key", "none.key"),
        (junk, key, "junk.pem"),
        (good, junk, "junk.pem"),
        (good, tmp_path / "two.key", "does not belong"),
        (good, tmp_path, str(tmp_path)),
    ):
        assert named in await refusal(cert=cert, key=its_key, state=state)
    assert "--cert and --key" in await refusal(cert=good, state=state)
    assert "--cert and --key" in await refusal(key=key, state=state)
    assert "none.pem" in await refusal(client_ca=tmp_path / "none.pem", state=state)
    assert "junk.pem" in await refusal(client_ca=junk, state=state)
    assert str(junk) in await refusal(state=junk)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
async def test_credentials_that_everybody_knows_stay_on_loopback(state: Path, host: str) -> None:
    assert "loopback only" in await refusal(listen=HostPort(host, 0), state=state)


# exit codes of real processes


def test_a_configuration_error_is_exit_2(tmp_path: Path) -> None:
    file = tmp_path / "asa.cfg"
    file.write_text("hostname a\nip local pool P nonsense\n")
    code, said = complaint(file, "--listen", "127.0.0.1:0")
    assert code == 2
    assert said.startswith(f"asa-emu: {file}:2: ")


@contextmanager
def taken_port(kind: socket.SocketKind) -> Iterator[str]:
    """An address that is taken for this kind alone; below the ports that connections get by themselves."""
    for port in random.sample(range(20_000, 32_000), 50):
        with socket.socket(socket.AF_INET, kind) as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            if kind == socket.SOCK_STREAM:
                taken.listen()
            yield f"127.0.0.1:{port}"
            return
    pytest.fail("no port is free")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_taken_is_exit_3(kind: socket.SocketKind) -> None:
    with taken_port(kind) as address:
        code, said = complaint("--listen", address)
    assert code == 3
    assert f"{'TCP' if kind == socket.SOCK_STREAM else 'UDP'} {address}" in said
    assert "in use" in said


def full_disk() -> None:
    """No file can grow any more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_ready_file_on_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, state: Path) -> None:
    file = tmp_path / "ready.json"
    code, said = complaint("--listen", "127.0.0.1:0", "--ready-file", file, preexec_fn=full_disk)
    assert code == 2
    assert f"--ready-file {file}: " in said
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in (state / "asa-emu").iterdir() if "running" in path.name] == []


def test_keys_on_a_full_disk_are_told(tmp_path: Path) -> None:
    code, said = complaint("--listen", "127.0.0.1:0", "--state", tmp_path / "new", preexec_fn=full_disk)
    assert code == 2
    assert str(tmp_path / "new") in said


def test_a_log_on_a_full_disk_stops_nobody(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with Path("/dev/full").open("w") as full:
        arguments = ["--listen", "127.0.0.1:0", "--ready-file", ready, "--keylog", "/dev/full"]
        with serve(*arguments, "--log-level", "debug", stderr=full) as program:
            trio.run(log_in_and_ping, json.loads(ready.read_text()))
            program.process.terminate()
            assert program.process.wait(STOPS_WITHIN) is not None


async def log_in_and_ping(record: dict[str, str]) -> None:
    """A whole session over both tunnels, against the headend of a ready file."""
    async with Client(options_for(record)) as vpn:
        assert (await vpn.next_event(Dtls)).up
        assert (await vpn.ping("10.99.0.1")).received == 1


def options_for(record: dict[str, str], **further: Any) -> ClientOptions:
    """How a client reaches the headend of a ready file."""
    host, _, port = record["https"].rpartition(":")
    return ClientOptions(
        gateway=Gateway(host, int(port)),
        user="walter",
        password="secret",
        group="employees",
        pin=record["pin"],
        **further,
    )


# the announcement


def test_the_ready_line_and_file_say_the_same_and_the_file_goes_with_the_headend(tmp_path: Path) -> None:
    file = tmp_path / "ready.json"
    file.write_text("{}")  # left over from a crash, and readable by all
    file.chmod(0o644)
    with serve("--listen", "127.0.0.1:0", "--ready-file", file, "--seed", "7") as program:
        record = json.loads(file.read_text())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert set(record) == {"pid", "https", "dtls", "manage", "manage_token", "console", "ssh", "pin"}
        assert record["pid"] == program.process.pid
        assert record["https"] == record["dtls"] == program.addresses["https"]
        assert program.addresses["manage"] == record["manage"]
        assert (record["console"], record["ssh"]) == (None, None)
        assert re.fullmatch(r"pin-sha256:[A-Za-z0-9+/]{43}=", record["pin"])
        assert program.ready_line.startswith("asa-emu ready https=127.0.0.1:")
        assert program.ready_line.endswith(record["pin"])
        assert record["manage_token"] not in program.ready_line
        assert record["manage_token"].isalnum()  # or `console --token` would take some for a flag
        assert list(tmp_path.iterdir()) == [file]
        with urllib.request.urlopen(f"http://{record['manage']}/readyz", timeout=5) as answer:
            assert answer.status == 200
        # a second copy on the same port
        code, said = complaint("--listen", record["https"])
        assert code == 3
        assert record["https"] in said
        assert file.exists()
        code, _, took = program.stop()
        assert (code, took < STOPS_WITHIN) == (0, True)
    assert list(tmp_path.iterdir()) == []


def test_a_name_stands_for_its_address() -> None:
    with serve("--listen", "localhost:0", "--manage", "localhost:0") as program:
        assert program.addresses["https"].startswith("127.0.0.1:")
        assert program.addresses["manage"].startswith("127.0.0.1:")


def test_an_impatient_second_signal_does_not_kill_it() -> None:
    with serve("--listen", "127.0.0.1:0") as program:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            program.process.send_signal(number)
        assert program.stop(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order_with_clients_connected(tmp_path: Path, number: signal.Signals) -> None:
    file, keylog = tmp_path / "ready.json", tmp_path / "keys.log"
    arguments = ["--listen", "127.0.0.1:0", "--ready-file", file, "--keylog", keylog, "--seed", "7"]
    with serve(*arguments, "--log-format", "json") as program:
        record = json.loads(file.read_text())
        # a listener who would never go by himself
        with urllib.request.urlopen(api_request(record, "/v1/events"), timeout=5):

            async def scene() -> tuple[list[str], list[int]]:
                reasons: list[str] = []
                async with (
                    Client(options_for(record)) as over_dtls,
                    Client(options_for(record, dtls=False)) as over_tls,
                ):
                    assert (await over_dtls.next_event(Dtls)).up
                    indexes = await trio.to_thread.run_sync(fetch_indexes, record)
                    program.process.send_signal(number)
                    with trio.fail_after(STOPS_WITHIN):
                        for vpn in (over_dtls, over_tls):
                            reasons.append((await vpn.next_event(Disconnected)).reason)
                return reasons, indexes

            begun = time.monotonic()
            reasons, indexes = trio.run(scene)
            _, errors = program.process.communicate(timeout=STARTS_WITHIN)
    assert program.process.returncode == 0
    assert time.monotonic() - begun < STOPS_WITHIN + 2  # the scene before it included
    assert reasons == ["Administrator Reset"] * 2
    assert not file.exists()
    # what else the flags did: the seed gave the first index, the log is JSON, the keys went to their file
    first = random.Random(7).randrange(1, 10_000)
    assert indexes == [first, first + 1]
    entries = [json.loads(line) for line in errors.splitlines()]
    assert entries[-1]["event"] == "stopping"
    assert all({"event", "level", "timestamp"} <= set(entry) for entry in entries)
    keys = keylog.read_text()
    assert keys.count("CLIENT_TRAFFIC_SECRET_0 ") >= 2
    assert keys.count("CLIENT_RANDOM ") == 1  # the DTLS tunnel
    assert "secret" not in errors  # the password, for one


def api_request(record: dict[str, str], path: str, body: bytes | None = None) -> urllib.request.Request:
    """A request to the management API of a headend."""
    headers = {"Authorization": f"Bearer {record['manage_token']}"}
    return urllib.request.Request(f"http://{record['manage']}{path}", body, headers)


def fetch_indexes(record: dict[str, str]) -> list[int]:
    """The indexes of all sessions."""
    with urllib.request.urlopen(api_request(record, "/v1/sessions"), timeout=5) as answer:
        return sorted(row["index"] for row in json.load(answer))


def test_every_flag_has_a_twin_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, elsewhere = tmp_path / "ready.json", tmp_path / "state"
    for name, value in {
        "LISTEN": "127.0.0.2:0",
        "READY_FILE": str(file),
        "STATE": str(elsewhere),
        "TIME": "nonsense",
        "LOG_LEVEL": "error",
        "NO_SUCH_THING": "1",
        "REQUIRE_PEERS": "1",
        "SERVE_LISTEN": "127.0.0.3:0",
    }.items():
        monkeypatch.setenv(f"ASA_EMU_{name}", value)
    with serve("--time", "60") as program:  # the flag wins over its twin
        record = json.loads(file.read_text())
        assert record["https"].startswith("127.0.0.2:")
        assert (elsewhere / "server.pem").exists()
        with urllib.request.urlopen(api_request(record, "/v1/clock", b'{"advance": 0}'), timeout=5) as answer:
            assert json.load(answer)["rate"] == 60
        assert program.stop(signal.SIGINT)[:2] == (0, "")


def test_a_configuration_of_ones_own_may_listen_anywhere(tmp_path: Path) -> None:
    if not has_ipv6():
        pytest.skip("needs IPv6 on loopback")
    file = tmp_path / "asa.cfg"
    file.write_text(
        TEXT.replace("username walter password secret", "username ann password x").replace("walter", "ann")
    )
    with serve(file, "--listen", "[::]:0") as program:
        assert program.addresses["https"].startswith("[::]:")
        port = int(program.addresses["https"].rpartition(":")[2])
        for address in (("127.0.0.1", port), ("::1", port)):
            socket.create_connection(address, 5).close()
        assert program.stop()[0] == 0


def has_ipv6() -> bool:
    """Whether this machine has ::1."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


# from a test of one's own


def test_running_stops_what_it_started() -> None:
    with running(users={"ann": "pass word ü"}, time=60) as headend:
        assert headend.sessions() == []
        assert headend.logoff(all=True) == 0
        headend.advance(60)
        assert headend.port > 0
        assert headend.url == f"https://{headend.host}:{headend.port}"
        assert (headend.state / "ca.pem").exists()
        assert headend.manage_token not in repr(headend)
        os.kill(headend.pid, 0)

        async def log_in() -> str | None:
            gateway = Gateway(headend.host, headend.port)
            options = ClientOptions(
                gateway=gateway, user="ann", password="pass word ü", ca=headend.state / "ca.pem"
            )
            async with Client(options) as vpn:
                (row,) = await trio.to_thread.run_sync(headend.sessions)
                assert row["assigned_ip"] == vpn.ip4
                return vpn.ip4

        assert trio.run(log_in)
        with pytest.raises(HeadendFailed, match="422"):
            headend.logoff(nobody=True)
    with pytest.raises(ProcessLookupError):
        os.kill(headend.pid, 0)
    assert not headend.state.exists()


@pytest.mark.parametrize("of", [str, Path, Path.read_text], ids=["name", "path", "text"])
def test_running_takes_a_file_or_its_text_and_any_user(
    tmp_path: Path, of: Callable[[Path], str | Path]
) -> None:
    file = tmp_path / "lab.cfg"
    file.write_text("hostname edge\nusername bob password pw\n")
    with running(of(file), users={"Ö two": "pw"}) as headend:
        answer = headend.api("POST", "/v1/cli", {"line": "show running-config username"})
        assert answer["prompt"] == "edge#"
        assert answer["text"].count("username ") == 2


def test_running_says_why_a_headend_did_not_start() -> None:
    with (
        pytest.raises(HeadendFailed, match=r"exit code 2(?s:.)*running-config:1: "),
        running("ip local pool"),
    ):
        pytest.fail("it started")


@pytest.mark.asa(users={"ann": "pw"}, options=["--seed", "3"])
def test_the_fixture_takes_a_marker(asa_headend: HeadendProcess) -> None:
    assert asa_headend.sessions() == []
    assert asa_headend.pin.startswith("pin-sha256:")
