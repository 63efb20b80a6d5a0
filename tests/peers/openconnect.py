"""The real openconnect as a test peer, with its tunnel in user space or on a TUN device in a namespace.

`tunnel="script"` needs no root: `--script-tun` hands the packets to `tunpipe.py`, and the test pings through
`openconnect.tun`. `tunnel="kernel"` runs inside a network namespace with a TUN device that `vpnc-script.sh`
configures, so that `ping` and any other program can be used there. `tunnel="none"` is for `--authenticate`.

Traps that shaped this: the server is always given with its pin, never verified by name; `--passwd-on-stdin`
reads one line for the first password and further prompts read the next lines; the interface is named, because
openconnect would otherwise take the first free `tunN`; and its exit code is 0 only when it was the user who
ended it.
"""

import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.peers.netns import Namespace
from tests.peers.program import PeerFailure, Program
from tests.peers.tunpipe import TunEndpoint

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Configured:
    """What openconnect says when its tunnel stands."""

    ip4: str | None
    ip6: str | None
    ssl: str
    dtls: str


class Openconnect(Program):
    """A running openconnect. Leaving the block ends it with SIGINT, which logs the session off."""

    def __init__(
        self,
        url: str,
        *options: str,
        pin: str | None,
        user: str | None = None,
        passwords: Sequence[str] = (),
        cookie: str | None = None,
        tunnel: Literal["script", "kernel", "none"] = "script",
        where: Namespace | None = None,
        device: str = "vpn0",
    ) -> None:
        """Start it. `passwords` are the answers to its prompts in order: password, second factor, …"""
        self.where = where
        self.device = device
        self._directory = Path(tempfile.mkdtemp(prefix="oc-"))
        self._tun = TunEndpoint(self._directory / "tun") if tunnel == "script" else None
        self._record = self._directory / "script-calls"
        argv = ["openconnect", "-v"]
        if pin is not None:
            argv += ["--servercert", pin]
        if user is not None:
            argv += ["--user", user]
        if passwords:
            argv.append("--passwd-on-stdin")
        if cookie is not None:
            argv.append("--cookie-on-stdin")
        match tunnel:
            case "script":
                program = [sys.executable, str(HERE / "tunpipe.py"), str(self._directory / "tun")]
                argv += ["--script-tun", "--script", shlex.join(program)]
            case "kernel":
                assert where, "a TUN device belongs into a namespace of its own"
                argv += ["--interface", device, "--script", str(HERE / "vpnc-script.sh")]
            case "none":
                pass
        argv += [*options, url]
        answers = [cookie] if cookie is not None else passwords
        super().__init__(
            where.command(*argv) if where else argv,
            stdin="".join(f"{answer}\n" for answer in answers),
            environment={"RECORD": str(self._record)},
            stop_signal=signal.SIGINT,
        )

    @property
    def tun(self) -> TunEndpoint:
        """The inside of the tunnel, for `tunnel="script"`."""
        assert self._tun, "only with tunnel='script'"
        return self._tun

    def wait_connected(self, *, limit: float = 15.0, after: int = 0) -> Configured:
        """Wait until the tunnel stands and is configured; return what was assigned."""
        found = self.wait_for(
            r"Configured as (?P<addresses>.*), with SSL (?P<ssl>\S.*?)(?: and DTLS (?P<dtls>.*))?$",
            limit=limit,
            after=after,
        )
        addresses = found["addresses"].split(" + ")
        ip6 = [each.partition("/")[0] for each in addresses if ":" in each]
        ip4 = [each for each in addresses if ":" not in each]
        self._wait_inside(limit)
        return Configured(
            ip4[0] if ip4 else None, ip6[0] if ip6 else None, found["ssl"], found["dtls"] or "disabled"
        )

    def wait_dtls(self, *, limit: float = 15.0, after: int = 0) -> str:
        """Wait until DTLS is up; return its suite in GnuTLS words: `(DTLS1.2)-(PSK)-(AES-256-GCM)`.

        Up means also that its MTU is known, because openconnect throws away data that arrive while it probes,
        and that the tunnel is configured, which may come after DTLS.
        """
        deadline = time.monotonic() + limit
        suite = self.wait_for(
            r"Established DTLS connection .* Ciphersuite (\S+)\.$", limit=limit, after=after
        )[1]
        probed = r"No change in MTU after detection|Detected MTU of|in MTU detect loop"
        self.wait_for(probed, limit=max(deadline - time.monotonic(), 0.1), after=after)
        self._wait_inside(limit)
        return suite

    def ping(self, address: str, *, count: int = 3, size: int = 56) -> None:
        """Ping an address through the tunnel; fail unless every echo comes back unharmed."""
        if self._tun:
            for _ in range(count):
                assert self._tun.ping(address, size=size), f"no echo from {address}\n{self.transcript()}"
        else:
            assert self.where
            self.where.ping(address, count=count, size=size)

    def script_calls(self) -> list[dict[str, str]]:
        """Return the environments of the calls of the script so far (kernel tunnels), oldest first."""
        text = self._record.read_text("utf-8") if self._record.exists() else ""
        *calls, _unfinished = text.split("\0\0")
        return [dict(line.split("=", 1) for line in call.split("\0") if "=" in line) for call in calls]

    def log_off(self) -> int:
        """End the session for good (SIGINT) and return the exit code."""
        self.send_signal(signal.SIGINT)
        return self.wait()

    def detach(self) -> int:
        """Leave without logging off (SIGHUP), so that the cookie stays good; return the exit code."""
        self.send_signal(signal.SIGHUP)
        return self.wait()

    def reconnect(self) -> None:
        """Make it drop its connections and come back with its cookie at once (SIGUSR2)."""
        self.send_signal(signal.SIGUSR2)

    def _wait_inside(self, limit: float) -> None:
        # It speaks just before it runs the script: the device or the user-space end may take a moment more.
        if self._tun:
            self._tun.wait_started()
        elif self.where:
            self._wait_script(limit)

    def _wait_script(self, limit: float) -> None:
        deadline = time.monotonic() + limit
        while not any(call["reason"] == "connect" for call in self.script_calls()):
            if time.monotonic() > deadline or not self.running:
                raise PeerFailure(f"vpnc-script.sh did not finish\n{self.transcript()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it and remove its files."""
        super().stop()
        if self._tun:
            self._tun.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def authenticate(
    url: str,
    *options: str,
    pin: str,
    user: str | None = None,
    passwords: Sequence[str] = (),
    where: Namespace | None = None,
) -> dict[str, str]:
    """Log in only (`--authenticate`), and return the shell variables printed: COOKIE, HOST, FINGERPRINT, …"""
    with Openconnect(
        url, "--authenticate", *options, pin=pin, user=user, passwords=passwords, tunnel="none", where=where
    ) as program:
        assert program.wait() == 0, program.transcript()
        return dict(re.findall(r"^(\w+)='(.*)'$", program.stdout, re.MULTILINE))
