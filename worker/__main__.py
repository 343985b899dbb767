"""`python -m worker`: one worker process in the foreground."""

from __future__ import annotations

import sys

from sendoff.process import exit_on_sigterm_during_startup


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit code 1, with a sentence, when the process cannot start."""
    exit_on_sigterm_during_startup()
    from .serving import run  # takes a second or more, in which we may be told to end

    return run()


if __name__ == "__main__":
    sys.exit(main())
