"""What servers say in a login: ours, those of a genuine headend and of ocserv, and hostile ones."""

import pytest

from asa_emu.wire.auth_xml import (
    AuthForm,
    FormField,
    HostScan,
    Opaque,
    Profile,
    auth_complete,
    auth_request,
    client_cert_request,
    legacy_success,
    parse_server_document_untrusted,
)
from asa_emu.wire.client_package import ClientPackage
from asa_emu.wire.errors import XmlError

OPAQUE = Opaque("h4ndle", tunnel_group="Staff", group_alias="Staff")
LOGIN_FIELDS = (FormField("username", "Username:"), FormField("password", "Password:", "password"))


def request(inside: str) -> bytes:
    """An auth-request around something."""
    return f'<config-auth client="vpn" type="auth-request">{inside}</config-auth>'.encode()


@pytest.mark.parametrize("opaque", [b'<opaque a="/"/>', b'<opaque a="/"></opaque >', b"<opaque>/></opaque>"])
def test_opaque_without_children_comes_back_too(opaque: bytes) -> None:
    body = b'<config-auth><auth id="main"><form/></auth>' + opaque + b"<x></x></config-auth>"
    assert parse_server_document_untrusted(body).opaque_xml == opaque


def test_failure_is_the_same_form_with_an_error() -> None:
    body = auth_request(AuthForm(error="Login failed.", fields=LOGIN_FIELDS))
    assert b'<error id="88" param1="" param2="">Login failed.</error>' in body
    document = parse_server_document_untrusted(body)
    assert document.error == "Login failed."
    assert document.form is not None
    assert document.form.fields == LOGIN_FIELDS


def test_server_replaces_what_xml_cannot_carry() -> None:
    form = AuthForm(message="a\x00b\x1b[31m\ud800", fields=(FormField("username", "x\x01"),))
    document = parse_server_document_untrusted(auth_request(form))
    assert document.message == "a\ufffdb\ufffd[31m\ufffd"


def test_form_without_texts_has_no_empty_elements() -> None:
    assert b"<message>" not in auth_request(AuthForm())
    assert b"<banner>" not in auth_request(AuthForm())


def test_end_of_a_login_at_ocserv_has_no_token() -> None:
    document = parse_server_document_untrusted(
        b'<config-auth client="vpn" type="complete"><version who="sg">0.1(1)</version>'
        b'<auth id="success"><title>SSL VPN Service</title><banner>Lab banner</banner></auth></config-auth>'
    )
    assert document.kind == "complete"
    assert document.session_token is None
    assert document.banner == "Lab banner"


def test_complete_round_trip() -> None:
    body = auth_complete(
        "tok@123",
        session_id="4096",
        banner="Welcome <you> & co",
        cert_sha1="AB" * 20,
        profile=Profile("/profile.xml", "cd" * 20),
    )
    document = parse_server_document_untrusted(body)
    assert document.kind == "complete"
    assert document.session_token == "tok@123"
    assert document.session_id == "4096"
    assert document.banner == "Welcome <you> & co"
    assert document.profile == Profile("/profile.xml", "cd" * 20)
    assert document.message == ""
    assert "tok@123" not in repr(document)
    assert parse_server_document_untrusted(auth_complete("t")).profile is None


def test_certificate_request_and_its_answers() -> None:
    document = parse_server_document_untrusted(client_cert_request(opaque=OPAQUE))
    assert document.client_cert_request
    assert document.form is None
    assert document.opaque_xml is not None
    accepted = parse_server_document_untrusted(request('<cert-authenticated/><auth id="main"><form/></auth>'))
    assert not accepted.client_cert_request


def test_legacy_documents_of_ocserv() -> None:
    document = parse_server_document_untrusted(
        b'<?xml version="1.0" encoding="UTF-8"?>\n<auth id="main">'
        b"<message>Please enter your username.</message>"
        b'<form method="post" action="/auth">'
        b'<input type="text" name="username" label="Username:" /></form></auth>'
    )
    assert document.kind == "auth-request"
    assert document.form is not None
    assert document.form.action == "/auth"
    done = parse_server_document_untrusted(legacy_success("Hello & welcome"))
    assert done.kind == "complete"
    assert done.banner == "Hello & welcome"


@pytest.mark.parametrize(
    ("attributes", "text", "shown"),
    [
        ('param1="Bob" param2="5"', "Hello %s, %s tries left", "Hello Bob, 5 tries left"),
        ('param1="Bob" param2="5"', "%s%s%s", "Bob5%s"),
        ('param1="%s" param2="x"', "%s %s", "%s x"),
        ("", "100 %s", "100 %s"),
        ('param1="" param2=""', "nothing %d here %", "nothing %d here %"),
    ],
)
def test_parameters_of_messages(attributes: str, text: str, shown: str) -> None:
    body = request(f'<auth id="main"><error id="1" {attributes}>{text}</error><form/></auth>')
    assert parse_server_document_untrusted(body).error == shown


