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
RATIO_HEAD: Final = """\
Filter Group         : {group}
Total Active Sessions: {active}
Cumulative Sessions  : {cumulative}

{title:<20} {sessions:>8} {percent:>11}
"""
RATIO_ROW: Final = "{name:<20} {sessions:>8} {percent:>10}%\n"
RATIO_PROTOCOLS: Final = (
    *("Clientless", "AnyConnect-Parent", "SSL-Tunnel", "DTLS-Tunnel"),
    *("IKEv1", "IKEv2", "IPsec", "L2TPOverIPsec"),
)
RATIO_CIPHERS: Final = (
    *("none", "DES", "3DES", "RC4", "AES128", "AES192", "AES256", "AES-GCM-128", "AES-GCM-256"),
    "CHACHA20-POLY1305",
)
_RULE = f"{'-' * 75}\n"
LICENSE_LIMITS: Final = f"""\
{_RULE}VPN Licenses and Configured Limits Summary
{_RULE}\
                                     Status : Capacity : Installed :  Limit
                                  -----------------------------------------
AnyConnect Premium               : {{premium:>8}} : {{capacity:>8}} : {{capacity:>9}} : {{limit:>6}}
AnyConnect Essentials            : {{essentials:>8}} : {{capacity:>8}} : {{capacity:>9}} : {{limit:>6}}
Other VPN (Available by Default) :  ENABLED : {{capacity:>8}} : {{capacity:>9}} :   NONE
Shared License Server            : DISABLED
Shared License Participant       : DISABLED
AnyConnect for Mobile            :  ENABLED
Advanced Endpoint Assessment     : DISABLED
AnyConnect for Cisco VPN Phone   : DISABLED
VPN-3DES-AES                     :  ENABLED
VPN-DES                          :  ENABLED
{_RULE}
"""
LICENSE_USE: Final = f"""\
{_RULE}VPN Licenses Usage Summary
{_RULE}\
                          Local : Shared :   All  :   Peak :  Eff.  :
                         In Use : In Use : In Use : In Use :  Limit : Usage
                       ----------------------------------------------------
{{name:<23}}: {{used:>6}} :      0 : {{used:>6}} : {{peak:>6}} : {{limit:>6}} : {{share:>5}}
  AnyConnect Client    :                 : {{clients:>6}} : {{client_peak:>6}} :        : {{client_share:>5}}
    AnyConnect Mobile  :                 :      0 :      0 :        :    0%
  Clientless VPN       :                 : {{portal:>6}} : {{portal_peak:>6}} :        : {{portal_share:>5}}
Other VPN              :      0 :      0 :      0 :      0 :  20000 :    0%
  Cisco VPN Client     :                 :      0 :      0 :        :    0%
  L2TP Clients         :                 :      0 :      0 :        :    0%
  Site-to-Site VPN     :                 :      0 :      0 :        :    0%
{_RULE}"""

# vpn-sessiondb logoff; the result for a user name is confirmed
LOGGED_OFF: Final = {
    "index": 'with index "{value}"',
    "ipaddress": 'with IP address "{value}"',
    "tunnel_group": 'in tunnel group "{value}"',
    "protocol": 'using protocol "{value}"',
}
LOGGED_OFF_TYPE: Final = 'of type "{value}"'
INVALID_INDEX: Final = "INFO: Invalid Session Index\n"

# the console itself
INCOMPLETE: Final = "ERROR: % Incomplete command\n"
AMBIGUOUS: Final = 'ERROR: % Ambiguous command:  "{line}"\n'
UNRECOGNIZED: Final = "ERROR: % Unrecognized command\n"
INVALID_PASSWORD: Final = "Invalid password\n"
INVALID_LOGIN: Final = "Login incorrect\n"
ACCESS_DENIED: Final = "Access denied.\n"
MODES: Final = {"user": "P_UNPR", "privileged": "P_PRIV", "configuration": "P_PRIV P_CONF"}
BAD_EXPRESSION: Final = "% Invalid regular expression"
HELP: Final = """\
Help may be requested at any point in a command by typing a question mark.
  show ?      the words that may follow
  show vpn?   the words that begin so
"""

# saving
SAVED: Final = """\
Building configuration...
Cryptochecksum: {checksum}

{size} bytes copied in 0.10 secs
[OK]
"""
COPY_SOURCE: Final = "Source filename [running-config]? "

# failover
FAILOVER_OFF: Final = """\
Failover Off
Failover unit {unit}
Failover LAN Interface: not Configured
"""
LAN_INTERFACE: Final = "folink state-link"
STATE_INTERFACE: Final = "statelink state-link"
STATE_LINK: Final = "state-link"
"""Interfaces of a pair whose configuration does not name them."""
NO_MATE: Final = "Not Detected"
NO_FAILOVER_YET: Final = "Not Available"
MATE_SERIAL_NUMBER: Final = "9AEMU000002"
NO_FAILOVER: Final = "failover is off"
NOT_ACTIVE: Final = "this unit is not active: log sessions off on its failover mate"
STANDBY_CONFIGURES: Final = """\
**** WARNING ****
        Configuration Replication is NOT performed from Standby unit to Active unit.
        Configurations are no longer synchronized.
"""

# show
SERIAL_NUMBER: Final = "9AEMU000001"
CLOCK_SOURCE: Final = "Time source is hardware calendar\n"
DEFAULT_VERSION: Final = "9.16(4)"
"""The release of a headend whose configuration does not name one."""
VERSION_TEXT: Final = """\

Cisco Adaptive Security Appliance Software Version {version}
Device Manager Version 7.16(1)

Compiled on Thu 28-Jul-22 22:00 PDT by builders
System image file is "boot:/asa-emu"
Config file at boot was "startup-config"

{hostname} up {uptime}

Hardware:   ASAv, 2048 MB RAM, CPU Xeon E5 series 2400 MHz,
Internal ATA Compact Flash, 1024MB

Licensed features for this platform:
AnyConnect Premium Peers          : {premium:<14} perpetual
AnyConnect Essentials             : {essentials:<14} perpetual
Other VPN Peers                   : {capacity:<14} perpetual
Total VPN Peers                   : {capacity:<14} perpetual
AnyConnect for Mobile             : Enabled        perpetual

Serial Number: 9AEMU000001

{modified}
"""
NOT_MODIFIED: Final = "Configuration has not been modified since last system restart."
IMAGE: Final = """\
{order}. disk0:/{file} {order} dyn-regex=/{regex}/
  CISCO STC {platform}
  {version}
"""
IMAGES: Final = "\n{count} AnyConnect Client(s) installed\n"
NO_POOL: Final = "% Pool {name} does not exist"
POOL_HEAD: Final = "Begin           End             Mask            Free     Held     In use\n"
POOL_ROW: Final = "{first:<15} {last:<15} {mask:<15} {free:>7} {held:>8} {used:>9}\n"

# show vpn load-balancing; where it is off, nothing is confirmed
NO_ROLE: Final = "n/a"
BALANCING_FAILOVER: Final = {True: "Active", False: "Standby"}
NO_CLUSTER_IP: Final = "0.0.0.0"
