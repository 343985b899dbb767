"""The hot store on SQLite: one transaction and one visit to the database's thread for each call.

SQLite's UPDATE returns no columns of other tables, but a further statement costs no round trip there.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sendoff.policy.delivery.admission import Quotas
from sendoff.policy.delivery.decision import HealthEffect
from sendoff.policy.operational_events import OPERATORS, OperationalEventType
from sendoff.policy.states import (
    CLAIM_DUE,
    CLAIM_HELD,
    GIVE_UP,
    RECORD,
    RECORD_ITEM,
    DeliveryState,
    EndpointState,
    ReplayItemState,
)
from sendoff.store.engine.batch import json_text, read_time
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.sqlite_driver import Embedded, as_sqlite_has_it
from sendoff.store.engine.transitions import found_by, made_by
from sendoff.store.engine.types import time_text
from sendoff.store.hot.rows import (
    ACTIVE_ENDPOINTS,
    CONTENT,
    FED_AHEAD,
    HAS_HELD,
    IS_DUE,
    IS_FED,
    KEYS,
    SENDERS,
    SUBSCRIBERS_OF_ORGANIZATIONS,
    SUCCESS_WRITTEN_EVERY,
    TURN,
    UNNAMED_QUOTA,
    WORK_AT_HAND,
    AttemptRecord,
    ClaimResult,
    EndpointBefore,
    EventOfKey,
    Recorded,
    Sender,
    WorkAtHand,
    attempt_columns,
    read_claims,
    read_key,
    read_sender,
    read_subscribers,
)
from sendoff.store.hot.timing import timed
from sendoff.store.queries.accounts import KnownKey
from sendoff.store.queries.endpoints import Subscriber
from sendoff.store.queries.operational_events import is_wanted
from sendoff.store.queries.traffic.deliveries import NewDelivery
from sendoff.store.queries.traffic.events import NewEventRow

_SUBSCRIBERS = f"""(
    SELECT json_group_array(json_object(
        'id', p.id, 'events', json(p.matched), 'has_held', {HAS_HELD}, 'filter', p.filter, 'transform', p.transform,
        'ordered', p.ordered
    ))
    FROM (
        SELECT p.id, p.filter, p.transform, p.ordered, (
            SELECT json_group_array(named.value) FROM json_each(p.events) AS named
            WHERE named.value IN (SELECT value FROM json_each(:types))
        ) AS matched
        {ACTIVE_ENDPOINTS}
    ) AS p WHERE p.matched <> '[]'
)"""
_FIND_SENDERS = f"""
    {SENDERS.format(subscribers=_SUBSCRIBERS.format(organization="k.organization_id"))}
    WHERE k.key_hash IN (SELECT value FROM json_each(:hashes))
"""
_FIND_KEYS = f"{KEYS} WHERE k.key_hash IN (SELECT value FROM json_each(:hashes))"
_FIND_SUBSCRIBERS = f"""
    {SUBSCRIBERS_OF_ORGANIZATIONS.format(subscribers=_SUBSCRIBERS.format(organization="o.id"))}
    WHERE o.id IN (SELECT value FROM json_each(:ids))
"""

_EVENT_COLUMNS = ("id", "organization_id", "type", "data", "occurred_at", "request_id", "delivery_count", "traceparent")
_DELIVERY_COLUMNS = ("id", "event_id", "endpoint_id", "organization_id", "state", "data", "sequence")
_INSERT_EVENT = """
    INSERT INTO events
        (id, organization_id, type, data, occurred_at, request_id, traceparent, delivery_count, created_at)
    VALUES
        (:id, :organization_id, :type, :data, :occurred_at, :request_id, :traceparent, :delivery_count, :created_at)
"""
_INSERT_DELIVERY = """
    INSERT INTO deliveries
        (id, event_id, endpoint_id, organization_id, created_at, state, data, attempt_count, due_at, sequence)
    VALUES (:id, :event_id, :endpoint_id, :organization_id, :created_at, :state, :data, 0, :created_at, :sequence)
