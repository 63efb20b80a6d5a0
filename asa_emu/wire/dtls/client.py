"""The client's side of the two handshakes (drawn in server.py), and of HelloVerifyRequest.

The hello goes out with the constructor. A HelloVerifyRequest starts over: the same hello with the cookie in
it, the next message sequence, a fresh transcript. A server that does a full handshake where it should resume
is refused, as openconnect does: nobody without the master secret could resume, so somebody is in the middle.
"""

import hmac
from collections.abc import Callable

from asa_emu.wire.dtls.association import (
    DECRYPT_ERROR,
    HANDSHAKE_FAILURE,
    ILLEGAL_PARAMETER,
    PROTOCOL_VERSION,
    Association,
    Handshake,
    HandshakeRefused,
)
from asa_emu.wire.dtls.hello import client_hello, read_hello_verify_untrusted, read_server_hello_untrusted
from asa_emu.wire.dtls.keys import Psk, Secret, master_from_psk, record_keys, verify_data
from asa_emu.wire.dtls.messages import (
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    FINISHED,
    HELLO_VERIFY_REQUEST,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE,
)
from asa_emu.wire.dtls.records import HANDSHAKE
from asa_emu.wire.dtls.suites import DTLS_1_2, PSK_SUITES, SUITES

#: Every openconnect sends this identity, and no server looks at it.
_IDENTITY = b"psk"
#: A server that keeps changing its cookie is not worth more than this.
_MAX_COOKIES = 4


class DtlsClient(Association):
    """Says hello at once: send `datagrams_to_send`. Fails 30 s after `now` if not done by then.

    `rng(n)` returns n unpredictable bytes; `mtu` bounds the datagrams of the handshake, not those of `seal`.
    `psk_suites` narrows what a PSK hello offers.
    """

    __slots__ = ("_cookie", "_cookies_left", "_offered", "_secret")

    def __init__(
        self,
        secret: Secret,
        *,
        now: float,
        rng: Callable[[int], bytes],
        mtu: int = 1400,
        psk_suites: tuple[int, ...] = tuple(PSK_SUITES),
    ) -> None:
        self._secret = secret
        self._cookie = b""
        self._cookies_left = _MAX_COOKIES
        handshake = Handshake((HELLO_VERIFY_REQUEST, SERVER_HELLO), 0, now)
        if isinstance(secret, Psk):
            self._offered = psk_suites
            super().__init__(SUITES[0x00A9], DTLS_1_2, handshake, rng, mtu)
        else:
            self._offered = (secret.suite.code,)
            super().__init__(secret.suite, secret.version, handshake, rng, mtu)
        self.client_random = rng(32)
        self._say_hello(handshake, now)

    def _say_hello(self, handshake: Handshake, now: float) -> None:
        secret = self._secret
        body = client_hello(
            DTLS_1_2 if isinstance(secret, Psk) else secret.version,
            self.client_random,
            secret.app_id if isinstance(secret, Psk) else secret.session_id,
            self._cookie,
            self._offered,
        )
        handshake.transcript.clear()
        self._send_flight(handshake, [(0, HANDSHAKE, self._write(handshake, CLIENT_HELLO, body))], now)

    def _on_message(self, handshake: Handshake, kind: int, sequence: int, body: bytes, now: float) -> None:
        if kind == HELLO_VERIFY_REQUEST:
            self._on_hello_verify(handshake, body, now)
            return
        if kind == FINISHED:
            self._check_finished(handshake, body)
        self._hash(handshake, kind, sequence, body)
        if kind == SERVER_HELLO:
            self._on_server_hello(handshake, body)
        elif kind == SERVER_KEY_EXCHANGE:
            # A PSK identity hint, which has nothing to tell us.
            handshake.expected = (SERVER_HELLO_DONE,)
        elif kind == SERVER_HELLO_DONE:
            self._exchange_keys(handshake, now)
        elif isinstance(self._secret, Psk):
            self._establish(handshake, now, last_word=False)
        else:
            self._send_flight(handshake, self._finish(handshake), now)
            self._establish(handshake, now, last_word=True)

    def _on_hello_verify(self, handshake: Handshake, body: bytes, now: float) -> None:
        cookie = read_hello_verify_untrusted(body)
        if self._cookies_left == 0:
            raise HandshakeRefused(HANDSHAKE_FAILURE, "the server asks for one cookie after the other")
        self._cookies_left -= 1
        self._cookie = cookie
        self._say_hello(handshake, now)

    def _on_server_hello(self, handshake: Handshake, body: bytes) -> None:
        secret = self._secret
        hello = read_server_hello_untrusted(body)
        expected = DTLS_1_2 if isinstance(secret, Psk) else secret.version
        if hello.version != expected:
            raise HandshakeRefused(PROTOCOL_VERSION, f"the server chose version {hello.version:#06x}")
        if hello.suite not in self._offered:
            raise HandshakeRefused(ILLEGAL_PARAMETER, f"the server chose suite {hello.suite:#06x}")
        self._version = hello.version
        self._server_random = hello.random
        self.suite = SUITES[hello.suite]
        if isinstance(secret, Psk):
            handshake.expected = (SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE)
            return
        if hello.session_id != secret.session_id:
            raise HandshakeRefused(HANDSHAKE_FAILURE, "the server did not resume the session")
        self._take_master(handshake, secret.master_secret)
        handshake.expected = (FINISHED,)

    def _exchange_keys(self, handshake: Handshake, now: float) -> None:
        assert isinstance(self._secret, Psk)
        body = len(_IDENTITY).to_bytes(2, "big") + _IDENTITY
        exchange = (0, HANDSHAKE, self._write(handshake, CLIENT_KEY_EXCHANGE, body))
        master = master_from_psk(self._secret, self.suite, self.client_random, self._server_random)
        self._take_master(handshake, master)
        handshake.expected = (FINISHED,)
        self._send_flight(handshake, [exchange, *self._finish(handshake)], now)

    def _take_master(self, handshake: Handshake, master: bytes) -> None:
        self._master = master
        ours, theirs = record_keys(master, self.suite, self._version, self.client_random, self._server_random)
        self._use_keys(handshake, ours, theirs)

    def _check_finished(self, handshake: Handshake, body: bytes) -> None:
        transcript = bytes(handshake.transcript)
        expected = verify_data(self._master, b"server finished", transcript, self.suite, self._version)
        if not hmac.compare_digest(body, expected):
            raise HandshakeRefused(DECRYPT_ERROR, "the server's Finished is wrong")

    def _finish(self, handshake: Handshake) -> list[tuple[int, int, bytes]]:
        change = self._change_cipher_spec(handshake)
        transcript = bytes(handshake.transcript)
        body = verify_data(self._master, b"client finished", transcript, self.suite, self._version)
        return [change, (1, HANDSHAKE, self._write(handshake, FINISHED, body))]
