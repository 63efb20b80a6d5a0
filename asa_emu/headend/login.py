"""The login: from the first POST to the session token.

    init ------------------> Ask(form with groups)          or Granted, for a certificate alone
    auth-reply (password) -> Ask(same form, error)          wrong: another try, everything typed again
                          -> Ask(challenge)                 right, and a second factor is configured
    auth-reply (code) -----> Ask(challenge, error) / Granted
    Granted carries the token; the session already stands in the database with its parent tunnel (S5a).

Nothing is remembered between the rounds but challenges: they have a handle that nobody can guess, which
travels as the form's opaque and as the cookie `webvpncontext`, since the rounds of one login may come over
several connections. Both dresses of a login, the XML documents and the legacy web form, end in the same two
functions, `_ask` and `_answer`, and so does the login page of the web portal, whose session is Clientless
(S5a).

With a host scan an XML client reports about itself before anything else; it gets the form together with the
demand, and comes again. A client without XML cannot, and is turned away; the portal asks for none.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from asa_emu.aaa.authorization import authorize
from asa_emu.aaa.local import check_password, totp_ok
from asa_emu.config import LANDING_GROUP, TunnelGroup
from asa_emu.headend.headend import Caller, Headend
from asa_emu.headend.identity import browser_facts, client_facts, known_as, username_of
from asa_emu.headend.posture import Posture
from asa_emu.headend.token import new_token
from asa_emu.session.db import Refusal, Refused
from asa_emu.session.model import EndReason, Session
from asa_emu.syslog.facts import LOCAL, Bar, LoginAccepted, LoginBarred, LoginRejected
from asa_emu.wire.auth_xml import (
    CERTIFICATE_FAILURE,
    AuthForm,
    ClientDocument,
    FormField,
    GroupOption,
    HostScan,
    Opaque,
)

CHALLENGE_LIFETIME = 300.0  # emulated seconds to type a code
MAX_CHALLENGES = 4096  # open at once; the oldest is forgotten
MAX_CODES = 3  # tries for one challenge
LOGIN_FAILED = "Login failed."
NO_ANYCONNECT = "AnyConnect is not enabled on the VPN server"
NO_PORTAL = "Clientless (browser) SSL VPN access is not allowed."
NO_SCAN = "A host scan is required, and only clients that log in by XML can make it"
LEGACY_ACTION = "/+webvpn+/index.html"

_PASSWORD = FormField("password", "Password:", "password")
_USERNAME = FormField("username", "Username:", "text")


@dataclass(frozen=True, slots=True)
class Ask:
    """Show this form to the user."""

    form: AuthForm
    opaque: Opaque | None = None
    host_scan: HostScan | None = None
    """Report first, then ask again."""


@dataclass(frozen=True, slots=True)
class Granted:
    """Logged in: the session stands, `token` is its secret."""

    session: Session
    token: str = field(repr=False)
    banner: str = ""


@dataclass(frozen=True, slots=True)
class Denied:
    """No form can help: an HTTP status and a reason."""

    status: int
    reason: str
    ended: Session | None = None
    """The session whose end this tells."""


Answer = Ask | Granted | Denied


@dataclass(frozen=True, slots=True)
class Door:
    """Which way a login comes in."""

    group: TunnelGroup
    action: str
    """Where its forms are to be posted to."""
    by_url: bool
    """A group-url led here: then an ASA never shows the list of groups."""
    portal: bool = False
    """A browser's login, to a Clientless session."""
    scan_token: str | None = field(default=None, repr=False)
    """Of the host scan that was shown."""


@dataclass(slots=True)
class Challenge:
    """A login whose first factor was right."""

    username: str
    group: TunnelGroup
    expires_at: float
    tries: int = 0


