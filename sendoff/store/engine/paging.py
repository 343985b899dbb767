"""Lists are read newest first, page by page: ids are UUIDv7, so an id is a position in time."""

from __future__ import annotations

from typing import Any, TypeVar

Query = TypeVar("Query", bound=Any)


def newest_first(query: Query, id_column: Any, *, limit: int, before: str | None) -> Query:
    """Order `query` by descending id, from below `before`, at most `limit` rows."""
    if before is not None:
        query = query.where(id_column < before)
    ordered: Query = query.order_by(id_column.desc()).limit(limit)
    return ordered
