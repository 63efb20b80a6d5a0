"""What a client says during a login: the documents init, auth-reply and logout, and the form-urlencoded reply
of a client without XML.

A request body flows into `parse_client_document_untrusted` (or `parse_legacy_reply_untrusted`) at the
headend; the client emulator makes such bodies with `init`, `auth_reply`, `logout` and `legacy_reply`. The
shapes are those of docs/protocol.md §1.4 and §1.8. Nothing here judges an answer.
"""

import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from asa_emu.wire.auth_form import GROUP_LIST, INPUT_NAME
from asa_emu.wire.errors import XmlError
from asa_emu.wire.xml_tree import DECLARATION, Element, escape_exactly, parse_tree_untrusted

MAX_LEGACY_FIELDS = 64
"""Fields of a form-urlencoded reply; a login form has a handful."""

_SENT_AS_PASSWORD = frozenset({"answer", "whichpin", "new_password"})
_NEVER_SENT = frozenset({"verify_pin", "verify_password", GROUP_LIST})


@dataclass(frozen=True, slots=True)
class ClientDocument:
    """What a client said in one POST. Texts are as sent; an absent element is None or empty."""

    kind: Literal["init", "auth-reply", "logout"]
    version: str | None = None
    device_id: str | None = None
    device_attributes: dict[str, str] = field(default_factory=dict)
    """`computer-name`, `device-type`, `platform-version`, `unique-id` … as the client spells them."""
    group_select: str | None = None
    """The value of the chosen group."""
    group_access: str | None = None
    """The URL the client was pointed at, its path the group-url."""
    fields: dict[str, str] = field(default_factory=dict, repr=False)
    """Answers by element name, blanks kept; of two with one name the first."""
    opaque_handle: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    client_cert_fail: bool = False
    """The client was asked for a certificate and has none."""
    capabilities: frozenset[str] = frozenset()
    mac_addresses: tuple[str, ...] = ()
    host_scan_token: str | None = field(default=None, repr=False)


_CLIENT_KINDS: dict[str, Literal["init", "auth-reply", "logout"]] = {
    "init": "init",
    "auth-reply": "auth-reply",
    "logout": "logout",
}
_ONCE = frozenset({"auth", "opaque", "group-select", "group-access", "session-token"})


def parse_client_document_untrusted(body: bytes) -> ClientDocument:
    """Read a POST of a client. Unknown elements are skipped.

    Raises XmlError for what is no well-formed `config-auth` document of a known type, and for one that says
    twice what can be meant only once (doubled elements crashed real headends, CVE-2018-0101; no client sends
    them).
    """
    root = parse_tree_untrusted(body)
    if root.tag != "config-auth":
        raise XmlError("the root element is not config-auth")
    kind = _CLIENT_KINDS.get(root.attributes.get("type", ""))
    if kind is None:
        raise XmlError("config-auth of an unknown type")
    found: dict[str, Element] = {}
    for child in root.children:
        if child.tag in found and child.tag in _ONCE:
            raise XmlError(f"more than one {child.tag}")
        found.setdefault(child.tag, child)
    answers: dict[str, str] = {}
    if (auth := found.get("auth")) is not None:
        for answer in auth.children:
            answers.setdefault(answer.tag, answer.text)
    device = found.get("device-id")
    group = found.get("group-select")
    capabilities = found.get("capabilities")
    addresses = found.get("mac-address-list")
    return ClientDocument(
        kind=kind,
        version=root.find_text("version"),
        device_id=_text(device),
        device_attributes=device.attributes if device is not None else {},
        group_select=(group.text or None) if group is not None else None,
        group_access=_text(found.get("group-access")),
        fields=answers,
        opaque_handle=root.find_text("opaque", "aggauth-handle"),
        session_token=_text(found.get("session-token")),
        client_cert_fail="client-cert-fail" in found,
        capabilities=frozenset(c.text.strip() for c in capabilities.find_all("auth-method"))
        if capabilities is not None
        else frozenset(),
        mac_addresses=tuple(a.text.strip() for a in addresses.find_all("mac-address"))
        if addresses is not None
        else (),
        host_scan_token=_text(found.get("host-scan-token")),
    )


