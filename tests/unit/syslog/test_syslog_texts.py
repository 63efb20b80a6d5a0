"""Every message that the emulator knows, provoked and matched whole by what public parsers expect of it."""

import re
from dataclasses import replace

import pytest

from asa_emu.session import DownReason, EndReason
from asa_emu.syslog.facts import (
    Bar,
    ClientMessage,
    Farewell,
    FrameRefused,
    LoginBarred,
    NoAddress,
    Notice,
    TlsFailed,
    TokenRefused,
    whose,
)
from asa_emu.syslog.messages import MESSAGES
from asa_emu.syslog.unverified import UNVERIFIED_ALERTS, UNVERIFIED_TEXTS
from asa_emu.wire.frames import HEADER, MAGIC
from tests.session_lab import CAFE, HOME, facts
from tests.syslog_lab import AT, GATEWAY, SyslogLab, accepted, rejected, tls_down, tls_up

EVERYBODY = "logging enable\nlogging trap debugging\nno logging hide username\n"

IP = r"[0-9a-f.:]+"
BARE = rf"Group \S+ User \S+ IP {IP} "
WHO = rf"Group <[^>]+> User <[^>]+> IP <{IP}> "
WHOSE = rf"TunnelGroup <[^>]+> GroupPolicy <[^>]+> User <[^>]+> IP <{IP}> "
ENDS = rf"client \S+:{IP}/\d+ to {IP}/\d+"
SESSION = r"IPAA: Session=0x[0-9a-f]{8}, "
VERSION = r"(TLS|TLSv1\.[23]|DTLSv1|DTLSv1\.2)"
OVER = r"(TCP|UDP) SVC connection"
COUNTS = r"\d+ \(\+\d+\) bytes, \d+ \(\+\d+\) packets, \d+ drops\."

UNIT = r"\((Primary|Secondary)\) "
VPN_UNIT = r"\(VPN-(Primary|Secondary)\) "
WEB_UNIT = r"\(WebVPN-(Primary|Secondary)\) "

TELNET = rf'from {IP}/\d+ to \w+:{IP}/telnet for user "\S+"'

