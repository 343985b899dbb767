"""Operators' actions on deliveries, dead letters and endpoints of any organization; each is audited."""

from __future__ import annotations

from sendoff.audit import Actor, write_audit
from sendoff.context import Context
from sendoff.endpoint_health.draining import drain_endpoint
from sendoff.endpoints.fields import HIGHEST_RATE, audit_snapshot
from sendoff.endpoints.state import disable_by_operator, enable_by_operator, record_change
from sendoff.errors import Conflict, Invalid, NotFound
from sendoff.ids import is_uuid
from sendoff.observability.metrics import RETRIES
from sendoff.operators.queries import DeliveryReport, find_dead_letter, find_delivery, report_on
from sendoff.operators.replays.replay import Selection, check_meant, describe_filter, start_replay
from sendoff.policy.states import DISCARD, DeadLetterState, DeliveryState, EndpointState
from sendoff.publishing.evaluation import LateEvaluations
from sendoff.publishing.untransformed import look_up_transforms, transform_again
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import dead_letters, deliveries
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import DeadLetter, Delivery, Endpoint

_AGAIN = 'repeat the request with the body `{"again": true}`'


async def retry_delivery(
    context: Context, actor: Actor, delivery_id: str, *, organization_id: str | None = None
) -> DeliveryReport:
    """Attempt a delivery, of any organization or of this one, now instead of at its next scheduled time.

    If it fails, the schedule continues. A dead one becomes pending again. Raises NotFound; Conflict when it is
    delivered, is being sent at this moment, its dead letter was discarded, its transform fails again, or its endpoint
    is not active.
    """
    now = context.clock.now()
    evaluations = await _evaluate_transform(context, delivery_id, organization_id)
    async with context.database.write() as tx:
        delivery = await find_delivery(tx, delivery_id, organization_id=organization_id)
        await _check_retry(tx, delivery, again=_AGAIN if organization_id else "replay it by its id")
        if delivery.state == DeliveryState.DEAD:
            again = await transform_again(tx, [delivery.id], evaluations)
            if again.failed:
                raise Conflict(f"{again.failed[delivery.id]} Change the transform, then try again.")
            if again.unevaluated:
                raise Conflict("The endpoint's transform was changed at this moment; try again.")
            started = bool(await deliveries.reopen(tx, {delivery.id: now}, replay_id=None, now=now))
            await dead_letters.mark_replayed(tx, [delivery.id], now=now)
        else:
            started = await deliveries.make_due_now(tx, delivery.id, now=now)
        if not started:
            raise Conflict("This delivery is being sent at this moment; wait for the result of the attempt.")
        write_audit(
            tx,
            actor,
            "delivery.retry",
            target=("delivery", delivery.id),
            now=now,
            organization_id=delivery.organization_id,
            before={"state": str(delivery.state), "attempt_count": delivery.attempt_count},
        )
        await tx.refresh(delivery)
        report = await report_on(tx, context.dialects, delivery)
    RETRIES.labels("manual").inc()
    context.queue.enqueue_deliveries([delivery_id], endpoint_ids={delivery_id: delivery.endpoint_id})
    return report


async def _evaluate_transform(context: Context, delivery_id: str, organization_id: str | None) -> LateEvaluations:
    """Evaluate the endpoint's transform if the delivery died of it, before the transaction, which would keep its locks.

    Raises NotFound, and Unavailable when too much of the organization's work waits for the sandbox.
    """
    evaluations = LateEvaluations()
    async with context.database.read() as tx:
        delivery = await find_delivery(tx, delivery_id, organization_id=organization_id)
        if delivery.state == DeliveryState.DEAD:
            await look_up_transforms(tx, [delivery.id], evaluations)
    await evaluations.evaluate_not_found(context, seconds=0)
    return evaluations


async def send_again(context: Context, actor: Actor, delivery_id: str, *, organization_id: str) -> DeliveryReport:
    """Retry a delivery of the organization; one that was delivered is sent once more, by a replay of it alone.

    Raises as `retry_delivery` does, but not for what was delivered.
    """
    async with context.database.read() as tx:
        delivery = await find_delivery(tx, delivery_id, organization_id=organization_id)
        if delivery.state == DeliveryState.DELIVERED:
            await _check_active(tx, delivery)
            report = await report_on(tx, context.dialects, delivery)
    if delivery.state != DeliveryState.DELIVERED:
        return await retry_delivery(context, actor, delivery_id, organization_id=organization_id)
    alone = Selection(DeadLetterFilter(), delivery_ids=(delivery_id,))
    await start_replay(context, actor, alone, organization_id=organization_id)
    return report


