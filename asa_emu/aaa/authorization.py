"""Authorization: whether a user who has proved who he is may come in.

It is a step of its own after authentication, taken where a connection profile names servers for it, and at
the first login alone (S137). Whatever servers it names, the local users play them: who is one of them is
authorized and has the attributes of `username NAME attributes`. Anybody else is a name that a certificate
gave, and is let in, without attributes, unless the profile says `authorization-required`.
"""

from __future__ import annotations

from asa_emu.config import Config, TunnelGroup


def authorize(config: Config, group: TunnelGroup, username: str) -> bool:
    """Return whether the login may go on."""
    return config.user(username) is not None or not group.authorization_required