"""

_CLAIM_DUE = f"""
    UPDATE deliveries SET
        state = CASE WHEN fits THEN {made_by(CLAIM_DUE, DeliveryState.IN_FLIGHT)}
            ELSE {made_by(CLAIM_DUE, DeliveryState.HELD)} END,
        lease_token = CASE WHEN fits THEN :lease_token END,
        leased_until = CASE WHEN fits THEN :until END,
        due_at = CASE WHEN NOT fits THEN COALESCE(due_at, :now) END
    FROM (
        SELECT d.id AS due_id, row_number() OVER (PARTITION BY d.endpoint_id ORDER BY {TURN}) <= COALESCE(
            (SELECT json_extract(r.value, '$[1]') FROM json_each(:quotas) AS r
             WHERE json_extract(r.value, '$[0]') = d.endpoint_id),
            {UNNAMED_QUOTA.format(default=":default", restricted=":restricted", endpoint_id="d.endpoint_id")},
            :default
        ) AS fits
        FROM deliveries AS d
        WHERE d.id IN (SELECT value FROM json_each(:ids)) AND {IS_DUE.format(now=":now")}
    ) AS ranked WHERE deliveries.id = ranked.due_id
    RETURNING id, CASE state WHEN 'held' THEN endpoint_id END AS held_for
"""
_FIND_TAKEN_OVER = """
    SELECT id FROM deliveries
    WHERE id IN (SELECT value FROM json_each(:ids)) AND state || '' = 'in_flight' AND leased_until <= :now
"""
_CLAIM_HELD = f"""
    UPDATE deliveries SET state = {made_by(CLAIM_HELD)}, lease_token = :lease_token,
        leased_until = :until, due_at = NULL
    WHERE id IN (
        SELECT d.id FROM deliveries d WHERE d.endpoint_id = :endpoint_id AND {found_by(CLAIM_HELD, column="d.state")}
            AND {IS_FED.format(now=":now", soon=":soon")}
        ORDER BY {TURN} LIMIT :quota
    )
    RETURNING id, NULL AS held_for
"""
_CONTENT = f"""
    WITH claimed AS (
        SELECT *, id IN (SELECT value FROM json_each(:taken_over)) AS taken_over FROM deliveries
        WHERE id IN (SELECT value FROM json_each(:ids))
    )
    {CONTENT.format(returned="TRUE")}
"""

_FIND_LEASED = f"""
    SELECT id, lease_token, event_id, endpoint_id, organization_id, replay_id FROM deliveries
    WHERE id IN (SELECT value FROM json_each(:ids)) AND {found_by(RECORD)}
"""
_SETTLE = f"""
    UPDATE deliveries SET state = :state, lease_token = NULL, leased_until = NULL, due_at = :due_at,
        blocked_since = :blocked_since, attempt_count = :attempt_count, last_error = :error,
        delivered_at = :delivered_at,
        last_attempt_at = CASE WHEN :counted THEN :started_at ELSE last_attempt_at END,
        last_response_status = CASE WHEN :counted THEN :response_status ELSE last_response_status END
    WHERE id = :delivery_id AND {found_by(RECORD)}
"""
_INSERT_ATTEMPT = """
    INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, response_status, error)
    VALUES (:delivery_id, :number, :started_at, :duration_ms, :outcome, :response_status, :error)
"""
_KEEP_EXCHANGE = """
    INSERT OR REPLACE INTO last_exchanges (delivery_id, attempt, url, request_headers,
        response_status, response_headers, response_body, response_truncated)
    VALUES (:delivery_id, :number, :url, :request_headers,
        :response_status, :response_headers, :response_body, :response_truncated)
"""
_INSERT_DEAD_LETTER = f"""
    INSERT INTO dead_letters (id, delivery_id, event_id, event_type, endpoint_id, endpoint_url, organization_id,
        reason, last_response_status, last_error, attempt_count, died_at, state)
    VALUES (:dead_letter_id, :delivery_id, :event_id, :event_type, :endpoint_id, :endpoint_url, :organization_id,
        :reason, :response_status, :error, :attempt_count, :now, {made_by(GIVE_UP)})
"""
_SETTLE_REPLAY_ITEM = f"""
    UPDATE replay_items SET state = CASE :state
        WHEN 'delivered' THEN {made_by(RECORD_ITEM, ReplayItemState.SUCCEEDED)}
        ELSE {made_by(RECORD_ITEM, ReplayItemState.FAILED)} END
    WHERE replay_id = :replay_id AND delivery_id = :delivery_id AND {found_by(RECORD_ITEM)}
