"""`sendoff reconcile`: check that accepted events, deliveries and dead letters add up."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from sendoff.cli.terminal.installation import Installation
from sendoff.cli.terminal.options import command
from sendoff.cli.terminal.output import Output, print_json, print_table
from sendoff.cli.terminal.tables import Column
from sendoff.operators.installation.reconcile import FINDINGS_PER_CHECK, Reconciliation, reconcile
from sendoff.settings import parse_duration
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
) -> None:
    """Check every accepted event and endpoint against deliveries, attempts and dead letters.

    Prints what does not add up, and what to do about it; exit code 1 if there is anything. Safe while everything runs.
    """
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
