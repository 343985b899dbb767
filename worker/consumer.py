"""An arq worker that waits for jobs instead of polling for them, and a supervisor that outlives Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from arq.constants import job_key_prefix
from arq.jobs import DeserializationError, deserialize_job_raw
from arq.worker import Function, Worker

from sendoff.command_pipe import CommandPipe
from sendoff.queue import connect, named_id

if TYPE_CHECKING:
    from sendoff.context import Context

_log = structlog.get_logger(__name__)

HEALTH_CHECK_SECONDS = 5
"""How often a worker renews arq's health key; `arq --check` fails when it has not for a second longer."""

GATHER_SECONDS_PER_JOB, GATHER_SECONDS = 0.001, 0.01
"""The pause for each job beyond the first that was taken, at most GATHER_SECONDS: under load, jobs that arrive
meanwhile share the next commands and the next claim. After a job that came alone there is no pause."""

WAITS_AHEAD = 8
"""While delivery jobs come alone, this number of waits for one job each are sent together, which saves writes and
wake-ups. At most this many jobs are taken beyond the dispatcher's free slots."""

_LISTEN_SECONDS = HEALTH_CHECK_SECONDS
_COMMAND_SECONDS = 5.0
_RESTART_SECONDS = (0.1, 0.5, 1.0, 2.0)
_UNHEALTHY_AFTER = 3


