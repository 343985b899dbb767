"""`sendoff top`, `sendoff workers`, `sendoff health`: is all well, and who works."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Document, Installation, RemoteInstallation
from sendoff.cli.terminal.options import command, list_command
from sendoff.cli.terminal.output import Output, print_json, print_table
from sendoff.cli.terminal.serializers import serialize_overview, serialize_worker
from sendoff.operators.installation.doctor import Status, examine
from sendoff.operators.installation.overview import get_overview
from sendoff.operators.installation.workers import list_workers

_CLEAR = "\x1b[H\x1b[2J"
_REASONS = 3


@list_command
def workers(on: Installation, out: Output) -> None:
    """The worker processes that are alive. Exit code 1 if there is none."""
    page = on.read(
        lambda context, _: list_workers(context),
        lambda found: {"data": [serialize_worker(one) for one in found], "next_cursor": None},
        Call("GET", "/operator/v1/workers"),
    )
    out.page(page, columns.WORKERS, empty="No worker runs: nothing is delivered. Start one with `sendoff worker`.")
    if not page["data"]:
        raise typer.Exit(1)


@command
def top(
    on: Installation,
    out: Output,
    once: Annotated[bool, typer.Option("--once", help="Print it once and end, as without a terminal.")] = False,
    interval: Annotated[float, typer.Option(min=0.5, metavar="SECONDS", help="How often it is refreshed.")] = 2.0,
) -> None:
    """What waits, what fails, the most failing and the slowest endpoints of the last hour, and the workers."""
    with on.open() as opened:
        if out.as_json:
            print_json(_overview(opened))
            return
        is_live = sys.stdout.isatty() and not once
        while True:
            document = _overview(opened)
            if is_live:
                typer.echo(_CLEAR, nl=False)
            _print_overview(opened.name, document)
            if not is_live:
                return
            try:
                time.sleep(interval)
            except KeyboardInterrupt:
                return


@command
def health(on: Installation, out: Output) -> None:
    """What `/ready` says: the dependencies that fail, and those that it works without. Exit code 1 if any fails."""
    if isinstance(on, RemoteInstallation):
        document = on.remote.readiness()
    else:
        findings = on.run(lambda context, _: examine(context, briefly=True))
        bad = [one.name for one in findings if one.status is Status.WRONG]
        document = {"status": "not_ready" if bad else "ready", "failing": bad}
    out.document(document)
    if document["status"] != "ready":
        raise typer.Exit(1)


def _overview(on: Installation) -> Document:
    found: Document = on.read(
        lambda context, _: get_overview(context), serialize_overview, Call("GET", "/operator/v1/overview")
    )
    return found


def _print_overview(name: str, document: dict[str, Any]) -> None:
    deliveries, letters = document["deliveries"], document["dead_letters"]
    states = "  ".join(f"{state} {count}" for state, count in deliveries["by_state"].items() if count)
    reasons = sorted(letters["by_reason"].items(), key=lambda one: -one[1])[:_REASONS]
    endpoints = "  ".join(f"{state} {count}" for state, count in document["endpoints"].items() if count)
    late = f"oldest due for {round(deliveries['oldest_due_seconds'])} s" if deliveries["due"] else "nothing is due"
    typer.echo(f"{name}  {document['at'][:19]}Z")
    typer.echo(f"deliveries    {deliveries['waiting']} wait, {deliveries['due']} due, {late}  {states}".rstrip())
    by_reason = "  ".join(f"{reason} {count}" for reason, count in reasons)
    typer.echo(f"dead letters  {letters['open']} open  {by_reason}".rstrip())
    typer.echo(f"endpoints     {endpoints or 'none'}")
    for title, rows in (("most failing", document["most_failing"]), ("slowest", document["slowest"])):
        typer.echo(f"\n{title}, last hour")
        print_table([_ranked(row) for row in rows], columns.RANKED)
    typer.echo("\nworkers")
    print_table(document["workers"], columns.WORKERS)


def _ranked(row: dict[str, Any]) -> dict[str, Any]:
    return row | {f"duration_ms_{share}": row["duration_ms"][share] for share in ("p50", "p95")}
