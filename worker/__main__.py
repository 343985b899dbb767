"""`python -m worker`: one worker process in the foreground."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from sendoff import settings
from sendoff.core_dumps import forbid_core_dumps
from sendoff.errors import SendoffError
from sendoff.logging import configure_logging
from worker.main import serve


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit code 1, with a sentence, when the process cannot start."""
    forbid_core_dumps()
    try:
        loaded = settings.load()
        configure_logging(loaded)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(loaded))
    except SendoffError as error:
        sys.stderr.write(f"worker: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
