"""What the tests with real peers share."""

import itertools

import pytest

_numbers = itertools.count()


@pytest.fixture
def user() -> str:
    """A user of `lab.BASE` whom no other test uses; the password is `lab.PASSWORD`."""
    return f"user{next(_numbers):03}"
