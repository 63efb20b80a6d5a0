"""Network namespaces joined by a cable, so that a client and a server each have a machine of their own.

`cable()` makes two namespaces and a veth pair between them, with IPv4 and IPv6 addresses out of the
documentation ranges, and removes all of it again: processes still inside are killed, and the devices go with
their namespace. Names carry the process id, so parallel runs do not meet, and what a killed run left behind
is swept by the next one.

Needs root and the programs `ip` and (for `Cable.block`) `iptables`: `@pytest.mark.peer("netns", "iptables")`.
"""

import contextlib
import ctypes
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "asaemu"
NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # setns(2): only ever a network namespace

_numbers = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace known to `ip netns` by its name."""

    name: str

    def command(self, *argv: str) -> list[str]:
        """Return the command line that runs `argv` inside; the process id stays that of the program."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, limit: float = 10.0) -> str:
        """Run a program inside and return its stdout; fail with all output when its exit code is not 0."""
        return _run(*self.command(*argv), limit=limit)

    def ping(
        self, address: str, *, count: int = 3, size: int | None = None, options: tuple[str, ...] = ()
    ) -> str:
        """Ping an address, `size` bytes of payload each; fail unless every echo came back."""
        length = () if size is None else ("-s", str(size))
        command = ("ping", "-n", "-c", str(count), "-i", "0.1", "-W", "2", *length, *options, address)
        output = self.run(*command, limit=5 + 2 * count)
        assert f"{count} received" in output, output
        return output

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread inside; sockets opened meanwhile belong to this namespace for good."""
        with Path("/proc/thread-self/ns/net").open() as home, (NAMED / self.name).open() as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())


@dataclass(frozen=True, slots=True)
class Cable:
    """Two namespaces and the wire between them."""

    client: Namespace
    server: Namespace
    client_device: str
    server_device: str
    client_address: str = "192.0.2.2"
    server_address: str = "192.0.2.1"
    client_address6: str = "2001:db8:c::2"
    server_address6: str = "2001:db8:c::1"

    def wait_ready(self, limit: float = 5.0) -> None:
        """Wait until both families work; the kernel takes a moment to notice that both ends are up."""
        deadline = time.monotonic() + limit
        for address in (self.server_address, self.server_address6):
            while True:
                try:
                    self.client.run("ping", "-n", "-q", "-c", "1", "-W", "0.2", address)
                    break
                except AssertionError:
                    if time.monotonic() > deadline:
                        raise

    @contextlib.contextmanager
    def block(self, protocol: str = "all", port: int | None = None) -> Iterator[None]:
        """Let everything of a protocol (`udp`, `tcp`, `all`), or of one server port of it, vanish silently.

        Both sides see what a pulled cable or a filtering network looks like: no carrier loss, no ICMP, no
        answer.
        """
        rules = []
        for chain, device_flag, port_flag in (("INPUT", "-i", "--dport"), ("OUTPUT", "-o", "--sport")):
            ports = [] if port is None else [port_flag, str(port)]
            rules.append([chain, device_flag, self.server_device, "-p", protocol, *ports, "-j", "DROP"])
        done: list[tuple[str, ...]] = []
        try:
            for program, rule in itertools.product(("iptables", "ip6tables"), rules):
                self.server.run(program, "-w", "-A", *rule)
                done.append((program, "-w", "-D", *rule))
            yield
        finally:
            for undo in done:
                self.server.run(*undo)

    def move_client(self, address: str) -> None:
        """Give the client's end another IPv4 address in 192.0.2.0/24, as a laptop gets in another network."""
        _run("ip", "-n", self.client.name, "addr", "flush", "dev", self.client_device, "scope", "global")
        _run("ip", "-n", self.client.name, "addr", "add", f"{address}/24", "dev", self.client_device)

    def reset_connections(self, port: int) -> None:
        """Kill the client's established TCP connections to a server port, as a middlebox does by a reset."""
        self.client.run("ss", "-K", "-n", "-t", "dport", "=", f":{port}")


@contextlib.contextmanager
def namespace(label: str) -> Iterator[Namespace]:
    """Make a namespace with loopback up; remove it, and kill what still runs in it, at the end."""
    _sweep()
    inside = Namespace(f"{PREFIX}-{os.getpid()}-{next(_numbers)}-{label}")
    _run("ip", "netns", "add", inside.name)
    try:
        _run("ip", "-n", inside.name, "link", "set", "lo", "up")
        # Duplicate address detection would keep each new IPv6 address, the link-local ones too, unusable for
        # seconds.
        with inside.entered():
            Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0", "ascii")
        yield inside
    finally:
        _remove(inside.name)


@contextlib.contextmanager
def cable(*, mtu: int = 1500) -> Iterator[Cable]:
    """Make a client's and a server's namespace, joined by a cable."""
    with namespace("client") as client, namespace("server") as server:
        # Interface names have 15 characters; they need to be unique only within their namespace.
        made = Cable(client, server, client_device="up0", server_device="eth0")
        _run(
            *("ip", "link", "add", made.client_device, "netns", client.name, "mtu", str(mtu), "type", "veth"),
            *("peer", "name", made.server_device, "netns", server.name, "mtu", str(mtu)),
        )
        for end, device, address, address6 in (
            (client, made.client_device, made.client_address, made.client_address6),
            (server, made.server_device, made.server_address, made.server_address6),
        ):
            _run("ip", "-n", end.name, "addr", "add", f"{address}/24", "dev", device)
            _run("ip", "-n", end.name, "addr", "add", f"{address6}/64", "dev", device)
            _run("ip", "-n", end.name, "link", "set", device, "up")
        made.wait_ready()
        yield made


def leftovers() -> list[str]:
    """Return the names of this process's namespaces that still exist."""
    return [name for name in _names() if name.startswith(f"{PREFIX}-{os.getpid()}-")]


def _names() -> list[str]:
    return sorted(entry.name for entry in NAMED.iterdir()) if NAMED.is_dir() else []


def _sweep() -> None:
    for name in _names():
        owner = re.fullmatch(rf"{PREFIX}-(\d+)-.*", name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            _remove(name)


def _remove(name: str) -> None:
    # A namespace lives on, nameless and with its devices, as long as a process is inside: these go first.
    # Only what was started in it can be there.
    for _ in range(10):
        inside = _run("ip", "netns", "pids", name).split()
        if not inside:
            break
        for pid in inside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    _run("ip", "netns", "del", name)


def _run(*argv: str, limit: float = 10.0) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=limit, check=False)
    assert done.returncode == 0, (
        f"$ {' '.join(argv)}\n{done.stdout}{done.stderr}[exit code: {done.returncode}]"
    )
    return done.stdout


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
