"""Deliveries whose transform failed: dead letters as soon as their event is accepted, transformed again by a replay."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sendoff.ids import new_id
from sendoff.policy.endpoints.expressions import Evaluated, Expressions
from sendoff.policy.states import DeadLetterReason
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import dead_letters, deliveries, delivery_history
from sendoff.store.queries.traffic.dead_letters import Drain, InsertedLetter
from sendoff.store.queries.traffic.deliveries import NewData

if TYPE_CHECKING:
    from sendoff.publishing.evaluation import LateEvaluations
    from sendoff.store.engine.database import Transaction


@dataclass(frozen=True, slots=True)
class Untransformed:
    """A delivery whose transform failed, and why."""

    delivery_id: str
    error: str
    reason: DeadLetterReason = DeadLetterReason.TRANSFORM_FAILED
    """That of its dead letter, which metrics and statistics count."""


async def dead_letter_untransformed(
    tx: Transaction, failed: Sequence[Untransformed], *, now: datetime
) -> list[InsertedLetter]:
    """Write the dead letters of deliveries that this transaction has inserted as dead; they count when it commits."""
    if not failed:
        return []
    await deliveries.note_errors(tx, {one.delivery_id: transform_failure(one.error) for one in failed})
    letters = [Drain(new_id(), one.delivery_id, one.reason) for one in failed]
    return await dead_letters.insert_for(tx, letters, now=now)


async def look_up_transforms(
    tx: Transaction, delivery_ids: Sequence[str], evaluations: LateEvaluations
) -> dict[str, Evaluated | None]:
    """What the transforms, as they are now, give for those dead deliveries whose transform failed, by their ids.

    None, for now, for those that are to be evaluated first.
    """
    untransformed = await dead_letters.find_untransformed(tx, delivery_ids) if delivery_ids else []
    if not untransformed:
        return {}
    again = await delivery_history.find_many(tx, untransformed)
    of_endpoints = await endpoints.find_many(tx, {one.endpoint_id for one in again})
    pairs = {key: Expressions(transform=endpoint.transform) for key, endpoint in of_endpoints.items()}
    return {one.id: evaluations.look_up(one.organization_id, one.event_id, pairs[one.endpoint_id]) for one in again}


@dataclass(frozen=True, slots=True)
class TransformedAgain:
    """Which of the deliveries whose transform had failed cannot be sent now."""

    failed: Mapping[str, str]
    """Why the transform failed again, by their ids: they stay dead, with this error."""
    unevaluated: Collection[str]
    """Those whose transform is to be evaluated first."""


async def transform_again(
    tx: Transaction, delivery_ids: Sequence[str], evaluations: LateEvaluations
) -> TransformedAgain:
    """Give those dead deliveries whose transform failed what it gives now, if it has been evaluated."""
    results = await look_up_transforms(tx, delivery_ids, evaluations)
    made: list[NewData] = []
    failed: dict[str, str] = {}
    for delivery_id, result in results.items():
        if result is None:
            continue
        if result.error is None:
            made.append(NewData(delivery_id, result.data))
        else:
            failed[delivery_id] = transform_failure(result.error)
    if made:
        await deliveries.keep_data(tx, made)
    if failed:
        await deliveries.note_errors(tx, failed)
    return TransformedAgain(failed, {one for one, result in results.items() if result is None})


def transform_failure(error: str) -> str:
    """The sentence about a transform that failed."""
    return f"The endpoint's transform failed: {error}."
