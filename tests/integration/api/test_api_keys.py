"""Revoked and expired API keys are refused at once, in every process."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from sendoff.accounts import organizations
from sendoff.store.queries import accounts as rows
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.app_fixture import ACTOR


@pytest.fixture
async def other(api: ApiFixture, valkey_url: str) -> AsyncIterator[ApiFixture]:
    """Another API process on the same database, which knows nothing of the first."""
    async with open_api(api.app.context.settings.database_url, valkey_url) as opened:
        yield opened


EVENT = {"type": "upload.completed", "data": {}}


async def statuses(key: str, *processes: ApiFixture) -> list[int]:
    """Of a read and of a publish, which asks for the key in a transaction of its own: 200 when both are let through."""
    found = []
    for process in processes:
        read = await process.get("/api/v1/webhooks", key=key)
        published = await process.post("/api/v1/events", EVENT, key=key)
        assert (read.status_code, published.status_code) in {(200, 202), (401, 401)}
        found.append(read.status_code)
    return found


async def key_id(api: ApiFixture, key: str) -> str:
    listed = await organizations.list_keys(api.app.context, api.app.principal.organization_id)
    [found] = [one.key.id for one in listed if one.key.key_hash == hashlib.sha256(key.encode()).hexdigest()]
    return found


async def test_a_key_revoked_in_one_process_ends_in_the_others_with_the_next_request(
    api: ApiFixture, other: ApiFixture
) -> None:
    key = await api.new_key()
    assert await statuses(key, api, other) == [200, 200]
    await organizations.revoke_key(api.app.context, ACTOR, await key_id(api, key))
    assert await statuses(key, other, api) == [401, 401]


async def test_a_key_expires_in_every_process_at_the_same_time(api: ApiFixture, other: ApiFixture) -> None:
    key = await api.new_key(expires_at=api.app.clock.now() + timedelta(seconds=60))
    for process in (api, other):
        process.app.clock.advance(59.999)
    assert await statuses(key, api, other) == [200, 200]
    for process in (api, other):
        process.app.clock.advance(0.001)
    assert await statuses(key, api, other) == [401, 401]


async def test_removing_a_member_ends_the_keys_in_every_process(api: ApiFixture, other: ApiFixture) -> None:
    organization_id = api.app.principal.organization_id
    key = await api.new_key()
    assert await statuses(key, other) == [200]
    await organizations.remove_member(api.app.context, ACTOR, organization_id=organization_id, email="dev@example.com")
    assert await statuses(key, other, api) == [401, 401]


async def test_a_key_that_is_revoked_again_stays_revoked_since_the_first_time(api: ApiFixture) -> None:
    key = await api.new_key()
    identifier = await key_id(api, key)
    await organizations.revoke_key(api.app.context, ACTOR, identifier)
    first = await revoked_at(api, identifier)
    api.app.clock.advance(60)
    await organizations.revoke_key(api.app.context, ACTOR, identifier)
    assert await revoked_at(api, identifier) == first
    assert await statuses(key, api) == [401]


async def test_of_a_key_its_hash_and_its_first_twelve_characters_are_kept(api: ApiFixture) -> None:
    key = await api.new_key()
    async with api.app.transaction() as tx:
        kept = await rows.find_key(tx, await key_id(api, key))
    assert kept is not None
    assert kept.prefix == key[:12]
    assert key not in repr(kept.model_dump())


async def revoked_at(api: ApiFixture, identifier: str) -> object:
    async with api.app.transaction() as tx:
        found = await rows.find_key(tx, identifier)
    assert found is not None
    return found.revoked_at
