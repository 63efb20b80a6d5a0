"""What the units of a failover pair say to each other over the state link, as signed records.

    asa-emu/1 KIND SIGNATURE {…}

A record is one fact: who is active (`Lease`), how a unit is (`Hello`), a session as it is now
(`SessionRecord`), that one has ended (`End`), which there are (`Census`), the configuration (`Settings`).
Members of a load-balancing cluster say how they are in the same dress (`Member`).
The head of a log entry (`Head`) numbers the records that follow it and signs them once more as a whole, so
that none can be played again later. Sessions travel as state, never as an operation, and without anything of
TLS or DTLS (S101): reading a record twice changes nothing.

The signature is HMAC-SHA256 under a key made from `failover key` and the name of the pair, which keeps pairs
that share a store apart. Stamps are on the sender's emulated clock; whoever reads them knows how far it is
from his own.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from asa_emu.config import Policy
from asa_emu.ha.balance import Member
from asa_emu.ha.tally import TALLY, Tally
from asa_emu.session.model import NO_ADDRESSES, NO_TRAFFIC, Addresses, Counters, Session
from asa_emu.session.replica import Row, TunnelRow, row_of

VERSION: Final = 1
MAX_RECORD: Final = 4 * 1024 * 1024  # bytes: a census of 20,000 sessions, or a configuration

_MAGIC = b"asa-emu/%d" % VERSION
_SIGNATURE = 32  # hex digits: 128 bits
_CHECKS = ConfigDict(
    extra="forbid", strict=True, allow_inf_nan=False, val_json_bytes="hex", ser_json_bytes="hex"
)

Index: TypeAlias = Annotated[int, Field(ge=1, lt=2**32)]
Name: TypeAlias = Annotated[str, Field(max_length=256)]
Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**53)]


class RecordRefused(Exception):
    """A record that is not for this unit, or is none at all; the text says why."""


@checked(frozen=True, slots=True, config=_CHECKS)
class Lease:
    """Who is active, by which fencing number; `free` when that unit has given the role up."""

    unit: Name
    instance: Name
    """Of the process: a unit that was started anew is not the one that held the lease."""
    fence: Count
    free: bool = False
    reason: Name = ""
    """Why it was given up."""


@checked(frozen=True, slots=True, config=_CHECKS, kw_only=True)
class Hello:
    """How a unit is; it says so with each poll."""

    unit: Name
    state: Name
    now: float
    """Emulated time."""
    rate: float
    fence: Count
    """Of the newest entry that it has written or read, and `number` with it."""
    number: Count
    active_for: float
    """Seconds."""
    wants_role: bool = False
    """Somebody typed `failover active` there."""
    lacks: bool = False
    """What it found in the store is not what the active unit has written."""


@checked(frozen=True, slots=True, config=_CHECKS, kw_only=True)
class Head:
    """The head of a log entry. Numbers count from 1 under each fencing number, without a gap."""

    fence: Count
    number: Count
    sent: float
    """Wall-clock time, to measure the lag by."""
    next_index: Index
    whole: bool
    """With this entry the store has every session; not while a table is being written anew."""
    digest: Annotated[bytes, Field(min_length=32, max_length=32)]
    table: Annotated[bytes, Field(min_length=TALLY, max_length=TALLY)]
    """The tally of all sessions in the store with this entry."""


@checked(frozen=True, slots=True, config=_CHECKS, kw_only=True)
class SessionRecord:
    """A session as it is now: a `Row` with its policy by name."""

    index: Index
    token_digest: Annotated[bytes, Field(min_length=32, max_length=32)]
    username: str
    tunnel_group: str
    group_policy: str
    login_at: float
    used_at: float
    """When the parent's idle timer last began."""
    public_ip: str
    parent: TunnelRow
    ssl: TunnelRow | None = None
    dtls: TunnelRow | None = None
    addresses: Addresses = NO_ADDRESSES
    next_number: Index = 2
    had_ssl: bool = False
    had_dtls: bool = False
    inactive_since: float | None = None
    gone: Counters = NO_TRAFFIC


@checked(frozen=True, slots=True, config=_CHECKS)
class End:
    """A session is over, or not the standby's any more."""

    index: Index


@checked(frozen=True, slots=True, config=_CHECKS)
class Census:
    """Every session there is; whatever else the reader has is over."""

    indices: tuple[Index, ...]


@checked(frozen=True, slots=True, config=_CHECKS)
class Settings:
    """The active unit's configuration, without what each unit says itself."""

    text: str


_SHARED: Final = tuple(f.name for f in fields(Row) if f.name != "policy")
"""What a `Row` and a `SessionRecord` call by the same name."""

