"""`asa-emu cluster`: a load-balancing cluster in one process, every member on a loopback address of its own.

The cluster has the address of `--listen`, and its members those after it, all on one port: 127.0.0.1:8443 is
the cluster's, 127.0.0.2:8443 the first member's. They share one configuration; what makes a member of it is
typed into its own copy: a host name, a priority (the first has the highest), the cluster's address, and no
`nat`, which would be the same for all. Each is a whole headend with its own sessions, pools, console and
management API.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import trio

from asa_emu.app import (
    BindError,
    HostPort,
    Options,
    Running,
    UsageError,
    read_config,
    ready_files,
    run_headend,
)
from asa_emu.config import Report
from asa_emu.serve.balancing import LocalMeeting

MAX_MEMBERS = 10
"""As many as there are priorities, and as an ASA's cluster may have."""
_ATTEMPTS = 20  # at a free port


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster."""

    address: HostPort
    members: tuple[Running, ...]
    stopping: trio.Event

    @property
    def director(self) -> Running | None:
        """The member that has the cluster's address."""
        return next((member for member in self.members if member.balancing.listens), None)

    @property
    def reports(self) -> list[Report]:
        """Lines of the configuration that are kept without effect, or taken leniently."""
        return self.members[0].reports

    def ready_line(self) -> str:
        """The line on stdout: the cluster's address, then its members'."""
        members = ",".join(str(member.https) for member in self.members)
        manage = ",".join(str(member.manage) for member in self.members)
        return f"asa-emu ready cluster={self.address} members={members} manage={manage} {self.members[0].pin}"

    def ready_record(self) -> dict[str, Any]:
        """The contents of the ready file: the first member's, at the cluster's address, and all of them."""
        members = [member.ready_record() for member in self.members]
        return {**members[0], "https": str(self.address), "dtls": None, "members": members}


async def run_cluster(
    options: Options,
    *,
    count: int,
    task_status: trio.TaskStatus[Cluster] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a cluster until `Cluster.stopping` is set, or cancelled; it has started when somebody directs.

    Raises `UsageError` or `BindError` before it has started.
    """
    if not 1 <= count <= MAX_MEMBERS:
        raise UsageError(f"--members {count}: a cluster has 1 to {MAX_MEMBERS} members")
    listen = options.listen or HostPort("127.0.0.1", 8443)
    first = ip_address(listen.host)
    if first.version == 6 or first.is_unspecified:
        raise UsageError(f"--listen {listen}: a cluster has one IPv4 address, such as 127.0.0.1")
    try:
        ips = [str(first + number) for number in range(count + 1)]
    except ValueError:
        raise UsageError(f"--listen {listen}: there are no {count} addresses after it") from None
    address = HostPort(listen.host, _free_port(listen.port, ips))
    hostname = read_config(options).hostname
    meeting = LocalMeeting()
    async with trio.open_nursery() as nursery:
        members: list[Running] = []
        for number, ip in enumerate(ips[1:], 1):
            typed = (f"hostname {hostname}-{number}", "vpn load-balancing", f"cluster ip address {ips[0]}")
            member = replace(
                options,
                listen=HostPort(ip, address.port),
                ready_file=None,
                typed=(
                    *(*options.typed, *typed, "no nat"),
                    *(f"priority {MAX_MEMBERS + 1 - number}", "participate"),
                ),
                names=(*options.names, *ips),
                meeting=meeting,
            )
            members.append(await nursery.start(run_headend, member))
        cluster = Cluster(address, tuple(members), trio.Event())
        await members[0].balancing.has_listened.wait()
        nothing_more = replace(options, state=None)  # each member has written its own file there
        with ready_files(nothing_more, cluster.ready_record(), members[0].manage.port):
            task_status.started(cluster)
            await cluster.stopping.wait()
        for each in members:
            each.stopping.set()


def _free_port(wanted: int, ips: list[str]) -> int:
    """A port that is free on all of these, TCP and UDP: the wanted one, or for 0 any."""
    for _ in range(1 if wanted else _ATTEMPTS):
        port = wanted
        with ExitStack() as stack:
            try:
                for ip in ips:
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        sock = stack.enter_context(socket.socket(socket.AF_INET, kind))
                        sock.setsockopt(
                            socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM)
                        )
                        sock.bind((ip, port))
                        port = port or sock.getsockname()[1]
            except OSError as error:
                reason = f"cannot listen on {HostPort(ip, port)} (--listen): {error.strerror}"
                continue
        return port
    raise BindError(reason)
