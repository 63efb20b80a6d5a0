"""Taking an address over from a process that still has it, perhaps because it is frozen.

Sockets with SO_REUSEPORT on one address form a group, and the kernel spreads over them by hash what arrives.
A program of one instruction, attached to the group, names the socket that gets all of it from now on: the one
that joined last. When the former holder goes, the kernel moves the last socket into its place, the program
names nobody, and the hash has only one left to choose. (Of several former holders the first to go would bring
the others back into play.)
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final

_SO_ATTACH_REUSEPORT_CBPF: Final = 51  # <asm-generic/socket.h>; the socket module does not know it
_RET_K: Final = 0x06  # BPF_RET | BPF_K of <linux/bpf_common.h>
_LISTENING: Final = "0A"  # TCP_LISTEN, as /proc/net/tcp has it


def share_address(sock: socket.socket) -> None:
    """Let a socket have an address that another one with the same option has; for before it is bound."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def claim_address(sock: socket.socket) -> None:
    """Have all that arrives from now on at the address of a bound (TCP: listening) socket come to this one.

    Raises `OSError` when the kernel does not have it.
    """
    place = _sharers(sock) - 1
    if place < 1:
        return
    program = ctypes.create_string_buffer(struct.pack("=HBBI", _RET_K, 0, 0, place))
    head = struct.pack("@HP", 1, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, head)


def _sharers(sock: socket.socket) -> int:
    """How many sockets have the address of this one."""
    tcp = sock.type == socket.SOCK_STREAM
    table = Path(f"/proc/net/{'tcp' if tcp else 'udp'}{'6' if sock.family == socket.AF_INET6 else ''}")
    host, port = sock.getsockname()[:2]
    packed = ip_address(host).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    wanted = "".join(f"{word:08X}" for word in words) + f":{port:04X}"
    with table.open() as lines:
        next(lines)
        return count_holders(lines, wanted, listening=tcp)


def count_holders(lines: Iterable[str], wanted: str, *, listening: bool) -> int:
    """How many lines of the kernel's table have that address.

    For those that are `listening` it is read no further than to the first connection. They stand at its
    beginning, and the rest is long: with 2,000 clients who all try again it takes the kernel 0.4 s to write.
    """
    count = 0
    for line in lines:
        _, address, _, state, *_ = line.split()
        if listening and state != _LISTENING:
            break
        count += address == wanted
    return count
