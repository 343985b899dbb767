"""Filters on deliveries and dead letters, the same on every surface: in the queries of lists and in a replay's body."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sendoff.context import Context
from sendoff.operators.replay import DEFAULT_RATE, HIGHEST_RATE, Selection
from sendoff.policy.states import DeadLetterReason, DeadLetterState, DeliveryState
from sendoff.publishing.history import list_deliveries
from sendoff.store.queries.dead_letters import DeadLetterFilter
from sendoff.store.queries.delivery_history import DeliveryFilter

from ..http.pagination import decode_cursor, split_page
from ..http.schemas import Page, QueryTime
from ..http.validation import Text, UuidText
from .schemas import DeliveryView, ListQuery

MOST_DELIVERIES = 5_000


class DeadLetterConditions(BaseModel):
    """Which dead letters are meant; what is left out is any. `since` is inclusive, `until` exclusive."""

    model_config = ConfigDict(extra="forbid")

    organization_id: UuidText | None = None
    endpoint_id: UuidText | None = None
    event_type: Text | None = None
    reason: DeadLetterReason | None = None
    since: QueryTime | None = None
    until: QueryTime | None = None
    state: DeadLetterState | None = None
    response_status: Annotated[int, Field(ge=100, le=599, description="The status of the last answer.")] | None = None

    def filter(self) -> DeadLetterFilter:
        names = DeadLetterConditions.model_fields
        return DeadLetterFilter(**{name: getattr(self, name) for name in names})


class DeadLetterQuery(DeadLetterConditions, ListQuery):
    """The query of the list."""


class ReplayFilter(DeadLetterConditions):
    """The list's filters, or `delivery_ids` alone."""

    delivery_ids: Annotated[list[UuidText], Field(min_length=1, max_length=MOST_DELIVERIES)] | None = None
    """Finished deliveries, dead or delivered."""


class DeliveryConditions(ListQuery):
    """Which deliveries; what is left out is any. `since` (inclusive) and `until` (exclusive) are of `created_at`."""

    endpoint_id: UuidText | None = None
    event_id: Text | None = None
    event_type: Text | None = None
    state: DeliveryState | None = None
    since: QueryTime | None = None
    until: QueryTime | None = None

    async def page(self, context: Context, organization_id: str | None) -> Page[DeliveryView]:
        """The deliveries of the organization, or of all for None, newest first."""
        conditions = self.model_dump(include=DeliveryConditions.model_fields.keys() - {"limit", "cursor", "state"})
        states = None if self.state is None else (self.state,)
        chosen = DeliveryFilter(organization_id=organization_id, states=states, **conditions)
        before = decode_cursor(self.cursor)
        found = await list_deliveries(context, chosen, limit=self.limit + 1, before=before)
        listed, cursor = split_page(found, self.limit, lambda one: one.delivery.id)
        return Page(data=[DeliveryView.of(one) for one in listed], next_cursor=cursor)


class NewReplay(BaseModel):
    """What to send again. `{}` as the filter means every open dead letter; it cannot be left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    filter: Annotated[ReplayFilter, Field(strict=False)]
    dry_run: bool = False
    rate: int = Field(DEFAULT_RATE, ge=1, le=HIGHEST_RATE, description="Deliveries a second.")

    def selection(self) -> Selection:
        chosen = self.filter.delivery_ids
        return Selection(self.filter.filter(), None if chosen is None else tuple(dict.fromkeys(chosen)))
