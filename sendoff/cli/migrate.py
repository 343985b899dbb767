"""`sendoff migrate`: bring the database's schema to this version's."""

from __future__ import annotations

from pathlib import Path

import typer

from sendoff.cli.terminal.output import print_json
from sendoff.cli.terminal.session import DEFAULT_DATA, AsJson, Data
from sendoff.data_directory import DataDirectory
from sendoff.errors import SendoffError, Unavailable
from sendoff.store.engine import database


class NotMigrated(SendoffError):
    """The schema could not be brought up to date."""


def migrate(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Bring the database's schema to this version's. Safe to repeat, and to run from several machines at once."""
    migrate_database(data)
    if as_json:
        print_json({"migrated": True})
    else:
        typer.echo("The database's schema is up to date.")


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
