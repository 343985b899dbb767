"""Events: the list by what tickets quote, and the page of one, which says what became of it at each endpoint."""

from __future__ import annotations

from collections import Counter

from starlette.responses import Response

from sendoff.accounts.organizations import find_names
from sendoff.ids import is_event_id
from sendoff.operators.events import list_events
from sendoff.operators.explain import explain_event
from sendoff.policy.states import EndpointState

from ...http.pagination import decode_cursor
from ...http.validation import validate
from ...operator.traffic.events import EventPageView, EventQuery, ExplainedEvent
from ..lists import FORMATS, export, shows_errors
from ..page import PageRequest
from .surface import BASE, DASHBOARD

_NOTHING = EventPageView(data=[], next_cursor=None, scanned=None, scanned_back_to=None)


@shows_errors("dashboard/events.html", found=_NOTHING)
async def show_list(page: PageRequest) -> Response:
    query = validate(EventQuery, page.filters)
    listed = await list_events(
        page.context,
        query.filter(),
        limit=query.limit + 1,
        before=decode_cursor(query.cursor, is_id=is_event_id),
        idempotency_key=query.idempotency_key,
    )
    found = EventPageView.of(listed, query.limit)
    return export(page, found.data, found.next_cursor, "events") or page.render(
        "dashboard/events.html",
        found=found,
        names=await find_names(page.context, {str(row.organization_id) for row in found.data}),
    )


async def show(page: PageRequest) -> Response:
    """The event with a verdict for each endpoint, those that did not match included."""
    explained = await explain_event(page.context, page.parameter("event_id"))
    return page.render(
        "dashboard/event.html",
        event=explained.event,
        names=await find_names(page.context, [explained.event.organization_id]),
        tags=explained.tags,
        endpoints=ExplainedEvent.of(explained).endpoints,
        active={one.endpoint_id for one in explained.endpoints if one.state == EndpointState.ACTIVE},
        verdicts=Counter(str(one.verdict) for one in explained.endpoints),
    )


async def show_json(page: PageRequest) -> Response:
    """The explanation, in the API's shape."""
    explained = await explain_event(page.context, page.parameter("event_id"))
    return page.download(ExplainedEvent.of(explained).model_dump_json(), "application/json", "event.json")


async def show_data(page: PageRequest) -> Response:
    """The event's data, byte for byte."""
    explained = await explain_event(page.context, page.parameter("event_id"))
    return page.download(explained.event.data, "text/plain; charset=utf-8", f"{explained.event.id}.txt")


ROUTES = (
    *(DASHBOARD.get(f"{BASE}/events{ending}", show_list) for ending in FORMATS),
    DASHBOARD.get(f"{BASE}/events/{{event_id}}.json", show_json),
    DASHBOARD.get(f"{BASE}/events/{{event_id}}/data", show_data),
    DASHBOARD.get(f"{BASE}/events/{{event_id}}", show),
)
