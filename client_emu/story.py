"""Stories: timed acts and expectations in a TOML file, played against a running client.

    [[act]]
    after = 5                  # seconds since the act before; `at` counts from the start
    do = "unplug"              # any order of `orders`; or `ping`, `udp`, `tcp` with `to`
    interface = "wired"

    [[act]]
    name = "it comes back"
    expect = "reconnected"     # the next such event comes `within` 30 seconds, with these facts
    level = "tunnel"

An act is one of `do`, `expect` and `never` (no such event `within` that time). A text expected of an event is
found when the event's contains it. `parse_story` refuses what it does not understand, `play` stops at the
first act that goes another way and says which.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from client_emu.adapter import PING_SIZE
from client_emu.client import Client
from client_emu.events import EVENTS, Event
from client_emu.orders import VERBS, OrderRefused, carry_out

WITHIN_SECONDS: Final = 30.0
MAX_SECONDS: Final = 1e9  # TOML has nan and inf
PROBES: Final[Mapping[str, Mapping[str, type]]] = {
    "ping": {"to": str, "count": int, "size": int, "received": int},
    "udp": {"to": str, "port": int, "text": str, "answer": str},
    "tcp": {"to": str, "port": int, "text": str, "answer": str},
}
_DEEDS: Final[Mapping[str, Mapping[str, type]]] = {
    **{verb: {"interface": str, "address": str, "mtu": int} for verb in VERBS},
    **PROBES,
}
_HAPPENINGS: Final[Mapping[str, Mapping[str, type]]] = {
    name: dict.fromkeys(facts, object) for name, facts in EVENTS.items()
}


class StoryError(Exception):
    """A story that cannot be played; the text names the act."""


@dataclass(frozen=True, slots=True)
class Act:
    """One act; times in emulated seconds."""

    title: str
    do: str | None = None
    expect: str | None = None
    never: str | None = None
    at: float | None = None
    after: float = 0.0
    within: float = WITHIN_SECONDS
    facts: Mapping[str, Any] = field(default_factory=dict)


def parse_story(text: str) -> tuple[Act, ...]:
    """Read a story. Raises StoryError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StoryError(f"not TOML: {error}") from error
    acts = document.pop("act", None)
    if document or not isinstance(acts, list) or not acts:
        raise StoryError("a story is a list of [[act]] tables and nothing else")
    return tuple(_act(number, table) for number, table in enumerate(acts, start=1))


async def play(story: tuple[Act, ...], client: Client) -> str | None:
    """Play all acts, from when the session stands or has failed to; None, or which act failed and how."""
    await client.wait_settled()
    started = client.now()
    for act in story:
        begins = started + act.at if act.at is not None else client.now() + act.after
        await trio.sleep_until(client.timeline.run_at(begins))
        if problem := await _perform(act, client):
            return f"{act.title}: {problem}"
    return None


def _act(number: int, table: Any) -> Act:
    title = f"act {number}"
    if not isinstance(table, dict):
        raise StoryError(f"{title} is no table")
    facts = dict(table)
    if isinstance(name := facts.pop("name", None), str):
        title += f" ({name})"
    times: dict[str, Any] = {key: facts.pop(key) for key in ("at", "after", "within") if key in facts}
    for key, value in times.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
            raise StoryError(f"{title}: {key} is a number of seconds")
    kinds = [key for key in ("do", "expect", "never") if key in facts]
    if len(kinds) != 1:
        raise StoryError(f"{title} has to have one of do, expect and never")
    word, known = facts.pop(kinds[0]), _DEEDS if kinds == ["do"] else _HAPPENINGS
    if not isinstance(word, str) or word not in known:
        raise StoryError(f"{title}: {kinds[0]} is one of {', '.join(known)}")
    for key, value in facts.items():
        if key not in known[word]:
            raise StoryError(f"{title}: {word} knows no {key}")
        if not isinstance(value, known[word][key]):
            raise StoryError(f"{title}: {key} is no {known[word][key].__name__}")
    if word in PROBES and "to" not in facts:
        raise StoryError(f"{title}: {word} needs to")
    fields: dict[str, Any] = {kinds[0]: word, **times}
    return Act(title, **fields, facts=facts)


async def _perform(act: Act, client: Client) -> str | None:
    if act.do is not None and act.do in PROBES:
        return await _probe(act.do, act.facts, client)
    if act.do is not None:
        try:
            await carry_out(client, {"do": act.do, **act.facts})
        except OrderRefused as error:
            return str(error)
        return None
    wanted, event = act.expect or act.never, None
    with trio.move_on_at(client.timeline.run_at(client.now() + act.within)):
        while not _fits(event := await client.next_event(Event), wanted, act.facts):
            event = None
    facts = "".join(f", {key} {value}" for key, value in act.facts.items())
    if act.expect is not None and event is None:
        return f"no event {wanted}{facts} came within {act.within:g} s"
    if act.never is not None and event is not None:
        return f"an event {wanted}{facts} came"
    return None


def _fits(event: Event, wanted: str | None, facts: Mapping[str, Any]) -> bool:
    return event.name == wanted and all(
        value in found
        if isinstance(found := getattr(event, key), str) and isinstance(value, str)
        else value == found
        for key, value in facts.items()
    )


async def _probe(verb: str, facts: Mapping[str, Any], client: Client) -> str | None:
    try:
        if verb == "ping":
            result = await client.ping(facts["to"], facts.get("count", 1), size=facts.get("size", PING_SIZE))
            if result.received == facts.get("received", result.sent):
                return None
            return f"{result.received} of {result.sent} pings came back"
        probe = client.udp if verb == "udp" else client.tcp
        answer = await probe(facts["to"], facts.get("port", 7), facts.get("text", "hello").encode())
    except (ValueError, ConnectionRefusedError) as error:
        return str(error)
    text = "" if answer is None else answer.decode("utf-8", "replace")
    wanted = facts.get("answer", facts.get("text", "hello"))
    return None if text == wanted else f"the answer was {text[:64]!r}"
