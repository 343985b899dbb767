"""How long the hot statements take, for the metric `sendoff_database_seconds`."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sendoff.observability.metrics import DATABASE_SECONDS

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def timed(
    statement: str,
) -> Callable[[Callable[Arguments, Coroutine[Any, Any, Result]]], Callable[Arguments, Coroutine[Any, Any, Result]]]:
    """Observe each call under this name, also one that fails."""
    histogram = DATABASE_SECONDS.labels(statement)

    def decorate(
        method: Callable[Arguments, Coroutine[Any, Any, Result]],
    ) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
        @wraps(method)
        async def observed(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
            started = time.perf_counter()
            try:
                return await method(*arguments, **named)
            finally:
                histogram.observe(time.perf_counter() - started)

        return observed

    return decorate
