"""The hot store on PostgreSQL: one statement, one transaction and one round trip for each call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sendoff.ids import new_id
from sendoff.policy.delivery.admission import Quotas
from sendoff.policy.endpoints.matching import patterns_of
from sendoff.policy.operational_events import OPERATORS, OperationalEventType
from sendoff.policy.states import (
    ACCEPT,
    CLAIM_DUE,
    CLAIM_HELD,
    GIVE_UP,
    RECORD,
    RECORD_ITEM,
    DeliveryState,
    EndpointState,
    ReplayItemState,
)
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.postgres_driver import Direct, columns_of, joined, shortened
from sendoff.store.engine.transitions import found_by, made_by
from sendoff.store.hot.rows import (
    ACTIVE_ENDPOINTS,
    CONTENT,
    CONTENT_COLUMNS,
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
from sendoff.store.queries.endpoints import IS_ACTIVE, Subscriber
from sendoff.store.queries.operational_events import is_wanted
from sendoff.store.queries.traffic.deliveries import NewDelivery
from sendoff.store.queries.traffic.events import NewEventRow

_SUBSCRIBERS = f"""(
    SELECT json_agg(json_build_object(
        'id', p.id, 'events', p.matched, 'has_held', {HAS_HELD}, 'filter', p.filter, 'transform', p.transform,
        'ordered', p.ordered
    ))::text
    FROM (
        SELECT p.id, p.filter, p.transform, p.ordered, (
            SELECT json_agg(named) FROM json_array_elements_text(p.events) AS named WHERE named = ANY($2::text[])
        ) AS matched
        {ACTIVE_ENDPOINTS}
    ) AS p WHERE p.matched IS NOT NULL
)"""
_FIND_SENDERS = f"""
    {SENDERS.format(subscribers=_SUBSCRIBERS.format(organization="k.organization_id"))}
    WHERE k.key_hash = ANY($1::text[])
"""
_FIND_KEYS = f"{KEYS} WHERE k.key_hash = ANY($1::text[])"
_FIND_SUBSCRIBERS = f"""
    {SUBSCRIBERS_OF_ORGANIZATIONS.format(subscribers=_SUBSCRIBERS.format(organization="o.id"))}
    WHERE o.id = ANY($1::uuid[])
"""

_EVENT_NAMES = ("id", "organization_id", "type")
_EVENT_COLUMNS = ("data", "occurred_at", "request_id", "delivery_count", "traceparent")
_DELIVERY_NAMES = ("id", "event_id", "endpoint_id", "organization_id", "state")
_DELIVERY_COLUMNS = ("data", "sequence")
_ACCEPT = """
    WITH accepted AS (
        INSERT INTO events
            (id, organization_id, type, data, occurred_at, request_id, delivery_count, traceparent, created_at)
        SELECT r.*, $9 FROM unnest(
            string_to_array($1::text, ','), string_to_array($2::text, ',')::uuid[], string_to_array($3::text, ','),
            $4::text[], $5::timestamptz[], $6::text[], $7::int[], $8::text[]
        ) AS r
    )
    INSERT INTO deliveries
        (id, event_id, endpoint_id, organization_id, created_at, state, data, attempt_count, due_at, sequence)
    SELECT r.id, r.event_id, r.endpoint_id, r.organization_id, $9, r.state, r.data, 0, $9, r.sequence
    FROM unnest(
        string_to_array($10::text, ',')::uuid[], string_to_array($11::text, ','),
        string_to_array($12::text, ',')::uuid[], string_to_array($13::text, ',')::uuid[],
        string_to_array($14::text, ','), $15::text[], $16::bigint[]
    ) AS r(id, event_id, endpoint_id, organization_id, state, data, sequence)
