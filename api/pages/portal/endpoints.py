"""Endpoints: the list, one that is added with its ping's answer, and the page of one with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from sendoff.accounts.portal_links import Capability, PortalUser
from sendoff.clock import parse_duration
from sendoff.endpoints.fields import OwnersView
from sendoff.endpoints.manage import (
    EndpointChange,
    RegisteredEndpoint,
    delete_endpoint,
    find_public_keys,
    get_endpoint,
    list_endpoints,
    register_endpoint,
    update_endpoint,
)
from sendoff.endpoints.secrets import rotate_secret
from sendoff.errors import Conflict, Invalid, NotFound, PingFailed, RateLimited, SendoffError
from sendoff.policy.remedies import advise_on_attempt
from sendoff.policy.states import EndpointState
from sendoff.publishing.history import list_deliveries
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter
from sendoff.store.tables import Endpoint

from ...customers.event_types import EventTypeView, list_views
from ...http.errors import status_of
from ...http.pagination import decode_cursor, split_page
from ...operator.schemas import DeliveryView
from ..endpoint_fields import AUTH_LABELS, facts_of
from ..page import PageRequest
from .fields import EVERYTHING, EndpointForm, extra_events
from .measurements import measure_endpoint, measure_endpoints
from .receivers import FORMATS, receiver_programs
from .settings_form import AUTH_FIELDS, KEEP, SECRETS, SettingsForm
from .surface import BASE, get, organization_of, post

PER_PAGE = 50
"""Endpoints on a page of the list. With twice as many, the page exceeds 100 kB for long URLs."""

RECENT = 10
"""Deliveries on the page of an endpoint."""

OVERLAPS = ("24h", "1h", "7d", "0")
"""How long a former secret signs as well, as the form offers it; the first is chosen."""


async def show_list(page: PageRequest) -> Response:
    organization_id, before = organization_of(page), decode_cursor(page.query.get("cursor"))
    found = await list_endpoints(page.context, organization_id, limit=PER_PAGE + 1, before=before)
    shown, cursor = split_page(found, PER_PAGE, lambda endpoint: endpoint.id)
    return page.render(
        "portal/endpoints.html",
        endpoints=shown,
        next_cursor=cursor,
        describe=describe_state,
        measured=await measure_endpoints(page.context, organization_id),
    )


async def show_new(page: PageRequest) -> Response:
    return await _form_page(page, EndpointForm(), settings=SettingsForm())


async def add(page: PageRequest) -> Response:
    """Register it, or show the form again with the receiver's answer to the ping."""
    form, settings = await EndpointForm.of(page), await SettingsForm.of_page(page)
    try:
        user = PortalUser.of(page.session)
        new = form.new_endpoint(settings.changes(SettingsForm()))
        registered = await register_endpoint(page.context, user, page.actor, new)
    except (Conflict, Invalid, PingFailed, RateLimited) as error:
        return await _form_page(page, form, error, settings=settings)
    return _secret_page(page, registered, title="The endpoint is added")


async def show(page: PageRequest) -> Response:
    endpoint = await _find(page)
    chosen = DeliveryFilter(organization_id=endpoint.organization_id, endpoint_id=endpoint.id)
    recent = await list_deliveries(page.context, chosen, limit=RECENT)
    return page.render(
        "portal/endpoint.html",
        endpoint=endpoint,
        describe=describe_state,
        measured=await measure_endpoint(page.context, endpoint),
        recent=[DeliveryView.of(one) for one in recent.rows],
        public_keys=await _public_keys(page, endpoint),
        overlaps=OVERLAPS,
        facts=facts_of(OwnersView.of(endpoint)),
    )


async def show_edit(page: PageRequest) -> Response:
    endpoint = await _find(page)
    form = EndpointForm(endpoint.url, endpoint.description or "", endpoint.events, endpoint.dialect)
    return await _form_page(page, form, endpoint=endpoint)


async def edit(page: PageRequest) -> Response:
    """Change it; a new URL is pinged first, and the answer is shown if it does not accept."""
    endpoint = await _find(page)
    form = await EndpointForm.of(page)
    current = {"url": endpoint.url, "description": endpoint.description, "events": endpoint.events}
    try:
        change = EndpointChange(form.changes(current))
        await update_endpoint(page.context, organization_of(page), page.actor, endpoint.id, change)
    except (Conflict, Invalid, PingFailed, RateLimited) as error:
        return await _form_page(page, form, error, endpoint=endpoint)
    return page.redirect(_path(endpoint.id), notice="saved")


async def pause(page: PageRequest) -> Response:
    return await _switch(page, on=False)


async def resume(page: PageRequest) -> Response:
    return await _switch(page, on=True)


async def show_delete(page: PageRequest) -> Response:
    return page.render("portal/delete.html", endpoint=await _find(page))


async def delete(page: PageRequest) -> Response:
    endpoint_id = page.parameter("endpoint_id")
    await delete_endpoint(page.context, organization_of(page), page.actor, endpoint_id)
    return page.redirect(BASE, notice="deleted")


async def rotate(page: PageRequest) -> Response:
    overlap = (await page.form()).get("overlap", OVERLAPS[0])
    if overlap not in OVERLAPS:
        raise Invalid(f"`overlap` must be one of {', '.join(OVERLAPS)}.", field="overlap")
    rotated = await rotate_secret(
        page.context,
        organization_of(page),
        page.actor,
        page.parameter("endpoint_id"),
        overlap_seconds=parse_duration(overlap),
    )
    return _secret_page(page, rotated, title="The secret is replaced")


