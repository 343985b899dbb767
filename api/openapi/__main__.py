"""`python -m api.openapi`: the OpenAPI document on standard output, without a server."""

from __future__ import annotations

import sys

import orjson
from fastapi import FastAPI

from ..app import include_routes
from ..events.schemas import PLAIN_OPERATIONS
from .document import document


def main() -> int:
    """Print the document."""
    app = FastAPI(openapi_url=None)
    include_routes(app)
    sys.stdout.buffer.write(orjson.dumps(document(app, PLAIN_OPERATIONS)) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