def init(
    group_access: str,
    *,
    version: str,
    device_id: str,
    device_attributes: Mapping[str, str] | None = None,
    group_select: str | None = None,
    client_cert_fail: bool = False,
    capabilities: Iterable[str] = (),
    mac_addresses: Iterable[str] = (),
) -> bytes:
    """Render the document that opens a login, and reopens it for another group.

    `group_access` is the full URL asked; `group_select` a group's value. Raises ValueError for text that XML
    cannot carry, as all client-side renderers do.
    """
    return _client_document(
        "init",
        _client_head(version, device_id, device_attributes, capabilities, mac_addresses),
        _element("group-access", group_access),
        "<client-cert-fail/>" if client_cert_fail else "",
        _element("group-select", group_select),
    )


def auth_reply(
    fields: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    version: str,
    device_id: str,
    device_attributes: Mapping[str, str] | None = None,
    group_select: str | None = None,
    opaque_xml: bytes | None = None,
    capabilities: Iterable[str] = (),
    mac_addresses: Iterable[str] = (),
    host_scan_token: str | None = None,
) -> bytes:
    """Render the answer to a form: its inputs by name, in form order, hidden ones included.

    `answer`, `whichpin` and `new_password` go out as `<password>`, the `verify_` inputs and the group list
    not at all; the group goes beside `<auth>` as its value. `opaque_xml` is `ServerDocument.opaque_xml`, sent
    back byte for byte.
    """
    answers = []
    for name, value in fields.items() if isinstance(fields, Mapping) else fields:
        if name in _NEVER_SENT:
            continue
        sent_as = "password" if name in _SENT_AS_PASSWORD else name
        if INPUT_NAME.fullmatch(sent_as) is None:
            raise ValueError("an input's name cannot be the name of an XML element")
        answers.append(f"<{sent_as}>{escape_exactly(value)}</{sent_as}>")
    return _client_document(
        "auth-reply",
        _client_head(version, device_id, device_attributes, capabilities, mac_addresses),
        opaque_xml.decode("utf-8") if opaque_xml is not None else "",
        f"<auth>{''.join(answers)}</auth>" if answers else "<auth/>",
        _element("group-select", group_select),
        _element("host-scan-token", host_scan_token),
    )


def logout(session_token: str, *, version: str, device_id: str) -> bytes:
    """Render the farewell of a genuine client, which ends the session for good."""
    head = _client_head(version, device_id, None, (), ())
    return _client_document("logout", head, _element("session-token", session_token))


def _client_document(kind: str, *parts: str) -> bytes:
    opening = f'<config-auth client="vpn" type="{kind}" aggregate-auth-version="2">'
    return f"{DECLARATION}{opening}{''.join(parts)}</config-auth>\n".encode()


def _client_head(
    version: str,
    device_id: str,
    device_attributes: Mapping[str, str] | None,
    capabilities: Iterable[str],
    mac_addresses: Iterable[str],
) -> str:
    attributes = "".join(f' {name}="{escape_exactly(v)}"' for name, v in (device_attributes or {}).items())
    methods = "".join(_element("auth-method", c) for c in capabilities)
    macs = "".join(
        f'<mac-address public-interface="true">{escape_exactly(m)}</mac-address>' for m in mac_addresses
    )
    return (
        f'<version who="vpn">{escape_exactly(version)}</version>'
        f"<device-id{attributes}>{escape_exactly(device_id)}</device-id>"
        + (f"<mac-address-list>{macs}</mac-address-list>" if macs else "")
        + (f"<capabilities>{methods}</capabilities>" if methods else "")
    )


def _element(tag: str, text: str | None) -> str:
    return "" if text is None else f"<{tag}>{escape_exactly(text)}</{tag}>"


def _text(element: Element | None) -> str | None:
    return None if element is None else element.text.strip() or None


def legacy_reply(
    fields: Mapping[str, str] | Iterable[tuple[str, str]], group_select: str | None = None
) -> bytes:
    """Render the answer to a bare `<auth>` form: form-urlencoded UTF-8, every input under its own name."""
    pairs = list(fields.items() if isinstance(fields, Mapping) else fields)
    if group_select is not None:
        pairs = [pair for pair in pairs if pair[0] != GROUP_LIST] + [(GROUP_LIST, group_select)]
    return urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote).encode("ascii")


def parse_legacy_reply_untrusted(body: bytes) -> dict[str, str]:
    """Read a form-urlencoded answer; of two fields with one name the first. The group is `group_list`.

    Names and values may be encoded or not (`group%5flist` was seen). Raises XmlError, the one error of a
    login's body.
    """
    try:
        pairs = urllib.parse.parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_LEGACY_FIELDS
        )
    except ValueError:
        raise XmlError("not a form-urlencoded reply in UTF-8") from None
    answers: dict[str, str] = {}
    for name, value in pairs:
        answers.setdefault(name, value)
    return answers