@dataclass(frozen=True, slots=True)
class Situation:
    """How an endpoint is, in a word for the eye and in sentences: what is, and what happens next."""

    state: str
    label: str
    now: str
    next: str


def describe_state(endpoint: Endpoint, limit: int | None) -> Situation:
    """The situation of an endpoint that is switched off after `limit` failures in a row, if there is a limit. Pure."""
    match EndpointState(endpoint.state):
        case EndpointState.ACTIVE if endpoint.consecutive_failures:
            return _describe_failing(endpoint, limit)
        case EndpointState.ACTIVE:
            state = "Every event that it is subscribed to is sent to it."
            return Situation("active", "on", state, "Failed deliveries are attempted again for hours.")
        case EndpointState.PAUSED:
            what = "It was paused: no events are sent to it, and none are kept for it."
            return Situation("paused", "paused", what, "Resume it, then recover what failed and what it missed.")
        case EndpointState.GONE:
            what = "Its receiver answered 410 Gone, which ends an endpoint for good."
            return Situation("gone", "gone", what, "Add the URL again as a new endpoint, if that was a mistake.")
        case _:
            return _describe_disabled(endpoint)


def _describe_failing(endpoint: Endpoint, limit: int | None) -> Situation:
    count = endpoint.consecutive_failures
    what = f"The last {count} attempts failed." if count > 1 else "The last attempt failed."
    ahead = f"After {limit:,} failures in a row it is switched off. " if limit else ""
    return Situation("warning", "failing", what, f"{ahead}Until then each delivery is attempted again later.")


def _describe_disabled(endpoint: Endpoint) -> Situation:
    if endpoint.disabled_by_operator:
        what = "The operator of this service switched it off: nothing is sent to it."
        return Situation("disabled", "off", what, "Ask the operator to switch it on again.")
    when = f" {endpoint.disabled_at:%Y-%m-%d %H:%M} UTC" if endpoint.disabled_at else ""
    what = f"It was switched off{when}, after {endpoint.consecutive_failures} failures in a row."
    return Situation(
        "disabled", "off", what, "Mend the receiver or the URL, resume it, then recover what failed and what it missed."
    )


async def _find(page: PageRequest) -> Endpoint:
    return await get_endpoint(page.context, organization_of(page), page.parameter("endpoint_id"))


async def _switch(page: PageRequest, *, on: bool) -> Response:
    endpoint_id = page.parameter("endpoint_id")
    change = EndpointChange({"is_active": on})
    await update_endpoint(page.context, organization_of(page), page.actor, endpoint_id, change)
    return page.redirect(_path(endpoint_id), notice="resumed" if on else "paused")


async def _public_keys(page: PageRequest, endpoint: Endpoint) -> list[str]:
    try:
        return await find_public_keys(page.context, endpoint.organization_id, endpoint.id)
    except NotFound:
        return []


async def _form_page(
    page: PageRequest,
    form: EndpointForm,
    error: SendoffError | None = None,
    *,
    endpoint: Endpoint | None = None,
    settings: SettingsForm | None = None,
) -> Response:
    """`settings` are those of a new endpoint; an endpoint that is there has a page for them."""
    types: list[EventTypeView] = await list_views(page.context)
    return page.render(
        "portal/endpoint_form.html",
        status=200 if error is None else status_of(type(error)),
        endpoint=endpoint,
        form=form,
        error=error,
        ping=error if isinstance(error, PingFailed) else None,
        advice=advise_on_attempt(error.outcome, error.status_code) if isinstance(error, PingFailed) else None,
        types=types,
        extra=extra_events(form.events, {one.name for one in types}),
        everything=EVERYTHING,
        formats=FORMATS,
        settings=settings,
        auth_fields=AUTH_FIELDS,
        auth_labels=AUTH_LABELS,
        keep=KEEP,
        secrets=SECRETS,
    )


def _secret_page(page: PageRequest, registered: RegisteredEndpoint, *, title: str) -> Response:
    """The secret, shown this once, with the code that checks signatures with it."""
    return page.render(
        "portal/secret.html",
        title=title,
        registered=registered,
        programs=receiver_programs(page.context, registered.endpoint.dialect),
    )


def _path(endpoint_id: str) -> str:
    return f"{BASE}/endpoints/{endpoint_id}"


_ONE = "/endpoints/{endpoint_id}"
ROUTES = (
    get("", show_list),
    get("/endpoints/new", show_new, Capability.MANAGE),
    post("/endpoints", add, Capability.MANAGE),
    get(_ONE, show),
    get(f"{_ONE}/edit", show_edit, Capability.MANAGE),
    post(f"{_ONE}/edit", edit, Capability.MANAGE),
    post(f"{_ONE}/pause", pause, Capability.MANAGE),
    post(f"{_ONE}/resume", resume, Capability.MANAGE),
    get(f"{_ONE}/delete", show_delete, Capability.MANAGE),
    post(f"{_ONE}/delete", delete, Capability.MANAGE),
    post(f"{_ONE}/rotate", rotate, Capability.SECRETS),
)
