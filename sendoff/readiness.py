"""Tells whoever started this process that it is ready, if they asked: a newline on the descriptor they named."""

from __future__ import annotations

import os

READY_DESCRIPTOR = "SENDOFF_READY_FD"
"""The environment variable that names the descriptor; a supervisor sets it, people don't."""


def announce_ready() -> None:
    """Say once that this process does its work from now on; does nothing when nobody asked."""
    descriptor = os.environ.pop(READY_DESCRIPTOR, None)
    if descriptor is None:
        return
    try:
        os.write(int(descriptor), b"\n")
        os.close(int(descriptor))
    except (OSError, ValueError):
        pass  # nobody listens any more, which is no reason not to work
