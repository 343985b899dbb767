"""Plans of hot statements on tables without statistics, as in the first minute after many rows were inserted."""

from __future__ import annotations

from sqlalchemy import text

from sendoff.store.engine.database import Database
from sendoff.store.hot import postgres
from sendoff.store.hot.rows import HAS_HELD

_BY_STATE = ("ix_endpoints_state", "ix_replay_items_next")
"""Indexes that hold, of one state, the endpoints of all organizations or all deliveries of a replay."""

_PARAMETERS = {
    "_ACCEPT_ONE": 12,
    "_FIND_SENDERS": 2,
    "_FIND_SUBSCRIBERS": 2,
    "_CLAIM_ONE": 4,
    "_CLAIM_DUE": 8,
    "_RECORD": 27,
    "_RECORD_WITH_EVENTS": 28,
    "_RECORD_SUCCESSES": 9,
}


async def test_rows_are_looked_up_by_whose_they_are_and_not_by_their_state(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    by_state: dict[str, list[str]] = {}
    try:
        assert database.direct is not None
        for name, parameters in _PARAMETERS.items():
            rows = await database.direct.fetch(f"EXPLAIN {getattr(postgres, name)}", *[None] * parameters)
            plan = [row[0] for row in rows]
            assert any("Index Scan" in line for line in plan)
            by_state[name] = [line for line in plan if any(index in line for index in _BY_STATE)]
    finally:
        await database.close()
    assert by_state == {name: [] for name in _PARAMETERS}


async def test_whether_live_deliveries_are_held_is_read_off_one_place_of_an_index(database_url: str) -> None:
    """Past what replays feed, however much that is, and without a sort."""
    database = Database.open(database_url)
    explain = "EXPLAIN" if database_url.startswith("postgres") else "EXPLAIN QUERY PLAN"
    query = f"{explain} SELECT {HAS_HELD} FROM endpoints p"  # noqa: S608 - of our own SQL
    try:
        async with database.read() as tx:
            plan = [str(row) for row in await tx.execute(text(query))]
    finally:
        await database.close()
    [at] = [place for place, line in enumerate(plan) if "ix_deliveries_held_in_turn" in line]
    bounds = "".join(plan[at : at + 2]).replace("(replay_id IS NOT NULL)", "<expr>").replace(" ", "")
    assert "<expr><" in bounds, plan
    assert not any("sort" in line.lower() or "b-tree" in line.lower() for line in plan), plan
