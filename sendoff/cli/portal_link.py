"""`sendoff portal-link`: a link that opens the customers' portal of an organization once."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.accounts.portal_links import (
    DEFAULT_LINK_SECONDS,
    DEFAULT_SESSION_SECONDS,
    Capability,
    NewPortalLink,
    PortalLink,
    create_portal_link,
)
from sendoff.audit import Actor
from sendoff.cli.terminal.output import print_json
from sendoff.cli.terminal.session import DEFAULT_DATA, AsJson, Data, change
from sendoff.clock import iso
from sendoff.context import Context
from sendoff.settings import parse_duration

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where `sendoff up` listens unless it is told otherwise."""


def portal_link(
    org: Annotated[str, typer.Option(metavar="ID", help="The organization whose portal it opens.")],
    capability: Annotated[
        list[Capability] | None,
        typer.Option(metavar="NAME", help=f"Repeatable: {', '.join(Capability)}. Default: all.", show_default=False),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="The member whose endpoints it registers; default: the first.")
    ] = None,
    expires_in: Annotated[str, typer.Option(metavar="TIME", help="How long the link waits to be opened.")] = (
        f"{DEFAULT_LINK_SECONDS}s"
    ),
    session: Annotated[str, typer.Option(metavar="TIME", help="How long the portal stays open afterwards.")] = (
        f"{DEFAULT_SESSION_SECONDS}s"
    ),
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"Where the API is reached; default: SENDOFF_PUBLIC_URL, or {DEFAULT_URL}."),
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Print a link that opens the portal of an organization, once: to see what a customer sees, or to hand it out."""
    new = NewPortalLink(
        capabilities=capability or tuple(Capability),
        expires_in=_seconds(expires_in, "--expires-in"),
        session_seconds=_seconds(session, "--session"),
    )

    async def create(context: Context, actor: Actor) -> PortalLink:
        base_url = url or context.settings.public_url or DEFAULT_URL
        return await create_portal_link(context, actor, new, base_url=base_url, organization_id=org, email=user)

    link = change(data, create)
    if as_json:
        print_json({"url": link.url, "expires_at": iso(link.expires_at)})
        return
    typer.echo(link.url)
    typer.echo(f"It opens once, until {iso(link.expires_at)}. Whoever has it may open it.", err=True)


def _seconds(text: str, option: str) -> int:
    try:
        return int(parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
