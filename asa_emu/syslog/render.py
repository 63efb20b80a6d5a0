"""Which messages an ASA logs for a session event or a fact, in which order.

    login      113012 113009 113008 734001 113039, or 716038 716001 from the portal
    tunnels    737026 737006 722055 722051 722033 722022; DTLS 725001 725002 722033 722022
    loss       722037 722023, and 716058 when it was the SSL tunnel
    resume     716059 722034 722022, or 722032 722028 722022 while the old connection still stands
    end        722037 722023 722029-722031 737016 113019

A line is a message's number and the fields of its text; nothing is formatted here. Little is remembered of a
session: what a later message says again, such as how many connections it had. A session that logged in before
anybody listened is unknown, and its messages do without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from asa_emu.session.events import (
    AddressAssigned,
    AddressReleased,
    SessionCreated,
    SessionEnded,
    SessionEvent,
    SessionResumed,
    TunnelDown,
    TunnelEvent,
    TunnelUp,
)
from asa_emu.session.model import (
    NO_ADDRESSES,
    NO_TRAFFIC,
    Addresses,
    Counters,
    DownReason,
    EndReason,
    Peer,
    TunnelKind,
)
from asa_emu.syslog.facts import (
    LOCAL,
    Bar,
    ClientMessage,
    Fact,
    Farewell,
    FrameRefused,
    LoginAccepted,
    LoginBarred,
    LoginFact,
    LoginRejected,
    NoAddress,
    Notice,
    TlsDown,
    TlsFact,
    TlsFailed,
    TlsUp,
    TokenRefused,
)
from asa_emu.syslog.unverified import (
    IDLE_CLOSING,
    LAUNCHED_TYPE,
    PORTAL_TYPE,
    TLS_FUNCTION,
    TRUST_POINT,
)
from asa_emu.wire.frames import HEADER, MAGIC, MAX_PAYLOAD

Line: TypeAlias = tuple[int, Mapping[str, object]]
"""A message by number, and the fields of its text."""

HIDDEN = "*****"
_FAILED_LOGINS = (605004, 611102)
LONGEST_SAID = 256  # characters of a client's own words in a line

_CLOSING = {
    DownReason.DPD: "DPD failure",
    DownReason.LOST: "Transport closing",
    DownReason.CLIENT: "Transport closing",
    DownReason.IDLE: IDLE_CLOSING,
    DownReason.TAKEOVER: "Transport closing",
}
_TERMINATED = {
    EndReason.IDLE_TIMEOUT: "Idle timeout",
    EndReason.ADMIN_RESET: "Administrator reset",
    EndReason.PORT_PREEMPTED: "Port preempted",
}
"""716002 spells some of 113019's reasons otherwise."""


@dataclass(slots=True)
class _Life:
    """What is remembered of a session."""

    addresses: Addresses = NO_ADDRESSES
    lacks_ip6: bool = False
    addresses_told: bool = True
    connections: int = 0
    after_dpd: int = 0
    lost_by_dpd: bool = False
    ending: bool = False
    traffic: Counters = NO_TRAFFIC


