"""Deliveries: the list, and the page of one with what was sent, what came back, why it failed and what to do."""

from __future__ import annotations

from starlette.responses import Response

from sendoff.accounts.portal_links import Capability
from sendoff.endpoints.manage import find_endpoints, list_endpoints
from sendoff.errors import Invalid
from sendoff.ids import is_uuid
from sendoff.operators.actions import send_again
from sendoff.operators.queries import DeliveryReport, get_delivery
from sendoff.policy.remedies import Advice, advise_on_attempt
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.store.engine.paging import PAGE_SECONDS

from ...http.schemas import SearchedPage
from ...http.validation import validate
from ...operator.schemas import DeliveryView, DetailedDelivery
from ...operator.traffic.filters import DeliveryConditions
from ..curl import as_curl
from ..page import PageRequest
from .surface import BASE, MOST_CHOICES, get, organization_of, post


async def show_list(page: PageRequest) -> Response:
    error, found = None, SearchedPage[DeliveryView](data=[], next_cursor=None)
    try:
        filters = {name: value for name, value in page.query.items() if name != "notice"}
        conditions = validate(DeliveryConditions, filters)
        found = await conditions.page(page.context, organization_of(page), seconds=PAGE_SECONDS)
    except Invalid as invalid:
        error = invalid
    chosen = {str(row.endpoint_id) for row in found.data} | set(filter(is_uuid, [page.query.get("endpoint_id", "")]))
    shown = await find_endpoints(page.context, organization_of(page), chosen)
    newest = await list_endpoints(page.context, organization_of(page), limit=MOST_CHOICES)
    return page.render(
        "portal/deliveries.html",
        status=200 if error is None else 400,
        found=found,
        error=error,
        states=[*DeliveryState],
        urls={one.id: one.url for one in shown.values()},
        choices={one.id: one.url for one in (*newest, *shown.values())},
    )


async def show(page: PageRequest) -> Response:
    delivery_id = page.parameter("delivery_id")
    report = await get_delivery(page.context, delivery_id, organization_id=organization_of(page))
    view = DetailedDelivery.of_report(report)
    return page.render(
        "portal/delivery.html",
        view=view,
        is_on=report.endpoint_state is EndpointState.ACTIVE,
        advice=advise(report),
        given_up=report.dead_because,
        reads=page.may(Capability.PAYLOADS),
        curl=as_curl(view),
    )


async def resend(page: PageRequest) -> Response:
    """Send it again: one that waits or was given up as a retry, one that was delivered as a new send of the same."""
    delivery_id, organization_id = page.parameter("delivery_id"), organization_of(page)
    await send_again(page.context, page.actor, delivery_id, organization_id=organization_id)
    return page.redirect(f"{BASE}/deliveries/{delivery_id}", notice="resent")


def advise(report: DeliveryReport) -> Advice | None:
    """Why the last attempt failed and what to do; None before the first attempt and after a success."""
    if report.delivery.state == DeliveryState.DELIVERED or not report.attempts:
        return None
    last = report.attempts[-1]
    return None if last.outcome == "ok" else advise_on_attempt(last.outcome, last.response_status)


ROUTES = (
    get("/deliveries", show_list),
    get("/deliveries/{delivery_id}", show),
    post("/deliveries/{delivery_id}/resend", resend, Capability.RESEND),
)
