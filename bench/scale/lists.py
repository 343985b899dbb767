"""What operators and customers look at: pages of fifty, newest first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bench.scale.asking import Routine, Step
from bench.scale.rows import SeedEndpoint
from sendoff.operations import operate
from sendoff.operations.replay import Selection, count_replay
from sendoff.operations.runtime import Runtime
from sendoff.policy.states import DeliveryState
from sendoff.store.dead_letters import DeadLetterFilter
from sendoff.store.delivery_history import DeliveryFilter

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


def lists(runtime: Runtime, sample: Sample) -> list[Routine]:
    """All of them."""
    return [[step] for step in (*_deliveries(runtime, sample), *_dead_letters(runtime, sample))]


def _deliveries(runtime: Runtime, sample: Sample) -> list[Step]:
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
    steps = [_page(f"deliveries: {name}", operate.list_deliveries, runtime, it) for name, it in chosen.items()]
    middle = _page(
        "deliveries: all, from the middle", operate.list_deliveries, runtime, chosen["all"], before=sample.delivery_id
    )
    return [*steps, middle, Step("one delivery", lambda _: operate.get_delivery(runtime, sample.delivery_id))]


def _dead_letters(runtime: Runtime, sample: Sample) -> list[Step]:
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
        await operate.list_all_endpoints(runtime, organization_id=None, state=None, limit=_PAGE)

    return [
        *(_page(f"dead letters: {name}", operate.list_dead_letters, runtime, it) for name, it in chosen.items()),
        Step("replay: count an endpoint's dead letters", lambda _: count_replay(runtime, count)),
        Step("endpoints with their health", endpoints),
    ]


def _page(
    name: str, list_page: Callable[..., Awaitable[Any]], runtime: Runtime, chosen: Any, *, before: str | None = None
) -> Step:
    return Step(name, lambda _: list_page(runtime, chosen, limit=_PAGE, before=before))
