"""A program under observation: what it prints is collected, waited for, and shown whole when a test fails.

`Program` starts a process in a process group of its own. Two threads copy its stdout and stderr, line by
line, into one transcript. A test waits for a pattern with a limit; when the pattern does not come, because
time is up or the program has ended, the failure carries the whole transcript, which is nearly always where
the answer is.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Self

KILL_AFTER_S = 5.0


class PeerFailure(AssertionError):
    """A program did not do what the test waited for; the message ends with its transcript."""


class Program:
    """One running program; as a context manager it is stopped, with its children, at the block's end."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        keep_stdin: bool = False,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Start it.

        `stdin` is written at once, then closed unless `keep_stdin`, so that a question nobody foresaw ends
        the program instead of hanging the test.
        """
        self.argv = list(argv)
        self.lines: list[str] = []
        self.stop_signal = stop_signal
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            process_group=0,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin = self._process.stdin
        self._readers = [
            threading.Thread(target=self._collect, args=(stream, mark), daemon=True)
            for stream, mark in ((self._process.stdout, ""), (self._process.stderr, "! "))
        ]
        for reader in self._readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError):
            self.write(stdin)
            if not keep_stdin:
                self._stdin.close()

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the program itself still runs."""
        return self._process.poll() is None

    @property
    def stdout(self) -> str:
        """All of standard output so far; the transcript marks lines of standard error with `! `."""
        with self._news:
            return "".join(f"{line}\n" for line in self.lines if not line.startswith("! "))

    def transcript(self) -> str:
        """Everything printed so far, with the command line and the exit code."""
        with self._news:
            body = "\n".join(self.lines)
        return f"$ {' '.join(self.argv)}\n{body}\n[exit code: {self._process.poll()}]"

    def mark(self) -> int:
        """Return the present end of the transcript, for `wait_for(after=…)`."""
        with self._news:
            return len(self.lines)

    def wait_for(self, pattern: str, *, limit: float = 10.0, after: int = 0) -> re.Match[str]:
        """Return the first match of the pattern in a line of stdout or stderr, waiting up to `limit` seconds.

        The search begins at the transcript's start, or at a former `mark()`.
        """
        compiled = re.compile(pattern)
        deadline = time.monotonic() + limit
        position = after
        with self._news:
            while True:
                ended = not any(reader.is_alive() for reader in self._readers)
                for line in self.lines[position:]:
                    if found := compiled.search(line.removeprefix("! ")):
                        return found
                position = len(self.lines)
                remaining = deadline - time.monotonic()
                if ended or remaining <= 0:
                    break
                # Threads end without notice to the condition, hence the short turns.
                self._news.wait(min(remaining, 0.1))
        why = "ended" if ended else f"did not print it within {limit} s"
        raise PeerFailure(f"waited for {pattern!r}, but the program {why}\n{self.transcript()}")

    def write(self, text: str) -> None:
        """Write to its standard input."""
        self._stdin.write(text)
        self._stdin.flush()

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the program itself, not its children."""
        self._process.send_signal(number)

    def wait(self, *, limit: float = 10.0) -> int:
        """Wait for its end and return its exit code (negative: killed by that signal)."""
        try:
            code = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            raise PeerFailure(f"still running after {limit} s\n{self.transcript()}") from None
        for reader in self._readers:
            reader.join(limit)
        return code

    def stop(self) -> None:
        """End it politely, then by force, with whatever children are left; may be called again."""
        if self.running:
            self.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_AFTER_S)
        # The group's id cannot be taken by others while one of its processes lives, and if none does this
        # fails.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join(KILL_AFTER_S)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is not None:
            error.add_note(self.transcript())

    def _collect(self, stream: IO[str], mark: str) -> None:
        for line in stream:
            with self._news:
                self.lines.append(mark + line.rstrip("\n"))
                self._news.notify_all()
