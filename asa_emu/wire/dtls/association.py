"""One DTLS association: what its server and its client have in common, which is nearly all of it.

Datagrams go into `receive`, which returns decrypted payloads; `datagrams_to_send` holds what the handshake
and alerts want sent; `seal` turns a payload into a datagram. Until the handshake ends there is an `Exchange`,
which is then dropped; what remains is a key each way, a number each way and a replay window, small enough to
have twenty thousand of. The side that had the last word in the handshake repeats it when the peer repeats.

Whatever is received is hostile until a key says otherwise. Bytes that make no sense are counted in `dropped`
and change nothing; in epoch 0, where nobody can be told from a forger, they can at worst end the handshake,
as they can in every DTLS; after it epoch 0 has no effect at all.
"""

import math
from collections.abc import Callable

from asa_emu.wire.dtls.alerts import ALERT_NAMES, CLOSE_NOTIFY, DECODE_ERROR, FATAL, WARNING, HandshakeRefused
from asa_emu.wire.dtls.channel import Channel
from asa_emu.wire.dtls.exchange import LEAST_REPEAT_SECONDS, Exchange
from asa_emu.wire.dtls.handshake import Flight, Handshake
from asa_emu.wire.dtls.messages import FINISHED, fragments_untrusted
from asa_emu.wire.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    SEQUENCE_BITS,
    encode_record,
    make_opener,
    make_sealer,
    records_untrusted,
)
from asa_emu.wire.dtls.suites import DTLS_0_9, VERSION_NAMES
from asa_emu.wire.errors import DtlsError

#: Times the side with the last word repeats it. A peer retransmits less than ten times in a minute.
_MAX_FINAL_REPEATS = 16


