"""What a login knows of its client: how the parent tunnel is shown, and whom a certificate names."""

from __future__ import annotations

from asa_emu.config import TunnelGroup
from asa_emu.headend.headend import Caller, suite_names
from asa_emu.session.model import TunnelFacts


def client_facts(mode: str, caller: Caller) -> TunnelFacts:
    """The AnyConnect-Parent, which carries nothing and so has no cryptography."""
    return TunnelFacts(
        peer=caller.peer,
        local_port=caller.local_port,
        protocol="",
        encryption="none",
        hashing="none",
        ciphersuite="",
        compression=None,
        auth_mode=mode,
        client_type="AnyConnect",
        client_ver=caller.user_agent,
        client_os=_client_os(caller.user_agent),
    )


def browser_facts(mode: str, caller: Caller) -> TunnelFacts:
    """The Clientless parent: what the browser's own connection has, and what the browser calls itself
    (S19).
    """
    names = suite_names(caller.cipher)
    return TunnelFacts(
        peer=caller.peer,
        local_port=caller.local_port,
        protocol=caller.tls_version,
        encryption=names.encryption,
        hashing=names.hashing,
        ciphersuite=names.ciphersuite,
        compression=None,
        auth_mode=mode,
        client_type="Web Browser",
        client_ver=caller.user_agent,
    )


def username_of(group: TunnelGroup, caller: Caller) -> str | None:
    """The user that a good client certificate names in this group; None without one."""
    certificate = caller.certificate
    if certificate is None or certificate.error is not None:
        return None
    return next(
        (
            known_as(group, certificate.subject[name])
            for name in group.username_from_certificate
            if name in certificate.subject
        ),
        None,
    )


def known_as(group: TunnelGroup, username: str) -> str:
    """The name a user goes by: `strip-realm` makes `ann@example.test` ann."""
    return (username.rpartition("@")[0] if group.strip_realm else "") or username


def _client_os(user_agent: str) -> str:
    """The platform that a genuine client names: `AnyConnect Windows 4.10.07061` is `Windows`."""
    words = user_agent.split()
    return next((word for word in words if word in ("Windows", "Linux", "Darwin", "Mac", "Android")), "")
