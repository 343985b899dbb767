"""Everything that works in a worker process: dispatcher, consumers of the queues, sweeper, housekeeping."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from arq.worker import Function, func

from sendoff.delivery.dispatcher import Dispatcher
from sendoff.endpoint_health.draining import drain_inactive_endpoints
from sendoff.maintenance.purge import purge_expired
from sendoff.maintenance.statistics import (
    FOLD_SECONDS,
    PURGE_STATISTICS_SECONDS,
    fold_statistics,
    purge_statistics,
)
from sendoff.observability.metrics import WORKER_IN_FLIGHT, WORKER_SLOTS
from sendoff.observability.statistics import Statistics
from sendoff.operators.installation.backlog import note_backlog
from sendoff.operators.installation.measurements import MEASURE_SLOWLY_SECONDS, watch_secrets
from sendoff.operators.installation.workers import Heartbeat
from sendoff.processes.process import tune_garbage_collector
from sendoff.publishing.dead_letter_rate import watch_dead_letters
from sendoff.publishing.operational_events import publish_operational_events
from sendoff.queue import (
    BULK_DELIVERIES,
    DELIVER,
    DELIVER_BACKLOG,
    DELIVERIES,
    PROCESS_UPLOAD,
    REPLAYS,
    RUN_REPLAY,
    UPLOADS,
)
from sendoff.uploads.orphan_files import remove_orphan_files
from sendoff.work_search import SEARCH_SECONDS, WorkSearch

from . import jobs
from .clock_watch import watch_clock
from .consumer import ConsumerSupervisor, QueueConsumer
from .heartbeats import end_heartbeats, send_heartbeats
from .housekeeping import (
    DEAD_LETTER_RATE_SECONDS,
    FIND_ORPHAN_FILES_SECONDS,
    PURGE_SECONDS,
    repeat,
)
from .sweeper import run_sweeps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from sendoff.context import Context

    from .health import WorkerHealth

_log = structlog.get_logger(__name__)

JOB_TIMEOUT_SECONDS = 3600
"""The longest that a job may take; of uploads the slowest. Deliveries are handed over within seconds."""

FUNCTIONS: dict[str, list[Function]] = {
    DELIVERIES: [
        func(jobs.deliver, name=DELIVER, timeout=JOB_TIMEOUT_SECONDS),
        func(jobs.deliver_backlog, name=DELIVER_BACKLOG, timeout=JOB_TIMEOUT_SECONDS),
    ],
    BULK_DELIVERIES: [func(jobs.deliver, name=DELIVER, timeout=JOB_TIMEOUT_SECONDS)],
    UPLOADS: [func(jobs.process_upload, name=PROCESS_UPLOAD, timeout=JOB_TIMEOUT_SECONDS)],
    REPLAYS: [func(jobs.run_replay, name=RUN_REPLAY, timeout=JOB_TIMEOUT_SECONDS)],
}
"""The jobs of each queue."""

MAX_JOBS = {DELIVERIES: 50, BULK_DELIVERIES: 2, UPLOADS: 20, REPLAYS: 20}
"""Jobs of each queue that a worker has taken and not finished; of the delivery queues, whose jobs run together, those
that it takes at once. Those wait for a slot with their ids in this process, where no other worker can take them, so
there are few."""

_CANCEL_AGAIN_SECONDS = 0.5


def _places_of(dispatcher: Dispatcher, kind: str) -> int:
    return dispatcher.admission.places()[kind]


class WorkerHost:
    """One worker process's engine. `start`, then `wait`, then `stop`."""

    def __init__(self, context: Context, health: WorkerHealth) -> None:
        self.context = context
        self._health = health
        self.dispatcher = Dispatcher(context)
        self._heartbeat = Heartbeat(context, slots=context.settings.worker_max_in_flight)
        self.drain_requested = asyncio.Event()
        """Set when an operator has asked the worker to finish and stop."""
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work: consume the queues, sweep, keep house."""
        context = self.context
        wait_for_slot = self.dispatcher.wait_for_slot
        deliveries = self._supervise(DELIVERIES, wait_for_slot=wait_for_slot)
        works = [
            deliveries.run(),
            self._supervise(BULK_DELIVERIES, wait_for_slot=wait_for_slot).run(),
            self._supervise(UPLOADS).run(),
            self._supervise(REPLAYS).run(),
            run_sweeps(context, self.dispatcher, deliveries),
            watch_clock(context),
            Statistics.of(context).flush_regularly(),
            send_heartbeats(self._heartbeat, self.dispatcher, self._health, self.drain_requested),
            repeat("drain of inactive endpoints", SEARCH_SECONDS, self._drain_endpoints_if_due),
            repeat("operational events", SEARCH_SECONDS, self._publish_if_due),
            *self._housekeeping(),
        ]
        self._loops = [asyncio.create_task(work) for work in works]
        self._show_load()
        tune_garbage_collector()
        _log.info("worker_ready")

    def _housekeeping(self) -> list[Coroutine[Any, Any, None]]:
        context = self.context
        works: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
            ("measurement", MEASURE_SLOWLY_SECONDS, self._watch_secrets),
            ("dead-letter rate", DEAD_LETTER_RATE_SECONDS, partial(watch_dead_letters, context)),
            ("folding of statistics", FOLD_SECONDS, partial(fold_statistics, context)),
            ("purge", PURGE_SECONDS, partial(purge_expired, context)),
            ("sample of the backlog", MEASURE_SLOWLY_SECONDS, partial(note_backlog, context)),
            ("purge of statistics", PURGE_STATISTICS_SECONDS, partial(purge_statistics, context)),
            ("orphan files", FIND_ORPHAN_FILES_SECONDS, partial(remove_orphan_files, context)),
        ]
        return [repeat(name, seconds, work, place=place) for place, (name, seconds, work) in enumerate(works)]

    async def _drain_endpoints_if_due(self) -> None:
        """Dead-letter what waits for inactive endpoints; a worker that drains finishes its deliveries (`stop`)."""
        if (await WorkSearch.of(self.context).find()).drains:
            await drain_inactive_endpoints(self.context)

    async def _publish_if_due(self) -> None:
        if (await WorkSearch.of(self.context).find()).alerts:
            await publish_operational_events(self.context)

    async def _watch_secrets(self) -> None:
        wrong_keys = await watch_secrets(self.context)
        self._health.set_failing("secrets", "SENDOFF_SECRET_KEYS opens no endpoint's secret." if wrong_keys else None)

    def _show_load(self) -> None:
        """Let the metrics read the dispatcher whenever they are asked for."""
        dispatcher = self.dispatcher
        WORKER_IN_FLIGHT.set_function(lambda: dispatcher.in_flight)
        for kind in dispatcher.admission.places():
            WORKER_SLOTS.labels(kind).set_function(partial(_places_of, dispatcher, kind))

    async def wait(self) -> None:
        """Return or raise when a loop ends by itself, which is a defect: the process should end with its error."""
        done, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Take nothing new, finish what is in flight within `SHUTDOWN_GRACE_SECONDS`, release the rest."""
        running = set(self._loops)
        while running:
            # A loop whose Redis fails at this moment sees the failure, not the cancellation: cancel it again.
            for loop in running:
                loop.cancel()
            _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.dispatcher.drain(self.context.settings.shutdown_grace_seconds)
        await end_heartbeats(self._heartbeat)
        _log.info("worker_stopped")

    def _supervise(
        self, queue: str, *, wait_for_slot: Callable[[], Awaitable[object]] | None = None
    ) -> ConsumerSupervisor:
        job_context: dict[Any, Any] = {"host": self, "bulk": queue == BULK_DELIVERIES}
        return ConsumerSupervisor(
            lambda: QueueConsumer(
                self.context,
                queue,
                FUNCTIONS[queue],
                job_context=job_context,
                max_jobs=MAX_JOBS[queue],
                together=queue in (DELIVERIES, BULK_DELIVERIES),
                wait_for_slot=wait_for_slot,
            )
        )
