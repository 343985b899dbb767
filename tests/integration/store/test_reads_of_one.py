"""One organization's reads leave connections to the others."""

from __future__ import annotations

import asyncio

from sendoff.store.engine.database import READS_OF_ONE, Database
from tests.support.polling import eventually


async def test_reads_of_one_organization_wait_for_each_other_and_for_no_one_else(database_url: str) -> None:
    database, done, under_way = Database.open(database_url), asyncio.Event(), list[str]()

    async def read(owner: str) -> None:
        async with database.read(owner=owner):
            under_way.append(owner)
            await done.wait()

    try:
        tasks = [asyncio.create_task(read("a")) for _ in range(READS_OF_ONE + 1)]
        await eventually(lambda: len(under_way) == READS_OF_ONE, what="as many reads as one may have are under way")
        tasks.append(asyncio.create_task(read("b")))
        await eventually(lambda: under_way[READS_OF_ONE:] == ["b"], what="another organization's read is under way")
        done.set()
        await asyncio.gather(*tasks)
        assert under_way[-1] == "a"
    finally:
        await database.close()
