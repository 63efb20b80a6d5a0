"""Make an authority, a server certificate and client certificates in a directory, or complete what is there.

A thin script around `asa_emu.transport.certificates`, for people who want the files in hand before they start
a headend. What exists is kept: the authority for good, the server's key, so that its pin stays, and a
client's pair.
"""

import argparse
import sys
from pathlib import Path

from asa_emu.transport.certificates import (
    Authority,
    CertificateError,
    KeyType,
    open_authority,
    open_server_identity,
)


def main() -> int:
    """Read the command line, make the files, say what they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="host names and addresses of the server (default: loopback)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "out", help="(default: %(default)s)"
    )
    parser.add_argument("--rsa", action="store_true", help="RSA-2048 keys instead of P-256")
    parser.add_argument(
        "--client",
        action="append",
        default=[],
        metavar="UID[=COMMON NAME]",
        help="a client certificate for this user; may be repeated",
    )
    arguments = parser.parse_args()
    key_type = KeyType.RSA2048 if arguments.rsa else KeyType.P256
    names = arguments.names or ["localhost", "127.0.0.1", "::1"]
    try:
        server = open_server_identity(arguments.out, names, key_type=key_type)
        authority = open_authority(arguments.out)
        for client in arguments.client:
            user, _, common_name = client.partition("=")
            make_client(authority, arguments.out, user, common_name or user, key_type)
    except CertificateError as error:
        sys.stderr.write(f"make_certs: {error}\n")
        return 1
    sys.stdout.write(f"{arguments.out}: server for {', '.join(names)}\n{server.pin}\n")
    return 0


def make_client(
    authority: Authority, directory: Path, user: str, common_name: str, key_type: KeyType
) -> None:
    """Make `client-USER.pem` and `.key` unless they exist."""
    certificate_file = directory / f"client-{user}.pem"
    if "/" in user or not user:
        raise CertificateError(f"{user!r} cannot be part of a file name; name the user without '/'")
    if not certificate_file.exists():
        identity = authority.issue_client(common_name, user_id=user, key_type=key_type)
        identity.save(certificate_file, directory / f"client-{user}.key")


if __name__ == "__main__":
    raise SystemExit(main())
