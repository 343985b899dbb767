"""A process that is told to end before it is at work ends, even where nobody but itself can end it."""

from __future__ import annotations

import os
import signal


def end_when_told() -> None:
    """From now on SIGTERM ends this process at once, with 0: for as long as it has nothing under way.

    The first process of a container has no default actions: the kernel drops a SIGTERM that it doesn't handle, and it
    would start, work, and be killed when its time to stop is over. Call it before anything that takes time, and put
    the handler for orderly endings in its place afterwards.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(_signal: int, _frame: object) -> None:
    # Not SystemExit, which could be raised, and caught, in the midst of any library's import.
    os._exit(0)
