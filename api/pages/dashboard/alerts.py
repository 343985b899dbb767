"""Alert endpoints: where operational events go, whether they arrive, and a test of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from sendoff.endpoints.manage import EndpointChange, RegisteredEndpoint
from sendoff.errors import Conflict, Invalid, PingFailed, RateLimited, SendoffError
from sendoff.operators.alert_endpoints import (
    create_alert_endpoint,
    delete_alert_endpoint,
    get_alert_endpoint,
    list_alert_endpoints,
    rotate_alert_secret,
    try_alert_endpoint,
    update_alert_endpoint,
)
from sendoff.policy.endpoints.matching import ALL_TYPES
from sendoff.policy.operational_events import OperationalEventType
from sendoff.policy.remedies import advise_on_attempt
from sendoff.publishing.history import list_deliveries
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter

from ...customers.trials import TrialView
from ...http.errors import status_of
from ...http.pagination import decode_cursor, split_page
from ...http.validation import validate
from ...operator.alert_endpoints import AlertEndpointChange, AlertEndpointView, NewAlertEndpointBody
from ...operator.schemas import DeliveryView, ListQuery
from ..lists import FORMATS, export
from ..page import PageRequest
from .surface import BASE, DASHBOARD

FORMS = {"": "signed, for programs", "slack": "Slack (an incoming webhook)"}
"""What alerts can be sent as, by dialect; an address of mail says enough by itself."""

_RECENT = 20


@dataclass(frozen=True, slots=True)
class AlertForm:
    """The form of an alert endpoint, as it was sent, so that it can be shown again with an error."""

    url: str = ""
    description: str = ""
    events: Sequence[str] = (ALL_TYPES,)
    organization_ids: str = ""
    """Ids separated by white space; empty means all organizations."""
    dialect: str = ""

    @classmethod
    async def of(cls, page: PageRequest) -> AlertForm:
        pairs = await page.form_pairs()
        fields = {name: value.strip() for name, value in pairs}
        return cls(
            fields.get("url", ""),
            fields.get("description", ""),
            [value for name, value in pairs if name == "events"],
            fields.get("organization_ids", ""),
            fields.get("dialect", ""),
        )

    def fields(self) -> dict[str, Any]:
        """As the API takes them. Raises Invalid."""
        if not self.events:
            raise Invalid("Choose at least one event, or all of them.", field="events")
        return {
            "url": self.url,
            "description": self.description or None,
            "events": [ALL_TYPES] if ALL_TYPES in self.events else list(self.events),
            "organization_ids": self.organization_ids.replace(",", " ").split() or None,
        }


async def show_list(page: PageRequest) -> Response:
    query = validate(ListQuery, page.filters)
    before = decode_cursor(query.cursor)
    found = await list_alert_endpoints(page.context, limit=query.limit + 1, before=before)
    listed, cursor = split_page(found, query.limit, lambda endpoint: endpoint.id)
    rows = [AlertEndpointView.of(endpoint) for endpoint in listed]
    return export(page, rows, cursor, "alert-endpoints") or page.render(
        "dashboard/alerts.html", rows=rows, next_cursor=cursor
    )


async def show_new(page: PageRequest) -> Response:
    return _form_page(page, AlertForm())


async def create(page: PageRequest) -> Response:
    """Ping it and save it, or show the form again with what is wrong."""
    form = await AlertForm.of(page)
    try:
        dialect = {"dialect": form.dialect} if form.dialect else {}
        new = validate(NewAlertEndpointBody, form.fields() | dialect)
        registered = await create_alert_endpoint(page.context, page.actor, new)
    except (Conflict, Invalid, PingFailed, RateLimited) as error:
        return _form_page(page, form, error)
    return await _show(page, registered.endpoint.id, registered=registered)


async def show(page: PageRequest) -> Response:
    return await _show(page, page.parameter("alert_endpoint_id"))


async def show_edit(page: PageRequest) -> Response:
    endpoint = await get_alert_endpoint(page.context, page.parameter("alert_endpoint_id"))
    organizations = " ".join(endpoint.organization_ids or ())
    form = AlertForm(endpoint.url, endpoint.description or "", endpoint.events, organizations)
    return _form_page(page, form, endpoint_id=endpoint.id)


async def edit(page: PageRequest) -> Response:
    endpoint_id, form = page.parameter("alert_endpoint_id"), await AlertForm.of(page)
    try:
        change = EndpointChange(validate(AlertEndpointChange, form.fields()).given())
        await update_alert_endpoint(page.context, page.actor, endpoint_id, change)
    except (Conflict, Invalid, PingFailed, RateLimited) as error:
        return _form_page(page, form, error, endpoint_id=endpoint_id)
    return page.redirect(f"{BASE}/alerts/{endpoint_id}", notice="alert-saved")


async def test(page: PageRequest) -> Response:
    """Send an example of an event, and show what the receiver answers."""
    endpoint_id, chosen = page.parameter("alert_endpoint_id"), (await page.form()).get("type", "")
    if chosen not in [*OperationalEventType]:
        raise Invalid(f"`type` must be one of {', '.join(OperationalEventType)}.", field="type")
    trial = await try_alert_endpoint(page.context, endpoint_id, event_type=chosen)
    return await _show(page, endpoint_id, trial=TrialView.of(trial))


async def rotate(page: PageRequest) -> Response:
    endpoint_id = page.parameter("alert_endpoint_id")
    rotated = await rotate_alert_secret(page.context, page.actor, endpoint_id)
    return await _show(page, endpoint_id, registered=rotated)


async def pause(page: PageRequest) -> Response:
    return await _switch(page, on=False)


async def resume(page: PageRequest) -> Response:
    return await _switch(page, on=True)


async def _switch(page: PageRequest, *, on: bool) -> Response:
    endpoint_id = page.parameter("alert_endpoint_id")
    await update_alert_endpoint(page.context, page.actor, endpoint_id, EndpointChange({"is_active": on}))
    return page.redirect(f"{BASE}/alerts/{endpoint_id}", notice="alert-resumed" if on else "alert-paused")


async def delete(page: PageRequest) -> Response:
    await delete_alert_endpoint(page.context, page.actor, page.parameter("alert_endpoint_id"))
    return page.redirect(f"{BASE}/alerts", notice="alert-deleted")


async def _show(
    page: PageRequest, endpoint_id: str, *, registered: RegisteredEndpoint | None = None, trial: TrialView | None = None
) -> Response:
    """The alert endpoint with its last deliveries; with its secret once, or with what came of a test."""
    endpoint = await get_alert_endpoint(page.context, endpoint_id)
    recent = await list_deliveries(page.context, DeliveryFilter(endpoint_id=endpoint.id), limit=_RECENT)
    return page.render(
        "dashboard/alert.html",
        view=AlertEndpointView.of(endpoint),
        recent=[DeliveryView.of(one) for one in recent.rows],
        registered=registered,
        trial=trial,
        types=[*OperationalEventType],
        example=OperationalEventType.ENDPOINT_DISABLED,
    )


def _form_page(
    page: PageRequest, form: AlertForm, error: SendoffError | None = None, *, endpoint_id: str | None = None
) -> Response:
    failed: Mapping[str, Any] = {"ping": None, "advice": None}
    if isinstance(error, PingFailed):
        failed = {"ping": error, "advice": advise_on_attempt(error.outcome, error.status_code)}
    return page.render(
        "dashboard/alert_form.html",
        status=200 if error is None else status_of(type(error)),
        form=form,
        error=error,
        endpoint_id=endpoint_id,
        types=[*OperationalEventType],
        everything=ALL_TYPES,
        forms=FORMS,
        **failed,
    )


_ONE = f"{BASE}/alerts/{{alert_endpoint_id}}"
ROUTES = (
    *(DASHBOARD.get(f"{BASE}/alerts{ending}", show_list) for ending in FORMATS),
    DASHBOARD.get(f"{BASE}/alerts/new", show_new, needs="act"),
    DASHBOARD.post(f"{BASE}/alerts", create),
    DASHBOARD.get(_ONE, show),
    DASHBOARD.get(f"{_ONE}/edit", show_edit, needs="act"),
    DASHBOARD.post(f"{_ONE}/edit", edit),
    DASHBOARD.post(f"{_ONE}/test", test),
    DASHBOARD.post(f"{_ONE}/rotate-secret", rotate),
    DASHBOARD.post(f"{_ONE}/pause", pause),
    DASHBOARD.post(f"{_ONE}/resume", resume),
    DASHBOARD.post(f"{_ONE}/delete", delete),
)
