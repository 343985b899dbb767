"""Lists without pages: complete and in order at any length, read as far as the client reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from api.http.long_lists import stream_list
from sendoff.endpoints import manage
from sendoff.ids import new_id
from sendoff.policy.states import EndpointState
from sendoff.store.tables import Endpoint
from tests.integration.api.api_fixture import ApiFixture


async def add_endpoints(api: ApiFixture, count: int, **fields: Any) -> list[str]:
    """Endpoints of the organization, the newest first; without a ping."""
    context, principal = api.app.context, api.app.principal
    now = datetime(2026, 4, 24, tzinfo=UTC)
    made = []
    async with context.database.write() as tx:
        for number in range(count):
            identifier = new_id()
            values: dict[str, Any] = {
                "dialect": "default",
                "events": ["upload.completed"],
                "state": EndpointState.ACTIVE,
                **fields,
            }
            tx.add(
                Endpoint(
                    id=identifier,
                    organization_id=principal.organization_id,
                    user_id=principal.user_id,
                    url=f"https://example.com/{number}",
                    secret=context.vault.seal("s", bound_to=identifier),
                    verified_at=now,
                    created_at=now,
                    updated_at=now,
                    **values,
                )
            )
            made.append(identifier)
    return made[::-1]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
async def test_a_list_of_any_length_is_complete_and_newest_first(
    sqlite_api: ApiFixture, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manage, "PAGE_SIZE", 2)
    await add_endpoints(sqlite_api, 3, state=EndpointState.DELETED)
    webhooks = await add_endpoints(sqlite_api, count)
    subscriptions = await add_endpoints(sqlite_api, 3, dialect="dialbird", events=["call.incoming.completed"])
    await add_endpoints(sqlite_api, 3, state=EndpointState.DELETED)
    for path, expected in (("/api/v1/webhooks", webhooks), ("/api/v1/subscriptions", subscriptions)):
        answer = await sqlite_api.get(path)
        assert (answer.status_code, [one["id"] for one in answer.json()]) == (200, expected)


class Row(BaseModel):
    number: int


async def test_no_more_pages_are_read_than_the_client_reads(sqlite_api: ApiFixture) -> None:
    read = 0

    async def pages() -> AsyncIterator[Sequence[int]]:
        nonlocal read
        for number in range(100):
            read += 1
            yield [number]

    response = await stream_list(sqlite_api.app.context, "acme", pages(), lambda number: Row(number=number))
    pieces = response.body_iterator  # type: ignore[attr-defined]
    for _ in range(3):
        await anext(pieces)
    assert read == 3
    await pieces.aclose()
