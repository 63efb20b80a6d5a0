"""What a server says during a login: forms, the demand for a certificate, and the end with its token.

The headend renders with `auth_request`, `client_cert_request`, `auth_complete`, and for a client without XML
with `legacy_form` and `legacy_success`; the client emulator reads all of them, and what genuine headends,
ocserv and others send, with `parse_server_document_untrusted`. The shapes are those of docs/protocol.md
§1.5 to §1.8. Rendering is % templates whose constant parts stand ready, because a login is on the hot path.
Single sign-on and second certificates are recognised and named, never acted on.
"""

from dataclasses import dataclass, field
from typing import Literal

from asa_emu.wire.auth_form import (
    GROUP_LIST,
    INPUT_NAME,
    AuthForm,
    FieldType,
    FormField,
    GroupOption,
    Opaque,
    Profile,
)
from asa_emu.wire.client_package import ClientPackage, manifest_element
from asa_emu.wire.errors import XmlError
from asa_emu.wire.xml_tree import DECLARATION, Element, escape, parse_tree_untrusted

CERTIFICATE_FAILURE = "Certificate Validation Failure"
"""The `<error>` text that clients recognise and explain to their user."""

_REQUEST_HEAD = DECLARATION + '<config-auth client="vpn" type="auth-request" aggregate-auth-version="2">'
_OPAQUE = (
    '<opaque is-for="sg"><tunnel-group>%s</tunnel-group><group-alias>%s</group-alias>'
    "<aggauth-handle>%s</aggauth-handle><config-hash>%s</config-hash></opaque>"
)
_AUTH = '<auth id="%s">'
_TITLE = "<title>%s</title>"
_MESSAGE = "<message>%s</message>"
_BANNER = "<banner>%s</banner>"
# 88 is the id that a public imitation of an ASA gives to a failed login; clients ignore it.
_ERROR = '<error id="88" param1="" param2="">%s</error>'
_FORM = '<form method="post" action="%s">'
_INPUT = '<input type="%s" name="%s" label="%s"%s/>'
_SELECT = '<select name="%s" label="%s">%s</select>'
_COMPLETE = (
    DECLARATION + '<config-auth client="vpn" type="complete" aggregate-auth-version="2">'
    "<session-id>%s</session-id><session-token>%s</session-token>"
    '<auth id="success"><banner>%s</banner><message id="0" param1="" param2=""></message></auth>'
    "<capabilities><crypto-supported>ssl-dhe</crypto-supported></capabilities>"
    '<config client="vpn" type="private">'
    "<vpn-base-config>%s<server-cert-hash>%s</server-cert-hash></vpn-base-config>"
    '<opaque is-for="vpn-client">%s</opaque>%s</config></config-auth>\n'
)
_BASE_URI = "<base-package-uri>%s</base-package-uri>"
_PACKAGE = (
    "<vpn-client-pkg-version><pkgversion>%s</pkgversion></vpn-client-pkg-version>"
    "<vpn-core-manifest>%s</vpn-core-manifest>"
)
_HOST_SCAN = (
    "<host-scan><host-scan-ticket>%s</host-scan-ticket><host-scan-token>%s</host-scan-token>"
    "<host-scan-base-uri>%s</host-scan-base-uri><host-scan-wait-uri>%s</host-scan-wait-uri></host-scan>"
)
_MANIFEST = (
    '<vpn-profile-manifest><vpn rev="1.0"><file type="profile" service-type="user">'
    '<uri>%s</uri><hash type="sha1">%s</hash></file></vpn></vpn-profile-manifest>'
)


def auth_request(
    form: AuthForm, *, opaque: Opaque | None = None, host_scan: "HostScan | None" = None
) -> bytes:
    """Render a form for a client that speaks XML. Characters that XML cannot carry become U+FFFD.

    With `host_scan` the client has to report first, and then to ask for the form again.
    """
    scan = "" if host_scan is None else _render_host_scan(host_scan)
    return f"{_REQUEST_HEAD}{_render_opaque(opaque)}{scan}{_render_auth(form)}</config-auth>\n".encode()


def client_cert_request(*, opaque: Opaque | None = None) -> bytes:
    """Render the demand to come again on a fresh TLS connection, with a certificate or without success."""
    return f"{_REQUEST_HEAD}{_render_opaque(opaque)}<client-cert-request/></config-auth>\n".encode()


def auth_complete(
    token: str,
    *,
    session_id: str = "",
    banner: str = "",
    cert_sha1: str = "",
    profile: Profile | None = None,
    package: ClientPackage | None = None,
) -> bytes:
    """Render the end of a login.

    `token` is the value of cookie `webvpn`; `cert_sha1` the digest of our own certificate, in hex; `package`
    the client software that the headend has for this client's platform, newer or not.
    """
    profiles = "" if profile is None else _MANIFEST % (escape(profile.uri), escape(profile.sha1))
    base = software = ""
    if package is not None:
        base = _BASE_URI % escape(package.base)
        software = _PACKAGE % (escape(package.version.replace(".", ",")), manifest_element(package))
    filled = _COMPLETE % (
        escape(session_id),
        escape(token),
        escape(banner),
        base,
        escape(cert_sha1),
        software,
        profiles,
    )
    return filled.encode()