"""

# The ids of an event's deliveries differ from the given one in their last 32 bits, which are random otherwise.
_ACCEPT_ONE = f"""
    WITH sender AS MATERIALIZED (
        SELECT o.id AS organization_id FROM api_keys k JOIN organizations o ON o.id = k.organization_id
        WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)
            AND o.suspended_at IS NULL
            AND EXISTS (SELECT FROM json_array_elements_text(k.scopes) AS scope WHERE scope = $3)
            AND ($4::bool OR EXISTS (
                SELECT FROM event_types t WHERE t.name = $5::text AND COALESCE(t.data_schema::text, 'null') = 'null'
            ))
    ), reached AS MATERIALIZED (
        SELECT s.organization_id, p.id AS endpoint_id, {HAS_HELD} AS has_held,
            p.filter IS NOT NULL OR p.transform IS NOT NULL OR p.ordered AS is_special,
            row_number() OVER (ORDER BY p.id) - 1 AS place
        FROM sender s JOIN endpoints p ON p.organization_id = s.organization_id AND {IS_ACTIVE.format(endpoint="p")}
        WHERE EXISTS (SELECT FROM json_array_elements_text(p.events) AS named WHERE named = ANY($11::text[]))
    ), event AS (
        INSERT INTO events
            (id, organization_id, type, data, occurred_at, request_id, traceparent, delivery_count, created_at)
        SELECT $6::text, s.organization_id, $5, $7::text, $8::timestamptz, $9::text, $12::text,
            (SELECT count(*) FROM reached), $2
        FROM sender s WHERE NOT EXISTS (SELECT FROM reached WHERE is_special)
        RETURNING organization_id
    ), delivery AS (
        INSERT INTO deliveries
            (id, event_id, endpoint_id, organization_id, created_at, state, attempt_count, due_at)
        SELECT overlay($10::text PLACING lpad(to_hex(place), 8, '0') FROM 29)::uuid,
            $6, endpoint_id, organization_id, $2,
            CASE WHEN has_held THEN {made_by(ACCEPT, DeliveryState.HELD)}
                ELSE {made_by(ACCEPT, DeliveryState.PENDING)} END,
            0, $2
        FROM reached JOIN event USING (organization_id)
        RETURNING id, endpoint_id, state
    )
    SELECT e.organization_id, d.id, d.endpoint_id, d.state FROM event e LEFT JOIN delivery d ON TRUE ORDER BY d.id
"""

# A claim need not be on disk before it is answered: should the database server crash within the next half second,
# the delivery is due again, as after any lease that ended. What is recorded afterwards takes the claim to disk.
_UNSYNCED = "(SELECT set_config('synchronous_commit', 'off', true) IS NOT NULL)"

_CLAIMED = """deliveries.id, deliveries.event_id, deliveries.endpoint_id, deliveries.organization_id,
    deliveries.state, deliveries.attempt_count, deliveries.replay_id, deliveries.blocked_since, deliveries.data,
    deliveries.sequence"""
_CLAIM_DUE = f"""
    WITH due AS (
        SELECT d.id, d.endpoint_id, d.replay_id, d.leased_until IS NOT NULL AS taken_over FROM deliveries d
        WHERE d.id = ANY($1::uuid[]) AND {IS_DUE.format(now="$6")}
            AND {_UNSYNCED}
        FOR UPDATE OF d SKIP LOCKED
    ), ranked AS (
        SELECT d.id, d.taken_over, row_number() OVER (PARTITION BY d.endpoint_id ORDER BY {TURN}) - COALESCE(
            (SELECT r.quota FROM unnest($2::uuid[], $3::int[]) AS r(endpoint_id, quota)
             WHERE r.endpoint_id = d.endpoint_id),
            {UNNAMED_QUOTA.format(default="$4::int", restricted="$8::int", endpoint_id="d.endpoint_id")},
            $4::int
        ) AS excess
        FROM due AS d
    ), claimed AS (
        UPDATE deliveries SET
            state = CASE WHEN excess <= 0 THEN {made_by(CLAIM_DUE, DeliveryState.IN_FLIGHT)}
                ELSE {made_by(CLAIM_DUE, DeliveryState.HELD)} END,
            lease_token = CASE WHEN excess <= 0 THEN $5::uuid END,
            leased_until = CASE WHEN excess <= 0 THEN $7::timestamptz END,
            due_at = CASE WHEN excess > 0 THEN COALESCE(due_at, $6) END
        FROM ranked WHERE deliveries.id = ranked.id
        RETURNING {_CLAIMED}, excess, taken_over
    )
    {CONTENT.format(returned="excess <= 1")}
