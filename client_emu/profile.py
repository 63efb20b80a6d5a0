"""AnyConnect profile XML: which headends there are, and how the client is to behave.

`parse_profile_untrusted` takes the bytes of a file and gives a frozen `Profile`, or raises `ProfileError`
with file and line. A profile may come from anywhere, so it goes through the bounded XML tree. Elements that
the Profile Editor writes are known with their values and defaults (found in profiles that editors 3.x to 5.x
wrote); others are passed over and reported. `AutoReconnect` and its kin have a text of their own and children
(S74).

A preference that is user controllable yields to what the user chose, any other one does not (S79).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from asa_emu.wire.errors import XmlError
from asa_emu.wire.xml_tree import Element, parse_tree_untrusted
from client_emu.gateway import Gateway, parse_gateway

_BOOL: Final = ("false", "true")
_POLICY: Final = ("Disconnect", "Connect", "DoNothing", "Pause")
_LOGON: Final = ("SingleLocalLogon", "SingleLogon", "SingleLogonNoRemote")
_ESTABLISHMENT: Final = ("LocalUsersOnly", "AllowRemoteUsers")

# name: what it may be (the first is the default), and "user" where users may change it unless the file
# forbids it; a range is of whole numbers, "" any text
_PREFERENCES: Final[Mapping[str, tuple[tuple[str, ...] | range | str, ...]]] = {
    "UseStartBeforeLogon": (_BOOL, "user"),
    "AutomaticCertSelection": (_BOOL[::-1], "user"),
    "ShowPreConnectMessage": (_BOOL,),
    "CertificateStore": (("All", "Machine", "User"),),
    "CertificateStoreMac": (("All", "Login", "System"),),
    "CertificateStoreLinux": (("All", "Machine", "User"),),
    "CertificateStoreOverride": (_BOOL,),
    "ProxySettings": (("Native", "IgnoreProxy", "Override"),),
    "AllowLocalProxyConnections": (_BOOL[::-1],),
    "AuthenticationTimeout": (range(10, 121), "30"),  # 12 in 3.x
    "AutoConnectOnStart": (_BOOL, "user"),
    "MinimizeOnConnect": (_BOOL[::-1], "user"),
    "LocalLanAccess": (_BOOL, "user"),
    "DisableCaptivePortalDetection": (_BOOL, "user"),
    "CaptivePortalRemediationBrowserFailover": (_BOOL,),
    "ClearSmartcardPin": (_BOOL[::-1], "user"),
    "IPProtocolSupport": (("IPv4,IPv6", "IPv6,IPv4", "IPv4", "IPv6"),),
    "AutoReconnect": (_BOOL[::-1],),
    "AutoReconnectBehavior": (("DisconnectOnSuspend", "ReconnectAfterResume"),),  # S76
    "SuspendOnConnectedStandby": (_BOOL,),
    "AutoUpdate": (_BOOL[::-1],),
    "RSASecurIDIntegration": (("Automatic", "SoftwareToken", "HardwareToken"),),
    "WindowsLogonEnforcement": (_LOGON,),
    "LinuxLogonEnforcement": (_LOGON,),
    "WindowsVPNEstablishment": (_ESTABLISHMENT,),
    "LinuxVPNEstablishment": (_ESTABLISHMENT,),
    "AutomaticVPNPolicy": (_BOOL,),
    "TrustedDNSDomains": ("",),
    "TrustedDNSServers": ("",),
    "TrustedNetworkPolicy": (_POLICY,),
    "UntrustedNetworkPolicy": (("Connect", *_POLICY),),
    "AlwaysOn": (_BOOL,),
    "ConnectFailurePolicy": (("Closed", "Open"),),
    "AllowCaptivePortalRemediation": (_BOOL,),
    "CaptivePortalRemediationTimeout": (range(1, 1441), "5"),
    "ApplyLastVPNLocalResourceRules": (_BOOL,),
    "AllowVPNDisconnect": (_BOOL[::-1],),
    "PPPExclusion": (("Disable", "Automatic", "Override"),),
    "PPPExclusionServerIP": ("",),
    "EnableScripting": (_BOOL,),
    "TerminateScriptOnNextEvent": (_BOOL,),
    "EnablePostSBLOnConnectScript": (_BOOL[::-1],),
    "EnableAutomaticServerSelection": (_BOOL,),
    "AutoServerSelectionImprovement": (range(101), "20"),
    "AutoServerSelectionSuspendTime": (range(1001), "4"),
    "RetainVpnOnLogoff": (_BOOL,),
    "UserEnforcement": (("SameUserOnly", "AnyUser"),),
    "AllowManualHostInput": (_BOOL[::-1],),
}
_HOST_ELEMENTS: Final = {
    *("HostName", "HostAddress", "UserGroup", "BackupServerList", "LoadBalancingServerList", "CAURL"),
    *("PrimaryProtocol", "AutomaticSCEPHost", "CertificatePinList", "MobileHostEntryInfo"),
}


class ProfileError(Exception):
    """A profile that cannot be used; the text begins with `FILE:LINE:`."""


@dataclass(frozen=True, slots=True)
class Preference:
    """What a profile says about one preference."""

    value: str
    user_controllable: bool = False


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A headend by the name that people see, with those that stand in for it, in order."""

    name: str
    gateway: Gateway
    backups: tuple[Gateway, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as read. Preferences that the file does not set are not in it."""

    source: str = "profile"
    hosts: tuple[HostEntry, ...] = ()
    preferences: Mapping[str, Preference] = field(default_factory=dict)
    reports: tuple[str, ...] = ()
    """What was passed over, each as `FILE:LINE: text`."""
    sha1: str = ""
    """Of the file's bytes, small hex digits; headends tell by it whether a client has the profile already."""

    def find(self, name: str) -> HostEntry | None:
        """The host of that name or address, whatever the case."""
        wanted = name.lower()
        for host in self.hosts:
            if wanted in (host.name.lower(), host.gateway.host.lower(), host.gateway.authority.lower()):
                return host
        return None

    def preference(self, name: str, chosen: Mapping[str, str]) -> str:
        """What holds: the user's choice where the profile leaves it to the user, else the profile's word."""
        said = self.preferences.get(name)
        if name in chosen and (said.user_controllable if said is not None else _leaves_to_user(name)):
            return chosen[name]
        return said.value if said is not None else default(name)


def default(name: str) -> str:
    """What holds where nothing is said."""
    allowed, *more = _PREFERENCES[name]
    return str(more[0]) if isinstance(allowed, range) else allowed[0] if allowed else ""


def check_preference(name: str, value: str) -> str:
    """The value, if `name` may have it. Raises ValueError with what it may be."""
    if name not in _PREFERENCES:
        raise ValueError(f"there is no preference {name!r}")
    allowed = _PREFERENCES[name][0]
    if isinstance(allowed, range):
        if value.isascii() and value.isdigit() and int(value[:9]) in allowed:
            return value
        raise ValueError(f"{name} is a number from {allowed.start} to {allowed.stop - 1}, not {value!r}")
    if allowed and value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(dict.fromkeys(allowed))}, not {value!r}")
    return value


