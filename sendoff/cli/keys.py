"""`sendoff keys`: API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.accounts import organizations
from sendoff.accounts.authentication import SCOPES, UPLOADS_READ, UPLOADS_WRITE, WEBHOOKS_MANAGE
from sendoff.cli.terminal.output import print_json, print_table
from sendoff.cli.terminal.serializers import serialize_key
from sendoff.cli.terminal.session import DEFAULT_DATA, AsJson, Data, change, run_with_context
from sendoff.cli.terminal.time_options import parse_future
from sendoff.clock import iso

app = typer.Typer(help="API keys.", no_args_is_help=True)

CUSTOMER_SCOPES = (UPLOADS_WRITE, UPLOADS_READ, WEBHOOKS_MANAGE)
"""The default scopes of a new key: all customer scopes and no operator scope."""


@app.command()
def create(
    org: Annotated[str, typer.Option(metavar="ID", help="The organization that the key belongs to.")],
    user: Annotated[str, typer.Option(metavar="EMAIL", help="Who mints it; becomes a member by it.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help=f"What the key may do, repeatable: {', '.join(SCOPES)}. Default: {', '.join(CUSTOMER_SCOPES)}.",
            show_default=False,
        ),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it works, such as 12h or 30d; default: for good.")
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Mint an API key. It is shown this once: only its hash is stored."""
    scopes = tuple(dict.fromkeys(scope)) if scope else CUSTOMER_SCOPES
    expires_at = parse_future(expires_in, "--expires-in")
    minted = change(
        data,
        lambda context, actor: organizations.create_key(
            context, actor, organization_id=org, email=user, scopes=scopes, expires_at=expires_at
        ),
    )
    if as_json:
        expiry = iso(expires_at) if expires_at else None
        print_json({"id": minted.id, "key": minted.key, "scopes": scopes, "expires_at": expiry})
        return
    typer.echo(minted.key)
    typer.echo(f"Key {minted.id}, for {', '.join(scopes)}. It is not shown again.", err=True)


@app.command("list")
def list_(
    org: Annotated[str, typer.Option(metavar="ID", help="The organization.")],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """The organization's API keys, newest first; their first characters, never the keys."""
    found = run_with_context(data, lambda context, _: organizations.list_keys(context, org))
    rows = [serialize_key(listed) for listed in found]
    if as_json:
        print_json({"data": rows})
    else:
        print_table(rows, ["id", "prefix", "user", "scopes", "created_at", "expires_at", "revoked_at"])


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID")], data: Data = DEFAULT_DATA, as_json: AsJson = False
) -> None:
    """End an API key at once."""
    change(data, lambda context, actor: organizations.revoke_key(context, actor, key))
    if as_json:
        print_json({"id": key, "revoked": True})
    else:
        typer.echo(f"Key {key} is revoked.")
