"""What is known from memory only, not from a guide or a captured log: here a real capture can replace it.

A test that pins one of these pins our own choice, not an ASA's behaviour.
"""

from __future__ import annotations

from typing import Final

UNVERIFIED_TEXTS: Final = {
    720024: "(VPN-%(unit)s) HA status callback: Control channel is %(state)s.",
    720027: "(VPN-%(unit)s) HA status callback: My state %(state)s.",
    720028: "(VPN-%(unit)s) HA status callback: Peer state %(state)s.",
    720039: "(VPN-%(unit)s) VPN failover client is transitioning to active state",
    720040: "(VPN-%(unit)s) VPN failover client is transitioning to standby state",
    113011: "AAA retrieved user specific group policy (%(group)s) for user = %(user)s",
}
"""Message texts, severity 6."""

UNVERIFIED_ALERTS: Final = {
    105042: "(%(unit)s) Failover interface OK",
    105043: "(%(unit)s) Failover interface failed",
}
"""Message texts, severity 1."""

IDLE_CLOSING = "Idle Timeout"
"""Reason in 722037 when SSL and DTLS have been idle too long; those of a session's end are 113019's."""

PORTAL_TYPE = "WebVPN"
LAUNCHED_TYPE = "SSL"
"""Session types in 113019 of a portal session, without and with tunnels."""

TRUST_POINT = "ASDM_TrustPoint0"
"""The trust-point in 725016; the emulator's certificate belongs to none."""

TLS_FUNCTION = "SSL_accept"
"""The function in 725014."""

TCP_HOST = "%(where)s tcp/%(port)d, %(state)s TX:%(sent)d"
"""A TCP host in `show logging`, after `Logging to` and before its errors."""
