"""A headless client that behaves as AnyConnect does, to test a headend with: this one, ocserv, or a real ASA.

    options = ClientOptions(parse_gateway("127.0.0.1:8443"), user="walter", password="secret", pin=PIN)
    async with Client(options) as vpn:
        print(vpn.ip4, await vpn.ping("10.20.30.1"))

It stands on `asa_emu.wire` and `asa_emu.transport` and knows nothing else of the headend. `login` and
`lifecycle` are pure; `dial`, `tunnel`, `dtls_channel` and `client` are thin trio shells around them; `app` is
the command line.
"""

from client_emu.adapter import PingResult, UserAdapter
from client_emu.client import Client
from client_emu.connection import ConnectFailed
from client_emu.events import (
    AdapterChanged,
    Connected,
    Disconnected,
    Dtls,
    Error,
    Event,
    Failed,
    Reconnected,
    Reconnecting,
)
from client_emu.gateway import Gateway, parse_gateway
from client_emu.lifecycle import Phase
from client_emu.options import ClientOptions
from client_emu.terms import AdapterSettings

__all__ = [
    "AdapterChanged",
    "AdapterSettings",
    "Client",
    "ClientOptions",
    "ConnectFailed",
    "Connected",
    "Disconnected",
    "Dtls",
    "Error",
    "Event",
    "Failed",
    "Gateway",
    "Phase",
    "PingResult",
    "Reconnected",
    "Reconnecting",
    "UserAdapter",
    "parse_gateway",
]
