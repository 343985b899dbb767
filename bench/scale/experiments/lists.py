"""What operators and customers look at: pages of fifty, newest first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bench.scale.asking import QueryStep, Routine
from bench.scale.rows import SeedEndpoint
from sendoff.context import Context
from sendoff.operators import queries
from sendoff.operators.replays.replay import Selection, count_replay
from sendoff.policy.states import DeliveryState
from sendoff.publishing import history
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter

_PAGE = 51
_DEAD, _PENDING = (DeliveryState.DEAD,), (DeliveryState.PENDING,)


@dataclass(frozen=True, slots=True)
class Sample:
    """What is asked about: who gets deliveries all the time, who got a few long ago, and one from the middle."""

    busy: SeedEndpoint
    quiet: SeedEndpoint
    event_id: str
    delivery_id: str
    moment: datetime


def lists(context: Context, sample: Sample) -> list[Routine]:
    """All of them."""
    return [[step] for step in (*_deliveries(context, sample), *_dead_letters(context, sample))]


def _deliveries(context: Context, sample: Sample) -> list[QueryStep]:
    busy, quiet = sample.busy, sample.quiet
    an_hour = DeliveryFilter(since=sample.moment - timedelta(hours=1), until=sample.moment)
    chosen = {
        "all": DeliveryFilter(),
        "busy endpoint": DeliveryFilter(endpoint_id=busy.id),
        "busy endpoint, dead": DeliveryFilter(endpoint_id=busy.id, states=_DEAD),
        "busy endpoint, pending": DeliveryFilter(endpoint_id=busy.id, states=_PENDING),
        "quiet endpoint": DeliveryFilter(endpoint_id=quiet.id),
        "busy organization": DeliveryFilter(organization_id=busy.organization_id),
        "busy organization, dead": DeliveryFilter(organization_id=busy.organization_id, states=_DEAD),
        "quiet organization": DeliveryFilter(organization_id=quiet.organization_id),
        "dead": DeliveryFilter(states=_DEAD),
        "pending": DeliveryFilter(states=_PENDING),
        "one event": DeliveryFilter(event_id=sample.event_id),
        "a type that never happened": DeliveryFilter(event_type="nothing.happened"),
        "an hour in the middle": an_hour,
    }
    steps = [_page(f"deliveries: {name}", history.list_deliveries, context, it) for name, it in chosen.items()]
    middle = _page(
        "deliveries: all, from the middle", history.list_deliveries, context, chosen["all"], before=sample.delivery_id
    )
    return [*steps, middle, QueryStep("one delivery", lambda _: queries.get_delivery(context, sample.delivery_id))]


def _dead_letters(context: Context, sample: Sample) -> list[QueryStep]:
    busy, quiet = sample.busy, sample.quiet
    chosen = {
        "all": DeadLetterFilter(),
        "open": DeadLetterFilter(state="open"),
        "busy endpoint": DeadLetterFilter(endpoint_id=busy.id),
        "busy organization, open": DeadLetterFilter(organization_id=busy.organization_id, state="open"),
        "quiet organization": DeadLetterFilter(organization_id=quiet.organization_id),
        "a reason that never was": DeadLetterFilter(reason="endpoint_gone"),
    }
    count = Selection(chosen["busy endpoint"])

    async def endpoints(_: Any) -> None:
        await queries.list_all_endpoints(context, organization_id=None, state=None, limit=_PAGE)

    return [
        *(_page(f"dead letters: {name}", queries.list_dead_letters, context, it) for name, it in chosen.items()),
        QueryStep("replay: count an endpoint's dead letters", lambda _: count_replay(context, count)),
        QueryStep("endpoints with their health", endpoints),
    ]


def _page(
    name: str, list_page: Callable[..., Awaitable[Any]], context: Context, chosen: Any, *, before: str | None = None
) -> QueryStep:
    return QueryStep(name, lambda _: list_page(context, chosen, limit=_PAGE, before=before))
