"""Manifest and `update.txt`: what we render is read again, and hostile ones are refused by name."""

import pytest

from asa_emu.wire.client_package import (
    NO_VERSION,
    ClientPackage,
    manifest,
    parse_manifest_untrusted,
    parse_update_untrusted,
    update_text,
    version_key,
)
from asa_emu.wire.errors import XmlError

PACKAGE = ClientPackage("/CACHE/stc/1", "binaries/client-4.10.07061.pkg", "4.10.07061", "linux-64")


def test_a_manifest_is_read_again() -> None:
    assert parse_manifest_untrusted(manifest(PACKAGE), PACKAGE.base) == PACKAGE
    assert PACKAGE.path == "/CACHE/stc/1/binaries/client-4.10.07061.pkg"
    assert parse_manifest_untrusted(manifest(None), "/1") is None


def test_update_text_has_the_version_with_commas() -> None:
    assert update_text(PACKAGE) == b"4,10,07061\n"
    assert parse_update_untrusted(b"4,10,07061\n") == "4.10.07061"
    assert update_text(None) == f"{NO_VERSION}\n".encode()
    assert parse_update_untrusted(update_text(None)) == "0.0.0000"


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"4", b"4,10\x00", b"\xff" * 100, b"9" * 70000])
def test_no_version_is_read_from_anything_else(body: bytes) -> None:
    assert parse_update_untrusted(body) is None


def test_versions_compare_by_numbers() -> None:
    ordered = ["no version", "0.0.0000", "3.1.05170", "4.9.04053", "4.10.07061", "4.10.07062"]
    assert sorted(ordered, key=version_key) == ordered
    assert version_key("4,10,07061") == version_key("4.10.7061")


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/passwd",
        "https://elsewhere/x",
        "//elsewhere/x",
        "../x",
        "binaries/../../x",
        "binaries/./x",
        "binaries/..",
        "a\\b",
        "a b",
        "a?b",
        "a#b",
        "a%2fb",
        "C:x",
        "é",
    ],
)
def test_a_file_outside_of_its_directory_is_refused(uri: str) -> None:
    body = f'<vpn><file version="4.10" is_core="yes"><uri>{uri}</uri></file></vpn>'.encode()
    with pytest.raises(XmlError, match="not below"):
        parse_manifest_untrusted(body, "/1")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html/>", b"<vpn", b'<vpn><file is_core="yes" version="x"><uri>a</uri></file></vpn>'],
)
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(XmlError):
        parse_manifest_untrusted(body, "/1")


def test_files_beside_the_core_are_passed_over() -> None:
    body = b'<vpn><file type="profile" version="x"><uri>/p.xml</uri></file><file is_core="yes"/></vpn>'
    assert parse_manifest_untrusted(body, "/1") is None
