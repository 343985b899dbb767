"""The arq jobs: what a worker does for each function name. arq sees these functions alone.

A job whose dependency is away ends without an error: SQL knows what is due, and the sweeper enqueues it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from sendoff.errors import Unavailable
from sendoff.ids import is_uuid
from sendoff.operators.replays.replay import tick_replay
from sendoff.uploads.process import process_in_turn

if TYPE_CHECKING:
    from .host import WorkerHost

_log = structlog.get_logger(__name__)


async def deliver(ctx: dict[str, Any], delivery_ids: list[str]) -> None:
    """Submit deliveries to the dispatcher. Ends when they are claimed or held, and never waits for a receiver.

    A delivery's endpoint may follow its id and a colon.
    """
    host: WorkerHost = ctx["host"]
    ids, endpoint_ids = _valid_with_endpoints(delivery_ids)
    try:
        await host.dispatcher.submit(ids, endpoint_ids, is_bulk=bool(ctx.get("bulk")))
    except Unavailable as error:
        _log.warning("deliveries_not_claimed", deliveries=len(ids), error=str(error))


async def deliver_backlog(ctx: dict[str, Any], endpoint_ids: list[str]) -> None:
    """Claim held deliveries of these endpoints as the endpoints have capacity. Ends at once."""
    host: WorkerHost = ctx["host"]
    host.dispatcher.backlog_available(_valid(endpoint_ids))


async def process_upload(ctx: dict[str, Any], upload_ids: list[str]) -> None:
    """Process uploads that are ready, in turns of their organizations."""
    host: WorkerHost = ctx["host"]
    for upload_id in _valid(upload_ids):
        try:
            await process_in_turn(host.context, upload_id)
        except Unavailable as error:
            _log.warning("upload_postponed", upload=upload_id, error=str(error))


async def run_replay(ctx: dict[str, Any], replay_ids: list[str]) -> None:
    """Tick the replays: make due what the rate of each allows since its last tick."""
    host: WorkerHost = ctx["host"]
    for replay_id in _valid(replay_ids):
        try:
            host.dispatcher.backlog_falls_due(await tick_replay(host.context, replay_id))
        except Unavailable as error:
            _log.warning("replay_postponed", replay=replay_id, error=str(error))


def _valid_with_endpoints(ids: object) -> tuple[list[str], dict[str, str]]:
    """The delivery ids that are UUIDs, and the endpoints of those that an endpoint's id follows."""
    if not isinstance(ids, list):
        return _valid(ids), {}
    parts = [one.partition(":") if isinstance(one, str) else (one, "", "") for one in ids]
    endpoint_ids = {delivery_id: endpoint_id for delivery_id, _, endpoint_id in parts if endpoint_id}
    return _valid([delivery_id for delivery_id, *_ in parts]), endpoint_ids


def _valid(ids: object) -> list[str]:
    """The ids that are UUIDs. Anybody with access to Redis can write there, and one bad id must not fail the others."""
    found = ids if isinstance(ids, list) else []
    valid = [one for one in found if isinstance(one, str) and is_uuid(one)]
    if len(valid) < len(found) or found is not ids:
        _log.warning("invalid_ids_dropped", ids=len(found) - len(valid))
    return valid
