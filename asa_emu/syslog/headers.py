"""What stands before a message's text, in the layouts of an ASA.

    default            <166>%ASA-6-113039: text
    logging timestamp  <166>Oct 10 2018 12:34:56: %ASA-6-113039: text
    ... device-id      <166>Oct 10 2018 12:34:56 fw1 : %ASA-6-113039: text
    ... rfc5424        <166>2018-10-10T10:34:56Z fw1 : %ASA-6-113039: text
    format emblem      <166>:Oct 10 12:34:56 CEST: %ASA-auth-6-113039: text
    format rfc5424     <166>1 2018-10-10T10:34:56Z fw1 ASA - 113039 - %ASA-6-113039: text

The number in angle brackets is 8 times the facility plus the severity; the buffer and the console do without.
`rfc5424` is an ASA's stamp in its usual layout, always UTC; the real format of RFC 5424 is the emulator's
alone. The other stamps are local time by `clock timezone`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from asa_emu.config import Config, Logging
from asa_emu.config.logging import CLASSES, Layout

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLASS_OF = {prefix: name for name, prefixes in CLASSES.items() for prefix in prefixes}
_CONTEXT = "single"  # the name of the one context that a single-mode ASA is


class Headers:
    """The layouts, as one state of the configuration has them."""

    def __init__(self, config: Config, said: Logging) -> None:
        self.emblem = said.emblem
        self._base = said.facility * 8
        self._stamp = said.timestamp
        self._zone = config.timezone
        self._host = config.hostname
        self._device = _device(config, said)
        self._second = -1
        self._stamps = ("", "", "")

    def body(self, at: float, number: int, severity: int, text: str) -> str:
        """Return a line of the buffer or the console: all but the priority."""
        if self.emblem:
            return self._emblem(at, number, severity, text)
        stamp = self._stamps_of(at)[0]
        device = self._device
        if device:
            stamp = f"{stamp} {device} " if stamp else f"{device} "
        before = f"{stamp}: " if stamp else ""
        return f"{before}%ASA-{severity}-{number}: {text}"

    def wire(self, layout: Layout, body: str, at: float, number: int, severity: int, text: str) -> str:
        """Return what a host is sent; `body` is the line as `body` made it."""
        priority = f"<{self._base + severity}>"
        if layout == "emblem" and not self.emblem:
            body = self._emblem(at, number, severity, text)
        elif layout == "rfc5424":
            host = (self._device or self._host).replace(" ", "_")
            header = f"1 {self._stamps_of(at)[2]} {host} ASA - {number} -"
            return f"{priority}{header} %ASA-{severity}-{number}: {text}"
        return priority + body

    def _emblem(self, at: float, number: int, severity: int, text: str) -> str:
        stamp = self._stamps_of(at)[1]
        name = _CLASS_OF.get(str(number)[:3])
        middle = f"{name}-{severity}" if name else str(severity)
        return f":{stamp}: %ASA-{middle}-{number}: {text}" if stamp else f":%ASA-{middle}-{number}: {text}"

    def _stamps_of(self, at: float) -> tuple[str, str, str]:
        """Return an instant as the usual stamp, EMBLEM's and RFC 5424's; most lines share a second."""
        second = int(at // 1)
        if second != self._second:
            self._second = second
            utc = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            local = datetime.fromtimestamp(second + self._zone.offset, UTC)
            day, clock = f"{_MONTHS[local.month - 1]} {local.day:02d}", local.strftime("%H:%M:%S")
            usual = {None: "", "asa": f"{day} {local.year} {clock}", "rfc5424": utc}[self._stamp]
            emblem = f"{day} {clock} {self._zone.name}" if self._stamp else ""
            self._stamps = usual, emblem, utc
        return self._stamps


def _device(config: Config, said: Logging) -> str:
    device = said.device_id
    if device is None:
        return ""
    if device.kind == "hostname":
        return config.hostname
    if device.kind == "ipaddress":
        found = (i.ip for i in config.interfaces if i.nameif == device.argument and i.ip is not None)
        address = next(found, None)
        return "" if address is None else str(address.ip)
    return device.argument if device.kind == "string" else _CONTEXT
