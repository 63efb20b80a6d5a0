"""The headend's side of the two handshakes.

    PSK-NEGOTIATE                                   resumption from X-DTLS-Master-Secret
    ClientHello          ->                         ClientHello          ->
                         <- ServerHello, Done                            <- ServerHello, CCS, Finished
    KeyExchange, CCS, Finished ->                   CCS, Finished        ->
                         <- CCS, Finished

The first hello it is given may have any message sequence: after a HelloVerifyRequest, which `CookieJar` sent
without keeping state, it is number 1, and only that hello is hashed. Its record numbers continue the hello's.
"""

import hmac
from collections.abc import Callable

from asa_emu.wire.dtls.association import (
    DECODE_ERROR,
    DECRYPT_ERROR,
    HANDSHAKE_FAILURE,
    PROTOCOL_VERSION,
    Association,
    Handshake,
    HandshakeRefused,
)
from asa_emu.wire.dtls.hello import (
    ClientHelloPeek,
    peek_client_hello_untrusted,
    read_client_hello_untrusted,
    server_hello,
)
from asa_emu.wire.dtls.keys import Psk, Resumption, Secret, master_from_psk, record_keys, verify_data
from asa_emu.wire.dtls.messages import (
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    FINISHED,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    Fragment,
)
from asa_emu.wire.dtls.records import HANDSHAKE
from asa_emu.wire.dtls.suites import DTLS_1_0, DTLS_1_2, PSK_SUITES, SUITES, Suite

#: Below every message sequence by more than a reassembly looks ahead.
_ANY_SEQUENCE = -(1 << 16)


class DtlsServer(Association):
    """Made when a hello for `secret` came, and given that hello with `receive`; fails 30 s after `now` if not
    done.

    `rng(n)` returns n unpredictable bytes; `mtu` bounds the datagrams of the handshake, not those of `seal`.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: Secret, *, now: float, rng: Callable[[int], bytes], mtu: int = 1400) -> None:
        self._secret = secret
        suite, version = (
            (SUITES[0x00A9], DTLS_1_2) if isinstance(secret, Psk) else (secret.suite, secret.version)
        )
        super().__init__(suite, version, Handshake((CLIENT_HELLO,), _ANY_SEQUENCE, now), rng, mtu)

    def _receive_records(self, datagram: bytes, now: float) -> list[bytes]:
        handshake = self._handshake
        if handshake is not None and handshake.reassembly.next_sequence == _ANY_SEQUENCE:
            hello = peek_client_hello_untrusted(datagram)
            if hello is not None:
                handshake.reassembly.next_sequence = hello.message_sequence
                self._clear_number = hello.record_sequence
        return super()._receive_records(datagram, now)

    def _on_message(self, handshake: Handshake, kind: int, sequence: int, body: bytes, now: float) -> None:
        if kind == CLIENT_HELLO:
            fragment = Fragment(kind, len(body), sequence, 0, body)
            hello = read_client_hello_untrusted(fragment, self._clear_number)
            self._hash(handshake, kind, sequence, body)
            self._on_hello(handshake, hello, now)
        elif kind == CLIENT_KEY_EXCHANGE:
            self._hash(handshake, kind, sequence, body)
            self._on_key_exchange(handshake, body)
        else:
            self._check_finished(handshake, body)
            self._hash(handshake, kind, sequence, body)
            if isinstance(self._secret, Psk):
                self._send_flight(handshake, [*self._finish(handshake)], now)
                self._establish(handshake, now, last_word=True)
            else:
                self._establish(handshake, now, last_word=False)

    def _on_hello(self, handshake: Handshake, hello: ClientHelloPeek, now: float) -> None:
        secret = self._secret
        if not hello.null_compression:
            raise HandshakeRefused(HANDSHAKE_FAILURE, "the client insists on TLS compression")
        self.suite = _agree(secret, hello)
        handshake.send_sequence = hello.message_sequence
        self.client_random = hello.random
        self._server_random = self._rng(32)
        hello_body = server_hello(
            self._version,
            self._server_random,
            # A PSK client would take its own id, echoed, for a resumption.
            secret.session_id if isinstance(secret, Resumption) else b"",
            self.suite.code,
            renegotiation_info=hello.renegotiation_info,
        )
        flight = [(0, HANDSHAKE, self._write(handshake, SERVER_HELLO, hello_body))]
        if isinstance(secret, Resumption):
            self._take_master(handshake, secret.master_secret)
            flight += self._finish(handshake)
            handshake.expected = (FINISHED,)
        else:
            flight.append((0, HANDSHAKE, self._write(handshake, SERVER_HELLO_DONE, b"")))
            handshake.expected = (CLIENT_KEY_EXCHANGE,)
        self._send_flight(handshake, flight, now)

    def _on_key_exchange(self, handshake: Handshake, body: bytes) -> None:
        # The identity is "psk" from everybody; the hello has said who it is.
        if len(body) < 2 or int.from_bytes(body[:2], "big") != len(body) - 2:
            raise HandshakeRefused(DECODE_ERROR, "malformed ClientKeyExchange")
        assert isinstance(self._secret, Psk)
        master = master_from_psk(self._secret, self.suite, self.client_random, self._server_random)
        self._take_master(handshake, master)
        handshake.expected = (FINISHED,)

    def _take_master(self, handshake: Handshake, master: bytes) -> None:
        self._master = master
        theirs, ours = record_keys(master, self.suite, self._version, self.client_random, self._server_random)
        self._use_keys(handshake, ours, theirs)

    def _check_finished(self, handshake: Handshake, body: bytes) -> None:
        transcript = bytes(handshake.transcript)
        expected = verify_data(self._master, b"client finished", transcript, self.suite, self._version)
        if not hmac.compare_digest(body, expected):
            raise HandshakeRefused(DECRYPT_ERROR, "the client's Finished is wrong")

    def _finish(self, handshake: Handshake) -> list[tuple[int, int, bytes]]:
        change = self._change_cipher_spec(handshake)
        transcript = bytes(handshake.transcript)
        body = verify_data(self._master, b"server finished", transcript, self.suite, self._version)
        return [change, (1, HANDSHAKE, self._write(handshake, FINISHED, body))]


def _agree(secret: Secret, hello: ClientHelloPeek) -> Suite:
    """Return the suite for a hello, or refuse it."""
    if isinstance(secret, Psk):
        if secret.app_id and secret.app_id not in (hello.session_id, hello.app_id):
            raise HandshakeRefused(HANDSHAKE_FAILURE, "the hello names another App-ID")
        # DTLS versions count down; later ones are offered under the number of 1.2.
        if hello.version >> 8 != 0xFE or hello.version > DTLS_1_2:
            raise HandshakeRefused(
                PROTOCOL_VERSION, f"the client offers version {hello.version:#06x}, PSK needs 1.2"
            )
        for code in hello.suites:
            if code in PSK_SUITES:
                return PSK_SUITES[code]
        raise HandshakeRefused(HANDSHAKE_FAILURE, "the client offers no PSK suite that we have")
    if hello.session_id != secret.session_id:
        raise HandshakeRefused(HANDSHAKE_FAILURE, "the hello resumes another session")
    accepted = (DTLS_1_0, DTLS_1_2) if secret.version == DTLS_1_0 else (secret.version,)
    if hello.version not in accepted:
        raise HandshakeRefused(PROTOCOL_VERSION, f"the client offers version {hello.version:#06x}")
    if secret.suite.code not in hello.suites:
        raise HandshakeRefused(HANDSHAKE_FAILURE, f"the client does not offer {secret.suite.openssl_name}")
    return secret.suite