class Login:
    """The login conversations of one headend."""

    def __init__(self, headend: Headend) -> None:
        self._headend = headend
        self.posture = Posture(headend)
        self._challenges: OrderedDict[str, Challenge] = OrderedDict()
        self._last_codes: dict[str, int] = {}

    @property
    def wants_certificates(self) -> bool:
        """Whether any tunnel-group looks at client certificates."""
        return self._headend.config.any_group_needs_certificate

    def serves(self, path: str) -> bool:
        """Whether a GET of `path` is a login: the root, the form's own address, or a group-url."""
        return path in ("/", LEGACY_ACTION) or (
            self._headend.config.tunnel_group_for(path=path) != LANDING_GROUP
        )

    # the XML dress

    def document(
        self,
        document: ClientDocument,
        path: str,
        cookie: str | None,
        caller: Caller,
        now: float,
        *,
        scan_token: str | None = None,
    ) -> Answer:
        """Answer one document of a client.

        `cookie` is `webvpncontext`, with a challenge's handle; `scan_token` is the cookie `sdesktop`, which
        tells of a host scan, as the document may itself.
        """
        if document.kind == "logout":
            return self._logout(document, now)
        door = self._door(document.group_select, document.group_access, path, caller.host)
        door = replace(door, scan_token=scan_token or document.host_scan_token)
        if self._wants_scan(door) and not self.posture.passed(door.scan_token, now):
            return Ask(self._form(door, caller, None), host_scan=self.posture.demand(now))
        if document.kind == "init":
            return self._ask(door, caller, now)
        handle = document.opaque_handle or cookie
        return self._answer(document.fields, door, handle, caller, now)

    def _logout(self, document: ClientDocument, now: float) -> Answer:
        db = self._headend.db
        session = db.by_token(document.session_token) if document.session_token else None
        if session is None:
            return Denied(401, "no such session")
        db.end(session, EndReason.USER_REQUESTED, now)
        return Denied(200, "logged out", session)

    # the legacy dress

    def legacy_form(self, path: str, caller: Caller, now: float) -> Answer:
        """The login form for a client that has not sent XML."""
        return self._ask(self._legacy_door(None, path, caller.host), caller, now)

    def legacy_reply(
        self, fields: dict[str, str], path: str, cookie: str | None, caller: Caller, now: float
    ) -> Answer:
        """Answer a filled-in web form."""
        door = self._legacy_door(fields.pop("group_list", None), path, caller.host)
        return self._answer(fields, door, cookie, caller, now)

    def portal_form(self, group_url: str | None, caller: Caller, now: float) -> Answer:
        """The form of the login page; `group_url` is the path that led there."""
        return self._ask(self._portal_door(None, group_url, caller.host), caller, now)

    def portal_reply(
        self, fields: dict[str, str], group_url: str | None, cookie: str | None, caller: Caller, now: float
    ) -> Answer:
        """Answer the filled-in login page."""
        door = self._portal_door(fields.pop("group_list", None), group_url, caller.host)
        return self._answer(fields, door, cookie, caller, now)

    def _portal_door(self, select: str | None, group_url: str | None, host: str) -> Door:
        return replace(self._door(select, group_url, "/", host), action=LEGACY_ACTION, portal=True)

    def _wants_scan(self, door: Door) -> bool:
        return self._headend.config.webvpn.host_scan and not door.group.without_host_scan

    def _legacy_door(self, select: str | None, path: str, host: str) -> Door:
        door = self._door(select, None, path, host)
        # a form without a list is told apart by where it is posted to
        return door if door.by_url else replace(door, action=LEGACY_ACTION)

    # what both come down to

    def _door(self, select: str | None, access: str | None, path: str, host: str) -> Door:
        """The user's choice, else the group-url's, else the preselected one, else the landing group."""
        config = self._headend.config
        action = path
        if access:
            try:
                path = urlsplit(access).path or path
            except ValueError:
                pass  # a client that cannot say where it is, is where it posts to
        name = config.tunnel_group_for(select, host, path)
        by_url = name != LANDING_GROUP and not select
        if name == LANDING_GROUP and not select and config.group_options:
            name = config.group_options[0].tunnel_group
        return Door(config.tunnel_groups[name], action, by_url)

    def _ask(self, door: Door, caller: Caller, now: float) -> Answer:
        """Open the conversation: a form, unless a certificate is all that is asked for."""
        if self._lacks_scan(door):
            return Denied(403, NO_SCAN)
        if not door.group.needs_certificate:
            return Ask(self._form(door, caller, None))
        username = username_of(door.group, caller)
        if username is None:
            return Ask(self._form(door, caller, CERTIFICATE_FAILURE))
        if not door.group.needs_password:
            return self._grant(username, door, "Certificate", caller, now)
        return Ask(self._form(door, caller, None))

    def _lacks_scan(self, door: Door) -> bool:
        """A client without XML has no way to make the host scan that is wanted."""
        return self._wants_scan(door) and not door.portal and door.scan_token is None

    def _form(self, door: Door, caller: Caller, error: str | None) -> AuthForm:
        group = door.group
        username = username_of(group, caller) if group.needs_certificate else None
        options = () if door.by_url else self._headend.config.group_options
        groups = tuple(
            GroupOption(option.label, option.value, option.tunnel_group == group.name) for option in options
        )
        return AuthForm(
            auth_id="main",
            title="Login",
            message="Please enter your username and password.",
            error=error,
            fields=(_USERNAME if username is None else replace(_USERNAME, value=username), _PASSWORD),
            groups=groups,
            action=door.action,
        )

    def _answer(
        self,
        fields: dict[str, str],
        door: Door,
        handle: str | None,
        caller: Caller,
        now: float,
    ) -> Answer:
        challenge = self._challenges.get(handle) if handle else None
        if challenge is not None and handle is not None and "username" not in fields:
            door = replace(door, group=challenge.group)
            return self._answer_challenge(handle, challenge, fields, door, caller, now)
        if self._lacks_scan(door):
            return Denied(403, NO_SCAN)
        group = door.group
        username = known_as(group, fields.get("username", ""))
        mode = "userPassword"
        if group.needs_certificate:
            named = username_of(group, caller)
            if named is None or not group.needs_password:
                return self._ask(door, caller, now)
            if named != username:
                return self._rejected(username, "AAA failure", door, caller, now)
            mode = "Certificate and userPassword"
        self._headend.counters.authentications += 1
        user = self._headend.config.user(username)
        stored = user.password.text if user is not None and user.password is not None else None
        if not check_password(username, stored, fields.get("password", "")) or user is None:
            reason = "User was not found" if user is None else "Invalid password"
            return self._rejected(username, reason, door, caller, now)
        if user.totp is not None:
            return self._challenge(username, door, now)
        return self._grant(username, door, mode, caller, now)

    def _challenge(self, username: str, door: Door, now: float) -> Answer:
        handle = self._headend.random_bytes(16).hex()
        while len(self._challenges) >= MAX_CHALLENGES:
            self._challenges.popitem(last=False)
        self._challenges[handle] = Challenge(username, door.group, now + CHALLENGE_LIFETIME)
        return Ask(_challenge_form(door.action, None), Opaque(handle, door.group.name))

    def _answer_challenge(
        self,
        handle: str,
        challenge: Challenge,
        fields: dict[str, str],
        door: Door,
        caller: Caller,
        now: float,
    ) -> Answer:
        user = self._headend.config.user(challenge.username)
        if now >= challenge.expires_at or user is None or user.totp is None:
            del self._challenges[handle]
            return self._rejected(challenge.username, "AAA failure", door, caller, now)
        # the XML dress calls every answer "password"; a web form keeps the input's own name
        code = fields.get("answer") or fields.get("password", "")
        step = totp_ok(user.totp, code, now, last_step=self._last_codes.get(challenge.username))
        if step is None:
            challenge.tries += 1
            rejected = self._rejected(challenge.username, "Invalid password", door, caller, now)
            if challenge.tries >= MAX_CODES:
                del self._challenges[handle]
                return rejected
            return Ask(_challenge_form(door.action, LOGIN_FAILED), Opaque(handle, door.group.name))
        del self._challenges[handle]
        self._last_codes[challenge.username] = step
        return self._grant(challenge.username, door, "userPassword", caller, now)

    def _rejected(self, username: str, reason: str, door: Door, caller: Caller, now: float) -> Ask:
        """Tell that the credentials were bad; the form again."""
        self._headend.emit(
            LoginRejected(
                at=now,
                username=username,
                tunnel_group=door.group.name,
                group_policy=door.group.default_group_policy,
                ip=caller.peer.ip,
                reason=reason,
            )
        )
        return Ask(self._form(door, caller, LOGIN_FAILED))

    def _grant(self, username: str, door: Door, mode: str, caller: Caller, now: float) -> Answer:
        headend, group = self._headend, door.group
        if group.authorization_server_group:
            headend.counters.authorizations += 1
            if not authorize(headend.config, group, username):
                return self._rejected(username, "AAA failure", door, caller, now)
        policy = headend.policy(username, group.name)

        def bar(what: Bar, detail: str = "") -> None:
            headend.emit(
                LoginBarred(
                    at=now,
                    username=username,
                    tunnel_group=group.name,
                    group_policy=policy.group_policy,
                    ip=caller.peer.ip,
                    clientless=door.portal,
                    bar=what,
                    detail=detail,
                )
            )

        headend.emit(
            LoginAccepted(
                at=now,
                username=username,
                tunnel_group=group.name,
                group_policy=policy.group_policy,
                ip=caller.peer.ip,
                clientless=door.portal,
                server=LOCAL if group.needs_password else None,
                own_policy=policy.group_policy != group.default_group_policy,
            )
        )
        if policy.group_lock is not None and policy.group_lock != group.name:
            bar(Bar.GROUP_LOCK, policy.group_lock)
            return Ask(self._form(door, caller, LOGIN_FAILED))
        if door.portal and "ssl-clientless" not in policy.tunnel_protocols:
            return Ask(self._form(door, caller, NO_PORTAL))
        if not door.portal and "ssl-client" not in policy.tunnel_protocols:
            bar(Bar.PROTOCOL)
            return Ask(self._form(door, caller, NO_ANYCONNECT))
        token = new_token(headend.config, headend.random_bytes)
        try:
            session = headend.db.login(
                token=token,
                username=username,
                tunnel_group=group.name,
                policy=policy,
                facts=browser_facts(mode, caller) if door.portal else client_facts(mode, caller),
                clientless=door.portal,
                now=now,
            )
        except Refused as refused:
            if refused.reason is Refusal.CAPACITY:
                bar(Bar.CAPACITY, str(headend.db.capacity))
            else:
                bar(Bar.FORBIDDEN)
            return Ask(self._form(door, caller, refused.text))
        self.posture.use_up(door.scan_token)
        return Granted(session, token, policy.banner)


def _challenge_form(action: str, error: str | None) -> AuthForm:
    return AuthForm(
        auth_id="challenge",
        title="Login",
        message="Enter the code of your authenticator.",
        error=error,
        fields=(FormField("answer", "Code:", "password"),),
        action=action,
    )
