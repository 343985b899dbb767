"""Fixed ports for servers, so that a killed one can be restarted on its old port."""

from __future__ import annotations

import os
import socket
from itertools import cycle

# Below the kernel's ephemeral ports; each test process uses its own range of a hundred ports.
_EACH = 100
_FIRST = 20_000 + os.getpid() % 120 * _EACH
_ports = cycle(range(_FIRST, _FIRST + _EACH))


def free_port() -> int:
    """A free TCP port of 127.0.0.1 that no other test gets at the same time."""
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
