"""The steps of a delivery: claim, prepare, exchange, classify; `record.py` has the fifth, record.

Failures are handled by where they happen. Local ones (a name server or this host failed) are recorded without counting
an attempt, and the delivery is scheduled again soon. The receiver's, its URL included, are counted, and it is scheduled
again by its schedule. While the database cannot be reached, recording is tried again for as long as it takes, and the
request is not sent a second time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from sendoff.authorization.requests import SignedRequest, open_credentials, open_secrets, send_signed, sign_request
from sendoff.context import Context
from sendoff.delivery.claims import Claim, Claims
from sendoff.delivery.endpoint_bounds import hold_to_bounds
from sendoff.dialects.base import EventData
from sendoff.endpoint_health.draining import dead_letter_claimed
from sendoff.errors import SendoffError, UnsafeUrl
from sendoff.ids import new_id
from sendoff.observability.attempts import end_attempt_span
from sendoff.observability.metrics import LEASE_TAKEOVERS
from sendoff.observability.tracing import trace_headers
from sendoff.policy.delivery.admission import UNLIMITED, Quotas
from sendoff.policy.delivery.attempt_result import (
    NOT_PREPARED,
    REJECTED_ADDRESS,
    AttemptResult,
    classify_error,
    classify_response,
)
from sendoff.policy.delivery.decision import Decision, Delivered, decide
from sendoff.policy.delivery.retry import DeadLettered, Retry
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.recovery.ordering import enter_line
from sendoff.recovery.unanswered_claims import UnansweredClaims
from sendoff.store.hot.rows import ClaimedRow, ClaimResult
from sendoff.store.queries.endpoints import Destination
from sendoff.store.queries.traffic import deliveries
from sendoff.wire.errors import WireError
from sendoff.wire.http.message import Response

_log = structlog.get_logger(__name__)

LONGEST_ERROR = 500
"""Characters kept of why an attempt failed."""


_STATES = {Delivered: DeliveryState.DELIVERED, Retry: DeliveryState.PENDING, DeadLettered: DeliveryState.DEAD}


class _LeaseEnded(SendoffError):
    """The lease ended before the request was sent."""


@dataclass(slots=True)
class FinishedAttempt:
    """An attempt that was made and classified, but is not recorded yet."""

    claim: Claim
    started_at: datetime
    ended_at: datetime
    duration_ms: int
    status: int | None
    """The status that the receiver answered with; None without an answer."""
    result: AttemptResult
    decision: Decision
    request: SignedRequest | None = None
    response: Response | None = None
    """Kept with `request` for a failed delivery; both are None for a delivered one."""

    @property
    def becomes(self) -> DeliveryState:
        """The delivery's new state."""
        return _STATES[type(self.decision.step)]

    @property
    def is_success(self) -> bool:
        """Whether the receiver acknowledged it."""
        return isinstance(self.decision.step, Delivered)

    @property
    def frees_at_once(self) -> bool:
        """Whether its endpoint may start another before this one is recorded.

        A failed attempt keeps its capacity until then: else hundreds that time out at once would be followed by
        hundreds more. So does one of an endpoint with a cap of its own, which the database counts.
        """
        return self.is_success and self.claim.endpoint.max_in_flight is None

    @property
    def error(self) -> str | None:
        """Why it failed, as it is kept; None if it did not."""
        if self.is_success:
            return None
        return self.result.detail.replace("\x00", "")[:LONGEST_ERROR]

    @property
    def weight(self) -> int:
        """Roughly the bytes of memory needed to record it: a receiver's answer may be large."""
        if self.response is None:
            return 0
        return len(self.response.body) + sum(len(name) + len(value) + 100 for name, value in self.response.headers)


