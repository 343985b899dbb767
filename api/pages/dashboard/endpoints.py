"""Endpoints of all organizations: the list, and the page of one with what operators do to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import orjson
from starlette.responses import Response

from sendoff.accounts.organizations import find_names
from sendoff.endpoints.secrets import rotate_secret
from sendoff.endpoints.trial import try_endpoint
from sendoff.errors import Conflict, Invalid, RateLimited, SendoffError, UnknownEventType
from sendoff.operators.actions import limit_endpoint, switch_endpoint
from sendoff.operators.installation.statistics import (
    Bucket,
    StatisticsQuery,
    get_statistics,
    sums_of_endpoint,
    sums_of_endpoints,
)
from sendoff.operators.queries import count_waiting, get_endpoint, list_all_endpoints, list_audit
from sendoff.policy.states import EndpointState
from sendoff.publishing.history import list_deliveries
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries.audit import AuditFilter
from sendoff.store.queries.installation.overview import COUNTED_OF_ENDPOINT
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter

from ...customers.trials import NewTrial, TrialView
from ...http.errors import status_of
from ...http.pagination import decode_cursor, split_page
from ...http.validation import validate
from ...operator.endpoints import EndpointQuery
from ...operator.schemas import DeliveryView, OperatorEndpointView
from ..charts import HeatCell, heat_of
from ..endpoint_fields import facts_of
from ..lists import FORMATS, export, shows_errors
from ..page import PageRequest
from ..samples import parse_sample
from .failures import find_failures
from .overview import RANGES, chosen_range, find_charts, shows_table
from .surface import BASE, DASHBOARD

_RECENT = 20
_HEAT_DAYS = 7


@shows_errors("dashboard/endpoints.html", rows=(), day={}, states=[*EndpointState])
async def show_list(page: PageRequest) -> Response:
    query = validate(EndpointQuery, page.filters)
    found = await list_all_endpoints(
        page.context,
        organization_id=query.organization_id,
        state=query.state,
        limit=query.limit + 1,
        before=decode_cursor(query.cursor),
    )
    listed, cursor = split_page(found, query.limit, lambda endpoint: endpoint.id)
    rows = [OperatorEndpointView.of(endpoint) for endpoint in listed]
    return export(page, rows, cursor, "endpoints") or page.render(
        "dashboard/endpoints.html",
        rows=rows,
        next_cursor=cursor,
        names=await find_names(page.context, {endpoint.organization_id for endpoint in listed}),
        day=await sums_of_endpoints(page.context, [endpoint.id for endpoint in listed], within=timedelta(hours=24)),
        states=[*EndpointState],
    )


async def show(page: PageRequest) -> Response:
    return await _show(page)


async def _show(
    page: PageRequest,
    *,
    trial: TrialView | None = None,
    secret: str | None = None,
    error: SendoffError | None = None,
    form: Mapping[str, str] | None = None,
) -> Response:
    """The endpoint's page, after a test with what came of it, after a rotation with the secret, this once.

    With an error the forms hold what was sent.
    """
    context, endpoint = page.context, await get_endpoint(page.context, page.parameter("endpoint_id"))
    waiting, names = await asyncio.gather(
        count_waiting(context, endpoint.id), find_names(context, [endpoint.organization_id])
    )
    recent, failures, changes, charts, day, heat = await asyncio.gather(
        list_deliveries(context, DeliveryFilter(endpoint_id=endpoint.id), limit=_RECENT),
        find_failures(page, endpoint_id=endpoint.id),
        list_audit(context, AuditFilter(organization_id=endpoint.organization_id, target_id=endpoint.id), limit=10),
        find_charts(page, endpoint_id=endpoint.id),
        sums_of_endpoint(context, endpoint.id, within=timedelta(hours=24)),
        _find_heat(page, endpoint.id),
    )
    view = OperatorEndpointView.of(endpoint)
    return page.render(
        "dashboard/endpoint.html",
        status=200 if error is None else status_of(type(error)),
        error=error,
        form=form or {},
        endpoint=endpoint,
        names=names,
        view=view,
        facts=facts_of(view),
        recent=[DeliveryView.of(one) for one in recent.rows],
        open_deliveries=waiting,
        counted_at_most=COUNTED_OF_ENDPOINT,
        failures=failures,
        changes=changes,
        trial=trial,
        secret=secret,
        heat=heat,
        charts=charts,
        day=day,
        range=chosen_range(page),
        ranges=list(RANGES),
        as_table=shows_table(page),
    )


async def _find_heat(page: PageRequest, endpoint_id: str) -> list[list[HeatCell]]:
    """The hours of the last days."""
    since = page.context.clock.now() - timedelta(days=_HEAT_DAYS)
    return heat_of(
        await get_statistics(page.context, StatisticsQuery(since=since, endpoint_id=endpoint_id, bucket=Bucket.HOUR))
    )


async def enable(page: PageRequest) -> Response:
    """Enable it; with `then` go on to the wizard, where what it missed is counted and sent."""
    endpoint_id = page.parameter("endpoint_id")
    if (await page.form()).get("then") != "replay":
        return await _switch(page, on=True)
    await switch_endpoint(page.context, page.actor, endpoint_id, on=True)
    return page.redirect(f"{BASE}/replays/new?endpoint_id={endpoint_id}", notice="enabled")


async def disable(page: PageRequest) -> Response:
    return await _switch(page, on=False)


async def _switch(page: PageRequest, *, on: bool) -> Response:
    endpoint_id = page.parameter("endpoint_id")
    await switch_endpoint(page.context, page.actor, endpoint_id, on=on)
    return page.redirect(f"{BASE}/endpoints/{endpoint_id}", notice="enabled" if on else "disabled")


async def limit(page: PageRequest) -> Response:
    endpoint_id, text = page.parameter("endpoint_id"), (await page.form()).get("rate_limit", "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        return await _show(page, error=Invalid("`rate_limit` takes deliveries a second, or nothing for no limit."))
    try:
        await limit_endpoint(page.context, page.actor, endpoint_id, rate_limit=int(text) if text else None)
    except Invalid as error:
        return await _show(page, error=error)
    return page.redirect(f"{BASE}/endpoints/{endpoint_id}", notice="limited")


async def test(page: PageRequest) -> Response:
    """Send a test event, which is neither stored nor counted, and show what the receiver answers."""
    form = await page.form()
    endpoint = await get_endpoint(page.context, page.parameter("endpoint_id"))
    try:
        data = orjson.dumps(parse_sample(form.get("data", ""), field="data"))
        event = NewEvent(form.get("type", "").strip() or NewTrial().type, data)
        trial = await try_endpoint(page.context, endpoint.organization_id, endpoint.id, event, dry_run=False)
    except (Conflict, Invalid, RateLimited, UnknownEventType) as error:
        return await _show(page, error=error, form=form)
    return await _show(page, trial=TrialView.of(trial), form=form)


async def rotate(page: PageRequest) -> Response:
    endpoint = await get_endpoint(page.context, page.parameter("endpoint_id"))
    rotated = await rotate_secret(page.context, endpoint.organization_id, page.actor, endpoint.id)
    return await _show(page, secret=rotated.secret)


_ONE = f"{BASE}/endpoints/{{endpoint_id}}"
ROUTES = (
    *(DASHBOARD.get(f"{BASE}/endpoints{ending}", show_list) for ending in FORMATS),
    DASHBOARD.get(_ONE, show),
    DASHBOARD.post(f"{_ONE}/enable", enable),
    DASHBOARD.post(f"{_ONE}/disable", disable),
    DASHBOARD.post(f"{_ONE}/limit", limit),
    DASHBOARD.post(f"{_ONE}/test", test),
    DASHBOARD.post(f"{_ONE}/rotate-secret", rotate),
)
