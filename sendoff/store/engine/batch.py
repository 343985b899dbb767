"""Many rows in one statement, whose text doesn't change with their number.

Rows travel as one JSON document: the database takes it apart itself (`json_to_recordset` on PostgreSQL,
`json_each` on SQLite). The statement is prepared once, and both databases run nearly the same SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, overload

import orjson
from sqlalchemy import BindParameter, CursorResult, TextClause, bindparam, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

from sendoff.store.engine.database import PAUSE, Transaction
from sendoff.store.engine.types import Identifier, UtcDateTime, time_text

_TYPED: dict[str, BindParameter[Any]] = {
    **{name: bindparam(name, type_=UtcDateTime) for name in ("now", "until", "enqueued_until")},
    **{
        name: bindparam(name, type_=Identifier)
        for name in ("lease_token", "endpoint_id", "replay_id", "subject_id", "organization_id", "before_id", "id")
    },
}


async def execute(tx: Transaction, statement: str, **parameters: Any) -> CursorResult[Any]:
    """Run a statement of SQL text; parameters `now` and `…until` are moments, `id`, `lease_token` and `…_id` are ids.

    Columns come as the driver gives them: read moments with `read_time`, ids with `str`.
    """
    connection = await tx.connection()
    result = await connection.execute(_typed_statement(statement, tuple(parameters)), parameters)
    if PAUSE in tx.info:
        await asyncio.sleep(tx.info[PAUSE])
    return result


@lru_cache(maxsize=1_000)
def _typed_statement(statement: str, names: tuple[str, ...]) -> TextClause:
    """Parsing the text for its parameters costs as much as SQLite's work on many a statement."""
    return text(statement).bindparams(*(_TYPED[name] for name in names if name in _TYPED))


@overload
def read_time(value: datetime | str) -> datetime: ...


@overload
def read_time(value: datetime | str | None) -> datetime | None: ...


def read_time(value: datetime | str | None) -> datetime | None:
    """A time as either driver returns it."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def read_json(value: Any) -> Any:
    """A JSON document as either driver gives it."""
    return orjson.loads(value) if isinstance(value, str) else value


def rows_from(tx: Transaction, parameter: str, columns: Mapping[str, str]) -> str:
    """The FROM item that reads the rows bound as `:parameter`; give it an alias after it.

    `columns` maps names to PostgreSQL types (`uuid`, `text`, `int`, `timestamptz`, `bool`).
    """
    if is_sqlite(tx):
        picked = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"(SELECT {picked} FROM json_each(:{parameter}))"
    typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    picked = ", ".join(columns)
    return f"(SELECT {picked} FROM json_to_recordset(CAST(:{parameter} AS json)) AS r({typed}))"


def rows_parameter(rows: Iterable[Any]) -> str:
    """The rows, mappings or dataclasses, as the JSON document that `rows_from` reads."""
    return orjson.dumps(list(rows), default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()


def json_text(value: object) -> str:
    """A parameter for SQLite's JSON functions."""
    return orjson.dumps(value).decode()


def ids_parameter(ids: Iterable[str]) -> str:
    """Ids as the JSON document that `rows_from(tx, …, {"id": "uuid"})` reads."""
    return rows_parameter({"id": identifier} for identifier in ids)


def insert_or_ignore(tx: Transaction, model: type[SQLModel]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that leaves out rows whose unique columns are taken; concurrent inserts of the same are waited for."""
    if is_sqlite(tx):
        return sqlite.insert(model).on_conflict_do_nothing()
    return postgresql.insert(model).on_conflict_do_nothing()


def skip_locked(tx: Transaction, table: str) -> str:
    """The clause that locks rows of `table`, passing over those that another transaction holds.

    SQLite has one writer at a time and needs none.
    """
    return "" if is_sqlite(tx) else f"FOR UPDATE OF {table} SKIP LOCKED"


def lock(tx: Transaction, table: str) -> str:
    """The clause that locks rows of `table`, waiting for other transactions that hold one; empty for SQLite."""
    return "" if is_sqlite(tx) else f"FOR UPDATE OF {table}"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return time_text(value)
    raise TypeError(f"a batch cannot carry {type(value).__name__}")


def is_sqlite(tx: Transaction) -> bool:
    """Whether the transaction's database is SQLite."""
    return tx.get_bind().dialect.name == "sqlite"
