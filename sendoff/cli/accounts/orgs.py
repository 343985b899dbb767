"""`sendoff orgs`: organizations, their credits and their members."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from sendoff.accounts import organizations
from sendoff.audit import Actor
from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation
from sendoff.cli.terminal.options import Before, LimitOption, command, list_command
from sendoff.cli.terminal.output import Output, print_json
from sendoff.cli.terminal.serializers import serialize_organization
from sendoff.context import Context
from sendoff.operators.installation.moving import Move, MoveResult
from sendoff.processes.startup import open_context
from sendoff.settings import load, read_environment_file

HIGHEST_CREDITS = 2**63 - 1
"""The largest balance that a database column holds."""

_PATH = "/operator/v1/organizations"

OrganizationId = Annotated[str, typer.Argument(metavar="ID")]

app = typer.Typer(help="Organizations, their credits and their members.", no_args_is_help=True)


@app.command()
@command
def create(
    on: Installation,
    out: Output,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    credits: Annotated[  # noqa: A002 - the option's name
        int | None,
        typer.Option(
            min=0,
            max=HIGHEST_CREDITS,
            metavar="N",
            help="Give it an active subscription with N credits. Without this option the organization has no "
            "subscription and cannot upload.",
        ),
    ] = None,
) -> None:
    """Create an organization; with --credits it has an active subscription, without it has none."""
    created = on.change(
        lambda context, actor: organizations.create_organization(context, actor, name=name, credits=credits),
        serialize_organization,
        Call("POST", _PATH, body={"name": name, "credits": credits}),
    )
    out.document(created)


@app.command("list")
@list_command
def list_(on: Installation, out: Output, limit: LimitOption = 1000, before: Before = None) -> None:
    """Organizations, newest first."""
    page = on.page(
        lambda context, most, start: organizations.page_organizations(context, limit=most, before=start),
        serialize_organization,
        Call("GET", _PATH),
        limit=limit,
        before=before,
    )
    out.page(page, columns.ORGANIZATIONS)


@app.command()
@command
def show(on: Installation, out: Output, organization: OrganizationId) -> None:
    """One organization."""
    found = on.find("organization", organization)
    document = on.read(
        lambda context, _: organizations.get_organization(context, found),
        serialize_organization,
        Call("GET", f"{_PATH}/{found}"),
    )
    out.document(document)


@app.command()
@command
def set_credits(
    on: Installation,
    out: Output,
    organization: OrganizationId,
    credits: Annotated[  # noqa: A002 - the argument's name
        int | None, typer.Argument(min=0, max=HIGHEST_CREDITS, metavar="N", help="The new balance.", show_default=False)
    ] = None,
    no_subscription: Annotated[
        bool, typer.Option("--no-subscription", help="End the subscription instead: no credits, no uploads.")
    ] = False,
) -> None:
    """Set an organization's credits (which starts its subscription), or end the subscription."""
    if (credits is None) != no_subscription:
        raise typer.BadParameter("give either N or --no-subscription", param_hint="N")
    found = on.find("organization", organization)
    changed = on.change(
        lambda context, actor: organizations.set_credits(context, actor, found, credits),
        serialize_organization,
        Call("PATCH", f"{_PATH}/{found}", body={"credits": credits}),
    )
    out.document(changed)


@app.command()
@command
def suspend(on: Installation, out: Output, organization: OrganizationId) -> None:
    """Refuse the organization's keys and tokens until it is resumed. Deliveries that are under way continue."""
    _switch(on, out, organization, suspended=True)


@app.command()
@command
def resume(on: Installation, out: Output, organization: OrganizationId) -> None:
    """Take a suspended organization's keys and tokens again."""
    _switch(on, out, organization, suspended=False)


@app.command()
@command
def remove_user(
    on: Installation,
    out: Output,
    org: Annotated[str, typer.Option(metavar="ID", help="The organization.")],
    user: Annotated[str, typer.Option(metavar="EMAIL", help="Who is removed.")],
) -> None:
    """Remove a user from an organization and revoke the API keys that this user minted there."""
    organization = on.find("organization", org)
    removed = on.change(
        lambda context, actor: organizations.remove_member(context, actor, organization_id=organization, email=user),
        lambda revoked: {"organization_id": organization, "user": user, "revoked_keys": revoked},
        Call("DELETE", f"{_PATH}/{organization}/members/{quote(user, safe='')}"),
    )
    if out.as_json:
        print_json(removed)
    else:
        typer.echo(f"{user} is removed; API keys revoked: {len(removed['revoked_keys'])}.")


@app.command()
@command
def move(
    on: Installation,
    out: Output,
    organization: OrganizationId,
    cell: Annotated[str, typer.Option("--cell", metavar="NAME", help="The new cell, as SENDOFF_CELLS names it.")],
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            metavar="FILE",
            help="The new cell's SENDOFF_DATABASE_URL, SENDOFF_REDIS_URL and SENDOFF_SECRET_KEYS, a line each.",
        ),
    ],
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Give up a move that has not handed over yet; the old cell goes on.")
    ] = False,
) -> None:
    """Move an organization to another cell; its requests are answered 503 meanwhile. Safe to repeat after a failure."""
    on.announce()
    found = on.find("organization", organization)
    settings = load(**read_environment_file(to))

    async def work(context: Context, actor: Actor) -> MoveResult | None:
        async with open_context(settings) as target:
            asked = Move(context, target, found, cell, actor, report=lambda text: typer.echo(text, err=True))
            if not give_up:
                return await asked.run()
            await asked.give_up()
            return None

    moved = on.run(work)
    if moved is None:
        typer.echo("Given up: the organization stays.", err=True)
    elif out.as_json:
        print_json({name: getattr(moved, name) for name in ("endpoints", "open_deliveries", "events")})
    else:
        typer.echo(
            f"{moved.endpoints} endpoints, {moved.open_deliveries} open deliveries, {moved.events} events moved."
        )


def _switch(on: Installation, out: Output, organization: str, *, suspended: bool) -> None:
    found = on.find("organization", organization)
    changed = on.change(
        lambda context, actor: organizations.suspend_organization(context, actor, found, suspended=suspended),
        serialize_organization,
        Call("POST", f"{_PATH}/{found}/{'suspend' if suspended else 'resume'}"),
    )
    out.document(changed)
