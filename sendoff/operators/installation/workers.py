"""Worker processes: each writes a heartbeat into the database, where operators see which ones are alive.

In SQL and not in Redis, so that they are seen by what has the database alone, such as the command line, and while Redis
is away, when workers deliver all the same.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

from sendoff import __version__
from sendoff.audit import Actor, write_audit
from sendoff.clock import iso
from sendoff.errors import NotFound
from sendoff.ids import is_uuid, new_id
from sendoff.store.queries.installation import workers
from sendoff.store.tables import Worker

if TYPE_CHECKING:
    from sendoff.context import Context

HEARTBEAT_SECONDS = 5.0
"""Seconds between a worker's heartbeats. Each is a small transaction, about a millisecond of a worker that idles."""

ALIVE_SECONDS = 20.0
"""A worker that was silent for this long counts as dead. Less, and one on a busy machine vanishes for a moment; more,
and one that was killed is shown for longer."""


class Heartbeat:
    """What one worker process says of itself."""

    def __init__(self, context: Context, *, slots: int) -> None:
        self._context = context
        self._id = new_id()
        self._started_at = context.clock.now()
        self._slots = slots

    async def beat(self, *, in_flight: int) -> bool:
        """Say that the worker is alive, and forget those that have been silent. Raises errors.Unavailable.

        Returns whether an operator has asked the worker to drain.
        """
        now = self._context.clock.now()
        worker = Worker(
            id=self._id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started_at=self._started_at,
            last_seen_at=now,
            in_flight=in_flight,
            slots=self._slots,
        )
        async with self._context.database.write() as tx:
            written = await workers.write(tx, worker)
            await workers.remove_silent(tx, until=now - timedelta(seconds=ALIVE_SECONDS))
        return written.drain_requested_at is not None

    async def end(self) -> None:
        """Say that the worker stops. Raises errors.Unavailable."""
        async with self._context.database.write() as tx:
            await workers.remove(tx, self._id)


async def list_workers(context: Context) -> list[Worker]:
    """The workers that are alive, by host and start."""
    async with context.database.read() as tx:
        return await workers.seen_since(tx, context.clock.now() - timedelta(seconds=ALIVE_SECONDS))


async def drain_worker(context: Context, actor: Actor, worker_id: str) -> Worker:
    """Ask a worker to take nothing new, finish what it has and stop. It hears of it within HEARTBEAT_SECONDS.

    What started the process may start another in its place. Asking again changes nothing. Raises NotFound.
    """
    now = context.clock.now()
    async with context.database.write() as tx:
        worker = await workers.lock(tx, worker_id) if is_uuid(worker_id) else None
        if worker is None or worker.last_seen_at < now - timedelta(seconds=ALIVE_SECONDS):
            raise NotFound("There is no such worker, or it is not alive any more.")
        if worker.drain_requested_at is None:
            worker.drain_requested_at = now
            after = {"host": worker.host, "pid": worker.pid, "drain_requested_at": iso(now)}
            write_audit(tx, actor, "worker.drain", target=("worker", worker.id), now=now, after=after)
    return worker
