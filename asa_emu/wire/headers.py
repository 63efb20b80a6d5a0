"""The CONNECT exchange: what both ends settle before the first frame.

The client's wishes are in `connect_request`, the headend's grant in `connect_answer`; this file is where
others find both, and the two choices a headend makes between them: the MTU inside, and the compression.
"""

from asa_emu.wire.connect_answer import ConnectAnswer, DtlsAnswer, parse_connect_answer_untrusted
from asa_emu.wire.connect_request import ConnectRequest, parse_connect_request_untrusted
from asa_emu.wire.frames import MAX_SENT_PAYLOAD
from asa_emu.wire.header_lines import MIN_MTU, RawHeaders
from asa_emu.wire.packet import MIN_IPV6_MTU

__all__ = [
    "ConnectAnswer",
    "ConnectRequest",
    "DtlsAnswer",
    "RawHeaders",
    "choose_encoding",
    "mtu_for",
    "parse_connect_answer_untrusted",
    "parse_connect_request_untrusted",
]

_UDP_HEADER = 8


def choose_encoding(offered: tuple[str, ...], allowed: tuple[str, ...]) -> str | None:
    """The first of `allowed` that the client offers, None for no compression."""
    return next((name for name in allowed if name in offered), None)


def mtu_for(
    policy_mtu: int,
    base_mtu: int | None,
    client_mtu: int | None,
    ipv6_transport: bool,
    dtls_overhead: int,
    ipv6_inside: bool = False,
) -> int:
    """The MTU inside, in bytes: the smallest of the policy's, the client's and what the path leaves.

    A path of `base_mtu` loses the IP header (20 or 40), 8 for UDP, and `dtls_overhead` for record header,
    nonce and tag plus one byte for the packet type; an overhead of 0 means no DTLS. What the client and the
    path say never makes it less than 576, or 1280 with IPv6 inside, and no MTU is above what fits one frame.
    """
    mtu = min(policy_mtu, MAX_SENT_PAYLOAD)
    if base_mtu is not None:
        record = dtls_overhead + 1 if dtls_overhead else 0
        mtu = min(mtu, base_mtu - (40 if ipv6_transport else 20) - _UDP_HEADER - record)
    if client_mtu is not None:
        mtu = min(mtu, client_mtu)
    return max(mtu, MIN_IPV6_MTU if ipv6_inside else min(policy_mtu, MIN_MTU))
