"""Statistics: increments that processes write, the sums they are folded into, and what charts read of both."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sendoff.policy.statistics import SPANS
from sendoff.store.engine.batch import execute, is_sqlite, rows_from, rows_parameter
from sendoff.store.tables.statistics import MEASURES, TOTALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sendoff.policy.statistics import Piece
    from sendoff.store.engine.database import Transaction

ALL, ORGANIZATION, ENDPOINT = "all", "organization", "endpoint"
"""What sums are of."""

EVERYTHING = "00000000-0000-0000-0000-000000000000"
"""The subject of the sums of the whole installation."""

_INCREMENT = {
    "minute": "int",
    "organization_id": "uuid",
    "endpoint_id": "uuid",
    "event_type": "text",
    "outcome": "text",
    **dict.fromkeys(MEASURES, "int"),
    **dict.fromkeys(TOTALS, "bigint"),
}
_KEY = ("span", "scope", "subject_id", "minute", "event_type", "outcome")
_SUMS = ", ".join(f"COALESCE(CAST(sum({name}) AS bigint), 0) AS {name}" for name in MEASURES)

_SUMMED = ", ".join(f"CAST(sum({name}) AS {'bigint' if name in TOTALS else 'integer'}) AS {name}" for name in MEASURES)
_ADDED = ", ".join(f"{name} = COALESCE(s.{name} + excluded.{name}, s.{name}, excluded.{name})" for name in MEASURES)

_MEANS = {"duration": ("duration_total", "attempts"), "latency": ("latency_total", "delivered")}


@dataclass(frozen=True, slots=True)
class StatisticsSource:
    """Which sums a chart is made from."""

    scope: str
    by: str | None
    """The column that tells series apart: `subject_id`, `event_type` or `outcome`; None for a single series."""
    subject_id: str | None = None
    """The subject alone; None for all of the scope."""
    owner_id: str | None = None
    """Of the scope ENDPOINT, the endpoints of this organization alone."""


async def insert(tx: Transaction, increments: Iterable[Mapping[str, Any]]) -> None:
    """Insert increments; what one of them leaves out is 0."""
    columns = ", ".join(_INCREMENT)
    await execute(
        tx,
        f"INSERT INTO statistics_increments ({columns}) SELECT {columns} FROM {rows_from(tx, 'rows', _INCREMENT)} AS r",
        rows=rows_parameter(increments),
    )


async def newest_increment(tx: Transaction) -> int:
    """The id of the newest increment; 0 without any."""
    newest: int = (await execute(tx, "SELECT COALESCE(max(id), 0) FROM statistics_increments")).scalar_one()
    return newest


async def fold(tx: Transaction, *, newest: int, limit: int) -> int:
    """Add increments up to `newest` to the sums and remove them; return how many there were, at most `limit`.

    Those of one endpoint are taken together, so that each of its sums is written once and not for each increment. What
    comes meanwhile is beyond `newest`: it would keep the fold at the first organizations.
    Safe in several processes at once: an increment that another transaction folds is passed over.
    """
    chosen = """
        SELECT id FROM statistics_increments WHERE id <= :newest ORDER BY organization_id, endpoint_id, id LIMIT :limit
    """
    if is_sqlite(tx):
        taken = f"SELECT * FROM statistics_increments WHERE id IN ({chosen})"
        await execute(tx, f"WITH {_spread(taken)} {_ADD}", newest=newest, limit=limit)
        delete = f"DELETE FROM statistics_increments WHERE id IN ({chosen})"
        return (await execute(tx, delete, newest=newest, limit=limit)).rowcount
    taken = f"DELETE FROM statistics_increments WHERE id IN ({chosen} FOR UPDATE SKIP LOCKED) RETURNING *"
    statement = f"WITH {_spread(taken)}, added AS ({_ADD}) SELECT count(*) FROM taken"
    count: int = (await execute(tx, statement, newest=newest, limit=limit)).scalar_one()
    return count


def _spread(taken: str) -> str:
    """The CTEs that turn `taken` increments into rows of the table of sums: for each scope, and for each span.

    Each span is summed from the shorter one before it, and sums of a minute are as narrow as their columns: wider ones
    PostgreSQL would add as `numeric`, at several times the cost.
    """
    key = "minute, organization_id, endpoint_id, event_type, outcome"
    group = "scope, subject_id, minute, event_type, outcome"
    of_events, everything = _of_events(MEASURES), f"'{EVERYTHING}'"
    of_several = " UNION ALL ".join(
        f"SELECT '{scope}' AS scope, {subject} AS subject_id, minute, {kind} AS event_type, {outcome} AS outcome, "
        f"{of_events} FROM summed"
        for scope, subject, kind, outcome in (
            (ORGANIZATION, "organization_id", "''", "outcome"),
            (ORGANIZATION, "organization_id", "event_type", "''"),
            (ALL, everything, "''", "outcome"),
            (ALL, everything, "event_type", "''"),
        )
    )
    ctes = [
        f"taken AS ({taken})",
        f"summed AS (SELECT {key}, {_SUMMED} FROM taken GROUP BY {key})",
        f"""minutes_1 AS (
            SELECT '{ENDPOINT}' AS scope, endpoint_id AS subject_id, minute, event_type, outcome, {", ".join(MEASURES)}
            FROM summed WHERE endpoint_id IS NOT NULL
            UNION ALL SELECT {group}, {_SUMMED} FROM ({of_several}) AS of_several GROUP BY {group}
        )""",
    ]
    ctes += [
        f"""minutes_{span} AS (
            SELECT scope, subject_id, minute - minute % {span} AS minute, event_type, outcome, {_SUMMED}
            FROM minutes_{shorter} GROUP BY 1, 2, 3, 4, 5
        )"""
        for shorter, span in pairwise(SPANS)
    ]
    spread = " UNION ALL ".join(f"SELECT {span} AS span, minutes_{span}.* FROM minutes_{span}" for span in SPANS)
    return ", ".join([*ctes, f"spread AS ({spread})"])


# In one order, so that two processes that fold at once do not wait for each other. `WHERE TRUE` is for SQLite, which
# would take the conflict for a join's condition.
_ADD = f"""
    INSERT INTO statistics AS s ({", ".join(_KEY)}, {", ".join(MEASURES)})
    SELECT {", ".join(_KEY)}, {", ".join(MEASURES)} FROM spread WHERE TRUE ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET {_ADDED}
