"""What all commands share: options, a context to call operations with, and errors reported in one sentence."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import unquote, urlsplit

import typer

from sendoff.audit import Actor
from sendoff.cli.terminal.output import printable
from sendoff.context import Context
from sendoff.data_directory import DEFAULT, DataDirectory
from sendoff.ids import is_uuid
from sendoff.logging import configure_logging
from sendoff.settings import Settings
from sendoff.startup import open_context

Result = TypeVar("Result")

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar="SENDOFF_DATA",
        help="The directory of `sendoff up`; settings such as SENDOFF_DATABASE_URL override it.",
    ),
]
DEFAULT_DATA = DEFAULT
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def _check_ids(given: str | list[str] | None) -> str | list[str] | None:
    for one in [given] if isinstance(given, str) else given or []:
        if not is_uuid(one):
            raise typer.BadParameter(f"{one!r} is not an id; write it like 0199c5a0-7b4e-7c00-8000-000000000000")
    return given


LimitOption = Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many to show at most.")]
Before = Annotated[
    str | None,
    typer.Option(metavar="CURSOR", callback=_check_ids, help="Go on below this one: the `next_cursor` of --json."),
]
OrganizationOption = Annotated[
    str | None, typer.Option("--org", metavar="ID", callback=_check_ids, help="Of this organization only.")
]
EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", metavar="ID", callback=_check_ids, help="To this endpoint only.")
]
Deliveries = Annotated[
    list[str] | None,
    typer.Option(
        "--delivery",
        metavar="ID",
        callback=_check_ids,
        help="These finished deliveries instead, dead or delivered; repeatable.",
    ),
]


def run_with_context(data: Path, work: Callable[[Context, Actor], Awaitable[Result]]) -> Result:
    """Run `work` on the data directory's database as the current user, and return its result."""
    directory = DataDirectory.at(data)
    directory.require_database()
    settings = directory.settings()
    configure_logging(settings, process="cli")
    return asyncio.run(_in_context(settings, work))


def change(data: Path, work: Callable[[Context, Actor], Awaitable[Result]]) -> Result:
    """`run_with_context` for commands that write: says first, on standard error, which installation they write to."""
    settings = DataDirectory.at(data).settings_without_keys()
    if "--json" not in sys.argv:
        typer.echo(f"on {_installation(settings.database_url)}", err=True)
    return run_with_context(data, work)


def _installation(database_url: str) -> str:
    """The database that a URL names, without its credentials."""
    parts = urlsplit(database_url)
    if parts.scheme.startswith("sqlite"):
        return printable(unquote(parts.path.removeprefix("/")))
    return printable(f"{parts.scheme.partition('+')[0]}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def who_is_at_work() -> str:
    """The name of the operating system's user, or the number when it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers run as users that no file knows
        return str(os.getuid())


async def _in_context(settings: Settings, work: Callable[[Context, Actor], Awaitable[Result]]) -> Result:
    async with open_context(settings, pool_size=1) as context:
        return await work(context, Actor(name=f"cli:{who_is_at_work()}"))
