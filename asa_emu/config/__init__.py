"""The configuration: an ASA's running-config in, typed facts and effective policies out.

Text becomes lines (`tree`), lines are matched against Cisco's syntax (`syntax`, `grammar`, `values`) and
stored in a document that keeps their order and their text (`document`, `edit`, `load`); `model` reads it,
`policy` puts it together for one session, and `render` prints it again. All of it is pure.
"""

from asa_emu.config.builtin import built_in_config
from asa_emu.config.edit import Editor, Outcome
from asa_emu.config.facts import (
    MASKED,
    Account,
    Ace,
    ClientImage,
    ConfigError,
    Hasher,
    Interface,
    Ipv6Pool,
    Pool,
    Report,
    StoredPassword,
    Timezone,
    UserRange,
)
from asa_emu.config.failover import Failover
from asa_emu.config.gateway import inside_gateway
from asa_emu.config.load_balancing import LoadBalancing
from asa_emu.config.logging import DeviceId, LogFilter, Logging, LogHost
from asa_emu.config.model import (
    DEFAULT_CAPACITY,
    LANDING_GROUP,
    Config,
    parse_config,
    parse_config_bytes,
)
from asa_emu.config.policy import Policy, effective_policy
from asa_emu.config.views import GroupOption, TunnelGroup, User, WebVpn

__all__ = [
    "DEFAULT_CAPACITY",
    "LANDING_GROUP",
    "MASKED",
    "Account",
    "Ace",
    "ClientImage",
    "Config",
    "ConfigError",
    "DeviceId",
    "Editor",
    "Failover",
    "GroupOption",
    "Hasher",
    "Interface",
    "Ipv6Pool",
    "LoadBalancing",
    "LogFilter",
    "LogHost",
    "Logging",
    "Outcome",
    "Policy",
    "Pool",
    "Report",
    "StoredPassword",
    "Timezone",
    "TunnelGroup",
    "User",
    "UserRange",
    "WebVpn",
    "built_in_config",
    "effective_policy",
    "inside_gateway",
    "parse_config",
    "parse_config_bytes",
]
