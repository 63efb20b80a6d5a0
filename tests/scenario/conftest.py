"""What the stories share: mock time and a state directory."""

from __future__ import annotations

from tests.headend_lab import log, mock_time, pytest_collection_modifyitems, state

__all__ = ["log", "mock_time", "pytest_collection_modifyitems", "state"]
