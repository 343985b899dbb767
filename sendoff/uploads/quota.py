"""How much of the storage the uploads of one organization may take, and how much of its disk stays free for all."""

from __future__ import annotations

from sendoff.context import Context
from sendoff.errors import Conflict
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import uploads
from sendoff.uploads.check import CheckedUpload
from sendoff.uploads.services import UploadServices

_ADDED_BYTES_PER_ROW = 64
"""What the four added columns of a result take in a typical row."""

_GIBIBYTE = 1024**3


def expected_bytes(checked: CheckedUpload) -> int:
    """What the upload will take when it is processed: its file, and two results of which each holds all valid rows.

    Counted until the results are there and can be measured, so that uploads that wait do not get past the quota.
    """
    result = checked.size + checked.missing_cells + checked.valid * _ADDED_BYTES_PER_ROW
    return checked.size + 2 * result


async def check_quota(tx: Transaction, context: Context, organization_id: str, adding: int) -> None:
    """Raise Conflict if the organization's uploads would take more than it may with `adding` bytes more."""
    quota = context.settings.upload_quota_bytes
    stored = await uploads.stored_bytes(tx, organization_id)
    if stored + adding <= quota:
        return
    raise Conflict(
        f"The organization's uploads take {_shown(stored)} of its quota of {_shown(quota)}, and this one would take "
        f"{_shown(adding)} with its results. Delete the files of completed uploads "
        "(`DELETE /api/v1/uploads/{upload_id}/files`), cancel uploads that wait, or send a smaller file. Files are "
        f"deleted {context.settings.upload_retention_days} days after their upload is completed."
    )


async def require_space(context: Context, size: int) -> None:
    """Raise Unavailable if the disk of the storage would be nearly full with `size` bytes more."""
    left = context.settings.storage_min_free_bytes
    await UploadServices.of(context).storage.require_space(size, left=left)


def _shown(size: int) -> str:
    return f"{size / _GIBIBYTE:,.2f} GiB"
