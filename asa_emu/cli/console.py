"""What one console session knows, and what all of them share.

Commands are functions of a `Console` and of what was said; they answer with text, or set `question` when the
next line typed is to answer something. `Services` is what lies outside the pure core: the time line, the
configuration file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from asa_emu.cli.show_sessiondb import Style
from asa_emu.config import Editor
from asa_emu.config.syntax import Fault
from asa_emu.ha.balance import Balancer
from asa_emu.ha.status import Status
from asa_emu.headend.headend import Headend
from asa_emu.session.model import Peer
from asa_emu.syslog.facts import Notice

PRIVILEGED: Final = 2
"""The least privilege level whose prompt is `#`."""
FULL_PRIVILEGE: Final = 15
DEFAULT_PAGER: Final = 24  # lines, as on an ASA
_NOBODY: Final = Peer("0.0.0.0", 0)


class Clock(Protocol):
    """The emulated time line, as far as a console bends it."""

    @property
    def rate(self) -> float:
        """Emulated seconds per second."""

    def advance(self, seconds: float) -> None:
        """Jump ahead; what is due happens before this returns."""

    def set_rate(self, rate: float) -> None:
        """Go on at another rate."""


class FailoverUnit(Protocol):
    """This headend as a unit of a failover pair."""

    @property
    def active(self) -> bool:
        """Whether it is the active one."""

    def status(self) -> Status:
        """What there is to say about it."""

    def switch(self, active: bool) -> None:
        """Begin to make it the active one, or the other one."""

    async def certain(self) -> None:
        """Return once it knows its role, which it does not just after a sleep."""


class NotSaved(Exception):
    """The configuration could not be stored or read; the text says why."""


def _no_file(_text: str = "") -> str:
    raise NotSaved("the headend was started without a configuration file")


def _nothing() -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Services:
    """What consoles need from whoever runs the headend; each has a stand-in, so that none is required."""

    clock: Clock | None = None
    started_at: float = 0.0
    """Emulated time."""
    save: Callable[[str], object] = _no_file
    """Stores a startup-config; raises NotSaved."""
    startup: Callable[[], str] = _no_file
    """The stored startup-config; raises NotSaved."""
    changed: Callable[[], None] = _nothing
    """Called after the headend has taken over a changed configuration."""
    balancer: Balancer | None = None
    """Of its load-balancing cluster."""
    unit: FailoverUnit | None = None
    """Of its failover pair."""
    style: Style = "9.x"
    """The layout of `show vpn-sessiondb`, for every console."""
    modified: tuple[str, float] | None = None
    """Who changed the configuration last, and when; None since the start."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the console asks; the next line typed is the answer."""

    prompt: str
    answer: Callable[[str], str]
    """Takes the line, returns text; may ask again."""
    hidden: bool = False
    """What is typed is not to be shown."""
    confirms: bool = False
    """An empty line means yes."""


class Console:
    """The state of one console session."""

    def __init__(
        self, headend: Headend, now: Callable[[], float], services: Services, privileged: bool
    ) -> None:
        self.headend = headend
        self.now = now
        self.services = services
        self.ends: tuple[Peer, Peer] | None = None
        """Of a telnet connection, the other end first; None for the device's own console."""
        self.username = ""
        """Who logged in by name; empty for nobody in particular."""
        self.privilege = FULL_PRIVILEGE if privileged else 1
        self.editor: Editor | None = None
        """The configuration session while in configuration mode."""
        self.question: Question | None = None
        self.pager = DEFAULT_PAGER
        """Lines on a page, 0 for no paging."""
        self.width = 80
        self.closed = False

    @property
    def privileged(self) -> bool:
        """Whether privileged commands are open to it."""
        return self.privilege >= PRIVILEGED

    @property
    def stands_by(self) -> bool:
        """Whether the other unit of a failover pair is the active one."""
        unit = self.services.unit
        return unit is not None and not unit.active

    @property
    def hidden(self) -> bool:
        """Whether what is typed next is not to be shown."""
        return self.question is not None and self.question.hidden

    @property
    def who(self) -> str:
        """The name it goes by: a user's, or that of its privilege level."""
        return self.username or f"enable_{self.privilege}"

    @property
    def confirming(self) -> bool:
        """Whether a single key is awaited: `[confirm]`."""
        return self.question is not None and self.question.confirms and self.question.hidden

    @property
    def mode_prompt(self) -> str:
        """The prompt of the current mode, a blank at its end."""
        name = self.headend.config.hostname
        if self.editor is not None:
            return f"{name}({self.editor.mode})# "
        return f"{name}# " if self.privileged else f"{name}> "

    def tell(self, *numbers: int, **words: object) -> None:
        """Log these messages about this session and whoever sits at it."""
        caller, local = self.ends or (_NOBODY, _NOBODY)
        words = {"user": self.who, "ip": caller.ip, "port": caller.port, "local": local.ip, **words}
        self.headend.emit(Notice(at=self.now(), numbers=numbers, words=words))

    def become(self, username: str, privilege: int) -> None:
        """Go on with these privileges; configuration mode ends without them."""
        before, self.username, self.privilege = self.privilege, username, privilege
        if privilege != before:
            self.tell(502103, before=before, after=privilege)
        if not self.privileged:
            self.editor = None

    def confirm(self, prompt: str, then: Callable[[], str]) -> str:
        """Ask for a confirmation; `then` runs on Enter or y."""

        def answer(line: str) -> str:
            return then() if line.strip().lower() in ("", "y", "yes") else ""

        self.question = Question(prompt, answer, hidden=True, confirms=True)
        return ""

    def configure(self, line: str) -> str:
        """Execute one configuration line from anywhere; Fault when it is refused."""
        outcome = self.headend.config.editor().execute(line)
        if not outcome.ok:
            raise Fault("semantic", outcome.text)
        return outcome.text
