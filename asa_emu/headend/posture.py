"""The host scan before a login: a client reports about its computer before it may send a password (S138).

    init ----------------------> the form with <host-scan>: a ticket, a token, where to report and to wait
    token.xml?ticket= ---------> the token, for helper programs that know the ticket alone
    scan.xml, sdesktop=token --> the report
    wait.html, sdesktop=token -> "wait" until the report is there
    init, sdesktop=token ------> the form, and the login goes on; a login that succeeds uses the token up

Any report will do: the emulator plays the exchange and counts it, it judges nobody. A resume has no part in
this, as it has no login.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from asa_emu.headend.headend import Headend
from asa_emu.wire.auth_xml import HostScan

SCAN_LIFETIME = 300.0  # emulated seconds from the demand to the end of the login
MAX_SCANS = 4096  # open at once; the oldest is forgotten
BASE_URI = "/CACHE/sdesktop/data.xml"
TOKEN_URI = "/+CSCOE+/sdesktop/token.xml"
WAIT_URI = "/+CSCOE+/sdesktop/wait.html"
REPORT_URI = "/+CSCOE+/sdesktop/scan.xml"


@dataclass(slots=True)
class _Scan:
    ticket: str
    expires_at: float
    reported: bool = False


class Posture:
    """The host scans that are under way, by their tokens."""

    def __init__(self, headend: Headend) -> None:
        self._headend = headend
        self._scans: OrderedDict[str, _Scan] = OrderedDict()
        self._tokens: dict[str, str] = {}

    def demand(self, now: float) -> HostScan:
        """A new scan, for a client that shows no token of one."""
        while len(self._scans) >= MAX_SCANS:
            self._forget(next(iter(self._scans)))
        ticket, token = self._headend.random_bytes(16).hex(), self._headend.random_bytes(16).hex()
        self._scans[token] = _Scan(ticket, now + SCAN_LIFETIME)
        self._tokens[ticket] = token
        self._headend.counters.host_scans += 1
        return HostScan(ticket, token, BASE_URI, WAIT_URI)

    def token_for(self, ticket: str, now: float) -> str | None:
        """The token that belongs to a ticket."""
        token = self._tokens.get(ticket)
        return token if token is not None and self._find(token, now) is not None else None

    def report(self, token: str | None, report: bytes, now: float) -> bool:
        """Take a report; False when there is no such scan, or nothing in the report."""
        scan = self._find(token, now)
        if scan is None or not report.strip():
            return False
        if not scan.reported:
            scan.reported = True
            self._headend.counters.host_scan_reports += 1
        return True

    def known(self, token: str | None, now: float) -> bool:
        """Whether such a scan is under way."""
        return self._find(token, now) is not None

    def passed(self, token: str | None, now: float) -> bool:
        """Whether the report is there."""
        scan = self._find(token, now)
        return scan is not None and scan.reported

    def use_up(self, token: str | None) -> None:
        """The login has succeeded: the next one has a scan of its own."""
        if token is not None and token in self._scans:
            self._forget(token)

    def _find(self, token: str | None, now: float) -> _Scan | None:
        scan = self._scans.get(token) if token else None
        if scan is not None and now >= scan.expires_at:
            return None
        return scan

    def _forget(self, token: str) -> None:
        del self._tokens[self._scans.pop(token).ticket]
