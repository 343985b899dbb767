"""Detects a blocked event loop in a test, and what blocked it.

Time is counted in the ticks of a separate thread: an overloaded machine or a garbage collection stops both the thread
and the loop and does not count; a blocking call stops only the loop.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

NOTICED_SECONDS = 0.5
"""A stall of this many seconds is reported at the end of the run, but not a failure: a busy machine may cause it."""

FORBIDDEN_SECONDS = 2.0
"""A standstill this long fails the test."""

_BEAT_SECONDS = 0.05


class LoopWatch:
    """Watches the running loop between `start` and `stop`."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.culprit = ""
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._ticks = 0
        self._handle: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="loop-watch", daemon=True)

    def start(self) -> None:
        self._beat()
        self._watcher.start()

    def stop(self) -> None:
        self._note()
        if self._handle is not None:
            self._handle.cancel()
        self._stopped.set()
        self._watcher.join()

    def _beat(self) -> None:
        self._note()
        self._handle = self._loop.call_later(_BEAT_SECONDS, self._beat)

    def _note(self) -> None:
        self.longest = max(self.longest, self._stood_still())
        self._ticks = 0

    def _stood_still(self) -> float:
        # The loop beats as often as the thread ticks: one tick, or two, between two beats is how it should be.
        return max(0, self._ticks - 2) * _BEAT_SECONDS

    def _watch(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS):
            self._ticks += 1
            frame = sys._current_frames().get(self._thread_id)
            if frame is not None and self._stood_still() > NOTICED_SECONDS and not self.culprit:
                self.culprit = "".join(traceback.format_stack(frame)[-6:])


def watched(
    test: Callable[Arguments, Awaitable[Result]], report: Callable[[float, str], None]
) -> Callable[Arguments, Awaitable[Result]]:
    """The test, failing if it blocks the loop for long; `report` is called for every stall above NOTICED_SECONDS."""

    @functools.wraps(test)
    async def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        watch = LoopWatch()
        watch.start()
        try:
            result = await test(*args, **kwargs)
        finally:
            watch.stop()
            if watch.longest > NOTICED_SECONDS:
                report(watch.longest, watch.culprit)
        assert watch.longest < FORBIDDEN_SECONDS, (
            f"the event loop stood still for {watch.longest:.1f} s, seen in:\n{watch.culprit}"
        )
        return result

    return run
