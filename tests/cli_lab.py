"""What the console's tests share: the source document's sessions set up from facts, and golden files.

A golden file is compared whole; `ASA_EMU_GOLDEN=write` writes what is there now, for a diff to be read. The
`document-*.words` files are the document's own samples (S10-S33), which have lost their columns: they are
compared word by word, and the golden files pin the columns.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from asa_emu.aaa.passwords import hash_password
from asa_emu.cli.console import Services
from asa_emu.cli.shell import CliSession
from asa_emu.config import parse_config
from asa_emu.config.builtin import TEXT
from asa_emu.headend.headend import Headend
from asa_emu.session import DownReason, Peer, Session, SessionDb, Tunnel, TunnelFacts
from tests.session_lab import Lab, policy, pool

GOLDEN = Path(__file__).parent / "golden"
HOME = "172.16.250.17"
CONFIG = f"{TEXT}ip local pool inside 192.168.1.4-192.168.1.254 mask 255.255.255.0\n"
BROWSER = "Mozilla/5.0 (Windows NT 5.1; rv:16.0) Gecko/20100101 Firefox/16.0"
AGENT = "Cisco AnyConnect VPN Agent for Windows 3.1.01065"


def golden(name: str, text: str) -> None:
    """Compare `text` to the golden file `name`."""
    path = GOLDEN / name
    if os.environ.get("ASA_EMU_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def document_words(index: int) -> list[str]:
    """The words of the document's sample of this session."""
    return (GOLDEN / f"document-{index}.words").read_text(encoding="utf-8").split()


def at(text: str) -> float:
    """An instant, given as `2012-11-30 22:13:37`, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def old_facts(
    port: int, client_type: str, client_ver: str, protocol: str = "", cipher: str = "none"
) -> TunnelFacts:
    """A tunnel as an ASA of 2012 had it."""
    hashing = "none" if cipher == "none" else "SHA1"
    compression = "lzs" if protocol.startswith("DTLS") else None
    peer = Peer(HOME, port)
    return TunnelFacts(
        peer, 443, protocol, cipher, hashing, "", compression, "userPassword", client_type, client_ver
    )


def carried(tunnel: Tunnel, *counters: int) -> None:
    """Set bytes, packets and drops, tx before rx each."""
    tunnel.bytes_tx, tunnel.bytes_rx, tunnel.pkts_tx, tunnel.pkts_rx, *drops = counters
    if drops:
        tunnel.drops_tx, tunnel.drops_rx = drops


def old_db(first_index: int) -> SessionDb:
    """A database about to hand out this index, and 192.168.1.4."""
    return Lab(first_index=first_index, pools=[pool("inside", "192.168.1.4", "192.168.1.254", 24)]).db


def log_in(db: SessionDb, now: float, facts: TunnelFacts, *, clientless: bool = False) -> Session:
    """Walter logs in to the document's group."""
    return db.login(
        token=f"token-{now}",
        username="walter",
        tunnel_group="My-Network",
        policy=policy(group_policy="My-Network", idle_timeout=120.0),
        facts=facts,
        clientless=clientless,
        now=now,
    )


def web_launched(db: SessionDb) -> Session:
    """Session 1435 of the document, logged in at 22:13:37 (S13-S21)."""
    now = at("2012-11-30 22:13:37")
    session = log_in(db, now, old_facts(1240, "Web Browser", BROWSER, "TLSv1.0", "RC4"), clientless=True)
    db.assign_addresses(session, True, False, now)
    ssl = db.open_ssl(session, old_facts(1241, "SSL VPN Client", AGENT, "TLSv1.0", "RC4"), None, now + 30)
    dtls = db.open_dtls(
        session, old_facts(1250, "DTLS VPN Client", BROWSER, "DTLSv1.0", "AES128"), None, now + 30
    )
    carried(session.parent, 329671, 31508, 210, 18)
    carried(ssl, 6094, 0, 4, 0)
    carried(dtls, 0, 0, 0, 0)
    return session


def standalone(db: SessionDb) -> Session:
    """Session 1436 of the document, logged in at 22:15:24 (S22-S28)."""
    now = at("2012-11-30 22:15:24")
    session = log_in(db, now, old_facts(1269, "AnyConnect", "3.1.01065"))
    db.assign_addresses(session, True, False, now)
    ssl = db.open_ssl(session, old_facts(1272, "SSL VPN Client", AGENT, "TLSv1.0", "RC4"), None, now + 5)
    dtls = db.open_dtls(
        session, old_facts(1280, "DTLS VPN Client", "3.1.01065", "DTLSv1.0", "AES128"), None, now + 6
    )
    carried(session.parent, 6122, 777, 4, 1)
    carried(ssl, 6122, 0, 4, 0)
    carried(dtls, 0, 0, 0, 0)
    return session


def inactive(db: SessionDb) -> Session:
    """Session 1336 of the document, whose tunnels went 8 min 8 s after its login (S32)."""
    now = at("2012-11-17 17:42:56")
    session = log_in(db, now, old_facts(1100, "AnyConnect", "3.1.01065"))
    db.assign_addresses(session, True, False, now)
    ssl = db.open_ssl(session, old_facts(1101, "SSL VPN Client", AGENT, "TLSv1.0", "RC4"), None, now)
    carried(session.parent, 6122, 777, 4, 1)
    carried(ssl, 6795, 410, 10, 6)
    db.tunnel_lost(ssl, DownReason.DPD, now + 488)
    return session


def hasher(plain: str, scheme: str) -> str:
    """A cheap hash, always with the same salt."""
    return hash_password(plain, b"0123456789abcdef", "sha256")


class Desk:
    """A headend, its emulated time, and a console at it."""

    def __init__(
        self, config: str = CONFIG, *, privileged: bool = True, first_index: int = 1, login: bool = False
    ) -> None:
        self.now = at("2012-11-30 22:15:35")
        self.headend = Headend(parse_config(config, hasher=hasher), bytes, first_index=first_index)
        self.services = Services(started_at=self.now)
        self.cli = self.another(privileged=privileged, login=login)

    def another(self, *, privileged: bool = True, login: bool = False) -> CliSession:
        """A second console at the same headend."""
        return CliSession(
            self.headend, now=lambda: self.now, services=self.services, privileged=privileged, login=login
        )

    def type(self, *lines: str) -> str:
        """The text that the last of these lines brings."""
        text = ""
        for line in lines:
            text = self.cli.execute(line).text
        return text

    def transcript(self, *lines: str) -> str:
        """What the screen shows: prompts, lines and answers."""
        shown = ""
        for line in lines:
            prompt = self.cli.prompt
            shown += f"{prompt}{line}\n" + self.cli.execute(line).text
        return shown
