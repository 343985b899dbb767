"""What a command works on: a database, or the API of another machine."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import typer

from sendoff.cli.terminal.cursors import decode_cursor, encode_cursor
from sendoff.cli.terminal.values import printable
from sendoff.clock import iso
from sendoff.errors import Invalid, NotFound, SendoffError
from sendoff.ids import row_time
from sendoff.processes.data_directory import DataDirectory
from sendoff.store.engine.paging import ScannedPage

if TYPE_CHECKING:
    from sendoff.audit import Actor
    from sendoff.cli.terminal.remote import Remote
    from sendoff.context import Context
    from sendoff.settings import Settings

Result = TypeVar("Result")
Work = Callable[["Context", "Actor"], Awaitable[Result]]
PagedWork = Callable[["Context", int, str | None], Awaitable[Sequence[Result] | ScannedPage[Result]]]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """What an API is asked where there is no database."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None


def as_query(chosen: Any) -> dict[str, Any]:
    """A filter of a list as the API's query parameters, which have the names of its fields."""
    given = {name: value for name, value in asdict(chosen).items() if value is not None}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in given.items()}


class NeedsDatabase(SendoffError):
    """This command works on the database itself. Run it on a machine of the installation, without --url."""


class Installation(ABC):
    """One installation. Reads and writes give the documents of the API, wherever they come from."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What people call it, without credentials."""

    @abstractmethod
    def read(self, work: Work[Result], shape: Callable[[Result], Any], call: Call) -> Any:
        """The result of `work`, shaped, or the API's answer to `call`."""

    @abstractmethod
    def page(
        self,
        work: PagedWork[Result],
        shape: Callable[[Result], Document],
        call: Call,
        *,
        limit: int,
        before: str | None,
    ) -> Document:
        """`limit` items of a list below `before`, a cursor or an id: `{"data": [...], "next_cursor": …}`.

        Fewer, with `scanned_back_to`, if the search for them ended before the page was full.
        """

    @abstractmethod
    def find(self, noun: str, given: str) -> str:
        """The whole id of the `noun` that `given` names: an id, or the beginning or end of one."""

    @abstractmethod
    def find_organization(self, given: str | None) -> str:
        """The id of the organization of `--org`, for commands that work on one; an API key has one of its own.

        Raises BadParameter when a database, which has many, is not told which, or an API is.
        """

    @abstractmethod
    def run(self, work: Work[Result]) -> Result:
        """The result of `work` on the database. Raises NeedsDatabase where there is none."""

    @contextmanager
    def open(self) -> Iterator[Installation]:
        """The same, for a command that reads many times: one connection serves all of them."""
        yield self

    def change(self, work: Work[Result], shape: Callable[[Result], Any], call: Call) -> Any:
        """`read` for commands that write: says first, on standard error, which installation they write to."""
        self.announce()
        return self.read(work, shape, call)

    def announce(self) -> None:
        """Say on standard error, unless the output is JSON, which installation a command writes to."""
        if "--json" not in sys.argv:
            typer.echo(f"on {self.name}", err=True)

    def find_any(self, noun: str, given: str | None) -> str | None:
        """`find` for an option that may be left out. Raises BadParameter for what can be no id."""
        try:
            return None if given is None else self.find(noun, given)
        except Invalid as error:
            raise typer.BadParameter(str(error)) from None


