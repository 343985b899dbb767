"""Processes that tests start: bound to the life of the test run, and ended for certain."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.shell import ForkedProcess

ROOT = Path(__file__).parents[2]
"""The checkout; `python -m tests.…` works from there."""

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: loading a library between fork and exec can hang in a process with threads.
_LIBC = ctypes.CDLL(None)


def start(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that dies with this one, even when this one is killed (on Linux).

    Call it from the main thread: the kernel takes the end of the calling thread for that of the parent.
    """
    return subprocess.Popen([str(part) for part in command], preexec_fn=_die_with_parent, **options)


def stop(process: subprocess.Popen[bytes] | ForkedProcess, *, signum: int = signal.SIGTERM, within: float = 10) -> int:
    """Tell the process to end, kill it if it has not after `within` seconds, and give its exit code."""
    if process.poll() is None:
        process.send_signal(signum)
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return process.wait()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