"""
"""`excess`: how far a delivery is beyond its endpoint's quota. With 1, the first held one of each endpoint names it."""

_CLAIM_ONE = f"""
    UPDATE deliveries AS t SET state = {made_by(CLAIM_DUE, DeliveryState.IN_FLIGHT)},
        lease_token = $2::uuid, leased_until = $3, due_at = NULL
    FROM (
        SELECT d.id, d.endpoint_id, d.event_id, d.leased_until IS NOT NULL AS taken_over FROM deliveries d
        WHERE d.id = $1 AND {IS_DUE.format(now="$4")} AND {_UNSYNCED}
        FOR UPDATE OF d SKIP LOCKED
    ) AS due
    LEFT JOIN endpoints p ON p.id = due.endpoint_id
    LEFT JOIN events e ON e.id = due.event_id
    WHERE t.id = due.id
    RETURNING {CONTENT_COLUMNS}, due.taken_over
"""
"""The same for a single delivery whose endpoint, whichever it is, may get one: two thirds of PostgreSQL's work."""

_CLAIM_HELD = f"""
    WITH chosen AS (
        SELECT of_endpoint.id
        FROM unnest($1::uuid[], $2::int[]) AS r(endpoint_id, quota) CROSS JOIN LATERAL (
            SELECT d.id FROM deliveries d WHERE d.endpoint_id = r.endpoint_id
                AND {found_by(CLAIM_HELD, column="d.state")} AND {IS_FED.format(now="$5", soon="$6")} AND {_UNSYNCED}
            ORDER BY {TURN} LIMIT r.quota
            FOR UPDATE OF d SKIP LOCKED
        ) AS of_endpoint
    ), claimed AS (
        UPDATE deliveries SET state = {made_by(CLAIM_HELD)}, lease_token = $3::uuid, leased_until = $4, due_at = NULL
        FROM chosen WHERE deliveries.id = chosen.id
        RETURNING {_CLAIMED}, FALSE AS taken_over
    )
    {CONTENT.format(returned="TRUE")}
"""

_WORK_AT_HAND = WORK_AT_HAND.replace(":now", "$1").replace(":enqueued_until", "$2")

_RECORD_COLUMNS = {
    "delivery_id": "uuid",
    "lease_token": "uuid",
    "state": "text",
    "due_at": "timestamptz",
    "counted": "bool",
    "number": "int",
    "attempt_count": "int",
    "started_at": "timestamptz",
    "ended_at": "timestamptz",
    "delivered_at": "timestamptz",
    "duration_ms": "int",
    "outcome": "text",
    "response_status": "int",
    "error": "text",
    "blocked_since": "timestamptz",
    "health": "text",
    "url": "text",
    "request_headers": "text",
    "response_headers": "text",
    "response_body": "bytea",
    "response_truncated": "bool",
    "dead_letter_id": "uuid",
    "reason": "text",
    "event_type": "text",
    "endpoint_url": "text",
}
_ARRAYS = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_RECORD_COLUMNS.values(), start=1))
_NOW, _INTERVAL, _FAILING_AT = (f"${len(_RECORD_COLUMNS) + place}" for place in (1, 2, 3))
_BEGINS_TO_FAIL = f"t.consecutive_failures < {_FAILING_AT}::int AND t.failures >= {_FAILING_AT}::int"
_RECOVERS = f"""t.unhealthy_since IS NOT NULL AND t.succeeded_at IS NOT NULL AND t.state = 'active'
    AND t.failures < {_FAILING_AT}::int"""

