"""`sendoff orgs`: organizations, their credits and their members."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sendoff.accounts import organizations
from sendoff.cli.terminal.output import print_fields, print_json, print_table
from sendoff.cli.terminal.serializers import serialize_organization
from sendoff.cli.terminal.session import DEFAULT_DATA, AsJson, Data, change, run_with_context

HIGHEST_CREDITS = 2**63 - 1
"""The largest balance that a database column holds."""

app = typer.Typer(help="Organizations, their credits and their members.", no_args_is_help=True)


@app.command()
def create(
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
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Create an organization; with --credits it has an active subscription, without it has none."""
    created = change(
        data, lambda context, actor: organizations.create_organization(context, actor, name=name, credits=credits)
    )
    (print_json if as_json else print_fields)(serialize_organization(created))


@app.command("list")
def list_(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """All organizations, newest first."""
    found = run_with_context(data, lambda context, _: organizations.list_organizations(context))
    rows = [serialize_organization(organization) for organization in found]
    if as_json:
        print_json({"data": rows})
    else:
        print_table(rows, ["id", "name", "credits", "suspended_at", "created_at"])


@app.command()
def set_credits(
    organization: Annotated[str, typer.Argument(metavar="ID")],
    credits: Annotated[  # noqa: A002 - the argument's name
        int | None, typer.Argument(min=0, max=HIGHEST_CREDITS, metavar="N", help="The new balance.", show_default=False)
    ] = None,
    no_subscription: Annotated[
        bool, typer.Option("--no-subscription", help="End the subscription instead: no credits, no uploads.")
    ] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Set an organization's credits (which starts its subscription), or end the subscription."""
    if (credits is None) != no_subscription:
        raise typer.BadParameter("give either N or --no-subscription", param_hint="N")
    changed = change(data, lambda context, actor: organizations.set_credits(context, actor, organization, credits))
    (print_json if as_json else print_fields)(serialize_organization(changed))


@app.command()
def suspend(
    organization: Annotated[str, typer.Argument(metavar="ID")], data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    """Refuse the organization's keys and tokens until it is resumed. Deliveries that are under way continue."""
    _switch(organization, data, suspended=True, as_json=as_json)


@app.command()
def resume(
    organization: Annotated[str, typer.Argument(metavar="ID")], data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    """Take a suspended organization's keys and tokens again."""
    _switch(organization, data, suspended=False, as_json=as_json)


@app.command()
def remove_user(
    org: Annotated[str, typer.Option(metavar="ID", help="The organization.")],
    user: Annotated[str, typer.Option(metavar="EMAIL", help="Who is removed.")],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Remove a user from an organization and revoke the API keys that this user minted there."""
    revoked = change(
        data, lambda context, actor: organizations.remove_member(context, actor, organization_id=org, email=user)
    )
    if as_json:
        print_json({"organization_id": org, "user": user, "revoked_keys": revoked})
    else:
        typer.echo(f"{user} is removed; API keys revoked: {len(revoked)}.")


def _switch(organization: str, data: Path, *, suspended: bool, as_json: bool) -> None:
    changed = change(
        data,
        lambda context, actor: organizations.suspend_organization(context, actor, organization, suspended=suspended),
    )
    (print_json if as_json else print_fields)(serialize_organization(changed))
