"""`sendoff dashboard`: a link that opens the operators' dashboard once."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.accounts.page_sessions import DashboardLink, create_dashboard_link
from sendoff.audit import Actor
from sendoff.cli.accounts.portal_link import DEFAULT_URL
from sendoff.cli.terminal.installation import Installation
from sendoff.cli.terminal.options import command
from sendoff.cli.terminal.output import Output, print_json
from sendoff.clock import iso
from sendoff.context import Context


@command
def dashboard(
    on: Installation,
    out: Output,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"Where the API is reached; default: SENDOFF_PUBLIC_URL, or {DEFAULT_URL}."),
    ] = None,
) -> None:
    """Print a link that logs you in to the dashboard, once: anyone who has the database needs no operator's key."""

    async def create(context: Context, actor: Actor) -> DashboardLink:
        base = base_url or context.settings.public_url or DEFAULT_URL
        return await create_dashboard_link(context, actor, base_url=base)

    link = on.run(create)
    if out.as_json:
        print_json({"url": link.url, "expires_at": iso(link.expires_at)})
        return
    typer.echo(link.url)
    typer.echo(f"It opens once, until {iso(link.expires_at)}. Anyone who has it may open it.", err=True)
