"""Whatever bytes arrive in a login, XmlError is the worst that happens; whatever we say is understood."""

import contextlib
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asa_emu.wire.auth_xml import (
    AuthForm,
    FormField,
    GroupOption,
    Opaque,
    auth_complete,
    auth_reply,
    auth_request,
    init,
    legacy_form,
    legacy_reply,
    parse_client_document_untrusted,
    parse_legacy_reply_untrusted,
    parse_server_document_untrusted,
)
from asa_emu.wire.errors import XmlError
from asa_emu.wire.xml_tree import Element, escape, parse_tree_untrusted

UNCARRIED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
    lambda t: not UNCARRIED.search(t)
)
trimmed = texts.map(str.strip).filter(lambda t: "%s" not in t)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,10}", fullmatch=True).filter(
    lambda name: (
        name not in {"group_list", "answer", "whichpin", "new_password", "verify_pin", "verify_password"}
    )
)

TAGS = [
    "config-auth",
    "auth",
    "form",
    "input",
    "select",
    "option",
    "opaque",
    "error",
    "message",
    "csd",
    "host-scan",
]
TAGS += [
    "session-token",
    "group-select",
    "client-cert-request",
    "config",
    "aggauth-handle",
    "device-id",
    "sso-v2-login",
]
ATTRIBUTES = ["type", "id", "name", "label", "value", "method", "action", "selected", "param1", "second-auth"]
VALUES = [
    "init",
    "auth-reply",
    "complete",
    "main",
    "success",
    "text",
    "hidden",
    "group_list",
    "post",
    "/",
    "1",
    "%s",
    "",
]


@st.composite
def documents(draw: st.DrawFn, depth: int = 0) -> str:
    """A well-formed document of our vocabulary in any arrangement."""
    tag = draw(st.sampled_from(TAGS if depth else ["config-auth", "auth"]))
    attributes = draw(st.dictionaries(st.sampled_from(ATTRIBUTES), st.sampled_from(VALUES), max_size=3))
    inside = draw(st.sampled_from(["", "%s %s", " x ", "&amp;", "<!-- -->", "<![CDATA[<]]>"]))
    if depth < 4:
        inside += "".join(draw(st.lists(documents(depth + 1), max_size=3)))
    return f"<{tag}{''.join(f' {k}={v!r}' for k, v in attributes.items())}>{inside}</{tag}>"


PARSERS = [parse_client_document_untrusted, parse_server_document_untrusted, parse_legacy_reply_untrusted]


@pytest.mark.parametrize("parse", PARSERS)
@given(
    body=st.binary(max_size=200)
    | st.text(max_size=100).map(lambda t: f"<a>{t}</a>".encode("utf-8", "replace"))
)
def test_any_bytes(parse: Callable[[bytes], object], body: bytes) -> None:
    with contextlib.suppress(XmlError):
        parse(body)


@pytest.mark.parametrize("parse", PARSERS[:2])
@given(body=documents())
def test_any_arrangement(parse: Callable[[bytes], object], body: str) -> None:
    with contextlib.suppress(XmlError):
        repr(parse(body.encode()))


@given(body=documents(), cut=st.floats(0, 1), noise=st.binary(max_size=4))
def test_any_damage(body: str, cut: float, noise: bytes) -> None:
    data = body.encode()
    at = int(cut * len(data))
    for damaged in (data[:at], data[:at] + noise + data[at:], data[at:]):
        for parse in PARSERS[:2]:
            with contextlib.suppress(XmlError):
                parse(damaged)


@given(body=documents())
def test_kept_source_is_the_element_itself(body: str) -> None:
    root = parse_tree_untrusted(body.encode(), keep_source=frozenset(TAGS))
    assert root.source == body.encode()

    def check(element: Element) -> None:
        assert element.source is not None
        again = parse_tree_untrusted(element.source)
        assert (again.tag, again.attributes, again.text) == (element.tag, element.attributes, element.text)
        for child in element.children:
            check(child)

    check(root)


@given(value=st.text())
def test_escaped_text_comes_back(value: str) -> None:
    back = parse_tree_untrusted(f'<a b="{escape(value)}">{escape(value)}</a>'.encode())
    expected = UNCARRIED.sub("\ufffd", value)
    assert back.text == expected
    assert back.attributes["b"] == expected


@given(
    answers=st.dictionaries(names, texts, max_size=5), group=texts.filter(bool), handle=texts.map(str.strip)
)
def test_answers_come_back(answers: dict[str, str], group: str, handle: str) -> None:
    offered = parse_server_document_untrusted(auth_request(AuthForm(), opaque=Opaque(handle)))
    body = auth_reply(answers, version="1", device_id="x", group_select=group, opaque_xml=offered.opaque_xml)
    document = parse_client_document_untrusted(body)
    assert document.fields == answers
    assert document.group_select == group
    assert document.opaque_handle == (handle or None)
    assert parse_legacy_reply_untrusted(legacy_reply(answers)) == answers


@given(url=trimmed, version=trimmed, attributes=st.dictionaries(names, texts, max_size=3))
def test_init_comes_back(url: str, version: str, attributes: dict[str, str]) -> None:
    document = parse_client_document_untrusted(
        init(url, version=version, device_id="win", device_attributes=attributes)
    )
    assert (document.group_access, document.version) == (url or None, version or None)
    assert document.device_attributes == attributes


options = st.builds(
    GroupOption, label=trimmed, value=texts, selected=st.booleans(), second_auth=st.booleans()
)
fields = st.builds(
    FormField, name=names, label=texts, type=st.sampled_from(["text", "password", "hidden"]), value=texts
)
forms = st.builds(
    AuthForm,
    auth_id=texts,
    title=trimmed,
    message=trimmed,
    banner=trimmed,
    error=st.none() | trimmed.filter(bool),
    fields=st.lists(fields, max_size=4).map(tuple),
    groups=st.lists(options, min_size=1, max_size=4).map(tuple),
    action=texts.filter(bool),
    group_label=texts,
)


@given(form=forms)
def test_forms_come_back(form: AuthForm) -> None:
    assert parse_server_document_untrusted(auth_request(form)).form == form
    assert parse_server_document_untrusted(legacy_form(form)).form == form


@given(token=trimmed, banner=trimmed)
def test_the_end_comes_back(token: str, banner: str) -> None:
    document = parse_server_document_untrusted(auth_complete(token, banner=banner))
    assert (document.kind, document.session_token, document.banner) == ("complete", token or None, banner)