def legacy_form(form: AuthForm) -> bytes:
    """Render a form for a client without XML: the bare `<auth>` document, which such clients do parse."""
    return f"{DECLARATION}{_render_auth(form)}\n".encode()


def legacy_success(banner: str = "") -> bytes:
    """Render the end of a login without XML; the token goes in cookie `webvpn` alone."""
    return f'{DECLARATION}<auth id="success"><banner>{escape(banner)}</banner></auth>\n'.encode()


def _render_host_scan(scan: "HostScan") -> str:
    return _HOST_SCAN % tuple(
        escape(text or "") for text in (scan.ticket, scan.token, scan.base_uri, scan.wait_uri)
    )


def _render_opaque(opaque: Opaque | None) -> str:
    if opaque is None:
        return ""
    return _OPAQUE % (
        escape(opaque.tunnel_group),
        escape(opaque.group_alias),
        escape(opaque.handle),
        escape(opaque.config_hash),
    )


def _render_auth(form: AuthForm) -> str:
    parts = [_AUTH % escape(form.auth_id)]
    for template, text in ((_TITLE, form.title), (_MESSAGE, form.message), (_BANNER, form.banner)):
        if text:
            parts.append(template % escape(text))
    if form.error is not None:
        parts.append(_ERROR % escape(form.error))
    parts.append(_FORM % escape(form.action))
    for f in form.fields:
        extra = f' value="{escape(f.value)}"' if f.value or f.type == "hidden" else ""
        if f.second_auth:
            extra += ' second-auth="1"'
        if f.type == "select":
            parts.append(_SELECT % (escape(f.name), escape(f.label), _render_options(f.options)))
        else:
            parts.append(_INPUT % (f.type, escape(f.name), escape(f.label), extra))
    if form.groups:
        parts.append(_SELECT % (GROUP_LIST, escape(form.group_label), _render_options(form.groups)))
    parts.append("</form></auth>")
    return "".join(parts)


def _render_options(options: tuple[GroupOption, ...]) -> str:
    parts = []
    for option in options:
        label = escape(option.label)
        # An option without value attribute has its text for value, the shape genuine headends use.
        attributes = "" if option.value == option.label else f' value="{escape(option.value)}"'
        if option.selected:
            attributes += ' selected="true"'
        if option.second_auth:
            attributes += ' second-auth="1"'
        if option.no_aaa:
            attributes += ' noaaa="1"'
        parts.append(f"<option{attributes}>{label}</option>")
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class HostScan:
    """The posture check a server asks for: whoever reports says so with the token in cookie `sdesktop`."""

    ticket: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    base_uri: str | None = None
    wait_uri: str | None = None

    @property
    def required(self) -> bool:
        """Whether the login cannot go on without it: both addresses are given."""
        return self.base_uri is not None and self.wait_uri is not None


@dataclass(frozen=True, slots=True)
class ServerDocument:
    """What a server answered. `complete` means logged in; the token is here or in cookie `webvpn`."""

    kind: Literal["auth-request", "complete"]
    form: AuthForm | None = None
    """Title, texts and inputs. Without inputs there is nothing to ask (see `authentication_complete`)."""
    session_token: str | None = field(default=None, repr=False)
    session_id: str | None = None
    client_cert_request: bool = False
    """Come again on a fresh connection, with the certificate."""
    authentication_complete: bool = False
    """Post an auth-reply without answers to go on."""
    opaque_xml: bytes | None = field(default=None, repr=False)
    """The `<opaque>` to hand back, attributes and all, byte for byte."""
    banner: str = ""
    error: str | None = None
    message: str = ""
    host_scan: HostScan | None = None
    unsupported: str | None = None
    """Why a client like ours cannot go on, in words for its user."""
    profile: Profile | None = None
    package_base: str | None = None
    """The directory on the server where its client software is."""


_ACTED_ON = ("auth", "client-cert-request", "multiple-client-cert-request", "host-scan", "error")


