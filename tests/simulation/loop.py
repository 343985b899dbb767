"""An event loop whose clock jumps to the next timer, and whose executor is the loop itself: the same at every run."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Any

from tests.support.app_fixture import START


class Stuck(Exception):
    """Everything waits, and no timer is set."""


class _Call:
    """A callback that will run, as asyncio's handles are, without what they do for its debug mode."""

    __slots__ = ("_args", "_callback", "_context", "_is_cancelled", "_when")

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None):
        self._when = when
        self._callback = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._is_cancelled = False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self._is_cancelled = True

    def cancelled(self) -> bool:
        return self._is_cancelled

    def run(self) -> None:
        self._context.run(self._callback, *self._args)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """`latency` gives the seconds that a call into a database or an executor takes."""

    def __init__(self, latency: Callable[[], float]) -> None:
        super().__init__()
        self.now = 0.0
        self.latency = latency
        self._calls: deque[_Call] = deque()
        self._places = itertools.count()
        self._timers: list[tuple[float, int, _Call]] = []
        """The next one first; of one moment, the one that was set first."""

    def time(self) -> float:
        return self.now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        call = _Call(self.now, callback, args, context)
        self._calls.append(call)
        return call

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        call = _Call(when, callback, args, context)
        heappush(self._timers, (when, next(self._places), call))
        return call

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """Make the calls that are due or, if none is, those of the next moment. No file is looked at."""
        calls, timers = self._calls, self._timers
        while timers and (not calls or timers[0][0] <= self.now):
            when, _, call = heappop(timers)
            if not call.cancelled():
                self.now = max(self.now, when)
                calls.append(call)
        if not calls:
            raise Stuck
        for _ in range(len(calls)):
            call = calls.popleft()
            if not call.cancelled():
                call.run()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run `func` here at a moment between now and the answer."""
        future: asyncio.Future[Any] = self.create_future()
        self.call_later(self.latency(), self._run_now, future, func, args)
        return future

    def answer(self, future: asyncio.Future[Any], function: Callable[[], Any]) -> None:
        """Run `function` now; what it gives reaches the future after the latency."""
        try:
            result = function()
        except Exception as error:
            self.call_later(self.latency(), _fail, future, error)
        else:
            self.call_later(self.latency(), _set, future, result)

    def _run_now(self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if not future.cancelled():
            self.answer(future, lambda: func(*args))


class SimulatedClock:
    """The loop's time as the product's clock."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.now)

    def machine_now(self) -> datetime:
        return self.now()

    def monotonic(self) -> float:
        return self._loop.now


def _set(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
