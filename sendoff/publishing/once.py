"""Publish events that each have an idempotency key of their own, several in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sendoff.context import Context
from sendoff.idempotency import IdempotentRequest, StoredResponse, complete_each, fingerprint, reserve_each
from sendoff.publishing.publish import (
    AcceptedEvent,
    NewEvent,
    Publication,
    add_publication,
    answered_by,
    enqueue_accepted,
    evaluate_if_large,
    find_refusal,
)
from sendoff.publishing.turns import PublishTurns
from sendoff.store.engine.database import ANSWER_SECONDS

_ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class KeyedEvent:
    """An event to publish once for its key, whatever else differs."""

    event: NewEvent
    key: str


async def publish_each_once(
    context: Context,
    organization_id: str,
    keyed: Sequence[KeyedEvent],
    *,
    answer: Callable[[AcceptedEvent], bytes],
    request_id: str | None = None,
    in_batch: bool = False,
    within: float = ANSWER_SECONDS,
) -> list[StoredResponse]:
    """Commit the events whose keys are new, all or none. Returns the answer to each, in their order.

    An event whose key was published before, or comes earlier among these, gets that answer, marked as replayed.
    Raises what `publish` raises.
    """
    keys = dict.fromkeys(one.key for one in keyed)
    requests = {key: IdempotentRequest(organization_id, key, fingerprint(key.encode())) for key in keys}
    only = next(iter(requests.values())) if len(requests) == 1 else None
    async with (
        answered_by(asyncio.get_running_loop().time() + within) as status,
        context.service(PublishTurns.of).taken(organization_id, only),
    ):
        refusal = await find_refusal(context, organization_id, [one.event for one in keyed], in_batch=in_batch)
        publication = Publication.of(organization_id, [one.event for one in keyed], request_id)
        if refusal is None:
            await evaluate_if_large(context, publication)
        async with context.database.write() as tx:
            known = await reserve_each(tx, context, requests.values())
            new = {one.key: place for place, one in reversed([*enumerate(keyed)]) if one.key not in known}
            if new and refusal is not None:
                raise refusal
            accepted = await add_publication(tx, context, _part(publication, sorted(new.values()))) if new else []
            made = {keyed[place].key: answer(one) for place, one in zip(sorted(new.values()), accepted, strict=True)}
            await complete_each(tx, context, {requests[key]: body for key, body in made.items()}, status=_ACCEPTED)
            status.may_be_committed = True
    enqueue_accepted(context, accepted)
    return [
        known[one.key] if one.key in known else StoredResponse(_ACCEPTED, made[one.key], replayed=new[one.key] != place)
        for place, one in enumerate(keyed)
    ]


def _part(publication: Publication, places: Sequence[int]) -> Publication:
    """The publication of those of its events alone, with the ids and evaluations that they have."""
    return replace(
        publication,
        events=[publication.events[place] for place in places],
        ids=[publication.ids[place] for place in places],
    )