@dataclass(frozen=True, slots=True)
class LocalInstallation(Installation):
    """The database of a data directory, or the one that the environment names."""

    data: Path
    is_flag: bool = False
    """Whether --data was given, which wins over the environment if the directory holds a database."""

    @property
    def name(self) -> str:
        return describe_database(self._directory().settings_without_keys(self.environment).database_url)

    def read(self, work: Work[Result], shape: Callable[[Result], Any], call: Call) -> Any:
        return shape(self.run(work))

    def page(
        self,
        work: PagedWork[Result],
        shape: Callable[[Result], Document],
        call: Call,
        *,
        limit: int,
        before: str | None,
    ) -> Document:
        answer = self.run(lambda context, _: work(context, limit + 1, decode_cursor(before)))
        found = answer if isinstance(answer, ScannedPage) else ScannedPage(answer)
        rows = [shape(one) for one in found.rows[:limit]]
        if found.scanned_to is not None:
            back_to = iso(row_time(found.scanned_to))
            return {"data": rows, "next_cursor": encode_cursor(found.scanned_to), "scanned_back_to": back_to}
        return {"data": rows, "next_cursor": encode_cursor(rows[-1]["id"]) if len(found.rows) > limit else None}

    def find(self, noun: str, given: str) -> str:
        from sendoff.operators import short_ids

        kind = short_ids.KINDS[noun]
        text = short_ids.strip_ellipsis(given)
        if short_ids.is_whole(kind, text):
            return text.lower()
        return self.run(lambda context, _: short_ids.find_id(context, kind, text))

    def find_organization(self, given: str | None) -> str:
        if given is None:
            raise typer.BadParameter("a database holds several organizations; say which one", param_hint="--org")
        return self.find("organization", given)

    def run(self, work: Work[Result]) -> Result:
        return asyncio.run(_in_context(self._configure(), work))

    @contextmanager
    def open(self) -> Iterator[Installation]:
        from sendoff.processes.startup import open_context

        with asyncio.Runner() as runner:
            opening = open_context(self._configure(), pool_size=1)
            context = runner.run(opening.__aenter__())
            try:
                yield _Open(self.data, self.is_flag, context, runner)
            finally:
                runner.run(opening.__aexit__(None, None, None))

    def settings(self) -> Settings:
        """Of this installation. Raises NoDataYet when it has no database."""
        environment = self.environment
        directory = self._directory()
        directory.require_database(environment)
        return directory.settings(environment)

    def _configure(self) -> Settings:
        from sendoff.observability.logging import configure_logging

        settings = self.settings()
        configure_logging(settings, process="cli")
        return settings

    def _directory(self) -> DataDirectory:
        return DataDirectory.at(self.data)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that count."""
        return self._directory().environment(wins=self.is_flag)


@dataclass(frozen=True, slots=True)
class _Open(LocalInstallation):
    """A database to which one connection is kept."""

    context: Context | None = None
    runner: asyncio.Runner | None = None

    def run(self, work: Work[Result]) -> Result:
        assert self.context is not None  # noqa: S101 - for the type checker
        assert self.runner is not None  # noqa: S101 - for the type checker
        return self.runner.run(_await(work(self.context, _actor())))


@dataclass(frozen=True, slots=True)
class RemoteInstallation(Installation):
    """The API of an installation, with a key."""

    remote: Remote

    @property
    def name(self) -> str:
        return self.remote.name

    def read(self, work: Work[Result], shape: Callable[[Result], Any], call: Call) -> Any:
        return self.remote.ask(call)

    def page(
        self,
        work: PagedWork[Result],
        shape: Callable[[Result], Document],
        call: Call,
        *,
        limit: int,
        before: str | None,
    ) -> Document:
        return self.remote.page(call, limit=limit, before=before)

    def find(self, noun: str, given: str) -> str:
        return self.remote.find(noun, given)

    def find_organization(self, given: str | None) -> str:
        if given is not None:
            raise typer.BadParameter("the API key's organization counts; leave it out", param_hint="--org")
        return ""

    def run(self, work: Work[Result]) -> Result:
        raise NeedsDatabase


def describe_database(database_url: str) -> str:
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


async def _in_context(settings: Settings, work: Work[Result]) -> Result:
    from sendoff.processes.startup import open_context

    async with open_context(settings, pool_size=1) as context:
        return await work(context, _actor())


async def _await(result: Awaitable[Result]) -> Result:
    return await result


def _actor() -> Actor:
    from sendoff.audit import Actor

    return Actor(name=f"cli:{who_is_at_work()}")


def not_found(noun: str, given: str) -> NotFound:
    """No id matches what was given."""
    return NotFound(f"There is no {noun} whose id is, begins or ends with {given!r}; `list --wide` shows whole ids.")