"""
_FIND_ENDPOINTS = """
    SELECT id, organization_id, state, consecutive_failures, first_failure_at, unhealthy_since, last_success_at
    FROM endpoints
    WHERE id IN (SELECT value FROM json_each(:ids))
"""
_COUNT_ON_ENDPOINT = """
    UPDATE endpoints SET
        consecutive_failures = :failures, first_failure_at = :first_failure_at, unhealthy_since = :unhealthy_since,
        last_success_at = CASE
            WHEN :succeeded_at IS NULL THEN last_success_at ELSE max(COALESCE(last_success_at, ''), :succeeded_at)
        END,
        last_failure_at = COALESCE(:failed_at, last_failure_at)
    WHERE id = :id
"""
_RAISE_EVENT = {
    type_: f"""
    INSERT INTO operational_events (type, organization_id, endpoint_id, subject_id, facts, occurred_at)
    SELECT '{type_}', :organization_id, :endpoint_id, :subject_id, :facts, :now
    WHERE {is_wanted(type_, sqlite=True)}
"""
    for type_ in (
        OperationalEventType.DELIVERY_DEAD_LETTERED,
        OperationalEventType.ENDPOINT_FAILING,
        OperationalEventType.ENDPOINT_RECOVERED,
    )
}


class SqliteHotStore:
    """See `sendoff.store.hot.HotStore`."""

    def __init__(self, embedded: Embedded) -> None:
        self._embedded = embedded

    async def find_keys(self, key_hashes: Collection[str]) -> dict[str, KnownKey]:
        wanted = {"hashes": json_text(list(key_hashes))}
        rows = await self._embedded.aside.read(lambda connection: connection.execute(_FIND_KEYS, wanted).fetchall())
        return {row["key_hash"]: read_key(row) for row in rows}

    async def find_senders(self, key_hashes: Collection[str], types: Collection[str]) -> dict[str, Sender]:
        wanted = {"hashes": json_text(list(key_hashes)), "types": json_text(list(types))}
        rows = await self._embedded.read(lambda connection: connection.execute(_FIND_SENDERS, wanted).fetchall())
        return {row["key_hash"]: read_sender(row) for row in rows}

    async def find_subscribers(
        self, tx: Transaction, organization_ids: Iterable[str], types: Collection[str]
    ) -> dict[str, list[Subscriber]]:
        wanted = list(set(organization_ids))
        parameters = {"ids": json_text(wanted), "types": json_text(list(types))}
        rows = (await (await tx.connection()).exec_driver_sql(_FIND_SUBSCRIBERS, parameters)).mappings().all()
        return {one: [] for one in wanted} | {row["id"]: read_subscribers(row["subscribers"]) for row in rows}

    @timed("accept")
    async def accept(
        self,
        new_events: Sequence[NewEventRow],
        new_deliveries: Sequence[NewDelivery],
        *,
        now: datetime,
        tx: Transaction | None = None,
    ) -> None:
        created = {"created_at": time_text(now)}
        inserts = [
            (_INSERT_EVENT, [_row(event, _EVENT_COLUMNS) | created for event in new_events]),
            (_INSERT_DELIVERY, [_row(delivery, _DELIVERY_COLUMNS) | created for delivery in new_deliveries]),
        ]
        if tx is None:
            await self._embedded.write(partial(_execute_all, statements=inserts))
            return
        connection = await tx.connection()
        for statement, rows in inserts:
            if rows:
                await connection.exec_driver_sql(statement, rows)

    async def accept_one(
        self, new: EventOfKey, *, scope: str, is_built_in: bool, now: datetime
    ) -> tuple[str, list[NewDelivery]] | None:
        return None

    @timed("claim")
    async def claim_due(
        self, ids: Sequence[str], *, quotas: Quotas, lease_token: str, now: datetime, until: datetime
    ) -> ClaimResult:
        parameters = {
            "ids": json_text(list(ids)),
            "quotas": json_text(list(quotas.known.items())),
            "default": min(quotas.default, len(ids)),
            "restricted": min(quotas.restricted, quotas.default, len(ids)),
            "lease_token": lease_token,
            "now": time_text(now),
            "until": time_text(until),
        }
        return await self._embedded.write(partial(_claim, update=_CLAIM_DUE, parameters=[parameters]))

    @timed("claim")
    async def claim_held(
        self, quotas: Mapping[str, int], *, lease_token: str, now: datetime, until: datetime
    ) -> ClaimResult:
        times = {"now": time_text(now), "soon": time_text(now + FED_AHEAD), "until": time_text(until)}
        each = [
            {"endpoint_id": endpoint_id, "quota": quota, "lease_token": lease_token, **times}
            for endpoint_id, quota in quotas.items()
        ]
        return await self._embedded.write(partial(_claim, update=_CLAIM_HELD, parameters=each))

    @timed("record")
    async def record(self, attempts: Sequence[AttemptRecord], *, now: datetime, failing_at: int) -> Recorded:
        return await self._embedded.write(partial(_record, attempts=attempts, now=now, failing_at=failing_at))

    async def look_for_work(self, *, now: datetime, enqueued_until: datetime) -> WorkAtHand:
        moments = {"now": time_text(now), "enqueued_until": time_text(enqueued_until)}
        row = await self._embedded.read(lambda connection: connection.execute(WORK_AT_HAND, moments).fetchone())
        return WorkAtHand(**{name: bool(row[name]) for name in row.keys()})  # noqa: SIM118 - a row, not a mapping


def _claim(connection: sqlite3.Connection, *, update: str, parameters: Sequence[Mapping[str, Any]]) -> ClaimResult:
    taken_over = (
        [row["id"] for each in parameters for row in connection.execute(_FIND_TAKEN_OVER, each)]
        if update is _CLAIM_DUE
        else []
    )
    changed = [row for each in parameters for row in connection.execute(update, each).fetchall()]
    held = {row["held_for"]: row["id"] for row in changed if row["held_for"] is not None}
    returned = [*held.values(), *(row["id"] for row in changed if row["held_for"] is None)]
    if not returned:
        return read_claims(())
    wanted = {"ids": json_text(returned), "taken_over": json_text(taken_over)}
    return read_claims(connection.execute(_CONTENT, wanted).fetchall())


def _record(
    connection: sqlite3.Connection, *, attempts: Sequence[AttemptRecord], now: datetime, failing_at: int
) -> Recorded:
    ids = json_text([attempt.delivery_id for attempt in attempts])
    leased = {(row["id"], row["lease_token"]): row for row in connection.execute(_FIND_LEASED, {"ids": ids})}
    rows: list[dict[str, Any]] = []
    for attempt in attempts:
        if delivery := leased.get((attempt.delivery_id, attempt.lease_token)):
            columns = {name: as_sqlite_has_it(value) for name, value in attempt_columns(attempt).items()}
            rows.append({**dict(delivery), **columns, "now": time_text(now)})
    dead = [row for row in rows if row["dead_letter_id"] is not None]
    statements = (
        (_SETTLE, rows),
        (_INSERT_ATTEMPT, [row for row in rows if row["counted"]]),
        (_KEEP_EXCHANGE, [row for row in rows if row["url"] is not None]),
        (_INSERT_DEAD_LETTER, dead),
        (_SETTLE_REPLAY_ITEM, [row for row in rows if row["replay_id"] is not None and row["state"] != "pending"]),
    )
    _execute_all(connection, statements=statements)
    _raise_events(connection, OperationalEventType.DELIVERY_DEAD_LETTERED, dead, subject="dead_letter_id", now=now)
    claims = {(row["delivery_id"], row["lease_token"]) for row in rows}
    return Recorded(claims, _count_on_endpoints(connection, rows, now=now, failing_at=failing_at))


def _count_on_endpoints(
    connection: sqlite3.Connection, rows: Sequence[Mapping[str, Any]], *, now: datetime, failing_at: int
) -> dict[str, EndpointBefore]:
    """Count attempts on their endpoints; return those that not only succeeded, as they were before."""
    by_endpoint: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_endpoint[row["endpoint_id"]].append(row)
    before: dict[str, EndpointBefore] = {}
    changes: list[dict[str, Any]] = []
    for endpoint in connection.execute(_FIND_ENDPOINTS, {"ids": json_text(list(by_endpoint))}).fetchall():
        tally = _tally(by_endpoint[endpoint["id"]])
        if tally.pop("is_healthy"):
            last_written_at = endpoint["last_success_at"]
            latest = datetime.fromisoformat(tally["succeeded_at"]) - SUCCESS_WRITTEN_EVERY
            is_well = not endpoint["consecutive_failures"] and endpoint["unhealthy_since"] is None
            if is_well and last_written_at is not None and last_written_at > time_text(latest):
                continue
        else:
            state = EndpointState(endpoint["state"])
            first_failure_at = read_time(endpoint["first_failure_at"])
            before[endpoint["id"]] = EndpointBefore(state, endpoint["consecutive_failures"], first_failure_at)
        changes.append(_change_of_health(endpoint, tally, failing_at))
    _execute_all(connection, statements=[(_COUNT_ON_ENDPOINT, changes)])
    for type_ in (OperationalEventType.ENDPOINT_FAILING, OperationalEventType.ENDPOINT_RECOVERED):
        _raise_events(connection, type_, [change for change in changes if change["event"] is type_], now=now)
    return before


def _change_of_health(endpoint: Mapping[str, Any], tally: Mapping[str, Any], failing_at: int) -> dict[str, Any]:
    """What an endpoint's row becomes, and the operational event that this is, if any."""
    failures, since = tally["failures"], endpoint["unhealthy_since"]
    first = tally["group_first_failed_at"]
    if tally["succeeded_at"] is None:
        failures += endpoint["consecutive_failures"]
        first = endpoint["first_failure_at"] or first
    event, facts = None, None
    if tally["succeeded_at"] is not None and since and endpoint["state"] == "active" and failures < failing_at:
        event, facts, since = OperationalEventType.ENDPOINT_RECOVERED, {"unhealthy_since": since}, None
    elif endpoint["consecutive_failures"] < failing_at <= failures:
        event, facts, since = OperationalEventType.ENDPOINT_FAILING, {"consecutive_failures": failures}, since or first
    return {
        "id": endpoint["id"],
        "organization_id": endpoint["organization_id"],
        "succeeded_at": tally["succeeded_at"],
        "failed_at": tally["failed_at"],
        "failures": failures,
        "first_failure_at": first,
        "unhealthy_since": since,
        "event": event,
        "facts": facts,
    }


