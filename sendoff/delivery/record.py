"""Record: finished attempts are written in groups; then endpoints that failed too often are disabled.

Two transactions, so that the first is one statement. Should the process die between them, the endpoint's next failure
disables it, and deliveries for an endpoint that is off become dead letters when they are claimed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import structlog

from sendoff.audit import WORKER, write_audit
from sendoff.context import Context
from sendoff.delivery.dead_letters import count_dead_letters, count_drained, dead_letter_open_deliveries
from sendoff.delivery.endpoint_states import StateChangeReason, move_endpoint
from sendoff.delivery.ordering import advance_if_possible
from sendoff.delivery.pipeline import FinishedAttempt
from sendoff.delivery.statistics import Statistics
from sendoff.errors import Unavailable
from sendoff.ids import created_at, new_id
from sendoff.observability.metrics import ATTEMPT_SECONDS, ATTEMPTS, DELIVERIES, DELIVERY_LATENCY, LEASES_LOST, RETRIES
from sendoff.policy.delivery.attempt_result import ResultKind
from sendoff.policy.delivery.auto_disable import EndedAttempt
from sendoff.policy.delivery.decision import Delivered
from sendoff.policy.delivery.retry import DeadLettered, Retry
from sendoff.policy.operational_events import OPERATORS, OperationalEventType
from sendoff.policy.states import ANSWER_GONE, AUTO_DISABLE, DeadLetterReason, DeliveryState, EndpointState
from sendoff.store.engine.database import Transaction
from sendoff.store.hot.rows import AttemptRecord, EndpointBefore, Exchange, NewDeadLetter
from sendoff.store.queries import endpoints, operational_events
from sendoff.store.queries.operational_events import NewOperationalEvent
from sendoff.store.queries.traffic import deliveries
from sendoff.store.tables import Endpoint

_log = structlog.get_logger(__name__)

_DELIVERED, _AUTOMATIC_RETRIES = DELIVERIES.labels("delivered"), RETRIES.labels("automatic")

SUCCESSES_AT_MOST = 500
"""Successes in one transaction. More gain nothing and hold the locks longer."""

FAILURES_AT_MOST = 20
"""Other attempts in one transaction. Each needs more work than a success, and hundreds would block the event loop."""

RECORD_BYTES_AT_MOST = 1_000_000
"""Bytes of receivers' answers in one transaction. Each byte is in memory several times while it is written."""

GATHER_SECONDS, GATHER_FEW_SECONDS = 0.02, 0.05
"""Seconds between rounds, and after a round of at most FEW: attempts that finish meanwhile share the next one. Longer,
and slots are freed later, and a process that is killed has more that is sent again."""

FEW = 20

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0)
"""Seconds before each further try to record; the last wait repeats."""


