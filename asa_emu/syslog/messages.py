"""The messages: number, severity and text, a row each.

Texts come from Cisco's syslog guide and from field logs that public parsers are tested with; where the two
differ in severity (722037, 722051) the field's is the default, and `logging message ID level L` changes it.
What is known from memory alone stands in `unverified`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asa_emu.syslog.unverified import UNVERIFIED_ALERTS, UNVERIFIED_TEXTS


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of message."""

    number: int
    severity: int
    """0 to 7, unless the configuration says otherwise."""
    text: str
    """A %-template with named fields."""


_BARE = "Group %(group)s User %(user)s IP %(ip)s "
_WHO = "Group <%(group)s> User <%(user)s> IP <%(ip)s> "
_WHOSE = "TunnelGroup <%(tunnel_group)s> GroupPolicy <%(group)s> User <%(user)s> IP <%(ip)s> "
_CLIENT = "client %(interface)s:%(peer)s to %(local)s"
_CONSOLE = 'from %(ip)s/%(port)d to management:%(local)s/telnet for user "%(user)s"'
_IPAA = "IPAA: Session=%(session)s, "

M = Message
# A row is a row of a table; the formatter would make three lines of each.
# fmt: off
_ROWS: Final = (
    M(103001, 1, "(%(unit)s) No response from other firewall (reason code = %(code)d)."),
    M(104001, 1, "(%(unit)s) Switching to ACTIVE - %(reason)s."),
    M(104002, 1, "(%(unit)s) Switching to STANDBY - %(reason)s."),
    M(104003, 1, "(%(unit)s) Switching to FAILED."),
    M(104004, 1, "(%(unit)s) Switching to OK."),
    M(105002, 1, "(%(unit)s) Enabling failover."),
    M(105005, 1, "(%(unit)s) Lost Failover communications with mate on interface %(interface)s"),
    M(111008, 5, "User '%(user)s' executed the '%(command)s' command."),
    M(111009, 7, "User '%(user)s' executed cmd: %(command)s"),
    M(111010, 5, "User '%(user)s', running 'CLI' from IP %(ip)s, executed '%(command)s'"),
    M(113004, 6, "AAA user authentication Successful : server = %(server)s : user = %(user)s"),
    M(113005, 6, "AAA user authentication Rejected : reason = %(reason)s : server = %(server)s : "
                 "user = %(user)s : user IP = %(ip)s"),
    M(113008, 6, "AAA transaction status ACCEPT : user = %(user)s"),
    M(113009, 6, "AAA retrieved default group policy (%(group)s) for user = %(user)s"),
    M(113012, 6, "AAA user authentication Successful : local database : user = %(user)s"),
    M(113015, 6, "AAA user authentication Rejected : reason = %(reason)s : local database : "
                 "user = %(user)s : user IP = %(ip)s"),
    M(113019, 4, "Group = %(tunnel_group)s, Username = %(user)s, IP = %(ip)s, Session disconnected. "
                 "Session Type: %(type)s, Duration: %(duration)s, Bytes xmt: %(bytes_tx)d, "
                 "Bytes rcv: %(bytes_rx)d, Reason: %(reason)s"),
    M(113029, 4, _WHO + "Session could not be established: session limit of %(limit)s reached"),
    M(113038, 4, _WHO + "Unable to create AnyConnect parent session."),
    M(113039, 6, _WHO + "AnyConnect parent session started."),
    M(113040, 4, _WHO + "Terminating the VPN connection attempt from <%(tunnel_group)s>. "
                        "Reason: This connection is group locked to <%(lock)s>."),
    M(502103, 5, "User priv level changed: Uname: %(user)s From: %(before)d To: %(after)d"),
    M(605004, 6, "Login denied " + _CONSOLE),
    M(605005, 6, "Login permitted " + _CONSOLE),
    M(611101, 6, "User authentication succeeded: IP address: %(ip)s, Uname: %(user)s"),
    M(611102, 6, "User authentication failed: IP address: %(ip)s, Uname: %(user)s"),
    M(611103, 5, "User logged out: Uname: %(user)s"),
    M(709003, 1, "(%(unit)s) Beginning configuration replication: Send to mate."),
    M(709004, 1, "(%(unit)s) End Configuration Replication (ACT)"),
    M(709005, 1, "(%(unit)s) Beginning configuration replication: Receiving from mate."),
    M(709006, 1, "(%(unit)s) End Configuration Replication (STB)"),
    M(716001, 6, _BARE + "WebVPN session started."),
    M(716002, 6, _BARE + "WebVPN session terminated: %(reason)s."),
    M(716007, 4, _BARE + "WebVPN Unable to create session."),
    M(716023, 4, _BARE + "Session could not be established: session limit of %(limit)s reached."),
    M(716038, 6, _BARE + "Authentication: successful, Session Type: WebVPN."),
    M(716039, 6, _WHO + "Authentication: rejected, Session Type: WebVPN."),
    M(716058, 6, _WHO + "AnyConnect session lost connection. Waiting to resume."),
    M(716059, 6, _WHO + "AnyConnect session resumed connection from IP <%(new_ip)s>."),
    M(718005, 5, "Fail to send to %(ip)s, port %(port)d"),
    M(718008, 5, "Socket bind failure [%(code)d]: %(reason)s"),
    M(718010, 5, "Sent HELLO response to [%(ip)s]"),
    M(718012, 5, "Sent HELLO request to [%(cluster)s]"),
    M(718013, 6, "Peer[%(ip)s] is not answering HELLO"),
    M(718014, 5, "Master peer[%(ip)s] is not answering HELLO"),
    M(718015, 5, "Received HELLO request from [%(ip)s]"),
    M(718029, 7, "Sent OOS indicator to [%(cluster)s]"),
    M(718030, 6, "Received planned OOS from [%(ip)s]"),
    M(718039, 6, "Process dead peer[%(ip)s]"),
    M(718044, 5, "Deleted peer[%(ip)s]"),
    M(718045, 5, "Created peer[%(ip)s]"),
    M(718056, 7, "Deleted Master peer, IP %(ip)s"),
    M(718068, 5, "Start VPN Load Balancing in context 0."),
    M(718069, 5, "Stop VPN Load Balancing in context 0."),
    M(718072, 5, "Becoming control node of Load Balancing in context 0."),
    M(718073, 5, "Becoming data node of Load Balancing in context 0."),
    M(718084, 5, "Public/cluster IP not on the same subnet: public %(ip)s, mask %(mask)s, "
                 "cluster %(cluster)s"),
    M(718085, 5, "Interface %(interface)s has no IP address defined."),
    M(721016, 6, "(WebVPN-%(unit)s) WebVPN session for client user %(user)s, IP %(ip)s has been created."),
    M(721018, 6, "(WebVPN-%(unit)s) WebVPN session for client user %(user)s, IP %(ip)s has been deleted."),
    M(722003, 4, "IP %(ip)s Error authenticating SVC connect request."),
    M(722011, 5, _WHO + "SVC Message: %(kind)d/WARNING: %(said)s."),
    M(722012, 5, _WHO + "SVC Message: %(kind)d/NOTICE: %(said)s."),
    M(722015, 4, _WHO + "Unknown SVC frame type: %(kind)d"),
    M(722016, 4, _WHO + "Bad SVC frame length: %(length)d expected: %(limit)d"),
    M(722017, 4, _WHO + "Bad SVC framing: %(magic)s, reserved: %(reserved)d"),
    M(722020, 3, _WHOSE + "No address available for SVC connection"),
    M(722022, 6, _WHO + "%(over)s SVC connection established %(with)s compression"),
    M(722023, 6, _WHO + "%(over)s SVC connection terminated %(with)s compression"),
    M(722028, 5, _WHO + "Stale SVC connection closed."),
    M(722029, 7, _WHO + "SVC Session Termination: Conns: %(connections)d, DPD Conns: %(after_dpd)d, "
                        "Comp resets: 0, Dcmp resets: 0."),
    M(722030, 7, _WHO + "SVC Session Termination: In: %(bytes_rx)d (+0) bytes, %(pkts_rx)d (+0) packets, "
                        "%(drops_rx)d drops."),
    M(722031, 7, _WHO + "SVC Session Termination: Out: %(bytes_tx)d (+0) bytes, %(pkts_tx)d (+0) packets, "
                        "%(drops_tx)d drops."),
    M(722032, 5, _WHO + "New %(over)s SVC connection replacing old connection."),
    M(722033, 5, _WHO + "First %(over)s SVC connection established for SVC session."),
    M(722034, 5, _WHO + "New %(over)s SVC connection, no existing connection."),
    M(722037, 4, _WHO + "SVC closing connection: %(reason)s."),
    M(722041, 4, _WHOSE + "No IPv6 address available for SVC connection"),
    M(722050, 4, _WHO + "Session terminated: SVC not enabled for the user"),
    M(722051, 4, _WHO + "IPv4 Address <%(ip4)s> IPv6 address <%(ip6)s> assigned to session"),
    M(722055, 6, _WHO + "Client Type: %(agent)s"),
    M(725001, 6, f"Starting SSL handshake with {_CLIENT} for %(offer)s session"),
    M(725002, 6, f"Device completed SSL handshake with {_CLIENT} for %(protocol)s session"),
    M(725003, 6, f"SSL {_CLIENT} request to resume previous session"),
    M(725006, 6, f"Device failed SSL handshake with {_CLIENT}"),
    M(725007, 6, f"SSL session with {_CLIENT} terminated"),
    M(725012, 7, f"Device chooses cipher %(cipher)s for the SSL session with {_CLIENT}"),
    M(725014, 7, "SSL lib error. Function: %(function)s Reason: %(reason)s"),
    M(725016, 6, f"Device selects trust-point %(trust_point)s for {_CLIENT}"),
    M(734001, 6, "DAP: User %(user)s, Addr %(ip)s, Connection %(connection)s: The following DAP records were "
                 "selected for this connection: DfltAccessPolicy"),
    M(737006, 6, _IPAA + "Local pool request succeeded for tunnel-group '%(tunnel_group)s'"),
    M(737012, 4, _IPAA + "Address assignment failed"),
    M(737016, 6, _IPAA + "Freeing local pool %(pool)s address %(address)s"),
    M(737019, 4, _IPAA + "Unable to get address from group-policy or tunnel-group local pools"),
    M(737026, 6, _IPAA + "Client assigned %(address)s from local pool %(pool)s"),
    M(737028, 4, "IPAA: Unable to send %(address)s to standby: communication failure"),
    M(737029, 6, "IPAA: Added %(address)s to standby"),
    M(737031, 6, "IPAA: Removed %(address)s from standby"),
    M(737200, 7, "VPNFIP: Pool=%(pool)s, Allocated %(address)s from pool"),
    M(737201, 7, "VPNFIP: Pool=%(pool)s, Returned %(address)s to pool (recycle=TRUE)"),
    *(M(number, 1, text) for number, text in UNVERIFIED_ALERTS.items()),
    *(M(number, 6, text) for number, text in UNVERIFIED_TEXTS.items()),
)
# fmt: on

MESSAGES: Final[dict[int, Message]] = {row.number: row for row in _ROWS}
"""Every message that the emulator knows, by number."""
