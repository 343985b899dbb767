"""The queue of a worker that cannot use Redis: it works on its own findings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from sendoff.errors import SendoffError
from sendoff.operators.replays.replay import tick_replay
from sendoff.uploads.process import process_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from sendoff.context import Context
    from sendoff.delivery.dispatcher import Dispatcher

_log = structlog.get_logger(__name__)

T = TypeVar("T")

UPLOADS_AT_ONCE = 20
"""Uploads of all organizations that are processed at once: as many as with Redis. More take memory and connections;
with fewer, those of a few organizations hold up everybody else's."""


class LocalQueue:
    """Does the work in this process. What is asked for while it is under way is dropped until the next sweep."""

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._running: dict[str, asyncio.Task[None]] = {}
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    def enqueue_deliveries(self, delivery_ids: Iterable[str], endpoint_ids: Mapping[str, str] | None = None) -> None:
        if ids := list(delivery_ids):
            self._start("deliveries", "", self._dispatcher.submit, ids)

    def enqueue_backlog(self, endpoint_ids: Iterable[str]) -> None:
        self._dispatcher.backlog_available(endpoint_ids)

    def enqueue_uploads(self, upload_ids: Iterable[str]) -> None:
        for upload_id in upload_ids:
            self._start("uploads", upload_id, self._process_upload, upload_id)

    def enqueue_replays(self, replay_ids: Iterable[str]) -> None:
        for replay_id in replay_ids:
            self._start("replays", replay_id, self._tick_replay, replay_id)

    def _start(self, kind: str, name: str, work: Callable[[T], Coroutine[Any, Any, None]], argument: T) -> None:
        """Do the work unless work of this kind and name is under way, all deliveries being one."""
        key = f"{kind} {name}"
        if key not in self._running:
            task = self._running[key] = asyncio.create_task(self._run(kind, work(argument)))
            task.add_done_callback(lambda _: self._running.pop(key))

    async def _run(self, kind: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except SendoffError as error:
            _log.warning("local_dispatch_failed", kind=kind, error=str(error))
        except Exception:
            _log.exception("local_dispatch_failed", kind=kind)

    async def _process_upload(self, upload_id: str) -> None:
        async with self._uploads:
            await process_in_turn(self._context, upload_id)

    async def _tick_replay(self, replay_id: str) -> None:
        self._dispatcher.backlog_falls_due(await tick_replay(self._context, replay_id))
