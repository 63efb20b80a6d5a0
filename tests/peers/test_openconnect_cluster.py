"""openconnect and a load-balancing cluster: it is sent to the least loaded member, and comes back to it."""

import re
from collections.abc import Iterator

import pytest

from asa_emu.testing import ClusterProcess, HeadendProcess, cluster
from tests.peers.lab import GATEWAY, PASSWORD, config, profile, wait_until
from tests.peers.openconnect import Openconnect, authenticate

pytestmark = pytest.mark.peer("openconnect")

TEXT = config(profile("staff"), "domain-name example.test\n")


@pytest.fixture(scope="module")
def made() -> Iterator[ClusterProcess]:
    with cluster(3, TEXT) as running:
        yield running


def client(
    made: ClusterProcess, user: str, *options: str, path: str = "", url: str | None = None
) -> Openconnect:
    return Openconnect(
        f"{url or made.front.url}{path}", *options, pin=made.front.pin, user=user, passwords=[PASSWORD]
    )


def holder(made: ClusterProcess, user: str) -> HeadendProcess | None:
    """The member that has the session of a user."""
    has = [member for member in made.members if any(row["user"] == user for row in member.sessions())]
    assert len(has) <= 1
    return has[0] if has else None


def settled(made: ClusterProcess) -> bool:
    """Whether the director knows how many sessions each member has."""
    rows = made.front.api("GET", "/v1/load-balancing")["members"]
    return {row["address"]: row["sessions"] for row in rows} == {
        member.https: len(member.sessions()) for member in made.members
    }


def redirected(made: ClusterProcess) -> int:
    return int(made.front.api("GET", "/v1/load-balancing")["redirected"])


@pytest.mark.parametrize("xml", [True, False], ids=["xml", "form"])
def test_each_client_is_sent_to_the_least_loaded_member(made: ClusterProcess, xml: bool) -> None:
    users = [f"user{number:03}" for number in range(100 + 3 * xml, 103 + 3 * xml)]
    dialect = [] if xml else ["--no-xmlpost"]
    first, second, third = (client(made, user, *dialect, path="/staff") for user in users)
    with first, second, third:
        for each in (first, second, third):
            each.wait_dtls()
            each.ping(GATEWAY)
        members = [holder(made, user) for user in users]
        assert {member.https for member in members if member} == {member.https for member in made.members}
        for member, user in zip(members, users, strict=True):
            assert member
            (row,) = (row for row in member.sessions() if row["user"] == user)
            assert row["tunnel_group"] == "staff"
            assert {tunnel["kind"] for tunnel in row["tunnels"]} == {"parent", "ssl", "dtls"}
        # a member that has lost its clients is the next one, once it was heard to have had them
        wait_until(lambda: settled(made))
        assert second.log_off() == 0
        wait_until(lambda: holder(made, users[1]) is None and settled(made))
        with client(made, users[1], *dialect) as again:
            again.wait_connected()
            assert holder(made, users[1]) == members[1]
    wait_until(lambda: not any(member.sessions() for member in made.members) and settled(made))


@pytest.mark.statement("S139")
def test_a_resume_goes_straight_to_the_member(made: ClusterProcess) -> None:
    with client(made, "user110") as vpn, client(made, "user111") as other:
        vpn.wait_dtls()
        other.wait_dtls()
        member = holder(made, "user111")
        assert member
        before, (session,) = redirected(made), member.sessions()
        mark = other.mark()
        other.reconnect()
        other.wait_for("Got CONNECT response: HTTP/1.1 200", after=mark)
        other.wait_dtls(after=mark)
        other.ping(GATEWAY)
        (resumed,) = member.sessions()
        assert (resumed["index"], resumed["assigned_ip"]) == (session["index"], session["assigned_ip"])
        assert redirected(made) == before


def test_the_cookie_of_a_login_belongs_to_the_member(made: ClusterProcess) -> None:
    said = authenticate(made.front.url, pin=made.front.pin, user="user120", passwords=[PASSWORD])
    member = holder(made, "user120")
    assert member
    assert said["CONNECT_URL"].startswith(member.url)
    with Openconnect(member.url, pin=made.front.pin, cookie=said["COOKIE"]) as vpn:
        vpn.wait_connected()
        assert redirected(made)


def test_certificates_name_the_cluster_and_its_members(made: ClusterProcess) -> None:
    authority = ["--cafile", str(made.front.state / "ca.pem")]
    with Openconnect(made.front.url, *authority, pin=None, user="user130", passwords=[PASSWORD]) as vpn:
        vpn.wait_connected()
        assert re.search(r"Got HTTP response: HTTP/1.1 302", vpn.transcript())


def test_a_member_by_name(made: ClusterProcess) -> None:
    line = {"line": "vpn load-balancing", "session": "names"}
    for text in ("configure terminal", line["line"], "redirect-fqdn enable", "end"):
        made.front.api("POST", "/v1/cli", {**line, "line": text})
    names = [f"--resolve=lab-{number}.example.test:127.0.0.{number + 1}" for number in (1, 2, 3)]
    authority = ["--cafile", str(made.front.state / "ca.pem")]
    try:
        with Openconnect(
            made.front.url, *authority, *names, pin=None, user="user140", passwords=[PASSWORD]
        ) as vpn:
            vpn.wait_connected()
            assert re.search(r"lab-[123]\.example\.test", vpn.transcript())
    finally:
        for text in ("configure terminal", line["line"], "redirect-fqdn disable", "end"):
            made.front.api("POST", "/v1/cli", {**line, "line": text})
