"""A headend that was started with fewer descriptors than it has clients."""

from __future__ import annotations

import resource
import socket
import ssl
from contextlib import ExitStack

import pytest

from asa_emu.testing import running

CLIENTS = 150
SHELL_LIMIT = 100


def test_more_clients_come_in_than_the_shell_allows_a_process_to_have_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4 * CLIENTS:
        pytest.skip(f"needs {4 * CLIENTS} descriptors, {hard} are allowed")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (SHELL_LIMIT, hard))
        try:
            headend = stack.enter_context(running())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(CLIENTS):
            sock = stack.enter_context(socket.create_connection((headend.host, headend.port), 10.0))
            stack.enter_context(context.wrap_socket(sock))
