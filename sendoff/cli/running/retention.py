"""`sendoff retention`: remove what is past its retention now, instead of when the worker does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sendoff.cli.terminal.installation import Installation
from sendoff.cli.terminal.options import command
from sendoff.cli.terminal.output import Output
from sendoff.maintenance.purge import count_expired, purge_expired

app = typer.Typer(help="What is past its retention.", no_args_is_help=True)


@app.command()
@command
def run(
    on: Installation,
    out: Output,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed.")] = False,
) -> None:
    """Remove what is past its retention, while everything runs; `sendoff config show` has the days."""
    if dry_run:
        out.document(asdict(on.run(lambda context, _: count_expired(context))))
        return
    on.announce()
    out.document(asdict(on.run(lambda context, _: purge_expired(context))))
