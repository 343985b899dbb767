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
    asyncpg.InternalClientError,  # an idle connection that the server closed
    sqlite3.OperationalError,
    OSError,
)

_PASSING_SQLSTATES = (
    "08",  # connection exceptions
    "25006",  # read only: another server has become the primary
    "28",  # the password is rejected
    "3D",  # the database does not exist
    "40",  # rolled back one of two transactions that waited for each other
    "53",  # out of a resource: disk, memory, connections
    "55P03",  # another transaction held a lock for longer than `lock_timeout`
    "57",  # shutting down, starting, or cancelling a statement (`statement_timeout`)
    "58",  # I/O errors of the server's files
)
"""Prefixes of SQLSTATEs that may pass on retry (PostgreSQL manual, appendix A, "PostgreSQL Error Codes")."""


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
    return str(getattr(error, "sqlstate", "") or "").startswith(_PASSING_SQLSTATES)


def _brief(error: BaseException) -> str:
    """The error's first line: SQLAlchemy appends statement and parameters, which may contain secrets."""
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__}: {original}".split("\n", 1)[0]
