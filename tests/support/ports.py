"""Ports for servers that are told where to listen, some of them again after they were killed."""

from __future__ import annotations

import os
import socket
from itertools import cycle

# Below those that the kernel gives to whoever asks for any; each process of tests takes them from another hundred.
_EACH = 100
_FIRST = 20_000 + os.getpid() % 120 * _EACH
_ports = cycle(range(_FIRST, _FIRST + _EACH))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses, and that no other test gets meanwhile."""
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