_INSERT_ATTEMPTS = """
        INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, response_status, error)
        SELECT delivery_id, number, started_at, duration_ms, outcome, response_status, error FROM settled WHERE counted
"""
_SETTLE_REPLAY_ITEMS = f"""
        UPDATE replay_items AS i SET state = CASE s.state
            WHEN 'delivered' THEN {made_by(RECORD_ITEM, ReplayItemState.SUCCEEDED)}
            ELSE {made_by(RECORD_ITEM, ReplayItemState.FAILED)} END
        FROM settled s
        WHERE i.replay_id = s.replay_id AND i.delivery_id = s.delivery_id AND s.state IN ('delivered', 'dead')
            AND {found_by(RECORD_ITEM, column="i.state || ''")}
"""


def _record_statement(*, unhealthy: str = "", raised: str = "") -> str:
    """The statement that records attempts; `unhealthy` and `raised` are what operational events need besides.

    `place` is the order in which the attempts ended: failures before an endpoint's last success do not count any more.
    """
    return f"""
    WITH r AS MATERIALIZED (
        SELECT * FROM unnest({_ARRAYS}) WITH ORDINALITY AS r({", ".join(_RECORD_COLUMNS)}, place)
    ), settled AS (
        UPDATE deliveries AS d SET state = r.state, lease_token = NULL, leased_until = NULL, due_at = r.due_at,
            blocked_since = r.blocked_since, attempt_count = r.attempt_count, last_error = r.error,
            delivered_at = r.delivered_at,
            last_attempt_at = CASE WHEN r.counted THEN r.started_at ELSE d.last_attempt_at END,
            last_response_status = CASE WHEN r.counted THEN r.response_status ELSE d.last_response_status END
        FROM r WHERE d.id = r.delivery_id AND d.lease_token = r.lease_token
            AND {found_by(RECORD, column="d.state || ''")}
        RETURNING d.endpoint_id, d.event_id, d.organization_id, d.replay_id, r.*
    ), written AS (
        {_INSERT_ATTEMPTS}
    ), kept AS (
        INSERT INTO last_exchanges (delivery_id, attempt, url, request_headers,
            response_status, response_headers, response_body, response_truncated)
        SELECT delivery_id, number, url, request_headers::json,
            response_status, response_headers::json, response_body, response_truncated
        FROM settled WHERE url IS NOT NULL
        ON CONFLICT (delivery_id) DO UPDATE SET attempt = excluded.attempt, url = excluded.url,
            request_headers = excluded.request_headers, response_status = excluded.response_status,
            response_headers = excluded.response_headers, response_body = excluded.response_body,
            response_truncated = excluded.response_truncated
    ), dead_lettered AS (
        INSERT INTO dead_letters (id, delivery_id, event_id, event_type, endpoint_id, endpoint_url, organization_id,
            reason, last_response_status, last_error, attempt_count, died_at, state)
        SELECT dead_letter_id, delivery_id, event_id, event_type, endpoint_id, endpoint_url, organization_id,
            reason, response_status, error, attempt_count, {_NOW}::timestamptz, {made_by(GIVE_UP)}
        FROM settled WHERE dead_letter_id IS NOT NULL
        RETURNING id, organization_id, endpoint_id
    ), replayed AS (
        {_SETTLE_REPLAY_ITEMS}
    ), placed AS (
        SELECT endpoint_id, health, counted, ended_at, place,
            max(place) FILTER (WHERE health = 'success') OVER (PARTITION BY endpoint_id) AS last_success
        FROM settled
    ), tally AS (
        SELECT endpoint_id, bool_and(health = 'success') AS is_healthy,
            max(ended_at) FILTER (WHERE health = 'success') AS succeeded_at,
            max(ended_at) FILTER (WHERE health <> 'success' AND counted) AS failed_at,
            count(*) FILTER (WHERE health IN ('failure', 'gone') AND place > COALESCE(last_success, 0)) AS failures,
            min(ended_at) FILTER (WHERE health IN ('failure', 'gone') AND place > COALESCE(last_success, 0))
                AS group_first_failed_at
        FROM placed GROUP BY endpoint_id
    ), touched AS MATERIALIZED (
        SELECT p.id, p.organization_id, p.state, p.consecutive_failures, p.first_failure_at, p.unhealthy_since,
            t.is_healthy, t.succeeded_at, t.failed_at, t.group_first_failed_at,
            t.failures + CASE WHEN t.succeeded_at IS NULL THEN p.consecutive_failures ELSE 0 END AS failures
        FROM tally t JOIN endpoints p ON p.id = t.endpoint_id
        WHERE NOT t.is_healthy OR p.consecutive_failures > 0 OR p.unhealthy_since IS NOT NULL
            OR p.last_success_at IS NULL OR p.last_success_at <= t.succeeded_at - {_INTERVAL}::interval
        ORDER BY p.id FOR UPDATE OF p
    ), counted_on AS (
        UPDATE endpoints AS p SET {unhealthy}
            consecutive_failures = t.failures,
            first_failure_at = CASE WHEN t.succeeded_at IS NULL
                THEN COALESCE(t.first_failure_at, t.group_first_failed_at) ELSE t.group_first_failed_at END,
            last_success_at = GREATEST(p.last_success_at, t.succeeded_at),
            last_failure_at = COALESCE(t.failed_at, p.last_failure_at)
        FROM touched t WHERE p.id = t.id
    ){raised}
    SELECT delivery_id, lease_token, NULL::uuid AS endpoint_id, NULL::text AS endpoint_state,
        NULL::int AS consecutive_failures, NULL::timestamptz AS first_failure_at
    FROM settled
    UNION ALL
    SELECT NULL, NULL, id, state, consecutive_failures, first_failure_at FROM touched WHERE NOT is_healthy
"""


