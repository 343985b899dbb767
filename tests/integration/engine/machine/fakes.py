"""Fakes at the edges of the product: a wire that answers as programmed, a process that dies after a given commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from sendoff.policy.endpoints.addresses import Target
from sendoff.policy.endpoints.matching import PING
from sendoff.store.engine.database import Database, Transaction
from sendoff.store.engine.sqlite_driver import Embedded
from sendoff.wire.errors import LocalFailure, TimedOut
from sendoff.wire.http.message import Response


@dataclass(frozen=True)
class Answer:
    """What a receiver does: answers with `status`, lets the deadline pass (None), or is never reached (`is_local`)."""

    status: int | None
    retry_after: str | None = None
    is_local: bool = False

    def give(self) -> Response:
        if self.is_local:
            raise LocalFailure("There is no route to the host.")
        if self.status is None:
            raise TimedOut("headers")
        headers = (("retry-after", self.retry_after),) if self.retry_after is not None else ()
        return Response(self.status, headers, b"answer", truncated=False, elapsed_ms=3)


@dataclass
class FakeWire:
    """Answers every delivery with `answer`, every ping with 200, and keeps the headers of the deliveries sent."""

    answer: Answer = field(default_factory=lambda: Answer(200))
    sent: list[bytes] = field(default_factory=list)

    async def check(self, _target: Target, **_options: object) -> list[IPv4Address]:
        return [IPv4Address("127.0.0.1")]

    async def send(self, _target: Target, head: bytes, _body: bytes, **_options: object) -> Response:
        if PING.encode() in head:
            return Answer(200).give()
        if not self.answer.is_local:
            self.sent.append(head)
        return self.answer.give()


class ProcessDied(BaseException):
    """The process was killed here; nothing of ours may catch it."""


class CrashingDatabase:
    """The database, seen from a process that dies when it begins its next transaction after `commits_left` commits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.commits_left: int | None = None

    @asynccontextmanager
    async def write(self, *, within: float | None = None, pause: float = 0) -> AsyncIterator[Transaction]:
        self.begin()
        async with self._database.write(within=within, pause=pause) as tx:
            yield tx
        self.end()

    @asynccontextmanager
    async def read(self, *, within: float | None = None, owner: str | None = None) -> AsyncIterator[Transaction]:
        async with self._database.read(within=within, owner=owner) as tx:
            yield tx

    @asynccontextmanager
    async def look(self) -> AsyncIterator[Transaction]:
        async with self._database.look() as tx:
            yield tx

    @property
    def is_sqlite(self) -> bool:
        return self._database.is_sqlite

    @property
    def direct(self) -> CrashingDatabase | None:
        """Single statements can crash, too."""
        return self if self._database.direct is not None else None

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        assert self._database.direct is not None
        self.begin()
        rows = await self._database.direct.fetch(statement, *arguments)
        self.end()
        return rows

    @property
    def embedded(self) -> CrashingSqliteDriver:
        """So are whole transactions on SQLite."""
        return CrashingSqliteDriver(self, self._database.embedded)

    def begin(self) -> None:
        if self.commits_left == 0:
            raise ProcessDied

    def end(self) -> None:
        if self.commits_left is not None:
            self.commits_left -= 1


@dataclass(frozen=True)
class CrashingSqliteDriver:
    """The hot transactions' way to SQLite, for a CrashingDatabase."""

    database: CrashingDatabase
    inner: Embedded

    async def write(self, work: Any) -> Any:
        self.database.begin()
        result = await self.inner.write(work)
        self.database.end()
        return result

    async def read(self, work: Any) -> Any:
        return await self.inner.read(work)
