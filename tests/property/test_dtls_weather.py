"""Handshakes and data over a network that loses a fifth, repeats some and overtakes many."""

from collections import Counter

import pytest

from asa_emu.wire.dtls import CookieJar
from tests.dtls_lab import SECRETS, BadWeather


@pytest.mark.parametrize("cookie", [False, True], ids=["plain", "cookie"])
@pytest.mark.parametrize("name", SECRETS)
def test_handshakes_survive_a_terrible_network(name: str, cookie: bool) -> None:
    for seed in range(25):
        net = BadWeather(SECRETS[name], seed, CookieJar(b"k" * 32) if cookie else None)
        net.run(until=35.0)
        assert net.client.established, (seed, net.client.failure)
        assert net.server.established, (seed, net.server.failure)
        sent = {end: [b"%d" % number for number in range(40)] for end in (net.client, net.server)}
        for end, payloads in sent.items():
            net.send(end, [end.seal(payload) for payload in payloads])
        net.run(until=40.0)
        for end, peer in ((net.client, net.server), (net.server, net.client)):
            counted = Counter(net.received[peer])
            assert set(counted) <= set(sent[end])
            assert max(counted.values()) == 1
            assert len(counted) > 20
