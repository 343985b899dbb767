"""Which of a driver's errors mean that the database was not reached, and may be tomorrow."""

from __future__ import annotations

import sqlite3

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sendoff.errors import Unavailable

_ABOUT_REACHING = (
    OperationalError,
    InterfaceError,
    PoolTimeout,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a connection says that was told of the server's end while nobody used it
    sqlite3.OperationalError,
    OSError,
)


def unavailable(error: Exception) -> Unavailable | None:
    """The error in our words if it says that the database cannot be reached; None if it is about what was asked."""
    return Unavailable(f"The database cannot be reached: {_brief(error)}") if _is_about_reaching(error) else None


def _is_about_reaching(error: Exception) -> bool:
    if isinstance(error, _ABOUT_REACHING):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return _may_pass(getattr(error, "orig", None) or error)


def _may_pass(error: BaseException) -> bool:
    # asyncpg has its own exceptions for a server that is shutting down or starting (SQLSTATE 57P0x), full (53xxx), not
    # there (08xxx), that lets nobody in with this password (28xxx), has no such database (3D000), or that gave up one
    # of two transactions that waited for each other (40xxx).
    return str(getattr(error, "sqlstate", "") or "").startswith(("57P0", "53", "08", "28", "3D", "40"))


def _brief(error: BaseException) -> str:
    """The error's first line: SQLAlchemy appends statement and parameters, which may hold what nobody should log."""
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__}: {original}".split("\n", 1)[0]
