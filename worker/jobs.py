"""Job name to operation: the only functions that arq sees.

A job that cannot do its work because a dependency is away just ends: SQL knows what is due, the sweeper rings again.
"""

from __future__ import annotations

from typing import Any

import structlog

from sendoff.errors import Unavailable
from sendoff.operators.replay import tick_replay
from sendoff.uploads.process import process_upload as process_one_upload

_log = structlog.get_logger(__name__)


async def process_upload(ctx: dict[str, Any], upload_ids: list[str]) -> None:
    """Process uploads that are ready."""
    for upload_id in upload_ids:
        try:
            await process_one_upload(ctx["context"], upload_id)
        except Unavailable as error:
            _log.warning("upload_put_off", upload=upload_id, error=str(error))


async def run_replay(ctx: dict[str, Any], replay_ids: list[str]) -> None:
    """Send of each replay what its rate allows by now."""
    for replay_id in replay_ids:
        try:
            await tick_replay(ctx["context"], replay_id)
        except Unavailable as error:
            _log.warning("replay_put_off", replay=replay_id, error=str(error))
