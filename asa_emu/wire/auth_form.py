"""The facts of a login that both ends share: a form, its inputs and groups, and what is handed out with it.

A headend fills an `AuthForm` and has it rendered; a client gets one from the parser and fills it in. The few
rules about which inputs a choice of group brings with it stand here, since both ends must agree on them.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

FieldType = Literal["text", "password", "hidden", "select"]

GROUP_LIST = "group_list"
"""The `<select>` that chooses the group; its answer travels as `<group-select>`, outside `<auth>`."""

INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""What an input may be called, since its name becomes that of an element in the answer."""


@dataclass(frozen=True, slots=True)
class GroupOption:
    """One choice of a `<select>`: the user sees and types the label, the value goes on the wire."""

    label: str
    value: str
    selected: bool = False
    second_auth: bool = False
    """With this choice the inputs marked `second-auth` are asked too."""
    no_aaa: bool = False
    """With this choice no text or password is asked at all (certificate only)."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One input. `value` is what a hidden input gets back, or the server's proposal for a text."""

    name: str
    label: str = ""
    type: FieldType = "text"
    value: str = field(default="", repr=False)
    second_auth: bool = False
    options: tuple[GroupOption, ...] = ()
    """The choices of a `select` that is not the group list."""


@dataclass(frozen=True, slots=True)
class AuthForm:
    """One screen of a login. Of the `auth_id`s `success` means logged in, `challenge` a one-time code."""

    auth_id: str = "main"
    title: str = ""
    message: str = ""
    banner: str = ""
    error: str | None = None
    fields: tuple[FormField, ...] = ()
    groups: tuple[GroupOption, ...] = ()
    action: str = "/"
    group_label: str = "GROUP:"

    def find_group(self, wanted: str) -> GroupOption | None:
        """Return the group a user means: by its label, else its value, else the beginning of its label."""
        for fits in (
            lambda group: group.label == wanted,
            lambda group: group.value == wanted,
            lambda group: wanted != "" and group.label.startswith(wanted),
        ):
            if found := next(filter(fits, self.groups), None):
                return found
        return None

    def selected_group(self) -> GroupOption | None:
        """Return the preselected group: the marked one, else the first, None without a list."""
        first = self.groups[0] if self.groups else None
        return next((group for group in self.groups if group.selected), first)

    def fields_for(self, group: GroupOption | None) -> tuple[FormField, ...]:
        """Return the inputs that go with the chosen group (docs/protocol.md §1.5: second-auth, noaaa)."""
        second = group is not None and group.second_auth
        silent = group is not None and group.no_aaa
        return tuple(
            f
            for f in self.fields
            if (second or not f.second_auth) and not (silent and f.type in ("text", "password"))
        )


@dataclass(frozen=True, slots=True)
class Opaque:
    """What the headend gives a client to hand back with its answer, as a genuine one shapes it.

    `handle` names the login transaction and must be hard to guess; the rest is for show.
    """

    handle: str = field(repr=False)
    tunnel_group: str = ""
    group_alias: str = ""
    config_hash: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """The AnyConnect profile a client may fetch: its path on the server and the SHA-1 of its bytes in hex."""

    uri: str
    sha1: str
