"""Dead letters, one by one and in groups of those that failed alike."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.responses import Response

from sendoff.clock import iso
from sendoff.operators.actions import discard_dead_letter, retry_delivery
from sendoff.operators.failures import list_failures
from sendoff.operators.queries import get_dead_letter, list_dead_letters
from sendoff.policy.states import DeadLetterReason, DeadLetterState
from sendoff.store.queries.traffic.failures import LOOKED_AT, FailureGroup

from ...http.pagination import decode_cursor, split_page
from ...http.validation import validate
from ...operator.traffic.dead_letters import DeadLetterView, DetailedDeadLetter
from ...operator.traffic.filters import DeadLetterQuery
from ..lists import FORMATS, export
from ..page import Page
from .surface import BASE, DASHBOARD


async def show_list(page: Page) -> Response:
    query = validate(DeadLetterQuery, page.filters)
    before = decode_cursor(query.cursor)
    found = await list_dead_letters(page.context, query.filter(), limit=query.limit + 1, before=before)
    listed, cursor = split_page(found, query.limit, lambda letter: letter.id)
    rows = [DeadLetterView.model_validate(letter) for letter in listed]
    return export(page, rows, cursor, "dead-letters") or page.render(
        "dashboard/dead_letters.html",
        rows=rows,
        next_cursor=cursor,
        reasons=[*DeadLetterReason],
        states=[*DeadLetterState],
    )


async def show(page: Page) -> Response:
    report = await get_dead_letter(page.context, page.parameter("dead_letter_id"))
    return page.render("dashboard/dead_letter.html", view=DetailedDeadLetter.of(report))


async def discard(page: Page) -> Response:
    dead_letter_id = page.parameter("dead_letter_id")
    await discard_dead_letter(page.context, page.actor, dead_letter_id)
    return page.redirect(f"{BASE}/dead-letters/{dead_letter_id}", notice="discarded")


async def retry(page: Page) -> Response:
    report = await get_dead_letter(page.context, page.parameter("dead_letter_id"))
    await retry_delivery(page.context, page.actor, report.letter.delivery_id)
    return page.redirect(f"{BASE}/deliveries/{report.letter.delivery_id}", notice="retried")


async def show_failures(page: Page) -> Response:
    groups = await list_failures(page.context, endpoint_id=page.query.get("endpoint_id"))
    return page.render("dashboard/failures.html", groups=groups, looked_at=LOOKED_AT, replay_url=replay_url)


def replay_url(group: FailureGroup) -> str:
    """The wizard with the group's deliveries chosen."""
    chosen = {
        "endpoint_id": group.endpoint_id,
        "reason": group.reason,
        "response_status": group.response_status,
        "since": iso(group.first_at) if group.reason is not None else None,
        "pending": None if group.reason is not None else "1",
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    return f"{BASE}/replays/new?{urlencode(given)}"


ROUTES = (
    *(DASHBOARD.get(f"{BASE}/dead-letters{ending}", show_list) for ending in FORMATS),
    DASHBOARD.get(f"{BASE}/dead-letters/{{dead_letter_id}}", show),
    DASHBOARD.post(f"{BASE}/dead-letters/{{dead_letter_id}}/discard", discard),
    DASHBOARD.post(f"{BASE}/dead-letters/{{dead_letter_id}}/retry", retry),
    DASHBOARD.get(f"{BASE}/failures", show_failures),
)
