"""What the scenario tests share: a clock that jumps, a log that must stay clean, keys made once."""

from tests.headend_lab import log, mock_time, pytest_collection_modifyitems, state

__all__ = ["log", "mock_time", "pytest_collection_modifyitems", "state"]
