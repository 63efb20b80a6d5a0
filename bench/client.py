"""The load generator's client: a socket, a TLS engine, and scripts that log it in.

A script is a Python generator that yields whenever it must wait for the headend; `crowd` resumes it with more
bytes fed to the engine. HTTP is as little as the headend's answers need: a head, a blank line, a body of
Content-Length bytes. Certificates are not checked: whoever runs this has started the headend himself.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Generator
from secrets import token_bytes

from OpenSSL import SSL

from asa_emu.transport.openssl import Scratch, TlsClosed, TlsEngine, prefer_x25519
from asa_emu.transport.udp import UdpSocket
from asa_emu.wire.auth_xml import auth_reply, init
from asa_emu.wire.dtls import PSK_NEGOTIATE, DtlsClient, Psk
from asa_emu.wire.headers import ConnectRequest, parse_connect_answer_untrusted
from bench.headend import PASSWORD, HeadendUnderTest

Steps = Generator[None, None, None]

USER_AGENT = "Open AnyConnect VPN Agent v9.01"
PATIENCE_MS = 5000  # for an answer over UDP
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, so that no port waits for a minute

scratch = Scratch(128 * 1024)


def client_context() -> SSL.Context:
    """TLS as openconnect offers it, but without a look at the certificate."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    prefer_x25519(context)
    return context


def _post(body: bytes) -> bytes:
    head = (
        f"POST / HTTP/1.1\r\nHost: bench\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n"
        "Accept-Encoding: identity\r\nX-Transcend-Version: 1\r\nX-Aggregate-Auth: 1\r\n"
        f"Content-Type: application/xml; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _connect_request() -> bytes:
    wanted = ConnectRequest(
        token="{token}",
        host="bench",
        user_agent=USER_AGENT,
        hostname="bench",
        base_mtu=1500,
        mtu=1406,
        full_ipv6=True,
        master_secret=bytes(48),
        dtls_ciphers=(PSK_NEGOTIATE, "OC-DTLS1_2-AES256-GCM", "OC-DTLS1_2-AES128-GCM", "AES256-SHA"),
        dtls12_ciphers=("ECDHE-ECDSA-AES256-GCM-SHA384", "AES256-GCM-SHA384", "AES128-SHA"),
    )
    lines = [b"%s: %s\r\n" % line for line in wanted.render()]
    return b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\n" + b"".join(lines) + b"\r\n"


INIT = _post(init("https://bench/", version="v9.01", device_id="linux-64"))
_ANYBODY = "user-----"
"""As long as any user's name, so that the body's length stands."""
_REPLY = _post(
    auth_reply(
        {"username": _ANYBODY, "password": PASSWORD},
        version="v9.01",
        device_id="linux-64",
        group_select="staff",
    )
)
_CONNECT = _connect_request()


class Client:
    """One connection to the headend, later a tunnel."""

    __slots__ = ("answer", "engine", "owed", "sock", "token", "unsent")

    def __init__(self, address: tuple[str, int], context: SSL.Context, source: str = "") -> None:
        """Connect, from the address `source` if that matters."""
        self.sock = socket.create_connection(address, source_address=(source, 0) if source else None)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.engine = TlsEngine(context, server_side=False)
        self.token = b""
        self.answer = b""
        """The head of the answer to CONNECT."""
        self.unsent = b""
        self.owed = 0
        """Bytes of echoes that are still to come."""

    def receive(self) -> None:
        """Feed the engine with what waits on the socket."""
        try:
            count = self.sock.recv_into(scratch.buffer)
        except BlockingIOError:
            return
        if not count:
            raise RuntimeError("the headend closed a connection")
        self.engine.feed(scratch.view[:count])

    def read(self) -> bytes:
        """The plaintext that has come."""
        end = self.engine.read_into(scratch)
        if self.engine.ended is not None and not isinstance(self.engine.ended, TlsClosed):
            raise self.engine.ended
        return bytes(scratch.view[:end])

    def flush(self) -> None:
        """Send what the engine has; a login's requests always fit the socket's buffer."""
        data = self.engine.output()
        if data:
            self.sock.send(data)

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.sock.close()


def shake_hands(client: Client) -> Steps:
    """TLS."""
    while not client.engine.handshake():
        client.flush()
        yield
    client.flush()


def hear_out(client: Client) -> Steps:
    """Wait until the headend, too, has finished its handshake: it then sends two empty tickets."""
    yield
    client.read()


def exchange(client: Client, request: bytes) -> Generator[None, None, bytes]:
    """A request and its whole answer."""
    client.engine.write(request)
    client.flush()
    answer = b""
    while True:
        yield
        answer += client.read()
        head, blank, body = answer.partition(b"\r\n\r\n")
        if blank and len(body) >= int(_between(head, b"Content-Length: ", b"\r\n") or 0):
            return answer


def connect(client: Client) -> Steps:
    """CONNECT with the session's token."""
    answer = yield from exchange(client, _CONNECT.replace(b"{token}", client.token))
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"CONNECT was refused: {answer[:200]!r}")
    client.answer = answer


def log_in(client: Client, number: int) -> Steps:
    """Everything from TLS to the tunnel, as the user of that number."""
    yield from shake_hands(client)
    yield from exchange(client, INIT)
    answer = yield from exchange(client, _REPLY.replace(_ANYBODY.encode(), b"user%05d" % number))
    client.token = _between(answer, b"<session-token>", b"</session-token>")
    if not client.token:
        raise RuntimeError(f"the login was refused: {answer[:2000]!r}")
    yield from connect(client)


def inside_address(client: Client) -> str:
    """The address that the session got."""
    return _between(client.answer, b"X-CSTP-Address: ", b"\r\n").decode()


def _between(text: bytes, before: bytes, after: bytes) -> bytes:
    return text.partition(before)[2].partition(after)[0]


class DtlsTunnel:
    """The DTLS tunnel beside a client's TLS tunnel."""

    def __init__(self, client: Client, under_test: HeadendUnderTest) -> None:
        """Shake hands by PSK-NEGOTIATE."""
        lines = [line.partition(b": ") for line in client.answer.split(b"\r\n")[1:] if line]
        granted = parse_connect_answer_untrusted([(name, value) for name, _, value in lines])
        if granted.dtls is None or granted.dtls.app_id is None:
            raise RuntimeError("the headend offered no DTLS by PSK-NEGOTIATE")
        secret = Psk(client.engine.exporter(b"EXPORTER-openconnect-psk", 32), granted.dtls.app_id)
        self.address = under_test.dtls_address
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        self.udp = UdpSocket(sock)
        self.machine = DtlsClient(secret, now=0.0, rng=token_bytes)
        poll = select.poll()
        poll.register(self.udp, select.POLLIN)
        while not self.machine.established:
            self.udp.send(self.machine.datagrams_to_send(), self.address)
            if not poll.poll(PATIENCE_MS):
                raise RuntimeError("no answer over UDP")
            for _, datagrams in self.udp.drain():
                for datagram in datagrams:
                    self.machine.receive(datagram, 0.0)
        self.udp.send(self.machine.datagrams_to_send(), self.address)
