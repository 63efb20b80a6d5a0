"""A member of a load-balancing cluster: heartbeats, and the cluster's address while it directs.

    configuration, session count -> heartbeat -> Meeting (this process, or Redis) -> Balancer (pure)
    Balancer -> director?  -> a listener on the cluster's address whose exchanges send logins on
             -> news       -> messages 718xxx

A listener on the cluster's address is one more `HttpsEndpoint`. It shares its address with whatever a former
director may have left there, and new connections come to it alone (`claim_address`). With the meeting out of
order, the director goes on, and everybody else waits; with only this member cut off from it, its role ends
with its lease, which is looked at again before each client is sent on: a process that was frozen may find
clients there before it finds out that it is not the director any more.

A failover pair is one member, for which the active unit speaks; the standby says nothing. The unit that takes
over goes on under the same address, and so has the role that the other had, if the lease is not over yet.
"""

from __future__ import annotations

import math
import socket
from dataclasses import replace
from ipaddress import IPv4Interface, ip_address
from typing import Final, Protocol

import structlog
import trio
from OpenSSL import SSL

from asa_emu.config import LoadBalancing
from asa_emu.ha.balance import POLL, Balancer, Member, Roll, Table
from asa_emu.serve.endpoint import HttpsEndpoint, bind_tcp
from asa_emu.serve.gateway import Gateway
from asa_emu.serve.https import Site
from asa_emu.serve.takeover import claim_address
from asa_emu.syslog.facts import Notice

MEET_LIMIT: Final = 1.0  # seconds of run time for one visit to the meeting

log = structlog.get_logger(__name__)


class MeetingDown(Exception):
    """The members cannot meet; `for_all` when it is known that none of them can."""

    def __init__(self, reason: str, *, for_all: bool) -> None:
        super().__init__(reason)
        self.for_all = for_all


class Meeting(Protocol):
    """Where the members of a cluster meet."""

    async def meet(self, said: LoadBalancing, mine: Member, wants_role: bool) -> Roll:
        """Lay down a heartbeat and read the others', as `Table.meet`. Raises `MeetingDown`."""


class ServesTls(Protocol):
    """Where the VPN is served."""

    context: SSL.Context


class LocalMeeting:
    """The meeting of members in one process."""

    def __init__(self) -> None:
        self._table = Table()

    async def meet(self, said: LoadBalancing, mine: Member, wants_role: bool) -> Roll:
        """Lay down a heartbeat and read the others'."""
        return self._table.meet(mine, wants_role, trio.current_time())