_RECORD = _record_statement()
_RECORD_WITH_EVENTS = _record_statement(
    unhealthy=f"""
            unhealthy_since = CASE WHEN {_RECOVERS} THEN NULL
                WHEN {_BEGINS_TO_FAIL} THEN COALESCE(t.unhealthy_since, t.first_failure_at, t.group_first_failed_at)
                ELSE t.unhealthy_since END,""",
    raised=f""", raised AS (
        INSERT INTO operational_events (type, organization_id, endpoint_id, subject_id, facts, occurred_at)
        SELECT '{OperationalEventType.DELIVERY_DEAD_LETTERED}', organization_id, endpoint_id, id, NULL, {_NOW}
        FROM dead_lettered WHERE organization_id <> '{OPERATORS}'
            AND {is_wanted(OperationalEventType.DELIVERY_DEAD_LETTERED, sqlite=False)}
        UNION ALL
        SELECT '{OperationalEventType.ENDPOINT_FAILING}', organization_id, id, NULL,
            json_build_object('consecutive_failures', failures), {_NOW}
        FROM touched t WHERE organization_id <> '{OPERATORS}' AND {_BEGINS_TO_FAIL}
            AND {is_wanted(OperationalEventType.ENDPOINT_FAILING, sqlite=False)}
        UNION ALL
        SELECT '{OperationalEventType.ENDPOINT_RECOVERED}', organization_id, id, NULL,
            json_build_object('unhealthy_since', unhealthy_since), {_NOW}
        FROM touched t WHERE organization_id <> '{OPERATORS}' AND {_RECOVERS}
            AND {is_wanted(OperationalEventType.ENDPOINT_RECOVERED, sqlite=False)}
    )""",
)
"""The same for a group in which an endpoint may begin to fail or recover, or a delivery dies: 0.04 ms more."""

