"""The shorter show commands: clock, version, privileges, log, running-config, images, pools."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import IPv4Address

from asa_emu.cli import unverified as u
from asa_emu.cli.console import Console, NotSaved
from asa_emu.config import ConfigError, parse_config
from asa_emu.config.syntax import Fault, Said

MAX_LISTED = 4096
"""Free addresses that `show ip local pool` lists; a pool may have millions."""

_IMAGE = re.compile(r"(win|linux64|linux|macos|mac)[a-z-]*-(\d+)\.(\d+)\.(\d+)")
_PLATFORMS = {"win": ("Windows NT", "win2k+"), "mac": ("Intel Mac OS X", "Darwin_i386")}


def show_clock(console: Console, said: Said) -> str:
    """`show clock [detail]`, in the headend's time zone."""
    return f"{_clock(console, console.now())}\n" + (u.CLOCK_SOURCE if said.words[-1] == "detail" else "")


def _clock(console: Console, at: float) -> str:
    """`19:05:55.123 UTC Wed Jan 26 2022`."""
    zone = console.headend.config.timezone
    local = datetime.fromtimestamp(at + zone.offset, UTC)
    milliseconds = local.microsecond // 1000
    return f"{local:%H:%M:%S}.{milliseconds:03} {zone.name} {local:%a %b} {local.day} {local.year}"


def show_version(console: Console, _said: Said) -> str:
    """`show version`."""
    config = console.headend.config
    capacity = console.headend.db.capacity
    return u.VERSION_TEXT.format(
        version=version(console),
        hostname=config.hostname,
        uptime=_uptime(console.now() - console.services.started_at),
        premium=capacity,
        capacity=capacity,
        essentials="Enabled" if config.webvpn.essentials else "Disabled",
        modified=_modified(console),
    )


def _modified(console: Console) -> str:
    if console.services.modified is None:
        return u.NOT_MODIFIED
    who, at = console.services.modified
    return f"Configuration last modified by {who} at {_clock(console, at)}"


def version(console: Console) -> str:
    """The release that the configuration says it is of."""
    entry = console.headend.config.document.top.entries.get(("ASA Version",))
    return u.DEFAULT_VERSION if entry is None else str(entry.value).strip() or u.DEFAULT_VERSION


def _uptime(seconds: float) -> str:
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, name in ((86400, "day"), (3600, "hour"), (60, "min"), (1, "sec")):
        count, left = divmod(left, size)
        if count or (size == 1 and not parts):
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts[:2])


def show_curpriv(console: Console, _said: Said) -> str:
    """`show curpriv`."""
    mode = "configuration" if console.editor else "privileged" if console.privileged else "user"
    return (
        f"Username : {console.who}\n"
        f"Current privilege level : {console.privilege}\n"
        f"Current Mode/s : {u.MODES[mode]}\n"
    )


def show_logging(console: Console, said: Said) -> str:
    """`show logging [setting]`."""
    return console.headend.syslog.show_logging(setting=said.words[-1] == "setting")


def clear_logging(console: Console, _said: Said) -> str:
    """`clear logging buffer`."""
    console.headend.syslog.buffer.clear()
    return ""


def show_running_config(console: Console, said: Said) -> str:
    """`show running-config [all] [SECTION …]`; a section is every block that begins with these words."""
    words = said.words[2:]
    everything = words[:1] == ["all"]
    text = console.headend.config.render(all=everything)
    section = " ".join(words[everything:])
    if not section:
        return f": Saved\n:\n{text}: end\n"
    chosen: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if not line.startswith(" "):
            plain = line.removeprefix("!emu ").removeprefix("no ").rstrip("\n")
            inside = f"{plain} ".startswith(f"{section} ")
        if inside:
            chosen.append(line)
    return "".join(chosen)


def show_startup_config(console: Console, _said: Said) -> str:
    """`show startup-config`: the stored configuration, secrets masked."""
    try:
        return parse_config(console.services.startup()).render()
    except (NotSaved, ConfigError) as error:
        raise Fault("semantic", f"% {error}") from None


def show_anyconnect_images(console: Console, _said: Said) -> str:
    """`show webvpn anyconnect`: the client images by their order."""
    images = console.headend.config.webvpn.images
    text = ""
    for order, name in enumerate(images, 1):
        file = name.rpartition("/")[2]
        found = _IMAGE.search(file)
        platform = found[1] if found else ""
        regex, client = _PLATFORMS.get(platform[:3], ("Linux", platform or "unknown"))
        release = ",".join(found.groups()[1:]) if found else "unknown"
        text += u.IMAGE.format(order=order, file=file, regex=regex, platform=client, version=release)
    return text + u.IMAGES.format(count=len(images))


def show_pool(console: Console, said: Said) -> str:
    """`show ip local pool NAME`: how much of it is in use, and by which addresses."""
    name = said.text("NAME")
    pool = console.headend.config.pools.get(name)
    if pool is None:
        raise Fault("semantic", u.NO_POOL.format(name=name))
    held = console.headend.db.pools
    used, resting = held.in_use(name), held.resting(name, console.now())
    text = u.POOL_HEAD + u.POOL_ROW.format(
        first=str(pool.first),
        last=str(pool.last),
        mask=str(pool.mask),
        free=len(pool) - used - len(resting),
        held=len(resting),
        used=used,
    )
    addresses = [
        str(IPv4Address(int(pool.first) + n)) for n in range(min(len(pool), MAX_LISTED + used + len(resting)))
    ]
    free = [address for address in addresses if address not in held and address not in resting][:MAX_LISTED]
    in_use = sorted(
        IPv4Address(s.ip4) for s in console.headend.db.sessions() if s.ip4 and IPv4Address(s.ip4) in pool
    )
    for title, listed in (("Available Addresses:", free), ("In Use Addresses:", in_use)):
        if listed:
            text += f"\n{title}\n" + "".join(f"{address}\n" for address in listed)
    return text
