"""`sendoff audit-log`: who changed or sent what, when."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal.output import print_page
from sendoff.cli.terminal.serializers import serialize_audit_entry
from sendoff.cli.terminal.session import (
    DEFAULT_DATA,
    AsJson,
    Before,
    Data,
    LimitOption,
    OrganizationOption,
    run_with_context,
)
from sendoff.cli.terminal.time_options import Since, Until, parse_past
from sendoff.operators import queries
from sendoff.store.queries.audit import AuditFilter


def audit_log(
    org: OrganizationOption = None,
    actor: Annotated[
        str | None, typer.Option(metavar="NAME", help="By this one only: `cli:ada`, `key:od_live_AbCd`.")
    ] = None,
    action: Annotated[str | None, typer.Option(metavar="NAME", help="This only, such as `endpoint.update`.")] = None,
    target: Annotated[str | None, typer.Option(metavar="ID", help="To this only.")] = None,
    since: Since = None,
    until: Until = None,
    limit: LimitOption = 50,
    before: Before = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """List changes and manual sends with their actors, newest first."""
    chosen = AuditFilter(
        organization_id=org,
        actor=actor,
        action=action,
        target_id=target,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
    )
    found = run_with_context(
        data, lambda context, _: queries.list_audit(context, chosen, limit=limit + 1, before=before)
    )
    columns = ["at", "actor", "action", "target_type", "target_id", "organization_id"]
    print_page([serialize_audit_entry(entry) for entry in found], limit=limit, columns=columns, as_json=as_json)
