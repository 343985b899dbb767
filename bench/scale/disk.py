"""How much of the disk the tables take."""

from __future__ import annotations

from bench.measurement.databases import Postgres
from bench.table import aligned

_SIZES = """
    SELECT relname, pg_table_size(oid) AS rows, pg_indexes_size(oid) AS indexes
    FROM pg_class WHERE relname = ANY($1) ORDER BY pg_total_relation_size(oid) DESC
"""
_TABLES = ("events", "deliveries", "attempts", "dead_letters", "last_exchanges")
_MIB = 1024 * 1024


async def describe_disk(database: Postgres, deliveries: int) -> str:
    """A table of the sizes on disk, in total and per million of the `deliveries`."""
    connection = await database.open_connection()
    try:
        found = await connection.fetch(_SIZES, list(_TABLES))
    finally:
        await connection.close()
    sizes = [(row["relname"], row["rows"], row["indexes"]) for row in found]
    sizes.append(("together", sum(rows for _, rows, _ in sizes), sum(indexes for *_, indexes in sizes)))
    head = ["MiB on disk", "rows", "indexes", "together", "per million deliveries"]
    return aligned([head, *(_row(*size, deliveries) for size in sizes)])


def _row(name: str, rows: int, indexes: int, deliveries: int) -> list[str]:
    together = rows + indexes
    return [name, *(f"{size / _MIB:,.0f}" for size in (rows, indexes, together, together * 1_000_000 / deliveries))]
