"""`sendoff tail`: attempts as they happen."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from sendoff.cli.terminal.installation import Call, Document, Installation, as_query
from sendoff.cli.terminal.options import EndpointOption, OrganizationOption, command
from sendoff.cli.terminal.output import Output, print_json
from sendoff.cli.terminal.serializers import serialize_listed_attempt
from sendoff.cli.terminal.tables import Column, find_width, render
from sendoff.cli.terminal.values import show_host
from sendoff.clock import SystemClock
from sendoff.operators.queries import list_attempts
from sendoff.store.queries.traffic.delivery_history import AttemptFilter

_POLL_SECONDS = 1.0
_OVERLAP = timedelta(seconds=60)
"""An attempt is listed when it has ended, and is looked for by when it was started: at most this long before."""

_MOST = 1_000
_REMEMBERED = 20_000

_COLUMNS = (
    Column("at"),
    Column("mark"),
    Column("type", least=12),
    Column("endpoint", least=16, is_url=True),
    Column("try"),
    Column("result"),
    Column("duration", rank=2),
    Column("error", rank=1, least=12),
    Column("id", is_id=True),
)


@command
def tail(
    on: Installation,
    out: Output,
    org: OrganizationOption = None,
    endpoint: EndpointOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only attempts that did not deliver.")] = False,
    last: Annotated[
        int, typer.Option("--last", "-n", min=0, max=1000, metavar="N", help="First those of before.")
    ] = 10,
    once: Annotated[bool, typer.Option("--once", help="Print those of before, of the last hour, and end.")] = False,
) -> None:
    """Show attempts as they end, a line each; with --json a line of JSON each. Ctrl-C ends it."""
    organization_id, endpoint_id = on.find_any("organization", org), on.find_any("endpoint", endpoint)
    shown: deque[tuple[str, int]] = deque(maxlen=_REMEMBERED)

    def look(opened: Installation, since: datetime, limit: int) -> list[Document]:
        chosen = AttemptFilter(since, organization_id, endpoint_id, failed)
        query = as_query(chosen) | {"limit": limit, "failed": failed or None}
        page: Document = opened.read(
            lambda context, _: list_attempts(context, chosen, limit=limit),
            lambda found: {"data": [serialize_listed_attempt(one) for one in found]},
            Call("GET", "/operator/v1/attempts", query),
        )
        return [one for one in page["data"] if (one["delivery_id"], one["number"]) not in shown]

    with on.open() as opened:
        try:
            before = look(opened, SystemClock().now() - timedelta(hours=1), _MOST)
            _print(before[-last:] if last else [], out)
            shown.extend((one["delivery_id"], one["number"]) for one in before)
            while not once:
                time.sleep(_POLL_SECONDS)
                new = look(opened, SystemClock().now() - _OVERLAP, _MOST)
                shown.extend((one["delivery_id"], one["number"]) for one in new)
                _print(new, out)
        except KeyboardInterrupt:
            return


def _print(attempts: list[Document], out: Output) -> None:
    for one in attempts:
        if out.as_json:
            print_json(one)
        else:
            typer.echo(_line(one, find_width()))


def _line(one: dict[str, Any], width: int | None) -> str:
    is_good = one["outcome"] == "ok"
    row = {
        "at": datetime.fromisoformat(one["started_at"]).astimezone().strftime("%H:%M:%S"),
        "mark": "✓" if is_good else "✗",
        "type": one["event_type"],
        "endpoint": show_host(one["endpoint_url"]),
        "try": f"try {one['number']}",
        "result": one["response_status"] or one["outcome"],
        "duration": f"{one['duration_ms']} ms",
        "id": one["delivery_id"],
    }
    return render([row if is_good else row | {"error": one["error"] or ""}], _COLUMNS, width=width)[1]
