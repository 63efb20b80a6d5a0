"""What clients say in a login: real documents are understood, and ours say what was meant."""

import functools

import pytest

from asa_emu.wire.auth_xml import (
    auth_reply,
    init,
    legacy_reply,
    logout,
    parse_client_document_untrusted,
    parse_legacy_reply_untrusted,
)
from asa_emu.wire.errors import XmlError
from asa_emu.wire.xml_tree import parse_tree_untrusted

opening = functools.partial(init, version="v9.01-3", device_id="linux-64")
answer = functools.partial(auth_reply, version="v9.01-3", device_id="linux-64")

OPENCONNECT_INIT = b"""<?xml version="1.0" encoding="UTF-8"?>
<config-auth client="vpn" type="init" aggregate-auth-version="2"><version who="vpn">v9.01-3</version>
<device-id>linux-64</device-id><capabilities><auth-method>single-sign-on-v2</auth-method>
<auth-method>single-sign-on-external-browser</auth-method></capabilities>
<group-access>https://127.0.0.1:4443/staff</group-access></config-auth>
"""


def reply(inside: str, kind: str = "auth-reply") -> bytes:
    """A client's document around something."""
    return f'<config-auth client="vpn" type="{kind}">{inside}</config-auth>'.encode()


def test_init_of_openconnect() -> None:
    document = parse_client_document_untrusted(OPENCONNECT_INIT)
    assert document.kind == "init"
    assert document.version == "v9.01-3"
    assert document.device_id == "linux-64"
    assert document.capabilities == {"single-sign-on-v2", "single-sign-on-external-browser"}
    assert document.group_access == "https://127.0.0.1:4443/staff"
    assert document.group_select is None
    assert not document.client_cert_fail
    assert document.fields == {}


def test_init_of_a_genuine_client_carries_its_device() -> None:
    document = parse_client_document_untrusted(
        reply(
            '<version who="vpn">4.10.01075</version>'
            '<device-id computer-name="PC" device-type="VMware" platform-version="10.0" unique-id="AA">win'
            "</device-id><mac-address-list>"
            '<mac-address public-interface="true">00-11-22-33-44-55</mac-address>'
            "<mac-address>66-77-88-99-aa-bb</mac-address></mac-address-list>"
            "<group-select>Staff</group-select>",
            "init",
        )
    )
    assert document.device_id == "win"
    assert document.device_attributes["computer-name"] == "PC"
    assert document.mac_addresses == ("00-11-22-33-44-55", "66-77-88-99-aa-bb")
    assert document.group_select == "Staff"


def test_init_round_trip() -> None:
    body = opening(
        "https://vpn.example.test/a?b=1&c=2",
        device_attributes={"unique-id": 'a"b'},
        group_select="Kölsch & Co",
        client_cert_fail=True,
        capabilities=["multiple-cert"],
        mac_addresses=["00-11-22-33-44-55"],
    )
    document = parse_client_document_untrusted(body)
    assert document.kind == "init"
    assert document.group_access == "https://vpn.example.test/a?b=1&c=2"
    assert document.group_select == "Kölsch & Co"
    assert document.client_cert_fail
    assert document.capabilities == {"multiple-cert"}
    assert document.device_attributes == {"unique-id": 'a"b'}
    assert document.mac_addresses == ("00-11-22-33-44-55",)


def test_init_has_the_children_in_the_order_of_openconnect() -> None:
    body = opening("https://h/", group_select="g", client_cert_fail=True, capabilities=["x"])
    children = [child.tag for child in parse_tree_untrusted(body).children]
    assert children == [
        "version",
        "device-id",
        "capabilities",
        "group-access",
        "client-cert-fail",
        "group-select",
    ]


@pytest.mark.parametrize(
    "password",
    [
        "secret",
        "  blanks  inside\tand around ",
        "pässwörd ☃ 𝄞",
        "<&>\"'%s",
        "line\r\nline\rline\n",
        "]]>",
        "",
        " ",
    ],
)
def test_password_round_trip(password: str) -> None:
    body = answer({"username": "walter", "password": password})
    assert parse_client_document_untrusted(body).fields == {"username": "walter", "password": password}
    assert parse_legacy_reply_untrusted(legacy_reply({"password": password})) == {"password": password}


