"""What is published: one event or a hundred, of a given size, by the organizations round-robin."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from bench.fixtures import EVENT_TYPE

_UPLOAD = {
    "id": "0199c5a0-7b4e-7c00-8000-000000000000",
    "source": "api",
    "status": "completed",
    "original_filename": "contacts.csv",
    "valid_row_count": 1000,
    "invalid_row_count": 0,
    "organization_id": "0199c5a0-7b4e-7c00-8000-000000000001",
    "created_at": "2026-04-24T12:34:56.789+00:00",
}


def one_event(payload: int) -> str:
    """The body for `/api/v1/events` with `payload` bytes of `data`."""
    return _event(payload).decode()


def many_events(payload: int, count: int) -> str:
    """The body for `/api/v1/events/batch`."""
    return '{"events":[' + ",".join([_event(payload).decode()] * count) + "]}"


def heads(path: str, keys: Sequence[str], port: int, body: str) -> list[str]:
    """The head of the request with `body`, for each of the keys."""
    return [
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        for key in keys
    ]


def some_data(payload: int) -> str:
    """The JSON text of an event's `data`, padded to `payload` bytes if it is shorter."""
    bare = len(orjson.dumps({"upload": {**_UPLOAD, "note": ""}}))
    return orjson.dumps({"upload": {**_UPLOAD, "note": "x" * max(0, payload - bare)}}).decode()


def _event(payload: int) -> bytes:
    return orjson.dumps({"type": EVENT_TYPE, "data": orjson.Fragment(some_data(payload))})
