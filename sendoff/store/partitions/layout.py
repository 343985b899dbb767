"""Which partitions there are, and the statements that make one. PostgreSQL alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sendoff.ids import created_at, event_id_at, row_id_at
from sendoff.policy.partitions import Partition
from sendoff.store.engine.batch import execute, is_sqlite
from sendoff.store.engine.database import Transaction

HISTORY = {"events": "id", "deliveries": "id", "attempts": "delivery_id"}
"""The tables that have partitions, and the column that begins with the time of creation. All have the same bounds: what
belongs to a delivery leaves with it."""

LOCK_ALL = f"LOCK TABLE {', '.join(HISTORY)} IN ACCESS EXCLUSIVE MODE"

_LIKE = "INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS"
_BOUNDS = re.compile(r"FROM \((?:MINVALUE|'(.+)')\) TO \((?:MAXVALUE|'(.+)')\)")
_DEFINITION = re.compile(r"CREATE (UNIQUE )?INDEX .+? ON .+? (USING .+)")


@dataclass(frozen=True, slots=True)
class IndexOf:
    """An index of a table: its name without the partition's suffix, and what follows the table's name in its SQL."""

    name: str
    definition: str
    is_unique: bool
    is_primary_key: bool


def named(table: str, partition: Partition) -> str:
    """The partition's own name."""
    return f"{table}_{partition.suffix}"


def key_at(table: str, moment: datetime | None, *, otherwise: str = "MINVALUE") -> str:
    """The lowest key of a row that was created at that time, as SQL; `otherwise` if there is no such bound."""
    if moment is None:
        return otherwise
    return f"'{event_id_at(moment) if table == 'events' else row_id_at(moment)}'"


async def read_partitions(tx: Transaction) -> list[Partition]:
    """The partitions of the history, oldest first; empty if it has none."""
    if is_sqlite(tx):
        return []
    rows = await execute(
        tx,
        """
        SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass('deliveries') AND c.relispartition
        """,
    )
    found = [_partition(row.relname, row.bounds) for row in rows]
    return sorted(found, key=lambda one: one.lower or datetime.min.replace(tzinfo=UTC))


async def may_change(tx: Transaction) -> bool:
    """Whether this role may make and drop partitions: it must own the tables and may make others beside them."""
    statement = """
        SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE')
        FROM pg_class WHERE oid = to_regclass('deliveries')
    """
    return bool((await execute(tx, statement)).scalar_one())


async def read_indexes(tx: Transaction, table: str, *, suffix: str = "") -> list[IndexOf]:
    """The indexes of a table, the primary key's included, or of the partition with that suffix."""
    rows = await execute(
        tx,
        """
        SELECT c.relname, x.indisprimary, pg_get_indexdef(x.indexrelid) AS definition
        FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
        WHERE x.indrelid = to_regclass(:name) AND x.indisvalid ORDER BY c.relname
        """,
        name=f"{table}_{suffix}" if suffix else table,
    )
    return [_index(row, suffix) for row in rows]


def make_partition(table: str, suffix: str, *, like: str, indexes: Iterable[IndexOf], check: str = "") -> list[str]:
    """The statements that make a table which can be attached as a partition: empty, with the indexes of the others."""
    name = f"{table}_{suffix}"
    return [
        f"CREATE TABLE {name} (LIKE {like} {_LIKE}{check})",
        *(add_index(name, suffix, index) for index in indexes),
    ]


def attach(table: str, partition: Partition) -> str:
    """The statement that makes a table a partition, without reading it if its constraints prove that it is one."""
    lower = key_at(table, partition.lower)
    upper = key_at(table, partition.upper, otherwise="MAXVALUE")
    return f"ALTER TABLE {table} ATTACH PARTITION {named(table, partition)} FOR VALUES FROM ({lower}) TO ({upper})"


async def run(tx: Transaction, statements: Sequence[str]) -> None:
    """Carry out statements that change the catalogue."""
    connection = await tx.connection()
    for statement in statements:
        await connection.exec_driver_sql(statement)


def add_index(table: str, suffix: str, index: IndexOf) -> str:
    name = f"{index.name}_{suffix}"
    if index.is_primary_key:
        columns = index.definition[index.definition.index("(") :]
        return f"ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY {columns}"
    return f"CREATE {'UNIQUE ' if index.is_unique else ''}INDEX {name} ON {table} {index.definition}"


def _partition(name: str, bounds: str) -> Partition:
    found = _BOUNDS.search(bounds)
    lower, upper = found.groups() if found else (None, None)
    return Partition(name.removeprefix("deliveries_"), _moment(lower), _moment(upper))


def _moment(key: str | None) -> datetime | None:
    return None if key is None else datetime.fromtimestamp(created_at(key), UTC)


def _index(row: Any, suffix: str) -> IndexOf:
    found = _DEFINITION.fullmatch(row.definition)
    assert found is not None  # noqa: S101 - pg_get_indexdef writes nothing else
    name = row.relname.removesuffix(f"_{suffix}") if suffix else row.relname
    return IndexOf(name, found[2], bool(found[1]), row.indisprimary)