PATTERNS = {
    111008: r"User '\S+' executed the '.+' command\.",
    111009: r"User '\S+' executed cmd: .+",
    111010: rf"User '\S+', running 'CLI' from IP {IP}, executed '.+'",
    502103: r"User priv level changed: Uname: \S+ From: \d+ To: \d+",
    605004: "Login denied " + TELNET,
    605005: "Login permitted " + TELNET,
    611101: rf"User authentication succeeded: IP address: {IP}, Uname: \S+",
    611102: rf"User authentication failed: IP address: {IP}, Uname: \S+",
    611103: r"User logged out: Uname: \S+",
    103001: UNIT + r"No response from other firewall \(reason code = \d+\)\.",
    104001: UNIT + r"Switching to ACTIVE - [\w ]+\.",
    104002: UNIT + r"Switching to STANDBY - [\w ]+\.",
    104003: UNIT + r"Switching to FAILED\.",
    104004: UNIT + r"Switching to OK\.",
    105002: UNIT + r"Enabling failover\.",
    105005: UNIT + r"Lost Failover communications with mate on interface \w+",
    105042: UNIT + r"Failover interface OK",
    105043: UNIT + r"Failover interface failed",
    709003: UNIT + r"Beginning configuration replication: Send to mate\.",
    709004: UNIT + r"End Configuration Replication \(ACT\)",
    709005: UNIT + r"Beginning configuration replication: Receiving from mate\.",
    709006: UNIT + r"End Configuration Replication \(STB\)",
    720024: VPN_UNIT + r"HA status callback: Control channel is (up|down)\.",
    720027: VPN_UNIT + r"HA status callback: My state [\w ]+\.",
    720028: VPN_UNIT + r"HA status callback: Peer state [\w ]+\.",
    720039: VPN_UNIT + r"VPN failover client is transitioning to active state",
    720040: VPN_UNIT + r"VPN failover client is transitioning to standby state",
    721016: WEB_UNIT + rf"WebVPN session for client user \S+, IP {IP} has been created\.",
    721018: WEB_UNIT + rf"WebVPN session for client user \S+, IP {IP} has been deleted\.",
    737028: rf"IPAA: Unable to send {IP} to standby: communication failure",
    737029: rf"IPAA: Added {IP} to standby",
    737031: rf"IPAA: Removed {IP} from standby",
    113004: rf"AAA user authentication Successful : server = {IP} : user = \S+",
    113005: rf"AAA user authentication Rejected : reason = [\w ]+ : server = {IP} : user = \S+ "
    rf": user IP = {IP}",
    113008: r"AAA transaction status ACCEPT : user = \S+",
    113009: r"AAA retrieved default group policy \(\S+\) for user = \S+",
    113011: r"AAA retrieved user specific group policy \(\S+\) for user = \S+",
    113012: r"AAA user authentication Successful : local database : user = \S+",
    113015: r"AAA user authentication Rejected : reason = [\w ]+ : local database : user = \S+ "
    rf": user IP = {IP}",
    113019: rf"Group = \S+, Username = \S+, IP = {IP}, Session disconnected\. Session Type: [\w-]+, "
    r"Duration: (\d+d )?\d+h:\d\dm:\d\ds, Bytes xmt: \d+, Bytes rcv: \d+, Reason: [\w ]+",
    113029: WHO + r"Session could not be established: session limit of \d+ reached",
    113038: WHO + r"Unable to create AnyConnect parent session\.",
    113039: WHO + r"AnyConnect parent session started\.",
    113040: WHO + r"Terminating the VPN connection attempt from <\S+>\. Reason: This connection is group "
    r"locked to <\S+>\.",
    716001: BARE + r"WebVPN session started\.",
    716002: BARE + r"WebVPN session terminated: [\w ]+\.",
    716007: BARE + r"WebVPN Unable to create session\.",
    716023: BARE + r"Session could not be established: session limit of \d+ reached\.",
    716038: BARE + r"Authentication: successful, Session Type: WebVPN\.",
    716039: WHO + r"Authentication: rejected, Session Type: WebVPN\.",
    716058: WHO + r"AnyConnect session lost connection\. Waiting to resume\.",
    716059: WHO + rf"AnyConnect session resumed connection from IP <{IP}>\.",
    718005: rf"Fail to send to {IP}, port \d+",
    718008: r"Socket bind failure \[\d+\]: [\w ]+",
    718010: rf"Sent HELLO response to \[{IP}\]",
    718012: rf"Sent HELLO request to \[{IP}\]",
    718013: rf"Peer\[{IP}\] is not answering HELLO",
    718014: rf"Master peer\[{IP}\] is not answering HELLO",
    718015: rf"Received HELLO request from \[{IP}\]",
    718029: rf"Sent OOS indicator to \[{IP}\]",
    718030: rf"Received planned OOS from \[{IP}\]",
    718039: rf"Process dead peer\[{IP}\]",
    718044: rf"Deleted peer\[{IP}\]",
    718045: rf"Created peer\[{IP}\]",
    718056: rf"Deleted Master peer, IP {IP}",
    718068: r"Start VPN Load Balancing in context \d+\.",
    718069: r"Stop VPN Load Balancing in context \d+\.",
    718072: r"Becoming control node of Load Balancing in context \d+\.",
    718073: r"Becoming data node of Load Balancing in context \d+\.",
    718084: rf"Public/cluster IP not on the same subnet: public {IP}, mask {IP}, cluster {IP}",
    718085: r"Interface \S+ has no IP address defined\.",
    722003: rf"IP {IP} Error authenticating SVC connect request\.",
    722011: WHO + r"SVC Message: \d+/WARNING: .+\.",
    722012: WHO + r"SVC Message: \d+/NOTICE: .+\.",
    722015: WHO + r"Unknown SVC frame type: \d+",
    722016: WHO + r"Bad SVC frame length: \d+ expected: \d+",
    722017: WHO + r"Bad SVC framing: [0-9A-F]{8}, reserved: \d+",
    722020: WHOSE + r"No address available for SVC connection",
    722022: WHO + OVER + r" established (with|without) compression",
    722023: WHO + OVER + r" terminated (with|without) compression",
    722028: WHO + r"Stale SVC connection closed\.",
    722029: WHO
    + r"SVC Session Termination: Conns: \d+, DPD Conns: \d+, Comp resets: \d+, Dcmp resets: \d+\.",
    722030: WHO + r"SVC Session Termination: In: " + COUNTS,
    722031: WHO + r"SVC Session Termination: Out: " + COUNTS,
    722032: WHO + rf"New {OVER} replacing old connection\.",
    722033: WHO + rf"First {OVER} established for SVC session\.",
    722034: WHO + rf"New {OVER}, no existing connection\.",
    722037: WHO + r"SVC closing connection: [\w ]+\.",
    722041: WHOSE + r"No IPv6 address available for SVC connection",
    722050: WHO + r"Session terminated: SVC not enabled for the user",
    722051: WHO + rf"IPv4 Address <{IP}> IPv6 address <{IP}> assigned to session",
    722055: WHO + r"Client Type: .+",
    725001: rf"Starting SSL handshake with {ENDS} for {VERSION} session",
    725002: rf"Device completed SSL handshake with {ENDS} for {VERSION} session",
    725003: rf"SSL {ENDS} request to resume previous session",
    725006: rf"Device failed SSL handshake with {ENDS}",
    725007: rf"SSL session with {ENDS} terminated",
    725012: rf"Device chooses cipher \S+ for the SSL session with {ENDS}",
    725014: r"SSL lib error\. Function: \S+ Reason: .+",
    725016: rf"Device selects trust-point \S+ for {ENDS}",
    734001: rf"DAP: User \S+, Addr {IP}, Connection (AnyConnect|Clientless): The following DAP records "
    r"were selected for this connection: DfltAccessPolicy",
    737006: SESSION + r"Local pool request succeeded for tunnel-group '\S+'",
    737012: SESSION + r"Address assignment failed",
    737016: SESSION + rf"Freeing local pool \S+ address {IP}",
    737019: SESSION + r"Unable to get address from group-policy or tunnel-group local pools",
    737026: SESSION + rf"Client assigned {IP} from local pool \S+",
    737200: rf"VPNFIP: Pool=\S+, Allocated {IP} from pool",
    737201: rf"VPNFIP: Pool=\S+, Returned {IP} to pool \(recycle=TRUE\)",
}


