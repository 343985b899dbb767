"""Lists are read newest first, page by page: ids are UUIDv7, so an id is a position in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Query = TypeVar("Query", bound=Any)
Row = TypeVar("Row")

SEARCH_SECONDS = 1.0
"""How long a list searches for what is rare before it answers what it has found and where it stopped. Longer, and
clients meet their own timeouts; shorter, and they need more requests to search the whole history."""

PAGE_SECONDS = 0.04
"""The same for a page that a person waits for, which offers to go on. Twice as much, and pages take longer than 100 ms;
less, and more clicks are needed for what is far back."""


@dataclass(frozen=True, slots=True)
class ScannedPage(Generic[Row]):
    """Rows, newest first. `scanned_to` is set if a search ended before the page was full: it goes on below this id."""

    rows: Sequence[Row]
    scanned_to: str | None = None


async def search(
    scan: Callable[[int, str | None], Awaitable[ScannedPage[Row]]],
    *,
    limit: int,
    before: str | None,
    is_over: Callable[[], bool],
) -> ScannedPage[Row]:
    """Call `scan`, which finds up to `limit` rows below an id within a bound of its own, until the page is full.

    Ends at the end of the list, or behind the first scan after which `is_over` says so.
    """
    rows: list[Row] = []
    while True:
        found = await scan(limit - len(rows), before)
        rows += found.rows
        before = found.scanned_to
        if before is None or len(rows) >= limit or is_over():
            return ScannedPage(rows, before)


def newest_first(query: Query, id_column: Any, *, limit: int, before: str | None) -> Query:
    """Order `query` by descending id, from below `before`, at most `limit` rows."""
    if before is not None:
        query = query.where(id_column < before)
    ordered: Query = query.order_by(id_column.desc()).limit(limit)
    return ordered