def parse_server_document_untrusted(body: bytes) -> ServerDocument:
    """Read an answer of a server: `config-auth`, or the bare `<auth>` of a server without XML.

    Raises XmlError when it is not well-formed, has another root, says nothing a client could act on, or its
    form cannot be posted.
    """
    root = parse_tree_untrusted(body, keep_source=frozenset({"opaque"}))
    if root.tag == "auth":
        config, auth = Element("config-auth", {}), root
    elif root.tag == "config-auth":
        config, auth = root, root.find("auth") or Element("auth", {})
    else:
        raise XmlError("the root element is neither config-auth nor auth")
    form = _parse_form(auth)
    opaque = config.find("opaque")
    host_scan = _parse_host_scan(config, auth)
    if not any(config.find(tag) or root.tag == tag for tag in _ACTED_ON):
        raise XmlError("the document says nothing that a client could act on")
    complete = form.auth_id == "success" or (config.attributes.get("type") == "complete" and not form.fields)
    return ServerDocument(
        kind="complete" if complete else "auth-request",
        form=form if root is auth or config.find("auth") else None,
        session_token=config.find_text("session-token"),
        session_id=config.find_text("session-id"),
        client_cert_request=config.find("client-cert-request") is not None,
        authentication_complete=auth.find("authentication-complete") is not None,
        opaque_xml=opaque.source if opaque is not None else None,
        banner=form.banner,
        error=form.error or _message(config.find("error")) or None,
        message=form.message,
        host_scan=host_scan,
        unsupported=_unsupported(config, auth, host_scan),
        profile=_parse_profile(config),
        package_base=config.find_text("config", "vpn-base-config", "base-package-uri"),
    )


def _parse_form(auth: Element) -> AuthForm:
    form = auth.find("form") or Element("form", {})
    if form.attributes.get("method", "post").lower() != "post":
        raise XmlError("a form that is not to be posted")
    action = form.attributes.get("action", "/")
    if not action:
        raise XmlError("a form without a target")
    fields: list[FormField] = []
    groups: tuple[GroupOption, ...] = ()
    group_label = ""
    for element in form.children:
        name = element.attributes.get("name")
        if not name:
            continue
        if INPUT_NAME.fullmatch(name) is None:
            raise XmlError("a form with an input whose name cannot be sent back")
        label = element.attributes.get("label", "")
        if element.tag == "select":
            options = tuple(_parse_option(option) for option in element.find_all("option"))
            if name == GROUP_LIST:
                groups, group_label = options, label
            else:
                fields.append(FormField(name, label, "select", options=options))
        elif element.tag == "input" and (kind := _INPUT_TYPES.get(element.attributes.get("type", ""))):
            second = _is_set(element, "second-auth")
            fields.append(FormField(name, label, kind, element.attributes.get("value", ""), second))
    return AuthForm(
        auth_id=auth.attributes.get("id", ""),
        title=_message(auth.find("title")),
        message=_message(auth.find("message")),
        banner=_message(auth.find("banner")),
        error=_message(auth.find("error")) or None,
        fields=tuple(fields),
        groups=groups,
        action=action,
        group_label=group_label,
    )


_INPUT_TYPES: dict[str, FieldType] = {"text": "text", "password": "password", "hidden": "hidden"}


def _parse_option(option: Element) -> GroupOption:
    return GroupOption(
        label=option.text.strip(),
        value=option.attributes.get("value", option.text),
        selected=_is_set(option, "selected"),
        second_auth=_is_set(option, "second-auth"),
        no_aaa=_is_set(option, "noaaa"),
    )


def _is_set(element: Element, name: str) -> bool:
    return element.attributes.get(name, "").lower() in ("1", "true")


def _message(element: Element | None) -> str:
    """The text of a message, its first two %s replaced by what stands in param1 and param2."""
    if element is None:
        return ""
    pieces = element.text.split("%s", 2)
    text = pieces[0]
    for number, rest in enumerate(pieces[1:], start=1):
        text += element.attributes.get(f"param{number}", "%s") + rest
    return text.strip()


def _parse_host_scan(config: Element, auth: Element) -> HostScan | None:
    scan = config.find("host-scan") or auth.find("host-scan")
    if scan is not None:
        return HostScan(
            ticket=scan.find_text("host-scan-ticket"),
            token=scan.find_text("host-scan-token"),
            base_uri=scan.find_text("host-scan-base-uri"),
            wait_uri=scan.find_text("host-scan-wait-uri"),
        )
    csd = auth.find("csd")
    if csd is None:
        return None
    stub = auth.find("csdLinux") or csd
    return HostScan(
        ticket=csd.attributes.get("ticket"),
        token=csd.attributes.get("token"),
        base_uri=stub.attributes.get("stuburl"),
        wait_uri=stub.attributes.get("waiturl"),
    )


def _unsupported(config: Element, auth: Element, host_scan: HostScan | None) -> str | None:
    form = auth.find("form")
    inputs = form.children if form is not None else []
    if auth.find("sso-v2-login") is not None or any(i.attributes.get("type") == "sso" for i in inputs):
        return "the server wants single sign-on through a web browser (SAML), which this client cannot do"
    if config.find("multiple-client-cert-request") is not None:
        return "the server wants two client certificates, which this client cannot do"
    if host_scan is not None and host_scan.required and not host_scan.token:
        return "the server wants a host scan (CSD) of this computer, but gave no token to report it with"
    return None


def _parse_profile(config: Element) -> Profile | None:
    manifest = config.find("config", "vpn-profile-manifest", "vpn")
    for file in manifest.find_all("file") if manifest is not None else ():
        uri = file.find_text("uri")
        if file.attributes.get("type") == "profile" and uri is not None:
            return Profile(uri, file.find_text("hash") or "")
    return None
