"""`sendoff profiles`: names for the APIs of other machines."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sendoff.cli.terminal.options import AsJson
from sendoff.cli.terminal.output import print_json, print_table
from sendoff.cli.terminal.profiles import find_profile, load_profiles, profiles_file, save_profiles
from sendoff.cli.terminal.remote import Remote
from sendoff.cli.terminal.tables import Column

app = typer.Typer(help="Names for the APIs of other machines, with their keys.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as `prod`; `--profile prod` then means it.")]

_SHOWN_OF_KEY = 12


@app.command("set")
def set_(
    name: Name,
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where its API is.")],
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="KEY",
            envvar="SENDOFF_KEY",
            help="Better not given here: it is asked for, or read from stdin.",
        ),
    ] = None,
) -> None:
    """Save a profile in a file that this user alone can read; one of the same name is replaced."""
    if key is None:
        key = typer.prompt("API key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    remote = Remote.at(url, key, name)
    save_profiles(load_profiles() | {name: {"url": remote.url, "key": remote.key}})
    typer.echo(f"saved {name} in {profiles_file()}", err=True)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """The profiles, with the first characters of their keys."""
    rows = [
        {"name": name, "url": profile["url"], "key": f"{profile['key'][:_SHOWN_OF_KEY]}…"}
        for name, profile in load_profiles().items()
    ]
    if as_json:
        print_json({"data": rows})
    else:
        print_table(rows, [Column("name"), Column("url"), Column("key")])


@app.command()
def remove(name: Name) -> None:
    """Remove a profile. Its key stays valid: `sendoff keys revoke` ends it."""
    find_profile(name)
    save_profiles({known: profile for known, profile in load_profiles().items() if known != name})
    typer.echo(f"removed {name}", err=True)
