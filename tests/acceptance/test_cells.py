"""Eight cells behind a router: organizations move while their events are published, and each event arrives once."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from sendoff.operators.installation.moving import Move
from sendoff.operators.installation.reconcile import reconcile
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.integration.cells.conftest import open_router
from tests.support.app_fixture import ACTOR
from tests.support.receiver import Receiver

CELLS = 8
EVENTS = 800
MOVES = 12
SETTLE_SECONDS = 1.0


@pytest.mark.chaos
async def test_organizations_that_move_among_eight_cells_get_each_event_once(
    _migrated_sqlite: Path,  # noqa: PT019 - its path is copied
    tmp_path: Path,
    valkey_url: str,
    receiver: Receiver,
) -> None:
    rng = random.Random(20261128)  # noqa: S311 - the same moves at every run
    async with AsyncExitStack() as stack:
        cells: dict[str, ApiFixture] = {}
        for number in range(CELLS):
            path = tmp_path / f"{number}.db"
            shutil.copy(_migrated_sqlite, path)
            url = f"sqlite+aiosqlite:///{path}"
            cells[f"c{number}"] = await stack.enter_async_context(open_api(url, valkey_url))
        _, client = await stack.enter_async_context(open_router(cells))
        homes = {api.app.principal.organization_id: name for name, api in cells.items()}
        keys = {api.app.principal.organization_id: api.key for api in cells.values()}
        for number, api in enumerate(cells.values()):
            await api.register(receiver.url(f"/{number}"), ordered=number % 2 == 0)
        accepted: list[str] = []
        await asyncio.wait_for(_run(rng, cells, client, homes, keys, accepted), timeout=500)
        for _ in range(3):
            for api in cells.values():
                api.app.clock.advance(100)
                await api.app.work()
        bodies = [one.body.decode() for one in receiver.requests()]
        arrived = Counter(id_ for id_ in accepted for body in bodies if f'"{id_}"' in body)
        assert arrived == Counter(accepted)
        for api in cells.values():
            assert (await reconcile(api.app.context)).findings == []


async def _run(
    rng: random.Random,
    cells: dict[str, ApiFixture],
    client: httpx.AsyncClient,
    homes: dict[str, str],
    keys: dict[str, str],
    accepted: list[str],
) -> None:
    """Publish, deliver and move at once, until all is published and all moves are made."""
    organizations = list(keys)

    async def publish() -> None:
        for number in range(EVENTS):
            key = keys[organizations[number % len(organizations)]]
            body = {"type": "upload.completed", "data": {"upload": {"id": str(number)}}}
            while True:
                answer = await client.post("/api/v1/events", json=body, headers={"Authorization": f"Bearer {key}"})
                if answer.status_code == 202:
                    accepted.append(answer.json()["id"])
                    break
                assert answer.status_code == 503, answer.text
                await asyncio.sleep(0.05)

    async def move() -> None:
        for _ in range(MOVES):
            organization = rng.choice(organizations)
            to = rng.choice([name for name in cells if name != homes[organization]])
            source, target = cells[homes[organization]], cells[to]
            moved = Move(source.app.context, target.app.context, organization, to, ACTOR)
            await moved.run(settle_seconds=SETTLE_SECONDS)
            homes[organization] = to

    async def deliver() -> None:
        while True:
            for api in cells.values():
                await api.app.work()
            await asyncio.sleep(0.05)

    workers = asyncio.create_task(deliver())
    await asyncio.gather(publish(), move())
    workers.cancel()
    await asyncio.gather(workers, return_exceptions=True)
