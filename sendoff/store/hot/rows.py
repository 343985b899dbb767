"""What goes into the hot statements and comes out of them, and the SQL that both databases share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import orjson
import structlog

from sendoff.policy.delivery.decision import HealthEffect
from sendoff.policy.delivery.replay_feed import SPREAD_SECONDS
from sendoff.policy.delivery.retry import RetrySchedule, parse_schedule
from sendoff.policy.states import CLAIM_DUE, CLAIM_UPLOAD, RECORD, DeliveryState, EndpointState, ReplayState
from sendoff.store.engine.batch import json_text, read_time
from sendoff.store.engine.transitions import found_by
from sendoff.store.queries.accounts import KnownKey
from sendoff.store.queries.endpoints import IS_ACTIVE, LAST_LIVE_HELD, Destination, Subscriber
from sendoff.store.queries.traffic.deliveries import LEASE_ENDED, PENDING_DUE
from sendoff.store.queries.traffic.events import EventContent

_log = structlog.get_logger(__name__)

SUCCESS_WRITTEN_EVERY = timedelta(seconds=1)
"""`last_success_at` of a healthy endpoint is written at most this often; shorter, and the endpoint's row is locked and
rewritten by every group of successes."""


@dataclass(slots=True)
class Sender:
    """A known API key, and the active endpoints of its organization that subscribe to any of the published types."""

    key: KnownKey
    subscribers: Sequence[Subscriber]


@dataclass(slots=True)
class EventOfKey:
    """An event to be accepted for the organization of an API key, whichever that is."""

    key_hash: str
    id: str
    type: str
    data: str
    occurred_at: datetime
    request_id: str | None
    traceparent: str | None = None


@dataclass(slots=True)
class ClaimedDelivery:
    """A delivery as the claim left it: `in_flight` under our lease."""

    id: str
    event_id: str
    endpoint_id: str
    organization_id: str
    attempt_count: int
    replay_id: str | None
    blocked_since: datetime | None
    sequence: int | None


@dataclass(slots=True)
class ClaimedRow:
    """A claimed delivery, its endpoint in whatever state, and its event."""

    delivery: ClaimedDelivery
    endpoint: Destination
    event: EventContent


@dataclass(slots=True)
class ClaimResult:
    """What a claim brought, in turn, and the endpoints of which it held some deliveries."""

    rows: list[ClaimedRow]
    held_endpoint_ids: set[str]
    taken_over: int = 0
    """How many of the rows were under another claim whose lease had ended."""


@dataclass(slots=True)
class Exchange:
    """What went over the wire at a failed attempt; the newest of a delivery replaces the one before."""

    url: str
    request_headers: Sequence[tuple[str, str]]
    response_headers: Sequence[tuple[str, str]] | None
    response_body: bytes | None
    response_truncated: bool


@dataclass(slots=True)
class NewDeadLetter:
    """Why a delivery is given up, and what its dead letter shows."""

    id: str
    reason: str
    event_type: str
    endpoint_url: str


@dataclass(slots=True)
class AttemptRecord:
    """An attempt and its delivery's new state."""

    delivery_id: str
    lease_token: str
    state: DeliveryState
    due_at: datetime | None
    counted: bool
    """Whether the attempt has a number; one that never left this host has none and leaves no row of its own."""
    number: int
    started_at: datetime
    ended_at: datetime
    duration_ms: int
    outcome: str
    response_status: int | None
    error: str | None
    blocked_since: datetime | None
    health: HealthEffect
    exchange: Exchange | None = None
    dead_letter: NewDeadLetter | None = None
    may_raise_event: bool = True
    """Whether it may raise an operational event; the success of an endpoint that was well when claimed cannot."""

    @property
    def is_unremarkable_success(self) -> bool:
        """Whether it was delivered to an endpoint that was well, so that little else follows from it."""
        return self.state is DeliveryState.DELIVERED and not self.may_raise_event

    @property
    def attempt_count(self) -> int:
        """How many counted attempts the delivery has with this one."""
        return self.number if self.counted else self.number - 1