class Renderer:
    """Turns events and facts into lines. `interface` is the name of the one that VPN clients come in by."""

    def __init__(self) -> None:
        self.interface = "outside"
        self.hide_username = True
        self._lives: dict[int, _Life] = {}
        self._writers: dict[type, Callable[[Any], Iterator[Line]]] = {
            SessionCreated: self._created,
            AddressAssigned: self._assigned,
            AddressReleased: self._released,
            SessionResumed: self._resumed,
            TunnelUp: self._up,
            TunnelDown: self._down,
            SessionEnded: self._ended,
            TlsUp: self._tls_up,
            TlsFailed: self._tls_failed,
            TlsDown: self._tls_down,
            LoginAccepted: self._accepted,
            LoginRejected: self._rejected,
            LoginBarred: self._barred,
            TokenRefused: self._token_refused,
            NoAddress: self._no_address,
            ClientMessage: self._said,
            FrameRefused: self._frame_refused,
            Notice: self._notice,
        }

    def lines(self, event: SessionEvent | Fact) -> Iterator[Line]:
        """Return the messages that an ASA logs for this, in order; none for what it does not log."""
        writer = self._writers.get(type(event))
        return iter(()) if writer is None else writer(event)

    def forget(self) -> None:
        """Nobody listens any more."""
        self._lives.clear()

    def _life(self, event: SessionEvent) -> _Life:
        life = self._lives.get(event.index)
        if life is None:
            life = self._lives[event.index] = _Life()
        return life

    # the session's life

    def _created(self, event: SessionCreated) -> Iterator[Line]:
        who = _who(event)
        if event.kind is TunnelKind.CLIENTLESS:
            yield 716038, who
            yield 716001, who
        else:
            yield 113039, who

    def _assigned(self, event: AddressAssigned) -> Iterator[Line]:
        life = self._life(event)
        new = set(event.addresses.held) - set(life.addresses.held)
        life.addresses = event.addresses
        life.lacks_ip6 = event.wanted_ip6 and event.addresses.ip6 is None
        life.addresses_told = False
        who = _who(event)
        for address, pool in _pooled(event.addresses):
            if address in new:
                lease = {**who, "address": address, "pool": pool}
                yield 737200, lease
                yield 737026, lease
                yield 737006, who

    def _up(self, event: TunnelUp) -> Iterator[Line]:
        life = self._life(event)
        tunnel = _tunnel(event)
        if event.kind is TunnelKind.SSL:
            life.connections += 1
            life.after_dpd += life.lost_by_dpd
            life.lost_by_dpd = False
            if event.first:
                yield 722055, {**tunnel, "agent": event.facts.client_ver}
            if not life.addresses_told:
                life.addresses_told = True
                held = life.addresses
                yield 722051, {**tunnel, "ip4": held.ip4 or "0.0.0.0", "ip6": held.ip6 or "::"}
                if life.lacks_ip6:
                    yield 722041, tunnel
        if event.first:
            yield 722033, tunnel
        elif event.replaces is None:
            yield 722034, tunnel
        else:
            yield 722032, tunnel
            yield 722028, tunnel
        yield 722022, tunnel

    def _down(self, event: TunnelDown) -> Iterator[Line]:
        life = self._life(event)
        life.traffic = life.traffic.plus(event.counters)
        tunnel = _tunnel(event)
        ssl = event.kind is TunnelKind.SSL
        if event.reason in (DownReason.REPLACED, DownReason.REKEY):
            if not ssl:
                yield 722023, tunnel
            return
        if event.end_reason is None:
            if ssl and event.reason is DownReason.DPD:
                life.lost_by_dpd = True
            yield 722037, {**tunnel, "reason": _CLOSING[event.reason]}
        elif not life.ending:
            # One for the session, though both of its tunnels go.
            life.ending = True
            yield 722037, {**tunnel, "reason": event.end_reason.value}
        yield 722023, tunnel
        if ssl and event.end_reason is None:
            # Told here and not with SessionInactive: the shell tells the end of the connection in between.
            yield 716058, tunnel

    def _resumed(self, event: SessionResumed) -> Iterator[Line]:
        yield 716059, {**_who(event), "new_ip": event.peer.ip}

    def _released(self, event: AddressReleased) -> Iterator[Line]:
        who = _who(event)
        life = self._life(event)
        if life.connections:
            counts = {"connections": life.connections, "after_dpd": life.after_dpd}
            statistics = {**who, **counts, **life.traffic._asdict()}
            yield 722029, statistics
            yield 722030, statistics
            yield 722031, statistics
        for address, pool in _pooled(event.addresses):
            lease = {**who, "address": address, "pool": pool}
            yield 737016, lease
            yield 737201, lease

    def _ended(self, event: SessionEnded) -> Iterator[Line]:
        self._lives.pop(event.index, None)
        who = _who(event)
        kind = event.kind.value
        if event.kind is TunnelKind.CLIENTLESS:
            kind = LAUNCHED_TYPE if event.is_anyconnect else PORTAL_TYPE
            yield 716002, {**who, "reason": _TERMINATED.get(event.reason, event.reason.value)}
        end = {"type": kind, "duration": show_duration(event.duration), "reason": event.reason.value}
        yield 113019, {**who, **end, **event.totals._asdict()}

    # what the wire says

    def _ends(self, fact: TlsFact) -> dict[str, object]:
        return {"interface": self.interface, "peer": _shown(fact.peer), "local": _shown(fact.local)}

    def _tls_up(self, fact: TlsUp) -> Iterator[Line]:
        datagrams = fact.protocol.startswith("DTLS")
        # Cisco's own 0.9 and 1.0 are both DTLSv1 here.
        protocol = "DTLSv1" if fact.protocol in ("DTLSv0.9", "DTLSv1.0") else fact.protocol
        offer = protocol if datagrams else "TLS"
        fields = {**self._ends(fact), "offer": offer, "protocol": protocol, "cipher": fact.cipher}
        yield 725001, fields
        if fact.asked_to_resume:
            yield 725003, fields
        elif not datagrams:
            yield 725016, {**fields, "trust_point": TRUST_POINT}
        yield 725012, fields
        yield 725002, fields

    def _tls_failed(self, fact: TlsFailed) -> Iterator[Line]:
        fields = {**self._ends(fact), "offer": fact.protocol}
        yield 725001, fields
        yield 725014, {"function": TLS_FUNCTION, "reason": fact.reason}
        yield 725006, fields

    def _tls_down(self, fact: TlsDown) -> Iterator[Line]:
        yield 725007, self._ends(fact)

    def _token_refused(self, fact: TokenRefused) -> Iterator[Line]:
        yield 722003, {"ip": fact.ip}

    def _no_address(self, event: NoAddress) -> Iterator[Line]:
        who = _who(event)
        yield 737019, who
        yield 737012, who
        yield 722020, who

    def _said(self, event: ClientMessage) -> Iterator[Line]:
        number = 722011 if event.farewell is Farewell.ERROR else 722012
        yield number, {**_who(event), "kind": event.farewell.value, "said": event.text[:LONGEST_SAID]}

    def _frame_refused(self, event: FrameRefused) -> Iterator[Line]:
        magic, length, kind, reserved = HEADER.unpack(event.head)
        fields = {**_who(event), "magic": magic.hex().upper(), "length": length, "limit": MAX_PAYLOAD}
        if magic != MAGIC or reserved:
            yield 722017, {**fields, "reserved": reserved}
        elif length > MAX_PAYLOAD:
            yield 722016, fields
        else:
            yield 722015, {**fields, "kind": kind}

    def _notice(self, fact: Notice) -> Iterator[Line]:
        for number in fact.numbers:
            hidden = self.hide_username and number in _FAILED_LOGINS
            yield number, {**fact.words, "user": HIDDEN} if hidden else fact.words

    # verdicts on logins

    def _accepted(self, fact: LoginAccepted) -> Iterator[Line]:
        login = _login(fact)
        if fact.server == LOCAL:
            yield 113012, login
        elif fact.server is not None:
            yield 113004, {**login, "server": fact.server}
        yield 113011 if fact.own_policy else 113009, login
        yield 113008, login
        yield 734001, {**login, "connection": "Clientless" if fact.clientless else "AnyConnect"}

    def _rejected(self, fact: LoginRejected) -> Iterator[Line]:
        login = {**_login(fact), "reason": fact.reason, "server": fact.server}
        if self.hide_username:
            login["user"] = HIDDEN
        yield 113015 if fact.server == LOCAL else 113005, login
        yield 716039, login

    def _barred(self, fact: LoginBarred) -> Iterator[Line]:
        login = {**_login(fact), "lock": fact.detail, "limit": fact.detail}
        if fact.bar is Bar.GROUP_LOCK:
            yield 113040, login
        elif fact.bar is Bar.PROTOCOL:
            yield 722050, login
        elif fact.bar is Bar.CAPACITY:
            yield 716023 if fact.clientless else 113029, login
        else:
            yield 716007 if fact.clientless else 113038, login


