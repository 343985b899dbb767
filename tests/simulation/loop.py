"""An event loop whose clock jumps to the next timer, and whose executor is the loop itself: the same at every run."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tests.support.app_fixture import START


class Stuck(Exception):
    """Everything waits, and no timer is set."""


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: the loop's time moves on by as much as it would have waited."""

    loop: SimulatedLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stuck
        self.loop.now += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """`latency` gives the seconds that a call into a database or an executor takes."""

    def __init__(self, latency: Callable[[], float]) -> None:
        selector = _Jumping()
        selector.loop = self
        self.now = 0.0
        self.latency = latency
        super().__init__(selector)

    def time(self) -> float:
        return self.now

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
