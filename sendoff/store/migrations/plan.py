"""What `sendoff migrate` would do: each statement of the revisions that are left, and the lock that it takes."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sendoff.store.engine.database import Database, alembic_config
from sendoff.store.engine.revisions import newest_revision

_REVISION = re.compile(r"^-- Running upgrade (\S*) ?-> (\S+)$", re.M)
_BOOKKEEPING = re.compile(r"(BEGIN|COMMIT)$|CREATE TABLE alembic_version|(INSERT INTO|UPDATE) alembic_version", re.I)

# PostgreSQL manual, "Explicit Locking": the first that matches a statement is its strongest lock.
_LOCKS = (
    (r"(CREATE|CREATE UNIQUE|DROP) INDEX CONCURRENTLY", "SHARE UPDATE EXCLUSIVE", False),
    (r"CREATE (UNIQUE )?INDEX", "SHARE", True),
    (r"ALTER TABLE \w+ VALIDATE CONSTRAINT", "SHARE UPDATE EXCLUSIVE", False),
    (r"CREATE (OR REPLACE )?(CONSTRAINT )?TRIGGER", "SHARE ROW EXCLUSIVE", True),
    (r"(ALTER TABLE|ALTER INDEX|LOCK TABLE|DROP INDEX|DROP TABLE|DROP TRIGGER|TRUNCATE)", "ACCESS EXCLUSIVE", True),
    (r"(UPDATE|DELETE FROM|INSERT INTO|WITH)", "ROW EXCLUSIVE", False),
)
_NONE = ("none", False)


@dataclass(frozen=True, slots=True)
class Step:
    """One statement. `stops_writers`: while it holds its lock, which takes milliseconds, writers of its table wait."""

    revision: str
    statement: str
    lock: str
    stops_writers: bool


def found_revision(url: str) -> str | None:
    """The revision of the database's schema; None without a schema. Raises errors.Unavailable."""
    return asyncio.run(_revision_of(url))


def pending_revisions(url: str) -> list[str]:
    """The revisions that the database lacks, oldest first. Raises errors.Unavailable."""
    found = found_revision(url)
    return [revision for revision in _all_revisions() if found is None or revision > found]


def plan(url: str) -> list[Step]:
    """The statements that are left, as PostgreSQL gets them. Raises errors.Unavailable.

    SQLite has one lock for the whole file, which a revision holds while it runs.
    """
    pending = pending_revisions(url)
    if not pending:
        return []
    if url.startswith("sqlite"):
        return [Step(revision, "all of it", "the whole file", stops_writers=True) for revision in pending]
    return all_steps(since=_before(pending[0]))


def all_steps(*, since: str) -> list[Step]:
    """The statements of all revisions after `since`, as PostgreSQL gets them."""
    return list(_steps(_sql(since=since)))


async def _revision_of(url: str) -> str | None:
    database = Database.open(url)
    try:
        return await database.revision()
    finally:
        await database.close()


def _all_revisions() -> list[str]:
    return [f"{number:04}" for number in range(1, int(newest_revision()) + 1)]


def _before(revision: str) -> str:
    return f"{int(revision) - 1:04}" if revision != "0001" else "base"


def _sql(*, since: str) -> str:
    from alembic.command import upgrade

    written = io.StringIO()
    upgrade(alembic_config(output_buffer=written), f"{since}:head", sql=True)
    return written.getvalue()


def _steps(sql: str) -> Iterator[Step]:
    parts = _REVISION.split(sql)
    made: set[str] = set()
    for revision, statements in zip(parts[2::3], parts[3::3], strict=True):
        for written in re.split(r";\s*\n", statements):
            statement = " ".join(line for line in written.split() if line)
            if not statement or _BOOKKEEPING.match(statement):
                continue
            made |= set(re.findall(r"^CREATE TABLE (\w+)", statement))
            lock, stops_writers = _lock_of(statement, made)
            yield Step(revision, statement, lock, stops_writers)


def described(step: str, statements: Iterable[str]) -> list[Step]:
    """Statements that no revision has, under a name of their own."""
    made: set[str] = set()
    found = []
    for statement in statements:
        made |= set(re.findall(r"^CREATE TABLE (\w+)", statement))
        found.append(Step(step, statement, *_lock_of(statement, made)))
    return found


def _lock_of(statement: str, made: set[str]) -> tuple[str, bool]:
    """The lock on a table that was there before: nobody else sees one that was made on the way."""
    if any(re.search(rf"\b(ON|TABLE|INTO) {table}\b", statement) for table in made):
        return _NONE
    return next(((lock, stops) for start, lock, stops in _LOCKS if re.match(start, statement, re.I)), _NONE)
