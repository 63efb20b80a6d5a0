"""The documents of a login ("aggregate authentication"), both ways and for both ends.

A login is a short exchange over HTTPS (docs/protocol.md §1 holds what was seen on the wire):

    client  init ----------------------------------->  server
    client  <-------------------- auth-request (form)  server
    client  auth-reply ----------------------------->  server     as many rounds as the server likes
    client  <----------------------- complete (token)  server
    client  logout --------------------------------->  server     genuine clients only, much later

What clients say stands in `auth_from_client`, what servers say in `auth_from_server`, each with its renderer
and its parser; the form they talk about in `auth_form`. This module is the one door to the three. Nothing
behind it keeps state, decides who may log in, or follows anything a document says, and no repr shows a
password or a token.
"""

from asa_emu.wire.auth_form import AuthForm, FormField, GroupOption, Opaque, Profile
from asa_emu.wire.auth_from_client import (
    ClientDocument,
    auth_reply,
    init,
    legacy_reply,
    logout,
    parse_client_document_untrusted,
    parse_legacy_reply_untrusted,
)
from asa_emu.wire.auth_from_server import (
    CERTIFICATE_FAILURE,
    HostScan,
    ServerDocument,
    auth_complete,
    auth_request,
    client_cert_request,
    legacy_form,
    legacy_success,
    parse_server_document_untrusted,
)
from asa_emu.wire.xml_tree import recognise_xml

__all__ = [
    "CERTIFICATE_FAILURE",
    "AuthForm",
    "ClientDocument",
    "FormField",
    "GroupOption",
    "HostScan",
    "Opaque",
    "Profile",
    "ServerDocument",
    "auth_complete",
    "auth_reply",
    "auth_request",
    "client_cert_request",
    "init",
    "legacy_form",
    "legacy_reply",
    "legacy_success",
    "logout",
    "parse_client_document_untrusted",
    "parse_legacy_reply_untrusted",
    "parse_server_document_untrusted",
    "recognise_xml",
]
