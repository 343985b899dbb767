"""Events: the page of one says of every endpoint of its organization what became of it there, and why."""

from __future__ import annotations

from collections import Counter

from starlette.responses import Response

from sendoff.operators.explain import explain_event

from ...operator.events import ExplainedEvent
from ..page import Page
from .surface import BASE, DASHBOARD


async def show(page: Page) -> Response:
    """The event with a verdict for each endpoint, those that did not match included."""
    explained = await explain_event(page.context, page.parameter("event_id"))
    return page.render(
        "dashboard/event.html",
        event=explained.event,
        endpoints=ExplainedEvent.of(explained).endpoints,
        verdicts=Counter(str(one.verdict) for one in explained.endpoints),
    )


async def show_json(page: Page) -> Response:
    """The explanation, in the API's shape."""
    explained = await explain_event(page.context, page.parameter("event_id"))
    return page.download(ExplainedEvent.of(explained).model_dump_json(), "application/json", "event.json")


async def show_data(page: Page) -> Response:
    """The event's data, byte for byte."""
    explained = await explain_event(page.context, page.parameter("event_id"))
    return page.download(explained.event.data, "text/plain; charset=utf-8", f"{explained.event.id}.txt")


ROUTES = (
    DASHBOARD.get(f"{BASE}/events/{{event_id}}.json", show_json),
    DASHBOARD.get(f"{BASE}/events/{{event_id}}/data", show_data),
    DASHBOARD.get(f"{BASE}/events/{{event_id}}", show),
)
