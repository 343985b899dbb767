"""Filters on deliveries and dead letters, the same on every surface: in the queries of lists and in a replay's body."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from sendoff.context import Context
from sendoff.ids import is_event_id
from sendoff.operators.replays.replay import DEFAULT_RATE, HIGHEST_RATE, Included, Selection
from sendoff.policy.states import DeadLetterReason, DeadLetterState, DeliveryState
from sendoff.publishing.history import list_deliveries
from sendoff.store.engine.paging import SEARCH_SECONDS
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter

from ...http.pagination import decode_cursor, searched_page
from ...http.schemas import QueryTime, SearchedPage
from ...http.validation import Text, UuidText
from ..schemas import DeliveryView, ListQuery

MOST_DELIVERIES = 5_000
"""Ids in one filter. The statement and the request grow with them."""

Status = Annotated[int, Field(ge=100, le=599, description="Only those whose last answer had this status.")]
MinAttempts = Annotated[int, Field(ge=1, le=2**31 - 1)]
StatusClass = Annotated[str, Field(pattern="^[1-5]xx$", description="Only those whose last status is of this class.")]


def _event_id(text: str) -> str:
    if not is_event_id(text):
        raise ValueError("Must be an event's id such as evt_0199c1f26f1e8f431f0c2f6d")
    return text


EventId = Annotated[str, AfterValidator(_event_id), WithJsonSchema({"type": "string", "pattern": "^evt_[0-9a-f]{24}$"})]


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
    response_status: Status | None = None
    status_class: StatusClass | None = None
    min_attempts: MinAttempts | None = None
    since_event_id: EventId | None = Field(None, description="Of this event, and of all that were accepted after it.")

    def filter(self) -> DeadLetterFilter:
        names = DeadLetterConditions.model_fields
        return DeadLetterFilter(**{name: getattr(self, name) for name in names})


class DeadLetterQuery(DeadLetterConditions, ListQuery):
    """The query of the list."""


class ReplayFilter(DeadLetterConditions):
    """The list's filters, or `delivery_ids` alone."""

    delivery_ids: Annotated[list[UuidText], Field(min_length=1, max_length=MOST_DELIVERIES)] | None = None
    """Finished deliveries, dead or delivered."""
    missing: bool = Field(
        default=False,
        description="Whether to make deliveries as well for events that match an endpoint as it is now and have none. "
        "Needs `since` or `since_event_id`, and an organization or an endpoint.",
    )


class DeliveryConditions(ListQuery):
    """Which deliveries; what is left out is any. `since` (inclusive) and `until` (exclusive) are of `created_at`."""

    endpoint_id: UuidText | None = None
    event_id: Text | None = None
    event_type: Text | None = None
    state: DeliveryState | None = None
    since: QueryTime | None = None
    until: QueryTime | None = None
    request_id: Text | None = None
    replay_id: UuidText | None = None
    response_status: Status | None = None
    status_class: StatusClass | None = None
    min_attempts: MinAttempts | None = None

    async def page(
        self, context: Context, organization_id: str | None, *, seconds: float = SEARCH_SECONDS
    ) -> SearchedPage[DeliveryView]:
        """The deliveries of the organization, or of all for None, newest first; what is rare is searched that long."""
        chosen, before = self._filter(organization_id), decode_cursor(self.cursor)
        found = await list_deliveries(context, chosen, limit=self.limit + 1, before=before, seconds=seconds)
        return searched_page(found, self.limit, identify=lambda one: one.delivery.id, show=DeliveryView.of)

    def _filter(self, organization_id: str | None) -> DeliveryFilter:
        conditions = self.model_dump(include=DeliveryConditions.model_fields.keys() - {"limit", "cursor", "state"})
        states = None if self.state is None else (self.state,)
        return DeliveryFilter(organization_id=organization_id, states=states, **conditions)


class NewDiscard(BaseModel):
    """Which open dead letters to discard. `{}` as the filter means every one, and needs `all`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    filter: Annotated[DeadLetterConditions, Field(strict=False)]
    everything: bool = Field(default=False, alias="all", description="Needed for an empty filter.")


class NewReplay(BaseModel):
    """What to send again. `{}` as the filter means every open dead letter, and needs `all`; it cannot be left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    filter: Annotated[ReplayFilter, Field(strict=False)]
    include: list[Annotated[Included, Field(strict=False)]] | None = Field(
        None,
        description="What of it: dead letters, deliveries that wait for their retry (`pending`), or both. "
        'Default: `["dead"]`.',
        json_schema_extra={"minItems": 1},
    )
    everything: bool = Field(default=False, alias="all", description="Needed for an empty filter, unless `dry_run`.")
    dry_run: bool = False
    rate: int = Field(DEFAULT_RATE, ge=1, le=HIGHEST_RATE, description="Deliveries a second.")

    def selection(self) -> Selection:
        """What is meant. Raises Invalid if it contradicts itself, or is everything and `all` is not given."""
        chosen = self.filter.delivery_ids
        selection = Selection(
            self.filter.filter(),
            None if chosen is None else tuple(dict.fromkeys(chosen)),
            include=(Included.DEAD,) if self.include is None else tuple(dict.fromkeys(self.include)),
            missing=self.filter.missing,
        )
        selection.check(everything=self.everything or self.dry_run)
        return selection

    @model_validator(mode="before")
    @classmethod
    def _beside_the_filter(cls, body: Any) -> Any:
        """`include` and `all` stand beside the filter; within it they mean the same."""
        chosen = body.get("filter") if isinstance(body, dict) else None
        if not isinstance(chosen, dict):
            return body
        moved = {name: chosen[name] for name in ("include", "all") if name in chosen and name not in body}
        return {**body, **moved, "filter": {name: value for name, value in chosen.items() if name not in moved}}