def test_inputs_that_are_not_asked_are_skipped() -> None:
    document = parse_server_document_untrusted(
        request(
            '<auth id="main"><form method="POST"><input type="submit" name="Login" value="Login"/>'
            '<input type="reset" name="r"/><input name="typeless"/><input type="text"/>'
            '<input type="file" name="f"/>'
            '<note name="x"/><input type="text" name="username"/></form></auth>'
        )
    )
    assert document.form is not None
    assert [f.name for f in document.form.fields] == ["username"]
    assert document.form.action == "/"


def test_single_sign_on_is_named_as_the_obstacle() -> None:
    document = parse_server_document_untrusted(
        request(
            '<auth id="main"><title>Login</title><sso-v2-login>https://idp/x</sso-v2-login>'
            "<sso-v2-login-final>https://h/y</sso-v2-login-final>"
            '<form><input type="sso" name="sso-token"/></form></auth>'
        )
    )
    assert document.unsupported is not None
    assert "single sign-on" in document.unsupported


def test_two_certificates_are_named_as_the_obstacle() -> None:
    document = parse_server_document_untrusted(
        request(
            "<multiple-client-cert-request><hash-algorithm>sha256</hash-algorithm></multiple-client-cert-request>"
        )
    )
    assert document.unsupported is not None
    assert "two client certificates" in document.unsupported


def test_host_scan_is_recognised() -> None:
    document = parse_server_document_untrusted(
        request(
            "<host-scan><host-scan-ticket>tick3t</host-scan-ticket><host-scan-token>t0ken</host-scan-token>"
            "<host-scan-base-uri>/CACHE/sdesktop/install/binaries</host-scan-base-uri>"
            "<host-scan-wait-uri>/+CSCOE+/sdesktop/wait.html</host-scan-wait-uri></host-scan>"
        )
    )
    assert document.host_scan is not None
    assert document.host_scan.required
    assert document.host_scan.token == "t0ken"
    assert document.unsupported is None
    assert "t0ken" not in repr(document)
    assert "tick3t" not in repr(document)


def test_host_scan_without_a_token_cannot_be_answered() -> None:
    document = parse_server_document_untrusted(
        request(
            "<host-scan><host-scan-base-uri>/b</host-scan-base-uri>"
            "<host-scan-wait-uri>/w</host-scan-wait-uri></host-scan>"
        )
    )
    assert document.unsupported is not None
    assert "host scan" in document.unsupported


def test_a_rendered_host_scan_is_read_again() -> None:
    scan = HostScan("tick<3t", "t0ken", "/CACHE/sdesktop/data.xml", "/+CSCOE+/sdesktop/wait.html")
    form = AuthForm(fields=(FormField("username"),))
    document = parse_server_document_untrusted(auth_request(form, host_scan=scan))
    assert document.host_scan == scan
    assert document.form is not None
    assert [field.name for field in document.form.fields] == ["username"]


def test_the_end_of_a_login_names_the_client_software() -> None:
    package = ClientPackage("/CACHE/stc/1", "binaries/a-4.10.07061.pkg", "4.10.07061", "linux-64")
    body = auth_complete("t", package=package)
    assert b"<pkgversion>4,10,07061</pkgversion>" in body
    assert b'<file version="4.10.07061" id="VPNCore" is_core="yes"' in body
    assert parse_server_document_untrusted(body).package_base == "/CACHE/stc/1"
    assert parse_server_document_untrusted(auth_complete("t")).package_base is None


def test_legacy_host_scan_is_recognised() -> None:
    document = parse_server_document_untrusted(
        b'<auth id="main"><csd token="t" ticket="k"/>'
        b'<csdLinux stuburl="/s" starturl="/b" waiturl="/w"/></auth>'
    )
    assert document.host_scan is not None
    assert document.host_scan.required
    gentle = parse_server_document_untrusted(b'<auth id="main"><csd token="t" ticket="k"/><form/></auth>')
    assert gentle.host_scan is not None
    assert not gentle.host_scan.required
    assert gentle.unsupported is None


def test_error_of_a_server_that_has_no_form() -> None:
    document = parse_server_document_untrusted(request('<error id="13">VPN Server internal error.</error>'))
    assert document.error == "VPN Server internal error."
    assert document.form is None


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"<html><body>403</body></html>", "neither config-auth nor auth"),
        (b"<config-auth/>", "nothing that a client could act on"),
        (request('<auth id="main"><form method="get"/></auth>'), "not to be posted"),
        (request('<auth id="main"><form action=""/></auth>'), "without a target"),
        (
            request('<auth id="main"><form><input type="text" name="a b"/></form></auth>'),
            "cannot be sent back",
        ),
        (b"", "not an XML document"),
        (b'<!DOCTYPE x><auth id="main"/>', "document type"),
    ],
)
def test_hostile_server_documents(body: bytes, complaint: str) -> None:
    with pytest.raises(XmlError, match=complaint):
        parse_server_document_untrusted(body)
