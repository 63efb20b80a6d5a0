"""What the tests of syslog share: a session database whose messages are kept, and short verbs for facts."""

from typing import Any

from asa_emu.config import Config, parse_config
from asa_emu.session import Peer
from asa_emu.session.events import SessionEvent
from asa_emu.syslog import Record, Syslog
from asa_emu.syslog.facts import Fact, LoginAccepted, LoginRejected, TlsDown, TlsUp
from tests.session_lab import HOME, Lab

AT = 1_354_313_604.0  # 22:13:24 UTC on Friday, 30 November 2012
EVERYTHING = "logging enable\nlogging timestamp\nlogging trap debugging\nlogging buffered debugging\n"
GATEWAY = Peer("192.0.2.1", 443)


class SyslogLab(Lab):
    """A session lab whose events and facts become messages, which `records` keeps."""

    def __init__(self, config: str | Config = EVERYTHING, **options: Any) -> None:
        super().__init__(**options)
        self.config = parse_config(config) if isinstance(config, str) else config
        self.syslog = Syslog(self.config)
        self.records: list[Record] = []
        self.syslog.attach("trap", self.records.append)
        self.db.subscribe(self.syslog.hear)

    def hear(self, fact: Fact | SessionEvent) -> None:
        """A fact that is no event of the database."""
        self.syslog.hear(fact)

    def numbers(self, least: int = 6) -> list[int]:
        """The messages since the last look, as bad as this severity or worse."""
        return [record.number for record in self.take() if record.severity <= least]

    def take(self) -> list[Record]:
        """The messages since the last look."""
        records = list(self.records)
        self.records.clear()
        return records


def accepted(**changes: Any) -> LoginAccepted:
    """Walter's credentials were good."""
    facts: dict[str, Any] = {
        "at": AT,
        "username": "walter",
        "tunnel_group": "Staff",
        "group_policy": "staff",
        "ip": HOME,
        **changes,
    }
    return LoginAccepted(**facts)


def rejected(**changes: Any) -> LoginRejected:
    """Walter's were bad."""
    facts: dict[str, Any] = {
        "at": AT,
        "username": "walter",
        "tunnel_group": "Staff",
        "group_policy": "staff",
        "ip": HOME,
        "reason": "Invalid password",
        **changes,
    }
    return LoginRejected(**facts)


def tls_up(protocol: str = "TLSv1.3", at: float = AT, **changes: Any) -> TlsUp:
    """A handshake was completed."""
    peer = Peer(HOME, 50_001)
    return TlsUp(
        at=at, peer=peer, local=GATEWAY, protocol=protocol, cipher="TLS_AES_256_GCM_SHA384", **changes
    )


def tls_down(at: float = AT) -> TlsDown:
    """And the connection is over."""
    return TlsDown(at=at, peer=Peer(HOME, 50_001), local=GATEWAY)
