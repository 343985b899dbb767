"""What a restore has lost, for people: what happened, then what to do, in the order in which to do it."""

from __future__ import annotations

from typing import Any

import typer

from sendoff.cli.terminal.output import print_table
from sendoff.cli.terminal.serializers import serialize_restore_report
from sendoff.cli.terminal.tables import Column
from sendoff.operators.installation.restored import RestoreReport

_SHOWN = 20  # rows of each table; --json has all that --limit allows

_UNDONE = (
    Column("at"),
    Column("action"),
    Column("target", is_id=True),
    Column("actor", rank=1),
    Column("remedy", least=30),
)
_EVENTS = (
    Column("event_id", "event"),
    Column("type"),
    Column("organization_id", "org", is_id=True),
    Column("request_id", "request", rank=1),
    Column("endpoints", "delivered to", right=True),
)
_REPEATED = (
    Column("delivery_id", "delivery", is_id=True),
    Column("event_id", "event"),
    Column("endpoint_id", "endpoint", is_id=True),
    Column("delivered_at", "delivered"),
)


def print_restore_report(report: RestoreReport, *, has_log: bool) -> None:
    """Say what the database does not know, and what to do before anything works on it."""
    shown = serialize_restore_report(report)
    counts = shown["counts"]
    typer.echo(f"The last thing that the database knows happened at {shown['restored_to']}.")
    _say_what_the_log_holds(report, shown, has_log=has_log)
    if report.unreadable_secrets:
        typer.echo(
            f"\n{report.unreadable_secrets} secrets are encrypted with a key that SENDOFF_SECRET_KEYS lacks: "
            "`sendoff secrets status` names it. Add the keys that were in use when the backup was taken."
        )
    if report.undone:
        typer.echo(f"\n{counts['undone_actions']} changes were undone. Do these first, before anything is started:")
        _table(shown["undone_actions"], _UNDONE)
    if report.repeated:
        typer.echo(
            f"\n{counts['repeated_deliveries']} deliveries were acknowledged and will be sent again under the same "
            "ids, which receivers recognize. Start no worker until their owners know, if they do not:"
        )
        _table(shown["repeated_deliveries"], _REPEATED)
    if report.unknown_events:
        typer.echo(
            f"\n{counts['unknown_events']} events went to receivers and are unknown here. Published again they come "
            "under new ids: have publishers leave out those that all their endpoints got, which --json lists:"
        )
        _table([event | {"endpoints": len(event["delivered_to"])} for event in shown["unknown_events"]], _EVENTS)
    typer.echo(
        f"\nAsk publishers to publish again what they published since {shown['publish_again_since']}, with the same "
        "Idempotency-Key or CloudEvents `id`: what the database knows is accepted once, for keys of less than 24 hours."
    )


def _say_what_the_log_holds(report: RestoreReport, shown: dict[str, Any], *, has_log: bool) -> None:
    log = shown["log"]
    if not has_log:
        typer.echo("Without the log of workers and API (--log FILE) nothing is known of what happened after it.")
        return
    typer.echo(
        f"The log, from {log['from']} to {log['to']}, has {log['attempts_succeeded']} acknowledged and "
        f"{log['attempts_failed']} failed attempts since {shown['publish_again_since']}."
    )
    if not report.log_has_successes:
        typer.echo("It has no acknowledged ones: with SENDOFF_LOG_ATTEMPTS=all it would say what receivers got.")


def _table(rows: list[dict[str, Any]], columns: tuple[Column, ...]) -> None:
    print_table(rows[:_SHOWN], list(columns))
    if len(rows) > _SHOWN:
        typer.echo(f"… and {len(rows) - _SHOWN} more; --json shows them.")