class Recorder:
    """Takes finished attempts and calls `recorded` with each group once it is committed (or cannot ever be).

    Plain successes, which are cheap, go first; of all other attempts, a few are recorded in each round. An endpoint's
    attempts are recorded in the order they finished, which its health depends on: a success waits for the failures of
    its endpoint that finished before it.
    """

    def __init__(self, context: Context, recorded: Callable[[Sequence[FinishedAttempt]], None]) -> None:
        self._context = context
        self._recorded = recorded
        self._successes: list[FinishedAttempt] = []
        self._others: list[FinishedAttempt] = []
        self._endpoints_of_others: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    def add(self, attempt: FinishedAttempt) -> None:
        """Record the attempt soon, together with others that finish meanwhile."""
        endpoint_id = attempt.claim.endpoint.id
        if attempt.is_plain_success and endpoint_id not in self._endpoints_of_others:
            self._successes.append(attempt)
        else:
            self._others.append(attempt)
            self._endpoints_of_others[endpoint_id] += 1
        self._wake.set()

    async def close(self, *, within: float) -> None:
        """Record what is left and stop. Attempts that are not recorded within this time are made again."""
        self._closing = True
        self._wake.set()
        _, unfinished = await asyncio.wait({self._task}, timeout=within)
        if unfinished:
            _log.error("attempts_not_recorded", attempts=len(self._successes) + len(self._others))
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._successes or self._others or not self._closing:
            if not (self._successes or self._others):
                self._wake.clear()
                await self._wake.wait()
                continue
            count = 0
            for group in (self._next_successes(), self._next_others()):
                if group:
                    await self._record(group)
                    self._recorded(group)
                    count += len(group)
            if not self._closing and len(self._successes) < SUCCESSES_AT_MOST:
                await asyncio.sleep(GATHER_FEW_SECONDS if count <= FEW else GATHER_SECONDS)

    def _next_successes(self) -> list[FinishedAttempt]:
        group, self._successes = self._successes[:SUCCESSES_AT_MOST], self._successes[SUCCESSES_AT_MOST:]
        return group

    def _next_others(self) -> list[FinishedAttempt]:
        weights = accumulate(attempt.weight for attempt in self._others[:FAILURES_AT_MOST])
        count = max(1, sum(weight <= RECORD_BYTES_AT_MOST for weight in weights))
        group, self._others = self._others[:count], self._others[count:]
        self._endpoints_of_others -= Counter(attempt.claim.endpoint.id for attempt in group)
        return group

    async def _record(self, batch: Sequence[FinishedAttempt]) -> None:
        tries = 0
        while True:
            try:
                return await record(self._context, batch)
            except Unavailable as error:
                wait = RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)]
                _log.warning("record_delayed", attempts=len(batch), error=str(error), retry_in=wait)
                await asyncio.sleep(wait)
                tries += 1
            except Exception:
                _log.exception("record_failed", attempts=len(batch))
                if len(batch) > 1:  # one row that cannot be written must not take the others with it
                    for attempt in batch:
                        await self._record([attempt])
                return None


async def record(context: Context, finished: Sequence[FinishedAttempt]) -> None:
    """Record what attempts came to, with everything that follows for their endpoints.

    An attempt whose lease was lost changes nothing: another worker owns its delivery. Raises errors.Unavailable when
    the database cannot be reached; then nothing is written, and the caller tries again.
    """
    in_order = sorted(finished, key=lambda attempt: attempt.ended_at)
    recorded = await context.hot.record(
        [_to_record(attempt) for attempt in in_order],
        now=context.clock.now(),
        failing_at=context.auto_disable.warns_at,
    )
    ours = [one for one in in_order if (one.claim.delivery.id, one.claim.lease_token) in recorded.claims]
    _count_attempts(ours)
    Statistics.of(context).count_attempts(ours, now=context.clock.now())
    if lost := len(finished) - len(ours):
        LEASES_LOST.inc(lost)
        _log.warning("lease_lost", deliveries=lost)
    closing: dict[str, EndpointState | None] = {}  # the state that an endpoint gets; None if it is off already
    retrying: dict[str, list[str]] = {}
    for endpoint_id, before in recorded.endpoints.items():
        made = [attempt for attempt in ours if attempt.claim.endpoint.id == endpoint_id]
        becomes = _judge(context, before, made)
        retrying[endpoint_id] = [one.claim.delivery.id for one in made if isinstance(one.decision.step, Retry)]
        if becomes is not None or (retrying[endpoint_id] and before.state != EndpointState.ACTIVE):
            closing[endpoint_id] = becomes
    dead_lettered: Mapping[str, DeadLetterReason] = {}
    if closing:
        try:
            dead_lettered = await _close_endpoints(context, closing, retrying)
        except Unavailable as error:  # the next failure of each closes it
            _log.warning("endpoint_disable_failed", endpoints=list(closing), error=str(error))
    _log_attempts(context, ours, dead_lettered)
    await advance_if_possible(context, {one.claim.endpoint.id for one in finished if one.claim.endpoint.ordered})


