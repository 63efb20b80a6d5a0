"""The authentication conversation, without a socket: answers of the headend in, requests out.

`Login.begin` gives the first `Request`; each answer goes into `on_response`, which gives the next step:
another `Request`, an `Ask` for something that only a person knows (answered by `on_answer`), `LoggedIn` with
the token, or `LoginRefused`. Two dialects are spoken, as real headends demand both: XML documents (aggregate
authentication) and, when the headend does not take them, plain HTML-form posts.

A headend that wants a host scan gets a report that is the same for every computer; nothing is looked at, and
nothing that it offers for the purpose is fetched.

A secret is sent once. When a form asks for it again, the first was wrong, and only a person may answer.
Redirects, rounds, cookies and texts are bounded, for the headend may be hostile; whatever it sends is read,
never run.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from asa_emu.wire.auth_xml import (
    AuthForm,
    FormField,
    GroupOption,
    ServerDocument,
    auth_reply,
    init,
    legacy_reply,
    parse_server_document_untrusted,
    recognise_xml,
)
from asa_emu.wire.auth_xml import Profile as ProfileOffer
from asa_emu.wire.errors import XmlError
from client_emu.gateway import Gateway, parse_gateway
from client_emu.options import ClientOptions, is_token
from client_emu.request import Request, Response, shown

MAX_ROUNDS: Final = 20  # requests of one login; the longest seen (redirect, group, two factors) has 7
MAX_REDIRECTS: Final = 3  # openconnect's bound
MAX_CERTIFICATE_ROUNDS: Final = 3  # openconnect's bound
MAX_HOST_SCANS: Final = 2
MAX_COOKIES: Final = 32

REPORT_PATH: Final = "/+CSCOE+/sdesktop/scan.xml?reusebrowser=1"
REPORT: Final = (
    b'endpoint.os.version="Linux";\nendpoint.policy.location="Default";\nendpoint.device.protection="none";\n'
)
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Ask:
    """A person has to say this. `refusal` is the reason to give up with when there is none to ask."""

    prompt: str
    secret: bool
    refusal: str
    message: str = ""
    default: str = ""
    """What an empty answer means."""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The login is done; CONNECT goes to `gateway`, on the connection of the last answer if it stands."""

    gateway: Gateway
    token: str = field(repr=False)
    banner: str = ""
    package_base: str | None = None
    """Where the headend has its client software."""
    profile: ProfileOffer | None = None
    """The AnyConnect profile that it hands out."""


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """The login is over without a session."""

    reason: str


Step = Request | Ask | LoggedIn | LoginRefused


