"""Replays: the wizard that counts first, and the page of one whose progress moves."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from sendoff.errors import Invalid
from sendoff.operators.replays.replay import (
    DEFAULT_RATE,
    HIGHEST_RATE,
    Selection,
    cancel_replay,
    count_replay,
    get_replay,
    list_replays,
    start_replay,
)
from sendoff.operators.replays.replay_preview import ReplayPreview, preview_replay
from sendoff.policy.states import DeadLetterReason, ReplayState

from ...http.pagination import decode_cursor, split_page
from ...http.validation import validate
from ...operator.schemas import ListQuery
from ...operator.traffic.filters import NewReplay, ReplayFilter
from ...operator.traffic.replays import ReplayView
from ..lists import FORMATS, export
from ..page import PageRequest
from .surface import BASE, DASHBOARD

CONFIRM_ABOVE = 1_000
"""Deliveries from which on the number has to be typed in. Lower, and people type without reading."""

STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")
"""What lists and the wizard offer as classes of the last answer's status."""

_FIELDS = (*ReplayFilter.model_fields, "pending")


async def show_list(page: PageRequest) -> Response:
    query = validate(ListQuery, page.filters)
    found = await list_replays(page.context, limit=query.limit + 1, before=decode_cursor(query.cursor))
    listed, cursor = split_page(found, query.limit, lambda report: report.replay.id)
    rows = [ReplayView.of(report) for report in listed]
    return export(page, rows, cursor, "replays") or page.render(
        "dashboard/replays.html", reports=listed, next_cursor=cursor
    )


async def show_wizard(page: PageRequest) -> Response:
    given = dict(page.filters)
    selected = page.request.query_params.getlist("delivery_ids")  # a list's checkboxes send one each
    if selected:
        given["delivery_ids"] = " ".join(selected)
    return await _wizard(page, given)


async def start(page: PageRequest) -> Response:
    """Start what the wizard showed, or show it again with what is wrong."""
    form = {name: value for name, value in (await page.form()).items() if value.strip()}
    if not is_confirmed(form):
        return await _wizard(page, form, error="Type the number of deliveries, as the page shows it.", status=400)
    try:
        chosen = _new_replay(form)
        report = await start_replay(page.context, page.actor, chosen.selection(), rate=chosen.rate)
    except Invalid as error:
        return await _wizard(page, form, error=error.message, status=400)
    return page.redirect(f"{BASE}/replays/{report.replay.id}", notice="replay-started")


async def show(page: PageRequest) -> Response:
    """The replay; a script that polls gets the part that moves."""
    report = await get_replay(page.context, page.parameter("replay_id"))
    template = "dashboard/replay_progress.html" if page.is_partial else "dashboard/replay.html"
    return page.render(template, report=report, running=report.replay.state == ReplayState.RUNNING)


async def cancel(page: PageRequest) -> Response:
    replay_id = page.parameter("replay_id")
    await cancel_replay(page.context, page.actor, replay_id)
    return page.redirect(f"{BASE}/replays/{replay_id}", notice="replay-cancelled")


async def _wizard(
    page: PageRequest, given: Mapping[str, str], *, error: str | None = None, status: int = 200
) -> Response:
    """What was chosen and how many that are; with what is wrong, where it was typed in."""
    preview: ReplayPreview | None = ReplayPreview((), (), 0)
    count, rate = 0, DEFAULT_RATE
    try:
        chosen = _new_replay(given, counts_only=True)
        rate = chosen.rate
        preview, count = await _count(page, chosen.selection())
    except Invalid as invalid:
        error, status = error or invalid.message, 400
    return page.render(
        "dashboard/replay_new.html",
        status=status,
        error=error,
        chosen={name: given[name] for name in _FIELDS if name in given},
        preview=preview,
        count=count,
        rate=rate,
        seconds=count // rate + 1,
        confirm_above=CONFIRM_ABOVE,
        reasons=[*DeadLetterReason],
        status_classes=STATUS_CLASSES,
    )


async def _count(page: PageRequest, selection: Selection) -> tuple[ReplayPreview | None, int]:
    """A preview by endpoint, or the number alone of deliveries that were chosen one by one."""
    if selection.delivery_ids is not None:
        count, _ = await count_replay(page.context, selection)
        return None, count
    preview = await preview_replay(page.context, selection)
    return preview, preview.count


def _new_replay(given: Mapping[str, str], *, counts_only: bool = False) -> NewReplay:
    """The replay that the form's fields mean, as the API would take it. Raises Invalid."""
    chosen: dict[str, object] = {name: given[name] for name in ReplayFilter.model_fields if name in given}
    if "delivery_ids" in given:
        chosen["delivery_ids"] = given["delivery_ids"].replace(",", " ").split()
    rate = given.get("rate", str(DEFAULT_RATE))
    if not (rate.isascii() and rate.isdigit() and len(rate) < 10):
        raise Invalid(f"`rate` takes deliveries a second from 1 to {HIGHEST_RATE:,}.", field="rate")
    body = {
        "filter": chosen,
        "include": ["dead", "pending"] if "pending" in given else ["dead"],
        "all": "everything" in given,
        "dry_run": counts_only,
        "rate": int(rate),
    }
    return validate(NewReplay, body)


def is_confirmed(form: Mapping[str, str]) -> bool:
    """Whether the number that a form acts on was typed in, if it is large."""
    counted = form.get("counted", "0")
    is_large = counted.isdecimal() and (len(counted) > 9 or int(counted) > CONFIRM_ABOVE)
    return not is_large or form.get("confirm", "").replace(",", "") == counted


ROUTES = (
    *(DASHBOARD.get(f"{BASE}/replays{ending}", show_list) for ending in FORMATS),
    DASHBOARD.get(f"{BASE}/replays/new", show_wizard),
    DASHBOARD.post(f"{BASE}/replays", start),
    DASHBOARD.get(f"{BASE}/replays/{{replay_id}}", show),
    DASHBOARD.post(f"{BASE}/replays/{{replay_id}}/cancel", cancel),
)
