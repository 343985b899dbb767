"""What something costs the servers: statements and transactions of the database, commands of Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import redis.asyncio
from sqlalchemy import event
from sqlalchemy.engine import Engine

from sendoff.store.engine.postgres_driver import Direct


@dataclass
class QueryCounts:
    """A statement past SQLAlchemy is a transaction of its own."""

    statements: int = 0
    commits: int = 0


@contextmanager
def count_queries() -> Iterator[QueryCounts]:
    """Count what this process asks of its databases."""
    spent = QueryCounts()
    fetch = Direct.fetch

    async def counting_fetch(direct: Direct, *arguments: Any, **options: Any) -> Any:
        spent.statements += 1
        spent.commits += 1
        return await fetch(direct, *arguments, **options)

    def count_statement(*_: object) -> None:
        spent.statements += 1

    def count_commit(*_: object) -> None:
        spent.commits += 1

    event.listen(Engine, "before_cursor_execute", count_statement)
    event.listen(Engine, "commit", count_commit)
    try:
        with patch.object(Direct, "fetch", counting_fetch):
            yield spent
    finally:
        event.remove(Engine, "before_cursor_execute", count_statement)
        event.remove(Engine, "commit", count_commit)


async def count_redis_commands(url: str) -> int:
    """How many commands a server has run since its start, those of connecting aside."""
    async with redis.asyncio.Redis.from_url(url) as client:
        stats: dict[str, dict[str, Any]] = await client.info("commandstats")
    connecting = ("cmdstat_info", "cmdstat_client|setinfo", "cmdstat_hello", "cmdstat_auth", "cmdstat_select")
    return sum(int(stat["calls"]) for name, stat in stats.items() if name not in connecting)
