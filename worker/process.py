"""What a worker process is made of."""

from __future__ import annotations

from dataclasses import dataclass

from sendoff.operations.dispatcher import Dispatcher
from sendoff.operations.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Process:
    """What jobs and loops share."""

    runtime: Runtime
    dispatcher: Dispatcher
