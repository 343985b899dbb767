"""`sendoff migrate`: bring the database's schema to this version's."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sendoff.cli.terminal.options import DEFAULT_DATA, AsJson, Data
from sendoff.cli.terminal.output import print_json
from sendoff.errors import Conflict, SendoffError, Unavailable
from sendoff.processes.data_directory import DataDirectory
from sendoff.store.engine import database
from sendoff.store.engine.revisions import stays_beside
from sendoff.store.migrations.plan import found_revision, pending_revisions
from sendoff.store.migrations.plan import plan as migration_plan
from sendoff.store.partitions.convert import convert, plan_conversion


class NotMigrated(SendoffError):
    """The schema could not be brought up to date."""


def migrate(
    data: Data = DEFAULT_DATA,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 when there is something to migrate.")
    ] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Change nothing; show each statement with the lock that it takes, and whether the old version runs on "
            "the new schema.",
        ),
    ] = False,
    partition: Annotated[
        bool,
        typer.Option(
            "--partition",
            help="Then divide the history into partitions by time, which retention drops as a whole (PostgreSQL); "
            "with `--plan`, show how.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema to this version's, while others work. Safe to repeat, and from several machines."""
    if plan:
        _show_plan(data, partition=partition, as_json=as_json)
    elif check:
        _check(data, as_json=as_json)
    else:
        migrate_database(data)
        if partition:
            url = DataDirectory.at(data).settings_without_keys().database_url
            asyncio.run(convert(url, now=datetime.now(UTC)))
        if as_json:
            print_json({"migrated": True} | ({"partitioned": True} if partition else {}))
        else:
            typer.echo("The database's schema is up to date." + (" The history has partitions." if partition else ""))


def _check(data: Path, *, as_json: bool) -> None:
    pending = pending_revisions(DataDirectory.at(data).settings_without_keys().database_url)
    if as_json:
        print_json({"pending": pending})
    elif pending:
        typer.echo(f"The database lacks {', '.join(pending)}; run `sendoff migrate`. `--plan` shows what it would do.")
    else:
        typer.echo("The database's schema is up to date.")
    if pending:
        raise typer.Exit(1)


def _show_plan(data: Path, *, partition: bool, as_json: bool) -> None:
    url = DataDirectory.at(data).settings_without_keys().database_url
    steps = migration_plan(url)
    if partition and steps:
        raise Conflict("`--partition --plan` needs the schema of this version; run `sendoff migrate` first.")
    if partition:
        steps = asyncio.run(plan_conversion(url, now=datetime.now(UTC)))
    if as_json:
        print_json([asdict(step) for step in steps])
        return
    for step in steps:
        waits = "  (writers wait for it)" if step.stops_writers else ""
        typer.echo(f"{step.revision}  {step.lock}{waits}\n      {step.statement}")
    if not steps:
        typer.echo("The history has partitions already." if partition else "The database's schema is up to date.")
    elif not partition and (found := found_revision(url)) is not None:
        typer.echo(f"\n{_say_whether_the_old_version_stays(found)}")


def _say_whether_the_old_version_stays(found: str) -> str:
    old = f"The version that made this schema (revision {found})"
    if stays_beside(found):
        return f"{old} runs on the new one: yes. Its processes may go on, and may be started again on the new schema."
    return (
        f"{old} runs on the new one: no. Stop all of its processes before you migrate; they start again only on a "
        "backup of the database."
    )


def migrate_database(data: Path) -> None:
    """Migrate what the environment or the data directory names. Call it outside of any event loop."""
    directory = DataDirectory.at(data)
    url = directory.settings_without_keys().database_url
    try:
        if url == directory.database_url:
            directory.make()
        database.migrate(url)
    except SendoffError:
        raise
    except OSError as error:
        raise Unavailable(f"The database cannot be reached: {error}") from error
    except Exception as error:
        # Drivers raise their own errors if the database is unreachable, full or read-only.
        first_line = str(error).split("\n", 1)[0]
        raise NotMigrated(
            f"The schema could not be brought up to date: {type(error).__name__}: {first_line}"
        ) from error
