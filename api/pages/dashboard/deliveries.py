"""Deliveries: the list, and the page of one with its attempts, request and response."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.responses import Response

from sendoff.accounts.organizations import find_names
from sendoff.operators.actions import retry_delivery
from sendoff.operators.queries import get_delivery
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.store.engine.paging import PAGE_SECONDS

from ...http.schemas import SearchedPage
from ...http.validation import validate
from ...operator.schemas import DeliveryView, DetailedDelivery
from ...operator.traffic.deliveries import DeliveryQuery
from ..curl import as_curl
from ..lists import FORMATS, export, shows_errors
from ..page import PageRequest
from .replays import STATUS_CLASSES
from .surface import BASE, DASHBOARD

_CHOICES: dict[str, Any] = {"states": [*DeliveryState], "status_classes": STATUS_CLASSES}
"""What the filters offer."""


@shows_errors("dashboard/deliveries.html", found=SearchedPage[DeliveryView](data=[], next_cursor=None), **_CHOICES)
async def show_list(page: PageRequest) -> Response:
    query = validate(DeliveryQuery, page.filters)
    found = await query.page(page.context, query.organization_id, seconds=PAGE_SECONDS)
    return export(page, found.data, found.next_cursor, "deliveries") or page.render(
        "dashboard/deliveries.html",
        found=found,
        **_CHOICES,
    )


async def show(page: PageRequest) -> Response:
    report = await get_delivery(page.context, page.parameter("delivery_id"))
    view = DetailedDelivery.of_report(report)
    return page.render(
        "dashboard/delivery.html",
        report=report,
        view=view,
        names=await find_names(page.context, [report.delivery.organization_id]),
        is_active=report.endpoint_state is EndpointState.ACTIVE,
        curl=as_curl(view),
        soon=_changes_soon(page, view),
    )


async def retry(page: PageRequest) -> Response:
    delivery_id = page.parameter("delivery_id")
    await retry_delivery(page.context, page.actor, delivery_id)
    return page.redirect(f"{BASE}/deliveries/{delivery_id}", notice="retried")


def _changes_soon(page: PageRequest, view: DetailedDelivery) -> bool:
    """Whether an attempt is under way or due within the next minute."""
    if view.state == DeliveryState.IN_FLIGHT:
        return True
    due, soon = view.next_attempt_at, page.context.clock.now() + timedelta(minutes=1)
    return view.state == DeliveryState.PENDING and due is not None and due <= soon


ROUTES = (
    *(DASHBOARD.get(f"{BASE}/deliveries{ending}", show_list) for ending in FORMATS),
    DASHBOARD.get(f"{BASE}/deliveries/{{delivery_id}}", show),
    DASHBOARD.post(f"{BASE}/deliveries/{{delivery_id}}/retry", retry),
)