@dataclass(slots=True)
class EndpointBefore:
    """An endpoint as it was before these attempts were counted on it."""

    state: EndpointState
    consecutive_failures: int
    first_failure_at: datetime | None


@dataclass(slots=True)
class Recorded:
    """What `record` wrote, and the endpoints that not only succeeded."""

    claims: set[tuple[str, str]] = field(default_factory=set)
    """`(delivery_id, lease_token)` of the attempts that were written."""
    endpoints: dict[str, EndpointBefore] = field(default_factory=dict)


@dataclass(slots=True)
class WorkAtHand:
    """What may be to do besides the jobs of the queue; each part has a query of its own that finds it."""

    deliveries: bool
    """Deliveries that are due, or whose lease ended (`queries.traffic.deliveries.find_due`)."""
    uploads: bool
    replays: bool
    held: bool
    queued: bool
    """Deliveries in the lines of ordered endpoints."""
    drains: bool
    """Endpoints that stopped being active, whose deliveries may still wait."""
    alerts: bool
    """Operational events to publish, or alerts that were kept together long enough."""


WORK_AT_HAND = f"""
    SELECT
        EXISTS (SELECT 1 FROM deliveries WHERE {PENDING_DUE})
            OR EXISTS (SELECT 1 FROM deliveries WHERE {LEASE_ENDED}) AS deliveries,
        EXISTS (
            SELECT 1 FROM uploads WHERE {found_by(CLAIM_UPLOAD, column="status")}
                AND (leased_until IS NULL OR leased_until <= :now)
        ) AS uploads,
        EXISTS (SELECT 1 FROM replays WHERE state = '{ReplayState.RUNNING}') AS replays,
        EXISTS (SELECT 1 FROM deliveries WHERE state = '{DeliveryState.HELD}') AS held,
        EXISTS (SELECT 1 FROM deliveries WHERE state = '{DeliveryState.QUEUED}') AS queued,
        EXISTS (SELECT 1 FROM endpoints WHERE drain_due) AS drains,
        EXISTS (SELECT 1 FROM operational_events)
            OR EXISTS (SELECT 1 FROM alert_groups WHERE due_at <= :now) AS alerts
"""
"""SQL with `:now` and `:enqueued_until` for the fields of WorkAtHand: index probes, in one statement."""

IS_DUE = f"""(
    ({found_by(CLAIM_DUE, DeliveryState.PENDING, column="d.state || ''")}
        AND (d.due_at <= {{now}} OR (d.attempt_count = 0 AND d.blocked_since IS NULL)))
    OR ({found_by(CLAIM_DUE, DeliveryState.IN_FLIGHT, column="d.state || ''")} AND d.leased_until <= {{now}})
)"""
"""SQL for the deliveries `d` that can be claimed. The state is compared as an expression: as a column it would let the
planner read a partial index from end to end, which looks as good as looking up the ids while the table is small."""

TURN = "(d.replay_id IS NOT NULL), d.id"
"""SQL for the order in which an endpoint's deliveries `d` are claimed: live ones before those that a replay sends
again, which are older and may be many; the oldest of each first."""

IS_FED = "(d.replay_id IS NULL OR (d.due_at > {now} AND d.due_at <= {soon}) IS NOT TRUE)"
"""SQL for the held deliveries `d` whose time has come: what a replay feeds at once falls due bit by bit. A time that is
further ahead than any replay sets comes from a clock that was set back since, and keeps nothing waiting."""

FED_AHEAD = timedelta(seconds=2 * SPREAD_SECONDS)
"""How far ahead of `now` the `soon` of IS_FED is. With less than SPREAD_SECONDS, replays are sent in bursts; with more,
their deliveries wait for as long after the clock was set back."""

UNNAMED_QUOTA = """(
    SELECT CASE WHEN p.state = 'active' AND (p.consecutive_failures > 0 OR p.last_success_at IS NULL
        OR p.rate_limit IS NOT NULL OR p.operator_rate_limit IS NOT NULL OR p.max_in_flight IS NOT NULL)
        THEN {restricted} ELSE {default} END
    FROM endpoints p WHERE p.id = {endpoint_id}
)"""
"""SQL for the quota of an endpoint that a claim does not name. Deliveries for endpoints that are not active need no
capacity, for they are not sent."""

