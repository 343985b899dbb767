"""Deliveries: insert, lock, release, find due ones, requeue; one statement for many rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sendoff.policy.states import (
    ACCEPT,
    CLOSE,
    RELEASE,
    REOPEN,
    RETRY_NOW,
    DeadLetterReason,
    DeadLetterState,
    DeliveryState,
    EndpointState,
)
from sendoff.store.engine.batch import (
    execute,
    ids_parameter,
    lock,
    rows_from,
    rows_parameter,
    skip_locked,
)
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.transitions import found_by, made_by
from sendoff.store.queries.endpoints import WITH_DELIVERIES_IN
from sendoff.store.queries.traffic import ordering

_ID = {"id": "uuid"}
_DUE = {"id": "uuid", "due_at": "timestamptz"}
_IS_ORDERED = "(SELECT e.ordered FROM endpoints e WHERE e.id = deliveries.endpoint_id)"


@dataclass(slots=True)
class NewDelivery:
    """A delivery to be inserted: `pending`, which is due at once, `held` until its endpoint has capacity, or `dead`.

    For an ordered endpoint it is `queued` in the line.
    """

    id: str
    event_id: str
    endpoint_id: str
    organization_id: str
    created_at: datetime
    state: DeliveryState
    data: str | None = None
    """What the endpoint's transform made of the event's data; None sends the event's own."""
    sequence: int | None = None
    """Its place in the line of an ordered endpoint, which `ordering.take_places` gives."""
    dead_letter_reason: DeadLetterReason | None = None
    """Why it is `dead`, for the statistics."""

    def __post_init__(self) -> None:
        ACCEPT.check(None, self.state)


@dataclass(frozen=True, slots=True)
class NewData:
    """What a delivery's transform gave when it was evaluated again."""

    id: str
    data: str | None


@dataclass(frozen=True, slots=True)
class OpenDelivery:
    """A delivery that is still to be made, and the replay that it is part of."""

    id: str
    endpoint_id: str
    replay_id: str | None


@dataclass(frozen=True, slots=True)
class KnownDelivery:
    """A delivery that a replay is to send, and what decides whether it can."""

    id: str
    state: DeliveryState
    endpoint_is_active: bool
    is_discarded: bool
    """Whether it is dead and its newest dead letter was discarded."""
    is_untransformed: bool
    """Whether it is dead and its newest dead letter says that its transform failed."""


async def find_known(tx: Transaction, ids: Sequence[str]) -> list[KnownDelivery]:
    """The existing deliveries among these, in order."""
    result = await execute(  # a row for each dead letter, the newest last
        tx,
        f"""
        SELECT d.id, d.state, p.state AS endpoint_state, l.state AS letter_state, l.reason
        FROM deliveries d JOIN {rows_from(tx, "ids", _ID)} AS r ON r.id = d.id
        LEFT JOIN endpoints p ON p.id = d.endpoint_id
        LEFT JOIN dead_letters l ON l.delivery_id = d.id AND d.state = 'dead'
        ORDER BY d.id, l.id
        """,
        ids=ids_parameter(ids),
    )
    found = {
        row.id: KnownDelivery(
            str(row.id),
            DeliveryState(row.state),
            endpoint_is_active=row.endpoint_state == EndpointState.ACTIVE,
            is_discarded=row.letter_state == DeadLetterState.DISCARDED,
            is_untransformed=row.reason == DeadLetterReason.TRANSFORM_FAILED,
        )
        for row in result
    }
    return list(found.values())


