"""`sendoff reconcile`: check that accepted events, deliveries and dead letters add up, and what a restore has lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from sendoff.cli.terminal.installation import Installation
from sendoff.cli.terminal.options import command
from sendoff.cli.terminal.output import Output, print_json, print_table
from sendoff.cli.terminal.restored import print_restore_report
from sendoff.cli.terminal.serializers import serialize_restore_report
from sendoff.cli.terminal.tables import Column
from sendoff.cli.terminal.time_options import parse_past
from sendoff.clock import parse_duration
from sendoff.operators.installation.reconcile import FINDINGS_PER_CHECK, Reconciliation, reconcile
from sendoff.operators.installation.restored import audit_restore
from sendoff.store.queries.installation.reconciliation import Discrepancy


def _check_duration(given: str) -> str:
    try:
        timedelta(seconds=parse_duration(given))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except OverflowError:
        raise typer.BadParameter(f"{given!r} is out of range. Use a shorter time.") from None
    return given


Grace = Annotated[
    str,
    typer.Option(metavar="TIME", callback=_check_duration, help="How late something may be before it is reported."),
]
ShownOfAKind = Annotated[
    int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="How many to print of each kind at most.")
]


@command
def reconcile_command(
    on: Installation,
    out: Output,
    grace: Grace = "10m",
    limit: ShownOfAKind = FINDINGS_PER_CHECK,
    since_restore: Annotated[
        bool, typer.Option("--since-restore", help="Say instead what a restored database does not know any more.")
    ] = False,
    log: Annotated[
        list[Path] | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="With --since-restore: logs of workers and API since then, as JSON; - is standard input.",
        ),
    ] = None,
    restored_to: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="With --since-restore: when the backup is of. Default: the last moment known."
        ),
    ] = None,
) -> None:
    """Check every accepted event and endpoint against deliveries, attempts and dead letters.

    Prints what does not add up, and what to do about it; exit code 1 if there is anything. Safe while everything runs.
    With --since-restore, run it before anything else works on a restored database.
    """
    if since_restore:
        _report_restore(on, out, log or [], parse_past(restored_to, "--restored-to"), limit)
        return
    if log or restored_to:
        raise typer.BadParameter("it needs --since-restore", param_hint="--log" if log else "--restored-to")
    late = timedelta(seconds=parse_duration(grace))
    result = on.run(lambda context, _: reconcile(context, grace=late, limit_per_check=limit))
    if out.as_json:
        print_json(_shape(result))
    else:
        _print_for_people(result)
    if not result.is_clean:
        raise typer.Exit(1)


def _shape(result: Reconciliation) -> dict[str, Any]:
    return {
        "clean": result.is_clean,
        "checked": dict(result.checked),
        "counts": dict(result.counts),
        "findings": [
            {
                "kind": finding.check.kind,
                "what": finding.check.what,
                "remedy": finding.check.remedy,
                "ids": dict(finding.ids),
                "expected": finding.expected,
                "found": finding.found,
            }
            for finding in result.findings
        ],
    }


def _print_for_people(result: Reconciliation) -> None:
    looked_at = ", ".join(f"{number} {table.replace('_', ' ')}" for table, number in result.checked.items())
    typer.echo(f"Checked {looked_at}.")
    for check in dict.fromkeys(finding.check for finding in result.findings):
        findings = [finding for finding in result.findings if finding.check == check]
        typer.echo(f"\n{check.kind} ({result.counts[check.kind]}): {check.what}\n{check.remedy}")
        rows = [_row(finding) for finding in findings]
        print_table(rows, [Column(name) for name in rows[0]])
    total = result.counts.total()
    typer.echo(f"\n{total} {'does' if total == 1 else 'do'} not add up." if total else "Everything adds up.")


def _row(finding: Discrepancy) -> dict[str, Any]:
    numbers = {"expected": finding.expected, "found": finding.found} if finding.expected is not None else {}
    return {**finding.ids, **numbers}


def _report_restore(
    on: Installation, out: Output, logs: Sequence[Path], restored_to: datetime | None, limit: int
) -> None:
    report = on.run(
        lambda context, _: audit_restore(context, _lines(logs), restored_to=restored_to, at_most=limit),
    )
    if out.as_json:
        print_json(serialize_restore_report(report))
    else:
        print_restore_report(report, has_log=bool(logs))
    if not report.is_clean:
        raise typer.Exit(1)


def _lines(logs: Sequence[Path]) -> Iterator[str]:
    """The lines of the files, one after the other."""
    for path in logs:
        if str(path) == "-":
            yield from sys.stdin
            continue
        try:
            with path.open(errors="replace") as file:
                yield from file
        except OSError as error:
            raise typer.BadParameter(f"{path} cannot be read ({error.strerror})", param_hint="--log") from None