def _raise_events(
    connection: sqlite3.Connection,
    type_: OperationalEventType,
    rows: Iterable[Mapping[str, Any]],
    *,
    subject: str | None = None,
    now: datetime,
) -> None:
    """Write an operational event for each of the rows, of an endpoint or of one of its dead letters."""
    events = [
        {
            "organization_id": row["organization_id"],
            "endpoint_id": row["endpoint_id"] if subject else row["id"],
            "subject_id": row[subject] if subject else None,
            "facts": json_text(row["facts"]) if "facts" in row else None,
            "now": time_text(now),
        }
        for row in rows
        if row["organization_id"] != OPERATORS
    ]
    _execute_all(connection, statements=[(_RAISE_EVENT[type_], events)])


def _tally(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    failures: list[str] = []
    for row in rows:
        if row["health"] == HealthEffect.SUCCESS:
            failures = []
        elif row["health"] in (HealthEffect.FAILURE, HealthEffect.GONE):
            failures.append(row["ended_at"])
    succeeded = [row["ended_at"] for row in rows if row["health"] == HealthEffect.SUCCESS]
    failed = [row["ended_at"] for row in rows if row["health"] != HealthEffect.SUCCESS and row["counted"]]
    return {
        "is_healthy": len(succeeded) == len(rows),
        "failures": len(failures),
        "group_first_failed_at": min(failures, default=None),
        "succeeded_at": max(succeeded, default=None),
        "failed_at": max(failed, default=None),
    }


def _execute_all(
    connection: sqlite3.Connection, *, statements: Iterable[tuple[str, Sequence[Mapping[str, Any]]]]
) -> None:
    for statement, rows in statements:
        connection.executemany(statement, rows)


def _row(source: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: as_sqlite_has_it(getattr(source, name)) for name in names}
