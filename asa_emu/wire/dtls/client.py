"""The client's side of the two handshakes (drawn in server.py), and of HelloVerifyRequest.

The hello goes out with the constructor. A HelloVerifyRequest starts over: the same hello with the cookie in
it, the next message sequence, a fresh transcript. A server that does a full handshake where it should resume
is refused, as openconnect does: nobody without the master secret could resume, so somebody is in the middle.
"""

from collections.abc import Callable

from asa_emu.wire.dtls.alerts import HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, PROTOCOL_VERSION, HandshakeRefused
from asa_emu.wire.dtls.association import Association
from asa_emu.wire.dtls.handshake import Flight, Handshake
from asa_emu.wire.dtls.hello import client_hello, read_hello_verify_untrusted, read_server_hello_untrusted
from asa_emu.wire.dtls.keys import Psk, Secret, master_from_psk
from asa_emu.wire.dtls.messages import (
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    FINISHED,
    HELLO_VERIFY_REQUEST,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE,
)
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

    __slots__ = ()

    def __init__(
        self,
        secret: Secret,
        *,
        now: float,
        rng: Callable[[int], bytes],
        mtu: int = 1400,
        psk_suites: tuple[int, ...] = tuple(PSK_SUITES),
    ) -> None:
        handshake = ClientHandshake(secret, rng(32), psk_suites)
        super().__init__(handshake, 0, now=now, rng=rng, mtu=mtu)
        self.client_random = handshake.client_random
        assert self._exchange is not None
        self._pack(self._exchange.begin(handshake.hello(), now))


class ClientHandshake(Handshake):
    """The messages of the client's side."""

    __slots__ = ("_cookie", "_cookies_left", "_offered", "_secret")

    is_client = True

    def __init__(self, secret: Secret, random: bytes, psk_suites: tuple[int, ...]) -> None:
        if isinstance(secret, Psk):
            super().__init__(SUITES[0x00A9], DTLS_1_2, (HELLO_VERIFY_REQUEST, SERVER_HELLO))
            self._offered = psk_suites
        else:
            super().__init__(secret.suite, secret.version, (HELLO_VERIFY_REQUEST, SERVER_HELLO))
            self._offered = (secret.suite.code,)
        self.client_random = random
        self._secret = secret
        self._cookie = b""
        self._cookies_left = _MAX_COOKIES

    def hello(self) -> Flight:
        """Return the flight that begins it all, or begins again with a cookie."""
        secret = self._secret
        session_id = secret.app_id if isinstance(secret, Psk) else secret.session_id
        self._forget_transcript()
        body = client_hello(self.version, self.client_random, session_id, self._cookie, self._offered)
        return [self._write(CLIENT_HELLO, body)]

    def _on_message(self, kind: int, sequence: int, body: bytes) -> Flight:
        if kind == HELLO_VERIFY_REQUEST:
            return self._on_hello_verify(body)
        if kind == SERVER_HELLO:
            self._on_server_hello(body)
            return ()
        if kind == SERVER_KEY_EXCHANGE:
            # A PSK identity hint, which has nothing to tell us.
            self.expected = (SERVER_HELLO_DONE,)
            return ()
        if kind == SERVER_HELLO_DONE:
            return self._exchange_keys()
        self.done = True
        return () if isinstance(self._secret, Psk) else self._finish()

    def _on_hello_verify(self, body: bytes) -> Flight:
        self._cookie = read_hello_verify_untrusted(body)
        if self._cookies_left == 0:
            raise HandshakeRefused(HANDSHAKE_FAILURE, "the server asks for one cookie after the other")
        self._cookies_left -= 1
        return self.hello()

    def _on_server_hello(self, body: bytes) -> None:
        secret = self._secret
        hello = read_server_hello_untrusted(body)
        if hello.version != self.version:
            raise HandshakeRefused(PROTOCOL_VERSION, f"the server chose version {hello.version:#06x}")
        if hello.suite not in self._offered:
            raise HandshakeRefused(ILLEGAL_PARAMETER, f"the server chose suite {hello.suite:#06x}")
        self.server_random = hello.random
        self.suite = SUITES[hello.suite]
        if isinstance(secret, Psk):
            self.expected = (SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE)
            return
        if hello.session_id != secret.session_id:
            raise HandshakeRefused(HANDSHAKE_FAILURE, "the server did not resume the session")
        self.expected = (FINISHED,)
        self._take_master(secret.master_secret)

    def _exchange_keys(self) -> Flight:
        assert isinstance(self._secret, Psk)
        self.expected = (FINISHED,)
        exchange = self._write(CLIENT_KEY_EXCHANGE, len(_IDENTITY).to_bytes(2, "big") + _IDENTITY)
        self._take_master(master_from_psk(self._secret, self.suite, self.client_random, self.server_random))
        return [exchange, *self._finish()]