async def claim(context: Context, delivery_ids: Sequence[str], *, quotas: Quotas = UNLIMITED) -> Claims:
    """Claim those of the deliveries that are due; those beyond their endpoint's quota become held instead.

    Deliveries for endpoints that are not active are dead-lettered here, whatever brought them this far.
    """
    claim_due = partial(context.hot.claim_due, delivery_ids, quotas=quotas, now=context.clock.now())
    return await _claim_under_new_lease(context, claim_due)


async def claim_held(context: Context, quotas: Mapping[str, int]) -> Claims:
    """Claim the oldest held deliveries of some endpoints, of each at most its quota."""
    claim_oldest = partial(context.hot.claim_held, quotas, now=context.clock.now())
    return await _claim_under_new_lease(context, claim_oldest)


async def deliver(context: Context, claimed: Claim) -> FinishedAttempt:
    """Make one attempt: prepare, exchange, classify. Raises nothing that the receiver or its address can cause."""
    started_at, started = context.clock.now(), context.clock.monotonic()
    request: SignedRequest | None = None
    response: Response | None = None
    failure: Exception | None = None
    span = None if context.tracer is None else context.tracer.begin("attempt", claimed.trace_context, kind="client")
    try:
        if started_at >= claimed.leased_until:
            # A process that stalled since its claim must not send what another worker may have delivered meanwhile.
            raise _LeaseEnded
        request = prepare(context, claimed, now=started_at)
        trace = claimed.trace_context if span is None else span.trace_context
        if trace is not None:
            request.headers.extend(trace_headers(trace))
        response = await exchange(context, request, claimed.endpoint)
    except (WireError, SendoffError) as error:
        failure = error.with_traceback(None)  # whose frames would hold the exception that holds them
    ended_at = context.clock.now()
    result = classify(response, failure, now=ended_at)
    decision = decide(
        result,
        claimed.attempt_number,
        schedule=claimed.endpoint.retry_schedule or context.schedule,
        now=ended_at,
        random_source=context.random_source,
        replayed=claimed.delivery.replay_id is not None,
        blocked_since=claimed.delivery.blocked_since,
    )
    is_delivered = isinstance(decision.step, Delivered)
    attempt = FinishedAttempt(
        claim=claimed,
        started_at=started_at,
        ended_at=ended_at,
        duration_ms=round((context.clock.monotonic() - started) * 1000),
        status=response.status if response else None,
        result=result,
        decision=decision,
        request=None if is_delivered else request,
        response=None if is_delivered else response,
    )
    if span is not None:
        end_attempt_span(span, attempt)
    return attempt


def prepare(context: Context, claimed: Claim, *, now: datetime) -> SignedRequest:
    """Render the envelope and sign it for this attempt."""
    event, endpoint = claimed.event, claimed.endpoint
    return sign_request(
        context,
        EventData(
            event_id=event.id,
            type=event.type,
            organization_id=event.organization_id,
            occurred_at=event.occurred_at,
            data=event.data.encode(),
        ),
        dialect=endpoint.dialect,
        url=endpoint.url,
        secrets=open_secrets(context.vault, endpoint, now=now),
        credentials=open_credentials(context.vault, endpoint),
        delivery_id=claimed.delivery.id,
        attempt=claimed.attempt_number,
    )


async def exchange(context: Context, request: SignedRequest, endpoint: Destination) -> Response:
    """Send the request for the endpoint's organization, whose lookups take turns with others'. Raises WireError."""
    return await send_signed(context, request, timeout=timeout_of(context, endpoint), owner=endpoint.organization_id)


def timeout_of(context: Context, endpoint: Destination) -> float:
    """Seconds that an attempt may take, a token for it included."""
    own = endpoint.timeout_seconds
    return context.settings.attempt_timeout_seconds if own is None else own