_SUCCESS_NAMES = ("delivery_id", "lease_token", "outcome")
_SUCCESS_COLUMNS = ("number", "started_at", "ended_at", "duration_ms", "response_status")
_RECORD_SUCCESSES = f"""
    WITH settled AS (
        UPDATE deliveries AS d SET state = {made_by(RECORD, DeliveryState.DELIVERED)},
            lease_token = NULL, leased_until = NULL, due_at = NULL, blocked_since = NULL, attempt_count = r.number,
            last_error = NULL, delivered_at = r.ended_at, last_attempt_at = r.started_at,
            last_response_status = r.response_status
        FROM unnest(
            string_to_array($1::text, ',')::uuid[], string_to_array($2::text, ',')::uuid[],
            string_to_array($3::text, ','), $4::int[], $5::timestamptz[], $6::timestamptz[], $7::int[], $8::int[]
        ) AS r(delivery_id, lease_token, outcome, number, started_at, ended_at, duration_ms, response_status)
        WHERE d.id = r.delivery_id AND d.lease_token = r.lease_token
            AND {found_by(RECORD, column="d.state || ''")}
        RETURNING d.endpoint_id, d.replay_id, d.state, r.*, NULL::text AS error, TRUE AS counted
    ), written AS (
        {_INSERT_ATTEMPTS}
    ), replayed AS (
        {_SETTLE_REPLAY_ITEMS}
    ), touched AS (
        SELECT p.id, s.succeeded_at FROM (
            SELECT endpoint_id, max(ended_at) AS succeeded_at FROM settled GROUP BY endpoint_id
        ) AS s JOIN endpoints p ON p.id = s.endpoint_id
        WHERE p.consecutive_failures > 0 OR p.unhealthy_since IS NOT NULL
            OR p.last_success_at IS NULL OR p.last_success_at <= s.succeeded_at - $9::interval
        ORDER BY p.id FOR UPDATE OF p
    ), counted_on AS (
        UPDATE endpoints AS p SET consecutive_failures = 0, first_failure_at = NULL,
            last_success_at = GREATEST(p.last_success_at, t.succeeded_at)
        FROM touched t WHERE p.id = t.id
    )
    SELECT string_agg(delivery_id::text, ',') AS ids FROM settled
"""
"""The same for successes alone of endpoints that were well: half of PostgreSQL's work and of the driver's."""