class QueueConsumer(Worker):
    """arq's worker for one queue, with a cheaper intake: one round trip for what is there instead of many for each job.

    It blocks on the queue (BZMPOP) instead of polling it, and takes a job out of Redis when it starts it. arq's own
    worker keeps a mark, a counter and the job until it ends, to run it again if its process dies; here the sweeper
    does that, from SQL. So no job is started twice, however long it takes.
    """

    def __init__(
        self,
        context: Context,
        queue: str,
        functions: Sequence[Function],
        *,
        job_context: dict[Any, Any],
        max_jobs: int,
        together: bool = False,
        wait_for_slot: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """`together`: jobs that are taken together run as one with the ids of all, and others wait in the queue.

        `wait_for_slot` is awaited before jobs are taken; other workers take what cannot start here.
        """
        redis = connect(context.settings)
        super().__init__(
            functions,
            queue_name=context.settings.redis_key(queue),
            redis_pool=redis,
            ctx=job_context,
            max_jobs=max_jobs,
            handle_signals=False,
            health_check_interval=HEALTH_CHECK_SECONDS,
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
        )
        self._waits, self._commands = CommandPipe(redis), CommandPipe(redis)
        """What blocks in Redis until there are jobs, and what is answered at once."""
        self._tag = context.settings.redis_key_tag
        self._together = together
        self._wait_for_slot = wait_for_slot
        self._started: list[str] = []
        """Keys of jobs that were started without them, to be removed with the next waits, or when it is quiet."""
        self._jobs_come_alone = False
        self.has_polled = False

    async def main(self) -> None:
        """Take and start jobs until cancelled. Raises RedisError, OSError or TimeoutError when Redis goes away."""
        while True:
            await self.record_health()
            self.has_polled = True
            if len(self.tasks) >= self.max_jobs:
                await asyncio.wait(self.tasks.values(), timeout=_LISTEN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                continue
            if self._wait_for_slot is not None:
                await self._wait_for_slot()
            free = self.max_jobs - len(self.tasks)
            jobs = await self._take(free)
            if self._together:
                await self._run_together(jobs)
            else:
                self._start(jobs)
            if 1 < len(jobs) < free:
                await asyncio.sleep(min(GATHER_SECONDS, GATHER_SECONDS_PER_JOB * (len(jobs) - 1)))

    async def stop(self) -> None:
        """Cancel the jobs; the sweeper finds what they leave undone."""
        for task in list(self.tasks.values()):
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        await self._waits.close()
        await self._commands.close()
        await self.pool.aclose(close_connection_pool=True)

    async def _take(self, at_most: int) -> list[_Job]:
        """Jobs of the queue, oldest first, as soon as there is one; none after `_LISTEN_SECONDS` without."""
        removals = 0
        if not self._waits.has_unanswered:
            removals = await self._send_waits(at_most)
        replies = await self._waits.receive(removals + 1, seconds=_LISTEN_SECONDS + _COMMAND_SECONDS)
        # UNLINK answers with a number, BZMPOP with a list or nothing.
        job_ids = [job_id.decode() for reply in replies if isinstance(reply, list) for job_id, _ in reply[1]]
        self._jobs_come_alone = len(job_ids) <= 1
        if not job_ids:
            await self._remove_started()
        return await self._find_jobs(job_ids)

    async def _find_jobs(self, job_ids: Sequence[str]) -> list[_Job]:
        """The jobs with these ids. Most ids say what to do; the bodies of the others are taken out of Redis."""
        named = {one: found for one in job_ids if (found := named_id(one, self._tag)) and found[0] in self.functions}
        self._started += [job_key_prefix + job_id for job_id in named]
        bodies = await self._take_bodies([job_id for job_id in job_ids if job_id not in named])
        jobs = [
            _Job(job_id, named[job_id][0], [named[job_id][1]])
            if job_id in named
            else self._read(job_id, bodies[job_id])
            for job_id in job_ids
        ]
        return [job for job in jobs if job is not None]

    async def _send_waits(self, at_most: int) -> int:
        """Ask for jobs, and remove the keys of those that were started; returns how many replies are about removals."""
        waits, each = (WAITS_AHEAD, 1) if self._together and self._jobs_come_alone else (1, at_most)
        removals: list[tuple[Any, ...]] = [("UNLINK", *self._started)] if self._started else []
        asked = [("BZMPOP", _LISTEN_SECONDS, 1, self.queue_name, "MIN", "COUNT", each)] * waits
        self._started = []
        await self._waits.send([*removals, *asked], seconds=_COMMAND_SECONDS)
        return len(removals)

    async def _remove_started(self) -> None:
        started, self._started = self._started, []
        if started:
            await self._commands.run([("UNLINK", *started)], seconds=_COMMAND_SECONDS)

    async def _take_bodies(self, job_ids: Sequence[str]) -> dict[str, bytes | None]:
        """The jobs as arq wrote them, taken out of Redis; None of those that have expired."""
        if not job_ids:
            return {}
        commands = [("GETDEL", job_key_prefix + job_id) for job_id in job_ids]
        return dict(zip(job_ids, await self._commands.run(commands, seconds=_COMMAND_SECONDS), strict=True))

    def _read(self, job_id: str, body: bytes | None) -> _Job | None:
        if body is None:
            return None
        try:
            name, [ids], kwargs, _, _ = deserialize_job_raw(body, deserializer=self.job_deserializer)
            if name in self.functions and isinstance(ids, list) and not kwargs:
                return _Job(job_id, name, ids)
            problem = "an unknown function, or no list of ids"
        except (DeserializationError, TypeError, ValueError) as error:
            problem = repr(error)
        self.jobs_failed += 1
        _log.warning("unknown_job_dropped", job=job_id, error=problem)
        return None

    async def _run_together(self, jobs: Sequence[_Job]) -> None:
        ids: dict[str, list[Any]] = {}
        for job in jobs:
            ids.setdefault(job.function, []).extend(job.ids)
        for function, all_ids in ids.items():
            await self._run(function, all_ids)

    def _start(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            task = asyncio.create_task(self._run_in_time(job.function, job.ids))
            self.tasks[job.id] = task
            task.add_done_callback(lambda _, job_id=job.id: self.tasks.pop(job_id, None))  # type: ignore[misc]

    async def _run_in_time(self, name: str, ids: list[Any]) -> None:
        try:
            async with asyncio.timeout(self.functions[name].timeout_s):
                await self._run(name, ids)
        except TimeoutError as error:
            self._note_failure(name, ids, error)

    async def _run(self, name: str, ids: list[Any]) -> None:
        try:
            await self.functions[name].coroutine(self.ctx, ids)
            self.jobs_complete += 1
        except Exception as error:
            self._note_failure(name, ids, error)

    def _note_failure(self, name: str, ids: list[Any], error: Exception) -> None:
        self.jobs_failed += 1
        _log.error("job_failed", function=name, ids=len(ids), error=repr(error), exc_info=error)


@dataclass(frozen=True, slots=True)
class _Job:
    id: str
    function: str
    ids: list[Any]


class ConsumerSupervisor:
    """Runs a consumer again and again: it ends when Redis goes away, and the worker process must not."""

    def __init__(self, new_consumer: Callable[[], QueueConsumer]) -> None:
        self._new_consumer = new_consumer
        self._failures = 0

    @property
    def is_unhealthy(self) -> bool:
        """Whether it failed several times in a row: what is due must be found without the queue."""
        return self._failures >= _UNHEALTHY_AFTER

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            consumer = self._new_consumer()
            try:
                await consumer.async_run()
            except Exception as error:
                self._failures = 1 if consumer.has_polled else self._failures + 1
                wait = _RESTART_SECONDS[min(self._failures, len(_RESTART_SECONDS)) - 1]
                _log.warning("consumer_restarted", queue=consumer.queue_name, error=repr(error), in_seconds=wait)
                await asyncio.sleep(wait)
            finally:
                await consumer.stop()