def parse_profile_untrusted(body: bytes, source: str = "profile") -> Profile:
    """Read a profile. Raises ProfileError."""
    try:
        root = parse_tree_untrusted(body)
    except XmlError as error:
        text, _, line = str(error).rpartition(", line ")
        raise ProfileError(f"{source}:{line}: {text}" if text else f"{source}:1: {error}") from None
    digest = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    return replace(_Reader(source).read(root), sha1=digest)


def _leaves_to_user(name: str) -> bool:
    return _PREFERENCES[name][-1] == "user"


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._preferences: dict[str, Preference] = {}
        self._hosts: list[HostEntry] = []
        self._backups: list[Gateway] = []
        self._reports: list[str] = []

    def read(self, root: Element) -> Profile:
        if root.tag != "AnyConnectProfile":
            raise self._error(root, f"the root element is {root.tag[:40]}, not AnyConnectProfile")
        for part in root.children:
            match part.tag:
                case "ClientInitialization":
                    self._read_preferences(part)
                case "ServerList":
                    self._read_hosts(part)
                case _:
                    self._pass_over(part)
        # S81: the host's own list first, then everybody's
        hosts = (replace(h, backups=tuple(dict.fromkeys((*h.backups, *self._backups)))) for h in self._hosts)
        return Profile(self._source, tuple(hosts), self._preferences, tuple(self._reports))

    def _read_preferences(self, parent: Element, inherited: bool | None = None) -> None:
        for element in parent.children:
            name, text = element.tag, element.text.strip()
            if name == "BackupServerList":
                self._backups += self._addresses(element)
                continue
            if name not in _PREFERENCES:
                self._pass_over(element)
                continue
            said = element.attributes.get("UserControllable")
            if said not in (None, *_BOOL):
                raise self._error(element, f"UserControllable is true or false, not {said!r}")
            users = said == "true" if said else inherited
            try:
                value = check_preference(name, text) if text else default(name)
            except ValueError as error:
                raise self._error(element, str(error)) from None
            self._preferences[name] = Preference(value, _leaves_to_user(name) if users is None else users)
            self._read_preferences(element, users)

    def _read_hosts(self, servers: Element) -> None:
        for entry in servers.children:
            if entry.tag != "HostEntry":
                self._pass_over(entry)
                continue
            name = entry.find_text("HostName")
            if name is None:
                raise self._error(entry, "a HostEntry without a HostName")
            for element in entry.children:
                if element.tag not in _HOST_ELEMENTS:
                    self._pass_over(element)
            if (protocol := entry.find("PrimaryProtocol")) is not None and protocol.text.strip() != "SSL":
                self._report(protocol, f"{name} is reached by SSL all the same")
            group = entry.find_text("UserGroup")
            # an editor leaves empty elements behind
            tag = "HostAddress" if entry.find_text("HostAddress") else "HostName"
            address = entry.find(tag) or entry
            backups = entry.find("BackupServerList")
            own = self._addresses(backups, group) if backups is not None else ()
            self._hosts.append(HostEntry(name, self._gateway(address, group), tuple(own)))

    def _addresses(self, servers: Element, group: str | None = None) -> list[Gateway]:
        filled = (element for element in servers.find_all("HostAddress") if element.text.strip())
        return [self._gateway(element, group) for element in filled]

    def _gateway(self, element: Element, group: str | None) -> Gateway:
        try:
            return parse_gateway(element.text.strip() + (f"/{group.lstrip('/')}" if group else ""))
        except ValueError as error:
            raise self._error(element, f"{element.tag}: {error}") from None

    def _pass_over(self, element: Element) -> None:
        self._report(element, f"{element.tag[:40]} is not known and was passed over")

    def _report(self, element: Element, text: str) -> None:
        self._reports.append(f"{self._source}:{element.line}: {text}")

    def _error(self, element: Element, reason: str) -> ProfileError:
        return ProfileError(f"{self._source}:{element.line}: {reason}")