def _judge(context: Context, before: EndpointBefore, made: Sequence[FinishedAttempt]) -> EndpointState | None:
    """The state that the endpoint gets by these attempts; None if it keeps its own.

    Alert endpoints are not disabled for failing: no one would learn that alerts are lost from then on.
    """
    tally = context.auto_disable.tally(
        before.consecutive_failures,
        [EndedAttempt(attempt.decision.health, attempt.ended_at) for attempt in made],
        first_failure_at=before.first_failure_at,
    )
    is_alert = any(attempt.claim.endpoint.organization_id == OPERATORS for attempt in made)
    return None if is_alert and tally.becomes is EndpointState.DISABLED else tally.becomes


async def _close_endpoints(
    context: Context, closing: Mapping[str, EndpointState | None], retrying: Mapping[str, list[str]]
) -> Mapping[str, DeadLetterReason]:
    """Disable endpoints, and dead-letter the deliveries that were to be attempted again: the reasons by their ids.

    Other deliveries that wait for them are dead-lettered by `drain_inactive_endpoints`.
    """
    now = context.clock.now()
    async with context.database.write() as tx:
        rows = await endpoints.find_many(tx, closing, lock=True)
        for endpoint_id, endpoint in rows.items():
            becomes = closing[endpoint_id]
            if becomes is not None:
                await _disable(tx, endpoint, becomes, now)
        await tx.flush()
        off = {key: EndpointState(row.state) for key, row in rows.items() if row.state != EndpointState.ACTIVE}
        batch = await deliveries.lock_waiting(tx, [one for endpoint_id in off for one in retrying[endpoint_id]])
        letters = await dead_letter_open_deliveries(tx, batch, off, now=now)
    count_drained(context, letters)
    return {letter.delivery_id: letter.reason for letter in letters}


async def _disable(tx: Transaction, endpoint: Endpoint, becomes: EndpointState, now: datetime) -> None:
    """Switch the endpoint off, unless it changed meanwhile to a state from which this does not lead on."""
    is_gone = becomes is EndpointState.GONE
    trigger = ANSWER_GONE if is_gone else AUTO_DISABLE
    if not trigger.allows(endpoint.state):
        return
    before = str(endpoint.state)
    move_endpoint(endpoint, trigger, StateChangeReason.GONE if is_gone else StateChangeReason.FAILURES)
    endpoint.disabled_at = now
    endpoint.unhealthy_since = endpoint.unhealthy_since or endpoint.first_failure_at or now
    write_audit(
        tx,
        WORKER,
        "endpoint.disable",
        target=("endpoint", endpoint.id),
        now=now,
        organization_id=endpoint.organization_id,
        before={"state": before},
        after={"state": str(endpoint.state), "consecutive_failures": endpoint.consecutive_failures},
    )
    reason = StateChangeReason.GONE if is_gone else StateChangeReason.FAILURES
    await operational_events.add(
        tx,
        NewOperationalEvent(
            OperationalEventType.ENDPOINT_DISABLED,
            now,
            endpoint.organization_id,
            endpoint.id,
            facts={"reason": str(reason), "consecutive_failures": endpoint.consecutive_failures, "actor": WORKER.name},
        ),
    )


def _to_record(attempt: FinishedAttempt) -> AttemptRecord:
    claimed, step = attempt.claim, attempt.decision.step
    states = {
        Delivered: DeliveryState.DELIVERED,
        Retry: DeliveryState.PENDING,
        DeadLettered: DeliveryState.DEAD,
    }
    is_ours = attempt.result.kind is ResultKind.OURS
    return AttemptRecord(
        delivery_id=claimed.delivery.id,
        lease_token=claimed.lease_token,
        state=states[type(step)],
        due_at=step.at if isinstance(step, Retry) else None,
        counted=attempt.decision.counted,
        number=claimed.attempt_number,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        duration_ms=attempt.duration_ms,
        outcome=attempt.result.name,
        response_status=attempt.status,
        error=attempt.error,
        blocked_since=(claimed.delivery.blocked_since or attempt.started_at) if is_ours else None,
        health=attempt.decision.health,
        exchange=_exchange(attempt) if attempt.decision.counted and not isinstance(step, Delivered) else None,
        may_be_noted=not (isinstance(step, Delivered) and claimed.endpoint.unhealthy_since is None),
        is_replay=claimed.delivery.replay_id is not None,
        dead_letter=NewDeadLetter(new_id(), step.reason, claimed.event.type, claimed.endpoint.url)
        if isinstance(step, DeadLettered)
        else None,
    )