@pytest.mark.parametrize("name", ["answer", "whichpin", "new_password"])
def test_some_inputs_are_answered_as_password(name: str) -> None:
    assert parse_client_document_untrusted(answer({name: "123456"})).fields == {"password": "123456"}


def test_verification_inputs_and_the_group_list_stay_home() -> None:
    answers = {"username": "w", "verify_pin": "1", "verify_password": "2", "group_list": "staff", "csrf": "x"}
    document = parse_client_document_untrusted(answer(answers, group_select="staff"))
    assert document.fields == {"username": "w", "csrf": "x"}
    assert document.group_select == "staff"


def test_group_select_stands_beside_auth_and_answers_keep_the_order_of_the_form() -> None:
    root = parse_tree_untrusted(
        answer([("username", "w"), ("password", "p"), ("secondary_password", "q")], group_select="g")
    )
    assert [child.tag for child in root.children] == ["version", "device-id", "auth", "group-select"]
    assert [c.tag for c in root.children[2].children] == ["username", "password", "secondary_password"]


def test_first_of_two_answers_with_one_name_counts() -> None:
    body = reply("<auth><password>one</password><password>two</password></auth>")
    assert parse_client_document_untrusted(body).fields == {"password": "one"}


def test_logout_carries_the_token_and_hides_it() -> None:
    document = parse_client_document_untrusted(logout("t0ken@1@2", version="v9", device_id="win"))
    assert document.kind == "logout"
    assert document.session_token == "t0ken@1@2"
    assert "t0ken" not in repr(document)


def test_repr_shows_no_secret_of_a_client() -> None:
    body = answer(
        {"username": "walter", "password": "s3cret"},
        opaque_xml=b"<opaque><aggauth-handle>s3cret</aggauth-handle></opaque>",
        host_scan_token="s3cret",
    )
    document = parse_client_document_untrusted(body)
    assert document.host_scan_token == "s3cret"
    assert "s3cret" not in repr(document)
    assert "s3cret" not in repr(parse_tree_untrusted(body))


def test_client_refuses_to_change_what_xml_cannot_carry() -> None:
    with pytest.raises(ValueError, match="cannot carry"):
        answer({"password": "bell\a"})
    with pytest.raises(ValueError, match="cannot carry"):
        answer({"password": "half a pair \ud800"})
    with pytest.raises(ValueError, match="cannot be the name"):
        answer({"a><b": "x"})


def test_errors_do_not_quote_the_document() -> None:
    with pytest.raises(XmlError) as caught:
        parse_client_document_untrusted(reply("<auth><password>s3cret</pass></auth>"))
    assert "s3cret" not in str(caught.value)


def test_legacy_reply_of_openconnect_and_of_a_browser() -> None:
    assert parse_legacy_reply_untrusted(b"username=alice&password=a%20b%2B%26%c3%a9") == {
        "username": "alice",
        "password": "a b+&é",
    }
    assert parse_legacy_reply_untrusted(b"username=a+b&password=&group%5flist=Staff") == {
        "username": "a b",
        "password": "",
        "group_list": "Staff",
    }


def test_legacy_reply_keeps_names_and_adds_the_group() -> None:
    body = legacy_reply({"answer": "1 2", "group_list": "old"}, group_select="new & old")
    assert body == b"answer=1%202&group_list=new%20%26%20old"
    assert parse_legacy_reply_untrusted(body) == {"answer": "1 2", "group_list": "new & old"}


@pytest.mark.parametrize("body", [b"\xff\xfe=1", b"password=%ff", b"&".join(b"a=1" for _ in range(65))])
def test_hostile_legacy_replies(body: bytes) -> None:
    with pytest.raises(XmlError, match="form-urlencoded"):
        parse_legacy_reply_untrusted(body)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"<auth/>", "not config-auth"),
        (reply("", "strange"), "unknown type"),
        (b"<config-auth/>", "unknown type"),
        (reply("<auth/><auth/>"), "more than one auth"),
        (reply("<opaque/><opaque/>"), "more than one opaque"),
        (reply("<group-select/><group-select/>"), "more than one group-select"),
    ],
)
def test_hostile_client_documents(body: bytes, complaint: str) -> None:
    with pytest.raises(XmlError, match=complaint):
        parse_client_document_untrusted(body)
