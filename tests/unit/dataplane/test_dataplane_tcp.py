"""TCP of inside hosts: connections, services, losses, and what resets."""

from struct import pack

import pytest

from asa_emu.dataplane.tcp_responder import BUFFER, TcpResponder
from asa_emu.wire.segments import ACK, FIN, PSH, RST, SYN, TcpSegment

CLIENT, HOST = b"\x0a\x09\0\x02", b"\x0a\x01\x02\x03"
MTU = 1400
MASK = 0xFFFFFFFF


class Peer:
    """The client's end of one connection, which keeps its own numbers and can lose what it sends or gets."""

    def __init__(
        self,
        responder: TcpResponder,
        port: int,
        *,
        isn: int = 1000,
        source: bytes = CLIENT,
        window: int = 65_535,
    ) -> None:
        self.responder = responder
        self.source = source
        self.port = port
        self.isn = isn
        self.seq = isn
        self.ack = 0
        self.window = window
        self.received = b""
        self.finished = False

    def segment(
        self, flags: int, data: bytes = b"", *, seq: int | None = None, options: bytes = b""
    ) -> TcpSegment:
        number = self.seq if seq is None else seq
        ack = self.ack if flags & ACK else 0
        ends = (self.source, HOST, 40_000, self.port)
        return TcpSegment(*ends, number & MASK, ack, flags, self.window, options, data)

    def send(
        self, flags: int, data: bytes = b"", *, seq: int | None = None, options: bytes = b""
    ) -> list[TcpSegment]:
        """Sends without looking at the answers."""
        return self.responder.receive(self.segment(flags, data, seq=seq, options=options), MTU)

    def open(self, options: bytes = pack(">BBH", 2, 4, 1000)) -> None:
        (answer,) = self.send(SYN, options=options)
        assert answer.flags == SYN | ACK
        assert answer.acknowledgement == self.isn + 1 & MASK
        assert answer.options == pack(">BBH", 2, 4, MTU - 40)
        self.seq = self.isn + 1 & MASK
        self.ack = answer.sequence + 1 & MASK
        assert self.send(ACK) == []

    def write(self, data: bytes, flags: int = ACK | PSH) -> None:
        """Sends data that arrives, and takes and acknowledges all that comes back until it is quiet."""
        answers = self.send(flags, data)
        self.seq = self.seq + len(data) + (flags & FIN != 0) & MASK
        self.settle(answers)

    def settle(self, answers: list[TcpSegment]) -> None:
        while answers:
            news = [answer for answer in answers if self.take(answer)]
            answers = self.send(ACK) if news else []

    def take(self, answer: TcpSegment) -> bool:
        assert (answer.source, answer.destination) == (HOST, self.source)
        assert (answer.source_port, answer.destination_port) == (self.port, 40_000)
        assert answer.acknowledgement == self.seq
        assert answer.sequence == self.ack, "in order"
        self.received += answer.payload
        self.finished = self.finished or bool(answer.flags & FIN)
        length = len(answer.payload) + (answer.flags & FIN != 0)
        self.ack = self.ack + length & MASK
        return length > 0


@pytest.mark.parametrize("isn", [1000, MASK, MASK - 3])
def test_tcp_echo_in_order_and_orderly_close(isn: int) -> None:
    responder = TcpResponder()
    peer = Peer(responder, 7, isn=isn)
    peer.open()
    for data in (b"hello", b"x" * 2500, b"!"):
        peer.write(data)
    assert peer.received == b"hello" + b"x" * 2500 + b"!"
    peer.write(b"bye", ACK | FIN)
    assert peer.received.endswith(b"!bye")
    assert peer.finished
    assert len(responder) == 0
    assert peer.send(ACK)[0].flags == RST