class PostgresHotStore:
    """See `sendoff.store.hot.HotStore`."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct

    async def find_keys(self, key_hashes: Collection[str]) -> dict[str, KnownKey]:
        rows = await self._direct.aside.fetch(_FIND_KEYS, list(key_hashes))
        return {row["key_hash"]: read_key(row) for row in rows}

    async def find_senders(self, key_hashes: Collection[str], types: Collection[str]) -> dict[str, Sender]:
        rows = await self._direct.fetch(_FIND_SENDERS, list(key_hashes), list(types))
        return {row["key_hash"]: read_sender(row) for row in rows}

    async def find_subscribers(
        self, tx: Transaction, organization_ids: Iterable[str], types: Collection[str]
    ) -> dict[str, list[Subscriber]]:
        wanted = list(set(organization_ids))
        rows = await _run(tx, _FIND_SUBSCRIBERS, wanted, list(types))
        return {one: [] for one in wanted} | {str(row["id"]): read_subscribers(row["subscribers"]) for row in rows}

    @timed("accept")
    async def accept(
        self,
        new_events: Sequence[NewEventRow],
        new_deliveries: Sequence[NewDelivery],
        *,
        now: datetime,
        tx: Transaction | None = None,
    ) -> None:
        arguments = (
            *(joined(new_events, name) for name in _EVENT_NAMES),
            *columns_of(new_events, _EVENT_COLUMNS),
            now,
            *(joined(new_deliveries, name) for name in _DELIVERY_NAMES),
            *columns_of(new_deliveries, _DELIVERY_COLUMNS),
        )
        if tx is None:
            await self._direct.fetch(_ACCEPT, *arguments)
        else:
            await (await tx.connection()).exec_driver_sql(_ACCEPT, arguments)

    @timed("accept")
    async def accept_one(
        self, new: EventOfKey, *, scope: str, is_built_in: bool, now: datetime
    ) -> tuple[str, list[NewDelivery]] | None:
        arguments = (new.key_hash, now, scope, is_built_in, new.type, new.id, new.data, new.occurred_at, new.request_id)
        rows = await self._direct.fetch(_ACCEPT_ONE, *arguments, new_id(), list(patterns_of(new.type)), new.traceparent)
        if not rows:
            return None
        organization_id = str(rows[0]["organization_id"])
        return organization_id, [
            NewDelivery(
                str(row["id"]), new.id, str(row["endpoint_id"]), organization_id, now, DeliveryState(row["state"])
            )
            for row in rows
            if row["id"] is not None
        ]

    @timed("claim")
    async def claim_due(
        self, ids: Sequence[str], *, quotas: Quotas, lease_token: str, now: datetime, until: datetime
    ) -> ClaimResult:
        if len(ids) == 1 and quotas.allow_one:
            return read_claims(await self._direct.fetch(_CLAIM_ONE, ids[0], lease_token, until, now))
        known = (list(quotas.known), list(quotas.known.values()))
        default = min(quotas.default, len(ids))
        restricted = min(quotas.restricted, default)
        arguments = (list(ids), *known, default, lease_token, now, until, restricted)
        return read_claims(await self._direct.fetch(_CLAIM_DUE, *arguments))

    @timed("claim")
    async def claim_held(
        self, quotas: Mapping[str, int], *, lease_token: str, now: datetime, until: datetime
    ) -> ClaimResult:
        arguments = (list(quotas), list(quotas.values()), lease_token, until, now, now + FED_AHEAD)
        return read_claims(await self._direct.fetch(_CLAIM_HELD, *arguments))

    @timed("record")
    async def record(self, attempts: Sequence[AttemptRecord], *, now: datetime, failing_at: int) -> Recorded:
        recorded = Recorded()
        if all(attempt.is_unremarkable_success for attempt in attempts):
            settled = await self._record_successes(attempts)
            recorded.claims = {(one.delivery_id, one.lease_token) for one in attempts if one.delivery_id in settled}
            attempts = [one for one in attempts if one.delivery_id not in settled]
        if not attempts:
            return recorded
        flat = [attempt_columns(attempt) for attempt in attempts]
        columns = [shortened([row[name] for row in flat]) for name in _RECORD_COLUMNS]
        if any(attempt.may_raise_event for attempt in attempts):
            rows = await self._direct.fetch(_RECORD_WITH_EVENTS, *columns, now, SUCCESS_WRITTEN_EVERY, failing_at)
        else:
            rows = await self._direct.fetch(_RECORD, *columns, now, SUCCESS_WRITTEN_EVERY)
        for row in rows:
            if row["endpoint_id"] is None:
                recorded.claims.add((str(row["delivery_id"]), str(row["lease_token"])))
            else:
                before = EndpointBefore(
                    EndpointState(row["endpoint_state"]), row["consecutive_failures"], row["first_failure_at"]
                )
                recorded.endpoints[str(row["endpoint_id"])] = before
        return recorded

    async def _record_successes(self, attempts: Sequence[AttemptRecord]) -> set[str]:
        """Record unremarkable successes; returns the ids of those still under their lease."""
        [row] = await self._direct.fetch(
            _RECORD_SUCCESSES,
            *(joined(attempts, name) for name in _SUCCESS_NAMES),
            *columns_of(attempts, _SUCCESS_COLUMNS),
            SUCCESS_WRITTEN_EVERY,
        )
        return set((row["ids"] or "").split(","))

    async def look_for_work(self, *, now: datetime, enqueued_until: datetime) -> WorkAtHand:
        [row] = await self._direct.fetch(_WORK_AT_HAND, now, enqueued_until)
        return WorkAtHand(**row)


async def _run(tx: Transaction, statement: str, *arguments: Any) -> Sequence[Any]:
    connection = await tx.connection()
    return (await connection.exec_driver_sql(statement, arguments)).mappings().all()
