"""`show vpn-sessiondb`: sessions as an ASA prints them, in the layout of release 8.x or of 9.x.

A session becomes groups of fields, and `_lay` puts each group two to a line: labels of 13 columns, the second
one at column 39, and a pair whose left value is too long for that on two lines. Optional fields therefore
shift those that follow in their group, as on an ASA. The two styles differ in which fields there are, not
in how they are laid out: 8.x is that of the source document's samples (S10-S33), 9.x what parsers expect now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Final, Literal, TypeAlias

from asa_emu.cli import unverified as u
from asa_emu.config import Timezone
from asa_emu.session.db import SessionDb
from asa_emu.session.model import Session, Tunnel, TunnelKind
from asa_emu.session.table import Tally
from asa_emu.syslog.render import show_duration

Style: TypeAlias = Literal["8.x", "9.x"]
Field: TypeAlias = tuple[str, str]
Group: TypeAlias = Sequence[Field]

NO_SESSIONS: Final = "INFO: There are presently no active sessions\n"
NONE_OF_TYPE: Final = "INFO: There are presently no active sessions of the type specified\n"
LICENSE: Final = "AnyConnect Premium"
UTC_ZONE: Final = Timezone("UTC", 0)
LOOPBACK: Final = IPv4Address("127.0.0.1")

_LABEL = 13  # columns of a label, before ": "
_LEFT = 22  # columns of the left value of a pair
_RULE = "-" * 75


@dataclass(frozen=True, slots=True)
class _Look:
    """What the output depends on besides the sessions."""

    now: float
    style: Style
    zone: Timezone
    license: str
    address: IPv4Address
    """The headend's own, as the audit session id has it."""


def render_sessions(
    sessions: Iterable[Session],
    now: float,
    style: Style = "9.x",
    *,
    detail: bool = False,
    full: bool = False,
    zone: Timezone = UTC_ZONE,
    license_name: str = LICENSE,
    address: IPv4Address = LOOPBACK,
) -> str:
    """The text of `show vpn-sessiondb [detail] [full] {anyconnect|webvpn|index N}` for these sessions.

    Each type of session has a title of its own; AnyConnect comes first. `full` is one unbroken line for each
    session, and with `detail` one more for each of its tunnels.
    """
    look = _Look(now, style, zone, license_name, address)
    typed: dict[str, list[Session]] = {"AnyConnect": [], "WebVPN": []}
    for session in sessions:
        typed["AnyConnect" if session.is_anyconnect else "WebVPN"].append(session)
    out: list[str] = []
    for name, chosen in typed.items():
        if chosen:
            out += ["", f"Session Type: {name}{' Detailed' if detail else ''}", ""]
        for session in chosen:
            if full:
                out += _full(session, look, detail)
            else:
                for group in _session_groups(session, look, detail):
                    out += _lay(group)
                if detail:
                    out += _tunnel_blocks(session, look)
            out.append("")
    return "\n".join(out) + "\n" if out else NONE_OF_TYPE


def show_time(at: float, zone: Timezone = UTC_ZONE) -> str:
    """An instant as `Login Time` has it: `22:13:37 UTC Fri Nov 30 2012`, the day without a zero (S17)."""
    local = datetime.fromtimestamp(at + zone.offset, UTC)
    return f"{local:%H:%M:%S} {zone.name} {local:%a %b} {local.day} {local.year}"


def _lay(fields: Group, indent: str = "") -> Iterator[str]:
    at = 0
    while at < len(fields):
        label, value = fields[at]
        line = f"{indent}{label:<{_LABEL}}: {value}"
        at += 1
        if at < len(fields) and len(value) <= _LEFT:
            label, second = fields[at]
            line = f"{line.ljust(len(indent) + _LABEL + 2 + _LEFT)} {label:<{_LABEL}}: {second}"
            at += 1
        yield line


