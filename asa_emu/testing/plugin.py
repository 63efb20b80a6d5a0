"""The pytest plugin: a fixture with a headend of its own for each test.

    def test_my_client(asa_headend):
        run_my_client(asa_headend.url, pin=asa_headend.pin, user="walter", password="secret")
        assert asa_headend.sessions()[0]["state"] == "active"

Another configuration, users or rate are asked for with a marker: `@pytest.mark.asa(users={"ann": "pw"},
time=60)`; the marker takes what `asa_emu.testing.running` takes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asa_emu.testing import HeadendProcess, running


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "asa(config, users, time, listen, options): how asa_headend is started"
    )


@pytest.fixture
def asa_headend(request: pytest.FixtureRequest) -> Iterator[HeadendProcess]:
    """A running headend; user walter with password secret unless the marker says otherwise."""
    marker = request.node.get_closest_marker("asa")
    with running(*(marker.args if marker else ()), **(marker.kwargs if marker else {})) as headend:
        yield headend
