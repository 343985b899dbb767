"""Dead letters: the list, the page of one, and discarding those that a filter matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sendoff.accounts.organizations import find_names
from sendoff.errors import Invalid
from sendoff.operators.actions import discard_dead_letter, discard_dead_letters, retry_delivery
from sendoff.operators.queries import get_dead_letter, list_dead_letters
from sendoff.operators.replays.replay import Selection
from sendoff.operators.replays.replay_preview import ReplayPreview, preview_replay
from sendoff.policy.states import DeadLetterReason, DeadLetterState, EndpointState
from sendoff.store.engine.paging import PAGE_SECONDS

from ...http.pagination import decode_cursor, searched_page
from ...http.validation import validate
from ...operator.traffic.dead_letters import DeadLetterView, DetailedDeadLetter
from ...operator.traffic.filters import DeadLetterConditions, DeadLetterQuery, NewDiscard
from ..lists import FORMATS, export, shows_errors
from ..page import PageRequest
from .replays import CONFIRM_ABOVE, STATUS_CLASSES, is_confirmed
from .surface import BASE, DASHBOARD

_CHOICES: dict[str, Any] = {
    "reasons": [*DeadLetterReason],
    "states": [*DeadLetterState],
    "status_classes": STATUS_CLASSES,
}
"""What the filters offer."""


@shows_errors("dashboard/dead_letters.html", rows=(), scanned_back_to=None, **_CHOICES)
async def show_list(page: PageRequest) -> Response:
    query = validate(DeadLetterQuery, page.filters)
    before = decode_cursor(query.cursor)
    found = await list_dead_letters(
        page.context, query.filter(), limit=query.limit + 1, before=before, seconds=PAGE_SECONDS
    )
    shown = searched_page(found, query.limit, identify=lambda letter: letter.id, show=DeadLetterView.model_validate)
    return export(page, shown.data, shown.next_cursor, "dead-letters") or page.render(
        "dashboard/dead_letters.html",
        rows=shown.data,
        next_cursor=shown.next_cursor,
        scanned_back_to=shown.scanned_back_to,
        **_CHOICES,
    )


async def show(page: PageRequest) -> Response:
    report = await get_dead_letter(page.context, page.parameter("dead_letter_id"))
    return page.render(
        "dashboard/dead_letter.html",
        view=DetailedDeadLetter.of(report),
        names=await find_names(page.context, [report.letter.organization_id]),
        is_active=report.delivery.endpoint_state is EndpointState.ACTIVE,
    )


async def discard(page: PageRequest) -> Response:
    dead_letter_id = page.parameter("dead_letter_id")
    await discard_dead_letter(page.context, page.actor, dead_letter_id)
    return page.redirect(f"{BASE}/dead-letters/{dead_letter_id}", notice="discarded")


async def retry(page: PageRequest) -> Response:
    report = await get_dead_letter(page.context, page.parameter("dead_letter_id"))
    await retry_delivery(page.context, page.actor, report.letter.delivery_id)
    return page.redirect(f"{BASE}/deliveries/{report.letter.delivery_id}", notice="retried")


async def show_discard(page: PageRequest) -> Response:
    """How many open dead letters the filter matches, and some of them, before they are discarded."""
    return await _discard_page(page, {name: value for name, value in page.filters.items() if name != "state"})


async def discard_matching(page: PageRequest) -> Response:
    """Discard what the page counted, or show it again with what is wrong."""
    form = {name: value for name, value in (await page.form()).items() if value.strip()}
    if not is_confirmed(form):
        message = "Type the number of dead letters, as the page shows it."
        return await _discard_page(page, form, error=message, status=400)
    body = {"filter": _conditions(form), "all": "everything" in form}
    try:
        new = validate(NewDiscard, body)
        await discard_dead_letters(page.context, page.actor, new.filter.filter(), everything=new.everything)
    except Invalid as error:
        return await _discard_page(page, form, error=error.message, status=400)
    return page.redirect(f"{BASE}/failures", notice="discarded-matching")


async def _discard_page(
    page: PageRequest, given: Mapping[str, str], *, error: str | None = None, status: int = 200
) -> Response:
    chosen, preview = _conditions(given), ReplayPreview((), (), 0)
    try:
        preview = await preview_replay(page.context, Selection(validate(DeadLetterConditions, chosen).filter()))
    except Invalid as invalid:
        error, status = error or invalid.message, 400
    return page.render(
        "dashboard/discard.html",
        status=status,
        error=error,
        chosen=chosen,
        preview=preview,
        count=preview.count,
        confirm_above=CONFIRM_ABOVE,
        reasons=[*DeadLetterReason],
    )


def _conditions(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given[name] for name in DeadLetterConditions.model_fields if name in given}


ROUTES = (
    *(DASHBOARD.get(f"{BASE}/dead-letters{ending}", show_list) for ending in FORMATS),
    DASHBOARD.get(f"{BASE}/dead-letters/discard", show_discard),
    DASHBOARD.post(f"{BASE}/dead-letters/discard", discard_matching),
    DASHBOARD.get(f"{BASE}/dead-letters/{{dead_letter_id}}", show),
    DASHBOARD.post(f"{BASE}/dead-letters/{{dead_letter_id}}/discard", discard),
    DASHBOARD.post(f"{BASE}/dead-letters/{{dead_letter_id}}/retry", retry),
)
