"""The worker's process: read the settings, work, end."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from sendoff import settings
from sendoff.errors import SendoffError
from sendoff.logging import configure_logging
from sendoff.process import disable_core_dumps

from .main import serve


def run() -> int:
    """Work until SIGTERM or SIGINT. 1, with a sentence on standard error, when that is not possible."""
    disable_core_dumps()
    try:
        loaded = settings.load()
        configure_logging(loaded)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(loaded))
    except SendoffError as error:
        sys.stderr.write(f"worker: {error}\n")
        return 1
    return 0
