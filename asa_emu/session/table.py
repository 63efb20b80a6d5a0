"""Sessions by everything they are looked up by, and how many of them there are and have been.

The table only finds and counts; what happens to a session, and when, is `SessionDb`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from asa_emu.session.model import Addresses, Session, TunnelKind


@dataclass(slots=True)
class Tally:
    """How many there are, have ever been, and were at most at one time."""

    active: int = 0
    cumulative: int = 0
    peak: int = 0

    def add(self) -> None:
        """One more."""
        self.active += 1
        self.cumulative += 1
        self.peak = max(self.peak, self.active)


class SessionTable:
    """All sessions of one headend that have not ended."""

    def __init__(self) -> None:
        self.anyconnect = Tally()
        """Sessions of type AnyConnect, the inactive ones included."""
        self.webvpn = Tally()
        """Sessions of the web portal alone."""
        self.tunnels = {kind: Tally() for kind in TunnelKind}
        self._sessions: dict[int, Session] = {}
        self._by_token: dict[bytes, Session] = {}
        self._by_address: dict[str, Session] = {}
        self._by_user: dict[str, list[Session]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions(self) -> Iterator[Session]:
        """All sessions in the order of their index."""
        return iter(list(self._sessions.values()))

    def by_index(self, index: int) -> Session | None:
        """The session with this index."""
        return self._sessions.get(index)

    def by_token(self, token: str) -> Session | None:
        """The session that this token belongs to (S7, S136); any text may be asked for."""
        digest = digest_of(token)
        session = self._by_token.get(digest)
        if session is None or not compare_digest(session.token_digest, digest):
            return None
        return session

    def by_user(self, username: str) -> tuple[Session, ...]:
        """The sessions of a user in the order of login."""
        return tuple(self._by_user.get(username, ()))

    def _enter(self, session: Session) -> None:
        self._sessions[session.index] = session
        self._by_token[session.token_digest] = session
        self._by_user.setdefault(session.username, []).append(session)
        self.tunnels[session.parent.kind].add()
        (self.anyconnect if session.is_anyconnect else self.webvpn).add()

    def _strike(self, session: Session) -> None:
        del self._sessions[session.index]
        del self._by_token[session.token_digest]
        mine = self._by_user[session.username]
        mine.remove(session)
        if not mine:
            del self._by_user[session.username]
        for address in session.addresses.held:
            del self._by_address[address]
        self.tunnels[session.parent.kind].active -= 1
        (self.anyconnect if session.is_anyconnect else self.webvpn).active -= 1

    def _address(self, session: Session, addresses: Addresses) -> None:
        session.addresses = addresses
        for address in addresses.held:
            self._by_address[address] = session


def digest_of(token: str) -> bytes:
    """What the table keeps of a token; any text has one."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