def test_tcp_never_exceeds_the_offered_segment_size() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open(options=b"\x01\x01\x03\x03\x07" + pack(">BBH", 2, 4, 700) + b"\0" * 3)
    answers = peer.send(ACK, b"x" * 3000)
    assert [len(answer.payload) for answer in answers] == [700, 700, 700, 700, 200]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (b"", 536),
        (b"\x03\x00", 536),
        (b"\x02\x04\x00", 536),
        (pack(">BBH", 2, 4, 0), 64),
        (pack(">BBH", 2, 4, 9000), 1360),
    ],
)
def test_tcp_segment_size_of_strange_options(options: bytes, size: int) -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open(options=options)
    assert max(len(answer.payload) for answer in peer.send(ACK, b"x" * 3000)) == size


def test_tcp_discard_acknowledges_and_closes_with_the_peer() -> None:
    responder = TcpResponder()
    peer = Peer(responder, 9)
    peer.open()
    for _ in range(100):
        peer.write(b"x" * 1000)
    assert peer.received == b""
    peer.write(b"", ACK | FIN)
    assert peer.finished
    assert len(responder) == 0


@pytest.mark.parametrize("request_text", [b"GET / HTTP/1.0\r\n\r\n", b"x" * 5000])
def test_tcp_http_greets_and_closes(request_text: bytes) -> None:
    responder = TcpResponder()
    peer = Peer(responder, 80)
    peer.open()
    peer.write(request_text[:10])
    assert peer.received == b""
    for at in range(10, len(request_text), 500):
        peer.write(request_text[at : at + 500])
    head, _, body = peer.received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert peer.finished
    assert len(responder) == 1
    peer.write(b"", ACK | FIN)
    assert len(responder) == 0


@pytest.mark.parametrize(
    ("flags", "data", "answer"),
    [
        (SYN, b"", (RST | ACK, 0, 1001)),
        (SYN | FIN, b"abc", (RST | ACK, 0, 1005)),
        (ACK, b"abc", (RST, 77, 0)),
        (0, b"abc", (RST | ACK, 0, 1003)),
        (RST, b"", None),
        (RST | ACK, b"", None),
    ],
)
def test_tcp_resets_what_it_does_not_know(
    flags: int, data: bytes, answer: tuple[int, int, int] | None
) -> None:
    peer = Peer(TcpResponder(), 22)
    peer.ack = 77
    answers = [(a.flags, a.sequence, a.acknowledgement) for a in peer.send(flags, data)]
    assert answers == ([] if answer is None else [answer])


def test_tcp_repeats_the_syn_ack_and_resets_a_wrong_handshake() -> None:
    responder = TcpResponder()
    peer = Peer(responder, 7)
    first, second = peer.send(SYN), peer.send(SYN)
    assert first == second
    peer.seq, peer.ack = 1001, first[0].sequence + 2
    assert [answer.flags for answer in peer.send(ACK)] == [RST]
    peer.ack -= 1
    assert peer.send(ACK) == []
    assert len(responder) == 1


def test_tcp_challenges_a_syn_within_a_connection_and_obeys_the_reset() -> None:
    responder = TcpResponder()
    peer = Peer(responder, 7)
    peer.open()
    (challenge,) = peer.send(SYN, seq=500_000)
    assert (challenge.flags, challenge.acknowledgement) == (ACK, peer.seq)
    assert peer.send(RST, seq=peer.seq + 1) == []
    assert len(responder) == 1
    assert peer.send(RST, seq=challenge.acknowledgement) == []
    assert len(responder) == 0


def test_tcp_ignores_segments_without_an_acknowledgement() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open()
    assert peer.send(PSH, b"data") == []


def test_tcp_acknowledges_data_beyond_a_gap_without_taking_it() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open()
    (answer,) = peer.send(ACK, b"later", seq=peer.seq + 5)
    assert (answer.acknowledgement, answer.payload) == (peer.seq, b"")
    peer.write(b"first")
    peer.write(b"later")
    assert peer.received == b"firstlater"


def test_tcp_takes_the_new_part_of_a_repeated_segment() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open()
    peer.write(b"abc")
    answers = peer.send(ACK, b"bcdef", seq=peer.seq - 2)
    peer.seq += 3
    peer.settle(answers)
    assert peer.received == b"abcdef"


