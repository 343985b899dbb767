"""Reconciliations that are started from a page: they run in the API process, and Redis knows how far the last one is.

One runs at a time. It ends with the process that runs it, and is shown as interrupted then; nothing has to be cleaned
up, for it only reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from redis.exceptions import RedisError

from sendoff.audit import Actor, write_audit
from sendoff.errors import Conflict, Unavailable
from sendoff.operators.installation.reconcile import Reconciliation, reconcile

if TYPE_CHECKING:
    from sendoff.context import Context

REPORT_SECONDS = 1.0
"""How often a run says how far it is. More often, and Redis is asked for nothing."""

ALIVE_SECONDS = 30
"""A run that was silent for this long has ended with its process. Less, and a slow database makes it look so."""

FINDINGS_SHOWN = 50
"""Faults that are kept to be shown; all are counted."""

_KEPT = timedelta(days=7)
_KEY, _RUNNING_KEY = "sendoff:reconciliation", "sendoff:reconciling"
_AWAY = (
    "How far it is would be kept in Redis, which does not answer; use `sendoff reconcile`, or try again in a moment."
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReconciliationRun:
    """The last run: what it has checked by table, its faults by kind, and the first of them in words."""

    started_at: datetime
    by: str
    checked: Mapping[str, int]
    counts: Mapping[str, int]
    findings: Sequence[Mapping[str, str]]
    finished_at: datetime | None = None
    error: str | None = None
    """Why it ended early."""
    is_running: bool = field(default=False)


class ReconciliationRuns:
    """Runs of this process. One per context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._task: asyncio.Task[None] | None = None

    async def start(self, actor: Actor) -> None:
        """Begin to check every row. Raises Conflict while one runs, and Unavailable without Redis."""
        context = self._context
        try:
            is_first = await context.redis.set(context.settings.redis_key(_RUNNING_KEY), 1, nx=True, ex=ALIVE_SECONDS)
        except (RedisError, OSError):
            raise Unavailable(_AWAY) from None
        if not is_first:
            raise Conflict("A reconciliation is running already; its page shows how far it is.")
        now = context.clock.now()
        async with context.database.write() as tx:
            write_audit(tx, actor, "reconciliation.start", target=("installation", "reconciliation"), now=now)
        run = ReconciliationRun(now, actor.name, {}, {}, ())
        await self._write(run)
        self._task = asyncio.create_task(self._work(run))

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self, run: ReconciliationRun) -> None:
        result = Reconciliation()
        work = asyncio.create_task(reconcile(self._context, limit_per_check=FINDINGS_SHOWN, result=result))
        try:
            while not (await asyncio.wait([work], timeout=REPORT_SECONDS))[0]:
                await self._report(run, result)
            error = work.exception()
            if error is not None:
                _log.warning("reconciliation_failed", error=str(error))
            await self._report(run, result, ended=True, error=None if error is None else type(error).__name__)
        finally:
            work.cancel()

    async def _report(
        self, run: ReconciliationRun, result: Reconciliation, *, ended: bool = False, error: str | None = None
    ) -> None:
        findings = [
            {"what": one.check.what, "remedy": one.check.remedy, "rows": _spell(one.ids)} for one in result.findings
        ]
        now = self._context.clock.now()
        await self._write(
            ReconciliationRun(
                run.started_at,
                run.by,
                dict(result.checked),
                dict(result.counts),
                findings,
                finished_at=now if ended else None,
                error=error,
            ),
            ended=ended,
        )

    async def _write(self, run: ReconciliationRun, *, ended: bool = False) -> None:
        redis, document = self._context.redis, orjson.dumps(asdict(run))
        settings = self._context.settings
        running_key = settings.redis_key(_RUNNING_KEY)
        try:
            await redis.set(settings.redis_key(_KEY), document, ex=_KEPT)
            if ended:
                await redis.delete(running_key)
            else:
                await redis.set(running_key, 1, ex=ALIVE_SECONDS)
        except (RedisError, OSError) as error:
            _log.warning("reconciliation_not_shown", error=type(error).__name__)


def _spell(ids: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {identifier}" for name, identifier in ids.items())


async def find_last_run(context: Context) -> ReconciliationRun | None:
    """The last run of any process; None if there was none lately, or without Redis."""
    try:
        keys = [context.settings.redis_key(name) for name in (_KEY, _RUNNING_KEY)]
        document, running = await context.redis.mget(keys)
    except (RedisError, OSError) as error:
        _log.warning("reconciliation_not_shown", error=type(error).__name__)
        return None
    if document is None:
        return None
    fields: dict[str, Any] = orjson.loads(document)
    for name in ("started_at", "finished_at"):
        fields[name] = fields[name] and datetime.fromisoformat(fields[name])
    return ReconciliationRun(**{**fields, "is_running": running is not None and fields["finished_at"] is None})
