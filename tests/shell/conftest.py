"""What the tests of bad input share: a headend, and two innocent clients who must notice nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asa_emu.app import Running
from client_emu.events import Dtls
from tests.headend_lab import (
    INSIDE,
    asa,
    client,
    log,
    mock_time,
    pytest_collection_modifyitems,
    state,
)

__all__ = ["asa", "log", "mock_time", "pytest_collection_modifyitems", "state"]


@pytest.fixture
async def watched(asa: Running) -> AsyncIterator[Running]:
    """A headend with two other clients in tunnels, over TLS alone and over DTLS.

    When the test is over both still pass a ping, and neither was ever reconnected.
    """
    async with client(asa, "user098", dtls=False) as over_tls, client(asa, "user099") as over_dtls:
        assert (await over_dtls.next_event(Dtls)).up
        yield asa
        for bystander in (over_tls, over_dtls):
            assert (await bystander.ping(INSIDE, limit=5.0)).received == 1
        assert over_dtls.dtls_cipher is not None
        assert [event.name for event in over_tls.events] == ["connected"]
        assert [event.name for event in over_dtls.events] == ["connected", "dtls"]
