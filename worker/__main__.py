"""`python -m worker`: one worker process in the foreground."""

from __future__ import annotations

import sys

from sendoff.processes.process import exit_on_sigterm_during_startup, without_garbage_collection


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit code 1, with a sentence, when the process cannot start."""
    exit_on_sigterm_during_startup()
    with without_garbage_collection():
        from .process import run  # importing it takes a second or more; SIGTERM may come meanwhile

    return run()


if __name__ == "__main__":
    sys.exit(main())