def _exchange(attempt: FinishedAttempt) -> Exchange:
    request, response = attempt.request, attempt.response
    if request is not None and response is not None:
        response = request.credentials.redact_response(response)
    return Exchange(
        url=attempt.claim.endpoint.url,
        request_headers=request.shown_headers if request else [],
        response_headers=list(response.headers) if response else None,
        response_body=response.body if response else None,
        response_truncated=response.truncated if response else False,
    )


def _count_attempts(attempts: Sequence[FinishedAttempt]) -> None:
    """Count committed attempts, and what they came to; each counter is increased once for all of them."""
    for outcome, number in Counter([attempt.result.name for attempt in attempts]).items():
        ATTEMPTS.labels(outcome).inc(number)
    delivered = retries = 0
    for attempt in attempts:
        ATTEMPT_SECONDS.observe(attempt.duration_ms / 1000)
        delivery, step = attempt.claim.delivery, attempt.decision.step
        if isinstance(step, Delivered):
            delivered += 1
            if delivery.replay_id is None:
                DELIVERY_LATENCY.observe(max(0.0, attempt.ended_at.timestamp() - created_at(delivery.id)))
        elif isinstance(step, DeadLettered):
            count_dead_letters([step.reason])
        elif attempt.decision.counted:
            retries += 1
    _DELIVERED.inc(delivered)
    _AUTOMATIC_RETRIES.inc(retries)


def _log_attempts(
    context: Context, attempts: Sequence[FinishedAttempt], dead_lettered: Mapping[str, DeadLetterReason]
) -> None:
    """Write one wide line for each attempt that the setting LOG_ATTEMPTS asks for.

    `dead_lettered`: deliveries that became dead letters with their endpoint instead of being attempted again.
    """
    of_failed, of_successful = context.settings.log_attempts_share
    for attempt in attempts:
        is_delivered = isinstance(attempt.decision.step, Delivered)
        share = of_successful if is_delivered else of_failed
        if share == 0 or (share < 1 and context.random_source() >= share):
            continue
        if is_delivered:
            _log.info("attempt_succeeded", **_described(attempt))
        else:
            _log.info("attempt_failed", **_described(attempt), **_outlook(attempt, dead_lettered))


def _described(attempt: FinishedAttempt) -> dict[str, Any]:
    claimed = attempt.claim
    return {
        "delivery": claimed.delivery.id,
        "event_id": claimed.event.id,
        "event_type": claimed.event.type,
        "request_id": claimed.event.request_id,
        "endpoint": claimed.endpoint.id,
        "organization": claimed.delivery.organization_id,
        "replay": claimed.delivery.replay_id,
        "attempt": claimed.attempt_number,
        "outcome": attempt.result.name,
        "status": attempt.status,
        "milliseconds": attempt.duration_ms,
    }


def _outlook(attempt: FinishedAttempt, dead_lettered: Mapping[str, DeadLetterReason]) -> dict[str, Any]:
    step = attempt.decision.step
    dead = step.reason if isinstance(step, DeadLettered) else dead_lettered.get(attempt.claim.delivery.id)
    return {
        "because": attempt.result.detail,
        "next_attempt_at": step.at.isoformat() if isinstance(step, Retry) and dead is None else None,
        "dead": dead,
    }
