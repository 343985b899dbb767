"""The API's process: `python -m api --host 127.0.0.1 --port 8000`."""

from __future__ import annotations

import sys

from sendoff.processes.process import exit_on_sigterm_during_startup, without_garbage_collection


def main() -> int:
    """Serve until SIGTERM or SIGINT. 1, with a sentence on standard error, when that is not possible."""
    exit_on_sigterm_during_startup()
    with without_garbage_collection():
        from .server import serve  # takes a second or more, in which SIGTERM may arrive

    return serve()


if __name__ == "__main__":
    sys.exit(main())
