"""Send test events, and send again what an endpoint missed: counted first, with progress that moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import orjson
from starlette.responses import Response

from sendoff.accounts.portal_links import Capability
from sendoff.clock import iso
from sendoff.endpoints.manage import EndpointChange, get_endpoint, update_endpoint
from sendoff.endpoints.trial import try_endpoint
from sendoff.errors import Conflict, Invalid, NotFound, RateLimited, SendoffError, UnknownEventType
from sendoff.operators.replays.replay import (
    Included,
    ReplayReport,
    Selection,
    cancel_replay,
    get_replay,
    start_replay,
)
from sendoff.operators.replays.replay_preview import preview_replay
from sendoff.policy.endpoints.matching import matches
from sendoff.policy.states import EndpointState
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Endpoint

from ...customers.event_types import list_views
from ...customers.trials import TrialView
from ...http.errors import status_of
from ..page import PageRequest
from ..samples import parse_sample, sample_data
from .fields import read_since
from .surface import BASE, get, limit_actions, organization_of, post

PERIODS = {"1 hour": timedelta(hours=1), "24 hours": timedelta(days=1), "7 days": timedelta(days=7)}
"""The times since which failures can be recovered with one click."""


async def show_test(page: PageRequest) -> Response:
    return await _test_page(page, await _find(page))


async def send_test(page: PageRequest) -> Response:
    """Send the event that the form holds, and show what the receiver answered."""
    endpoint = await _find(page)
    form = await page.form()
    event_type, data = form.get("type", ""), form.get("data", "")
    try:
        event = NewEvent(event_type, orjson.dumps(parse_sample(data, field="data")))
        trial = await try_endpoint(page.context, organization_of(page), endpoint.id, event, dry_run=False)
    except (Conflict, Invalid, RateLimited, UnknownEventType) as error:
        return await _test_page(page, endpoint, chosen=event_type, data=data, error=error)
    return await _test_page(page, endpoint, chosen=event_type, data=data, trial=TrialView.of(trial))


async def show_recovery(page: PageRequest) -> Response:
    """How many failed since a time. Without one, since the endpoint last succeeded."""
    await limit_actions(page)
    endpoint = await _find(page)
    fields = {"since": iso(endpoint.last_success_at or endpoint.created_at), **page.query}
    counted, error = Counted(), None
    try:
        counted = await _count(page, _selection(page, endpoint, fields))
    except Invalid as invalid:
        error = invalid
    now = page.context.clock.now()
    return page.render(
        "portal/recover.html",
        status=200 if error is None else 400,
        endpoint=endpoint,
        fields=fields,
        counted=counted,
        error=error,
        periods={label: iso(now - period) for label, period in PERIODS.items()},
        is_on=endpoint.state == EndpointState.ACTIVE,
    )


async def recover(page: PageRequest) -> Response:
    """Send again what failed; with `resume` the endpoint is switched on first."""
    endpoint = await _find(page)
    form = await page.form()
    selection = _selection(page, endpoint, form)
    if form.get("resume") and endpoint.state != EndpointState.ACTIVE:
        if not page.may(Capability.MANAGE):
            raise Conflict("The endpoint is switched off, and your session may not switch it on; ask somebody who may.")
        change = EndpointChange({"is_active": True})
        await update_endpoint(page.context, organization_of(page), page.actor, endpoint.id, change)
    report = await start_replay(page.context, page.actor, selection)
    return page.redirect(f"{BASE}/recoveries/{report.replay.id}")


async def show_progress(page: PageRequest) -> Response:
    report = await _find_recovery(page)
    endpoint_id = str(report.replay.filter.get("endpoint_id", ""))
    template = "portal/progress_part.html" if page.is_partial else "portal/progress.html"
    return page.render(template, report=report, endpoint_id=endpoint_id)


async def cancel(page: PageRequest) -> Response:
    replay_id = (await _find_recovery(page)).replay.id
    await cancel_replay(page.context, page.actor, replay_id)
    return page.redirect(f"{BASE}/recoveries/{replay_id}", notice="cancelled")


async def _find_recovery(page: PageRequest) -> ReplayReport:
    """The replay, if it is of the organization alone. Raises NotFound."""
    report = await get_replay(page.context, page.parameter("replay_id"))
    if report.replay.filter.get("organization_id") != organization_of(page):
        raise NotFound("There is no such recovery.")
    return report


async def _find(page: PageRequest) -> Endpoint:
    return await get_endpoint(page.context, organization_of(page), page.parameter("endpoint_id"))


@dataclass(frozen=True, slots=True)
class Counted:
    """What a recovery would send."""

    given_up: int = 0
    waiting: int = 0
    """Those that wait for their retry, if they are included."""
    missed: int = 0
    """Those that were never made, if they are included."""
    is_capped: bool = False
    """Whether more were given up than are counted."""

    @property
    def total(self) -> int:
        return self.given_up + self.waiting + self.missed


async def _count(page: PageRequest, selection: Selection) -> Counted:
    found = await preview_replay(page.context, selection)
    return Counted(
        given_up=sum(share.dead for share in found.endpoints),
        waiting=sum(share.waiting for share in found.endpoints),
        missed=found.missing,
        is_capped=found.is_capped,
    )


def _selection(page: PageRequest, endpoint: Endpoint, fields: Mapping[str, str]) -> Selection:
    """What the endpoint missed. The organization is part of it, so that only its own sessions see the progress."""
    since = read_since(fields.get("since", ""))
    chosen = DeadLetterFilter(organization_id=organization_of(page), endpoint_id=endpoint.id, since=since)
    include = (Included.DEAD, Included.PENDING) if fields.get("waiting") else (Included.DEAD,)
    return Selection(chosen, include=include, missing=bool(fields.get("missed")))


async def _test_page(
    page: PageRequest,
    endpoint: Endpoint,
    *,
    chosen: str = "",
    data: str | None = None,
    trial: TrialView | None = None,
    error: SendoffError | None = None,
) -> Response:
    types = [one for one in await list_views(page.context) if matches(endpoint.events, one.name)]
    wanted, example = sample_data(types, endpoint.events, chosen or page.query.get("type", ""))
    return page.render(
        "portal/test.html",
        status=200 if error is None else status_of(type(error)),
        endpoint=endpoint,
        types=types,
        chosen=wanted,
        data=example if data is None else data,
        trial=trial,
        error=error,
    )


_ONE = "/endpoints/{endpoint_id}"
ROUTES = (
    get(f"{_ONE}/test", show_test, Capability.TEST),
    post(f"{_ONE}/test", send_test, Capability.TEST),
    get(f"{_ONE}/recover", show_recovery, Capability.RESEND),
    post(f"{_ONE}/recover", recover, Capability.RESEND),
    get("/recoveries/{replay_id}", show_progress),
    post("/recoveries/{replay_id}/cancel", cancel, Capability.RESEND),
)
