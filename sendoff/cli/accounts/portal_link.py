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
from sendoff.cli.terminal.installation import Call, Installation
from sendoff.cli.terminal.options import command
from sendoff.cli.terminal.output import Output, print_json
from sendoff.clock import iso, parse_duration
from sendoff.context import Context

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where `sendoff up` listens by default."""


@command
def portal_link(
    on: Installation,
    out: Output,
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
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"Where the API is reached; default: SENDOFF_PUBLIC_URL, or {DEFAULT_URL}."),
    ] = None,
) -> None:
    """Print a link that opens the portal of an organization, once: to see what a customer sees, or to hand it out."""
    new = NewPortalLink(
        capabilities=capability or tuple(Capability),
        expires_in=_seconds(expires_in, "--expires-in"),
        session_seconds=_seconds(session, "--session"),
    )

    organization = on.find("organization", org)

    async def create(context: Context, actor: Actor) -> PortalLink:
        base = base_url or context.settings.public_url or DEFAULT_URL
        return await create_portal_link(context, actor, new, base_url=base, organization_id=organization, email=user)

    body = {
        "organization_id": organization,
        "user": user,
        "capabilities": [str(one) for one in new.capabilities],
        "expires_in": new.expires_in,
        "session_seconds": new.session_seconds,
    }
    link = on.change(
        create,
        lambda made: {"url": made.url, "expires_at": iso(made.expires_at)},
        Call("POST", "/operator/v1/portal-links", body=body),
    )
    if out.as_json:
        print_json(link)
        return
    typer.echo(link["url"])
    typer.echo(f"It opens once, until {link['expires_at']}. Anyone who has it may open it.", err=True)


def _seconds(text: str, option: str) -> int:
    try:
        return int(parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
