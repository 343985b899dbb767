"""`sendoff audit-log`: who changed or sent what, when."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation, as_query
from sendoff.cli.terminal.options import Before, LimitOption, OrganizationOption, list_command
from sendoff.cli.terminal.output import Output
from sendoff.cli.terminal.serializers import serialize_audit_entry
from sendoff.cli.terminal.time_options import Since, Until, parse_past
from sendoff.operators import queries
from sendoff.store.queries.audit import AuditFilter


@list_command
def audit_log(
    on: Installation,
    out: Output,
    org: OrganizationOption = None,
    actor: Annotated[
        str | None, typer.Option(metavar="NAME", help="By this one only: `cli:ada`, `key:od_live_AbCd`.")
    ] = None,
    action: Annotated[str | None, typer.Option(metavar="NAME", help="This only, such as `endpoint.update`.")] = None,
    target: Annotated[str | None, typer.Option(metavar="ID", help="To this only: its whole id.")] = None,
    since: Since = None,
    until: Until = None,
    limit: LimitOption = 50,
    before: Before = None,
) -> None:
    """List changes and manual sends with their actors, newest first."""
    chosen = AuditFilter(
        organization_id=on.find_any("organization", org),
        actor=actor,
        action=action,
        target_id=target,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
    )
    page = on.page(
        lambda context, most, start: queries.list_audit(context, chosen, limit=most, before=start),
        serialize_audit_entry,
        Call("GET", "/operator/v1/audit", as_query(chosen)),
        limit=limit,
        before=before,
    )
    out.page(page, columns.AUDIT)
