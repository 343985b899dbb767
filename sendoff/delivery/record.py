"""Record: finished attempts are written in groups; then endpoints that failed too often are disabled.

Three transactions: the attempts; the endpoints to switch off, if any; the lines to advance, if any. On PostgreSQL the
first is one statement, and a second one if a lease in a group of successes was lost. Should the process die between
them, the endpoint's next failure disables it, deliveries for an endpoint that is off become dead letters when they are
claimed, and a sweep advances the lines.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate, chain, repeat

import structlog

from sendoff.context import Context
from sendoff.delivery.pipeline import FinishedAttempt
from sendoff.endpoint_health.closing import RecordedAttempts, close_failing_endpoints
from sendoff.errors import Unavailable
from sendoff.ids import new_id
from sendoff.observability.attempts import count_attempts, log_attempts
from sendoff.observability.metrics import LEASES_LOST
from sendoff.policy.delivery.attempt_result import ResultKind
from sendoff.policy.delivery.auto_disable import EndedAttempt
from sendoff.policy.delivery.retry import DeadLettered, Retry
from sendoff.policy.operational_events import OPERATORS
from sendoff.policy.states import DeliveryState
from sendoff.recovery.ordering import advance
from sendoff.store.hot.rows import AttemptRecord, EndpointBefore, Exchange, NewDeadLetter

_log = structlog.get_logger(__name__)

SUCCESSES_AT_MOST = 500
"""Successes in one transaction. More gain nothing and hold the locks longer."""

OTHERS_AT_MOST = 20
"""Failed attempts, and successes that wait for such, in one transaction. Each needs more work, and hundreds would block
the event loop."""

RECORD_BYTES_AT_MOST = 1_000_000
"""Bytes of receivers' answers in one transaction. Each byte is in memory several times while it is written."""

GATHER_SECONDS, GATHER_FEW_SECONDS = 0.02, 0.05
"""Seconds between rounds, and after a round of at most FEW: attempts that finish meanwhile share the next one. Longer,
and slots are freed later, and a process that is killed has more that is sent again."""

FEW = 20
"""Attempts in a round after which the longer pause follows."""

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0)
"""Seconds before each further try to record a group; the last wait repeats."""


class Recorder:
    """Takes finished attempts and calls `on_recorded` with each group once it is committed (or cannot ever be).

    Successes, which are cheap, go first; of all other attempts, a few are recorded in each round. An endpoint's
    attempts are recorded in the order they finished, which its health depends on: a success waits for the failures of
    its endpoint that finished before it.
    """

    def __init__(self, context: Context, on_recorded: Callable[[Sequence[FinishedAttempt]], None]) -> None:
        self._context = context
        self._on_recorded = on_recorded
        self._successes: list[FinishedAttempt] = []
        self._others: list[FinishedAttempt] = []
        self._endpoints_of_others: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    def add(self, attempt: FinishedAttempt) -> None:
        """Record the attempt soon, together with others that finish meanwhile."""
        endpoint_id = attempt.claim.endpoint.id
        if attempt.is_success and endpoint_id not in self._endpoints_of_others:
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
            successes, self._successes = self._successes[:SUCCESSES_AT_MOST], self._successes[SUCCESSES_AT_MOST:]
            for group in (successes, self._next_others()):
                if group:
                    await self._write(group)
                    self._on_recorded(group)
                    count += len(group)
            if not self._closing and len(self._successes) < SUCCESSES_AT_MOST:
                await asyncio.sleep(GATHER_FEW_SECONDS if count <= FEW else GATHER_SECONDS)

    def _next_others(self) -> list[FinishedAttempt]:
        weights = accumulate(attempt.weight for attempt in self._others[:OTHERS_AT_MOST])
        count = max(1, sum(weight <= RECORD_BYTES_AT_MOST for weight in weights))
        group, self._others = self._others[:count], self._others[count:]
        self._endpoints_of_others -= Counter(attempt.claim.endpoint.id for attempt in group)
        return group

    async def _write(self, batch: Sequence[FinishedAttempt]) -> None:
        """Record the attempts, however long the database is away; leave out what it does not take."""
        waits = chain(RETRY_SECONDS, repeat(RETRY_SECONDS[-1]))
        while True:
            try:
                return await record(self._context, batch)
            except Unavailable as error:
                wait = next(waits)
                _log.warning("record_delayed", attempts=len(batch), error=str(error), retry_in=wait)
                await asyncio.sleep(wait)
            except Exception:
                _log.exception("record_failed", attempts=len(batch))
                if len(batch) > 1:  # one row that cannot be written must not take the others with it
                    for attempt in batch:
                        await self._write([attempt])
                return None


async def record(context: Context, finished: Sequence[FinishedAttempt]) -> None:
    """Record what attempts came to, with everything that follows for their endpoints.

    An attempt whose lease was lost changes nothing: another worker owns its delivery. Raises errors.Unavailable when
    the database cannot be reached; then nothing is written, and the caller tries again. Once they are written it raises
    nothing: a second try would find their leases ended, and count them as lost.
    """
    in_order = sorted(finished, key=lambda attempt: attempt.ended_at)
    written = await context.hot.record(
        [_to_record(attempt) for attempt in in_order],
        now=context.clock.now(),
        failing_at=context.auto_disable.warns_at,
    )
    written_attempts = [one for one in in_order if (one.claim.delivery.id, one.claim.lease_token) in written.claims]
    if lost := len(finished) - len(written_attempts):
        LEASES_LOST.inc(lost)
        _log.warning("lease_lost", deliveries=lost)
    try:
        count_attempts(context, written_attempts)
        by_endpoint = {one: _of_endpoint(one, before, written_attempts) for one, before in written.endpoints.items()}
        dead_lettered = await close_failing_endpoints(context, by_endpoint)
        log_attempts(context, written_attempts, dead_lettered)
        await advance(context, {one.claim.endpoint.id for one in finished if one.claim.endpoint.ordered})
    except Exception:
        _log.exception("record_incomplete", attempts=len(written_attempts))


def _of_endpoint(endpoint_id: str, before: EndpointBefore, attempts: Sequence[FinishedAttempt]) -> RecordedAttempts:
    made = [attempt for attempt in attempts if attempt.claim.endpoint.id == endpoint_id]
    return RecordedAttempts(
        before,
        [EndedAttempt(attempt.decision.health, attempt.ended_at) for attempt in made],
        retrying=[attempt.claim.delivery.id for attempt in made if attempt.becomes is DeliveryState.PENDING],
        is_alert=any(attempt.claim.endpoint.organization_id == OPERATORS for attempt in made),
    )


def _to_record(attempt: FinishedAttempt) -> AttemptRecord:
    claimed, step = attempt.claim, attempt.decision.step
    is_local = attempt.result.kind is ResultKind.LOCAL
    return AttemptRecord(
        delivery_id=claimed.delivery.id,
        lease_token=claimed.lease_token,
        state=attempt.becomes,
        due_at=step.at if isinstance(step, Retry) else None,
        counted=attempt.decision.counted,
        number=claimed.attempt_number,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        duration_ms=attempt.duration_ms,
        outcome=attempt.result.name,
        response_status=attempt.status,
        error=attempt.error,
        blocked_since=(claimed.delivery.blocked_since or attempt.started_at) if is_local else None,
        health=attempt.decision.health,
        exchange=_exchange(attempt) if attempt.decision.counted and not attempt.is_success else None,
        may_raise_event=not attempt.is_success or claimed.endpoint.unhealthy_since is not None,
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
