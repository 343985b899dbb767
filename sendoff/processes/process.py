"""What a process does to itself: exit during start-up, notify its supervisor, no core dumps, tuned collector."""

from __future__ import annotations

import gc
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

READY_DESCRIPTOR = "SENDOFF_READY_FD"
"""The environment variable that names the descriptor for `notify_ready`; a supervisor sets it, people don't."""

_MOST_DESCRIPTORS = 1_048_576  # what Linux allows a process unless it is configured otherwise
_GC_THRESHOLDS = (10_000, 20, 20)


def exit_on_sigterm_during_startup() -> None:
    """Exit with 0 on SIGTERM during start-up, also as PID 1, where the kernel ignores signals without a handler.

    Without it a container that is stopped while it starts goes on starting and is killed at the end of its grace
    period. Call it before anything that takes time; install the handler for an orderly shutdown in its place later.
    """
    signal.signal(signal.SIGTERM, _exit)


def _exit(_signal: int, _frame: object) -> None:
    # SystemExit could be raised, and caught, in the midst of a library's import.
    os._exit(0)


def notify_ready() -> None:
    """Write a newline to the descriptor that `SENDOFF_READY_FD` names, once; without the variable, do nothing."""
    descriptor = os.environ.pop(READY_DESCRIPTOR, None)
    if descriptor is None:
        return
    try:
        os.write(int(descriptor), b"\n")
        os.close(int(descriptor))
    except (OSError, ValueError):
        pass  # the process works without its supervisor, too


def disable_core_dumps() -> None:
    """For this process and its children: an image of their memory would hold keys and signing secrets."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def make_files_private() -> None:
    """Let this process and its children create files and directories that only this user can read, in any directory.

    The database and the files of uploads may be in a directory that others can read, such as a mounted volume.
    """
    os.umask(0o077)


def descriptor_limit() -> int:
    """How many files and sockets this process may have open at a time."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else _MOST_DESCRIPTORS


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files and sockets to the hard one, and return it: each connection needs one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return descriptor_limit()


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Do not search for garbage within the block, which is for imports.

    They leave hardly any, and searching all that they made again and again takes a fifth of their CPU time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def tune_garbage_collector() -> None:
    """Exempt everything that exists now from garbage collection, and collect less often. Call it after start-up.

    Objects are freed by their reference counts; cycles are few. With CPython's defaults a worker spends a quarter of
    its CPU time searching its modules and its deliveries in flight for cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
