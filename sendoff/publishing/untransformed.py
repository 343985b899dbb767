"""Deliveries whose transform failed: dead letters as soon as their event is accepted, transformed again by a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sendoff.ids import new_id
from sendoff.policy.endpoints.expressions import Expressions
from sendoff.policy.states import DeadLetterReason
from sendoff.publishing.evaluation import evaluate_event, input_of
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import dead_letters, deliveries, delivery_history, events
from sendoff.store.queries.traffic.dead_letters import Drain
from sendoff.store.queries.traffic.deliveries import NewData

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.engine.database import Transaction


@dataclass(frozen=True, slots=True)
class Untransformed:
    """A delivery whose transform failed, and why."""

    delivery_id: str
    error: str
    reason: DeadLetterReason = DeadLetterReason.TRANSFORM_FAILED
    """That of its dead letter, which metrics and statistics count."""


async def dead_letter_untransformed(tx: Transaction, failed: Sequence[Untransformed], *, now: datetime) -> None:
    """Write the dead letters of deliveries that this transaction has inserted as dead."""
    if failed:
        await deliveries.note_errors(tx, {one.delivery_id: transform_failure(one.error) for one in failed})
        letters = [Drain(new_id(), one.delivery_id, one.reason) for one in failed]
        await dead_letters.insert_for(tx, letters, now=now)


async def transform_again(tx: Transaction, context: Context, delivery_ids: Sequence[str]) -> set[str]:
    """Evaluate the transforms, as they are now, of those dead deliveries whose transform failed; keep what they give.

    Returns the ids of those whose transform fails again: they stay dead, with the new error.
    """
    untransformed = await dead_letters.find_untransformed(tx, delivery_ids)
    if not untransformed:
        return set()
    again = await delivery_history.find_many(tx, untransformed)
    of_events = await events.find_many(tx, {one.event_id for one in again})
    of_endpoints = await endpoints.find_many(tx, {one.endpoint_id for one in again})
    made: list[NewData] = []
    errors: dict[str, str] = {}
    for delivery in again:
        source = input_of(of_events[delivery.event_id])
        pair = Expressions(transform=of_endpoints[delivery.endpoint_id].transform)
        result = (await evaluate_event(context, delivery.organization_id, source, [pair]))[pair]
        if result.error is None:
            made.append(NewData(delivery.id, result.data))
        else:
            errors[delivery.id] = transform_failure(result.error)
    await deliveries.keep_data(tx, made)
    await deliveries.note_errors(tx, errors)
    return set(errors)


def transform_failure(error: str) -> str:
    """The sentence about a transform that failed."""
    return f"The endpoint's transform failed: {error}."
