"""`python -m api.openapi`: the OpenAPI document on standard output, without a server."""

from __future__ import annotations

import sys

from .serving import build


def main() -> int:
    """Print the document."""
    sys.stdout.buffer.write(build() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
