"""The record of work that a page starts: one run at a time in the whole installation, and what is known of the last.

The work runs in the API process that was asked, and ends with it. Redis keeps the record: a run whose process says
nothing for ALIVE_SECONDS is shown as interrupted.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import orjson
import structlog
from redis.exceptions import RedisError

from sendoff.audit import Actor, write_audit
from sendoff.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from sendoff.context import Context

ALIVE_SECONDS = 30
"""A run that was silent for this long has ended with its process. Less, and a slow database makes it look so."""

_KEPT = timedelta(days=7)
_TIMES = ("started_at", "finished_at")

_log = structlog.get_logger(__name__)

Run = TypeVar("Run", bound="DataclassInstance")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Where the runs of one kind are noted: `name` is the work as people read it, `command` does the same."""

    name: str
    action: str
    """What the audit log calls its start."""
    key: str
    running_key: str
    command: str

    async def begin(self, context: Context, actor: Actor) -> datetime:
        """Note that a run begins, in the audit log as well; when it did.

        Raises Conflict while one runs, and Unavailable without Redis.
        """
        key = context.settings.redis_key(self.running_key)
        try:
            is_first = await context.redis.set(key, 1, nx=True, ex=ALIVE_SECONDS)
        except (RedisError, OSError):
            raise Unavailable(
                f"How far it is would be kept in Redis, which does not answer; use `{self.command}`, or try again in a "
                "moment."
            ) from None
        if not is_first:
            raise self.conflict()
        now = context.clock.now()
        try:
            async with context.database.write() as tx:
                write_audit(tx, actor, self.action, target=("installation", self.name), now=now)
        except BaseException:  # nothing runs, so that the next may begin at once
            with suppress(RedisError, OSError):
                await context.redis.delete(key)
            raise
        return now

    async def write(self, context: Context, run: DataclassInstance, *, ended: bool = False) -> None:
        """Note how far the run is; `ended`: that another may begin."""
        redis, settings = context.redis, context.settings
        running_key = settings.redis_key(self.running_key)
        try:
            await redis.set(settings.redis_key(self.key), orjson.dumps(asdict(run)), ex=_KEPT)
            if ended:
                await redis.delete(running_key)
            else:
                await redis.set(running_key, 1, ex=ALIVE_SECONDS)
        except (RedisError, OSError) as error:
            self._complain(error)

    async def read(self, context: Context) -> dict[str, Any] | None:
        """The fields of the last run of any process with `is_running`; None if none is known, or without Redis."""
        try:
            keys = [context.settings.redis_key(name) for name in (self.key, self.running_key)]
            document, running = await context.redis.mget(keys)
        except (RedisError, OSError) as error:
            self._complain(error)
            return None
        if document is None:
            return None
        fields: dict[str, Any] = orjson.loads(document)
        for name in _TIMES:
            fields[name] = fields[name] and datetime.fromisoformat(fields[name])
        return {**fields, "is_running": running is not None and fields["finished_at"] is None}

    def conflict(self) -> Conflict:
        """Why no run can begin while another one goes on."""
        return Conflict(f"{self.name.capitalize()} is already running; its page shows how far it is.")

    def _complain(self, error: Exception) -> None:
        _log.warning("run_not_shown", run=self.name, error=type(error).__name__)


class Runs(ABC, Generic[Run]):
    """The runs of one kind in this process. One per context."""

    record: ClassVar[RunRecord]

    def __init__(self, context: Context) -> None:
        self._context = context
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    def _begun(self, started_at: datetime, by: str) -> Run:
        """A run that has done nothing yet."""

    @abstractmethod
    async def _work(self, run: Run) -> None:
        """Do the work of the run, and write its record until it has ended."""

    async def start(self, actor: Actor) -> None:
        """Begin a run. Raises Conflict while one goes on, and Unavailable without Redis."""
        if self._task is not None and not self._task.done():  # Redis may have lost its key
            raise self.record.conflict()
        run = self._begun(await self.record.begin(self._context, actor), actor.name)
        await self.record.write(self._context, run)
        self._task = asyncio.create_task(self._work(run))

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def report_until_done(
    work: Coroutine[Any, Any, Result], report: Callable[[], Awaitable[None]], *, every: float
) -> asyncio.Task[Result]:
    """Do the work, and call `report` at regular intervals meanwhile; return its task, which is done.

    Cancelled, the work ends before this does: its transaction rolls back before the database closes.
    """
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait([task], timeout=every))[0]:
            await report()
        return task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