class Login:
    """One login at one headend."""

    def __init__(self, options: ClientOptions, gateway: Gateway | None = None) -> None:
        self._options = options
        self._gateway = gateway or options.gateway
        self._xml = options.xml_post
        self._cookies: dict[str, str] = {}
        self._secrets = {"password": options.password, "second": options.second_password}
        self._rounds = self._redirects = self._certificate_rounds = self._host_scans = 0
        self._wait_path: str | None = None
        self._reported = False
        self._form_seen = self._password_sent = False
        self._group_asked: str | None = None
        self._document: ServerDocument | None = None
        self._form = AuthForm()
        self._group: GroupOption | None = None
        self._waiting: list[FormField] = []
        self._answers: list[tuple[str, str]] = []
        self._wanted_group = options.group
        self._choosing = False
        self._default = ""
        self._finished = False

    def begin(self) -> Step:
        """The first request."""
        return self._open(self._first_group)

    def on_response(self, response: Response) -> Step:
        """Go on with the answer to the last `Request`."""
        if self._finished:
            raise RuntimeError("this login is over")
        self._keep_cookies(response)
        if self._rounds >= MAX_ROUNDS:
            return self._refuse(f"the headend asked for more than {MAX_ROUNDS} rounds")
        if self._wait_path is not None:
            return self._on_scan_answer(response, self._wait_path)
        if response.status in REDIRECTS:
            return self._redirect(response)
        if response.status != 200:
            return self._error_status(response)
        try:
            if not recognise_xml(response.body):
                raise XmlError("the answer is not XML")
            document = parse_server_document_untrusted(response.body)
        except XmlError as error:
            return self._without_xml() or self._refuse(f"the headend's answer cannot be read: {error}")
        return self._on_document(document)

    def on_answer(self, answer: str) -> Step:
        """Go on with what the person said to the last `Ask`."""
        answer = answer or self._default
        if self._choosing:
            self._choosing, self._wanted_group = False, answer
            return self._on_form(self._form)
        field = self._waiting.pop(0)
        self._answers.append((field.name, answer))
        return self._fill()

    @property
    def _first_group(self) -> str | None:
        """The group to name before there was a list to choose from.

        With a certificate there may never be a list, as the login can end at once. Without one there will,
        and ocserv would add any name it is told to it.
        """
        return self._options.group if self._options.certificate is not None else None

    def _open(
        self, group: str | None = None, *, fresh: bool = False, certificate_failed: bool = False
    ) -> Step:
        if not self._xml:
            return self._request("GET", self._gateway.path, b"", fresh=fresh)
        body = init(
            self._gateway.url,
            version=self._options.version,
            device_id=self._options.platform.device_id,
            group_select=group,
            client_cert_fail=certificate_failed,
        )
        return self._request("POST", self._gateway.path, body, fresh=fresh)

    def _request(self, method: str, path: str, body: bytes, *, fresh: bool = False) -> Request:
        kind = "application/xml; charset=utf-8" if self._xml else "application/x-www-form-urlencoded"
        headers = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("X-Transcend-Version", "1")]
        headers += [("X-Aggregate-Auth", "1")] if self._xml else []
        return self._plain_request(method, path, body, kind, headers, fresh=fresh)

    def _plain_request(
        self,
        method: str,
        path: str,
        body: bytes,
        kind: str,
        more: Sequence[tuple[str, str]] = (),
        *,
        fresh: bool = False,
        delay: float = 0.0,
    ) -> Request:
        self._rounds += 1
        headers = [("Host", self._gateway.authority), ("User-Agent", self._options.user_agent)]
        if self._cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self._cookies.items())))
        headers += [*more, ("Content-Type", kind), ("Content-Length", str(len(body)))]
        return Request(self._gateway, method, path, tuple(headers), body, fresh, delay)

    def _report(self, token: str | None, wait_uri: str | None) -> Step:
        """Answer a host scan: report, wait until the headend has it, then ask for the form again."""
        self._host_scans += 1
        if token is None or not is_token(token):
            return self._refuse("the headend wants a host scan, but gave no usable token")
        if self._host_scans > MAX_HOST_SCANS:
            return self._refuse("the headend keeps asking for a host scan")
        self._cookies["sdesktop"] = token
        self._wait_path, self._reported = self._action_path(wait_uri or "/"), False
        return self._plain_request("POST", REPORT_PATH, REPORT, "text/xml")

    def _on_scan_answer(self, response: Response, wait_path: str) -> Step:
        if response.status != 200:
            return self._refuse(f"the headend answered {response.status} to a host scan")
        waits = b'http-equiv="refresh"' in response.body
        if self._reported and not waits:
            self._wait_path = None
            return self._open(self._group_asked or self._first_group)
        delay = 1.0 if self._reported else 0.0
        self._reported = True
        return self._plain_request("GET", wait_path, b"", "text/xml", delay=delay)

    def _error_status(self, response: Response) -> Step:
        if not self._form_seen and response.status != 403 and (step := self._without_xml()):
            return step
        why = response.header("x-reason") or response.reason
        if response.status == 401:
            return self._refuse(f"login refused: {shown(why)}" if why else "login refused")
        return self._refuse(f"the headend answered {response.status} {shown(why)}".rstrip())

    def _without_xml(self) -> Step | None:
        """A headend that does not take the first document may take a form."""
        if not self._xml or self._form_seen:
            return None
        self._xml = False
        return self._open(fresh=True)

    def _redirect(self, response: Response) -> Step:
        self._redirects += 1
        if self._redirects > MAX_REDIRECTS:
            return self._refuse(f"more than {MAX_REDIRECTS} redirects")
        try:
            target = parse_gateway(urllib.parse.urljoin(self._gateway.url, response.header("location") or ""))
        except ValueError:
            return self._refuse("the headend redirects to what is no https address")
        same_host = (target.host, target.port) == (self._gateway.host, self._gateway.port)
        self._gateway = target
        if same_host:
            # docs/protocol.md §1.2: a headend that redirects within itself wants to be browsed
            self._xml = False
            return self._open()
        self._cookies.clear()
        return self._open(self._first_group, fresh=True)

    def _on_document(self, document: ServerDocument) -> Step:
        self._document = document
        if document.client_cert_request:
            return self._on_certificate_request()
        if document.kind == "complete":
            token = document.session_token or self._cookies.get("webvpn", "")
            if not is_token(token):
                return self._refuse("the headend calls the login complete, but gave no usable session token")
            self._finished = True
            return LoggedIn(self._gateway, token, document.banner, document.package_base, document.profile)
        if document.unsupported is not None:
            return self._refuse(document.unsupported)
        if document.host_scan is not None and document.host_scan.required:
            return self._report(document.host_scan.token, document.host_scan.wait_uri)
        form = document.form or AuthForm()
        if not (form.fields or form.groups or document.authentication_complete):
            said = shown(document.message)
            reason = f"the headend sent a form without inputs{said and f': {said}'}"
            return self._refuse(shown(document.error) or reason)
        self._form_seen = True
        return self._on_form(form)

    def _on_certificate_request(self) -> Step:
        self._certificate_rounds += 1
        if self._certificate_rounds > MAX_CERTIFICATE_ROUNDS:
            return self._refuse("the headend keeps asking for a client certificate")
        failed = self._options.certificate is None or self._certificate_rounds > 1
        return self._open(self._first_group, fresh=True, certificate_failed=failed)

    def _on_form(self, form: AuthForm) -> Step:
        group = form.selected_group()
        wanted = self._wanted_group
        if form.groups and wanted is None and self._options.ask_all:
            self._form, self._choosing = form, True
            self._default = group.label if group is not None else ""
            labels = tuple(shown(option.label) for option in form.groups)
            return Ask("Group", False, "no group was chosen", shown(form.message), self._default, labels)
        if form.groups and wanted is not None:
            group = form.find_group(wanted)
            if group is None:
                offered = ", ".join(shown(option.label) for option in form.groups)
                return self._refuse(f"no group {wanted!r} here; the headend offers {offered}")
            if self._xml and group != form.selected_group() and self._group_asked != group.value:
                # another group may have another form: ask for it first, as openconnect does
                self._group_asked = group.value
                self._gateway = replace(self._gateway, path=self._action_path(form.action))
                return self._open(group.value)
        self._form, self._group = form, group
        self._answers = []
        self._waiting = list(form.fields_for(group))
        return self._fill()

    def _fill(self) -> Step:
        while self._waiting:
            field = self._waiting[0]
            value = self._known(field)
            if value is None:
                return self._ask(field)
            self._waiting.pop(0)
            self._answers.append((field.name, value))
        return self._submit()

    def _known(self, field: FormField) -> str | None:
        match field.type:
            case "hidden":
                return field.value
            case "select":
                first = field.options[0].value if field.options else ""
                return next((option.value for option in field.options if option.selected), first)
            case "password":
                kind = "second" if self._is_second_factor(field) else "password"
                secret, self._secrets[kind] = self._secrets[kind], None
                return secret
            case _ if "user" in field.name.lower():
                return None if self._options.ask_all else self._options.user
            case _:
                return field.value or None

    def _is_second_factor(self, field: FormField) -> bool:
        if self._form.auth_id == "challenge" or field.name == "answer" or field.name.startswith("secondary_"):
            return True
        # ocserv asks for a one-time code in the form of the password, and says so only in the message
        failed = self._form.error is not None or "fail" in self._form.message.lower()
        return self._password_sent and not failed

    def _ask(self, field: FormField) -> Ask:
        label = shown(field.label) or field.name
        problem = shown(self._form.error or (self._document.error if self._document else None))
        said = problem or shown(self._form.message)
        secret, user = field.type == "password", "user" in field.name.lower()
        self._default = self._options.user or "" if user and not secret else ""
        if secret:
            second = self._is_second_factor(field)
            option = "--second-password" if second else "--password-file"
            if (self._options.second_password if second else self._options.password) is not None:
                problem = said or "the password was not accepted"
        else:
            option = "--user" if user else "an answer"
        refusal = f"the headend asks for {label!r}, and {option} was not given"
        return Ask(label, secret, f"login refused: {problem}" if problem else refusal, said, self._default)

    def _submit(self) -> Step:
        self._password_sent = any(field.type == "password" for field in self._form.fields)
        path = self._action_path(self._form.action)
        group = self._group.value if self._group is not None else None
        if not self._xml:
            request = self._request("POST", path, legacy_reply(self._answers, group))
            return replace(request, once=self._password_sent)
        try:
            body = auth_reply(
                self._answers,
                version=self._options.version,
                device_id=self._options.platform.device_id,
                group_select=group,
                opaque_xml=self._document.opaque_xml if self._document is not None else None,
            )
        except ValueError as error:
            return self._refuse(f"an answer cannot be sent: {error}")
        return replace(self._request("POST", path, body), once=self._password_sent)

    def _action_path(self, action: str) -> str:
        """Where a form is posted: on the same headend, whatever host the action names."""
        try:
            return parse_gateway(urllib.parse.urljoin(self._gateway.url, action)).path
        except ValueError:
            return "/"

    def _keep_cookies(self, response: Response) -> None:
        for name, value in response.headers:
            if name.lower() != "set-cookie":
                continue
            key, equals, content = value.partition(";")[0].strip().partition("=")
            if not equals or not is_token(key):
                continue
            if not content:
                self._cookies.pop(key, None)
            elif is_token(content) and (key in self._cookies or len(self._cookies) < MAX_COOKIES):
                self._cookies[key] = content

    def _refuse(self, reason: str) -> LoginRefused:
        self._finished = True
        return LoginRefused(reason)
