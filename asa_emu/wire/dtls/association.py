"""One DTLS association: what its server and its client have in common, which is nearly all of it.

Datagrams go into `receive`, which returns decrypted payloads; `datagrams_to_send` holds what the handshake
and alerts want sent; `seal` turns a payload into a datagram. Until the handshake ends there is a `Handshake`
with the transcript, the fragments, our last flight and its timer; then it is dropped, and what remains is a
key each way, a number each way and a replay window, small enough to have twenty thousand of.

`DtlsServer` and `DtlsClient` supply `_on_message`, one step per message of the peer. A handshake is
lock-step: each side sends a flight, and sends it again after 1, 2, 4 ... seconds until the other's next
flight is whole (RFC 6347 section 4.2.4). The side with the last word has no timer; it repeats its flight when
the peer repeats.

Whatever is received is hostile until a key says otherwise. Bytes that make no sense are counted in `dropped`
and change nothing; in epoch 0, where nobody can be told from a forger, they can at worst end the handshake,
as they can in every DTLS; after it epoch 0 has no effect at all.
"""

import math
from collections.abc import Callable, Sequence

from asa_emu.wire.dtls.keys import DirectionKeys
from asa_emu.wire.dtls.messages import FINISHED, Reassembly, encode_message, fragments_untrusted
from asa_emu.wire.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    MAX_FRAGMENT,
    RECORD_HEADER,
    SEQUENCE_BITS,
    SEQUENCE_LIMIT,
    Datagram,
    Opener,
    Sealer,
    encode_record,
    make_opener,
    make_sealer,
    records_untrusted,
)
from asa_emu.wire.dtls.suites import DTLS_0_9, RECORD_HEADER_LENGTH, VERSION_NAMES, Suite
from asa_emu.wire.errors import DtlsError

_FIRST_RETRANSMIT_SECONDS = 1.0
_LAST_RETRANSMIT_SECONDS = 8.0
#: openconnect gives up after 12 s; five losses in a row (1+2+4+8+8) still fit.
HANDSHAKE_LIMIT_SECONDS = 30.0
#: A copy that comes sooner is the network's, not a peer that has missed us; peers wait 0.4 s and more.
_LEAST_REPEAT_SECONDS = 0.25
#: Times the side with the last word repeats it. A peer retransmits less than ten times in a minute.
_MAX_FINAL_REPEATS = 16
#: Records that may wait for keys: the peer's Finished and the first packets behind it.
_MAX_EARLY_RECORDS = 8

_EPOCH_ONE = 1 << SEQUENCE_BITS
_WINDOW = 64
_WINDOW_MASK = (1 << _WINDOW) - 1
_NEVER = 1 << 30

CLOSE_NOTIFY = 0
UNEXPECTED_MESSAGE = 10
HANDSHAKE_FAILURE = 40
ILLEGAL_PARAMETER = 47
DECODE_ERROR = 50
DECRYPT_ERROR = 51
PROTOCOL_VERSION = 70

_ALERT_NAMES = {
    CLOSE_NOTIFY: "close_notify",
    UNEXPECTED_MESSAGE: "unexpected_message",
    20: "bad_record_mac",
    HANDSHAKE_FAILURE: "handshake_failure",
    ILLEGAL_PARAMETER: "illegal_parameter",
    DECODE_ERROR: "decode_error",
    DECRYPT_ERROR: "decrypt_error",
    PROTOCOL_VERSION: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    90: "user_canceled",
    115: "unknown_psk_identity",
}
_WARNING, _FATAL = 1, 2


def _seal_nothing(kind: int, number: int, payload: bytes) -> bytes:
    raise DtlsError("the association has no keys")


def _open_nothing(kind: int, number: int, datagram: Datagram, start: int, end: int) -> bytes | None:
    return None


#: (epoch, record type, payload)
Flight = Sequence[tuple[int, int, bytes]]


class HandshakeRefused(DtlsError):
    """The handshake cannot go on; `alert` is what the peer is told."""

    def __init__(self, alert: int, text: str) -> None:
        super().__init__(text)
        self.alert = alert


class Handshake:
    """What an association needs only until its handshake ends."""

    __slots__ = (
        "answers_below",
        "early",
        "expected",
        "flight",
        "give_up_at",
        "reassembly",
        "retransmit_after",
        "retransmit_at",
        "send_sequence",
        "sent_at",
        "transcript",
        "undecryptable",
    )

    def __init__(self, expected: tuple[int, ...], next_sequence: int, now: float) -> None:
        self.expected = expected
        """The message types that may come next."""
        self.reassembly = Reassembly(next_sequence)
        self.transcript = bytearray()
        self.send_sequence = 0
        self.flight: Flight = ()
        self.answers_below = 0
        """Messages below this sequence were answered by `flight`; when they come again, so must it."""
        self.sent_at = -math.inf
        self.retransmit_after = _FIRST_RETRANSMIT_SECONDS
        self.retransmit_at = math.inf
        self.give_up_at = now + HANDSHAKE_LIMIT_SECONDS
        self.early: list[tuple[int, int, bytes]] = []
        self.undecryptable = 0


