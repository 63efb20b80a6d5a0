"""Alerts: their codes, their names, and the error that becomes one."""

from asa_emu.wire.errors import DtlsError

WARNING, FATAL = 1, 2

CLOSE_NOTIFY = 0
UNEXPECTED_MESSAGE = 10
HANDSHAKE_FAILURE = 40
ILLEGAL_PARAMETER = 47
DECODE_ERROR = 50
DECRYPT_ERROR = 51
PROTOCOL_VERSION = 70

ALERT_NAMES = {
    CLOSE_NOTIFY: "close_notify",
    UNEXPECTED_MESSAGE: "unexpected_message",
    20: "bad_record_mac",
    HANDSHAKE_FAILURE: "handshake_failure",
    ILLEGAL_PARAMETER: "illegal_parameter",
    DECODE_ERROR: "decode_error",
    DECRYPT_ERROR: "decrypt_error",
    PROTOCOL_VERSION: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    90: "user_canceled",
    115: "unknown_psk_identity",
}


class HandshakeRefused(DtlsError):
    """The handshake cannot go on; `alert` is what the peer is told."""

    def __init__(self, alert: int, text: str) -> None:
        super().__init__(text)
        self.alert = alert
