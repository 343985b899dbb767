"""What Schemathesis loads (`SCHEMATHESIS_HOOKS`) to get further than 404 and 400: ids that exist, URLs that answer.

Every other value stays as it was made up, the others are taken from the JSON file that `SENDOFF_FUZZ_KNOWN` names:
lists of known ids by the parameter's name, and a receiver's URL as `url`.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import schemathesis

KNOWN: dict[str, list[str]] = json.loads(Path(os.environ["SENDOFF_FUZZ_KNOWN"]).read_text())
_URLS = ("url", "target_url")


def _pick(name: str, made_up: Any) -> Any:
    number = zlib.crc32(repr(made_up).encode())
    known = KNOWN.get("url" if name in _URLS else name)
    return made_up if known is None or number % 2 else known[number // 2 % len(known)]


@schemathesis.hook
def map_path_parameters(_context: schemathesis.HookContext, path_parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: _pick(name, value) for name, value in (path_parameters or {}).items()}


@schemathesis.hook
def map_query(_context: schemathesis.HookContext, query: dict[str, Any]) -> dict[str, Any]:
    return {name: _pick(name, value) for name, value in (query or {}).items()}


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {name: _pick(name, value) for name, value in body.items()}


@schemathesis.serializer("application/x-ndjson")
def serialize_lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """JSON Lines, of which Schemathesis knows nothing: a body that is not text becomes a single line."""
    return value.encode(errors="replace") if isinstance(value, str) else json.dumps(value).encode()
