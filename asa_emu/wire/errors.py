"""What a peer can do wrong, one name for each kind of bytes.

A function whose name ends in `_untrusted` raises the error of its module and lets nothing else escape, so a
shell catches one name around one call. A wrong argument from our own side is a `ValueError`, never one of
these.
"""


class ProtocolError(Exception):
    """The peer sent something it must not send; the text says what, without quoting secrets."""


class FrameError(ProtocolError):
    """A CSTP frame is malformed; the byte stream cannot be resynchronised."""


class HeaderError(ProtocolError):
    """A header of the CONNECT exchange is malformed, out of bounds, or cannot be written on one line."""


class XmlError(ProtocolError):
    """A config-auth document is malformed or exceeds a bound."""


class DtlsError(ProtocolError):
    """A DTLS record or handshake message cannot be accepted, or a record cannot be made."""


class CompressionError(ProtocolError):
    """A compressed payload does not decompress, or decompresses to too much."""


class PacketError(ProtocolError):
    """Bytes that should be an IP packet are not one."""
