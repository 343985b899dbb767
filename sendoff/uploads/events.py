"""The events of uploads (OptimalDial contract, "Events and deliveries")."""

from __future__ import annotations

from typing import Any

import orjson

from sendoff.clock import iso
from sendoff.context import Context
from sendoff.publishing.publish import AcceptedEvent, NewEvent, add_events
from sendoff.store.engine.database import Transaction
from sendoff.store.tables import Upload

CREATED, COMPLETED, FAILED = "upload.created", "upload.completed", "upload.failed"


async def add_upload_event(
    tx: Transaction,
    context: Context,
    upload: Upload,
    event_type: str,
    **data: Any,
) -> list[AcceptedEvent]:
    """Commit the event with the state it reports, under the id of the upload's request; then enqueue its deliveries.

    `data` is merged next to `upload`; `total_rows` and `downloads` go inside it.
    """
    described = describe(upload) | {name: data.pop(name) for name in ("total_rows", "downloads") if name in data}
    event = NewEvent(event_type, orjson.dumps({"upload": described, **data}))
    return await add_events(tx, context, upload.organization_id, [event], request_id=upload.request_id)


def describe(upload: Upload) -> dict[str, Any]:
    """`data.upload` as every event has it."""
    return {
        "id": upload.id,
        "source": upload.source,
        "status": upload.status,
        "original_filename": upload.original_filename,
        "valid_row_count": upload.valid_row_count,
        "invalid_row_count": upload.invalid_row_count,
        "organization_id": upload.organization_id,
        "created_at": iso(upload.created_at),
    }
