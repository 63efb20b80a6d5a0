"""The composition root: options in, a running headend out.

`options` says what a headend is started with, `headend` puts the parts together, `failover` what a unit of a
pair needs besides; `files` and `sockets` are what it opens, `program` and `logs` the process around it. May
import everything below; called by the command line, by `cluster`, `pair`, `demo` and by tests.
"""

from asa_emu.app.files import ready_files
from asa_emu.app.headend import Running, run_headend
from asa_emu.app.logs import configure_logging
from asa_emu.app.options import (
    BindError,
    HostPort,
    LogFormat,
    LogLevel,
    Options,
    UsageError,
    default_state_directory,
    read_config,
)
from asa_emu.app.program import Started, serve

__all__ = [
    "BindError",
    "HostPort",
    "LogFormat",
    "LogLevel",
    "Options",
    "Running",
    "Started",
    "UsageError",
    "configure_logging",
    "default_state_directory",
    "read_config",
    "ready_files",
    "run_headend",
    "serve",
]
