"""A console session: each line typed is an answer, a command of the current mode, or a configuration line.

    execute(line) -> Reply(text, prompt, …)      what is shown, and what to ask for next
    help(partial) -> text                        `?`, also in the middle of a word
    run(line)     -> text                        for programs: confirmations are answered yes

A line in configuration mode is tried as a command of privileged mode first, because `show` works everywhere
(S10), and then goes to the configuration's editor; when neither takes it, the one that understood more of it
says what is wrong. After any change of the configuration the headend takes it over before the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asa_emu.cli import unverified as u
from asa_emu.cli.commands import Level, Run, tree
from asa_emu.cli.console import Console, Question, Services
from asa_emu.cli.modes import ask_login
from asa_emu.cli.pipe import split_pipe
from asa_emu.config.syntax import Fault, FaultKind, Node, Said, choices, match
from asa_emu.headend.headend import Headend

_EXITS = ("exit", "quit")
_OWN_AFFAIRS = ("exit", "quit", "logout", "login", "help", "terminal length")
"""Commands that are not told as executed: a login has messages of its own."""
_LOGOFF_INACTIVE = "CSCuh55707"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a line brought. `text` is without echo and prompt, and ends in a newline unless it is empty."""

    text: str
    prompt: str
    hidden_input: bool = False
    """The next line is a secret, or a confirmation: do not show what is typed."""
    closed: bool = False

    @property
    def failed(self) -> bool:
        """Whether an ASA would call it an error."""
        return any(line.startswith("ERROR:") for line in self.text.splitlines())


class CliSession(Console):
    """A console session. `now` gives emulated time; `login` asks for name and password first."""

    def __init__(
        self,
        headend: Headend,
        *,
        now: Callable[[], float],
        services: Services | None = None,
        privileged: bool = False,
        login: bool = False,
    ) -> None:
        super().__init__(headend, now, services or Services(), privileged and not login)
        self._login_required = login
        if login:
            ask_login(self, required=True)

    @property
    def prompt(self) -> str:
        """What is shown before the next line, a blank at its end."""
        return self.mode_prompt if self.question is None else self.question.prompt

    def execute(self, line: str) -> Reply:
        """Take one line without its end; nothing is raised."""
        generation = self.headend.config.generation
        question = self._take_question()
        try:
            text = question.answer(line) if question is not None else self._command(line)
        except Fault as fault:
            text = self._error(fault.kind, fault.reason, fault.position, line)
        if self.headend.config.generation != generation:
            self.services.modified = self.who, self.now()
            self.headend.reconfigure()
            self.services.changed()
        return Reply(text, self.prompt, self.hidden, self.closed)

    def run(self, line: str, confirm: bool = True) -> str:
        """Take one line, answer what it wants confirmed with yes, and return all the text."""
        text = self.execute(line).text
        while confirm and self.question is not None and self.question.confirms:
            text += self.execute("").text
        return text

    def _take_question(self) -> Question | None:
        question, self.question = self.question, None
        return question

    def interrupt(self) -> None:
        """What Ctrl-C does: drop the question, unless it is that of a login which is required."""
        if self.username or not self._login_required:
            self.question = None

    def _command(self, line: str) -> str:
        stripped = line.strip()
        if stripped.endswith("?"):
            return self.help(line.rstrip()[:-1])
        if not stripped:
            return ""
        command, pipe = split_pipe(line)
        text = self._configuration(command) if self.editor is not None else self._exec(command)
        return pipe(text) if pipe is not None else text

    @property
    def _tree(self) -> Node[Run | None]:
        level = Level.PRIVILEGED if self.privileged else Level.USER
        if self.editor is not None:
            level = Level.CONFIGURATION
        return tree(level, _LOGOFF_INACTIVE in self.headend.config.features)

    def _exec(self, line: str) -> str:
        run, said = self._match(line)
        return self._run(run, said)

    def _run(self, run: Run, said: Said) -> str:
        words = " ".join(said.words)
        who = self.who
        text = run(self, said)
        if words not in _OWN_AFFAIRS and not words.startswith("emulator"):
            self.tell(111009 if words.startswith("show") else 111008, user=who, command=words)
        return text

    def _match(self, line: str) -> tuple[Run, Said]:
        # durations of `emulator` carry a unit, as those of !emu lines do
        freed = "emulator".startswith(line.split()[0].lower())
        said = Said(self.headend.config.document, freed)
        run = match(self._tree, line, 0, said).command
        assert run is not None  # only such nodes are ends
        return run, said

    def _configuration(self, line: str) -> str:
        editor = self.editor
        assert editor is not None  # that is what this mode is
        word = line.strip().lower()
        if word == "end" or (len(word) > 1 and any(exits.startswith(word) for exits in _EXITS)):
            editor.execute("end" if word == "end" else "exit")
            if editor.ended:
                self.editor = None
            return ""
        try:
            run, said = self._match(line)
        except Fault as fault:
            outcome = editor.execute(line)
            if outcome.ok:
                if outcome.shown:
                    self.tell(111008, 111010, command=outcome.shown)
                return outcome.text and f"{outcome.text}\n"
            if fault.position > outcome.position or outcome.kind is None:
                raise
            raise Fault(outcome.kind, outcome.text, outcome.position) from None
        return self._run(run, said)

    def _error(self, kind: FaultKind, reason: str, position: int, line: str) -> str:
        if kind == "incomplete":
            return u.INCOMPLETE
        if kind == "ambiguous":
            return u.AMBIGUOUS.format(line=line.strip())
        if kind == "semantic":
            return f"ERROR: {reason}\n"
        caret = " " * (len(self.mode_prompt) + position) + "^"
        return f"{caret}\nERROR: % Invalid input detected at '^' marker.\n"

    def help(self, partial: str) -> str:
        """What `?` shows after a partial line: the next words, or those that end its last one."""
        listed = self.candidates(partial)
        if not listed:
            return u.UNRECOGNIZED
        wide = max(len(word) for word, _ in listed)
        rows = "".join(f"  {word:<{wide}}  {text}".rstrip() + "\n" for word, text in listed)
        return f"\n{rows}\n"

    def complete(self, partial: str) -> str:
        """What Tab adds to a partial line: the rest of its last word and a blank, if that is clear."""
        last = partial.rpartition(" ")[2]
        words = {word for word, _ in self.candidates(partial) if word[:1] != "<" and not word.isupper()}
        return f"{words.pop()[len(last) :]} " if last and len(words) == 1 else ""

    def candidates(self, partial: str) -> list[tuple[str, str]]:
        """The words that may follow a partial line, with their help."""
        before, _, last = partial.rpartition(" ")
        listed: dict[str, str] = {}
        if self.editor is not None:
            listed.update(self.editor.help(partial))
        try:
            said = Said(self.headend.config.document, freed=False)
            node = match(self._tree, before, 0, said, partial=True)
            for word, text in choices(node):
                if word.lower().startswith(last.lower()):
                    listed.setdefault(word, text)
        except Fault:
            pass  # not a command of this level so far
        return list(listed.items())
