"""What a replay would send, before it does: how many to which endpoint, and some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sendoff.context import Context
from sendoff.operators.replays.replay import Included, Selection, count_missing
from sendoff.policy.states import DeadLetterState
from sendoff.store.engine.database import Transaction
from sendoff.store.queries.installation.overview import prefer_indexes
from sendoff.store.queries.traffic import dead_letters, replays
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import DeadLetter

COUNTED_AT_MOST = 10_000
"""Dead letters, and as many waiting deliveries, that a preview counts: about twenty milliseconds of the database."""

_SAMPLE = 10


@dataclass(frozen=True, slots=True)
class EndpointShare:
    """How many of the chosen deliveries go to one endpoint: dead ones, and those that wait for their retry."""

    endpoint_id: str
    endpoint_url: str
    dead: int = 0
    waiting: int = 0

    @property
    def count(self) -> int:
        return self.dead + self.waiting


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """What a selection means now."""

    endpoints: Sequence[EndpointShare]
    """Those that would get most first."""
    sample: Sequence[DeadLetter]
    """The newest dead letters of it."""
    missing: int
    """Deliveries that were never made and would be."""
    is_cut: bool = False
    """Whether older dead letters may match, which were not looked at."""

    @property
    def count(self) -> int:
        return sum(share.count for share in self.endpoints) + self.missing

    @property
    def is_capped(self) -> bool:
        """Whether there may be more than were counted."""
        counted = (sum(share.dead for share in self.endpoints), sum(share.waiting for share in self.endpoints))
        return self.is_cut or max(counted) >= COUNTED_AT_MOST


async def preview_replay(context: Context, selection: Selection) -> ReplayPreview:
    """What a replay of this filter would send; a selection by ids is counted by `count_replay`.

    Raises Invalid when `missing` ones are to be sought in too many events.
    """
    chosen = replace(selection.filter, state=selection.filter.state or DeadLetterState.OPEN)
    async with context.database.read(owner=selection.filter.organization_id) as tx:
        await prefer_indexes(tx)
        is_dead = Included.DEAD in selection.include
        scanned_to = await dead_letters.find_scan_end(tx, chosen) if is_dead else None
        shares = await _count(tx, selection, chosen, scanned_to)
        sample = (await dead_letters.scan_page(tx, chosen, limit=_SAMPLE)).rows if is_dead else []
    missing = await count_missing(context, selection)
    return ReplayPreview(shares, sample, missing, is_cut=scanned_to is not None)


async def _count(
    tx: Transaction, selection: Selection, chosen: DeadLetterFilter, scanned_to: str | None
) -> list[EndpointShare]:
    shares: dict[str, EndpointShare] = {}
    if Included.DEAD in selection.include:
        counted = await dead_letters.count_chosen_by_endpoint(tx, chosen, limit=COUNTED_AT_MOST, scanned_to=scanned_to)
        for endpoint_id, url, number in counted:
            shares[endpoint_id] = EndpointShare(endpoint_id, url, dead=number)
    if Included.PENDING in selection.include:
        waiting = await replays.count_pending_by_endpoint(tx, selection.filter, limit=COUNTED_AT_MOST)
        for endpoint_id, url, number in waiting:
            shares[endpoint_id] = replace(shares.get(endpoint_id, EndpointShare(endpoint_id, url)), waiting=number)
    return sorted(shares.values(), key=lambda share: share.count, reverse=True)
