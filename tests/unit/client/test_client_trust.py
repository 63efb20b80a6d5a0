"""Which names a certificate stands for."""

from unittest.mock import Mock

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from asa_emu.transport.certificates import Authority
from asa_emu.transport.openssl import TlsEngine
from client_emu.trust import ServerNotTrusted, certificate_names, check_server


@pytest.mark.parametrize(
    ("names", "host", "good"),
    [
        (["vpn.example.test"], "vpn.example.test", True),
        (["vpn.example.test"], "VPN.Example.test.", True),
        (["*.example.test"], "vpn.example.test", True),
        (["*.example.test"], "a.vpn.example.test", False),
        (["*.example.test"], "example.test", False),
        (["*.test"], "example.test", False),
        (["192.0.2.1"], "192.0.2.1", True),
        (["192.0.2.1"], "192.0.2.2", False),
        (["2001:db8::1"], "2001:db8:0::1", True),
        (["vpn.example.test"], "192.0.2.1", False),
    ],
)
def test_names(names: list[str], host: str, good: bool) -> None:
    certificate = Authority.create().issue_server(names).certificate
    assert certificate_names(certificate, host) is good


@pytest.mark.parametrize("problem", [ValueError("no such curve"), UnsupportedAlgorithm("no such curve")])
def test_a_key_that_cannot_be_read_is_not_trusted(problem: Exception) -> None:
    engine = Mock(TlsEngine)
    engine.peer_certificate.public_key.side_effect = problem
    with pytest.raises(ServerNotTrusted, match="cannot be read: no such curve"):
        check_server(engine, "vpn.example.test", None)
