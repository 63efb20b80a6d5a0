"""The files a headend makes or opens: certificate and key, key log, ready files.

A disk that is full costs what would have been written, never the headend.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from asa_emu.app.options import Options, UsageError, default_state_directory
from asa_emu.transport.certificates import (
    CertificateError,
    Identity,
    load_identity,
    open_server_identity,
)
from asa_emu.transport.contexts import KeylogSink

READY_NAME = "running-{pid}-{port}.json"
"""The ready file in the state directory, by process and management port."""
log = structlog.get_logger(__name__)


def server_identity(options: Options, names: Sequence[str]) -> tuple[Identity, Path, Path]:
    """The server's certificate and key with their files: given, or made in the state directory."""
    if (options.cert is None) != (options.key is None):
        raise UsageError("--cert and --key belong together: give both or neither")
    try:
        if options.cert is not None and options.key is not None:
            return load_identity(options.cert, options.key), options.cert, options.key
        directory = options.state or default_state_directory()
        identity = open_server_identity(directory, names)
        return identity, directory / "server.pem", directory / "server.key"
    except CertificateError as error:
        raise UsageError(str(error)) from error


def flash_directories(options: Options) -> list[Path]:
    """What plays `disk0:`: the directory of the configuration file, and the state directory."""
    beside = [options.config.parent] if options.config is not None else []
    return [*beside, options.state or default_state_directory()]


@contextmanager
def keylog_sink(path: Path | None) -> Iterator[KeylogSink | None]:
    """Where TLS and DTLS secrets are written for Wireshark; None without `--keylog`."""
    if path is None:
        yield None
        return
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise UsageError(f"--keylog {path}: {error.strerror}") from error
    with file:

        def write(line: bytes) -> None:
            try:
                file.write(line.rstrip(b"\n") + b"\n")
            except OSError as error:
                log.warning("keylog.not_written", path=str(path), error=error.strerror)

        yield write


@contextmanager
def ready_files(options: Options, facts: dict[str, Any], manage_port: int) -> Iterator[None]:
    """Write the ready file, and one in the state directory for `asa-emu console`; both go at the end."""
    record = json.dumps(facts) + "\n"
    written: list[Path] = []
    try:
        if options.state is not None:
            path = options.state / READY_NAME.format(pid=os.getpid(), port=manage_port)
            try:
                options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(path, record, 0o600)
                written.append(path)
            except OSError as error:
                log.warning("state.not_written", path=str(path), error=error.strerror)
        if options.ready_file is not None:
            try:
                write_whole(options.ready_file, record, 0o600)
            except OSError as error:
                raise UsageError(f"--ready-file {options.ready_file}: {error.strerror}") from error
            written.append(options.ready_file)
        yield
    finally:
        for path in written:
            path.unlink(missing_ok=True)


def write_whole(path: Path, text: str, mode: int) -> None:
    """Write a file next to its place, then rename it into it: nobody ever reads half of it."""
    partial_file = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        partial_file.replace(path)
    except BaseException:
        partial_file.unlink(missing_ok=True)
        raise
