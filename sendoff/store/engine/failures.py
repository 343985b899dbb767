"""Which of a driver's errors mean that the database was not reached, and may be tomorrow."""

from __future__ import annotations

import sqlite3

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sendoff.errors import Unavailable
from sendoff.observability.metrics import DATABASE_ERRORS

_ABOUT_REACHING = (
    OperationalError,
    InterfaceError,
    PoolTimeout,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # an idle connection that the server closed
    sqlite3.OperationalError,
    OSError,
)

_PASSING_SQLSTATES = {
    "08": "connection",
    "25006": "read_only",  # another server has become the primary
    "28": "connection",  # the password is rejected
    "3D": "connection",  # the database does not exist
    "40": "conflict",  # rolled back one of two transactions that waited for each other
    "53": "resources",  # disk, memory, connections
    "55P03": "lock",  # another transaction held a lock for longer than `lock_timeout`
    "57014": "timeout",  # `statement_timeout`
    "57": "shutdown",  # shutting down or starting
    "58": "io",  # I/O errors of the server's files
}
"""Prefixes of SQLSTATEs that may pass on retry (PostgreSQL manual, appendix A, "PostgreSQL Error Codes"), and what
the metric calls them."""

_SQLITE_CODES = {
    sqlite3.SQLITE_BUSY: "lock",
    sqlite3.SQLITE_LOCKED: "lock",
    sqlite3.SQLITE_FULL: "resources",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_CANTOPEN: "connection",
}
_SQLITE_PRIMARY_CODE = 0xFF  # extended codes have more in the bits above
_UNREADABLE_SQLITE_CODES = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})

_NOT_A_PRIMARY = ("25006", "57P")  # read only; shutting down or starting
_DEEPEST = 5


def unavailable(error: Exception) -> Unavailable | None:
    """The error in our words if it says that the database cannot be used; None if it is about what was asked."""
    detail = _brief(error)
    if _is_unreadable(error):
        message = "The database cannot be used; try again later."
        detail = (
            f"The database file is damaged, or not one of SQLite ({detail}); correct SENDOFF_DATABASE_URL or restore "
            "a backup."
        )
    elif _is_about_reaching(error):
        message = "The database cannot be reached; try again in a moment."
    else:
        return None
    DATABASE_ERRORS.labels(_kind_of(error)).inc()
    return Unavailable(message, detail=detail)


def _kind_of(error: Exception) -> str:
    for one in _origins(error):
        if isinstance(one, (TimeoutError, PoolTimeout)):
            return "timeout"
        state = str(getattr(one, "sqlstate", "") or "")
        for prefix, kind in _PASSING_SQLSTATES.items():
            if state.startswith(prefix):
                return kind
        if isinstance(one, sqlite3.Error):
            return _SQLITE_CODES.get(_sqlite_code(one), "io")
    return "connection"


def is_about_a_former_primary(error: Exception) -> bool:
    """Whether the server takes no writes (any more): its other connections are of no use either."""
    return any(str(getattr(one, "sqlstate", "") or "").startswith(_NOT_A_PRIMARY) for one in _origins(error))


def _is_about_reaching(error: Exception) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return any(isinstance(one, _ABOUT_REACHING) or _may_pass(one) for one in _origins(error))


def _is_unreadable(error: Exception) -> bool:
    return any(_sqlite_code(one) in _UNREADABLE_SQLITE_CODES for one in _origins(error))


def _sqlite_code(error: BaseException) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & _SQLITE_PRIMARY_CODE


def _origins(error: BaseException) -> list[BaseException]:
    """The error and those that it was made of: SQLAlchemy's, its adapter's and the driver's own."""
    found = [error]
    while (inner := getattr(found[-1], "orig", None) or found[-1].__cause__) is not None and len(found) < _DEEPEST:
        found.append(inner)
    return found


def _may_pass(error: BaseException) -> bool:
    return str(getattr(error, "sqlstate", "") or "").startswith(tuple(_PASSING_SQLSTATES))


def _brief(error: BaseException) -> str:
    """The error's first line: SQLAlchemy appends statement and parameters, which may contain secrets."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, TimeoutError):
        return "it did not answer in time"
    return f"{type(original).__name__}: {original}".split("\n", 1)[0]