class Association(Channel):
    """The common surface of `DtlsServer` and `DtlsClient`; `now` is in seconds of one clock throughout."""

    __slots__ = (
        "_clear_number",
        "_exchange",
        "_final_at",
        "_final_repeats",
        "_master",
        "_mtu",
        "_outbox",
        "_rng",
        "client_random",
        "closed",
        "failure",
        "suite",
    )

    def __init__(
        self, handshake: Handshake, next_sequence: int, *, now: float, rng: Callable[[int], bytes], mtu: int
    ) -> None:
        super().__init__(handshake.version)
        self.suite = handshake.suite
        """The suite agreed on; before a PSK handshake has agreed, the likeliest."""
        self.closed = False
        """Ended: by the peer's close_notify or fatal alert, by `close`, or by a failed handshake."""
        self.failure: str | None = None
        """Why it ended, unless it was closed in order."""
        self.client_random = b""
        """The random of the ClientHello, by which a repeated hello is told from a new one."""
        self._master = b""
        self._rng = rng
        self._mtu = mtu
        self._exchange: Exchange | None = Exchange(handshake, next_sequence, now)
        self._outbox: list[bytes] = []
        self._clear_number = 0
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

    def max_payload(self, mtu: int) -> int:
        """Return the largest payload that `seal` fits into a UDP payload of `mtu` bytes."""
        return self.suite.max_payload(mtu)

    def keylog_line(self) -> str:
        """Return the NSS key log line that opens a capture in Wireshark; empty before there are keys.

        Good for resumptions and version 0x0100 too (docs/protocol.md §4.8).
        """
        return f"CLIENT_RANDOM {self.client_random.hex()} {self._master.hex()}" if self._master else ""

    def datagrams_to_send(self) -> list[bytes]:
        """Return, and forget, the datagrams that handshake and alerts want sent."""
        if not self._outbox:
            return []
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_deadline(self) -> float:
        """When `on_deadline` wants to be called next; infinity once the handshake has ended."""
        return math.inf if self._exchange is None else self._exchange.next_deadline()

    def on_deadline(self, now: float) -> None:
        """Retransmit the flight that was not answered, or give the handshake up."""
        exchange = self._exchange
        if exchange is None:
            return
        if now >= exchange.give_up_at:
            reason = "handshake timed out"
            if exchange.undecryptable:
                reason += f"; {exchange.undecryptable} records did not decrypt, the secrets may differ"
            self._end(reason)
        else:
            self._pack(exchange.on_deadline(now))

    def close(self) -> bytes:
        """End the association and return the close_notify datagram; empty if there is nobody to tell."""
        notice = self._alert(WARNING, CLOSE_NOTIFY) if self.established else b""
        self._end(None)
        return notice

    # Receiving, the long way

    def _receive_records(self, datagram: bytes, now: float) -> list[bytes]:
        payloads: list[bytes] = []
        exchange = self._exchange
        for record in records_untrusted(datagram):
            if record is None or self.closed:
                self.dropped += 1
                continue
            kind, version, number, fragment = record
            epoch = number >> SEQUENCE_BITS
            if epoch == 0 and version in VERSION_NAMES:
                self._on_clear(kind, fragment, now)
            elif epoch == 1 and (version == self._version or not self._keyed()):
                self._on_protected(kind, number, fragment, payloads, now)
            else:
                self.dropped += 1
        if exchange is not None and self._keyed():
            for kind, number, fragment in exchange.take_early():
                self._on_protected(kind, number, fragment, payloads, now)
        return payloads

    def _on_clear(self, kind: int, fragment: bytes, now: float) -> None:
        if self._exchange is None:
            self._on_late_handshake(kind, now)
        elif kind == HANDSHAKE:
            self._on_fragments(self._exchange, fragment, 0, now)
        elif kind == ALERT:
            self._on_alert(fragment)
        elif kind != CHANGE_CIPHER_SPEC:
            # A ChangeCipherSpec says only what the epoch of the next record says again.
            self.dropped += 1

    def _on_protected(
        self, kind: int, number: int, fragment: bytes, payloads: list[bytes], now: float
    ) -> None:
        exchange = self._exchange
        if not self._keyed() or (kind == APPLICATION_DATA and exchange is not None):
            if exchange is None or not exchange.keep_early(kind, number, fragment):
                self.dropped += 1
            return
        payload = self._unprotect(kind, number, fragment)
        if payload is None:
            self.dropped += 1
            if exchange is not None:
                exchange.undecryptable += 1
            return
        if kind == APPLICATION_DATA:
            self._final = ()
            if payload:
                payloads.append(payload)
        elif kind == ALERT:
            self._on_alert(payload)
        elif kind == HANDSHAKE and exchange is not None:
            self._on_fragments(exchange, payload, 1, now)
        else:
            self._on_late_handshake(kind, now)

    def _on_alert(self, payload: bytes) -> None:
        if len(payload) != 2:
            self.dropped += 1
            return
        level, code = payload
        if code == CLOSE_NOTIFY:
            if self.established:
                self._send(self._alert(WARNING, CLOSE_NOTIFY))
                self._end(None)
            else:
                self._end("the peer closed during the handshake")
        elif level == FATAL:
            self._end(f"the peer sent alert {ALERT_NAMES.get(code, code)}")

    # Handshake

    def _on_fragments(self, exchange: Exchange, payload: bytes, epoch: int, now: float) -> None:
        try:
            fragments = fragments_untrusted(payload)
        except DtlsError:
            self.dropped += 1
            return
        for fragment in fragments:
            if (fragment.kind == FINISHED) != (epoch == 1):
                self.dropped += 1
            elif exchange.was_answered(fragment):
                self._pack(exchange.repeat(now))
            elif not exchange.reassembly.add(fragment):
                self.dropped += 1
        try:
            while self._exchange is exchange and (message := exchange.reassembly.pop()):
                self._on_message(exchange, message, now)
        except DtlsError as error:
            alert = error.alert if isinstance(error, HandshakeRefused) else DECODE_ERROR
            self._send(self._alert(FATAL, alert))
            self._end(str(error))

    def _on_message(self, exchange: Exchange, message: tuple[int, int, bytes], now: float) -> None:
        handshake = exchange.handshake
        flight = handshake.step(*message)
        self.suite = handshake.suite
        self.client_random = handshake.client_random
        if handshake.keys is not None and not self._keyed():
            ours, theirs = handshake.keys
            self._master = handshake.master
            self._use(
                make_sealer(self.suite, ours, self._version, self._rng),
                make_opener(self.suite, theirs, self._version),
            )
            if self._version == DTLS_0_9:
                exchange.reassembly.skip()
        if flight:
            self._pack(exchange.begin(flight, now))
        if handshake.done:
            self._exchange = None
            self._final, self._final_at = flight, now
            self._let_data_flow()

    def _on_late_handshake(self, kind: int, now: float) -> None:
        """The peer repeats its last flight, so it has not seen ours; until it sends data that may be so."""
        self.dropped += 1
        if (
            self._final
            and kind in (HANDSHAKE, CHANGE_CIPHER_SPEC)
            and now - self._final_at >= LEAST_REPEAT_SECONDS
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
        self._send(datagram)

    def _send(self, datagram: bytes) -> None:
        if datagram:
            self._outbox.append(datagram)

    def _clear(self, kind: int, payload: bytes) -> bytes:
        record = encode_record(kind, self._version, self._clear_number, payload)
        self._clear_number += 1
        return record

    def _alert(self, level: int, code: int) -> bytes:
        payload = bytes((level, code))
        return self._protect(ALERT, payload) if self._keyed() else self._clear(ALERT, payload)

    def _end(self, failure: str | None) -> None:
        if not self.closed:
            self.failure = failure
        self.closed = True
        self._exchange = None
        self._stop()
