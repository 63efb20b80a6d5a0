"""The real ocserv as a test peer for clients, in a network namespace of its own.

`Ocserv` writes a configuration, a password file and certificates into a directory of its own, runs the server
in the foreground and waits until it listens. Whatever a test wants otherwise is said in `options`, in
ocserv's own words.

Traps that shaped this: it needs root and a TUN device; `isolate-workers` (seccomp) is off, because system
calls that a sandboxed kernel or a newer libc makes are killed without a word; occtl is off, because its
socket has one fixed path for the machine; it checks DPD and timeouts only about every 30 s, so tests must not
wait for them; `ping-leases` would ping each address before handing it out; with `cisco-client-compat` it
speaks TLS 1.2 only.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from asa_emu.transport.certificates import Authority, KeyType, open_authority, open_server_identity
from tests.peers.netns import Namespace
from tests.peers.program import Program

Option = str | int | bool | Sequence[str]


class Ocserv(Program):
    """A running ocserv with users, on port 443 of its namespace for TLS and DTLS."""

    gateway = "198.51.100.1"
    """The server's own address inside the tunnels; it answers pings."""

    defaults: ClassVar[dict[str, Option]] = {
        "tcp-port": 443,
        "udp-port": 443,
        "run-as-user": "root",
        "run-as-group": "root",
        "isolate-workers": False,
        "use-occtl": False,
        "max-clients": 64,
        "max-same-clients": 0,
        "rate-limit-ms": 0,
        "max-ban-score": 0,
        "keepalive": 20,
        "dpd": 10,
        "try-mtu-discovery": False,
        "tls-priorities": "NORMAL:%SERVER_PRECEDENCE",
        "auth-timeout": 60,
        "cookie-timeout": 120,
        "rekey-time": 86400,
        "rekey-method": "new-tunnel",
        "device": "vpns",
        "predictable-ips": True,
        "ping-leases": False,
        "default-domain": "lab.test",
        "dns": "198.51.100.53",
        "ipv4-network": "198.51.100.0",
        "ipv4-netmask": "255.255.255.0",
        "ipv6-network": "2001:db8:77::/64",
        "ipv6-subnet-prefix": 128,
        "cisco-client-compat": True,
        "dtls-psk": True,
        "dtls-legacy": True,
    }

    def __init__(
        self,
        where: Namespace,
        address: str,
        *,
        users: Mapping[str, str],
        groups: Mapping[str, str] | None = None,
        totp: Mapping[str, str] | None = None,
        client_certificates: bool = False,
        key_type: KeyType = KeyType.P256,
        options: Mapping[str, Option] | None = None,
    ) -> None:
        """Start it and wait until it listens.

        `users` are names and passwords, `groups` gives users a group, `totp` gives them a hexadecimal
        HOTP/TOTP secret that is asked for after the password. With `client_certificates` a certificate of
        `authority` whose UID is the user name is asked for instead of a password.
        """
        self._directory = Path(tempfile.mkdtemp(prefix="ocserv-"))
        try:
            identity = open_server_identity(self._directory, [address], key_type=key_type)
            self.pin = identity.pin
            self.authority: Authority = open_authority(self._directory)
            self.ca_file = self._directory / "ca.pem"
            self._write_users(users, groups or {})
            settings = dict(self.defaults)
            settings["auth"] = self._authentication(totp or {}, client_certificates)
            settings["server-cert"] = str(self._directory / "server.pem")
            settings["server-key"] = str(self._directory / "server.key")
            settings["socket-file"] = str(self._directory / "socket")
            settings["pid-file"] = str(self._directory / "pid")
            if client_certificates:
                settings["ca-cert"] = str(self.ca_file)
                settings["cert-user-oid"] = "0.9.2342.19200300.100.1.1"
            settings.update(options or {})
            file = self._directory / "ocserv.conf"
            file.write_text(_render(settings), "utf-8")
            super().__init__(where.command("ocserv", "--foreground", "--debug", "2", "--config", str(file)))
            self.wait_for("initialized ocserv")
            self.wait_for("sec-mod initialized")
        except BaseException:
            self.stop()
            raise
        port = settings["tcp-port"]
        host = f"[{address}]" if ":" in address else address
        self.url = f"https://{host}" if port == 443 else f"https://{host}:{port}"

    def stop(self) -> None:
        """End it and its workers, and remove its files."""
        if hasattr(self, "_process"):
            super().stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _write_users(self, users: Mapping[str, str], groups: Mapping[str, str]) -> None:
        file = self._directory / "passwd"
        for name, password in users.items():
            group = ["--groupname", groups[name]] if name in groups else []
            subprocess.run(
                ["ocpasswd", "--passwd", str(file), *group, name],
                input=f"{password}\n{password}\n",
                text=True,
                check=True,
                capture_output=True,
            )

    def _authentication(self, totp: Mapping[str, str], client_certificates: bool) -> str:
        if client_certificates:
            return "certificate"
        if not totp:
            return f"plain[passwd={self._directory / 'passwd'}]"
        # The format of liboath's usersfile; HOTP/T30 is TOTP with steps of 30 s, `-` stands for no PIN.
        file = self._directory / "otp"
        file.write_text("".join(f"HOTP/T30 {name} - {secret}\n" for name, secret in totp.items()), "utf-8")
        file.chmod(0o600)
        return f"plain[passwd={self._directory / 'passwd'},otp={file}]"


def _render(settings: Mapping[str, Option]) -> str:
    lines = []
    for key, value in settings.items():
        match value:
            case bool():
                lines.append(f"{key} = {str(value).lower()}")
            case int():
                lines.append(f"{key} = {value}")
            case str():
                lines.append(f'{key} = "{value}"')
            case _:
                lines += [f'{key} = "{each}"' for each in value]
    return "\n".join(lines) + "\n"
