"""The DTLS tunnel of the client against our own DTLS server, in one process and in mock time."""

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from asa_emu.transport.openssl import TlsBroken
from asa_emu.transport.udp import UdpSocket
from asa_emu.wire.dtls import (
    DTLS12_HEADER,
    DTLS_HEADER,
    CookieJar,
    DtlsServer,
    Psk,
    Resumption,
    Variant,
    named,
    peek_client_hello_untrusted,
)
from asa_emu.wire.frames import Frame, PacketType
from asa_emu.wire.packet import echo_reply, parse_echo_untrusted
from client_emu import Client, ClientOptions, Dtls, Reconnected, parse_gateway
from tests.fake_headend import Peer, fake_headend

Clock = trio.testing.MockClock


@dataclass(slots=True)
class DtlsEnd:
    """The headend's UDP port: it demands a cookie, shakes hands, and answers pings."""

    udp: UdpSocket
    answers_dpd: bool = True
    hellos: int = 0
    payloads: list[bytes] = field(default_factory=list)
    secret: Psk | Resumption | None = None
    association: DtlsServer | None = None
    address: Any = None

    @property
    def port(self) -> int:
        port: int = self.udp.socket.getsockname()[1]
        return port

    def send(self, payload: bytes) -> None:
        assert self.association is not None
        self._send([self.association.seal(payload)])

    async def run(self) -> None:
        jar = CookieJar(secrets.token_bytes(32))
        while True:
            await trio.lowlevel.wait_readable(self.udp.socket)
            for address, datagrams in self.udp.drain():
                for datagram in datagrams:
                    self._on_datagram(bytes(datagram), address, jar)

    def _on_datagram(self, datagram: bytes, address: Any, jar: CookieJar) -> None:
        now = trio.current_time()
        peek = peek_client_hello_untrusted(datagram)
        if peek is not None:
            self.hellos += 1
            self.address = address
            if verify := jar.answer(peek, datagram, address):
                self._send([verify])
                return
            assert self.secret is not None
            wanted = self.secret.app_id if isinstance(self.secret, Psk) else self.secret.session_id
            assert peek.id == wanted
            self.association = DtlsServer(self.secret, now=now, rng=secrets.token_bytes)
        if self.association is None:
            return
        for payload in self.association.receive(datagram, now):
            self._on_payload(payload)
        self._send(self.association.datagrams_to_send())

    def _on_payload(self, payload: bytes) -> None:
        self.payloads.append(payload)
        if payload[0] == PacketType.DPD_REQUEST and self.answers_dpd:
            self.send(bytes((PacketType.DPD_RESPONSE,)) + payload[1:])
        elif payload[0] == PacketType.DATA and (echo := parse_echo_untrusted(payload[1:])):
            self.send(bytes((PacketType.DATA,)) + echo_reply(echo))

    def _send(self, datagrams: list[bytes]) -> None:
        self.udp.send(datagrams, self.address)


@dataclass(slots=True)
class Lab:
    """A client with its options, the headend's DTLS end, and the frames that came over TLS."""

    options: ClientOptions
    dtls: DtlsEnd
    frames: list[Frame]


@contextlib.asynccontextmanager
async def lab(directory: Path, suite: str = "PSK-NEGOTIATE", header: str = DTLS_HEADER) -> AsyncIterator[Lab]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    dtls = DtlsEnd(UdpSocket(sock))
    frames: list[Frame] = []
    choice = named(header, suite)

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.log_in()
        identity = secrets.token_bytes(32)
        psk = choice.variant is Variant.PSK
        request = await peer.grant(
            {
                "X-DTLS-App-ID" if psk else "X-DTLS-Session-ID": identity.hex(),
                "X-DTLS-Port": str(dtls.port),
                header: suite,
                "X-DTLS-DPD": "30",
            }
        )
        if psk:
            dtls.secret = Psk(peer.stream.engine.exporter(b"EXPORTER-openconnect-psk", 32), identity)
        else:
            _, _, rest = request.partition(b"X-DTLS-Master-Secret: ")
            master = bytes.fromhex(rest[:96].decode())
            dtls.secret = Resumption(identity, master, choice.suite, choice.version)
        with contextlib.suppress(TlsBroken):
            while True:
                frames.append(await peer.frame())

    with sock:
        async with fake_headend(directory, script) as headend, trio.open_nursery() as nursery:
            nursery.start_soon(dtls.run)
            gateway = parse_gateway(f"127.0.0.1:{headend.port}")
            yield Lab(ClientOptions(gateway, user="walter", pin=headend.pin), dtls, frames)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("header", "suite", "cipher"),
    [
        (DTLS_HEADER, "PSK-NEGOTIATE", "DTLSv1.2 PSK-AES256-GCM-SHA384"),
        (DTLS_HEADER, "OC-DTLS1_2-AES128-GCM", "DTLSv1.2 AES128-GCM-SHA256"),
        (DTLS12_HEADER, "ECDHE-RSA-AES256-GCM-SHA384", "DTLSv1.2 ECDHE-RSA-AES256-GCM-SHA384"),
        (DTLS12_HEADER, "AES128-SHA", "DTLSv1.2 AES128-SHA"),
        (DTLS_HEADER, "AES256-SHA", "DTLSv0.9 AES256-SHA"),
    ],
)
async def test_each_variant_comes_up_through_a_cookie(
    tmp_path: Path, autojump_clock: Clock, header: str, suite: str, cipher: str
) -> None:
    async with lab(tmp_path, suite, header) as there, Client(there.options) as vpn:
        assert await vpn.next_event(Dtls) == Dtls(up=True, cipher=cipher)
        assert there.dtls.hellos == 2
        result = await vpn.ping("10.1.1.1", count=2)
        assert result.received == 2
        assert vpn.dtls_traffic.packets_in == vpn.dtls_traffic.packets_out == 2
        assert vpn.tls_traffic.packets_out == 0


