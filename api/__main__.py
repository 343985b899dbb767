"""The API's process: `python -m api --host 127.0.0.1 --port 8000`."""

from __future__ import annotations

import sys

from sendoff.endings import end_when_told


def main() -> int:
    """Serve until SIGTERM or SIGINT. 1, with a sentence on standard error, when that is not possible."""
    end_when_told()
    from api.serving import serve  # takes a second or more, in which we may be told to end

    return serve()


if __name__ == "__main__":
    sys.exit(main())
