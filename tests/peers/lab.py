"""A headend process under test, and real clients of it, in the words of a test.

    with serving(config(profile("small", webvpn=["anyconnect mtu 1200"]))) as lab:
        with lab.client(user, at="small") as client:
            client.wait_dtls()
            assert lab.tunnel(user, "dtls")["protocol"] == "DTLSv1.2"

One headend serves all tests of a module: each has a user of its own (`user000` to `user999`), and each kind
of policy is a connection profile reached by its group-url. With `where` the headend runs in a network
namespace.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from asa_emu.testing import HeadendProcess, running
from tests.peers.netns import Namespace
from tests.peers.openconnect import Openconnect

T = TypeVar("T")

PASSWORD = "secret"
GATEWAY, GATEWAY6 = "10.99.0.1", "fd00:99::1"

BASE = f"""\
hostname lab
ip local pool POOL 10.99.0.10-10.99.0.250 mask 255.255.255.0
ipv6 local pool POOL6 fd00:99::10/64 200
!emu users user 000-999 password {PASSWORD}
group-policy DfltGrpPolicy attributes
 vpn-simultaneous-logins 3
 address-pools value POOL
 ipv6-address-pools value POOL6
"""


def config(*parts: str, webvpn: Sequence[str] = ()) -> str:
    """The common configuration, lines of its `webvpn` block, and whole blocks after it."""
    block = "".join(f" {line}\n" for line in ("enable outside", *webvpn))
    return f"{BASE}webvpn\n{block}{''.join(parts)}"


def profile(
    name: str,
    *policy: str,
    webvpn: Sequence[str] = (),
    general: Sequence[str] = (),
    attributes: Sequence[str] = (),
) -> str:
    """A connection profile at `/NAME` with a group policy of the same name.

    `policy` are lines of the policy, `webvpn` lines of its webvpn block, `general` and `attributes` lines of
    the tunnel-group's general-attributes and webvpn-attributes.
    """
    lines = [f"group-policy {name} internal", f"group-policy {name} attributes"]
    lines += [f" {line}" for line in policy]
    if webvpn:
        lines += [" webvpn", *(f"  {line}" for line in webvpn)]
    lines += [f"tunnel-group {name} type remote-access", f"tunnel-group {name} general-attributes"]
    lines += [f" {line}" for line in (f"default-group-policy {name}", *general)]
    lines += [f"tunnel-group {name} webvpn-attributes", f" group-url https://vpn.example.test/{name} enable"]
    lines += [f" {line}" for line in attributes]
    return "\n".join([*lines, ""])


def wait_until(condition: Callable[[], T], *, limit: float = 5.0) -> T:
    """Call `condition` until its answer is true, and return that; fail with the last one after `limit` s."""
    deadline = time.monotonic() + limit
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"still {answer!r} after {limit} s"
        time.sleep(0.02)
    return answer


@dataclass(frozen=True, slots=True)
class Lab:
    """A running headend and what it says about its sessions."""

    headend: HeadendProcess
    where: Namespace | None = None
    """The namespace of the headend, and so of its management API."""

    def client(
        self,
        user: str,
        *options: str,
        at: str = "",
        url: str | None = None,
        passwords: Sequence[str] = (PASSWORD,),
        **more: Any,
    ) -> Openconnect:
        """An openconnect that logs in as `user` at `/at`, or at another URL; `more` is for `Openconnect`."""
        url = url or f"{self.headend.url}/{at}".rstrip("/")
        return Openconnect(url, *options, pin=self.headend.pin, user=user, passwords=passwords, **more)

    def holder(self, cookie: str, *options: str, **more: Any) -> Openconnect:
        """An openconnect that comes with a cookie instead of a password."""
        return Openconnect(self.headend.url, *options, pin=self.headend.pin, cookie=cookie, **more)

    @contextlib.contextmanager
    def _beside(self) -> Iterator[None]:
        with self.where.entered() if self.where else contextlib.nullcontext():
            yield

    def sessions(self, user: str) -> list[dict[str, Any]]:
        """The sessions of a user as the management API shows them."""
        with self._beside():
            return [row for row in self.headend.sessions() if row["user"] == user]

    def session(self, user: str) -> dict[str, Any]:
        """The one session of a user."""
        (row,) = self.sessions(user)
        return row

    def tunnel(self, user: str, kind: str) -> dict[str, Any] | None:
        """A tunnel of the user's one session, None while it has none of this kind."""
        return next((row for row in self.session(user)["tunnels"] if row["kind"] == kind), None)

    def logoff(self, **selector: Any) -> int:
        """Log sessions off by the management API; how many there were."""
        with self._beside():
            return self.headend.logoff(**selector)

    def advance(self, seconds: float) -> None:
        """Let emulated time jump ahead."""
        with self._beside():
            self.headend.advance(seconds)


@contextlib.contextmanager
def serving(
    text: str,
    *,
    where: Namespace | None = None,
    listen: str = "127.0.0.1:0",
    options: Sequence[str] = (),
    time: str | float = "real",
) -> Iterator[Lab]:
    """Run a headend with this configuration around a block, in a namespace if told so."""
    with contextlib.ExitStack() as stack:
        # A process lives in the namespace of the thread that started it.
        with where.entered() if where else contextlib.nullcontext():
            headend = stack.enter_context(running(text, listen=listen, options=options, time=time))
        yield Lab(headend, where)