async def discard_dead_letter(context: Context, actor: Actor, dead_letter_id: str) -> DeadLetter:
    """Take it off the open list; it is kept for the record. Raises NotFound, Conflict unless it is open."""
    async with context.database.write() as tx:
        letter = await find_dead_letter(tx, dead_letter_id, lock=True)
        if letter.state != DeadLetterState.OPEN:
            raise Conflict(f"This dead letter is already {letter.state}; only open ones can be discarded.")
        before = {"state": str(letter.state)}
        letter.state = DISCARD.target(letter.state)
        write_audit(
            tx,
            actor,
            "dead_letter.discard",
            target=("dead_letter", letter.id),
            now=context.clock.now(),
            organization_id=letter.organization_id,
            before=before,
            after={"state": str(letter.state)},
        )
    return letter


async def discard_dead_letters(context: Context, actor: Actor, chosen: DeadLetterFilter, *, everything: bool) -> int:
    """Take all open dead letters that the filter matches off the list, and return their number.

    Raises Invalid for an empty filter unless `everything` is meant, and for a state that is not open.
    """
    check_meant(chosen, everything=everything, what="discard")
    if chosen.state not in (None, DeadLetterState.OPEN):
        raise Invalid("`filter.state` must be open: other dead letters are not on the list.", field="filter.state")
    async with context.database.write() as tx:
        discarded = await dead_letters.discard(tx, chosen)
        write_audit(
            tx,
            actor,
            "dead_letters.discard",
            target=("dead_letters", "open"),
            now=context.clock.now(),
            organization_id=chosen.organization_id,
            after={"filter": describe_filter(chosen), "discarded": discarded},
        )
    return discarded


async def switch_endpoint(context: Context, actor: Actor, endpoint_id: str, *, on: bool) -> Endpoint:
    """Enable an endpoint, its failures forgotten, or disable it until an operator enables it.

    Raises NotFound; Conflict when its receiver answered 410.
    """
    async with context.database.write() as tx:
        endpoint = await _find_endpoint(tx, endpoint_id)
        before = audit_snapshot(endpoint)
        (enable_by_operator if on else disable_by_operator)(endpoint, context.clock.now())
        await record_change(tx, actor, "endpoint.enable" if on else "endpoint.disable", endpoint, before=before)
    if not on:
        await drain_endpoint(context, endpoint.id)
    return endpoint


async def limit_endpoint(context: Context, actor: Actor, endpoint_id: str, *, rate_limit: int | None) -> Endpoint:
    """Send at most `rate_limit` deliveries per second to an endpoint, even if its owner allows more; None lifts it.

    Raises NotFound, Invalid.
    """
    if rate_limit is not None and not 1 <= rate_limit <= HIGHEST_RATE:
        raise Invalid(
            f"`rate_limit` is {rate_limit}; give deliveries per second from 1 to {HIGHEST_RATE}, or null for no limit.",
            field="rate_limit",
        )
    async with context.database.write() as tx:
        endpoint = await _find_endpoint(tx, endpoint_id)
        before = audit_snapshot(endpoint)
        endpoint.operator_rate_limit = rate_limit
        endpoint.updated_at = context.clock.now()
        await record_change(tx, actor, "endpoint.update", endpoint, before=before)
    return endpoint


async def _check_retry(tx: Transaction, delivery: Delivery, *, again: str) -> None:
    if delivery.state == DeliveryState.DELIVERED:
        raise Conflict(f"This delivery was delivered; to send it once more, {again}.")
    if await dead_letters.find_discarded(tx, [delivery.id]):
        raise Conflict("This delivery's dead letter was discarded; publish the event again to send it.")
    await _check_active(tx, delivery)


async def _check_active(tx: Transaction, delivery: Delivery) -> None:
    endpoint = await endpoints.find(tx, delivery.endpoint_id)
    if endpoint is None or endpoint.state != EndpointState.ACTIVE:
        raise Conflict("The delivery's endpoint is not active; enable it first.")


async def _find_endpoint(tx: Transaction, endpoint_id: str) -> Endpoint:
    """Locked until the transaction ends."""
    found = await endpoints.find(tx, endpoint_id, lock=True) if is_uuid(endpoint_id) else None
    if found is None or found.state == EndpointState.DELETED:
        raise NotFound("There is no such endpoint.")
    return found
