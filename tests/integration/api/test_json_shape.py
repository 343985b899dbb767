"""JSON that is too deep or too wide is refused, whatever route it is sent to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.publishing.incoming.event_bodies import MOST_KEYS as MOST_DATA_KEYS
from sendoff.publishing.incoming.json_limits import DEEPEST_NESTING, has_more_keys
from tests.integration.api.api_fixture import ApiFixture
from tests.integration.api.every_route import CALLS, Call, concrete

# Uploads read their JSON an entry at a time, with bounds of their own.
TAKING_JSON = {route: call for route, call in CALLS.items() if call.body and route[1] != "/api/v1/uploads"}

TEXTS = st.text('ab"\\:{}é')
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(count_keys, value.values()))
    return sum(map(count_keys, value)) if isinstance(value, list) else 0


@given(VALUES, st.integers(0, 12), st.booleans())
def test_keys_are_counted_as_a_parser_would(value: Any, most: int, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped).encode()
    assert has_more_keys(text, most) == (count_keys(value) > most)


def spoiled(call: Call, value: bytes) -> bytes:
    """The route's body with `value` in a place where nobody looks, or where the event's data is."""
    body = json.loads(json.dumps(call.body))
    event = (body.get("events") or [body])[0]
    event.get("data", body)["x"] = "HERE"
    return json.dumps(body).encode().replace(b'"HERE"', value)


DEEP = b'{"k":[' * (DEEPEST_NESTING // 2) + b"1" + b"]}" * (DEEPEST_NESTING // 2)
BOTTOMLESS = b'{"k":' * 20_000 + b"1" + b"}" * 20_000
WIDE = json.dumps({f"k{number}": 0 for number in range(MOST_DATA_KEYS + 1)}).encode()


@pytest.mark.parametrize("route", TAKING_JSON, ids=" ".join)
async def test_too_deep_and_too_wide_bodies_are_a_400_that_says_so(
    sqlite_api: ApiFixture, route: tuple[str, str]
) -> None:
    for value, expected in ((DEEP, "nested"), (BOTTOMLESS, "nested"), (WIDE, "keys")):
        body = spoiled(TAKING_JSON[route], value)
        answer = await sqlite_api.call(route[0], concrete(route[1]), content=body)
        assert (answer.status_code, expected in answer.text) == (400, True), answer.text[:300]
