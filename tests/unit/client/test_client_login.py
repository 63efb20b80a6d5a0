"""The authentication conversation: what is asked, what is answered, what is refused."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asa_emu.wire.auth_xml import (
    AuthForm,
    FormField,
    GroupOption,
    Opaque,
    auth_complete,
    auth_request,
    client_cert_request,
    legacy_form,
    legacy_success,
    parse_client_document_untrusted,
    parse_legacy_reply_untrusted,
)
from client_emu.gateway import Gateway, parse_gateway
from client_emu.login import Ask, LoggedIn, Login, LoginRefused, Step
from client_emu.options import ClientOptions
from client_emu.request import Request, Response

USER = FormField("username", "Username:")
PASSWORD = FormField("password", "Password:", "password")
FORM = AuthForm(fields=(USER, PASSWORD))
GROUPS = (GroupOption("Staff", "staff-value", selected=True), GroupOption("Guests", "guests-value"))


def login(**changes: Any) -> Login:
    options = ClientOptions(parse_gateway("192.0.2.1"), user="walter", password="secret")
    return Login(replace(options, **changes), options.gateway)


def ok(body: bytes, *cookies: str) -> Response:
    return Response(200, "OK", tuple(("Set-Cookie", cookie) for cookie in cookies), body)


def said(step: Step) -> Any:
    assert isinstance(step, Request), step
    return parse_client_document_untrusted(step.body)


def refused(step: Step) -> str:
    assert isinstance(step, LoginRefused), step
    return step.reason


def test_user_and_password_in_one_form() -> None:
    conversation = login()
    first = conversation.begin()
    assert isinstance(first, Request)
    assert (first.method, first.path) == ("POST", "/")
    assert ("X-Aggregate-Auth", "1") in first.headers
    assert said(first).kind == "init"
    assert said(first).group_access == "https://192.0.2.1/"
    second = conversation.on_response(
        ok(auth_request(FORM, opaque=Opaque("handle-7")), "webvpncontext=abc; Secure")
    )
    assert said(second).fields == {"username": "walter", "password": "secret"}
    assert said(second).opaque_handle == "handle-7"
    assert isinstance(second, Request)
    assert ("Cookie", "webvpncontext=abc") in second.headers
    done = conversation.on_response(ok(auth_complete("tok-1", banner="Be good")))
    assert done == LoggedIn(Gateway("192.0.2.1"), "tok-1", "Be good")
    assert "tok-1" not in repr(done)


def test_ocserv_asks_in_two_forms_and_gives_the_token_as_a_cookie() -> None:
    conversation = login()
    conversation.begin()
    assert said(conversation.on_response(ok(auth_request(AuthForm(fields=(USER,)))))).fields == {
        "username": "walter"
    }
    second = conversation.on_response(ok(auth_request(AuthForm(fields=(PASSWORD,)))))
    assert said(second).fields == {"password": "secret"}
    done = conversation.on_response(
        ok(auth_complete("").replace(b"<session-token></session-token>", b""), "webvpn=AB=")
    )
    assert isinstance(done, LoggedIn)
    assert done.token == "AB="


def test_password_is_sent_once() -> None:
    conversation = login()
    conversation.begin()
    conversation.on_response(ok(auth_request(FORM)))
    again = conversation.on_response(ok(auth_request(replace(FORM, error="Login failed."))))
    assert isinstance(again, Ask)
    assert again.refusal == "login refused: Login failed."
    assert again.secret
    retry = conversation.on_answer("better")
    assert said(retry).fields == {"username": "walter", "password": "better"}


def test_ocserv_says_failure_in_the_message() -> None:
    conversation = login(second_password="123456")
    conversation.begin()
    conversation.on_response(ok(auth_request(FORM)))
    form = AuthForm(message="Login failed.\nPlease enter your password.", fields=(PASSWORD,))
    again = conversation.on_response(ok(auth_request(form)))
    assert isinstance(again, Ask)
    assert again.refusal == "login refused: Login failed. Please enter your password."


@pytest.mark.parametrize(
    "form",
    [
        AuthForm(auth_id="challenge", fields=(FormField("answer", "Code:", "password"),)),
        AuthForm(fields=(FormField("secondary_password", "Password2:", "password"),)),
        AuthForm(message="Please enter your OTP password.", fields=(PASSWORD,)),
    ],
    ids=["challenge", "secondary", "ocserv-otp"],
)
def test_second_factor_is_a_round_of_its_own(form: AuthForm) -> None:
    conversation = login(second_password="123456")
    conversation.begin()
    conversation.on_response(ok(auth_request(FORM)))
    assert "123456" in said(conversation.on_response(ok(auth_request(form)))).fields.values()
    without = login()
    without.begin()
    without.on_response(ok(auth_request(FORM)))
    asked = without.on_response(ok(auth_request(form)))
    assert isinstance(asked, Ask)
    assert "--second-password was not given" in asked.refusal


def test_second_password_in_the_same_form() -> None:
    conversation = login(second_password="two")
    conversation.begin()
    second = FormField("secondary_password", "Second:", "password")
    step = conversation.on_response(ok(auth_request(replace(FORM, fields=(USER, PASSWORD, second)))))
    assert said(step).fields == {"username": "walter", "password": "secret", "secondary_password": "two"}


def test_missing_answers_name_the_option() -> None:
    conversation = login(user=None)
    conversation.begin()
    asked = conversation.on_response(ok(auth_request(FORM)))
    assert isinstance(asked, Ask)
    assert asked.refusal == "the headend asks for 'Username:', and --user was not given"
    asked = conversation.on_answer("anna")
    assert said(asked).fields == {"username": "anna", "password": "secret"}


def test_hidden_inputs_and_selects_go_back() -> None:
    conversation = login()
    conversation.begin()
    hidden = FormField("state", type="hidden", value="42")
    domain = FormField("domain", type="select", options=(GroupOption("A", "a"), GroupOption("B", "b", True)))
    step = conversation.on_response(ok(auth_request(replace(FORM, fields=(hidden, domain, PASSWORD)))))
    assert said(step).fields == {"state": "42", "domain": "b", "password": "secret"}


@pytest.mark.parametrize("wanted", ["Guests", "guests-value"])
def test_another_group_is_asked_for_before_its_form_is_filled(wanted: str) -> None:
    conversation = login(group=wanted)
    assert said(conversation.begin()).group_select is None
    form = replace(FORM, groups=GROUPS, action="/+webvpn+/index.html")
    step = conversation.on_response(ok(auth_request(form)))
    assert said(step).kind == "init"
    assert said(step).group_select == "guests-value"
    # a headend that does not move its preselection is told again with the answers, once
    step = conversation.on_response(ok(auth_request(form)))
    assert said(step).kind == "auth-reply"
    assert said(step).group_select == "guests-value"
    assert isinstance(step, Request)
    assert step.path == "/+webvpn+/index.html"


def test_preselected_group_needs_no_round() -> None:
    conversation = login(group="Staff")
    conversation.begin()
    step = conversation.on_response(ok(auth_request(replace(FORM, groups=GROUPS))))
    assert (said(step).kind, said(step).group_select) == ("auth-reply", "staff-value")


def test_unknown_group_is_refused_with_what_there_is() -> None:
    conversation = login(group="admins")
    conversation.begin()
    reason = refused(conversation.on_response(ok(auth_request(replace(FORM, groups=GROUPS)))))
    assert reason == "no group 'admins' here; the headend offers Staff, Guests"


def test_certificate_is_offered_on_a_fresh_connection_then_given_up() -> None:
    conversation = login(certificate=Path("walter.pem"), group="certs")
    assert said(conversation.begin()).group_select == "certs"
    step = conversation.on_response(ok(client_cert_request()))
    assert isinstance(step, Request)
    assert step.fresh
    assert not said(step).client_cert_fail
    assert said(conversation.on_response(ok(client_cert_request()))).client_cert_fail
    conversation.on_response(ok(client_cert_request()))
    assert "keeps asking" in refused(conversation.on_response(ok(client_cert_request())))


def test_without_a_certificate_the_headend_is_told_so() -> None:
    conversation = login()
    conversation.begin()
    assert said(conversation.on_response(ok(client_cert_request()))).client_cert_fail


def test_certificate_alone_completes_at_once() -> None:
    conversation = login(certificate=Path("walter.pem"))
    conversation.begin()
    assert isinstance(conversation.on_response(ok(auth_complete("tok"))), LoggedIn)


def test_old_form_login() -> None:
    conversation = login(xml_post=False, group="Guests")
    first = conversation.begin()
    assert isinstance(first, Request)
    assert (first.method, first.path, first.body) == ("GET", "/", b"")
    assert "X-Aggregate-Auth" not in dict(first.headers)
    step = conversation.on_response(
        ok(legacy_form(replace(FORM, groups=GROUPS, action="/+webvpn+/index.html")))
    )
    assert isinstance(step, Request)
    assert step.path == "/+webvpn+/index.html"
    answers = parse_legacy_reply_untrusted(step.body)
    assert answers == {"username": "walter", "password": "secret", "group_list": "guests-value"}
    done = conversation.on_response(ok(legacy_success("hello"), "webvpn=TOK"))
    assert done == LoggedIn(Gateway("192.0.2.1"), "TOK", "hello")


@pytest.mark.parametrize(
    "answer",
    [
        Response(404),
        Response(401),
        Response(500),
        ok(b""),
        ok(b"<html><p></html>"),
        ok(b"hello"),
        ok(b"<html/>"),
    ],
    ids=["404", "401", "500", "empty", "bad-xml", "text", "html"],
)
def test_headend_without_xml_is_asked_for_its_form_once(answer: Response) -> None:
    conversation = login()
    conversation.begin()
    step = conversation.on_response(answer)
    assert isinstance(step, Request)
    assert step.method == "GET"
    assert isinstance(conversation.on_response(answer), LoginRefused)


def test_answers_that_end_the_login() -> None:
    conversation = login()
    conversation.begin()
    assert (
        refused(conversation.on_response(Response(403, "Forbidden"))) == "the headend answered 403 Forbidden"
    )
    conversation = login()
    conversation.begin()
    conversation.on_response(ok(auth_request(FORM)))
    assert refused(conversation.on_response(Response(401, "Bad\x1bluck"))) == "login refused: Bad.luck"
    with pytest.raises(RuntimeError, match="over"):
        conversation.on_response(Response(200))


def test_redirect_to_a_member_of_the_cluster_starts_over_there() -> None:
    conversation = login()
    conversation.begin()
    there = Response(302, headers=(("Location", "https://192.0.2.9:8443/group"), ("Set-Cookie", "a=b")))
    step = conversation.on_response(there)
    assert isinstance(step, Request)
    assert step.gateway == Gateway("192.0.2.9", 8443, "/group")
    assert ("Host", "192.0.2.9:8443") in step.headers
    assert "Cookie" not in dict(step.headers)
    assert said(step).kind == "init"


def test_redirect_within_the_headend_means_the_old_form() -> None:
    conversation = login()
    conversation.begin()
    step = conversation.on_response(Response(302, headers=(("Location", "/+webvpn+/index.html"),)))
    assert isinstance(step, Request)
    assert (step.method, step.path) == ("GET", "/+webvpn+/index.html")


@pytest.mark.parametrize("target", ["http://192.0.2.9/", "ftp://x/", "https://a b/", "//\x00"])
def test_redirects_to_elsewhere_are_refused(target: str) -> None:
    conversation = login()
    conversation.begin()
    assert "no https address" in refused(
        conversation.on_response(Response(302, headers=(("Location", target),)))
    )


def test_endless_redirects_and_rounds_end() -> None:
    conversation = login()
    conversation.begin()
    for number in range(3):
        step = conversation.on_response(
            Response(302, headers=(("Location", f"https://192.0.2.{number + 2}/"),))
        )
        assert isinstance(step, Request)
    assert (
        refused(conversation.on_response(Response(302, headers=(("Location", "https://x/"),))))
        == "more than 3 redirects"
    )
    conversation = login(password=None, user=None)
    step = conversation.begin()
    form = auth_request(AuthForm(fields=(FormField("state", type="hidden", value="1"),)))
    for _ in range(100):
        step = conversation.on_response(ok(form))
        if not isinstance(step, Request):
            break
    assert refused(step) == "the headend asked for more than 20 rounds"


def test_what_this_client_cannot_do_is_said() -> None:
    conversation = login()
    conversation.begin()
    sso = (
        b'<config-auth><auth id="main"><sso-v2-login>https://x</sso-v2-login>'
        b'<form><input type="sso" name="t"/></form></auth></config-auth>'
    )
    assert "single sign-on" in refused(conversation.on_response(ok(sso)))
    conversation = login()
    conversation.begin()
    empty = b"<config-auth><auth id='main'><error>Go away</error><form/></auth></config-auth>"
    assert refused(conversation.on_response(ok(empty))) == "Go away"


@pytest.mark.parametrize("token", ["", "two words", "a;b", "x\r\nSet-Cookie: y", "x" * 5000, "ü"])
def test_tokens_that_no_cookie_can_hold_are_refused(token: str) -> None:
    conversation = login()
    conversation.begin()
    assert "no usable session token" in refused(conversation.on_response(ok(auth_complete(token))))


def test_cookies_are_bounded_deleted_and_never_hurt() -> None:
    conversation = login()
    conversation.begin()
    many = [f"c{number}=x" for number in range(100)]
    step = conversation.on_response(ok(auth_request(FORM), *many, "c1=", "bad name=1", "=", "d=\r\nX: 1"))
    assert isinstance(step, Request)
    cookie = dict(step.headers)["Cookie"]
    assert len(cookie.split("; ")) == 31
    assert "c1=" not in cookie.split("; ")
    assert re.fullmatch(r"[!-~ ]+", cookie)


def test_form_is_posted_to_the_same_headend_whatever_its_action() -> None:
    conversation = login()
    conversation.begin()
    step = conversation.on_response(ok(auth_request(replace(FORM, action="https://evil.example/steal"))))
    assert isinstance(step, Request)
    assert step.gateway.host == "192.0.2.1"
    assert step.path == "/steal"


def test_no_secret_in_any_repr() -> None:
    conversation = login(second_password="zweites", token="tok-en")
    conversation.begin()
    step = conversation.on_response(ok(auth_request(FORM)))
    options = ClientOptions(parse_gateway("x"), password="secret", second_password="zweites", token="tok-en")
    for text in (repr(step), repr(conversation), repr(options)):
        assert not any(secret in text for secret in ("secret", "zweites", "tok-en"))
