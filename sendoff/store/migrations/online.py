"""Changes of large tables while processes read and write them, for revisions to call."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

ROWS_AT_ONCE = 5_000
"""Rows that one transaction of `update_in_batches` changes. More keep their rows locked for longer, and a worker that
wants one of them waits; fewer take more transactions."""


def replace_indexes(table: str, *, old: tuple[str, ...] = (), new: dict[str, str], unique: bool = False) -> None:
    """Make indexes, given as `(columns) WHERE condition` by name, then drop others; `unique` is of the new ones.

    On PostgreSQL concurrently, outside of a transaction: the table is written to meanwhile. What an interrupted run
    left behind is made again, so a revision that calls this can be run again. Partitions have indexes of their own.
    """
    concurrently = "CONCURRENTLY" if _is_postgresql() else ""
    kind = "UNIQUE INDEX" if unique else "INDEX"
    suffixes = _suffixes_of_partitions(table) or [""]
    with op.get_context().autocommit_block():
        for suffix in suffixes:
            for name, definition in new.items():
                op.execute(f"DROP INDEX {concurrently} IF EXISTS {name}{suffix}")
                op.execute(f"CREATE {kind} {concurrently} {name}{suffix} ON {table}{suffix} {definition}")
            for name in old:
                op.execute(f"DROP INDEX {concurrently} IF EXISTS {name}{suffix}")


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column unless an interrupted run has: what follows it in the revision may have ended its transaction."""
    if op.get_context().as_sql or column.name not in {
        known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)
    }:
        op.add_column(table, column)


def update_in_batches(table: str, assignments: str, *, where: str = "TRUE") -> None:
    """Set columns of a table whose `id` is a UUID, on PostgreSQL in many short transactions."""
    if not _is_postgresql() or op.get_context().as_sql:
        in_batches = f" /* {ROWS_AT_ONCE} rows at a time */" if _is_postgresql() else ""
        op.execute(f"UPDATE {table} SET {assignments} WHERE {where}{in_batches}")
        return
    batch = sa.text(
        f"WITH batch AS (SELECT id FROM {table} WHERE id > CAST(:last AS uuid) ORDER BY id LIMIT {ROWS_AT_ONCE}), "
        f"changed AS (UPDATE {table} SET {assignments} WHERE id IN (SELECT id FROM batch) AND ({where})) "
        "SELECT CAST(id AS text) FROM batch ORDER BY id DESC LIMIT 1"
    )
    last: str | None = "00000000-0000-0000-0000-000000000000"
    with op.get_context().autocommit_block():
        while last is not None:
            last = op.get_bind().execute(batch, {"last": last}).scalar_one_or_none()


def _suffixes_of_partitions(table: str) -> list[str]:
    """What follows the table's name in those of its partitions, and the names of its indexes in those of theirs."""
    if not _is_postgresql() or op.get_context().as_sql:
        return []
    names = op.get_bind().execute(
        sa.text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = to_regclass(:name) ORDER BY c.relname"
        ),
        {"name": table},
    )
    return [name.removeprefix(table) for name in names.scalars()]


def _is_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
