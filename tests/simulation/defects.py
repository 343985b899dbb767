"""Defects that the simulation must find: protections of the engine, taken out again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from sendoff.store.hot import sqlite
from sendoff.store.hot.rows import AttemptRecord, Recorded

_record = sqlite._record


async def _no_sweeps(*_arguments: object) -> None:
    await asyncio.Event().wait()


def _without_lease_check(
    connection: sqlite3.Connection, *, attempts: Sequence[AttemptRecord], **options: Any
) -> Recorded:
    """Record an attempt under whatever lease its delivery has then."""
    found = dict(connection.execute("SELECT id, lease_token FROM deliveries WHERE lease_token IS NOT NULL").fetchall())
    taken = [replace(one, lease_token=found.get(one.delivery_id, one.lease_token)) for one in attempts]
    return _record(connection, attempts=taken, **options)


def _twice(connection: sqlite3.Connection, *, attempts: Sequence[AttemptRecord], **options: Any) -> Recorded:
    """Record each counted attempt as two."""
    recorded = _record(connection, attempts=attempts, **options)
    for one in attempts:
        if one.counted and (one.delivery_id, one.lease_token) in recorded.claims:
            connection.execute(
                "INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome) "
                "SELECT delivery_id, number + 1, started_at, duration_ms, outcome FROM attempts "
                "WHERE delivery_id = ? AND number = ?",
                (one.delivery_id, one.number),
            )
    return recorded


DEFECTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "sweeper": lambda: patch("tests.simulation.world.run_sweeps", _no_sweeps),
    "lease": lambda: patch("sendoff.store.hot.sqlite._record", _without_lease_check),
    "twice": lambda: patch("sendoff.store.hot.sqlite._record", _twice),
}
"""What each takes out: the sweeper; the check of the lease when an attempt is recorded; that it is recorded once."""
