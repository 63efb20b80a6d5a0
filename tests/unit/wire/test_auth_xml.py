"""A login as a conversation: what one end renders the other reads, forms, groups and opaque included."""

import functools

from asa_emu.wire.auth_xml import (
    AuthForm,
    FormField,
    GroupOption,
    Opaque,
    auth_reply,
    auth_request,
    legacy_form,
    parse_client_document_untrusted,
    parse_server_document_untrusted,
)

answer = functools.partial(auth_reply, version="v9.01-3", device_id="linux-64")

LOGIN_FORM = AuthForm(
    title="Login",
    message="Please enter your username and password.",
    fields=(FormField("username", "Username:"), FormField("password", "Password:", "password")),
    groups=(GroupOption("Staff", "staff", selected=True), GroupOption("Guests", "Guests")),
)
OPAQUE = Opaque("h4ndle", tunnel_group="Staff", group_alias="Staff", config_hash="1700000000000")


def request(inside: str) -> bytes:
    """An auth-request around something."""
    return f'<config-auth client="vpn" type="auth-request">{inside}</config-auth>'.encode()


def test_form_round_trip() -> None:
    document = parse_server_document_untrusted(auth_request(LOGIN_FORM, opaque=OPAQUE))
    assert document.kind == "auth-request"
    assert document.form == LOGIN_FORM
    assert document.opaque_xml is not None
    assert b"<aggauth-handle>h4ndle</aggauth-handle>" in document.opaque_xml
    assert document.unsupported is None
    assert "h4ndle" not in repr(document)
    assert "h4ndle" not in repr(OPAQUE)


def test_form_with_everything_round_trip() -> None:
    form = AuthForm(
        auth_id="challenge",
        title='<b>"T"</b>',
        message="Enter\nyour code & be quick",
        banner="  inner  blanks".strip(),
        error="Login failed.",
        fields=(
            FormField("csrf", type="hidden", value="a'b\"c\n"),
            FormField("empty", type="hidden"),
            FormField("username", "Name:", value="walter"),
            FormField("secondary_password", "2nd:", "password", second_auth=True),
            FormField(
                "colour", "Colour:", "select", options=(GroupOption("Red", "r"), GroupOption("b", "b"))
            ),
        ),
        groups=(GroupOption("A", "a", second_auth=True), GroupOption("B", "B", selected=True, no_aaa=True)),
        action="/+webvpn+/index.html?x=1&y=2",
        group_label="TUNNEL:",
    )
    assert parse_server_document_untrusted(auth_request(form)).form == form
    assert parse_server_document_untrusted(legacy_form(form)).form == form


def test_opaque_comes_back_byte_for_byte_and_names_the_transaction() -> None:
    opaque = (
        "<opaque is-for=\"sg\"  x='&quot;>'><tunnel-group>Söme &amp; more</tunnel-group>\r\n"
        "<aggauth-handle> 168179266 </aggauth-handle><!-- kept --><empty/></opaque>"
    ).encode()
    body = b'<config-auth type="auth-request">' + opaque + b'<auth id="main"><form/></auth></config-auth>'
    document = parse_server_document_untrusted(body)
    assert document.opaque_xml == opaque
    sent = answer({"username": "w"}, opaque_xml=document.opaque_xml)
    assert opaque in sent
    assert parse_client_document_untrusted(sent).opaque_handle == "168179266"


def test_ocserv_asks_in_two_steps() -> None:
    """ocserv 1.1.6: a form for the name at `/auth`, then one for the password, without opaque or version."""
    first = parse_server_document_untrusted(
        b'<?xml version="1.0" encoding="UTF-8"?>\n<config-auth client="vpn" type="auth-request">\n'
        b'<version who="sg">0.1(1)</version>\n<auth id="main">\n'
        b"<message>Please enter your username.</message>\n"
        b'<form method="post" action="/auth">\n<input type="text" name="username" label="Username:" />\n'
        b"</form></auth>\n</config-auth>"
    )
    assert first.form is not None
    assert first.form.action == "/auth"
    assert [f.name for f in first.form.fields] == ["username"]
    assert first.opaque_xml is None
    sent = answer({"username": "alice"})
    assert b"<auth><username>alice</username></auth>" in sent
    second = parse_server_document_untrusted(
        request(
            '<auth id="main"><message>Login failed.\nPlease enter your password.</message>'
            '<form method="post" action="/auth">'
            '<input type="password" name="password" label="Password:" /></form></auth>'
        )
    )
    assert second.form is not None
    assert [(f.name, f.type, f.label) for f in second.form.fields] == [("password", "password", "Password:")]
    assert second.message == "Login failed.\nPlease enter your password."


def test_a_group_decides_which_inputs_are_asked() -> None:
    form = AuthForm(
        fields=(
            FormField("username"),
            FormField("password", type="password"),
            FormField("secondary_password", type="password", second_auth=True),
            FormField("csrf", type="hidden", value="1"),
        ),
    )

    def asked(group: GroupOption | None) -> list[str]:
        return [f.name for f in form.fields_for(group)]

    assert asked(None) == ["username", "password", "csrf"]
    assert asked(GroupOption("g", "g", second_auth=True)) == [f.name for f in form.fields]
    assert asked(GroupOption("g", "g", no_aaa=True)) == ["csrf"]


def test_group_list_of_a_genuine_headend() -> None:
    """An option's value is its attribute, else its text; the label is what the user sees."""
    document = parse_server_document_untrusted(
        request(
            '<auth id="main"><form><select name="group_list" label="GROUP:">'
            '<option>First</option><option selected="true" value="b">Second</option>'
            '<option noaaa="1" second-auth="1" auth-type="x" override-name="y">Third one</option></select>'
            "</form></auth>"
        )
    )
    form = document.form
    assert form is not None
    assert form.groups == (
        GroupOption("First", "First"),
        GroupOption("Second", "b", selected=True),
        GroupOption("Third one", "Third one", second_auth=True, no_aaa=True),
    )
    assert form.selected_group() == form.groups[1]
    assert form.find_group("b") == form.groups[1]
    assert form.find_group("Thi") == form.groups[2]
    assert form.find_group("") is None
    assert form.find_group("Fourth") is None
    assert AuthForm(groups=form.groups[:1]).selected_group() == form.groups[0]
    assert AuthForm().selected_group() is None


def test_authentication_complete_wants_an_empty_reply() -> None:
    document = parse_server_document_untrusted(
        request('<auth id="main"><message>ok</message><authentication-complete/></auth>')
    )
    assert document.authentication_complete
    assert document.form is not None
    assert document.form.fields == ()
    assert b"<auth/>" in answer({})
