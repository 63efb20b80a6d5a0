"""The commands, one table per configuration mode: syntax, help, value, references and defaults.

The tables are the documented subset of an ASA's configuration that bears on sessions, with Cisco's ranges.
To teach the emulator a command, add a row: files, the console, `?`, `no` and `show running-config` follow.
What only an `!emu` line can say stands in tables of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asa_emu.config import failover as fo
from asa_emu.config import load_balancing as lb
from asa_emu.config import logging as lg
from asa_emu.config import values as v
from asa_emu.config.document import Block, Document, Key, Reference
from asa_emu.config.facts import LEVELS
from asa_emu.config.syntax import Node, Said, compile_patterns, head_of

NO_CLUSTER_ADDRESS: Final = "the load-balancing cluster has no address"


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """One row: a pattern and what becomes of a line that matches it."""

    pattern: str
    help: str
    value: Callable[[Said], object] = v.first
    name: str = ""
    """The family of its keys; the words before the first argument unless given."""
    keyed_by: tuple[str, ...] = ()
    """Labels of the arguments that tell one such line from another."""
    needs: tuple[str, ...] = ()
    """`KIND LABEL` of the arguments that name an object which must exist."""
    opens: str = ""
    """The mode of the block that the line heads."""
    default: str = ""
    """The words after its name that `show running-config all` prints when nobody said it."""
    adds_up: bool = False
    """Repeated lines add to the value, a list, instead of replacing it."""
    negatable: bool = False
    """Its `no` form is a statement of its own, kept and shown, with the value False."""
    texts: Callable[[Said, object], tuple[str, str]] | None = None
    """The line as (startup-config, running-config) have it, when it holds a secret."""
    refusal: Callable[[Document, Block], str] | None = None
    """Why the console refuses it right now, or empty."""
    needed_by: str = ""
    """The statement of its block that cannot be without it."""
    info: str = ""
    """What the console answers, with {LABEL} filled in."""

    @property
    def family(self) -> str:
        """The first part of its keys."""
        return self.name or head_of(self.pattern)

    @property
    def head(self) -> tuple[str, ...]:
        """The words that name the command."""
        return tuple(head_of(self.pattern).split())

    def key(self, said: Said) -> Key | None:
        """Return the key of a matched line, None while an identifying argument is missing."""
        if not all(label in said.bound for label in self.keyed_by):
            return None
        return (self.family, *(str(said.bound[label][0]) for label in self.keyed_by))

    def references(self, said: Said) -> tuple[Reference, ...]:
        """Return the objects a matched line names."""
        pairs = (need.split() for need in self.needs)
        return tuple((kind, name) for kind, label in pairs for name in said.texts(label))


def _refuse_port(document: Document, webvpn: Block) -> str:
    enabled = any(True for _ in webvpn.family("enable"))
    return "the port cannot be changed while WebVPN is enabled on an interface" if enabled else ""


def _refuse_participation(_document: Document, block: Block) -> str:
    return "" if ("cluster ip address",) in block.entries else NO_CLUSTER_ADDRESS


C = Command
_LEVEL = "[privilege <LEVEL:int 0-15>]"
_SEVERITY = f"<LEVEL:int 0-7>|{'|'.join(LEVELS)}"
# A row is a row of a table, as in a command reference; the formatter would make ten lines of each.
# fmt: off
_GLOBAL: Final = (
    C("ASA Version <VERSION:rest>", "The release this configuration was written by"),
    C("hostname <NAME>", "Set the host name", default="ciscoasa"),
    C("domain-name <DOMAIN>", "Set the domain name"),
    C("enable password <PASSWORD:password> [encrypted|pbkdf2]", "Set the password of privileged mode",
      v.enable_password, texts=v.enable_texts),
    *(C(f"enable password <PASSWORD:password> {rest}", "Set the password of a privilege level",
        v.enable_password, "enable password level", ("LEVEL",), texts=v.enable_texts)
      for rest in ("level <LEVEL:int 0-15> [encrypted|pbkdf2]", "{encrypted|pbkdf2} level <LEVEL:int 0-15>")),
    C("names", "Use names in place of addresses", v.true, negatable=True),
    C("name <ADDRESS:ip> <NAME> [description <TEXT:rest>]", "Name an address", keyed_by=("NAME",)),
    C("clock timezone <ZONE> <HOURS:hours> [<MINUTES:int 0-59>]", "Set the time zone", v.timezone),
    C("ip local pool <NAME> <RANGE:span> [mask <MASK:mask>]", "Define a pool of addresses",
      v.pool, "pool", ("NAME",)),
    C("ipv6 local pool <NAME> <PREFIX:prefix6> <COUNT:int 1-16384>", "Define a pool of IPv6 addresses",
      v.ipv6_pool, "ipv6-pool", ("NAME",)),
    C("interface <NAME:rest>", "Configure an interface", v.nothing, keyed_by=("NAME",), opens="config-if"),
    C("logging enable", "Log", v.true),
    C("logging timestamp [rfc5424]", "Stamp messages with the time", lg.timestamp),
    C("logging hide username", "Hide the user name of a failed login", v.true, negatable=True),
    C("logging emblem", "Use the EMBLEM format", v.true),
    C(f"logging list <NAME> {{level {{{_SEVERITY}}} [class <CLASS>]|class <CLASS>|message <RANGE>}}",
      "Add to a list of messages", lg.clause, "logging-list", ("NAME",), adds_up=True),
    C("logging buffer-size <BYTES:int 4096-1048576>", "Set the size of the buffer", default="4096"),
    *(C(f"logging {where} {{{_SEVERITY}|<LIST:list>}}", f"Choose what goes to the {where} destination",
        lg.severity, needs=("logging-list LIST",), texts=lg.severity_texts)
      for where in lg.DESTINATIONS),
    C("logging facility <FACILITY:int 16-23>", "Set the facility", default="20"),
    C("logging queue <MESSAGES:int 0-8192>", "Set the length of the queue", default="512"),
    C("logging device-id {hostname|context-name|ipaddress <IFNAME> [system]|string <TEXT>}",
      "Name the device in every message", lg.device_id),
    C("logging host <IFNAME:nameif> <ADDRESS:ip> [<PORT>] [format emblem|secure]", "Send messages to a host",
      lg.host, keyed_by=("IFNAME", "ADDRESS")),
    C("logging permit-hostdown", "Go on when a TCP host is down", v.true),
    C("logging message <ID:int 100000-999999>", "Switch a message on or off", v.true, keyed_by=("ID",),
      negatable=True),
    C(f"logging message <ID:int 100000-999999> level {{{_SEVERITY}}}", "Change the severity of a message",
      lg.severity, "logging message level", ("ID",), texts=lg.severity_texts),
    C("access-list alert-interval <SECONDS:int 1-3600>", "Set how often denied flows are told"),
    C("access-list deny-flow-max <FLOWS:int 1-4096>", "Limit the denied flows told"),
    C("access-list <NAME> <ENTRY:rest>", "Add to an access list", v.ace, keyed_by=("NAME",), adds_up=True),
    C("vpn-sessiondb max-anyconnect-premium-or-essentials-limit <LIMIT:int 1-20000>",
      "Limit the AnyConnect sessions"),
    *(C(f"vpn-sessiondb {old} <LIMIT:int 1-20000>", "Limit the AnyConnect sessions, as before 8.4",
        name="vpn-sessiondb max-anyconnect-premium-or-essentials-limit")
      for old in ("max-webvpn-session-limit", "max-session-limit")),
    C("vpn-sessiondb max-other-vpn-limit <LIMIT:int 1-20000>", "Limit the other VPN sessions"),
    C("vpn-addr-assign aaa", "Assign addresses from AAA", v.true, negatable=True),
    C("vpn-addr-assign dhcp", "Assign addresses from DHCP", v.true, negatable=True),
    C("vpn-addr-assign local", "Assign addresses from local pools", v.true, negatable=True),
    C("vpn-addr-assign local reuse-delay <DELAY:minutes 0-480>", "Let freed addresses rest"),
    C("aaa-server <NAME> protocol <PROTOCOL>", "Define a server group", v.first_of("PROTOCOL"),
      keyed_by=("NAME",), opens="config-aaa-server-group"),
    C("aaa-server <NAME> [<IFNAME:ifc>] host <HOST> [<REST:rest>]", "Name a server of a group", v.nothing,
      "aaa-server host", ("NAME", "HOST"), opens="config-aaa-server-host"),
    C("webvpn", "Configure WebVPN", v.nothing, opens="config-webvpn"),
    C("group-policy <NAME> internal [from <OTHER>]", "Define a group policy", v.first_of("OTHER"),
      keyed_by=("NAME",), needs=("group-policy OTHER",)),
    C("group-policy <NAME> external <REST:rest>", "Define a group policy that a server knows",
      v.nothing, keyed_by=("NAME",), texts=v.external_texts),
    C("group-policy <NAME> attributes", "Configure a group policy", v.nothing, "group-policy attributes",
      ("NAME",), ("group-policy NAME",), "config-group-policy"),
    C(f"username <NAME> password <PASSWORD:password> [encrypted|nt-encrypted|pbkdf2] {_LEVEL}",
      "Define a user", v.account, keyed_by=("NAME",), texts=v.account_texts),
    C(f"username <NAME> nopassword {_LEVEL}", "Define a user without a password", v.account,
      keyed_by=("NAME",), texts=v.account_texts),
    C("username <NAME> attributes", "Configure a user", v.nothing, "username attributes",
      ("NAME",), ("username NAME",), "config-username"),
    C("tunnel-group <NAME> type {remote-access|ipsec-l2l|ipsec-ra|webvpn}", "Define a connection profile",
      v.last_keyword, keyed_by=("NAME",)),
    *(C(f"tunnel-group <NAME> {kind}-attributes", "Configure a connection profile", v.nothing,
        f"tunnel-group {kind}", ("NAME",), ("tunnel-group NAME",), f"config-tunnel-{kind}")
      for kind in ("general", "webvpn", "ipsec", "ppp")),
    C("failover", "Enable failover", v.true, negatable=True),
    C("failover lan unit {primary|secondary}", "Choose which unit this is", v.last_keyword),
    C("failover lan interface <NAME> [<PHYSICAL:rest>]", "Name the interface to the mate", fo.interface),
    C("failover link <NAME> [<PHYSICAL:rest>]", "Name the interface that sessions are carried over",
      fo.interface),
    C("failover interface ip <NAME> <ADDRESS:ip> <MASK> standby <STANDBY:ip>",
      "Set the addresses of an interface to the mate", v.nothing, keyed_by=("NAME",)),
    C("failover polltime [unit] [msec] <POLL:int 1-999> [holdtime [msec] <HOLD:int 1-999>]",
      "Set how often the mate is looked for", fo.unit_timers, default="1 holdtime 15"),
    C("failover polltime interface [msec] <POLL:int 1-999> [holdtime [msec] <HOLD:int 1-999>]",
      "Set how often interfaces are looked at", fo.interface_timers, default="5 holdtime 25"),
    C("failover interface-policy <COUNT>", "Set how many interfaces may fail", default="1"),
    C("failover key <KEY:rest>", "Set the secret of the pair", texts=fo.key_texts),
    C("failover replication http", "Carry HTTP connections too", v.true),
    C("vpn load-balancing", "Configure VPN load balancing", v.nothing, opens="config-load-balancing"),
)

_INTERFACE: Final = (
    C("nameif <NAME>", "Name the interface", negatable=True),
    C("security-level <LEVEL:int 0-100>", "Set the security level", negatable=True),
    C("ip address <ADDRESS:ip4> <MASK:mask> [standby <STANDBY:ip4>]", "Set the address",
      v.interface_address, negatable=True),
    C("ip address {dhcp|pppoe} [<REST:rest>]", "Take the address from elsewhere", v.interface_address,
      negatable=True),
    C("ipv6 address <PREFIX:prefix6> [<REST:rest>]", "Set an IPv6 address", keyed_by=("PREFIX",)),
    C("ipv6 address {autoconfig|dhcp|<ADDRESS:ip6> link-local} [<REST:rest>]",
      "Set an IPv6 address otherwise", v.nothing, "ipv6 address otherwise"),
    C("shutdown", "Switch the interface off", v.true, negatable=True),
    C("description <TEXT:rest>", "Describe the interface"),
)

_WEBVPN: Final = (
    C("port <PORT:port 1-65535>", "Set the TCP port", default="443", refusal=_refuse_port),
    C("dtls port <PORT:port 1-65535>", "Set the UDP port", default="443", refusal=_refuse_port),
    C("enable <IFNAME> [tls-only]", "Serve WebVPN on an interface", lambda said: "tls-only" in said.chosen,
      keyed_by=("IFNAME",), info="INFO: WebVPN and DTLS are enabled on '{IFNAME}'."),
    C("default-idle-timeout <SECONDS:seconds 60-86400>", "Set the idle timeout of policies that have none",
      default="1800"),
    C("anyconnect image <FILE> <ORDER:int 1-65535> [regex <REGEX>]", "Offer a client image",
      v.client_image, keyed_by=("FILE",)),
    C("anyconnect profiles <NAME> <FILE>", "Name a client profile", v.first_of("FILE"),
      keyed_by=("NAME",)),
    C("anyconnect enable", "Let AnyConnect clients in", v.true),
    C("tunnel-group-list {enable}", "Show the group list", v.true),
    C("hostscan enable", "Demand a host scan before login", v.true),
    C("csd enable", "Demand a host scan, as before 9.5", v.true, "hostscan enable"),
    *(C(f"{head} image <FILE>", "Name the host scan package", v.first_of("FILE"), "hostscan image")
      for head in ("hostscan", "csd hostscan")),
    C("anyconnect-essentials", "Use the Essentials licence", v.true, negatable=True),
    C("error-recovery disable", "Do not recover from errors", v.true, negatable=True),
    C("keepout <TEXT:rest>", "Show a text in place of the login page"),
)

_ATTRIBUTES: Final = (
    C("banner {value <TEXT:rest>|none}", "Set the banner", v.banner, default="none", adds_up=True),
    C("wins-server {value <ADDRESS:ip4>...|none}", "Set the WINS servers", v.up_to(2, "ADDRESS"),
      default="none"),
    C("dns-server {value <ADDRESS:ip>...|none}", "Set the DNS servers", v.up_to(4, "ADDRESS"),
      default="none"),
    C("vpn-access-hours {value <RANGE>|none}", "Set the access hours", default="none"),
    C("vpn-simultaneous-logins <LOGINS:int 0-2147483647>", "Limit the sessions of a user; 0 forbids login",
      default="3"),
    C("vpn-idle-timeout {<MINUTES:minutes 1-35791394>|none}", "Set the idle timeout", default="30"),
    C("vpn-idle-timeout alert-interval {<MINUTES:minutes 1-30>|none}", "Warn before the idle timeout",
      default="1"),
    C("vpn-session-timeout {<MINUTES:minutes 1-35791394>|none}", "Set the maximum connect time",
      default="none"),
    C("vpn-session-timeout alert-interval {<MINUTES:minutes 1-30>|none}", "Warn before the end of that time",
      default="1"),
    C("vpn-filter {value <LIST>|none}", "Filter the tunnel", needs=("access-list LIST",), default="none"),
    C("ipv6-vpn-filter {value <LIST>|none}", "Filter IPv6", needs=("access-list LIST",), default="none"),
    C("vpn-tunnel-protocol {ikev1|ikev2|l2tp-ipsec|ssl-client|ssl-clientless|IPSec|svc|webvpn}...",
      "Set the tunnel protocols", v.protocols, default="ikev1 l2tp-ipsec ssl-client ssl-clientless"),
    C("group-lock {value <GROUP>|none}", "Let users in through one connection profile alone",
      needs=("tunnel-group GROUP",), default="none"),
    C("split-tunnel-policy {tunnelall|tunnelspecified|excludespecified}", "Choose how to split",
      v.last_keyword, default="tunnelall"),
    C("ipv6-split-tunnel-policy {tunnelall|tunnelspecified|excludespecified}", "Choose how to split IPv6",
      v.last_keyword, default="tunnelall"),
    C("split-tunnel-network-list {value <LIST>|none}", "Choose the networks to split by",
      needs=("access-list LIST",), default="none"),
    C("default-domain {value <DOMAIN>|none}", "Set the default domain", default="none"),
    C("split-dns {value <DOMAIN>...|none}", "Set the split domains", v.split_dns, default="none"),
    C("split-tunnel-all-dns {enable|disable}", "Send every DNS query through the tunnel", v.flag,
      default="disable"),
    C("client-bypass-protocol {enable|disable}", "Let a family without address bypass the tunnel", v.flag,
      default="disable"),
    C("smartcard-removal-disconnect {enable|disable}", "Disconnect when the card is removed", v.flag,
      default="enable"),
    C("vlan {<VLAN:int 1-4094>|none}", "Map to a VLAN", default="none"),
    C("address-pools {value <POOL>...|none}", "Set the address pools", v.up_to(6, "POOL"),
      needs=("pool POOL",), default="none"),
    C("ipv6-address-pools {value <POOL>...|none}", "Set the IPv6 address pools", v.up_to(6, "POOL"),
      needs=("ipv6-pool POOL",), default="none"),
    C("msie-proxy method {auto-detect|no-modify|no-proxy|use-server|use-pac-url}...",
      "Choose how the browser finds its proxy", v.words_after(2), default="no-modify"),
    C("msie-proxy server {value <SERVER>|none}", "Set the browser's proxy", default="none"),
    C("msie-proxy except-list {value <LIST:rest>|none}", "Set what goes past the proxy", default="none"),
    C("msie-proxy local-bypass {enable|disable}", "Let local addresses go past the proxy", v.flag,
      default="disable"),
    C("msie-proxy pac-url {value <URL>|none}", "Set where the browser's proxy file is", default="none"),
    C("msie-proxy lockdown {enable|disable}", "Hide the browser's proxy settings", v.flag, default="enable"),
)

_GROUP_POLICY: Final = (
    *_ATTRIBUTES,
    C("webvpn", "Configure WebVPN for this group", v.nothing, opens="config-group-webvpn"),
)

_USERNAME: Final = (
    *_ATTRIBUTES,
    C("vpn-group-policy <POLICY>", "Set the group policy", needs=("group-policy POLICY",)),
    C("vpn-framed-ip-address <ADDRESS:ip4> <MASK:mask>", "Set the user's own address", v.framed),
    C("vpn-framed-ipv6-address <PREFIX:prefix6>", "Set the user's own IPv6 address"),
    C("service-type {admin|nas-prompt|remote-access}", "Set what the user may do", v.last_keyword),
    C("webvpn", "Configure WebVPN for this user", v.nothing, opens="config-username-webvpn"),
)

_GROUP_WEBVPN: Final = (
    C("anyconnect ssl dtls {enable|none}", "Use DTLS", v.flag, default="enable"),
    C("anyconnect mtu <BYTES:int 256-1462>", "Limit the MTU", default="1406"),
    C("anyconnect keep-installer {installed|none}", "Keep the client installed", v.last_word,
      default="installed"),
    C("anyconnect ssl keepalive {<SECONDS:seconds 15-600>|none}", "Set the keepalive interval", default="20"),
    C("anyconnect ssl rekey time {<MINUTES:minutes 1-10080>|none}", "Set the rekey interval", default="none"),
    C("anyconnect ssl rekey method {ssl|new-tunnel|none}", "Set how to rekey", v.last_keyword,
      default="none"),
    C("anyconnect dpd-interval client {<SECONDS:seconds 5-3600>|none}",
      "Set the client's dead peer detection", default="30"),
    C("anyconnect dpd-interval gateway {<SECONDS:seconds 5-3600>|none}",
      "Set the gateway's dead peer detection", default="30"),
    C("anyconnect ssl compression {deflate|lzs|none}", "Compress on TLS", v.last_word, default="none"),
    C("anyconnect dtls compression {lzs|none}", "Compress on DTLS", v.last_word, default="none"),
    C("anyconnect modules {value <NAMES>|none}", "Choose client modules", default="none"),
    C("anyconnect profiles {value <NAME> [type <KIND>]|none}", "Choose the client profile", default="none"),
    C("anyconnect ask {none|enable} [default {webvpn|anyconnect|svc} [timeout <SECONDS:int 1-2147483647>]]",
      "Ask before starting the client", v.nothing, default="none default webvpn"),
    C("anyconnect ssl df-bit-ignore {enable|disable}", "Ignore the DF bit", v.flag, default="disable"),
    C("anyconnect routing-filtering-ignore {enable|disable}", "Ignore the client's routes", v.flag,
      default="disable"),
    C("anyconnect firewall-rule client-interface public <REST:rest>", "Set a firewall rule"),
    C("anyconnect firewall-rule client-interface private <REST:rest>", "Set a firewall rule"),
    C("always-on-vpn {profile-setting|disable}", "Set always-on VPN", v.flag, default="profile-setting"),
)

_TUNNEL_GENERAL: Final = (
    C("address-pool [<IFNAME:ifc>] <POOL>...", "Set the address pools", v.up_to(6, "POOL"),
      needs=("pool POOL",)),
    C("ipv6-address-pool [<IFNAME:ifc>] <POOL>...", "Set the IPv6 address pools", v.up_to(6, "POOL"),
      needs=("ipv6-pool POOL",)),
    C("authentication-server-group [<IFNAME:ifc>] <GROUP>...", "Set the authentication servers",
      v.up_to(2, "GROUP"), needs=("aaa-server GROUP",), default="LOCAL"),
    *(C(f"{kind}-server-group [<IFNAME:ifc>] <GROUP>... [use-primary-username]", f"Set the {kind} servers",
        v.up_to(2, "GROUP"), needs=("aaa-server GROUP",))
      for kind in ("secondary-authentication", "authorization", "accounting")),
    C("default-group-policy <POLICY>", "Set the group policy of users that have none",
      needs=("group-policy POLICY",), default="DfltGrpPolicy"),
    C("authorization-required", "Refuse users without authorization", v.true),
    C("strip-realm", "Take @REALM off the user name", v.true),
    C("strip-group", "Take the group off the user name", v.true),
    C("password-management [password-expire-in-days <DAYS:int 0-180>]", "Warn of old passwords", v.true),
    C("username-from-certificate {C|CN|DNQ|EA|GENQ|GN|I|L|N|O|OU|SER|SN|SP|T|UID|UPN|use-entire-name"
      "|use-script}...", "Choose the certificate fields that name the user", v.words_after(1),
      default="CN OU"),
)

_TUNNEL_WEBVPN: Final = (
    C("authentication {aaa|certificate|multiple-certificate|saml}...", "Choose how users authenticate",
      v.authentication, default="aaa"),
    C("group-alias <LABEL> [enable|disable]", "Name the group in the list", v.flag, keyed_by=("LABEL",)),
    C("group-url <URL> [enable|disable]", "Choose the group by URL", v.group_url, keyed_by=("URL",)),
    C("without-csd [anyconnect]", "Skip host scan", v.true),
    C("radius-reject-message", "Show the server's message", v.true),
    *(C(f"{which}pre-fill-username {client} [hide]", "Fill the user name in from the certificate", v.true)
      for which in ("", "secondary-") for client in ("client", "clientless", "ssl-client")),
    C("proxy-auth <KIND> [<REST:rest>]", "Let a proxy authenticate", v.nothing),
    C("saml identity-provider <NAME:rest>", "Name a SAML identity provider"),
    C("override-svc-download {enable|disable}", "Override the download of the client", v.flag),
    C("customization <TEXT:rest>", "Choose a customization object"),
)

_LOAD_BALANCING: Final = (
    C("priority <PRIORITY:int 1-10>", "Set the priority; the highest directs", default="5"),
    C("interface lbpublic <IFNAME>", "Name the interface that clients come in by", default="outside"),
    C("interface lbprivate <IFNAME>", "Name the interface that members meet on", default="inside"),
    C("nat <ADDRESS:ip4>", "Set the address that clients are sent to instead of its own"),
    C("cluster ip address <ADDRESS:ip4>", "Set the address of the cluster", needed_by="participate"),
    C("cluster port <PORT:port 1-65535>", "Set the UDP port of the cluster", default="9023"),
    C("cluster key <SECRET>", "Set the key that members share", lb.key, texts=lb.key_texts),
    C("cluster encryption", "Encrypt what members say", v.true),
    C("redirect-fqdn {enable|disable}", "Send clients to names instead of addresses", v.flag,
      default="disable"),
    C("participate", "Take part", v.true, refusal=_refuse_participation),
)

_EMULATED_GLOBAL: Final = (
    C("username <NAME> totp <BASE32>", "Ask a user for a one-time code", v.totp, "totp", ("NAME",),
      ("username NAME",), texts=v.totp_texts),
    C("users <PREFIX> <RANGE> password <PASSWORD:password> [emu]", "Define a range of users", v.user_range,
      keyed_by=("PREFIX", "RANGE"), texts=v.user_range_texts),
    *(C(f"logging host <ADDRESS:ip>{port} [format {{emblem|rfc5424}}]", "Send messages to a host", lg.host,
        keyed_by=keys)
      for port, keys in (("", ("ADDRESS",)), (" <PORT>", ("ADDRESS", "PORT")))),
    C("failover poll <POLL:seconds> hold <HOLD:seconds>", "Set how often the mate is looked for",
      fo.free_timers, "failover polltime"),
    C("quirk <ID>", "Behave as an ASA with this bug", v.known_id("quirk", v.QUIRKS), keyed_by=("ID",)),
    C("feature <ID>", "Have this enhancement", v.known_id("feature", v.FEATURES), keyed_by=("ID",)),
)
_EMULATED_ATTRIBUTES: Final = (
    C("disconnected-timeout {<DURATION:seconds>|none}", "Set how long a session outlives its SSL tunnel"),
)
_EMULATED_WEBVPN: Final = (
    C("dtls legacy-0100 {enable|disable}", "Speak Cisco's DTLS 0.9 to old clients", v.flag),
)
_EMULATED_GROUP_WEBVPN: Final = (
    C("anyconnect compression {oc-lz4|lzs|deflate|none}...", "Choose codecs, the best one first",
      v.words_after(2)),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Mode:
    """The commands of one mode, and the trees that plain and `!emu` lines are matched against."""

    name: str
    commands: tuple[Command, ...]
    plain: Node[Command]
    emulated: Node[Command]

    def tree(self, freed: bool) -> Node[Command]:
        """Return the tree for a line with (`freed`) or without `!emu`."""
        return self.emulated if freed else self.plain


def _mode(name: str, commands: tuple[Command, ...], emulated: tuple[Command, ...] = ()) -> Mode:
    def tree(rows: tuple[Command, ...]) -> Node[Command]:
        return compile_patterns([(row.pattern, row.help, row) for row in rows])

    return Mode(name, commands, tree(commands), tree((*commands, *emulated)))


MODES: Final[dict[str, Mode]] = {
    mode.name: mode
    for mode in (
        _mode("config", _GLOBAL, _EMULATED_GLOBAL),
        _mode("config-if", _INTERFACE),
        _mode("config-webvpn", _WEBVPN, _EMULATED_WEBVPN),
        _mode("config-group-policy", _GROUP_POLICY, _EMULATED_ATTRIBUTES),
        _mode("config-group-webvpn", _GROUP_WEBVPN, _EMULATED_GROUP_WEBVPN),
        _mode("config-username", _USERNAME, _EMULATED_ATTRIBUTES),
        _mode("config-username-webvpn", _GROUP_WEBVPN, _EMULATED_GROUP_WEBVPN),
        _mode("config-tunnel-general", _TUNNEL_GENERAL),
        _mode("config-tunnel-webvpn", _TUNNEL_WEBVPN),
        _mode("config-tunnel-ipsec", ()),
        _mode("config-tunnel-ppp", ()),
        _mode("config-load-balancing", _LOAD_BALANCING),
        _mode("config-aaa-server-group", ()),
        _mode("config-aaa-server-host", ()),
    )
}

ORDER: Final[dict[str, int]] = {
    family: rank for rank, family in enumerate(dict.fromkeys(row.family for row in _GLOBAL))
}
"""The order in which an ASA shows the families of its top level; a new line is put where it belongs."""
