"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CHAR, JSON, DateTime, Dialect, String
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC with microseconds.

    SQLite has no such type: there it is ISO 8601 text of fixed width, which sorts like the time it names and which
    PostgreSQL reads as well, so that one batch of rows serves both.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(32))
        return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return time_text(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return datetime.fromisoformat(value) if isinstance(value, str) else value


class Identifier(TypeDecorator[str]):
    """A UUID, a string in Python: the native type on PostgreSQL, 36 characters on SQLite."""

    impl = CHAR(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=False))
        return dialect.type_descriptor(CHAR(36))


Json = JSON().with_variant(postgresql.JSON(), "postgresql")
"""A JSON document, kept as the text it was given as."""


def time_text(moment: datetime) -> str:
    """The time as SQLite stores it and PostgreSQL reads it: `2026-04-24T12:34:56.789000+00:00`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
