"""`sendoff top`, `sendoff workers`, `sendoff health`: is all well, and who works."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Document, Installation, RemoteInstallation
from sendoff.cli.terminal.options import command, list_command
from sendoff.cli.terminal.output import Output, print_json, print_table
from sendoff.cli.terminal.serializers import serialize_overview, serialize_worker
from sendoff.cli.terminal.tables import cut, find_width
from sendoff.operators.installation.doctor import Diagnosis, Status, examine
from sendoff.operators.installation.overview import get_overview
from sendoff.operators.installation.workers import drain_worker, list_workers

_CLEAR = "\x1b[H\x1b[2J"
_REASONS = 3
_LABEL = 14  # characters of `dead letters  `, below which the lines stand

_WORKS_WITHOUT = ("redis",)
"""Events are accepted and delivered without it; deliveries start some seconds later."""


@list_command
def workers(
    on: Installation,
    out: Output,
    drain: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Let this worker finish what it has and stop; then list the workers."),
    ] = None,
) -> None:
    """The worker processes that are alive. Exit code 1 if there is none."""
    if drain is not None:
        on.read(
            lambda context, actor: drain_worker(context, actor, drain),
            serialize_worker,
            Call("POST", f"/operator/v1/workers/{drain}/drain"),
        )
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
    """What fails of what an installation needs, and what it works without. Exit code 1 if anything fails.

    With --url it is what the API's `/ready` says. Without, the database is looked at, where a worker must have said
    lately that it is alive.
    """
    if isinstance(on, RemoteInstallation):
        document = on.remote.readiness()
    else:
        document = _judge(on.run(lambda context, _: examine(context, briefly=True)))
    out.document(document)
    if document["status"] != "ready":
        raise typer.Exit(1)


def _judge(findings: Sequence[Diagnosis]) -> Document:
    """The document of `Remote.readiness`."""
    wrong = [one for one in findings if one.status is Status.WRONG]
    failing = [one for one in wrong if one.name not in _WORKS_WITHOUT]
    remarks = [one for one in findings if one.status is Status.NOTE or (one.name in _WORKS_WITHOUT and one in wrong)]
    said = " ".join(f"{one.name}: {one.said.removesuffix('.')}. {one.remedy or ''}".strip() for one in failing)
    return {
        "status": "not_ready" if failing else "ready",
        "failing": [one.name for one in failing],
        "warnings": [one.name for one in remarks],
        "message": said or None,
    }


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
    width, at = find_width(), f"{document['at'][:19]}Z"
    shown = name if width is None else cut(name, width - len(at) - 2, in_the_middle=True)
    typer.echo(f"{shown}  {at}")
    _print_line("deliveries", f"{deliveries['waiting']} wait, {deliveries['due']} due, {late}  {states}", width)
    by_reason = "  ".join(f"{reason} {count}" for reason, count in reasons)
    _print_line("dead letters", f"{letters['open']} open  {by_reason}", width)
    _print_line("endpoints", endpoints or "none", width)
    for title, rows in (("most failing", document["most_failing"]), ("slowest", document["slowest"])):
        typer.echo(f"\n{title}, last hour")
        print_table([_ranked(row) for row in rows], columns.RANKED)
    typer.echo("\nworkers")
    print_table(document["workers"], columns.WORKERS)


def _print_line(label: str, text: str, width: int | None) -> None:
    """The label and the text, which goes on below itself where it is wider than the terminal."""
    lines = [text.rstrip()] if width is None else textwrap.wrap(text, max(1, width - _LABEL))
    typer.echo(f"{label:{_LABEL}}" + f"\n{'':{_LABEL}}".join(lines))


def _ranked(row: dict[str, Any]) -> dict[str, Any]:
    return row | {f"duration_ms_{share}": row["duration_ms"][share] for share in ("p50", "p95")}
