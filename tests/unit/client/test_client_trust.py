"""Which names a certificate stands for."""

import pytest

from asa_emu.transport.certificates import Authority
from client_emu.trust import certificate_names


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
