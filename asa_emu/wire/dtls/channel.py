"""The protected half of an association: sealing, opening, and the window that sees replays. The hot path.

Everything here is about epoch 1, the only one that carries data; clear records and handshakes belong to
`association.py`, to which `receive` leaves whatever is not plainly one application record. For a datagram
that is one it takes a header, a comparison with the window and a call of the opener, and makes no object
beside the payload.
"""

from abc import ABC, abstractmethod

from asa_emu.wire.dtls.handshake import Flight
from asa_emu.wire.dtls.records import (
    APPLICATION_DATA,
    MAX_FRAGMENT,
    RECORD_HEADER,
    SEQUENCE_BITS,
    SEQUENCE_LIMIT,
    Datagram,
    Opener,
    Sealer,
)
from asa_emu.wire.dtls.suites import RECORD_HEADER_LENGTH
from asa_emu.wire.errors import DtlsError

_EPOCH_ONE = 1 << SEQUENCE_BITS
_LAST_NUMBER = _EPOCH_ONE + SEQUENCE_LIMIT
_WINDOW = 64
_WINDOW_MASK = (1 << _WINDOW) - 1
_NEVER = 1 << 30


def _seal_nothing(kind: int, number: int, payload: bytes) -> bytes:
    raise DtlsError("the association has no keys")


def _open_nothing(kind: int, number: int, datagram: Datagram, start: int, end: int) -> bytes | None:
    return None


class Channel(ABC):
    """Keys, numbers and replay window of the records that carry data."""

    __slots__ = (
        "_final",
        "_least_data",
        "_open",
        "_seal",
        "_send_limit",
        "_send_number",
        "_top",
        "_version",
        "_window",
        "dropped",
        "established",
    )

    def __init__(self, version: int) -> None:
        self.established = False
        """The handshake is done and data may flow; False again once closed."""
        self.dropped = 0
        """Records and datagrams that were not what they should be: forged, replayed, malformed, late."""
        self._version = version
        self._seal: Sealer = _seal_nothing
        self._open: Opener = _open_nothing
        self._send_number = _EPOCH_ONE
        self._send_limit = 0
        self._top = _EPOCH_ONE - 1
        self._window = 0
        # Length from which a datagram may be an application record; out of reach while none may be.
        self._least_data = _NEVER
        # Our last flight, if it ended the handshake; data shows that the peer has it.
        self._final: Flight = ()

    def receive(self, datagram: Datagram, now: float) -> list[bytes]:
        """Take a datagram and return the application payloads in it, none of them empty. Never raises.

        Afterwards the caller looks at `datagrams_to_send`, `established`, `closed` and, in a handshake,
        `next_deadline`. The datagram is not kept, so it may be a view of a buffer that is used again.
        """
        size = len(datagram)
        if size >= self._least_data and datagram[0] == APPLICATION_DATA:
            kind, version, number, length = RECORD_HEADER.unpack_from(datagram)
            if (
                length == size - RECORD_HEADER_LENGTH
                and version == self._version
                and number >> SEQUENCE_BITS == 1
            ):
                behind = self._top - number
                if behind < 0 or (behind < _WINDOW and not self._window >> behind & 1):
                    payload = self._open(kind, number, datagram, RECORD_HEADER_LENGTH, size)
                    if payload is not None:
                        if behind == -1:
                            self._window = (self._window << 1 | 1) & _WINDOW_MASK
                            self._top = number
                        else:
                            self._mark_seen(number)
                        if self._final:
                            self._final = ()
                        return [payload] if payload else []
                self.dropped += 1
                return []
        return self._receive_records(bytes(datagram), now)

    def seal(self, payload: bytes) -> bytes:
        """Return the datagram that carries a payload of at most 16,384 bytes in one record.

        Raises DtlsError when the association is not established or its sequence numbers are used up.
        """
        number = self._send_number
        if number >= self._send_limit or len(payload) > MAX_FRAGMENT:
            raise self._cannot_seal(payload)
        self._send_number = number + 1
        return self._seal(APPLICATION_DATA, number, payload)

    def try_open(self, datagram: Datagram) -> bytes | None:
        """Return the payload of a datagram that is one application record newer than any seen; else None.

        For data from an unknown address: only a newer record may move the peer, or a replayed one could steal
        it. Changes nothing unless it returns a payload, which then counts as received.
        """
        opened = self._try_first(datagram)
        if opened is None or datagram[0] != APPLICATION_DATA:
            return None
        number, payload, size = opened
        if size != len(datagram) or not payload:
            return None
        self._mark_seen(number)
        self._final = ()
        return payload

    @abstractmethod
    def _receive_records(self, datagram: bytes, now: float) -> list[bytes]:
        """Take a datagram that is not plainly one application record."""

    def _keyed(self) -> bool:
        return self._open is not _open_nothing

    def _use(self, sealer: Sealer, opener: Opener) -> None:
        self._seal, self._open = sealer, opener

    def _let_data_flow(self) -> None:
        self.established = True
        self._send_limit = _LAST_NUMBER
        self._least_data = RECORD_HEADER_LENGTH

    def _stop(self) -> None:
        self.established = False
        self._seal, self._open = _seal_nothing, _open_nothing
        self._send_limit = 0
        self._least_data = _NEVER
        self._final = ()

    def _protect(self, kind: int, payload: bytes) -> bytes:
        """Seal a record that is no data; empty when the numbers are used up."""
        if self._send_number >= _LAST_NUMBER:
            return b""
        record = self._seal(kind, self._send_number, payload)
        self._send_number += 1
        return record

    def _unprotect(self, kind: int, number: int, fragment: bytes) -> bytes | None:
        """Open a record that is neither a replay nor forged."""
        behind = self._top - number
        if behind >= 0 and (behind >= _WINDOW or self._window >> behind & 1):
            return None
        payload = self._open(kind, number, fragment, 0, len(fragment))
        if payload is not None:
            self._mark_seen(number)
        return payload

    def _mark_seen(self, number: int) -> None:
        ahead = number - self._top
        if ahead > 0:
            # The shift is capped: a peer may skip 2**47 numbers.
            self._window = (self._window << min(ahead, _WINDOW) | 1) & _WINDOW_MASK
            self._top = number
        else:
            self._window |= 1 << -ahead

    def _try_first(self, datagram: Datagram) -> tuple[int, bytes, int] | None:
        if not self.established or len(datagram) < RECORD_HEADER_LENGTH:
            return None
        kind, version, number, length = RECORD_HEADER.unpack_from(datagram)
        end = RECORD_HEADER_LENGTH + length
        if version != self._version or not self._top < number <= _LAST_NUMBER or end > len(datagram):
            return None
        payload = self._open(kind, number, datagram, RECORD_HEADER_LENGTH, end)
        return None if payload is None else (number, payload, end)

    def _cannot_seal(self, payload: bytes) -> DtlsError:
        if not self.established:
            return DtlsError("the association is not established")
        if len(payload) > MAX_FRAGMENT:
            return DtlsError(f"payload of {len(payload)} bytes exceeds {MAX_FRAGMENT}")
        return DtlsError("sequence numbers are used up")
