"""A tunnel end in user space: what `openconnect --script-tun` starts instead of a TUN device.

As a program (`python tunpipe.py SOCKET`) it has a datagram socket to openconnect, whose number is in
`$VPNFD`, and carries packets between that and the Unix datagram socket SOCKET, where the test listens. One
datagram is one IP packet. Before the first packet it sends its environment, in which openconnect has put
addresses, MTU, routes and DNS, as one datagram that begins with `{`: no IP packet does, because its version
would have to be 7.

`TunEndpoint` is the side of the test: it sends pings and whatever packets, and hands out those that arrive.
The few header bytes are built here, not with the code under test.
"""

import contextlib
import ipaddress
import json
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Self

MAX_PACKET = 65535
ICMP, ICMPV6 = 1, 58
ECHO_REPLY = {ICMP: 0, ICMPV6: 129}


class TunEndpoint:
    """The inside of a tunnel as a test sees it; `environment` is known once openconnect has connected."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._program: str | None = None
        self._sequence = 0
        self.environment: dict[str, str] = {}

    def send(self, packet: bytes) -> None:
        """Send one IP packet into the tunnel; the program on the other end must have been heard of."""
        assert self._program, "openconnect has not started its tunnel program yet"
        self._socket.sendto(packet, self._program)

    def receive(self, limit: float = 5.0) -> bytes | None:
        """Return the next packet out of the tunnel, or None after `limit` seconds."""
        deadline = time.monotonic() + limit
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                packet, self._program = self._socket.recvfrom(MAX_PACKET)
            except TimeoutError:
                return None
            if not packet.startswith(b"{"):
                return packet
            self.environment = json.loads(packet)

    def wait_started(self, limit: float = 10.0) -> dict[str, str]:
        """Wait until openconnect has started the tunnel program; return what it was told."""
        deadline = time.monotonic() + limit
        while not self.environment and time.monotonic() < deadline:
            self.receive(0.1)
        assert self.environment, f"openconnect did not start its tunnel program within {limit} s"
        return self.environment

    def ping(self, destination: str, *, size: int = 56, limit: float = 5.0, tries: int = 1) -> bytes | None:
        """Send an echo request from the tunnel's own address; return the reply packet, or None without one.

        Other packets that arrive meanwhile are dropped.
        """
        for _ in range(tries):
            self._sequence += 1
            payload = bytes(index & 0xFF for index in range(size))
            source = self.address(ipaddress.ip_address(destination).version)
            request = echo_request(source, destination, self._sequence, payload)
            self.send(request)
            deadline = time.monotonic() + limit / tries
            while (remaining := deadline - time.monotonic()) > 0:
                packet = self.receive(remaining)
                if packet and _is_reply(packet, self._sequence, payload):
                    return packet
        return None

    def address(self, version: int) -> str:
        """The tunnel's own address of an IP version."""
        if version == 4:
            return self.environment["INTERNAL_IP4_ADDRESS"]
        # openconnect gives an address with its prefix in the one variable or the plain address in the other.
        plain = self.environment.get("INTERNAL_IP6_ADDRESS") or self.environment["INTERNAL_IP6_NETMASK"]
        return plain.partition("/")[0]

    def close(self) -> None:
        """Close the socket and remove its file."""
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def echo_request(source: str, destination: str, sequence: int, payload: bytes) -> bytes:
    """Build an ICMP or ICMPv6 echo request with identifier 0x4153."""
    from_, to = ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed
    if len(to) == 4:
        body = _summed(struct.pack(">BBHHH", 8, 0, 0, 0x4153, sequence) + payload, at=2)
        header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), sequence, 0, 64, ICMP, 0, from_, to)
        return _summed(header, at=10) + body
    message = struct.pack(">BBHHH", 128, 0, 0, 0x4153, sequence) + payload
    pseudo = from_ + to + struct.pack(">II", len(message), ICMPV6)
    body = _summed(pseudo + message, at=len(pseudo) + 2)[len(pseudo) :]
    return struct.pack(">IHBB16s16s", 0x60000000, len(body), ICMPV6, 64, from_, to) + body


def _is_reply(packet: bytes, sequence: int, payload: bytes) -> bool:
    if packet[0] >> 4 == 4:
        protocol, body = packet[9], packet[(packet[0] & 0x0F) * 4 :]
    else:
        protocol, body = packet[6], packet[40:]
    if protocol not in ECHO_REPLY or len(body) < 8:
        return False
    kind, _, _, _, answered = struct.unpack_from(">BBHHH", body)
    return kind == ECHO_REPLY[protocol] and answered == sequence and body[8:] == payload


def _summed(data: bytes, *, at: int) -> bytes:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + struct.pack(">H", ~total & 0xFFFF) + data[at + 2 :]


def main() -> None:
    """Carry packets until openconnect, our parent, is gone."""
    test = sys.argv[1]
    vpn = socket.socket(fileno=int(os.environ["VPNFD"]))
    local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    own = f"{test}.{os.getpid()}"
    local.bind(own)
    try:
        local.sendto(json.dumps(dict(os.environ)).encode(), test)
        parent, openconnect = os.getppid(), Path("/proc", os.environ["VPNPID"])
        # A datagram socket pair does not tell when its other end is closed: our parent's death does. It may
        # even be dead already, when it is told to stop the moment it has started us.
        while os.getppid() == parent and openconnect.exists():
            for ready in select.select([vpn, local], [], [], 0.5)[0]:
                if ready is vpn:
                    with contextlib.suppress(OSError):  # the test may have closed its end: packets are lost
                        local.sendto(vpn.recv(MAX_PACKET), test)
                else:
                    vpn.send(local.recv(MAX_PACKET))
    finally:
        Path(own).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
