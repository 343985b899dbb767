"""`sendoff secrets`: the keys that encrypt secrets at rest."""

from __future__ import annotations

from dataclasses import asdict

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation
from sendoff.cli.terminal.options import command, list_command
from sendoff.cli.terminal.output import Output, print_json
from sendoff.maintenance import key_rotation as operations

_PATH = "/operator/v1/secret-keys"

app = typer.Typer(help="The keys that encrypt secrets at rest (SENDOFF_SECRET_KEYS).", no_args_is_help=True)


@app.command()
@list_command
def status(on: Installation, out: Output) -> None:
    """How many secrets are encrypted with which key. A key with none left may be dropped."""
    found = on.read(
        lambda context, _: operations.count_key_use(context),
        lambda uses: {"keys": [asdict(use) for use in uses]},
        Call("GET", _PATH),
    )
    if out.as_json:
        print_json(found)
    else:
        out.rows(found["keys"], columns.SECRET_KEYS)


@app.command("rotate-keys")
@command
def rotate_keys(on: Installation, out: Output) -> None:
    """Encrypt every secret with the newest key, while everything runs. Safe to repeat.

    Add the new key last and restart every process, then put it first and restart again, run this, drop the old one.
    """
    done = on.change(operations.rotate_keys, asdict, Call("POST", f"{_PATH}/rotate"))
    if out.as_json:
        print_json(done)
    else:
        typer.echo(f"{done['resealed']} encrypted with the newest key, {done['current']} were already.")
    if done["unopenable"]:
        typer.echo(
            f"sendoff: {done['unopenable']} cannot be decrypted: their key is missing from SENDOFF_SECRET_KEYS; "
            "`sendoff secrets status` names it. Add it and run this again.",
            err=True,
        )
        raise typer.Exit(1)
