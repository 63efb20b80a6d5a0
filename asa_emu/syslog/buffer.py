"""The buffer of `logging buffered`: the latest lines, as many as fit into its bytes."""

from __future__ import annotations

from collections import deque


class Buffer:
    """A ring of lines. What does not fit pushes the oldest lines out, whole ones, unlike an ASA's bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lines: deque[tuple[str, int]] = deque()
        self._used = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, the oldest one first."""
        return tuple(line for line, _ in self._lines)

    def append(self, line: str) -> None:
        """Add a line, which takes its UTF-8 bytes and one for its end."""
        size = len(line.encode()) + 1
        self._lines.append((line, size))
        self._used += size
        self._shrink()

    def resize(self, size: int) -> None:
        """Hold so many bytes from now on."""
        self._size = size
        self._shrink()

    def clear(self) -> None:
        """Forget every line: `clear logging buffer`."""
        self._lines.clear()
        self._used = 0

    def _shrink(self) -> None:
        while self._used > self._size:
            self._used -= self._lines.popleft()[1]
