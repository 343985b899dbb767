"""Whatever a caller puts where: an answer with a meaning, never a 500."""

from __future__ import annotations

import os
import random
from typing import Any

from structlog.testing import capture_logs

from tests.integration.api.api_fixture import ApiFixture
from tests.integration.api.every_route import CALLS, concrete

TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "%00",
    "../../etc/passwd",
    "' OR 1=1 --",
    "🙂",
    "\ufffe",
    "x" * 5_000,
    "0",
    "-1",
    "1e9",
    "99999999999999999999999",
    "NaN",
    "null",
    "true",
    "2026-02-30T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "00000000-0000-0000-0000-000000000000",
    "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
    "evt_0123456789abcdef01234567",
    "https://[::ffff:127.0.0.1]/",
    "https://example.com:99999/",
    "upload.completed",
]
VALUES: list[Any] = [*TEXTS, None, True, 0, -1, 1.5, 1e308, 10**400, [], {}, [None], [[]], {"": {}}, ["a"] * 2_000]

ROUNDS = int(os.environ.get("SENDOFF_HOSTILE_ROUNDS", "10"))
"""Requests to each route."""


async def test_arbitrary_requests_are_never_answered_500(api: ApiFixture) -> None:
    document = (await api.get("/openapi.json")).json()
    random_source = random.Random(20260424)  # noqa: S311 - the same hostility at every run
    for (method, path), call in CALLS.items():
        operation = document["paths"].get(path, {}).get(method.lower(), {})
        queries = [spec["name"] for spec in operation.get("parameters", ()) if spec["in"] == "query"]
        for _ in range(ROUNDS):
            api.app.clock.advance(60)  # away from the rate limits
            request: dict[str, Any] = {
                "params": {name: random_source.choice(TEXTS) for name in queries if random_source.random() < 0.4}
            }
            if isinstance(call.body, dict):
                request["json"] = spoil(call.body, random_source)
            with capture_logs() as logs:
                response = await api.call(method, wild(path, random_source), **request)
            assert response.status_code < 500, (method, path, request, response.text, logs)


def spoil(body: dict[str, Any], random_source: random.Random) -> dict[str, Any]:
    """The body with one field, at some depth, replaced by something else, and perhaps one more."""
    name = random_source.choice(list(body))
    inner = body[name]
    if isinstance(inner, dict) and inner and random_source.random() < 0.5:
        return {**body, name: spoil(inner, random_source)}
    if isinstance(inner, list) and inner and isinstance(inner[0], dict) and random_source.random() < 0.5:
        return {**body, name: [spoil(inner[0], random_source)]}
    extra = {str(random_source.choice(TEXTS)): random_source.choice(VALUES)} if random_source.random() < 0.2 else {}
    return {**body, name: random_source.choice(VALUES), **extra}


def wild(path: str, random_source: random.Random) -> str:
    """The path with something else than ids in it."""
    text = random_source.choice([text for text in TEXTS if "/" not in text and text.isprintable() and text.strip()])
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    return concrete(path, **{name: text for name in names if random_source.random() < 0.7})