CONTENT_COLUMNS = """t.id, t.event_id, t.endpoint_id, t.organization_id, t.state, t.attempt_count, t.replay_id,
        t.blocked_since, t.sequence,
        p.state AS endpoint_state, p.dialect, p.url, p.secret, p.previous_secret, p.previous_secret_until,
        CASE WHEN p.operator_rate_limit IS NULL OR p.rate_limit < p.operator_rate_limit
            THEN p.rate_limit ELSE p.operator_rate_limit END AS rate_limit,
        p.consecutive_failures, p.last_success_at, p.unhealthy_since, p.ordered,
        p.retry_schedule, p.timeout_seconds, p.max_in_flight,
        p.headers, p.auth,
        e.type AS event_type, COALESCE(t.data, e.data) AS data, e.occurred_at, e.request_id, e.traceparent"""
"""SQL for what a claim returns of a delivery `t`, its endpoint `p` and its event `e`; `taken_over` belongs to it, which
says whether another claim's lease had ended."""

CONTENT = f"""
    SELECT {CONTENT_COLUMNS}, t.taken_over
    FROM claimed t
    LEFT JOIN endpoints p ON t.state = 'in_flight' AND p.id = t.endpoint_id
    LEFT JOIN events e ON t.state = 'in_flight' AND e.id = t.event_id
    WHERE {{returned}}
    ORDER BY (t.replay_id IS NOT NULL), t.id
"""
"""SQL for what a claim returns of the deliveries in `claimed`; of held ones, only their endpoint."""

_KEYS = """
    SELECT k.key_hash, k.id, k.prefix, k.organization_id, k.user_id, k.scopes, k.expires_at, k.revoked_at,
        o.suspended_at, o.moved_to{more}
    FROM api_keys k JOIN organizations o ON o.id = k.organization_id
"""
KEYS = _KEYS.format(more="")
"""SQL for API keys `k` and their organizations `o`; a condition on them follows."""
SENDERS = _KEYS.format(more=", {subscribers} AS subscribers")
"""KEYS with a column of the endpoints that subscribe to what is published, as a JSON array."""
SUBSCRIBERS_OF_ORGANIZATIONS = "SELECT o.id, {subscribers} AS subscribers FROM organizations o"
"""SQL for the same column of organizations `o` without a key; a condition on them follows."""

ACTIVE_ENDPOINTS = f"FROM endpoints p WHERE p.organization_id = {{organization}} AND {IS_ACTIVE.format(endpoint='p')}"
"""SQL for the active endpoints `p` of an organization."""
HAS_HELD = f"{LAST_LIVE_HELD.format(endpoint='p')} IS NOT NULL"
"""SQL for whether live deliveries are held for the endpoint `p`."""


def read_claims(rows: Iterable[Any]) -> ClaimResult:
    """The rows of CONTENT."""
    result = ClaimResult([], set())
    destinations: dict[str, Destination] = {}
    for row in rows:
        endpoint_id = str(row["endpoint_id"])
        if row["state"] == DeliveryState.HELD:
            result.held_endpoint_ids.add(endpoint_id)
            continue
        if endpoint_id not in destinations:
            destinations[endpoint_id] = _destination(row)
        result.rows.append(ClaimedRow(_delivery(row), destinations[endpoint_id], _event(row)))
        result.taken_over += bool(row["taken_over"])
    return result


def read_sender(row: Any) -> Sender:
    """A row of SENDERS."""
    return Sender(read_key(row), read_subscribers(row["subscribers"]))


def read_key(row: Any) -> KnownKey:
    """A row of KEYS."""
    return KnownKey(
        id=str(row["id"]),
        prefix=row["prefix"],
        organization_id=str(row["organization_id"]),
        user_id=str(row["user_id"]),
        scopes=orjson.loads(row["scopes"]),
        expires_at=read_time(row["expires_at"]),
        revoked_at=read_time(row["revoked_at"]),
        is_suspended=row["suspended_at"] is not None,
        moved_to=row["moved_to"],
    )


