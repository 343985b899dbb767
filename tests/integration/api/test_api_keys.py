"""API keys end at once, in every process, whoever ends them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from sendoff.accounts import organizations
from sendoff.store.queries import accounts as rows
from tests.integration.api.world import World, open_world
from tests.support.house import ACTOR


@pytest.fixture
async def other(world: World, valkey_url: str) -> AsyncIterator[World]:
    """Another API process on the same database, which knows nothing of the first."""
    async with open_world(world.house.context.settings.database_url, valkey_url) as opened:
        yield opened


EVENT = {"type": "upload.completed", "data": {}}


async def statuses(key: str, *processes: World) -> list[int]:
    """Of a read and of a publish, which asks for the key in a transaction of its own: 200 when both are let through."""
    found = []
    for process in processes:
        read = await process.get("/api/v1/webhooks", key=key)
        published = await process.post("/api/v1/events", EVENT, key=key)
        assert (read.status_code, published.status_code) in {(200, 202), (401, 401)}
        found.append(read.status_code)
    return found


async def key_id(world: World, key: str) -> str:
    listed = await organizations.list_keys(world.house.context, world.house.principal.organization_id)
    [found] = [one.key.id for one in listed if one.key.key_hash == hashlib.sha256(key.encode()).hexdigest()]
    return found


async def test_a_key_revoked_in_one_process_ends_in_the_others_with_the_next_request(
    world: World, other: World
) -> None:
    key = await world.new_key()
    assert await statuses(key, world, other) == [200, 200]
    await organizations.revoke_key(world.house.context, ACTOR, await key_id(world, key))
    assert await statuses(key, other, world) == [401, 401]


async def test_a_key_expires_in_every_process_at_its_very_moment(world: World, other: World) -> None:
    key = await world.new_key(expires_at=world.house.clock.now() + timedelta(seconds=60))
    for process in (world, other):
        process.house.clock.advance(59.999)
    assert await statuses(key, world, other) == [200, 200]
    for process in (world, other):
        process.house.clock.advance(0.001)
    assert await statuses(key, world, other) == [401, 401]


async def test_removing_a_member_ends_the_keys_in_every_process(world: World, other: World) -> None:
    organization_id = world.house.principal.organization_id
    key = await world.new_key()
    assert await statuses(key, other) == [200]
    await organizations.remove_member(
        world.house.context, ACTOR, organization_id=organization_id, email="dev@example.com"
    )
    assert await statuses(key, other, world) == [401, 401]


async def test_a_key_that_is_revoked_again_stays_revoked_since_the_first_time(world: World) -> None:
    key = await world.new_key()
    identifier = await key_id(world, key)
    await organizations.revoke_key(world.house.context, ACTOR, identifier)
    first = await revoked_at(world, identifier)
    world.house.clock.advance(60)
    await organizations.revoke_key(world.house.context, ACTOR, identifier)
    assert await revoked_at(world, identifier) == first
    assert await statuses(key, world) == [401]


async def test_of_a_key_its_hash_and_its_first_twelve_characters_are_kept(world: World) -> None:
    key = await world.new_key()
    async with world.house.transaction() as tx:
        kept = await rows.find_key(tx, await key_id(world, key))
    assert kept is not None
    assert kept.prefix == key[:12]
    assert key not in repr(kept.model_dump())


async def revoked_at(world: World, identifier: str) -> object:
    async with world.house.transaction() as tx:
        found = await rows.find_key(tx, identifier)
    assert found is not None
    return found.revoked_at