def _session_groups(session: Session, look: _Look, detail: bool) -> list[Group]:
    modern = look.style == "9.x"
    total = session.totals
    tunnels = session.tunnels
    encryption = ("Encryption", "  ".join(f"{t.kind.value}: (1){t.facts.encryption}" for t in tunnels))
    hashing = ("Hashing", "  ".join(f"{t.kind.value}: (1){t.facts.hashing}" for t in tunnels))
    groups: list[Group] = [
        [("Username", session.username), ("Index", str(session.index))],
        *_address_groups(session, look),
        [("Protocol", " ".join(tunnel.kind.value for tunnel in tunnels))],
        [("License", look.license)],
        *([[encryption], [hashing]] if session.is_anyconnect else [[encryption, hashing]]),
        [("Bytes Tx", str(total.bytes_tx)), ("Bytes Rx", str(total.bytes_rx))],
    ]
    if detail:
        groups += [
            [("Pkts Tx", str(total.pkts_tx)), ("Pkts Rx", str(total.pkts_rx))],
            [("Pkts Tx Drop", str(total.drops_tx)), ("Pkts Rx Drop", str(total.drops_rx))],
        ]
    vlan = session.policy.vlan
    groups += [
        [("Group Policy", session.group_policy), ("Tunnel Group", session.tunnel_group)],
        [("Login Time", show_time(session.login_at, look.zone))],
        [("Duration", show_duration(session.duration(look.now)))],
        [("Inactivity", show_duration(session.inactivity(look.now)))],
        *([] if modern else [[("NAC Result", "Unknown")]]),
        [("VLAN Mapping", "N/A" if vlan is None else u.VLAN_MAPPED), ("VLAN", str(vlan or "none"))],
    ]
    if modern:
        groups += [[("Audt Sess ID", _audit_id(session, look))], [("Security Grp", "none")]]
    return groups


def _address_groups(session: Session, look: _Look) -> list[Group]:
    public = ("Public IP", session.public_ip)
    # An inactive session holds its addresses (S95), but the old layout does not show them (S32).
    if look.style == "8.x" and session.inactive:
        return [[public]]
    groups: list[Group] = [[public] if session.ip4 is None else [("Assigned IP", session.ip4), public]]
    if look.style == "9.x" and session.ip6 is not None:
        groups.append([("Assigned IPv6", session.ip6)])
    return groups


def _audit_id(session: Session, look: _Look) -> str:
    """Interface address, session index and login time in hexadecimal, which a test can take apart again."""
    index, login_at = session.index & 0xFFFFF, int(session.login_at) & 0xFFFFFFFF
    return f"{int(look.address):08x}{index:05x}000{login_at:08x}"


def _tunnel_blocks(session: Session, look: _Look) -> Iterator[str]:
    yield ""
    for tunnel in session.tunnels:
        yield f"{tunnel.kind.value} Tunnels: 1"
    for tunnel in session.tunnels:
        yield ""
        yield f"{tunnel.kind.value}:"
        for group in _tunnel_groups(session, tunnel, look):
            yield from _lay(group, "  ")


def _tunnel_groups(session: Session, tunnel: Tunnel, look: _Look) -> list[Group]:
    modern = look.style == "9.x"
    facts, kind = tunnel.facts, tunnel.kind
    carries = kind in (TunnelKind.SSL, TunnelKind.DTLS)
    groups: list[Group] = [[("Tunnel ID", tunnel.id)]]
    groups += _address_groups(session, look) if carries else [[("Public IP", session.public_ip)]]
    groups.append([("Encryption", facts.encryption), ("Hashing", facts.hashing)])
    if modern and facts.ciphersuite:
        groups.append([(u.CIPHERSUITE, facts.ciphersuite)])
    groups.append(_transport(tunnel))
    groups += _timers(session, tunnel, look)
    if modern and facts.client_os:
        groups.append([(u.CLIENT_OS, facts.client_os)])
    groups += [[("Client Type", facts.client_type)], [("Client Ver", _client_ver(session, tunnel, look))]]
    groups.append([("Bytes Tx", str(tunnel.bytes_tx)), ("Bytes Rx", str(tunnel.bytes_rx))])
    if kind is not TunnelKind.CLIENTLESS:
        groups += [
            [("Pkts Tx", str(tunnel.pkts_tx)), ("Pkts Rx", str(tunnel.pkts_rx))],
            [("Pkts Tx Drop", str(tunnel.drops_tx)), ("Pkts Rx Drop", str(tunnel.drops_rx))],
        ]
    if modern and carries and session.policy.filter_name:
        groups.append([("Filter Name", session.policy.filter_name)])
    return groups


def _transport(tunnel: Tunnel) -> Group:
    facts = tunnel.facts
    layer = "UDP" if tunnel.kind is TunnelKind.DTLS else "TCP"
    fields: list[Field] = []
    if facts.protocol:
        fields.append(("Encapsulation", facts.protocol))
    if facts.compression:
        name = u.COMPRESSION_NAMES.get(facts.compression, facts.compression.upper())
        fields.append(("Compression", name))
    if tunnel.kind is not TunnelKind.CLIENTLESS:
        fields.append((f"{layer} Src Port", str(facts.peer.port)))
    return [*fields, (f"{layer} Dst Port", str(facts.local_port)), ("Auth Mode", facts.auth_mode)]