def classify(response: Response | None, failure: Exception | None, *, now: datetime) -> AttemptResult:
    """The result of an attempt, by its response or, without one, by the error that prevented it."""
    if response is not None:
        return classify_response(response.status, response.headers, now)
    if isinstance(failure, UnsafeUrl):
        return classify_error(REJECTED_ADDRESS, str(failure), is_local=False)
    if isinstance(failure, WireError):
        return classify_error(failure.name, str(failure), is_local=failure.is_local)
    return classify_error(NOT_PREPARED, str(failure), is_local=True)


async def release(context: Context, claims: Sequence[Claim], *, held: bool = False) -> None:
    """Release claims unsent: due at once or, if `held`, behind their endpoint's quota; no attempt is counted."""
    by_lease: dict[str, list[str]] = {}
    for claimed in claims:
        by_lease.setdefault(claimed.lease_token, []).append(claimed.delivery.id)
    now = context.clock.now()
    async with context.database.write() as tx:
        for lease_token, ids in by_lease.items():
            await deliveries.release(tx, ids, lease_token=lease_token, now=now, held=held)


async def _claim_under_new_lease(context: Context, claim_some: Callable[..., Awaitable[ClaimResult]]) -> Claims:
    """Claim, and leave out what is not to be sent now: its endpoint is off or at its cap, or others go first."""
    lease_token, began_at = new_id(), context.clock.machine_now()
    until = context.clock.now() + timedelta(seconds=context.settings.lease_seconds)
    with UnansweredClaims.of(context).watched(lease_token, until):
        result = await claim_some(lease_token=lease_token, until=until)
        rows = await _leave_out_unsendable(context, result, lease_token)
        claims = Claims(
            [Claim(row.delivery, lease_token, until, row.event, row.endpoint) for row in rows], result.held_endpoint_ids
        )
        bounded = [claimed for claimed in claims.to_send if _has_own_bounds(context, claimed.endpoint)]
        if bounded:
            released, filled = await hold_to_bounds(context, bounded, lease_token=lease_token)
            to_send = [claimed for claimed in claims.to_send if claimed.delivery.id not in released]
            claims = Claims(to_send, result.held_endpoint_ids | filled)
        for claimed in claims.to_send:
            claimed.trace_context = _note_claim_span(context, claimed, began_at)
        return claims


async def _leave_out_unsendable(context: Context, result: ClaimResult, lease_token: str) -> list[ClaimedRow]:
    """Dead-letter deliveries for endpoints that are off, and put those with no place yet into line; return the rest."""
    if result.taken_over:
        LEASE_TAKEOVERS.inc(result.taken_over)
        _log.warning("deliveries_taken_over", deliveries=result.taken_over)
    active = [row for row in result.rows if row.endpoint.state == EndpointState.ACTIVE]
    if len(active) < len(result.rows):
        closed = [row for row in result.rows if row.endpoint.state != EndpointState.ACTIVE]
        await dead_letter_claimed(context, closed, lease_token)
    unplaced = [row for row in active if _is_unplaced(row)]
    if unplaced:
        await enter_line(context, unplaced, lease_token)
        active = [row for row in active if not _is_unplaced(row)]
    return active


def _is_unplaced(row: ClaimedRow) -> bool:
    """Whether its endpoint became ordered as it was accepted."""
    return row.endpoint.ordered and row.delivery.sequence is None


def _has_own_bounds(context: Context, endpoint: Destination) -> bool:
    outlasts_leases = timeout_of(context, endpoint) > context.settings.attempt_timeout_seconds
    return outlasts_leases or endpoint.max_in_flight is not None


def _note_claim_span(context: Context, claimed: Claim, began_at: datetime) -> str | None:
    """Write the claim's span; return the trace context of the attempt that follows, the event's own without spans.

    The claim `began_at`, on the machine's clock, as spans are.
    """
    if context.tracer is None:
        return claimed.event.traceparent
    attributes = {"sendoff.delivery_id": claimed.delivery.id, "sendoff.endpoint_id": claimed.endpoint.id}
    return context.tracer.note("claim", claimed.event.traceparent, attributes, kind="consumer", since=began_at)
