"""`sendoff`: every command by its name."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff import __version__
from sendoff.cli import (
    audit_log,
    dead_letters,
    deliveries,
    endpoints,
    event_types,
    events,
    keys,
    orgs,
    reconcile,
    replays,
    secrets,
    signing,
)
from sendoff.cli.demo import demo
from sendoff.cli.local_stack.servers import web, worker
from sendoff.cli.migrate import migrate
from sendoff.cli.receive import receive
from sendoff.cli.up import up
from sendoff.process import disable_core_dumps, make_files_private

app = typer.Typer(
    help="Sendoff delivers webhooks: signed, retried for hours, never silently dropped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(up)
app.command()(web)
app.command()(worker)
app.command()(demo)
app.command()(receive)
app.command()(migrate)
app.add_typer(orgs.app, name="orgs")
app.add_typer(keys.app, name="keys")
app.add_typer(secrets.app, name="secrets")
app.add_typer(events.app, name="events")
app.add_typer(event_types.app, name="event-types")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(replays.replay)
app.add_typer(replays.app, name="replays")
app.command("audit-log")(audit_log.audit_log)
app.command()(reconcile.audit)
app.command()(signing.verify)
app.command()(signing.sign)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Sendoff delivers webhooks: signed, retried for hours, never silently dropped."""
    disable_core_dumps()
    make_files_private()
