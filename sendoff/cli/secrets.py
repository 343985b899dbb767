"""`sendoff secrets`: the keys that encrypt secrets at rest."""

from __future__ import annotations

from dataclasses import asdict

import typer

from sendoff.cli.terminal.output import print_json, print_table
from sendoff.cli.terminal.session import DEFAULT_DATA, AsJson, Data, change, run_with_context
from sendoff.maintenance import key_rotation as operations

app = typer.Typer(help="The keys that encrypt secrets at rest (SENDOFF_SECRET_KEYS).", no_args_is_help=True)


@app.command()
def status(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """How many secrets are encrypted with which key. A key with none left may be dropped."""
    rows = [asdict(use) for use in run_with_context(data, lambda context, _: operations.count_key_use(context))]
    if as_json:
        print_json({"keys": rows})
    else:
        print_table(rows, ["key_id", "newest", "known", "secrets"])


@app.command("rotate-keys")
def rotate_keys(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Encrypt every secret with the newest key, while everything runs. Safe to repeat.

    Add the new key last and restart every process, then put it first and restart again, run this, drop the old one.
    """
    done = change(data, operations.rotate_keys)
    if as_json:
        print_json(asdict(done))
    else:
        typer.echo(f"{done.resealed} encrypted with the newest key, {done.current} were already.")
    if done.unopenable:
        typer.echo(
            f"sendoff: {done.unopenable} cannot be decrypted: their key is missing from SENDOFF_SECRET_KEYS; "
            "`sendoff secrets status` names it. Add it and run this again.",
            err=True,
        )
        raise typer.Exit(1)
