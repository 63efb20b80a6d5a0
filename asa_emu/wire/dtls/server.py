"""The headend's side of the two handshakes.

    PSK-NEGOTIATE                                   resumption from X-DTLS-Master-Secret
    ClientHello          ->                         ClientHello          ->
                         <- ServerHello, Done                            <- ServerHello, CCS, Finished
    KeyExchange, CCS, Finished ->                   CCS, Finished        ->
                         <- CCS, Finished

The first hello may have any message sequence: after a HelloVerifyRequest, which `CookieJar` sent without
keeping state, it is number 1, and only that hello is hashed. Our record numbers continue the hello's.
"""

from collections.abc import Callable

from asa_emu.wire.dtls.alerts import DECODE_ERROR, HANDSHAKE_FAILURE, PROTOCOL_VERSION, HandshakeRefused
from asa_emu.wire.dtls.association import Association
from asa_emu.wire.dtls.handshake import Flight, Handshake
from asa_emu.wire.dtls.hello import (
    ClientHelloPeek,
    peek_client_hello_untrusted,
    read_client_hello_untrusted,
    server_hello,
)
from asa_emu.wire.dtls.keys import Psk, Resumption, Secret, master_from_psk
from asa_emu.wire.dtls.messages import (
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    FINISHED,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    Fragment,
)
from asa_emu.wire.dtls.suites import DTLS_1_0, DTLS_1_2, PSK_SUITES, SUITES, Suite

#: Below every message sequence by more than a reassembly looks ahead.
_ANY_SEQUENCE = -(1 << 16)


class DtlsServer(Association):
    """Made when a hello for `secret` came, and given that hello with `receive`; fails 30 s after `now` if not
    done.

    `rng(n)` returns n unpredictable bytes; `mtu` bounds the datagrams of the handshake, not those of `seal`.
    """

    __slots__ = ()

    def __init__(self, secret: Secret, *, now: float, rng: Callable[[int], bytes], mtu: int = 1400) -> None:
        super().__init__(ServerHandshake(secret, rng), _ANY_SEQUENCE, now=now, rng=rng, mtu=mtu)

    def _receive_records(self, datagram: bytes, now: float) -> list[bytes]:
        exchange = self._exchange
        if exchange is not None and exchange.reassembly.next_sequence == _ANY_SEQUENCE:
            hello = peek_client_hello_untrusted(datagram)
            if hello is not None:
                exchange.reassembly.next_sequence = hello.message_sequence
                self._clear_number = hello.record_sequence
        return super()._receive_records(datagram, now)


class ServerHandshake(Handshake):
    """The messages of the headend's side."""

    __slots__ = ("_rng", "_secret")

    is_client = False

    def __init__(self, secret: Secret, rng: Callable[[int], bytes]) -> None:
        if isinstance(secret, Psk):
            super().__init__(SUITES[0x00A9], DTLS_1_2, (CLIENT_HELLO,))
        else:
            super().__init__(secret.suite, secret.version, (CLIENT_HELLO,))
        self._secret = secret
        self._rng = rng

    def _on_message(self, kind: int, sequence: int, body: bytes) -> Flight:
        if kind == CLIENT_HELLO:
            return self._on_hello(
                read_client_hello_untrusted(Fragment(kind, len(body), sequence, 0, body), 0)
            )
        if kind == CLIENT_KEY_EXCHANGE:
            self._on_key_exchange(body)
            return ()
        self.done = True
        return self._finish() if isinstance(self._secret, Psk) else ()

    def _on_hello(self, hello: ClientHelloPeek) -> Flight:
        secret = self._secret
        if not hello.null_compression:
            raise HandshakeRefused(HANDSHAKE_FAILURE, "the client insists on TLS compression")
        self.suite = _agree(secret, hello)
        self.send_sequence = hello.message_sequence
        self.client_random = hello.random
        self.server_random = self._rng(32)
        answer = server_hello(
            self.version,
            self.server_random,
            # A PSK client would take its own id, echoed, for a resumption.
            secret.session_id if isinstance(secret, Resumption) else b"",
            self.suite.code,
            renegotiation_info=hello.renegotiation_info,
        )
        flight = [self._write(SERVER_HELLO, answer)]
        if isinstance(secret, Resumption):
            self.expected = (FINISHED,)
            self._take_master(secret.master_secret)
            return [*flight, *self._finish()]
        self.expected = (CLIENT_KEY_EXCHANGE,)
        return [*flight, self._write(SERVER_HELLO_DONE, b"")]

    def _on_key_exchange(self, body: bytes) -> None:
        # The identity is "psk" from everybody; the hello has said who it is.
        if len(body) < 2 or int.from_bytes(body[:2], "big") != len(body) - 2:
            raise HandshakeRefused(DECODE_ERROR, "malformed ClientKeyExchange")
        assert isinstance(self._secret, Psk)
        self.expected = (FINISHED,)
        self._take_master(master_from_psk(self._secret, self.suite, self.client_random, self.server_random))


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
