"""`anyconnect image` and `hostscan`: what the portal and the login make of them."""

import pytest

from asa_emu.config import ClientImage, ConfigError, parse_config

IMAGES = """\
webvpn
 anyconnect image disk0:/anyconnect-macos-4.10.pkg 2 regex "Intel Mac OS X"
 anyconnect image disk0:/sub/anyconnect-win-4.10.07061-webdeploy-k9.pkg 1
 anyconnect image flash:latest.pkg 3
"""


def test_images_stand_in_their_order_with_expression_and_version() -> None:
    webvpn = parse_config(IMAGES).webvpn
    assert webvpn.client_images == (
        ClientImage("disk0:/sub/anyconnect-win-4.10.07061-webdeploy-k9.pkg", 1),
        ClientImage("disk0:/anyconnect-macos-4.10.pkg", 2, "Intel Mac OS X"),
        ClientImage("flash:latest.pkg", 3),
    )
    assert webvpn.images == tuple(image.file for image in webvpn.client_images)
    assert [image.version for image in webvpn.client_images] == ["4.10.07061", "4.10", None]
    assert [image.name for image in webvpn.client_images] == [
        "anyconnect-win-4.10.07061-webdeploy-k9.pkg",
        "anyconnect-macos-4.10.pkg",
        "latest.pkg",
    ]


def test_a_bad_expression_names_its_line() -> None:
    with pytest.raises(ConfigError, match=r"c:2: .*bad regular expression '\['"):
        parse_config("webvpn\n anyconnect image disk0:/a-1.2.pkg 1 regex [\n", "c")


@pytest.mark.parametrize("line", ["hostscan enable", "!emu hostscan enable", "csd enable"])
def test_host_scan_is_off_until_enabled(line: str) -> None:
    assert not parse_config("webvpn\n").webvpn.host_scan
    assert parse_config(f"webvpn\n {line}\n").webvpn.host_scan


def test_a_connection_profile_goes_without_host_scan() -> None:
    text = "tunnel-group A type remote-access\ntunnel-group A webvpn-attributes\n without-csd anyconnect\n"
    groups = parse_config(text).tunnel_groups
    assert groups["A"].without_host_scan
    assert not groups["DefaultWEBVPNGroup"].without_host_scan