Body: TypeAlias = Lease | Hello | Member | Head | SessionRecord | End | Census | Settings
BodyT = TypeVar("BodyT", bound=Body)
Change: TypeAlias = SessionRecord | End | Census | Settings
"""What a log entry is made of."""
_CHANGES: Final[dict[bytes, type[Change]]] = {
    b"session": SessionRecord,
    b"end": End,
    b"census": Census,
    b"settings": Settings,
}
_KINDS: Final[dict[type, bytes]] = {
    Lease: b"lease",
    Hello: b"hello",
    Member: b"member",
    Head: b"head",
    **{body: kind for kind, body in _CHANGES.items()},
}
_ADAPTERS: Final[dict[type, TypeAdapter[Any]]] = {kind: TypeAdapter(kind) for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class Entry:
    """A log entry as it travels: the head's record, and the records of its changes."""

    head: bytes
    changes: tuple[bytes, ...]


def record_of(session: Session) -> SessionRecord:
    """A session as it is now."""
    row = row_of(session)
    return SessionRecord(
        group_policy=row.policy.group_policy,
        used_at=session.parent.last_use_at,
        **{name: getattr(row, name) for name in _SHARED},
    )


def row_from(record: SessionRecord, policy: Policy, ahead: float) -> Row:
    """The row of a record, on a clock that is `ahead` of the sender's by so many seconds."""
    said = {name: getattr(record, name) for name in _SHARED}
    said["login_at"] += ahead
    if record.inactive_since is not None:
        said["inactive_since"] += ahead
    return Row(policy=policy, **said)


def derive_key(cluster: str, secret: str) -> bytes:
    """The key of a pair; without a `failover key` it keeps accidents away, but nobody who means harm."""
    return hmac.digest(secret.encode(), b"asa-emu failover " + cluster.encode(), "sha256")


def encode(key: bytes, body: Body) -> bytes:
    """One record."""
    kind = _KINDS[type(body)]
    text = _ADAPTERS[type(body)].dump_json(body)
    return b"%s %s %s %s" % (_MAGIC, kind, _sign(key, kind, text), text)


def decode_untrusted(key: bytes, record: bytes, kind: type[BodyT]) -> BodyT:
    """The body of a record that must be of this kind. Raises RecordRefused."""
    said, text = _open(key, record)
    if said != _KINDS[kind]:
        raise RecordRefused(f"a record of kind {said!r} where {_KINDS[kind]!r} belongs")
    return _read(kind, text)


def encode_entry(
    key: bytes,
    changes: Sequence[Change],
    *,
    fence: int,
    number: int,
    sent: float,
    next_index: int,
    whole: bool = True,
    tally: Tally | None = None,
) -> Entry:
    """A log entry of some changes; `tally` is that of the table before them, and after them."""
    records = tuple(encode(key, change) for change in changes)
    tally = Tally(key) if tally is None else tally
    for change, record in zip(changes, records, strict=True):
        match change:
            case SessionRecord(index=index):
                tally.put(index, record)
            case End(index):
                tally.drop(index)
            case Census(indices):
                tally.keep(indices)
            case _:
                pass
    head = Head(
        fence=fence,
        number=number,
        sent=sent,
        next_index=next_index,
        whole=whole,
        digest=_digest(records),
        table=tally.value,
    )
    return Entry(encode(key, head), records)


def decode_head_untrusted(key: bytes, entry: Entry) -> Head:
    """The head of an entry whose records are those that were sent with it. Raises RecordRefused."""
    head = decode_untrusted(key, entry.head, Head)
    if head.digest != _digest(entry.changes):
        raise RecordRefused("records that do not belong to the head of their entry")
    return head


def decode_change_untrusted(key: bytes, record: bytes) -> Change:
    """One change of an entry. Raises RecordRefused."""
    said, text = _open(key, record)
    kind = _CHANGES.get(said)
    if kind is None:
        raise RecordRefused(f"a record of kind {said!r} among changes")
    return _read(kind, text)


def _open(key: bytes, record: bytes) -> tuple[bytes, bytes]:
    parts = record.split(b" ", 3)
    if len(record) > MAX_RECORD or len(parts) != 4:
        raise RecordRefused("no record")
    magic, kind, signature, text = parts
    if magic != _MAGIC:
        raise RecordRefused(f"a record of {magic[:16]!r}, this unit reads {_MAGIC.decode()}")
    if not hmac.compare_digest(signature, _sign(key, kind, text)):
        raise RecordRefused("a record that is forged or cut off, or of a pair with another failover key")
    return kind, text


def _read(kind: type[BodyT], text: bytes) -> BodyT:
    try:
        body: BodyT = _ADAPTERS[kind].validate_json(text)
        return body
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordRefused(f"{_KINDS[kind].decode()}: {where}: {first['msg']}") from None


def _sign(key: bytes, kind: bytes, text: bytes) -> bytes:
    return hmac.digest(key, _MAGIC + b" " + kind + b" " + text, "sha256").hex()[:_SIGNATURE].encode()


def _digest(records: Sequence[bytes]) -> bytes:
    return sha256(b"\n".join(records)).digest()
