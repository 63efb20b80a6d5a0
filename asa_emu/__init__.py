"""A live Cisco-ASA-style AnyConnect headend on real sockets, to build, automate and monitor VPNs against."""

__version__ = "0.1.0"