class Association:
    """The common surface of `DtlsServer` and `DtlsClient`; `now` is in seconds of one clock throughout."""

    __slots__ = (
        "_clear_number",
        "_final",
        "_final_at",
        "_final_repeats",
        "_handshake",
        "_least_data",
        "_master",
        "_mtu",
        "_open",
        "_outbox",
        "_rng",
        "_seal",
        "_send_limit",
        "_send_number",
        "_server_random",
        "_top",
        "_version",
        "_window",
        "client_random",
        "closed",
        "dropped",
        "established",
        "failure",
        "suite",
    )

    def __init__(
        self, suite: Suite, version: int, handshake: Handshake, rng: Callable[[int], bytes], mtu: int
    ) -> None:
        self.suite = suite
        """The suite agreed on; before a PSK handshake has agreed, the likeliest."""
        self.established = False
        """The handshake is done and data may flow; False again once `closed`."""
        self.closed = False
        """Ended: by the peer's close_notify or fatal alert, by `close`, or by a failed handshake."""
        self.failure: str | None = None
        """Why it ended, unless it was closed in order."""
        self.dropped = 0
        """Records and datagrams that were not what they should be: forged, replayed, malformed, late."""
        self.client_random = b""
        """The random of the ClientHello: names the handshake, so that a repeated hello is not taken for a new
        one."""
        self._server_random = b""
        self._master = b""
        self._version = version
        self._rng = rng
        self._mtu = mtu
        self._handshake: Handshake | None = handshake
        self._outbox: list[bytes] = []
        self._clear_number = 0
        self._send_number = _EPOCH_ONE
        self._send_limit = 0
        self._seal: Sealer = _seal_nothing
        self._open: Opener = _open_nothing
        self._top = _EPOCH_ONE - 1
        self._window = 0
        # Length from which a datagram may be an application record; out of reach while none may be.
        self._least_data = _NEVER
        self._final: Flight = ()
        self._final_at = 0.0
        self._final_repeats = 0

    def __repr__(self) -> str:
        state = "closed" if self.closed else "established" if self.established else "handshaking"
        return f"<{type(self).__name__} {self.version_name} {self.suite.openssl_name} {state}>"

    @property
    def version_name(self) -> str:
        """`DTLSv1.2`, `DTLSv1.0` or `DTLSv0.9`, as Cisco displays write it."""
        return VERSION_NAMES[self._version]

    @property
    def overhead(self) -> int:
        """The most bytes that `seal` may add to a payload."""
        return self.suite.overhead

    @property
    def highest_sequence(self) -> int:
        """The highest record sequence that has authenticated in epoch 1; -1 before any has."""
        return self._top - _EPOCH_ONE

    def max_payload(self, mtu: int) -> int:
        """Return the largest payload that `seal` fits into a UDP payload of `mtu` bytes."""
        return self.suite.max_payload(mtu)

    def keylog_line(self) -> str:
        """Return the NSS key log line that opens a capture in Wireshark; empty before there are keys.

        Good for resumptions and version 0x0100 too (dtls.md section 8).
        """
        return f"CLIENT_RANDOM {self.client_random.hex()} {self._master.hex()}" if self._master else ""

    # Data

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

    def authentic(self, datagram: Datagram) -> bool:
        """Whether a datagram begins with a record of this association newer than any seen. Changes nothing.

        For data from an unknown address: only a newer record may move the peer, or a replayed one could steal
        it.
        """
        return self._try_first(datagram) is not None

    def try_open(self, datagram: Datagram) -> bytes | None:
        """Return the payload of a datagram that is one application record, `authentic` as above; else None.

        Changes nothing unless it returns a payload, which then counts as received.
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

    def datagrams_to_send(self) -> list[bytes]:
        """Return, and forget, the datagrams that handshake and alerts want sent."""
        if not self._outbox:
            return []
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_deadline(self) -> float:
        """When `on_deadline` wants to be called next; infinity once the handshake has ended."""
        handshake = self._handshake
        return math.inf if handshake is None else min(handshake.retransmit_at, handshake.give_up_at)

    def on_deadline(self, now: float) -> None:
        """Retransmit the flight that was not answered, or give the handshake up."""
        handshake = self._handshake
        if handshake is None:
            return
        if now >= handshake.give_up_at:
            reason = "handshake timed out"
            if handshake.undecryptable:
                reason += f"; {handshake.undecryptable} records did not decrypt, the secrets may differ"
            self._end(reason)
        elif now >= handshake.retransmit_at:
            handshake.retransmit_after = min(2 * handshake.retransmit_after, _LAST_RETRANSMIT_SECONDS)
            self._transmit(handshake, now)

    def close(self) -> bytes:
        """End the association and return the close_notify datagram; empty if there is nobody to tell."""
        notice = self._alert(_WARNING, CLOSE_NOTIFY) if self.established else b""
        self._end(None)
        return notice

    # Receiving, the long way

    def _receive_records(self, datagram: bytes, now: float) -> list[bytes]:
        payloads: list[bytes] = []
        handshake = self._handshake
        for record in records_untrusted(datagram):
            if record is None or self.closed:
                self.dropped += 1
                continue
            kind, version, number, fragment = record
            epoch = number >> SEQUENCE_BITS
            if epoch == 0 and version in VERSION_NAMES:
                self._on_clear(kind, fragment, now)
            elif epoch == 1 and (version == self._version or self._open is _open_nothing):
                self._on_protected(kind, number, fragment, payloads, now)
            else:
                self.dropped += 1
        if handshake is not None and handshake.early and self._open is not _open_nothing:
            early, handshake.early = handshake.early, []
            # Handshake records first: the Finished may have been overtaken by the data it vouches for.
            for kind, number, fragment in sorted(early, key=lambda record: record[0] != HANDSHAKE):
                self._on_protected(kind, number, fragment, payloads, now)
        return payloads

    def _on_clear(self, kind: int, fragment: bytes, now: float) -> None:
        handshake = self._handshake
        if handshake is None:
            self._on_late_handshake(kind, now)
        elif kind == HANDSHAKE:
            self._on_fragments(handshake, fragment, 0, now)
        elif kind == ALERT:
            self._on_alert(fragment)
        elif kind != CHANGE_CIPHER_SPEC:
            # A ChangeCipherSpec says what the epoch of the next record says again; RFC 6347 section 4.1.
            self.dropped += 1

    def _on_protected(
        self, kind: int, number: int, fragment: bytes, payloads: list[bytes], now: float
    ) -> None:
        if self._open is _open_nothing or (kind == APPLICATION_DATA and not self.established):
            handshake = self._handshake
            if handshake is None or len(handshake.early) >= _MAX_EARLY_RECORDS:
                self.dropped += 1
            else:
                handshake.early.append((kind, number, fragment))
            return
        behind = self._top - number
        payload = None
        if behind < 0 or (behind < _WINDOW and not self._window >> behind & 1):
            payload = self._open(kind, number, fragment, 0, len(fragment))
            if payload is None and self._handshake is not None:
                self._handshake.undecryptable += 1
        if payload is None:
            self.dropped += 1
            return
        self._mark_seen(number)
        if kind == APPLICATION_DATA:
            self._final = ()
            if payload:
                payloads.append(payload)
        elif kind == ALERT:
            self._on_alert(payload)
        elif kind == HANDSHAKE and self._handshake is not None:
            self._on_fragments(self._handshake, payload, 1, now)
        else:
            self._on_late_handshake(kind, now)

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
        if (
            version != self._version
            or number >> SEQUENCE_BITS != 1
            or number <= self._top
            or end > len(datagram)
        ):
            return None
        payload = self._open(kind, number, datagram, RECORD_HEADER_LENGTH, end)
        return None if payload is None else (number, payload, end)

    def _on_alert(self, payload: bytes) -> None:
        if len(payload) != 2:
            self.dropped += 1
            return
        level, code = payload
        if code == CLOSE_NOTIFY:
            if self.established:
                self._outbox.append(self._alert(_WARNING, CLOSE_NOTIFY))
                self._end(None)
            else:
                self._end("the peer closed during the handshake")
        elif level == _FATAL:
            self._end(f"the peer sent alert {_ALERT_NAMES.get(code, code)}")

    # Handshake

    def _on_fragments(self, handshake: Handshake, payload: bytes, epoch: int, now: float) -> None:
        reassembly = handshake.reassembly
        try:
            fragments = fragments_untrusted(payload)
        except DtlsError:
            self.dropped += 1
            return
        for fragment in fragments:
            if (fragment.kind == FINISHED) != (epoch == 1):
                self.dropped += 1
            elif fragment.sequence < handshake.answers_below:
                self._repeat_flight(handshake, now)
            elif not reassembly.add(fragment):
                self.dropped += 1
            while self._handshake is handshake and (message := reassembly.pop()):
                kind, sequence, body = message
                try:
                    if kind not in handshake.expected:
                        raise HandshakeRefused(UNEXPECTED_MESSAGE, f"unexpected handshake message {kind}")
                    self._on_message(handshake, kind, sequence, body, now)
                except DtlsError as error:
                    self._refuse(error)

    def _on_message(self, handshake: Handshake, kind: int, sequence: int, body: bytes, now: float) -> None:
        raise NotImplementedError

    def _write(self, handshake: Handshake, kind: int, body: bytes) -> bytes:
        """Number and hash one of our messages."""
        sequence = handshake.send_sequence
        handshake.send_sequence += 1
        self._hash(handshake, kind, sequence, body)
        return encode_message(kind, sequence, body)

    def _hash(self, handshake: Handshake, kind: int, sequence: int, body: bytes) -> None:
        # DTLS 0.9 hashes no headers (protocol.md section 4.7); the others hash the header of the unfragmented
        # form.
        handshake.transcript += body if self._version == DTLS_0_9 else encode_message(kind, sequence, body)

    def _change_cipher_spec(self, handshake: Handshake) -> tuple[int, int, bytes]:
        if self._version != DTLS_0_9:
            return 0, CHANGE_CIPHER_SPEC, b"\x01"
        sequence = handshake.send_sequence
        handshake.send_sequence += 1
        return 0, CHANGE_CIPHER_SPEC, b"\x01" + sequence.to_bytes(2, "big")

    def _use_keys(self, handshake: Handshake, ours: DirectionKeys, theirs: DirectionKeys) -> None:
        self._seal = make_sealer(self.suite, ours, self._version, self._rng)
        self._open = make_opener(self.suite, theirs, self._version)
        if self._version == DTLS_0_9:
            handshake.reassembly.skip()

    def _send_flight(self, handshake: Handshake, flight: Flight, now: float) -> None:
        handshake.flight = flight
        handshake.answers_below = handshake.reassembly.next_sequence
        handshake.retransmit_after = _FIRST_RETRANSMIT_SECONDS
        self._transmit(handshake, now)

    def _transmit(self, handshake: Handshake, now: float) -> None:
        handshake.sent_at = now
        handshake.retransmit_at = now + handshake.retransmit_after
        self._pack(handshake.flight)

    def _repeat_flight(self, handshake: Handshake, now: float) -> None:
        if now - handshake.sent_at >= _LEAST_REPEAT_SECONDS:
            self._transmit(handshake, now)

    def _on_late_handshake(self, kind: int, now: float) -> None:
        """The peer repeats its last flight, so it has not seen ours; until it sends data that may be so."""
        self.dropped += 1
        if (
            self._final
            and kind in (HANDSHAKE, CHANGE_CIPHER_SPEC)
            and now - self._final_at >= _LEAST_REPEAT_SECONDS
        ):
            self._final_at = now
            self._final_repeats += 1
            self._pack(self._final)
            if self._final_repeats == _MAX_FINAL_REPEATS:
                self._final = ()

    def _pack(self, flight: Flight) -> None:
        datagram = b""
        for epoch, kind, payload in flight:
            record = self._clear(kind, payload) if epoch == 0 else self._protect(kind, payload)
            if datagram and len(datagram) + len(record) > self._mtu:
                self._outbox.append(datagram)
                datagram = b""
            datagram += record
        self._outbox.append(datagram)

    def _clear(self, kind: int, payload: bytes) -> bytes:
        record = encode_record(kind, self._version, self._clear_number, payload)
        self._clear_number += 1
        return record

    def _protect(self, kind: int, payload: bytes) -> bytes:
        if self._send_number >= _EPOCH_ONE + SEQUENCE_LIMIT:
            raise DtlsError("sequence numbers are used up")
        record = self._seal(kind, self._send_number, payload)
        self._send_number += 1
        return record

    def _alert(self, level: int, code: int) -> bytes:
        payload = bytes((level, code))
        try:
            return (
                self._clear(ALERT, payload) if self._seal is _seal_nothing else self._protect(ALERT, payload)
            )
        except DtlsError:
            return b""

    def _establish(self, handshake: Handshake, now: float, *, last_word: bool) -> None:
        if last_word:
            self._final, self._final_at = handshake.flight, now
        self._handshake = None
        self.established = True
        self._send_limit = _EPOCH_ONE + SEQUENCE_LIMIT
        self._least_data = RECORD_HEADER_LENGTH

    def _refuse(self, error: DtlsError) -> None:
        alert = error.alert if isinstance(error, HandshakeRefused) else DECODE_ERROR
        self._outbox.append(self._alert(_FATAL, alert))
        self._end(str(error))

    def _end(self, failure: str | None) -> None:
        if not self.closed:
            self.failure = failure
        self.closed = True
        self.established = False
        self._handshake = None
        self._seal, self._open = _seal_nothing, _open_nothing
        self._final = ()
        self._send_limit = 0
        self._least_data = _NEVER

    def _cannot_seal(self, payload: bytes) -> DtlsError:
        if not self.established:
            return DtlsError("the association is not established")
        if len(payload) > MAX_FRAGMENT:
            return DtlsError(f"payload of {len(payload)} bytes exceeds {MAX_FRAGMENT}")
        return DtlsError("sequence numbers are used up")
