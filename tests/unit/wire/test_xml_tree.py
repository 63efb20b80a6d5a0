"""The bounded tree: what it refuses, and that the limits themselves are allowed."""

import pytest

from asa_emu.wire.auth_xml import parse_client_document_untrusted
from asa_emu.wire.errors import XmlError
from asa_emu.wire.xml_tree import (
    MAX_ATTRIBUTES,
    MAX_BODY,
    MAX_DEPTH,
    MAX_NODES,
    parse_tree_untrusted,
    recognise_xml,
)

OPENCONNECT_INIT = b"""<?xml version="1.0" encoding="UTF-8"?>
<config-auth client="vpn" type="init" aggregate-auth-version="2"><version who="vpn">v9.01-3</version>
<device-id>linux-64</device-id><capabilities><auth-method>single-sign-on-v2</auth-method>
<auth-method>single-sign-on-external-browser</auth-method></capabilities>
<group-access>https://127.0.0.1:4443/staff</group-access></config-auth>
"""


def reply(inside: str, kind: str = "auth-reply") -> bytes:
    """A client's document around something."""
    return f'<config-auth client="vpn" type="{kind}">{inside}</config-auth>'.encode()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not an XML document"),
        (b"username=walter", "not an XML document"),
        (b"<config-auth", "not well-formed"),
        (reply("<auth>") + b"<!-- secret", "not well-formed"),
        (reply("&undefined;"), "not well-formed"),
        (reply("\xe9").decode().encode("latin-1"), "not well-formed"),
        (OPENCONNECT_INIT.decode().encode("utf-16"), "not an XML document in UTF-8"),
        (OPENCONNECT_INIT.decode().replace("UTF-8", "UTF-16").encode("utf-16-le"), "not an XML document"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]>' + reply("&x;"), "document type"),
        (b'<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd">' + reply(""), "document type"),
        (reply("a" * MAX_BODY), "at most 65536"),
        (b"<a>" * MAX_DEPTH + b"<a/>", "levels"),
        (reply("<a/>" * MAX_NODES), f"more than {MAX_NODES} elements"),
        (reply("<a " + " ".join(f"a{i}='x'" for i in range(MAX_ATTRIBUTES + 1)) + "/>"), "attributes"),
    ],
)
def test_hostile_documents(body: bytes, complaint: str) -> None:
    with pytest.raises(XmlError, match=complaint):
        parse_tree_untrusted(body)


def test_limits_themselves_are_allowed() -> None:
    deep = b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH
    assert parse_tree_untrusted(deep).tag == "a"
    wide = b"<a>" + b"<b/>" * (MAX_NODES - 1) + b"</a>"
    assert len(parse_tree_untrusted(wide).children) == MAX_NODES - 1
    full = b"<a>" + b"x" * (MAX_BODY - 7) + b"</a>"
    assert len(parse_tree_untrusted(full).text) == MAX_BODY - 7


def test_thousands_of_nested_elements_are_refused_at_once() -> None:
    """CVE-2018-0101: a nest of host-scan-reply elements inside config-auth."""
    with pytest.raises(XmlError, match="levels"):
        parse_client_document_untrusted(reply("<host-scan-reply>" * 3000))


def test_byte_order_mark_and_leading_blanks_are_skipped() -> None:
    body = b"\xef\xbb\xbf\r\n " + OPENCONNECT_INIT
    assert recognise_xml(body)
    assert parse_client_document_untrusted(body).kind == "init"


def test_what_is_meant_as_xml() -> None:
    assert recognise_xml(b" \n<config-auth/>")
    assert not recognise_xml(b"username=a&password=%3C")
    assert not recognise_xml(b"")


def test_elements_know_their_lines_and_refusals_name_them() -> None:
    root = parse_tree_untrusted(b"<a>\n<b/>\n  <c>\n</c></a>")
    assert [root.line, *(child.line for child in root.children)] == [1, 2, 3]
    with pytest.raises(XmlError, match=r"declaration is refused, line 2"):
        parse_tree_untrusted(b"<?xml version='1.0'?>\n<!DOCTYPE a><a/>")
    with pytest.raises(XmlError, match=r"levels of elements, line 33"):
        parse_tree_untrusted(b"<a>\n" * 40)