"""


async def remove_old(tx: Transaction, *, span: int, until: int, limit: int) -> int:
    """Remove sums of this span that begin before the minute `until`; return their number, at most `limit`."""
    removed = await execute(
        tx,
        f"""
        DELETE FROM statistics WHERE ({", ".join(_KEY)}) IN (
            SELECT {", ".join(_KEY)} FROM statistics
            WHERE span = {span} AND scope IN ('{ALL}', '{ORGANIZATION}', '{ENDPOINT}') AND minute < :last
            LIMIT :limit
        )
        """,
        last=until,
        limit=limit,
    )
    return removed.rowcount


async def rank(
    tx: Transaction, source: StatisticsSource, pieces: Sequence[Piece], *, order: str, descending: bool, limit: int
) -> list[str]:
    """The keys of the first `limit` series, ordered by a measure, or by the mean `duration` or `latency`."""
    return (await rank_by_each(tx, source, pieces, orders=(order,), descending=descending, limit=limit))[order]


async def rank_by_each(
    tx: Transaction,
    source: StatisticsSource,
    pieces: Sequence[Piece],
    *,
    orders: Sequence[str],
    descending: bool,
    limit: int,
) -> dict[str, list[str]]:
    """`rank` by several orders, for which the sums are read once."""
    columns = dict.fromkeys(column for order in orders for column in _MEANS.get(order, (order,)))
    rows, parameters = _rows(tx, source, pieces, tuple(columns))
    ways = " UNION ALL ".join(
        f"SELECT '{order}' AS way, key, rank FROM (SELECT key, row_number() OVER (ORDER BY {_value(order)} "
        f"{'DESC' if descending else 'ASC'}, key) AS rank FROM summed) AS ranked WHERE rank <= :limit"
        for order in orders
    )
    summed = ", ".join(f"sum({column}) AS {column}" for column in columns)
    found = await execute(
        tx,
        f"WITH summed AS (SELECT key, {summed} FROM ({rows}) AS r GROUP BY key) {ways} ORDER BY rank",
        limit=limit,
        **parameters,
    )
    keys: dict[str, list[str]] = {order: [] for order in orders}
    for row in found:
        keys[row.way].append(str(row.key))
    return keys


def _value(order: str) -> str:
    if order not in _MEANS:
        return f"COALESCE({order}, 0)"
    total, number = _MEANS[order]
    return f"COALESCE(CAST({total} AS double precision) / NULLIF({number}, 0), 0)"


async def read(
    tx: Transaction, source: StatisticsSource, pieces: Sequence[Piece], *, span: int, keys: Sequence[str] | None = None
) -> list[tuple[str, int, Sequence[int]]]:
    """For each series and each `span` that has any: the key, the first minute, and the values of MEASURES.

    A span of 0 is the whole range. `keys`: those series alone.
    """
    if keys is not None and not keys:
        return []
    rows, parameters = _rows(tx, source, pieces, MEASURES, keys=keys)
    at = f"minute - minute % {span}" if span else "0"
    found = await execute(tx, f"SELECT key, {at} AS at, {_SUMS} FROM ({rows}) AS r GROUP BY 1, 2", **parameters)
    rows_found = map(tuple[Any, ...], found)
    return [(str(values[0]), values[1], values[2:]) for values in rows_found]


def _rows(
    tx: Transaction,
    source: StatisticsSource,
    pieces: Sequence[Piece],
    measures: Sequence[str],
    *,
    keys: Sequence[str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """SQL for the rows of the source in the pieces, folded or not, as `key`, `minute` and the measures."""
    conditions, parameters = _conditions(tx, source, keys)
    selected = f"SELECT {source.by or chr(39) * 2} AS key, minute, {', '.join(measures)}"
    parts = []
    for number, piece in enumerate(pieces):
        chosen = f"span = {piece.span} AND scope = '{source.scope}' AND {_breakdown(source)}"
        between = f"minute >= :start{number} AND minute < :end{number}"
        parts.append(f"{selected} FROM statistics WHERE {chosen} AND {between}{conditions}")
        parameters |= {f"start{number}": piece.start, f"end{number}": piece.end}
    parts.append(f"{selected} FROM ({_unfolded(tx, source, measures)}) AS u WHERE TRUE{conditions}")
    parameters |= {"first": min(piece.start for piece in pieces), "last": max(piece.end for piece in pieces)}
    return " UNION ALL ".join(parts), parameters


def _breakdown(source: StatisticsSource) -> str:
    """Which of the two breakdowns of a scope is read; an endpoint has but one."""
    if source.scope == ENDPOINT:
        return "TRUE"
    return "event_type <> ''" if source.by == "event_type" else "event_type = ''"


def _conditions(tx: Transaction, source: StatisticsSource, keys: Sequence[str] | None) -> tuple[str, dict[str, Any]]:
    conditions, parameters = "", dict[str, Any]()
    if source.subject_id is not None:
        conditions += " AND subject_id = :subject_id"
        parameters["subject_id"] = source.subject_id
    if source.owner_id is not None:
        conditions += " AND subject_id IN (SELECT id FROM endpoints WHERE organization_id = :organization_id)"
        parameters["organization_id"] = source.owner_id
    if source.by == "outcome":
        conditions += " AND outcome <> ''"
    if keys is not None and source.by is not None:
        # One by one, so that each series is found in the index: of a subquery a planner knows no number of rows.
        names = [f"key{number}" for number in range(len(keys))]
        is_uuid = source.by == "subject_id" and not is_sqlite(tx)
        listed = ", ".join(f"CAST(:{name} AS uuid)" if is_uuid else f":{name}" for name in names)
        conditions += f" AND {source.by} IN ({listed})"
        parameters |= dict(zip(names, keys, strict=True))
    return conditions, parameters


def _unfolded(tx: Transaction, source: StatisticsSource, measures: Sequence[str]) -> str:
    """SQL for the increments of the range, as rows of the source's scope."""
    where = "minute >= :first AND minute < :last"
    if source.scope == ENDPOINT:
        subject, names, where = "endpoint_id", ", ".join(measures), f"endpoint_id IS NOT NULL AND {where}"
    else:
        everything = f"'{EVERYTHING}'" if is_sqlite(tx) else f"CAST('{EVERYTHING}' AS uuid)"
        subject = "organization_id" if source.scope == ORGANIZATION else everything
        names = _of_events(measures)
    return (
        f"SELECT minute, {subject} AS subject_id, event_type, outcome, {names} FROM statistics_increments WHERE {where}"
    )


def _of_events(measures: Sequence[str]) -> str:
    """The measures of an increment as an organization's: what an endpoint accepted is not another event."""
    accepted = "CASE WHEN endpoint_id IS NULL THEN accepted END AS accepted"
    return ", ".join(accepted if name == "accepted" else name for name in measures)