def _timers(session: Session, tunnel: Tunnel, look: _Look) -> list[Group]:
    groups: list[Group] = []
    limit, left = session.policy.session_timeout, session.session_timeout_left(look.now)
    if look.style == "9.x" and limit is not None and left is not None:
        groups.append([(u.CONN_TIME_OUT, _span(limit)), (u.CONN_TO_LEFT, _left(left, limit))])
    idle = session.idle_timeout
    if tunnel is session.parent and session.inactive_since is not None:
        idle = session.policy.disconnected_timeout or idle
    groups.append([("Idle Time Out", _span(idle)), ("Idle TO Left", _left(tunnel.idle_left(look.now), idle))])
    return groups


def _span(seconds: float) -> str:
    return f"{seconds:g} {u.SECONDS}" if seconds % 60 else f"{seconds // 60:.0f} Minutes"


def _left(seconds: float, limit: float) -> str:
    """Whole units left; one that has begun does not count, so a fresh 2 minutes are 1 (S29)."""
    unit = 1 if limit % 60 else 60
    whole = max(0, -int(-seconds // unit) - 1)
    return f"{whole} {u.SECONDS if unit == 1 else 'Minutes'}"


def _client_ver(session: Session, tunnel: Tunnel, look: _Look) -> str:
    """What the client called itself; the old layout has the bare version but for SSL tunnels (S27, S28)."""
    said = tunnel.facts.client_ver
    bare = said.rpartition(" ")[2]
    old = look.style == "8.x" and tunnel.kind is not TunnelKind.SSL
    return bare if old and session.parent.kind is TunnelKind.PARENT and bare[:1].isdigit() else said


def _full(session: Session, look: _Look, detail: bool) -> Iterator[str]:
    groups = [_session_groups(session, look, detail)]
    if detail:
        groups += [
            [[("Tunnel Type", tunnel.kind.value)], *_tunnel_groups(session, tunnel, look)]
            for tunnel in session.tunnels
        ]
    for record in groups:
        fields = [f"{label}: {value}" for group in record for label, value in group]
        yield u.FULL_FIELD.join(fields) + u.FULL_RECORD


def render_summary(db: SessionDb) -> str:
    """The text of `show vpn-sessiondb [summary]`; only kinds that there ever were are listed."""
    if not db.anyconnect.cumulative and not db.webvpn.cumulative:
        return NO_SESSIONS
    inactive = sum(1 for session in db.sessions() if session.inactive)
    lines = [_RULE, "VPN Session Summary", _RULE]
    lines += [" " * 31 + "Active : Cumulative : Peak Concur : Inactive", " " * 29 + "-" * 46]
    if db.anyconnect.cumulative:
        for name in ("AnyConnect Client", "  SSL/TLS/DTLS"):
            tally = db.anyconnect
            active = tally.active - inactive
            lines.append(f"{_row(name, active, tally.cumulative)} : {tally.peak:>11} : {inactive:>8}")
    if db.webvpn.cumulative:
        for name in ("Clientless VPN", "  Browser"):
            lines.append(f"{_row(name, db.webvpn.active, db.webvpn.cumulative)} : {db.webvpn.peak:>11}")
    total, ever = len(db), db.anyconnect.cumulative + db.webvpn.cumulative
    lines += [
        _RULE,
        f"{'Total Active and Inactive':<29}: {total:>6}             Total Cumulative : {ever:>6}",
        f"{'Device Total VPN Capacity':<29}: {db.capacity:>6}",
        f"{'Device Load':<29}: {100 * total // max(1, db.capacity):>5}%",
        _RULE,
        *_tunnel_summary(db.tunnels),
    ]
    return "\n".join(lines) + "\n"


def _tunnel_summary(tunnels: dict[TunnelKind, Tally]) -> Iterator[str]:
    yield from (_RULE, "Tunnels Summary", _RULE)
    yield " " * 31 + "Active : Cumulative : Peak Concurrent"
    yield " " * 29 + "-" * 46
    for kind in (TunnelKind.CLIENTLESS, TunnelKind.PARENT, TunnelKind.SSL, TunnelKind.DTLS):
        tally = tunnels[kind]
        if tally.cumulative:
            yield f"{_row(kind.value, tally.active, tally.cumulative)} : {tally.peak:>15}"
    yield _RULE
    yield _row("Totals", sum(t.active for t in tunnels.values()), sum(t.cumulative for t in tunnels.values()))
    yield _RULE


def _row(name: str, active: int, cumulative: int) -> str:
    return f"{name:<29}: {active:>6} : {cumulative:>10}"
