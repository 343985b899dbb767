"""What a replay would send, before it does: how many to which endpoint, some of them, and how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sendoff.context import Context
from sendoff.policy.states import DeadLetterState
from sendoff.store.queries import dead_letters
from sendoff.store.queries.dead_letters import DeadLetterFilter
from sendoff.store.tables import DeadLetter

COUNTED_AT_MOST = 20_000
"""Dead letters that a preview counts, about fifty milliseconds of the database. More are there if it says as many."""

_SAMPLE = 10


@dataclass(frozen=True, slots=True)
class EndpointShare:
    """How many of the chosen dead letters are of one endpoint."""

    endpoint_id: str
    endpoint_url: str
    count: int


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """What a filter means now."""

    endpoints: Sequence[EndpointShare]
    sample: Sequence[DeadLetter]
    """The newest ones."""

    @property
    def count(self) -> int:
        return sum(share.count for share in self.endpoints)

    @property
    def is_capped(self) -> bool:
        """Whether there may be more than were counted."""
        return self.count >= COUNTED_AT_MOST


async def preview_replay(context: Context, chosen: DeadLetterFilter) -> ReplayPreview:
    """What a replay of this filter would send. Without a `state` the open dead letters are meant, as in the replay."""
    chosen = replace(chosen, state=chosen.state or DeadLetterState.OPEN)
    async with context.database.read() as tx:
        shares = await dead_letters.count_chosen_by_endpoint(tx, chosen, limit=COUNTED_AT_MOST)
        sample = await dead_letters.page(tx, chosen, limit=_SAMPLE)
    return ReplayPreview([EndpointShare(*share) for share in shares], sample)