def _who(event: SessionEvent) -> dict[str, object]:
    return {
        "group": event.group_policy,
        "user": event.username,
        "ip": event.public_ip,
        "tunnel_group": event.tunnel_group,
        "session": f"0x{event.index << 12:08x}",
    }


def _login(fact: LoginFact) -> dict[str, object]:
    return {
        "group": fact.group_policy,
        "user": fact.username,
        "ip": fact.ip,
        "tunnel_group": fact.tunnel_group,
    }


def _tunnel(event: TunnelEvent) -> dict[str, object]:
    return {
        **_who(event),
        "over": "TCP" if event.kind is TunnelKind.SSL else "UDP",
        "with": "without" if event.facts.compression is None else "with",
    }


def _pooled(addresses: Addresses) -> Iterator[tuple[str, str]]:
    """Yield the addresses that came from a pool, with it; a framed one is not the pools' business."""
    for address, pool in ((addresses.ip4, addresses.ip4_pool), (addresses.ip6, addresses.ip6_pool)):
        if address is not None and pool is not None:
            yield address, pool


def _shown(peer: Peer) -> str:
    return f"{peer.ip}/{peer.port}"


def show_duration(seconds: float) -> str:
    """A duration as messages and displays have it: `0h:32m:16s`, from a day on `1d 19h:41m:14s` (S17)."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{f'{days}d ' if days else ''}{hour}h:{minute:02d}m:{second:02d}s"