async def test_the_headends_path_probe_comes_back_whole(tmp_path: Path, autojump_clock: Clock) -> None:
    async with lab(tmp_path) as there, Client(there.options) as vpn:
        await vpn.next_event(Dtls)
        probe = bytes((PacketType.DPD_REQUEST,)) + b"1234" + bytes(1395)
        there.dtls.send(probe)
        await trio.sleep(0.1)
        assert there.dtls.payloads == [bytes((PacketType.DPD_RESPONSE,)) + probe[1:]]


@pytest.mark.statement("S115")
async def test_dead_dtls_falls_back_to_tls_and_returns(tmp_path: Path, autojump_clock: Clock) -> None:
    async with lab(tmp_path) as there, Client(there.options) as vpn:
        await vpn.next_event(Dtls)
        vpn.block_udp()
        started = trio.current_time()
        assert await vpn.next_event(Dtls) == Dtls(up=False, cipher=None)
        # a silence of 30 s, four probes 30 s apart
        assert trio.current_time() - started == pytest.approx(150, abs=2)
        await vpn.ping("10.1.1.1", limit=0.5)
        assert [frame.kind for frame in there.frames if frame.kind == PacketType.DATA] == [PacketType.DATA]
        vpn.unblock_udp()
        assert (await vpn.next_event(Dtls)).up
        assert trio.current_time() - started < 150 + 12 + 60 + 5


async def test_unanswered_handshakes_leave_the_tunnel_alone(tmp_path: Path, autojump_clock: Clock) -> None:
    async with lab(tmp_path) as there, Client(there.options) as vpn:
        vpn.block_udp()
        await trio.sleep(3600)
        assert there.dtls.hellos <= 1
        assert vpn.dtls_cipher is None
        assert [event.name for event in vpn.events] == ["connected"]
        vpn.unblock_udp()
        with trio.fail_after(75):
            assert (await vpn.next_event(Dtls)).up


async def test_new_tunnel_brings_a_new_dtls_with_new_keys(tmp_path: Path, autojump_clock: Clock) -> None:
    async with lab(tmp_path) as there, Client(there.options) as vpn:
        await vpn.next_event(Dtls)
        old_secret, old_port = there.dtls.secret, vpn.udp_source_port
        vpn.drop_tcp()
        assert not (await vpn.next_event(Dtls)).up
        await vpn.next_event(Reconnected)
        assert (await vpn.next_event(Dtls)).up
        assert there.dtls.secret != old_secret
        assert vpn.udp_source_port != old_port
        assert (await vpn.ping("10.1.1.1")).received == 1


async def test_noise_on_the_udp_port_changes_nothing(tmp_path: Path, autojump_clock: Clock) -> None:
    async with lab(tmp_path) as there, Client(there.options) as vpn:
        await vpn.next_event(Dtls)
        for noise in (b"", b"\x17", b"\x17\xfe\xfd" + bytes(300), bytes(1400), b"\x15\xfe\xfd" + bytes(10)):
            there.dtls.udp.send([noise], there.dtls.address)
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with stranger:
            stranger.sendto(b"\x17" * 100, there.dtls.address)
        assert (await vpn.ping("10.1.1.1")).received == 1


async def test_a_headend_that_hangs_up_at_once_gets_no_storm_of_handshakes(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with lab(tmp_path) as there, Client(there.options) as vpn:

        async def hang_up() -> None:
            while True:
                if (await vpn.next_event(Dtls)).up and there.dtls.association is not None:
                    there.dtls.udp.send([there.dtls.association.close()], there.dtls.address)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_up)
            await trio.sleep(600)
            nursery.cancel_scope.cancel()
        ups = [event.up for event in vpn.events if isinstance(event, Dtls)]
        assert ups == [True, False] * (len(ups) // 2)
        assert 9 <= len(ups) // 2 <= 11
        assert (await vpn.ping("10.1.1.1", limit=0.5)).sent == 1


async def test_unknown_suite_is_not_spoken(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.grant(
            {"X-DTLS-Session-ID": "00" * 32, "X-DTLS-Port": "9", "X-DTLS-CipherSuite": "NULL-MD5"}
        )
        await trio.sleep_forever()

    async with fake_headend(tmp_path, script) as headend:
        options = ClientOptions(parse_gateway(f"127.0.0.1:{headend.port}"), pin=headend.pin)
        async with Client(replace(options)) as vpn:
            await trio.sleep(200)
            assert [event.name for event in vpn.events] == ["connected"]
