"""What the client tells a person: the lines of vpncli, the Message History, the records of the event viewer.

The client tells the journal each step it takes (`stage`) and each event (`tell`); out of that come lines such
as `  >> state: Connected` for whoever listens, the notices among them once more as history, and records as
the agent writes them. All are kept, the oldest dropped. Texts are those of recorded vpncli transcripts and of
Cisco's technote 116881; the ones marked [U] are only remembered and wait for a better source.
"""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from client_emu.events import (
    AdapterChanged,
    Connected,
    Disconnected,
    Event,
    Failed,
    Reconnected,
    Reconnecting,
)
from client_emu.lifecycle import GAVE_UP

KEPT: Final = 200  # messages, and as many records
RULE: Final = "*" * 42

AGENT, INTERFACE = "acvpnagent", "acvpnui"


class Stage(enum.Enum):
    """Steps that are no events, with what is said at each; `{host}` is the headend's name."""

    CONTACTING = ("contacting host ({host}) for login information...", "notice: Contacting {host}.")
    LOGGED_IN = (
        "state: Connecting",
        "notice: Establishing VPN session...",
        "notice: The AnyConnect Downloader is performing update checks...",
        "notice: Checking for profile updates...",
        "notice: Checking for product updates...",
        "notice: Checking for customization updates...",
        "notice: Performing any required updates...",
        "notice: The AnyConnect Downloader updates have been completed.",
        "state: Connecting",
        "notice: Establishing VPN session...",
        "notice: Establishing VPN - Initiating connection...",
    )
    CONFIGURING = (
        "notice: Establishing VPN - Examining system...",
        "notice: Establishing VPN - Activating VPN adapter...",
        "notice: Establishing VPN - Configuring system...",
        "notice: Establishing VPN...",
    )
    CONNECTED = ("state: Connected", "notice: Connected to {host}.")
    RECONNECTING = ("state: Reconnecting", "notice: Reconnecting to {host}...")
    DISCONNECTING = (
        "state: Disconnecting",
        "notice: Disconnect in progress, please wait...",
        "state: Connected",
        "notice: Connected to {host}.",
        "state: Disconnecting",
        "state: Disconnecting",
    )
    DISCONNECTED = ("state: Disconnected", "notice: Ready to connect.")


FAILED: Final = "Connection attempt has failed."  # [U]
LOST: Final = "The VPN client failed to reconnect."  # S66's picture is lost [U]
TERMINATED: Final = (
    "The secure gateway has terminated the VPN connection."
    " The following message was received from the secure gateway: {reason}"
)  # [U]
NEWER: Final = "A newer client, version {version}, is on the secure gateway; it is not installed."
NEW_PROFILE: Final = "The secure gateway handed out a new profile; it counts from the next connection on."
NO_PROFILE: Final = "The profile of the secure gateway cannot be had: {reason}"
NEW_MTU: Final = (
    "A new MTU needs to be applied to the VPN network interface."
    " Disabling and re-enabling the Virtual Adapter."
)
RECONFIGURED: Final = (
    "Reconfigure reason code 16:\nNew MTU configuration.",
    "The entire VPN connection is being reconfigured.",
    NEW_MTU,
)


@dataclass(frozen=True, slots=True)
class Message:
    """One line of vpncli: `kind` is `state`, `notice`, `error`, or empty. `at` is emulated Unix time."""

    at: float
    kind: str
    text: str

    @property
    def line(self) -> str:
        """As vpncli prints it."""
        return f"  >> {self.kind}: {self.text}" if self.kind else f"  >> {self.text}"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the event viewer; `severity` is Information, Warning or Error."""

    at: float
    severity: str
    source: str
    text: str

    def __str__(self) -> str:
        then = time.gmtime(self.at)
        return (
            f"{RULE}\n\nDate        : {time.strftime('%m/%d/%Y', then)}\n"
            f"Time        : {time.strftime('%H:%M:%S', then)}\nType        : {self.severity}\n"
            f"Source      : {self.source}\n\nDescription : {self.text}\n"
        )


class Journal:
    """Everything told about one connection."""

    def __init__(self, host: str, on_message: Callable[[Message], None] | None = None) -> None:
        self.host = host
        self.messages: deque[Message] = deque(maxlen=KEPT)
        self.records: deque[Record] = deque(maxlen=KEPT)
        self._on_message = on_message

    @property
    def history(self) -> list[str]:
        """The Message History: `[HH:MM:SS] text`, times in UTC."""
        return [
            f"[{time.strftime('%H:%M:%S', time.gmtime(message.at))}] {message.text}"
            for message in self.messages
            if message.kind in ("notice", "error")
        ]

    def stage(self, stage: Stage, now: float) -> None:
        """A step was taken."""
        for line in stage.value:
            kind, colon, text = line.format(host=self.host).partition(": ")
            self.say(kind if colon else "", text if colon else kind, now)

    def tell(self, event: Event, now: float) -> None:
        """An event happened."""
        match event:
            case Connected() | Reconnected():
                self.stage(Stage.CONNECTED, now)
            case Reconnecting():
                text = f"The {event.level} level of the VPN connection is being re-established."
                self.record(AGENT, text, now)
                self.stage(Stage.RECONNECTING, now)
            case AdapterChanged(change="down"):
                for text in RECONFIGURED:
                    self.record(AGENT, text, now)
            case AdapterChanged(change="routes"):
                self.record(AGENT, "The routing table is being updated.", now)
            case Failed():
                self.record(AGENT, event.reason, now, "Error")
                self.say("error", f"{FAILED} ({event.reason})", now)
                self.stage(Stage.DISCONNECTED, now)
            case Disconnected():
                self.record(AGENT, event.reason, now)
                if event.reason == GAVE_UP:
                    self.say("error", LOST, now)
                self.stage(Stage.DISCONNECTED, now)

    def negotiated(self, settings: dict[str, str], now: float) -> None:
        """What the headend granted, the disconnected timeout among it (S60)."""
        listing = "\n".join(f"{name}: {value}" for name, value in settings.items())
        self.record(AGENT, f"VPN session settings received from the secure gateway:\n{listing}", now)  # [U]

    def say(self, kind: str, text: str, now: float) -> None:
        """Tell the user."""
        message = Message(now, kind, text)
        self.messages.append(message)
        if kind in ("notice", "error"):
            severity = "Error" if kind == "error" else "Information"
            told = f"Message type {severity.lower()} sent to the user:\n{text}"
            self.record(INTERFACE, told, now, severity)
        if self._on_message is not None:
            self._on_message(message)

    def record(self, source: str, text: str, now: float, severity: str = "Information") -> None:
        """Write a record of the event viewer."""
        self.records.append(Record(now, severity, source, text))
