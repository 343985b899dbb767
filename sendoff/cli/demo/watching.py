"""Waiting for what the story needs, with a deadline and a clear word when it does not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from sendoff.clock import SystemClock

Found = TypeVar("Found")

_POLL_SECONDS = 0.05


class DidNotHappen(Exception):
    """Something that the demo shows did not happen."""


def wait_for(look: Callable[[], Found | None], *, within: float, what: str) -> Found:
    """The first value that `look` finds. Raises DidNotHappen with `what` when the time is up."""
    clock = SystemClock()
    deadline = clock.monotonic() + within
    while (found := look()) is None:
        if clock.monotonic() > deadline:
            raise DidNotHappen(f"{what} did not happen within {within:g} s.")
        time.sleep(_POLL_SECONDS)
    return found


def check(is_true: bool, what: str) -> None:
    """Raise DidNotHappen with `what` unless it is true."""
    if not is_true:
        raise DidNotHappen(what)
