"""The loop that tells the database that this worker is alive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from sendoff.errors import Unavailable
from sendoff.operators.workers import HEARTBEAT_SECONDS, Heartbeat

if TYPE_CHECKING:
    from sendoff.delivery.dispatcher import Dispatcher

_log = structlog.get_logger(__name__)


async def send_heartbeats(heartbeat: Heartbeat, dispatcher: Dispatcher) -> None:
    """Beat until cancelled, through times without a database."""
    while True:
        try:
            await heartbeat.beat(in_flight=dispatcher.in_flight)
        except Exception as error:
            _log.warning("heartbeat_failed", error=str(error))
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def end_heartbeats(heartbeat: Heartbeat) -> None:
    """Take the worker off the list; without a database it vanishes by itself a little later."""
    try:
        await heartbeat.end()
    except Unavailable as error:
        _log.warning("heartbeat_failed", error=str(error))
