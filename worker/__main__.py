"""`python -m worker`: one worker process in the foreground."""

from __future__ import annotations

import sys

from sendoff.endings import end_when_told


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit code 1, with a sentence, when the process cannot start."""
    end_when_told()
    from worker.serving import run  # takes a second or more, in which we may be told to end

    return run()


if __name__ == "__main__":
    sys.exit(main())
