"""Getting a handshake across a network that loses: fragments put together, flights sent again, a limit to it
all.

A handshake is lock-step: each side sends a flight, and sends it again after 1, 2, 4 ... seconds until the
other's next flight is whole (RFC 6347 section 4.2.4), or at once when the peer repeats what the flight
answered. An `Exchange` holds what an association needs only until then, and says when; the association does
the sending.
"""

import math

from asa_emu.wire.dtls.handshake import Flight, Handshake
from asa_emu.wire.dtls.messages import Fragment, Reassembly

_FIRST_RETRANSMIT_SECONDS = 1.0
_LAST_RETRANSMIT_SECONDS = 8.0
#: openconnect gives up after 12 s; five losses in a row (1+2+4+8+8) still fit.
HANDSHAKE_LIMIT_SECONDS = 30.0
#: A copy that comes sooner is the network's, not a peer that has missed us; peers wait 0.4 s and more.
LEAST_REPEAT_SECONDS = 0.25
#: Records that may wait for keys: the peer's Finished and the first packets behind it.
_MAX_EARLY_RECORDS = 8


class Exchange:
    """The handshake in progress, with all that it waits for."""

    __slots__ = (
        "_answered_below",
        "_early",
        "_flight",
        "_retransmit_after",
        "_retransmit_at",
        "_sent_at",
        "give_up_at",
        "handshake",
        "reassembly",
        "undecryptable",
    )

    def __init__(self, handshake: Handshake, next_sequence: int, now: float) -> None:
        self.handshake = handshake
        self.reassembly = Reassembly(next_sequence)
        self.give_up_at = now + HANDSHAKE_LIMIT_SECONDS
        self.undecryptable = 0
        self._early: list[tuple[int, int, bytes]] = []
        self._flight: Flight = ()
        self._answered_below = 0
        self._sent_at = -math.inf
        self._retransmit_after = _FIRST_RETRANSMIT_SECONDS
        self._retransmit_at = math.inf

    def begin(self, flight: Flight, now: float) -> Flight:
        """Note a new flight, which answers all that has been received, and return it for sending."""
        self._flight = flight
        self._answered_below = self.reassembly.next_sequence
        self._retransmit_after = _FIRST_RETRANSMIT_SECONDS
        return self._send(now)

    def next_deadline(self) -> float:
        """When `on_deadline` is due."""
        return min(self._retransmit_at, self.give_up_at)

    def on_deadline(self, now: float) -> Flight:
        """Return the flight if it is time to send it again; the limit is the caller's to look at."""
        if now < self._retransmit_at:
            return ()
        self._retransmit_after = min(2 * self._retransmit_after, _LAST_RETRANSMIT_SECONDS)
        return self._send(now)

    def was_answered(self, fragment: Fragment) -> bool:
        """Whether the current flight was sent in answer to this very message."""
        return fragment.sequence < self._answered_below

    def repeat(self, now: float) -> Flight:
        """Return the flight for a peer that has repeated its own, unless ours is hardly gone."""
        return self._send(now) if now - self._sent_at >= LEAST_REPEAT_SECONDS else ()

    def keep_early(self, kind: int, number: int, fragment: bytes) -> bool:
        """Keep a protected record whose time has not come; False when there are too many."""
        if len(self._early) >= _MAX_EARLY_RECORDS:
            return False
        self._early.append((kind, number, fragment))
        return True

    def take_early(self) -> list[tuple[int, int, bytes]]:
        """Return the kept records and forget them, in the order of record types.

        Handshake comes before application data: a Finished may have been overtaken by the data it vouches
        for.
        """
        early, self._early = self._early, []
        return sorted(early, key=lambda record: record[0])

    def _send(self, now: float) -> Flight:
        self._sent_at = now
        self._retransmit_at = now + self._retransmit_after
        return self._flight
