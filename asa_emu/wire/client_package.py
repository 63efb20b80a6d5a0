"""What a headend says about the client software it has, and what a client reads of it.

After a login and before CONNECT a genuine client looks whether the headend has a newer client than itself
(S85): the end of the login names a directory, `update.txt` in it the version, `VPNManifest.xml` the file.
Both ends speak through here: `manifest` and `update_text` render, their `_untrusted` twins read. The shapes
are those of a public capture of an ASA's answers. Fetching and judging are the callers' business, and nobody
runs anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from asa_emu.wire.errors import XmlError
from asa_emu.wire.xml_tree import DECLARATION, escape, parse_tree_untrusted

NO_VERSION = "0,0,0000"
"""What stands in `update.txt` when there is no image: older than any client."""

_VERSION = re.compile(r"\d{1,5}(?:[.,]\d{1,9}){1,3}")
_URI = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*){0,7}")
_FILE = (
    '<file version="%s" id="VPNCore" is_core="yes" type="%s" action="install" os="%s">'
    "<uri>%s</uri><display-name>%s</display-name></file>"
)


@dataclass(frozen=True, slots=True)
class ClientPackage:
    """One installable client."""

    base: str
    """The directory on the headend, such as `/CACHE/stc/1`."""
    uri: str
    """The file, relative to `base`."""
    version: str
    os: str = ""
    """The platform as `device-id` names it: `win`, `mac-intel`, `linux-64`."""

    @property
    def path(self) -> str:
        """Where the file is fetched."""
        return f"{self.base}/{self.uri}"


def manifest(package: ClientPackage | None) -> bytes:
    """Render `VPNManifest.xml`; without a package it lists nothing."""
    return f"{DECLARATION}{manifest_element(package)}\n".encode()


def manifest_element(package: ClientPackage | None) -> str:
    """Render the `<vpn>` element alone, as it also stands in the document that ends a login."""
    if package is None:
        return '<vpn rev="1.0"></vpn>'
    name = package.uri.rpartition("/")[2]
    kind = name.rpartition(".")[2]
    file = _FILE % tuple(escape(text) for text in (package.version, kind, package.os, package.uri, name))
    return f'<vpn rev="1.0">{file}</vpn>'


def parse_manifest_untrusted(body: bytes, base: str) -> ClientPackage | None:
    """Read the core package of a `VPNManifest.xml` that was fetched from `base`; None when it lists none.

    Raises XmlError for what is no manifest, and for a file outside of `base`.
    """
    root = parse_tree_untrusted(body)
    if root.tag != "vpn":
        raise XmlError("the root element is not vpn")
    for file in root.find_all("file"):
        version, uri = file.attributes.get("version", ""), file.find_text("uri")
        if file.attributes.get("is_core") != "yes" or uri is None:
            continue
        if _VERSION.fullmatch(version) is None:
            raise XmlError("a client package without a version")
        if _URI.fullmatch(uri) is None:
            raise XmlError("a client package that is not below its manifest")
        return ClientPackage(base, uri, version.replace(",", "."), file.attributes.get("os", ""))
    return None


def update_text(package: ClientPackage | None) -> bytes:
    """Render `update.txt`: the version with commas."""
    version = NO_VERSION if package is None else package.version.replace(".", ",")
    return f"{version}\n".encode("ascii", "replace")


def parse_update_untrusted(body: bytes) -> str | None:
    """Read the version in an `update.txt`, with dots; None when there is none in it."""
    text = body[:64].decode("ascii", "replace").strip()
    return text.replace(",", ".") if _VERSION.fullmatch(text) else None


def version_key(version: str) -> tuple[int, ...]:
    """Return what to compare versions by; empty, older than all, for what is no version."""
    if _VERSION.fullmatch(version) is None:
        return ()
    return tuple(int(part) for part in re.split(r"[.,]", version))