def read_subscribers(document: str | None) -> list[Subscriber]:
    """The JSON array of a column `subscribers`; null when there are none."""
    return _SUBSCRIBERS.decode(document) if document else []


_SUBSCRIBERS = msgspec.json.Decoder(list[Subscriber], strict=False)  # SQLite's booleans are 0 and 1


def attempt_columns(attempt: AttemptRecord) -> dict[str, Any]:
    """The attempt as one flat row, by the names that the statements use; a part that is missing is null."""
    RECORD.check(DeliveryState.IN_FLIGHT, attempt.state)
    row = {name: getattr(attempt, name) for name in _ATTEMPT_FIELDS}
    row["delivered_at"] = attempt.ended_at if attempt.state is DeliveryState.DELIVERED else None
    row["attempt_count"] = attempt.attempt_count
    exchange, letter = attempt.exchange, attempt.dead_letter
    row |= {
        "url": exchange and exchange.url,
        "request_headers": exchange and json_text(exchange.request_headers),
        "response_headers": None
        if exchange is None or exchange.response_headers is None
        else json_text(exchange.response_headers),
        "response_body": exchange and exchange.response_body,
        "response_truncated": exchange and exchange.response_truncated,
        "dead_letter_id": letter and letter.id,
        "reason": letter and letter.reason,
        "event_type": letter and letter.event_type,
        "endpoint_url": letter and letter.endpoint_url,
    }
    return row


_ATTEMPT_FIELDS = (
    "delivery_id",
    "lease_token",
    "state",
    "due_at",
    "counted",
    "number",
    "started_at",
    "ended_at",
    "duration_ms",
    "outcome",
    "response_status",
    "error",
    "blocked_since",
    "health",
)


def _delivery(row: Any) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=str(row["id"]),
        event_id=row["event_id"],
        endpoint_id=str(row["endpoint_id"]),
        organization_id=str(row["organization_id"]),
        attempt_count=row["attempt_count"],
        replay_id=None if row["replay_id"] is None else str(row["replay_id"]),
        blocked_since=read_time(row["blocked_since"]),
        sequence=row["sequence"],
    )


def _destination(row: Any) -> Destination:
    return Destination(
        id=str(row["endpoint_id"]),
        organization_id=str(row["organization_id"]),
        state=row["endpoint_state"],
        dialect=row["dialect"],
        url=row["url"],
        secret=row["secret"],
        previous_secret=row["previous_secret"],
        previous_secret_until=read_time(row["previous_secret_until"]),
        rate_limit=row["rate_limit"],
        consecutive_failures=row["consecutive_failures"],
        last_success_at=read_time(row["last_success_at"]),
        unhealthy_since=read_time(row["unhealthy_since"]),
        ordered=bool(row["ordered"]),
        retry_schedule=_read_schedule(row["endpoint_id"], row["retry_schedule"]),
        timeout_seconds=row["timeout_seconds"],
        max_in_flight=row["max_in_flight"],
        headers=row["headers"],
        auth=row["auth"],
    )


def _read_schedule(endpoint_id: object, document: str | None) -> RetrySchedule | None:
    """A JSON array of durations; SQL's null and JSON's both stand for none, and so does what cannot be read.

    An error would fail the whole claim, with the deliveries of other endpoints in it.
    """
    try:
        waits = None if document is None else orjson.loads(document)
        return None if waits is None else parse_schedule(tuple(waits))
    except (ValueError, TypeError, AttributeError) as error:
        _log.error("retry_schedule_unreadable", endpoint_id=str(endpoint_id), error=str(error))
        return None


def _event(row: Any) -> EventContent:
    return EventContent(
        id=row["event_id"],
        organization_id=str(row["organization_id"]),
        type=row["event_type"],
        data=row["data"],
        occurred_at=read_time(row["occurred_at"]),
        request_id=row["request_id"],
        traceparent=row["traceparent"],
    )
