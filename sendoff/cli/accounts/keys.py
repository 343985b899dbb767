"""`sendoff keys`: API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.accounts import organizations
from sendoff.accounts.authentication import SCOPES, UPLOADS_READ, UPLOADS_WRITE, WEBHOOKS_MANAGE
from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation
from sendoff.cli.terminal.options import Before, LimitOption, OrganizationOption, command, list_command
from sendoff.cli.terminal.output import Output, print_json
from sendoff.cli.terminal.serializers import serialize_key
from sendoff.cli.terminal.time_options import parse_future
from sendoff.clock import iso

app = typer.Typer(help="API keys.", no_args_is_help=True)

_PATH = "/operator/v1/keys"

CUSTOMER_SCOPES = (UPLOADS_WRITE, UPLOADS_READ, WEBHOOKS_MANAGE)
"""The default scopes of a new key: all customer scopes and no operator scope."""


@app.command()
@command
def create(
    on: Installation,
    out: Output,
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
) -> None:
    """Mint an API key. It is shown this once: only its hash is stored."""
    scopes = tuple(dict.fromkeys(scope)) if scope else CUSTOMER_SCOPES
    expires_at = parse_future(expires_in, "--expires-in")
    organization = on.find("organization", org)
    expiry = iso(expires_at) if expires_at else None
    minted = on.change(
        lambda context, actor: organizations.create_key(
            context, actor, organization_id=organization, email=user, scopes=scopes, expires_at=expires_at
        ),
        lambda made: {"id": made.id, "key": made.key},
        Call(
            "POST",
            _PATH,
            body={"organization_id": organization, "user": user, "scopes": list(scopes), "expires_at": expiry},
        ),
    )
    if out.as_json:
        print_json({"id": minted["id"], "key": minted["key"], "scopes": scopes, "expires_at": expiry})
        return
    typer.echo(minted["key"])
    typer.echo(f"Key {minted['id']}, for {', '.join(scopes)}. It is not shown again.", err=True)


@app.command("list")
@list_command
def list_(
    on: Installation, out: Output, org: OrganizationOption = None, limit: LimitOption = 1000, before: Before = None
) -> None:
    """API keys, newest first; their first characters, never the keys."""
    organization = on.find_any("organization", org)
    page = on.page(
        lambda context, most, start: organizations.page_keys(
            context, organization_id=organization, limit=most, before=start
        ),
        serialize_key,
        Call("GET", _PATH, {"organization_id": organization}),
        limit=limit,
        before=before,
    )
    out.page(page, columns.KEYS)


@app.command()
@command
def revoke(on: Installation, out: Output, key: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """End an API key at once."""
    found = on.find("key", key)
    on.change(
        lambda context, actor: organizations.revoke_key(context, actor, found),
        lambda _: None,
        Call("POST", f"{_PATH}/{found}/revoke"),
    )
    if out.as_json:
        print_json({"id": found, "revoked": True})
    else:
        typer.echo(f"Key {found} is revoked.")