def test_tcp_sends_again_when_the_peer_repeats_itself() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open()
    lost = peer.send(ACK | PSH, b"hello")
    assert lost[0].payload == b"hello"
    again = peer.send(ACK | PSH, b"hello")
    assert [answer.payload for answer in again] == [b"hello"]
    peer.seq += 5
    peer.settle(again)
    assert peer.received == b"hello"


def test_tcp_sends_again_at_a_keepalive_and_answers_an_idle_one() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open()
    peer.send(ACK | PSH, b"hello")
    peer.seq += 5
    again = peer.send(ACK, seq=peer.seq - 1)
    assert [answer.payload for answer in again] == [b"hello"]
    peer.settle(again)
    (answer,) = peer.send(ACK, seq=peer.seq - 1)
    assert (answer.flags, answer.acknowledgement, answer.payload) == (ACK, peer.seq, b"")


def test_tcp_sends_the_first_segment_again_after_three_duplicates() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open()
    answers = peer.send(ACK, b"a" * 1000 + b"b" * 1000)
    peer.seq += 2000
    assert len(answers) == 2
    assert [peer.send(ACK) for _ in range(2)] == [[], []]
    (again,) = peer.send(ACK)
    assert again.payload == b"a" * 1000
    assert again.sequence == peer.ack
    assert peer.send(ACK) == [], "once is enough"
    peer.ack += 2000
    assert peer.send(ACK) == []
    peer.write(b"on")
    assert peer.received == b"on"


def test_tcp_sends_its_fin_again() -> None:
    peer = Peer(TcpResponder(), 9)
    peer.open()
    lost = peer.send(ACK | FIN)
    assert lost[-1].flags == ACK | FIN
    again = peer.send(ACK | FIN)
    assert again == lost
    peer.seq += 1
    peer.settle(again)
    assert peer.finished


def test_tcp_respects_the_window_and_reopens_its_own() -> None:
    peer = Peer(TcpResponder(), 7, window=0)
    peer.open()
    sent = 0
    while True:
        (answer,) = peer.send(ACK, b"x" * 1000)
        assert answer.payload == b""
        accepted = answer.acknowledgement - peer.seq & MASK
        peer.seq = answer.acknowledgement
        sent += accepted
        if accepted < 1000:
            break
    assert sent == BUFFER
    assert answer.window == 0
    peer.window = 65_535
    peer.settle(peer.send(ACK))
    assert len(peer.received) == BUFFER
    peer.write(b"and on")
    assert peer.received.endswith(b"xand on")


def test_tcp_announces_a_reopened_window_even_without_data() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open()
    peer.send(ACK, b"x" * BUFFER)
    peer.seq += BUFFER
    peer.ack += BUFFER
    (answer,) = peer.send(ACK)
    assert (answer.flags, answer.window) == (ACK, BUFFER)


def test_tcp_refuses_an_acknowledgement_of_what_was_never_sent() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open()
    peer.ack += 5
    (answer,) = peer.send(ACK, b"data")
    assert answer.acknowledgement == peer.seq


def test_tcp_ignores_what_follows_a_fin() -> None:
    peer = Peer(TcpResponder(), 9)
    peer.open()
    peer.send(ACK | FIN)
    peer.seq += 1
    (answer,) = peer.send(ACK, b"more")
    assert answer.acknowledgement == peer.seq


def test_tcp_bounds_connections_per_source_and_spares_the_others() -> None:
    responder = TcpResponder()
    neighbour = Peer(responder, 7, source=b"\x0a\x09\0\x03")
    neighbour.open()
    for port in range(1000):
        responder.receive(Peer(responder, 7).segment(SYN)._replace(source_port=port), MTU)
    assert len(responder) == 65
    neighbour.write(b"still here")
    assert neighbour.received == b"still here"


def test_tcp_takes_data_with_an_acknowledgement_from_the_past() -> None:
    peer = Peer(TcpResponder(), 7)
    peer.open()
    peer.write(b"abc")
    peer.ack -= 3
    answers = peer.send(ACK, b"def")
    peer.ack += 3
    peer.seq += 3
    peer.settle(answers)
    assert peer.received == b"abcdef"