async def lock_leased(tx: Transaction, claims: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which deliveries are in flight under their lease, as `(id, lease_token)`; locked until the transaction ends.

    Waits for other transactions that hold one: a late claim locks the row briefly without changing its lease.
    """
    result = await execute(
        tx,
        f"""
        SELECT d.id, d.lease_token FROM deliveries d
        JOIN {rows_from(tx, "rows", {"id": "uuid", "lease_token": "uuid"})} AS r
            ON r.id = d.id AND r.lease_token = d.lease_token
        WHERE d.state = 'in_flight'
        ORDER BY d.id
        {lock(tx, "d")}
        """,
        rows=rows_parameter({"id": identifier, "lease_token": token} for identifier, token in claims),
    )
    return {(str(row.id), str(row.lease_token)) for row in result}


async def lock_waiting(tx: Transaction, ids: Sequence[str]) -> list[OpenDelivery]:
    """The waiting deliveries among these, locked; those that another transaction has locked are skipped."""
    if not ids:
        return []
    result = await execute(
        tx,
        f"""
        SELECT d.id, d.endpoint_id, d.replay_id FROM deliveries d
        WHERE d.id IN (SELECT r.id FROM {rows_from(tx, "ids", _ID)} AS r) AND d.state IN ('pending', 'held', 'queued')
        ORDER BY d.id
        {skip_locked(tx, "d")}
        """,
        ids=ids_parameter(ids),
    )
    return [
        OpenDelivery(str(row.id), str(row.endpoint_id), str(row.replay_id) if row.replay_id else None) for row in result
    ]


async def release(tx: Transaction, ids: Sequence[str], *, lease_token: str, now: datetime, held: bool) -> None:
    """Give claimed deliveries back as if they had not been claimed: due at `now` or, if `held`, held."""
    target = DeliveryState.HELD if held else DeliveryState.PENDING
    await execute(
        tx,
        f"""
        UPDATE deliveries SET state = {made_by(RELEASE, target)}, lease_token = NULL, leased_until = NULL, due_at = :now
        WHERE id IN (SELECT id FROM {rows_from(tx, "ids", _ID)} AS r)
            AND lease_token = :lease_token AND {found_by(RELEASE)}
        """,
        ids=ids_parameter(ids),
        lease_token=lease_token,
        now=now,
    )


async def release_leases(tx: Transaction, lease_tokens: Iterable[str], *, until: datetime, now: datetime) -> None:
    """Give back all deliveries that were claimed under the leases: they are due at `now`.

    The leases end at `until` or later; an index finds them by it.
    """
    await execute(
        tx,
        f"""
        UPDATE deliveries SET state = {made_by(RELEASE, DeliveryState.PENDING)},
            lease_token = NULL, leased_until = NULL, due_at = :now
        WHERE leased_until >= :until AND {found_by(RELEASE)}
            AND lease_token IN (SELECT r.lease_token FROM {rows_from(tx, "rows", {"lease_token": "uuid"})} AS r)
        """,
        rows=rows_parameter({"lease_token": token} for token in lease_tokens),
        until=until,
        now=now,
    )


async def extend_leases(tx: Transaction, leases: Mapping[str, datetime], *, lease_token: str) -> None:
    """Let the leases of claimed deliveries, by their ids, end at these later times."""
    await execute(
        tx,
        f"""
        UPDATE deliveries SET leased_until = r.leased_until
        FROM {rows_from(tx, "rows", {"id": "uuid", "leased_until": "timestamptz"})} AS r
        WHERE deliveries.id = r.id AND lease_token = :lease_token AND state = 'in_flight'
        """,
        rows=rows_parameter({"id": id_, "leased_until": until} for id_, until in leases.items()),
        lease_token=lease_token,
    )


async def count_in_flight(
    tx: Transaction, endpoint_ids: Collection[str], *, besides: str, now: datetime
) -> dict[str, int]:
    """How many deliveries of each of these endpoints are under way under other leases than `besides`.

    Reads all that is under way anywhere, by its index: an endpoint's own index holds its whole backlog as well.
    """
    result = await execute(
        tx,
        f"""
        WITH under_way AS MATERIALIZED (
            SELECT d.endpoint_id FROM deliveries d
            WHERE d.state = 'in_flight' AND d.leased_until > :now AND d.lease_token <> :lease_token
        )
        SELECT endpoint_id, count(*) AS number FROM under_way
        WHERE endpoint_id IN (SELECT r.id FROM {rows_from(tx, "ids", _ID)} AS r) GROUP BY endpoint_id
        """,
        ids=ids_parameter(endpoint_ids),
        lease_token=besides,
        now=now,
    )
    return {str(row.endpoint_id): row.number for row in result}


PENDING_DUE = "state = 'pending' AND due_at <= :now AND (due_at <= :enqueued_until OR attempt_count > 0)"
LEASE_ENDED = "state = 'in_flight' AND leased_until <= :now"
"""SQL for the deliveries that a sweep enqueues."""


async def find_due(tx: Transaction, *, now: datetime, enqueued_until: datetime, limit: int) -> list[str]:
    """Ids of deliveries whose time has come, longest overdue first.

    Of those that were never tried, only such as are due since `enqueued_until`: the newer ones have just been enqueued.
    """
    result = await execute(
        tx,
        f"""
        SELECT id FROM (
            SELECT * FROM (
                SELECT id, due_at AS since FROM deliveries WHERE {PENDING_DUE}
                ORDER BY due_at LIMIT :limit
            ) AS due
            UNION ALL
            SELECT * FROM (
                SELECT id, leased_until AS since FROM deliveries WHERE {LEASE_ENDED}
                ORDER BY leased_until LIMIT :limit
            ) AS lapsed
        ) AS found ORDER BY since LIMIT :limit
        """,
        now=now,
        enqueued_until=enqueued_until,
        limit=limit,
    )
    return [str(row.id) for row in result]


async def repair_future_times(tx: Transaction, *, now: datetime, until: datetime, limit: int) -> int:
    """Repair times that lie further ahead than any schedule allows. Returns how many rows were changed.

    Leases end at `until`, the latest that one given at `now` could; what was never tried, and what could not be tried
    the last time, is due at `now`.
    """
    leases = """
        UPDATE deliveries SET leased_until = :until WHERE id IN (
            SELECT d.id FROM deliveries d WHERE d.state = 'in_flight' AND d.leased_until > :until LIMIT :limit {locked}
        ) RETURNING deliveries.id
    """
    due_times = """
        UPDATE deliveries SET due_at = :now WHERE id IN (
            SELECT d.id FROM deliveries d WHERE d.state = 'pending' AND d.due_at > :until
                AND (d.attempt_count = 0 OR d.blocked_since IS NOT NULL) LIMIT :limit {locked}
        ) RETURNING deliveries.id
    """
    locked = skip_locked(tx, "d")
    ended = (await execute(tx, leases.format(locked=locked), until=until, limit=limit)).all()
    due = (await execute(tx, due_times.format(locked=locked), now=now, until=until, limit=limit)).all()
    return len(ended) + len(due)


@dataclass(frozen=True, slots=True)
class EndpointWithHeld:
    """An endpoint that has held deliveries, and how its last attempts went."""

    id: str
    consecutive_failures: int
    has_succeeded: bool


async def find_endpoints_with_held(tx: Transaction) -> list[EndpointWithHeld]:
    """The endpoints that have held deliveries; costs two index probes for each, however many are held."""
    result = await execute(
        tx,
        f"""
        WITH {WITH_DELIVERIES_IN.format(state=DeliveryState.HELD)}
        SELECT p.id, p.consecutive_failures, p.last_success_at IS NOT NULL AS has_succeeded
        FROM found JOIN endpoints p ON p.id = found.endpoint_id
        """,
    )
    return [EndpointWithHeld(str(row.id), row.consecutive_failures, bool(row.has_succeeded)) for row in result]


async def reopen(
    tx: Transaction,
    due: Mapping[str, datetime],
    *,
    replay_id: str | None,
    now: datetime,
    delivered: bool = False,
) -> list[str]:
    """Make dead deliveries due again at the times given by their ids; the ids of those that were dead.

    A replay's are held, behind what is live.
    With `delivered`, those that were delivered as well: only for who asked for these very deliveries. Those of an
    ordered endpoint are queued, at the place that they were accepted at, and the first of the line becomes due.
    """
    sources = (DeliveryState.DEAD, DeliveryState.DELIVERED) if delivered else (DeliveryState.DEAD,)
    target = DeliveryState.PENDING if replay_id is None else DeliveryState.HELD
    result = await execute(
        tx,
        f"""
        UPDATE deliveries SET replay_id = :replay_id, delivered_at = NULL, blocked_since = NULL,
            due_at = CASE WHEN {_IS_ORDERED} THEN :now ELSE r.due_at END,
            state = CASE WHEN {_IS_ORDERED} THEN {made_by(REOPEN, DeliveryState.QUEUED)}
                ELSE {made_by(REOPEN, target)} END,
            sequence = CASE WHEN {_IS_ORDERED} THEN COALESCE(sequence, 0) ELSE sequence END
        FROM {rows_from(tx, "rows", _DUE)} AS r WHERE deliveries.id = r.id AND {found_by(REOPEN, *sources)}
        RETURNING deliveries.id, deliveries.endpoint_id, deliveries.state
        """,
        rows=_due_parameter(due),
        replay_id=replay_id,
        now=now,
    )
    rows = result.all()
    lines = {str(row.endpoint_id) for row in rows if row.state == DeliveryState.QUEUED}
    await ordering.advance(tx, lines, now=now)
    return [str(row.id) for row in rows]


async def join_replay(tx: Transaction, due: Mapping[str, datetime], *, replay_id: str) -> None:
    """Note that these deliveries, which the transaction has inserted, were made on the word of a replay.

    Those that are held fall due at the times given by their ids.
    """
    await execute(
        tx,
        f"""
        UPDATE deliveries SET replay_id = :replay_id,
            due_at = CASE deliveries.state WHEN 'held' THEN r.due_at ELSE deliveries.due_at END
        FROM {rows_from(tx, "rows", _DUE)} AS r WHERE deliveries.id = r.id
        """,
        rows=_due_parameter(due),
        replay_id=replay_id,
    )


async def make_retries_due(tx: Transaction, ids: Sequence[str], *, replay_id: str, now: datetime) -> list[str]:
    """Make those of the deliveries that wait for their retry due at once, on the word of a replay; their ids."""
    result = await execute(
        tx,
        f"""
        UPDATE deliveries SET due_at = :now, replay_id = :replay_id,
            state = {made_by(RETRY_NOW, DeliveryState.PENDING)}
        WHERE id IN (SELECT id FROM {rows_from(tx, "ids", _ID)} AS r)
            AND {found_by(RETRY_NOW, DeliveryState.PENDING)}
        RETURNING deliveries.id
        """,
        ids=ids_parameter(ids),
        replay_id=replay_id,
        now=now,
    )
    return [str(row.id) for row in result]


async def note_errors(tx: Transaction, errors: Mapping[str, str]) -> None:
    """Write why dead deliveries could not be sent, by their ids; they are not due."""
    await execute(
        tx,
        f"""
        UPDATE deliveries SET last_error = r.error, due_at = NULL
        FROM {rows_from(tx, "rows", {"id": "uuid", "error": "text"})} AS r WHERE deliveries.id = r.id
        """,
        rows=rows_parameter({"id": id_, "error": error} for id_, error in errors.items()),
    )


async def keep_data(tx: Transaction, made: Sequence[NewData]) -> None:
    """Keep what transforms made; every attempt from now on carries it."""
    await execute(
        tx,
        f"""
        UPDATE deliveries SET data = r.data
        FROM {rows_from(tx, "rows", {"id": "uuid", "data": "text"})} AS r WHERE deliveries.id = r.id
        """,
        rows=rows_parameter(made),
    )


async def make_due_now(tx: Transaction, delivery_id: str, *, now: datetime) -> bool:
    """Make a waiting delivery due at once, or a queued one as soon as it is first; False if it is not waiting."""
    result = await execute(
        tx,
        f"""
        UPDATE deliveries SET due_at = :now,
            state = CASE state WHEN 'queued' THEN {made_by(RETRY_NOW, DeliveryState.QUEUED)}
                ELSE {made_by(RETRY_NOW, DeliveryState.PENDING)} END
        WHERE id = :id AND {found_by(RETRY_NOW)} RETURNING deliveries.id
        """,
        id=delivery_id,
        now=now,
    )
    return result.first() is not None


async def mark_dead(tx: Transaction, ids: Sequence[str]) -> None:
    """Close deliveries that the transaction holds and has written dead letters for."""
    await execute(
        tx,
        f"""
        UPDATE deliveries SET state = {made_by(CLOSE)}, lease_token = NULL, leased_until = NULL, due_at = NULL
        WHERE id IN (SELECT id FROM {rows_from(tx, "ids", _ID)} AS r) AND {found_by(CLOSE)}
        """,
        ids=ids_parameter(ids),
    )


async def lock_waiting_of_endpoint(
    tx: Transaction, endpoint_id: str, *, now: datetime, limit: int
) -> list[OpenDelivery]:
    """Open deliveries of an endpoint that no worker is sending, locked; the oldest, at most `limit`."""
    waiting = """
        SELECT d.id, d.replay_id FROM deliveries d
        WHERE d.endpoint_id = :endpoint_id AND d.state IN ('pending', 'held', 'in_flight')
            AND (d.state <> 'in_flight' OR d.leased_until <= :now)
        ORDER BY d.id LIMIT :limit {locked}
    """
    queued = """
        SELECT d.id, d.replay_id FROM deliveries d WHERE d.endpoint_id = :endpoint_id AND d.state = 'queued'
        ORDER BY d.sequence, d.id LIMIT :limit {locked}
    """
    locked = skip_locked(tx, "d")
    found = (await execute(tx, waiting.format(locked=locked), endpoint_id=endpoint_id, now=now, limit=limit)).all()
    if len(found) < limit:
        rest = limit - len(found)
        found = [
            *found,
            *(await execute(tx, queued.format(locked=locked), endpoint_id=endpoint_id, limit=rest)).all(),
        ]
    return [OpenDelivery(str(row.id), endpoint_id, str(row.replay_id) if row.replay_id else None) for row in found]


def _due_parameter(due: Mapping[str, datetime]) -> str:
    return rows_parameter({"id": id_, "due_at": at} for id_, at in due.items())