@pytest.fixture(scope="module")
def told() -> SyslogLab:
    """Everything that can be told, once at least."""
    lab = SyslogLab()
    lab.hear(tls_up())
    lab.hear(tls_up("DTLSv0.9", asked_to_resume=True))
    lab.hear(TlsFailed(at=AT, peer=GATEWAY, local=GATEWAY, protocol="TLS", reason="no shared cipher"))
    lab.hear(accepted())
    lab.hear(accepted(server="192.0.2.9", own_policy=True))
    lab.hear(accepted(server=None, clientless=True))
    lab.hear(rejected())
    lab.hear(rejected(server="192.0.2.9"))
    for bar in Bar:
        barred = LoginBarred(
            at=AT, username="jesse", tunnel_group="Staff", group_policy="staff", ip=HOME, bar=bar, detail="7"
        )
        lab.hear(barred)
        lab.hear(replace(barred, clientless=True))
    lab.hear(TokenRefused(at=AT, ip=CAFE))
    session = lab.login(now=AT, ipv6_address_pools=())
    ssl = lab.ssl(session, now=AT)
    lab.dtls(session, now=AT)
    lab.hear(NoAddress(**whose(session, AT)))
    for farewell in Farewell:
        lab.hear(ClientMessage(**whose(session, AT), farewell=farewell, text="Good night"))
    for head in (
        HEADER.pack(MAGIC, 0, 99, 0),
        HEADER.pack(MAGIC, 65_535, 0, 0),
        HEADER.pack(MAGIC, 0, 0, 1),
        b"GET / HT",
    ):
        lab.hear(FrameRefused(**whose(session, AT), head=head))
    lab.db.tunnel_lost(ssl, DownReason.LOST, AT)
    lab.ssl(session, now=AT + 1, ip=CAFE)
    lab.ssl(session, now=AT + 2)
    lab.db.end(session, EndReason.USER_REQUESTED, AT + 3)
    lab.hear(tls_down())
    words: dict[str, object] = {"ip": HOME, "cluster": CAFE, "mask": "255.255.255.0", "interface": "outside"}
    words |= {"port": 9023, "code": 98, "reason": "Address already in use"}
    balancing = tuple(number for number in MESSAGES if number // 1000 == 718)
    lab.hear(Notice(at=AT, numbers=balancing, words=words))
    words = {"unit": "Primary", "code": 4, "reason": "HELLO not heard from mate", "interface": "folink"}
    words |= {"state": "up", "user": "walter", "ip": HOME, "address": "192.168.1.4"}
    failover = tuple(n for n in MESSAGES if n // 1000 in (103, 104, 105, 709, 720, 721))
    lab.hear(Notice(at=AT, numbers=(*failover, 737028, 737029, 737031), words=words))
    words = {"user": "walter", "ip": HOME, "port": 50_000, "local": CAFE, "command": "show clock"}
    words |= {"before": 1, "after": 15}
    consoles = tuple(number for number in MESSAGES if number // 1000 in (111, 502, 605, 611))
    lab.hear(Notice(at=AT, numbers=consoles, words=words))
    lab.db.end(lab.login("hank", now=AT, clientless=True), EndReason.USER_REQUESTED, AT + 4)
    return lab


@pytest.mark.parametrize("number", MESSAGES)
def test_message(told: SyslogLab, number: int) -> None:
    records = [record for record in told.records if record.number == number]
    assert records
    for record in records:
        assert re.fullmatch(PATTERNS[number], record.text)
        assert record.severity == MESSAGES[number].severity


def test_what_is_known_from_memory_alone_is_no_more_than_this() -> None:
    assert UNVERIFIED_TEXTS.keys() | UNVERIFIED_ALERTS.keys() <= MESSAGES.keys()
    assert set(UNVERIFIED_TEXTS) == {113011, 720024, 720027, 720028, 720039, 720040}
    assert set(UNVERIFIED_ALERTS) == {105042, 105043}


def test_the_field_has_other_severities_than_the_guide() -> None:
    assert MESSAGES[722037].severity == MESSAGES[722051].severity == 4


def test_a_session_is_told_by_its_handle() -> None:
    lab = SyslogLab(first_index=0x0E5FC)
    lab.ssl(lab.login(now=AT), now=AT)
    assert "Session=0x0e5fc000, Client assigned" in next(r.text for r in lab.records if r.number == 737026)


def test_compression_is_told() -> None:
    lab = SyslogLab()
    session = lab.login(now=AT)
    lab.db.open_ssl(session, replace(facts(), compression="lzs"), None, AT)
    assert lab.records[-1].text.endswith("TCP SVC connection established with compression")


def test_names_of_failed_logins_are_hidden_unless_the_configuration_says() -> None:
    lab = SyslogLab()
    lab.hear(rejected(username="hunter2"))
    assert not [record for record in lab.records if "hunter2" in record.text]
    assert all("*****" in record.text for record in lab.take())
    lab.config.editor().execute("no logging hide username")
    lab.hear(rejected(username="hunter2"))
    assert all("hunter2" in record.text for record in lab.take())


def test_a_stranger_cannot_write_a_line_of_his_own() -> None:
    lab = SyslogLab(EVERYBODY)
    lab.hear(rejected(username="x\n<166>%ASA-1-104001: \x1b[2J\u2028"))
    assert all(record.text.isprintable() for record in lab.records)
    assert "x?<166>%ASA-1-104001: ?[2J?" in lab.records[0].text


def test_a_stranger_cannot_write_a_long_line() -> None:
    lab = SyslogLab(EVERYBODY)
    lab.hear(rejected(username="x" * 60_000))
    assert {len(record.text) for record in lab.records} == {2048}
    session = lab.login(now=AT)
    lab.hear(ClientMessage(**whose(session, AT), farewell=Farewell.LOGOUT, text="y" * 9_000))
    assert lab.records[-1].text.count("y") == 256
