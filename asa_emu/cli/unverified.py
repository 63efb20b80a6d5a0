"""Texts that no capture of a real ASA has confirmed; known from memory or of our own choice.

They stand together so that somebody with a real device can put them right in one place. Whoever asserts one
of them tests our choice, not Cisco's.
"""

from __future__ import annotations

from typing import Final

# show vpn-sessiondb
CONN_TIME_OUT: Final = "Conn Time Out"
CONN_TO_LEFT: Final = "Conn TO Left"
CIPHERSUITE: Final = "Ciphersuite"
CLIENT_OS: Final = "Client OS"
LICENSE_ESSENTIALS: Final = "AnyConnect Essentials"
VLAN_MAPPED: Final = "Static"
"""The VLAN mapping of a policy that names a VLAN."""
COMPRESSION_NAMES: Final = {"deflate": "Deflate", "oc-lz4": "LZ4"}
"""LZS alone is confirmed."""
FULL_FIELD: Final = " | "
FULL_RECORD: Final = " ||"
SECONDS: Final = "Seconds"
"""The unit of a timeout that is no whole number of minutes, which an ASA cannot have."""