class Balancing:
    """What a headend does for load balancing, while its configuration says that it takes part."""

    def __init__(
        self,
        gateway: Gateway,
        port: ServesTls,
        site: Site,
        meeting: Meeting,
        listens_on: tuple[str, int],
    ) -> None:
        self.balancer = Balancer()
        self.has_listened = trio.Event()
        """Set when it has the cluster's address for the first time."""
        self._gateway = gateway
        self._vpn_port = port
        self._site = site
        self._meeting = meeting
        self._host, self._port = listens_on
        self._said = LoadBalancing()
        self._cluster: HttpsEndpoint | None = None
        self._in_touch = self._able = True
        self._stopped = False
        self._busy = trio.Lock()
        self._wake = trio.Event()

    async def run(self) -> None:
        """Take part whenever the configuration says so, until cancelled, which tells nobody."""
        try:
            while True:
                self._wake = trio.Event()
                async with self._busy:
                    await self._turn()
                in_part = self.balancer.me is not None or self._gateway.gate is not None
                next_turn = min(trio.current_time() + POLL, self.balancer.next_deadline())
                with trio.move_on_at(next_turn if in_part else math.inf):
                    await (self._wake.wait() if self._gateway.acts else self._may_act())
        finally:
            self._close()

    async def _may_act(self) -> None:
        """Wait until this unit of a failover pair is the active one."""
        if self._gateway.gate is not None:
            await self._gateway.gate.opened()

    def reconfigured(self) -> None:
        """The configuration may have changed: look at once."""
        self._wake.set()

    async def leave(self) -> None:
        """Say goodbye to the other members, and take part no more."""
        async with self._busy:
            self._stopped = True
            await self._turn()

    async def _turn(self) -> None:
        balancer = self.balancer
        balancer.mind_lease(trio.current_time())
        if not balancer.directs:
            self._close()
        said = self._gateway.headend.config.load_balancing
        me, before = self._myself(said), balancer.me
        if before is not None and (
            me is None or me.address != before.address or said.cluster_ip != self._said.cluster_ip
        ):
            self._close()
            if self._gateway.acts:
                # of a failover pair that is one member, whoever acts now goes on in this one's place
                await self._meet(replace(before, leaving=True), False)
            balancer.withdraw()
            self._tell()
        if me is not None:
            await self._take_part(said, me)
        balancer.on_deadline(trio.current_time())
        if balancer.directs and self._gateway.acts:
            self._open()
        else:
            self._close()
        self._tell()

    async def _take_part(self, said: LoadBalancing, me: Member) -> None:
        balancer, starts, self._said = self.balancer, self.balancer.me is None, said
        balancer.take_part(replace(me, able=self._could_listen()), trio.current_time())
        self._tell()
        if starts:
            self._check_subnet()
        asked = False
        while balancer.me is not None and not asked:
            now = trio.current_time()
            asked = wants_role = balancer.wants_role(now)
            roll = await self._meet(balancer.me, wants_role)
            if roll is None:
                return
            for member, age in roll.rows:
                balancer.heard(member, now - age)
            balancer.on_deadline(now)
            balancer.leased(roll.director, now + roll.left, trio.current_time())
            # the role may have become free this very moment
            asked = asked or not balancer.wants_role(now)

    async def _meet(self, mine: Member, wants_role: bool) -> Roll | None:
        """Visit the meeting; None when it cannot be reached, which is said once."""
        try:
            with trio.fail_after(MEET_LIMIT):
                roll = await self._meeting.meet(self._said, mine, wants_role)
        except (MeetingDown, trio.TooSlowError) as error:
            if isinstance(error, MeetingDown) and error.for_all:
                self.balancer.cut_off(trio.current_time())
            if self._in_touch:
                log.warning("balancing.out_of_touch", reason=str(error) or "no answer")
                self._notice((718005,), ip=self._said.cluster_ip, port=self._said.port)
            self._in_touch = False
            return None
        self._in_touch = True
        return roll

    def _myself(self, said: LoadBalancing) -> Member | None:
        """What it says of itself, None when it does not take part."""
        if self._stopped or not self._gateway.acts or not said.participate or said.cluster_ip is None:
            return None
        headend = self._gateway.headend
        ip = said.nat or self._own_ip(said)
        if ip is None:
            return None
        return Member(
            ip=ip,
            port=self._port,
            priority=said.priority,
            used=len(headend.db),
            limit=headend.db.capacity,
            fqdn=headend.config.fqdn,
        )

    def _own_ip(self, said: LoadBalancing) -> str | None:
        """Where it listens, or the address of its interface when it listens everywhere."""
        if not ip_address(self._host).is_unspecified:
            return self._host
        interface = self._public_interface(said)
        if interface is not None:
            return str(interface.ip)
        if self._said != said:
            self._said = said
            self._notice((718085,), interface=said.public_interface)
        return None

    def _public_interface(self, said: LoadBalancing) -> IPv4Interface | None:
        interfaces = self._gateway.headend.config.interfaces
        return next((i.ip for i in interfaces if i.nameif == said.public_interface), None)

    def _check_subnet(self) -> None:
        interface, cluster = self._public_interface(self._said), self._said.cluster_ip
        if interface is not None and cluster is not None and ip_address(cluster) not in interface.network:
            self._notice((718084,), ip=str(interface.ip), mask=str(interface.netmask))

    # the cluster's address

    @property
    def listens(self) -> bool:
        """Whether it is the director and has the cluster's address."""
        return self._cluster is not None

    def _could_listen(self) -> bool:
        """Whether the cluster's address may be bound here; said once when it may not."""
        if self._cluster is not None or self._said.cluster_ip is None:
            return True
        able = True
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                sock.bind((self._said.cluster_ip, self._port))
            except OSError as error:
                able = False
                if self._able:
                    self._notice((718008,), code=error.errno, reason=error.strerror)
        self._able = able
        return able

    def _open(self) -> None:
        if self._cluster is not None or self._said.cluster_ip is None:
            return
        try:
            listener = bind_tcp(self._said.cluster_ip, self._port, shared=True)
            claim_address(listener)
        except OSError as error:
            log.warning("balancing.cannot_listen", address=self._said.cluster_ip, error=error.strerror)
            return
        context, site = self._vpn_port.context, self._site
        self._cluster = HttpsEndpoint(self._gateway, listener, context, site, redirect=self._redirect)
        self._gateway.dispatcher.add(self._cluster)
        self.has_listened.set()

    def _close(self) -> None:
        if self._cluster is not None:
            # what came in over it may be sessions that another unit has now
            (self._cluster.close if self._gateway.acts else self._cluster.abandon)()
            self._cluster = None

    def _redirect(self, target: str) -> str | None:
        member = self.balancer.pick(trio.current_time())
        if member is None:
            return None
        host = f"[{member.ip}]" if ":" in member.ip else member.ip
        if self._said.redirect_fqdn and member.fqdn:
            host = member.fqdn
        port = "" if member.port == 443 else f":{member.port}"
        return f"https://{host}{port}{target}"

    # messages

    def _tell(self) -> None:
        news, self.balancer.news = self.balancer.news, []
        for what, ip in news:
            self._notice(what.value, ip=ip)

    def _notice(self, numbers: tuple[int, ...], **words: object) -> None:
        words = {"cluster": self._said.cluster_ip, **words}
        self._gateway.headend.emit(Notice(at=self._gateway.now(), numbers=numbers, words=words))
