"""The queue of a worker that cannot use Redis: it works on its own findings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from sendoff.errors import SendoffError
from sendoff.operators.replays.replay import tick_replay
from sendoff.uploads.process import process_upload

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from sendoff.context import Context
    from sendoff.delivery.dispatcher import Dispatcher

_log = structlog.get_logger(__name__)


class LocalQueue:
    """Does the work in this process, one call of a kind at a time; further calls are dropped until the next sweep."""

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._running: dict[str, asyncio.Task[None]] = {}

    def enqueue_deliveries(self, delivery_ids: Iterable[str]) -> None:
        self._start("deliveries", self._dispatcher.submit, list(delivery_ids))

    def enqueue_backlog(self, endpoint_ids: Iterable[str]) -> None:
        self._dispatcher.backlog_available(endpoint_ids)

    def enqueue_uploads(self, upload_ids: Iterable[str]) -> None:
        self._start("uploads", self._process_uploads, list(upload_ids))

    def enqueue_replays(self, replay_ids: Iterable[str]) -> None:
        self._start("replays", self._tick_replays, list(replay_ids))

    def _start(self, kind: str, work: Any, ids: list[str]) -> None:
        running = self._running.get(kind)
        if ids and (running is None or running.done()):
            self._running[kind] = asyncio.create_task(self._run(kind, work(ids)))

    async def _run(self, kind: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except SendoffError as error:
            _log.warning("local_dispatch_failed", kind=kind, error=str(error))

    async def _process_uploads(self, upload_ids: list[str]) -> None:
        for upload_id in upload_ids:
            await process_upload(self._context, upload_id)

    async def _tick_replays(self, replay_ids: list[str]) -> None:
        for replay_id in replay_ids:
            self._dispatcher.backlog_falls_due(await tick_replay(self._context, replay_id))
