"""Reconciliation: whether accepted events and their deliveries add up. Each check is one statement over a range.

One statement reads one snapshot, and related rows are committed together, so a check that runs during normal work
reports only real faults. Ranges of keys make the work small: no check reads a table at once.
`WITHIN(column)` in a statement stands for "the column is in the range".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, bindparam, text
from sqlalchemy.types import TypeEngine

from sendoff.store.engine.database import Transaction
from sendoff.store.engine.types import Identifier, UtcDateTime
from sendoff.store.queries.installation.reconciliation_checks import CHECKS, Check

_WITHIN = re.compile(r"WITHIN\(([\w.]+)\)")
_LOWEST_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Scan:
    """A table whose keys are scanned in ranges of `size`; the checks that go with it."""

    table: str
    size: int
    checks: tuple[Check, ...]

    @property
    def start(self) -> str:
        """Sorts before every key."""
        return "" if self.table == "events" else _LOWEST_ID

    @property
    def key_type(self) -> TypeEngine[Any]:
        return Text() if self.table == "events" else Identifier()


WALKS = tuple(
    Scan(table, size, CHECKS[table])
    for table, size in (("events", 10_000), ("deliveries", 10_000), ("dead_letters", 10_000), ("replays", 10))
)


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys after `after`, up to and with `up_to`; without it, all of them."""

    after: str
    up_to: str | None


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Something that does not add up: what it is, and the ids of the rows by their names."""

    check: Check
    ids: Mapping[str, str]
    expected: int | None
    found: int | None


async def find_range(tx: Transaction, scan: Scan, *, after: str) -> KeyRange:
    """The next `scan.size` keys after `after`."""
    statement = f"SELECT id FROM {scan.table} WHERE id > :after ORDER BY id LIMIT 1 OFFSET :skipped"
    bound = (await _execute(tx, scan, statement, after=after, skipped=scan.size - 1)).first()
    return KeyRange(after, None if bound is None else str(bound.id))


async def count_rows(tx: Transaction, scan: Scan, keys: KeyRange) -> int:
    """The number of rows of the scan's table in the range."""
    result = await _execute_within(tx, scan, keys, f"SELECT COUNT(*) FROM {scan.table} WHERE WITHIN(id)")
    return int(result.scalar_one())


async def find_faults(
    tx: Transaction, scan: Scan, check: Check, keys: KeyRange, *, overdue: datetime, kept_since: datetime
) -> list[Discrepancy]:
    """The faults that the check finds in the range.

    `overdue`: anything due before this time is late. `kept_since`: retention may have removed rows that ended before
    this time.
    """
    times = {name: at for name, at in (("overdue", overdue), ("kept_since", kept_since)) if f":{name}" in check.sql}
    rows = (await _execute_within(tx, scan, keys, check.sql, **times)).mappings()
    return [_finding(check, row) for row in rows]


def _finding(check: Check, row: Mapping[str, Any]) -> Discrepancy:
    ids = {name: str(value) for name, value in row.items() if name.endswith("_id") and value is not None}
    return Discrepancy(check, ids, row.get("expected"), row.get("found"))


async def _execute_within(tx: Transaction, scan: Scan, keys: KeyRange, statement: str, **parameters: Any) -> Any:
    limits = {"after": keys.after} if keys.up_to is None else {"after": keys.after, "up_to": keys.up_to}
    condition = r"\1 > :after" if keys.up_to is None else r"(\1 > :after AND \1 <= :up_to)"
    return await _execute(tx, scan, _WITHIN.sub(condition, statement), **limits, **parameters)


async def _execute(tx: Transaction, scan: Scan, statement: str, **parameters: Any) -> Any:
    types = {"after": scan.key_type, "up_to": scan.key_type, "overdue": UtcDateTime(), "kept_since": UtcDateTime()}
    typed = [bindparam(name, type_=types[name]) for name in parameters if name in types]
    return await (await tx.connection()).execute(text(statement).bindparams(*typed), parameters)
